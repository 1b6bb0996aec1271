/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "fetcher/store_layer_priv.h"
#include "fetcher/store_pin_priv.h"

enum {
	IMAGE_NAMES_MAX = 4096, /* layers and blobs that one image may name */
	REMOVE_TRIES = 8,	/* names in tmp/ */
	REMOVE_NAME_MAX = 32,
};

static int disk_bytes_file(void *data, int dirfd, const char *name, struct err *err)
{
	uint64_t *bytes = data;
	struct stat st;
	(void)err;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		*bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

uint64_t store_disk_bytes(int dirfd, const char *name)
{
	uint64_t bytes = 0;
	(void)disk_bytes_file(&bytes, dirfd, name, NULL);
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		(void)store_each(fd, disk_bytes_file, &bytes, NULL);
	return bytes;
}

/* Moves an entry to a name of its own in tmp/. No directory is made for it: the disk may be full. */
static int remove_aside(struct store *store, enum store_dir from, const char *name,
			char ret_aside[static REMOVE_NAME_MAX], struct err *err)
{
	for (int i = 0; i < REMOVE_TRIES; i++) {
		uint64_t salt;
		if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
			break;
		(void)snprintf(ret_aside, REMOVE_NAME_MAX, "gone-%016llx", (unsigned long long)salt);
		if (renameat2(store->dirs[from], name, store->dirs[STORE_DIR_TMP], ret_aside,
			      RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	return err_set(err, -errno, "remove %s", name);
}

/* The name goes first, in one step; a crash leaves a temporary that the next gc removes. */
static int remove_entry(struct store *store, enum store_dir from, const char *name, bool dry_run,
			uint64_t *ret_freed, struct err *err)
{
	char aside[REMOVE_NAME_MAX];
	uint64_t bytes = store_disk_bytes(store->dirs[from], name);
	if (!dry_run) {
		int r = remove_aside(store, from, name, aside, err);
		if (r == 0)
			r = tree_remove(store->dirs[STORE_DIR_TMP], aside, err);
		if (r < 0)
			return r;
	}
	*ret_freed = bytes;
	return 0;
}

/* Opens name/file and locks [start, start + len): -EBUSY when taken; no such file is fine: -1. */
static int remove_lock(int dirfd, const char *name, const char *file, uint64_t start, uint64_t len,
		       int *ret_fd, struct err *err)
{
	char path[DIGEST_STR_MAX + 16];
	(void)snprintf(path, sizeof(path), "%s/%s", name, file);
	AUTO_CLOSE int fd = openat(dirfd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "open %s", path);
	int r = ofd_lock(fd, F_WRLCK, start, len);
	if (r < 0)
		return err_set(err, r == -EAGAIN ? -EBUSY : r, "lock %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* Nobody works on the digest either; the lock is kept until the entry is gone. */
static int remove_lock_work(struct store *store, const char *name, int *ret_fd, struct err *err)
{
	int r = store_trylock(store, name, ret_fd, err);
	/* A lock that the full disk has no room for is nobody's. */
	if (r == -ENOSPC || r == -EDQUOT)
		return 0;
	return r == -EAGAIN ? err_set(err, -EBUSY, "remove %s", name) : r;
}

/* Whether the kernel has it mounted: asked once nobody can begin to, which the caller's lock says. */
static int remove_check_pins(struct store *store, const char *name, bool is_layer, struct err *err)
{
	AUTO_FINISH(pinned) struct pinned pinned = {0};
	struct digest digest;
	int r = pinned_read(store, &pinned, err);
	if (r < 0 || !store_entry_parse(name, &digest) ||
	    !(is_layer ? pinned_has_layer(&pinned, &digest) : pinned_has_image(&pinned, &digest)))
		return r;
	return err_say(err, -EBUSY, "remove %s: it is mounted", name);
}

int store_remove_layer(struct store *store, const char *name, bool dry_run, uint64_t *ret_freed,
		       struct err *err)
{
	AUTO_CLOSE int work = -1;
	AUTO_CLOSE int use = -1;
	int r = remove_lock_work(store, name, &work, err);
	if (r == 0)
		r = remove_lock(store->dirs[STORE_DIR_LAYERS], name, "present", PRESENT_LOCK_USE,
				1, &use, err);
	if (r == 0)
		r = remove_check_pins(store, name, true, err);
	return r < 0 ? r : remove_entry(store, STORE_DIR_LAYERS, name, dry_run, ret_freed, err);
}

int store_remove_image(struct store *store, const char *name, bool dry_run, uint64_t *ret_freed,
		       struct err *err)
{
	AUTO_CLOSE int work = -1;
	AUTO_CLOSE int use = -1;
	int r = remove_lock_work(store, name, &work, err);
	if (r == 0)
		r = remove_lock(store->dirs[STORE_DIR_IMAGES], name, "lock", 0, 0, &use, err);
	if (r == 0)
		r = remove_check_pins(store, name, false, err);
	return r < 0 ? r : remove_entry(store, STORE_DIR_IMAGES, name, dry_run, ret_freed, err);
}

static int names_list(const json_t *json, const char *key, bool is_layer, image_names_fn fn,
		      void *data, struct err *err)
{
	json_t *list = NULL;
	int r = json_get_array(json, key, JSON_MAY, &list, err);
	if (r < 0 || !list)
		return r;
	if (json_array_size(list) > IMAGE_NAMES_MAX)
		return err_say(err, -EBADMSG, "\"%s\" has more than %d items", key,
			       IMAGE_NAMES_MAX);
	size_t i;
	json_t *item;
	json_array_foreach(list, i, item) {
		struct digest digest;
		const char *text = json_string_value(item);
		if (!text)
			return err_say(err, -EBADMSG, "\"%s\" holds something else than text", key);
		r = digest_parse(text, &digest, err);
		if (r == 0)
			r = fn(data, &digest, is_layer);
		if (r < 0)
			return r;
	}
	return 0;
}

static int names_one(const json_t *json, const char *key, image_names_fn fn, void *data,
		     struct err *err)
{
	struct digest digest = {0};
	int r = json_get_digest(json, key, JSON_NEED, &digest, err);
	return r < 0 ? r : fn(data, &digest, false);
}

int store_image_names(struct store *store, const char *name, image_names_fn fn, void *data,
		      struct err *err)
{
	char path[DIGEST_STR_MAX + 16];
	AUTO_FINISH(buf) struct buf text = buf_make(STORE_JSON_MAX);
	AUTO_JSON json_t *json = NULL;
	(void)snprintf(path, sizeof(path), "%s/image.json", name);
	int r = file_slurp(store->dirs[STORE_DIR_IMAGES], path, &text, err);
	if (r < 0 && r != -E2BIG)
		return r;
	if (r == 0)
		r = json_parse_object(buf_str(&text), text.len, path, &json, err);
	if (r == 0)
		r = names_one(json, "manifest", fn, data, err);
	if (r == 0)
		r = names_one(json, "config", fn, data, err);
	if (r == 0)
		r = names_list(json, "layers", true, fn, data, err);
	if (r == 0)
		r = names_list(json, "blobs", false, fn, data, err);
	if (r == -ENOMEM)
		return err_set(err, r, "read image %s", name);
	if (r == -EINVAL || r == -E2BIG || r == -EBADMSG)
		return err_prefix(err, -EBADMSG, "image %s is damaged", name);
	return r;
}
