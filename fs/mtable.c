/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mtable.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

enum {
	MOUNT_JSON_MAX = 64 << 10,
	LOCK_LOOK_MS = 2, /* between two tries for the lock */
};

void mtable_entry_finish(struct mtable_entry *entry)
{
	if (!entry)
		return;
	free(entry->dir);
	free(entry->image);
	free(entry->store);
	free(entry->upper);
	free(entry->record.touched);
	id_maps_finish(&entry->maps);
	*entry = (struct mtable_entry){0};
}

static json_t *record_json(const struct mtable_record *record)
{
	return json_pack("{s:b,s:s*,s:I,s:I,s:I}", "off", record->off, "touched", record->touched,
			 "quiet_ms", (json_int_t)record->quiet_ms, "cap_ms",
			 (json_int_t)record->cap_ms, "cap_bytes", (json_int_t)record->cap_bytes);
}

static json_t *start_json(const struct mount_start *start)
{
	return json_pack("{s:b,s:b,s:I}", "fill", start->fill, "no_prefetch", start->no_prefetch,
			 "prefetch_rate", (json_int_t)start->prefetch_rate);
}

/* An entry of an older program has none. */
static int start_parse(const json_t *json, struct mount_start *start, struct err *err)
{
	json_t *object = NULL;
	if (json_get_object(json, "start", JSON_MAY, &object, err) < 0)
		return -EBADMSG;
	if (!object)
		return 0;
	if (json_get_bool(object, "fill", JSON_MAY, &start->fill, err) < 0 ||
	    json_get_bool(object, "no_prefetch", JSON_MAY, &start->no_prefetch, err) < 0 ||
	    json_get_u64(object, "prefetch_rate", JSON_MAY, &start->prefetch_rate, err) < 0)
		return -EBADMSG;
	return 0;
}

int mtable_save(int entry_fd, const struct mtable_entry *entry, struct err *err)
{
	struct digest_text manifest;
	AUTO_JSON json_t *maps = id_maps_json(&entry->maps);
	AUTO_JSON json_t *json = json_pack(
		"{s:O,s:s,s:s,s:s,s:s,s:s,s:s*,s:b,s:b,s:i,s:i,s:I,s:o,s:o}", "id_maps", maps, "id",
		entry->id, "dir", entry->dir,
		"image", entry->image, "store", entry->store, "manifest",
		digest_str(&entry->manifest, manifest.s), "upper", entry->upper, "erofs",
		entry->erofs, "own_upper", entry->own_upper, "holder", (int)entry->holder, "server",
		(int)entry->server, "created", (json_int_t)entry->created, "record",
		record_json(&entry->record), "start", start_json(&entry->start));
	AUTO_FREE char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
	if (!text)
		return err_set(err, -ENOMEM, "note a mount of %s", entry->dir);
	return file_commit(entry_fd, "mount.json", text, strlen(text), COMMIT_LIVE, err);
}

/* An entry of an older program has none. */
static int record_parse(const json_t *json, struct mtable_record *record, struct err *err)
{
	json_t *object = NULL;
	const char *touched = NULL;
	if (json_get_object(json, "record", JSON_MAY, &object, err) < 0)
		return -EBADMSG;
	if (!object)
		return 0;
	if (json_get_bool(object, "off", JSON_MAY, &record->off, err) < 0 ||
	    json_get_str(object, "touched", JSON_MAY, &touched, err) < 0 ||
	    json_get_u64(object, "quiet_ms", JSON_MAY, &record->quiet_ms, err) < 0 ||
	    json_get_u64(object, "cap_ms", JSON_MAY, &record->cap_ms, err) < 0 ||
	    json_get_u64(object, "cap_bytes", JSON_MAY, &record->cap_bytes, err) < 0)
		return -EBADMSG;
	record->touched = touched ? strdup(touched) : NULL;
	return touched && !record->touched ? err_set(err, -ENOMEM, "read mount.json") : 0;
}

static int entry_parse(const json_t *json, struct mtable_entry *e, struct err *err)
{
	const char *id = NULL, *dir = NULL, *image = NULL, *store = NULL, *upper = NULL;
	json_t *maps = NULL;
	int64_t holder = 0, server = 0;
	if (json_get_str(json, "id", JSON_NEED, &id, err) < 0 ||
	    json_get_str(json, "dir", JSON_NEED, &dir, err) < 0 ||
	    json_get_str(json, "image", JSON_NEED, &image, err) < 0 ||
	    json_get_str(json, "store", JSON_NEED, &store, err) < 0 ||
	    json_get_str(json, "upper", JSON_MAY, &upper, err) < 0 ||
	    json_get_object(json, "id_maps", JSON_MAY, &maps, err) < 0 ||
	    id_maps_parse(maps, &e->maps, err) < 0 ||
	    json_get_bool(json, "own_upper", JSON_MAY, &e->own_upper, err) < 0 ||
	    json_get_bool(json, "erofs", JSON_MAY, &e->erofs, err) < 0 ||
	    json_get_digest(json, "manifest", JSON_NEED, &e->manifest, err) < 0 ||
	    json_get_i64(json, "holder", JSON_NEED, &holder, err) < 0 ||
	    json_get_i64(json, "server", JSON_NEED, &server, err) < 0 ||
	    json_get_i64(json, "created", JSON_NEED, &e->created, err) < 0 ||
	    start_parse(json, &e->start, err) < 0)
		return -EBADMSG;
	(void)snprintf(e->id, sizeof(e->id), "%s", id);
	e->holder = (pid_t)holder;
	e->server = (pid_t)server;
	e->dir = strdup(dir);
	e->image = strdup(image);
	e->store = strdup(store);
	e->upper = upper ? strdup(upper) : NULL;
	if (!e->dir || !e->image || !e->store || (upper && !e->upper))
		return err_set(err, -ENOMEM, "read mount.json");
	return record_parse(json, &e->record, err);
}

int mtable_load(int entry_fd, struct mtable_entry *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(MOUNT_JSON_MAX);
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_JSON json_t *json = NULL;
	int r = file_slurp(entry_fd, "mount.json", &text, err);
	if (r == 0)
		r = json_parse_object(text.data, text.len, "mount.json", &json, err);
	if (r == 0)
		r = entry_parse(json, &entry, err);
	if (r != 0)
		return r;
	*ret = entry;
	entry = (struct mtable_entry){0};
	return 0;
}

/* Whose directory it is matters: what it says is acted upon. */
static int table_open(const char *run_dir, bool make, int *ret_fd, struct err *err)
{
	struct stat st;
	if (make) {
		int r = dir_make(run_dir, 0700, err);
		if (r < 0)
			return r;
	}
	AUTO_CLOSE int fd = open(run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "open the table of mounts %s", run_dir);
	if (st.st_uid != geteuid())
		return err_say(err, -EACCES, "the table of mounts %s belongs to user %u", run_dir,
			       st.st_uid);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int mtable_reserve(const char *run_dir, char ret_id[static MTABLE_ID_MAX], int *ret_fd,
		   struct err *err)
{
	AUTO_CLOSE int table = -1;
	uint64_t salt;
	int r = table_open(run_dir, true, &table, err);
	if (r < 0)
		return r;
	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return err_set(err, -errno, "name a mount");
	(void)snprintf(ret_id, MTABLE_ID_MAX, "%016llx", (unsigned long long)salt);
	if (mkdirat(table, ret_id, 0700) < 0)
		return err_set(err, -errno, "make %s/%s", run_dir, ret_id);
	int fd = openat(table, ret_id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		r = err_set(err, -errno, "open %s/%s", run_dir, ret_id);
		(void)tree_remove(table, ret_id, NULL);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int mtable_add(const char *run_dir, struct mtable_entry *entry, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	int r = mtable_reserve(run_dir, entry->id, &fd, err);
	if (r < 0)
		return r;
	r = mtable_save(fd, entry, err);
	if (r < 0) {
		(void)mtable_remove(run_dir, entry->id, NULL);
		return r;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

int mtable_open(const char *run_dir, const char *id, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int table = -1;
	int r = table_open(run_dir, false, &table, err);
	if (r < 0)
		return r;
	if (strchr(id, '/') || id[0] == '.')
		return err_set(err, -EINVAL, "open mount '%.64s'", id);
	int fd = openat(table, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open %s/%s", run_dir, id);
	*ret_fd = fd;
	return 0;
}

int mtable_lock(int entry_fd, uint64_t wait_ms, int *ret_fd, struct err *err)
{
	deadline_t until = deadline_in_ms(wait_ms);
	AUTO_CLOSE int fd = openat(entry_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "lock a mount");
	struct flock lock = {.l_type = F_WRLCK};
	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno != EAGAIN && errno != EACCES)
			return err_set(err, -errno, "lock a mount");
		if (wait_ms == 0 || deadline_passed(until))
			return err_say(err, -EBUSY, "the mount has a holder already");
		clock_sleep_ms(LOCK_LOOK_MS, 0);
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

bool mtable_is_held(int entry_fd)
{
	AUTO_CLOSE int fd = openat(entry_fd, "lock", O_RDONLY | O_CLOEXEC);
	/* Asked for and not taken: a holder that starts meanwhile must find it free. */
	struct flock lock = {.l_type = F_RDLCK};
	return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int mtable_remove(const char *run_dir, const char *id, struct err *err)
{
	AUTO_CLOSE int table = -1;
	int r = table_open(run_dir, false, &table, err);
	return r < 0 ? r : tree_remove(table, id, err);
}

struct each {
	mtable_fn fn;
	void *data;
};

static int each_entry(void *data, int table, const char *name)
{
	const struct each *each = data;
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_CLOSE int fd = openat(table, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct err ignored;
	/* Being made, or being removed, just now. */
	if (fd < 0 || mtable_load(fd, &entry, &ignored) != 0 || strcmp(entry.id, name) != 0)
		return 0;
	return each->fn(each->data, fd, &entry);
}

/* What is done with each name; table is open for reading. A non-zero result ends the walk. */
typedef int (*table_name_fn)(void *data, int table, const char *name);

static int table_walk(const char *run_dir, table_name_fn fn, void *data, struct err *err)
{
	int table = -1;
	int r = table_open(run_dir, false, &table, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	DIR *dir = fdopendir(table);
	if (!dir) {
		r = err_set(err, -errno, "read the table of mounts %s", run_dir);
		(void)close(table);
		return r;
	}
	struct dirent *item;
	r = 0;
	while (r == 0 && (item = readdir(dir))) // NOLINT(concurrency-mt-unsafe): our own stream
		if (item->d_name[0] != '.')
			r = fn(data, table, item->d_name);
	(void)closedir(dir);
	return r;
}

int mtable_each(const char *run_dir, mtable_fn fn, void *data, struct err *err)
{
	struct each each = {fn, data};
	return table_walk(run_dir, each_entry, &each, err);
}

struct collect {
	uint64_t age_sec, count;
	bool dry_run;
};

/* Whether it is one of mtable_add(), which is all that is ever removed here. */
static bool name_is_id(const char *name)
{
	return strlen(name) == MTABLE_ID_MAX - 1 &&
	       strspn(name, "0123456789abcdef") == MTABLE_ID_MAX - 1;
}

static int collect_entry(void *data, int table, const char *name)
{
	struct collect *collect = data;
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_CLOSE int fd = openat(table, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct err why = {0};
	struct stat st;
	if (fd < 0 || !name_is_id(name) || fstat(fd, &st) < 0 ||
	    st.st_ctime + (int64_t)collect->age_sec > (int64_t)time(NULL))
		return 0;
	int r = mtable_load(fd, &entry, &why);
	if ((r != -ENOENT && r != -EBADMSG && r != -EINVAL) || mtable_is_held(fd))
		return 0;
	if (collect->dry_run || tree_remove(table, name, NULL) == 0)
		collect->count++;
	return 0;
}

int mtable_collect(const char *run_dir, uint64_t age_sec, bool dry_run, uint64_t *ret,
		   struct err *err)
{
	struct collect collect = {.age_sec = age_sec, .dry_run = dry_run};
	int r = table_walk(run_dir, collect_entry, &collect, err);
	if (r == 0)
		*ret = collect.count;
	return r;
}

struct find {
	const char *dir;
	bool held;
	int64_t created;
	char id[MTABLE_ID_MAX];
};

static int find_one(void *data, int entry_fd, const struct mtable_entry *entry)
{
	struct find *find = data;
	if (strcmp(entry->dir, find->dir) != 0)
		return 0;
	bool held = mtable_is_held(entry_fd);
	if (held > find->held || (held == find->held && entry->created >= find->created)) {
		find->held = held;
		find->created = entry->created;
		memcpy(find->id, entry->id, sizeof(find->id));
	}
	return 0;
}

int mtable_find(const char *run_dir, const char *dir, struct mtable_entry *ret, int *ret_fd,
		struct err *err)
{
	struct find find = {.dir = dir};
	AUTO_CLOSE int fd = -1;
	int r = mtable_each(run_dir, find_one, &find, err);
	if (r < 0)
		return r;
	if (find.id[0] == '\0')
		return err_say(err, -ENOENT, "nothing of Sluice is mounted on %s", dir);
	r = mtable_open(run_dir, find.id, &fd, err);
	if (r == 0)
		r = mtable_load(fd, ret, err);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}
