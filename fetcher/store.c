/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/store.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "fetcher/store_priv.h"

enum {
	VERSION_TEXT_MAX = 32,
	LOCK_SLEEP_MIN_MS = 1,
	LOCK_SLEEP_MAX_MS = 50,
	TMP_TRIES = 16,
	COUNTER_MAGIC = 0x534c5543, /* also tells the byte order */
	BUDGET_GIB_MAX = 20,
};

/* In the order of enum store_dir, parents first. */
static const char *const dir_names[STORE_DIRS] = {
	"blobs", "blobs/sha256", "blobs/sha512", "layers", "images", "tags", "tmp", "quarantine",
	"locks", "unsynced",
};

int store_default_path(const char *env_store, const char *env_data_home, const char *env_home,
		       unsigned int uid, char **ret, struct err *err)
{
	char *path = NULL;
	int r;
	if (env_store && *env_store)
		r = asprintf(&path, "%s", env_store);
	else if (uid == 0)
		r = asprintf(&path, "/var/lib/sluice");
	else if (env_data_home && env_data_home[0] == '/') /* a relative one is to be ignored */
		r = asprintf(&path, "%s/sluice", env_data_home);
	else if (env_home && env_home[0] == '/')
		r = asprintf(&path, "%s/.local/share/sluice", env_home);
	else
		return err_say(err, -ENOENT,
			       "no place for the store: set SLUICE_STORE, XDG_DATA_HOME or HOME");
	if (r < 0)
		return err_set(err, -ENOMEM, "find the store");
	*ret = path;
	return 0;
}

static int ofd_lock_cmd(int fd, int cmd, short type, uint64_t start, uint64_t len)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = (off_t)len,
	};
	for (;;) {
		if (fcntl(fd, cmd, &lock) == 0)
			return 0;
		if (errno == EACCES)
			return -EAGAIN;
		if (errno != EINTR)
			return -errno;
	}
}

int ofd_lock(int fd, short type, uint64_t start, uint64_t len)
{
	return ofd_lock_cmd(fd, F_OFD_SETLK, type, start, len);
}

int ofd_lock_wait(int fd, short type, uint64_t start, uint64_t len)
{
	return ofd_lock_cmd(fd, F_OFD_SETLKW, type, start, len);
}

uint64_t store_now_sec(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return (uint64_t)ts.tv_sec;
}

uint64_t store_usage_bytes(const struct store *store)
{
	int64_t n = atomic_load_explicit(&store->counter->bytes, memory_order_relaxed);
	return n < 0 ? 0 : (uint64_t)n;
}

uint64_t store_usage_add(struct store *store, uint64_t n)
{
	int64_t was = atomic_fetch_add_explicit(&store->counter->bytes, (int64_t)n,
						memory_order_relaxed);
	int64_t now = was + (int64_t)n;
	return now < 0 ? 0 : (uint64_t)now;
}

void store_usage_sub(struct store *store, uint64_t n)
{
	(void)atomic_fetch_sub_explicit(&store->counter->bytes, (int64_t)n, memory_order_relaxed);
}

/* Whether a name may stand in a directory that is about to become a store. */
static int name_is_foreign(void *data, int dirfd, const char *name, struct err *err)
{
	(void)data;
	(void)dirfd;
	(void)err;
	return !commit_is_temporary(name) && strcmp(name, "lost+found") != 0;
}

static int version_read(struct store *store, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(VERSION_TEXT_MAX);
	uint64_t version;
	int r = file_slurp(store->fd, "version", &text, err);
	if (r < 0)
		return r;
	char *end = text.len > 0 ? strchr(text.data, '\n') : NULL;
	if (end)
		*end = '\0';
	if (!end || u64_parse(text.data, UINT32_MAX, &version) < 0 || version == 0)
		return err_say(err, -EINVAL, "the store %s has an unreadable version file",
			       store->path);
	if (version > STORE_VERSION)
		return err_say(err, -EPROTONOSUPPORT,
			       "the store %s has layout version %llu, and this program knows %d: "
			       "use a newer sluice or another --store",
			       store->path, (unsigned long long)version, STORE_VERSION);
	return 0;
}

/* Reads the version file, or writes it into an empty directory. */
static int version_check(struct store *store, struct err *err)
{
	if (faccessat(store->fd, "version", F_OK, 0) == 0)
		return version_read(store, err);
	int r = store_each(store->fd, name_is_foreign, NULL, err);
	if (r < 0)
		return r;
	/* Another process may have made it meanwhile. */
	if (r > 0 && faccessat(store->fd, "version", F_OK, 0) == 0)
		return version_read(store, err);
	if (r > 0)
		return err_say(err, -ENOTEMPTY, "%s is neither empty nor a store: refusing to use it",
			       store->path);
	char text[VERSION_TEXT_MAX];
	int n = snprintf(text, sizeof(text), "%d\n", STORE_VERSION);
	r = file_commit(store->fd, "version", text, (size_t)n, COMMIT_KEEP, err);
	return r < 0 ? r : version_read(store, err);
}

/* Only this user may have a say about what is in a store. */
static int owner_check(struct store *store, struct err *err)
{
	struct stat st;
	if (fstat(store->fd, &st) < 0)
		return err_set(err, -errno, "stat the store %s", store->path);
	if (st.st_uid != geteuid())
		return err_say(err, -EACCES, "the store %s belongs to user %u, not to user %u",
			       store->path, (unsigned int)st.st_uid, (unsigned int)geteuid());
	return 0;
}

static int mode_fix(struct store *store, struct err *err)
{
	struct stat st;
	if (fstat(store->fd, &st) < 0)
		return err_set(err, -errno, "stat the store %s", store->path);
	if ((st.st_mode & 0777) != 0700 && fchmod(store->fd, 0700) < 0)
		return err_set(err, -errno, "make the store %s private", store->path);
	return 0;
}

static int dirs_open(struct store *store, struct err *err)
{
	for (int i = 0; i < STORE_DIRS; i++) {
		if (faccessat(store->fd, dir_names[i], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			atomic_store(&store->made, true);
		int r = dir_make_at(store->fd, dir_names[i], 0700, &store->dirs[i], err);
		if (r < 0)
			return err_prefix(err, r, "open the store %s", store->path);
	}
	return 0;
}

int store_sync_made(struct store *store, struct err *err)
{
	if (!atomic_load(&store->made))
		return 0;
	if (fsync(store->dirs[STORE_DIR_BLOBS]) < 0 || fsync(store->fd) < 0)
		return err_set(err, -errno, "write the store %s to disk", store->path);
	atomic_store(&store->made, false);
	return 0;
}

static int boot_read(struct store *store, struct err *err)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	AUTO_FINISH(buf) struct buf text = buf_make(BOOT_ID_MAX);
	int r = file_slurp(AT_FDCWD, path, &text, err);
	if (r < 0)
		return r;
	if (text.len < 2 || text.len > sizeof(store->boot))
		return err_say(err, -EINVAL, "%s holds no boot id", path);
	memcpy(store->boot, text.data, text.len - 1);
	return 0;
}

static int counter_map(struct store *store, struct err *err)
{
	static const struct store_counter fresh = {.magic = COUNTER_MAGIC, .version = STORE_VERSION};
	for (int tries = 0; tries < 2; tries++) {
		bool there = tries == 0 &&
			     faccessat(store->fd, "usage", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
		int r = there ? 0 : file_commit(store->fd, "usage", &fresh, sizeof(fresh),
						tries == 0 ? COMMIT_LIVE_KEEP : COMMIT_LIVE, err);
		if (r < 0)
			return r;
		cleanup_close(&store->usage_fd);
		store->usage_fd = openat(store->fd, "usage", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		uint64_t size;
		if (store->usage_fd < 0 || file_size(store->usage_fd, &size) < 0)
			return err_set(err, -errno, "open %s/usage", store->path);
		if (size != sizeof(fresh))
			continue; /* damaged: start over, which counts anew */
		void *map = mmap(NULL, sizeof(fresh), PROT_READ | PROT_WRITE, MAP_SHARED,
				 store->usage_fd, 0);
		if (map == MAP_FAILED)
			return err_set(err, -errno, "map %s/usage", store->path);
		store->counter = map;
		if (store->counter->magic == COUNTER_MAGIC &&
		    store->counter->version == STORE_VERSION)
			return 0;
		(void)munmap(map, sizeof(fresh));
		store->counter = NULL;
	}
	return err_say(err, -EINVAL, "%s/usage cannot be made", store->path);
}

/*
 * After another boot the counter may be older than the layers: the first
 * opener counts, the others wait for it on the lock.
 */
static int counter_boot(struct store *store, struct err *err)
{
	int r = ofd_lock_wait(store->usage_fd, F_WRLCK, STORE_LOCK_BOOT, 1);
	if (r < 0)
		return err_set(err, r, "lock %s/usage", store->path);
	if (memcmp(store->counter->boot, store->boot, BOOT_ID_MAX) != 0) {
		r = store_unsynced_boot(store, err);
		if (r == 0)
			r = store_recount(store, err);
		if (r == 0)
			memcpy(store->counter->boot, store->boot, BOOT_ID_MAX);
	}
	(void)ofd_lock(store->usage_fd, F_UNLCK, STORE_LOCK_BOOT, 1);
	return r;
}

/*
 * The default: 20 GiB, or half of what would be free if the store held no
 * layer data, so that the answer does not shrink as the store fills.
 */
static int budget_default(struct store *store, struct err *err)
{
	struct statvfs vfs;
	if (fstatvfs(store->fd, &vfs) < 0)
		return err_set(err, -errno, "ask for the free space of %s", store->path);
	uint64_t free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	/* A tmpfs without a limit, and some that are on the network, say that they have nothing. */
	if (vfs.f_blocks == 0)
		free_bytes = 2 * GIB(BUDGET_GIB_MAX);
	store->budget = u64_min(GIB(BUDGET_GIB_MAX), (free_bytes + store_usage_bytes(store)) / 2);
	return 0;
}

static int store_open_path(struct store *store, const char *path, struct err *err)
{
	int r = dir_make(path, 0700, err);
	if (r < 0)
		return err_prefix(err, r, "open the store");
	store->path = realpath(path, NULL);
	if (!store->path)
		return err_set(err, -errno, "open the store %s", path);
	store->fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->fd < 0)
		return err_set(err, -errno, "open the store %s", path);
	r = owner_check(store, err);
	if (r < 0)
		return r;
	r = version_check(store, err);
	if (r < 0)
		return err_prefix(err, r, "open the store %s", store->path);
	r = mode_fix(store, err);
	return r < 0 ? r : dirs_open(store, err);
}

int store_open(const struct store_config *config, struct store **ret, struct err *err)
{
	if (!config->path)
		return err_say(err, -EINVAL, "open the store: no path was given");
	AUTO(store) struct store *store = calloc(1, sizeof(*store));
	if (!store)
		return err_set(err, -ENOMEM, "open the store");
	store->fd = store->usage_fd = -1;
	for (int i = 0; i < STORE_DIRS; i++)
		store->dirs[i] = -1;

	int r = store_open_path(store, config->path, err);
	if (r < 0)
		return r;
	r = boot_read(store, err);
	if (r < 0)
		return r;
	r = counter_map(store, err);
	if (r < 0)
		return err_prefix(err, r, "open the store %s", store->path);
	r = counter_boot(store, err);
	if (r < 0)
		return err_prefix(err, r, "open the store %s", store->path);
	store->budget = config->budget_bytes;
	r = store->budget == 0 ? budget_default(store, err) : 0;
	if (r < 0)
		return r;
	*ret = steal_ptr(&store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	if (store->counter)
		(void)munmap(store->counter, sizeof(*store->counter));
	for (int i = 0; i < STORE_DIRS; i++)
		cleanup_close(&store->dirs[i]);
	cleanup_close(&store->usage_fd);
	cleanup_close(&store->fd);
	free(store->path);
	free(store);
}

const char *store_path(const struct store *store)
{
	return store->path;
}

int store_dir_images(const struct store *store)
{
	return store->dirs[STORE_DIR_IMAGES];
}

int store_dir_layers(const struct store *store)
{
	return store->dirs[STORE_DIR_LAYERS];
}

int store_dir_tmp(const struct store *store)
{
	return store->dirs[STORE_DIR_TMP];
}

char *store_entry_name(const struct digest *digest, char out[static DIGEST_STR_MAX])
{
	char *colon = strchr(digest_str(digest, out), ':');
	if (colon)
		*colon = '-';
	return out;
}

bool store_entry_parse(const char *name, struct digest *ret)
{
	char text[DIGEST_STR_MAX];
	if (strlen(name) >= sizeof(text))
		return false;
	(void)snprintf(text, sizeof(text), "%s", name);
	char *dash = strchr(text, '-');
	if (!dash)
		return false;
	*dash = ':';
	return digest_parse(text, ret, NULL) == 0;
}

/* Opens and locks a lock file; -ESTALE when gc removed it in between, so try again. */
static int lock_try(struct store *store, const char *name, int *ret_fd)
{
	AUTO_CLOSE int fd = openat(store->dirs[STORE_DIR_LOCKS], name,
				   O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int r = ofd_lock(fd, F_WRLCK, 0, 0);
	if (r < 0)
		return r;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return -ESTALE;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int store_trylock(struct store *store, const char *name, int *ret_fd, struct err *err)
{
	int r;
	do {
		r = lock_try(store, name, ret_fd);
	} while (r == -ESTALE);
	return r < 0 ? err_set(err, r, "lock %s/locks/%s", store->path, name) : 0;
}

int store_lock(struct store *store, const struct digest *digest, uint64_t deadline, int *ret_fd,
	       struct err *err)
{
	char name[DIGEST_STR_MAX];
	store_entry_name(digest, name);
	for (uint64_t ms = LOCK_SLEEP_MIN_MS;; ms = u64_min(ms * 2, LOCK_SLEEP_MAX_MS)) {
		int r = store_trylock(store, name, ret_fd, err);
		if (r != -EAGAIN)
			return r;
		if (deadline_passed(deadline))
			return err_say(err, -ETIMEDOUT,
				       "another process has been at work on %s for too long",
				       name);
		clock_sleep_ms(ms, deadline);
	}
}

int store_image_hold(struct store *store, const struct digest *image, int *ret_fd,
		     struct err *err)
{
	char name[DIGEST_STR_MAX + sizeof("/lock")];
	store_entry_name(image, name);
	size_t len = strlen(name);
	(void)snprintf(name + len, sizeof(name) - len, "/lock");
	for (;;) {
		AUTO_CLOSE int fd = openat(store->dirs[STORE_DIR_IMAGES], name,
					   O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return err_set(err, -errno, "mark image %s as in use", name);
		/* gc holds it only to remove the image, which the next openat() tells. */
		int r = ofd_lock_wait(fd, F_RDLCK, 0, 0);
		struct stat st;
		if (r == 0 && fstat(fd, &st) < 0)
			r = err_errno();
		if (r != 0)
			return err_set(err, r, "mark image %s as in use", name);
		if (st.st_nlink == 0)
			continue;
		*ret_fd = steal_fd(&fd);
		return 0;
	}
}

int store_tmp_dir(struct store *store, char *ret_name, int *ret_fd, struct err *err)
{
	int tmp = store->dirs[STORE_DIR_TMP];
	for (int i = 0; i < TMP_TRIES; i++) {
		uint64_t salt;
		if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
			return err_set(err, -errno, "make a directory in %s/tmp", store->path);
		(void)snprintf(ret_name, NAME_MAX + 1, STORE_WORK_PREFIX "%016llx", (unsigned long long)salt);
		if (mkdirat(tmp, ret_name, 0700) < 0) {
			if (errno == EEXIST)
				continue;
			break;
		}
		int fd = openat(tmp, ret_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			break;
		*ret_fd = fd;
		return 0;
	}
	return err_set(err, -errno, "make a directory in %s/tmp", store->path);
}

int store_tmp_hold(struct store *store, const char *name, char **ret_path, int *ret_lock,
		   struct err *err)
{
	AUTO_CLOSE int dir = -1;
	char *path = NULL;
	int r = dir_make_at(store_dir_tmp(store), name, 0700, &dir, err);
	if (r < 0)
		return r;
	/* The file that gc looks at, as in a layer that is being made. */
	AUTO_CLOSE int lock = openat(dir, "data", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	r = lock < 0 ? -errno : ofd_lock(lock, F_RDLCK, 0, 0);
	if (r < 0)
		return err_set(err, r, "lock %s/tmp/%s", store_path(store), name);
	if (asprintf(&path, "%s/tmp/%s", store_path(store), name) < 0)
		return err_set(err, -ENOMEM, "use %s/tmp/%s", store_path(store), name);
	*ret_path = path;
	*ret_lock = steal_fd(&lock);
	return 0;
}
