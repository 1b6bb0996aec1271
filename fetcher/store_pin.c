/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/store_pin.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "fetcher/store_layer_priv.h"
#include "fetcher/store_pin_priv.h"

enum {
	PIN_TRIES = 8, /* to make the file, while others remove what they take for dead */
	PIN_LINE_MAX = DIGEST_STR_MAX + 64,
	PIN_MOUNT_NAME_MAX = 64, /* "erofs-4294967296" */
	PIN_TURN_MS = 50,	 /* to wait for others of the store to make their mounts */
	PIN_TURN_STEP_MS = 1,
};

struct pin_mounts {
	char names[STORE_PIN_MOUNTS_MAX * 64][PIN_MOUNT_NAME_MAX];
	size_t n;
};

struct store_pin {
	struct store *store; /* borrowed */
	char id[STORE_PIN_ID_MAX];
	int dir, fd;	/* owned: pins/, and the file, which is locked */
	int image_lock; /* owned */
	int *data;	/* owned, n: of the layers */
	int *use;	/* owned, n: their `present`, locked against gc */
	size_t n;
	struct pin_mounts before; /* what the kernel had mounted when it was taken */
	bool mounted;
};

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; fds && i < n; i++)
		cleanup_close(&fds[i]);
	free(fds);
}

void store_pin_close(struct store_pin *pin)
{
	if (!pin)
		return;
	/* Whoever looked meanwhile may have named it so. */
	char shared[STORE_PIN_ID_MAX + sizeof(PIN_SHARED)];
	(void)snprintf(shared, sizeof(shared), "%s" PIN_SHARED, pin->id);
	if (pin->fd >= 0 && !pin->mounted && unlinkat(pin->dir, pin->id, 0) < 0)
		(void)unlinkat(pin->dir, shared, 0);
	close_all(pin->data, pin->n);
	close_all(pin->use, pin->n);
	cleanup_close(&pin->image_lock);
	cleanup_close(&pin->fd);
	cleanup_close(&pin->dir);
	free(pin);
}

static bool id_is_good(const char *id)
{
	size_t n = strnlen(id, STORE_PIN_ID_MAX);
	return n > 0 && n < STORE_PIN_ID_MAX &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n;
}

/* ---- the kernel's mounts before and after ---- */

static int mounts_add(void *data, const char *name)
{
	struct pin_mounts *mounts = data;
	if (mounts->n == ARRAY_LEN(mounts->names) || strlen(name) >= PIN_MOUNT_NAME_MAX)
		return -E2BIG;
	(void)snprintf(mounts->names[mounts->n++], PIN_MOUNT_NAME_MAX, "%s", name);
	return 0;
}

/*
 * One makes its mount at a time, so that it can be told which one it is. When that takes too long,
 * or others make theirs beside the store, it may be one of several.
 */
static void mounts_turn(const struct store_pin *pin)
{
	deadline_t deadline = deadline_in_ms(PIN_TURN_MS);
	while (flock(pin->dir, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK &&
	       !deadline_passed(deadline))
		clock_sleep_ms(PIN_TURN_STEP_MS, deadline);
}

static int mounts_look(struct pin_mounts *mounts, struct err *err)
{
	int r = pin_mounts_each(mounts_add, mounts);
	if (r == 0)
		return 0;
	return err_say(err, r == -E2BIG ? -EAGAIN : -EOPNOTSUPP,
		       r == -E2BIG ? "the kernel has too many EROFS mounts to tell one from the others" :
				     "this kernel does not show its EROFS mounts in /sys/fs/erofs");
}

/* ---- the layers ---- */

/* Whether every span of a layer is here, and was checked since the machine was started. */
static int words_are_whole(const struct store *store, int fd, size_t size, struct err *err)
{
	struct present p = {0};
	if (size < sizeof(struct present_header))
		return err_say(err, -EBADMSG, "`present` is too short");
	void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "map `present`");
	const struct present_header *head = map;
	int r = 0;
	if (head->magic != PRESENT_MAGIC || head->version != PRESENT_VERSION ||
	    size != sizeof(*head) + (size_t)head->count * 2 * sizeof(uint32_t))
		r = err_say(err, -EBADMSG, "`present` has a header that does not fit");
	else if (memcmp(head->boot, store->boot, BOOT_ID_MAX) != 0)
		r = err_say(err, -EAGAIN, "it was not used since the machine was started");
	if (r == 0)
		present_words(&p, map, head->count);
	for (size_t i = 0; r == 0 && i < p.count; i++) {
		uint32_t word = atomic_load_explicit(&p.state[i], memory_order_acquire);
		if (!(word & SPAN_PRESENT))
			r = err_say(err, -EAGAIN, "it is not wholly here");
		else if (word & SPAN_UNVERIFIED)
			r = err_say(err, -EAGAIN, "not all of it was checked since the machine was started");
	}
	(void)munmap(map, size);
	return r;
}

static int layer_open_data(struct store *store, const char *name, int *ret_data, int *ret_use,
			   struct err *err)
{
	AUTO_CLOSE int dir = openat(store->dirs[STORE_DIR_LAYERS], name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_set(err, -errno, "open it");
	AUTO_CLOSE int use = openat(dir, "present", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	AUTO_CLOSE int data = openat(dir, "data", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	if (use < 0 || data < 0)
		return err_set(err, -errno, "open it");
	int r = ofd_lock(use, F_RDLCK, PRESENT_LOCK_USE, 1);
	if (r == -EAGAIN)
		return err_say(err, r, "it is being removed");
	if (r < 0 || fstat(use, &st) < 0)
		return err_set(err, r < 0 ? r : -errno, "lock it");
	if (st.st_nlink == 0)
		return err_say(err, -EAGAIN, "it is being removed");
	r = words_are_whole(store, use, (size_t)st.st_size, err);
	if (r < 0)
		return r;
	*ret_data = steal_fd(&data);
	*ret_use = steal_fd(&use);
	return 0;
}

static int layers_open(struct store_pin *pin, const struct digest *layers, struct err *err)
{
	for (size_t i = 0; i < pin->n; i++) {
		char name[DIGEST_STR_MAX];
		int r = layer_open_data(pin->store, store_entry_name(&layers[i], name),
					&pin->data[i], &pin->use[i], err);
		if (r < 0)
			return err_prefix(err, r, "layer %s", name);
	}
	return 0;
}

static uint64_t data_bytes(int fd)
{
	struct stat st;
	return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

/* What is pinned cannot be evicted, and what is fetched for others still needs a place. */
static int check_budget(const struct store_pin *pin, const struct digest *image,
			const struct digest *layers, struct err *err)
{
	AUTO_FINISH(pinned) struct pinned pinned = {0};
	int r = pinned_read(pin->store, &pinned, err);
	if (r < 0 || pinned_has_image(&pinned, image))
		return r;
	uint64_t bytes = 0;
	for (size_t i = 0; i < pinned.n_layers; i++)
		bytes += pinned.layers[i].bytes;
	for (size_t i = 0; i < pin->n; i++)
		if (!pinned_has_layer(&pinned, &layers[i]))
			bytes += data_bytes(pin->data[i]);
	uint64_t most = pin->store->budget / STORE_PIN_BUDGET_DEN;
	if (bytes > most)
		return err_say(err, -EAGAIN,
			       "with it, layers of %llu bytes could not be evicted, and the budget of the store lets %llu",
			       (unsigned long long)bytes, (unsigned long long)most);
	return 0;
}

/* ---- the file ---- */

static int text_add(struct buf *text, const char *word, const char *rest)
{
	int r = buf_puts(text, word);
	if (r == 0)
		r = buf_puts(text, rest);
	return r < 0 ? r : buf_puts(text, "\n");
}

/* "end" is the last line, so that what was not written to its end says nothing. */
static int pin_write(struct store_pin *pin, const struct digest *image,
		     const struct digest *layers, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make((pin->n + 4) * PIN_LINE_MAX);
	struct digest_text digest;
	int r = text_add(&text, "boot ", pin->store->boot);
	if (r == 0)
		r = text_add(&text, "image ", digest_str(image, digest.s));
	for (size_t i = 0; i < pin->n && r == 0; i++) {
		char line[PIN_LINE_MAX];
		(void)snprintf(line, sizeof(line), "%s %llu", digest_str(&layers[i], digest.s),
			       (unsigned long long)data_bytes(pin->data[i]));
		r = text_add(&text, "layer ", line);
	}
	if (r == 0)
		r = text_add(&text, "end", "");
	if (r == 0)
		r = file_write(pin->fd, text.data, text.len);
	return r < 0 ? err_set(err, r, "write it") : 0;
}

static int pin_create(struct store_pin *pin, struct err *err)
{
	int r = pins_open(pin->store, true, &pin->dir, err);
	for (int i = 0; r == 0 && i < PIN_TRIES; i++) {
		AUTO_CLOSE int fd = openat(pin->dir, pin->id,
					   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat st;
		if (fd < 0)
			return err_set(err, -errno, "make it");
		/* Whoever looks at the new file before it is locked takes it for dead, and removes it. */
		r = ofd_lock_wait(fd, F_WRLCK, 0, 0);
		if (r < 0 || fstat(fd, &st) < 0)
			return err_set(err, r < 0 ? r : -errno, "lock it");
		if (st.st_nlink > 0) {
			pin->fd = steal_fd(&fd);
			return 0;
		}
	}
	return r < 0 ? r : err_say(err, -EAGAIN, "others remove it again and again");
}

static int pin_take(struct store_pin *pin, const struct digest *image, const struct digest *layers,
		    struct err *err)
{
	AUTO_CLOSE int evict = openat(pin->store->fd, "usage", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int r = evict < 0 ? -errno : ofd_lock(evict, F_RDLCK, STORE_LOCK_EVICT, 1);
	if (r == -EAGAIN)
		return err_say(err, r, "spans are being evicted");
	if (r < 0)
		return err_set(err, r, "lock %s/usage", pin->store->path);
	r = store_image_hold(pin->store, image, &pin->image_lock, err);
	if (r == 0)
		r = layers_open(pin, layers, err);
	if (r == 0)
		r = check_budget(pin, image, layers, err);
	if (r == 0)
		r = pin_create(pin, err);
	if (r == 0)
		r = pin_write(pin, image, layers, err);
	if (r < 0)
		return r;
	mounts_turn(pin);
	return mounts_look(&pin->before, err);
}

int store_pin_take(struct store *store, const char *id, const struct digest *image,
		   const struct digest *layers, size_t n, struct store_pin **ret, struct err *err)
{
	if (!id_is_good(id) || n == 0 || n > STORE_PIN_LAYERS_MAX)
		return err_say(err, -EINVAL, "pin an image: \"%s\", or its %zu layers, will not do", id, n);
	AUTO(store_pin) struct store_pin *pin = calloc(1, sizeof(*pin));
	if (!pin)
		return err_set(err, -ENOMEM, "pin an image");
	pin->store = store;
	pin->dir = pin->fd = pin->image_lock = -1;
	(void)snprintf(pin->id, sizeof(pin->id), "%s", id);
	pin->data = calloc(n, sizeof(*pin->data));
	pin->use = calloc(n, sizeof(*pin->use));
	if (!pin->data || !pin->use)
		return err_set(err, -ENOMEM, "pin an image");
	pin->n = n;
	for (size_t i = 0; i < n; i++)
		pin->data[i] = pin->use[i] = -1;
	int r = pin_take(pin, image, layers, err);
	if (r < 0)
		return err_prefix(err, r, "pin an image");
	*ret = steal_ptr(&pin);
	return 0;
}

int store_pin_data(const struct store_pin *pin, size_t i)
{
	return pin->data[i];
}

struct fresh {
	const struct pin_mounts *before;
	struct buf text;
	size_t n;
};

static int fresh_add(void *data, const char *name)
{
	struct fresh *fresh = data;
	for (size_t i = 0; i < fresh->before->n; i++)
		if (strcmp(fresh->before->names[i], name) == 0)
			return 0;
	if (++fresh->n > STORE_PIN_MOUNTS_MAX)
		return -E2BIG;
	int r = buf_puts(&fresh->text, " ");
	return r < 0 ? r : buf_puts(&fresh->text, name);
}

/* One that has to wait for the end of others is known by its name to whoever ends one. */
static int pin_share(int dir, const char *id, struct err *err)
{
	char shared[STORE_PIN_ID_MAX + sizeof(PIN_SHARED)];
	(void)snprintf(shared, sizeof(shared), "%s" PIN_SHARED, id);
	return renameat(dir, id, dir, shared) < 0 && errno != ENOENT ?
		       err_set(err, -errno, "note the mount of a pinned image") : 0;
}

int store_pin_mounted(struct store_pin *pin, struct err *err)
{
	struct fresh fresh = {.before = &pin->before, .text = buf_make(64 << 10)};
	AUTO_FINISH(buf) struct buf line = buf_make(64 << 10);
	int r = pin_mounts_each(fresh_add, &fresh);
	(void)flock(pin->dir, LOCK_UN);
	if (r == 0)
		r = text_add(&line, "mount", buf_str(&fresh.text));
	buf_finish(&fresh.text);
	if (r == -E2BIG)
		return err_say(err, -EAGAIN, "too many EROFS mounts were made at the same moment");
	if (r == 0 && fresh.n == 0)
		return err_say(err, -EOPNOTSUPP,
			       "the kernel does not show the mount in /sys/fs/erofs, so its end could not be known");
	if (r == 0)
		r = file_write(pin->fd, line.data, line.len);
	if (r < 0)
		return err_set(err, r, "note the mount of a pinned image");
	pin->mounted = true;
	return fresh.n > 1 ? pin_share(pin->dir, pin->id, err) : 0;
}

struct release {
	struct store *store;
	const char *id;
	bool own; /* the one that is released is still there */
};

static int release_shared(void *data, int dirfd, const char *name, struct err *err)
{
	struct release *release = data;
	size_t n = strlen(name), suffix = strlen(PIN_SHARED);
	if (n <= suffix || strcmp(name + n - suffix, PIN_SHARED) != 0)
		return 0;
	int r = pin_look(release->store, dirfd, name, err);
	if (r == -EBUSY && strlen(release->id) == n - suffix &&
	    strncmp(name, release->id, n - suffix) == 0)
		release->own = true;
	return r == -EBUSY ? 0 : r;
}

int store_pin_release(struct store *store, const char *id, struct err *err)
{
	struct release shared = {.store = store, .id = id};
	AUTO_CLOSE int dir = -1;
	struct err why = {0};
	if (!id_is_good(id))
		return err_say(err, -EINVAL, "\"%s\" is not the id of a pin", id);
	int r = pins_open(store, false, &dir, &why);
	if (r < 0)
		return r == -ENOENT ? 0 : err_copy(err, &why);
	/* Those that this mount kept, among them perhaps its own. */
	r = store_each(dir, release_shared, &shared, &why);
	if (r == 0)
		r = pin_look(store, dir, id, &why);
	/* A container that starts just now has a copy of every mount for a moment. */
	if (r == -EBUSY) {
		shared.own = true;
		r = pin_share(dir, id, &why);
	}
	if (r < 0)
		return err_copy(err, &why);
	return shared.own ? err_say(err, -EBUSY,
				    "the mount of the pin %s is still there, or one that was made with it", id) :
			    0;
}
