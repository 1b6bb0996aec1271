/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who keeps what: an image is kept by being there (without `all`) or by being
 * in use; layers and blobs by the images that name them, by being open or
 * worked on, or by being younger than min_age, which covers what was fetched
 * for an image that is not written yet. When one image cannot be read, or is
 * being prepared, nothing is removed on the ground that no image names it.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/num.h"
#include "fetcher/store_layer_priv.h"
#include "fetcher/store_pin_priv.h"

enum {
	QUARANTINE_KEEP_SEC = 7 * 24 * 3600, /* evidence for whoever looks into it; not with `all` */
};

struct keep {
	struct hnode node;
	struct digest digest;
	bool is_layer;
};

struct gc {
	struct store *store;
	const struct store_gc_options *options;
	struct store_gc_result result;
	uint64_t now;
	struct htab keep;  /* struct keep, owned */
	struct pinned pinned; /* owned */
	bool under_way;	   /* an image is being prepared, and does not say yet what it needs */
	bool sha512;	   /* of the blob directory being walked */
};

static bool keep_match(const struct hnode *node, const void *key)
{
	const struct keep *keep = container_of(node, const struct keep, node);
	const struct keep *want = key;
	return keep->is_layer == want->is_layer && digest_equal(&keep->digest, &want->digest);
}

static bool keep_has(const struct gc *gc, const struct digest *digest, bool is_layer)
{
	const struct keep want = {.digest = *digest, .is_layer = is_layer};
	return htab_find(&gc->keep, hash_bytes(digest, sizeof(*digest)), keep_match, &want);
}

static int keep_add(void *data, const struct digest *digest, bool is_layer)
{
	struct gc *gc = data;
	if (keep_has(gc, digest, is_layer))
		return 0;
	struct keep *keep = calloc(1, sizeof(*keep));
	if (!keep)
		return -ENOMEM;
	keep->digest = *digest;
	keep->is_layer = is_layer;
	int r = htab_insert(&gc->keep, &keep->node, hash_bytes(digest, sizeof(*digest)));
	if (r < 0)
		free(keep);
	return r;
}

static void keep_finish(struct gc *gc)
{
	struct hnode *node;
	while ((node = htab_pop(&gc->keep)))
		free(container_of(node, struct keep, node));
	htab_finish(&gc->keep);
}

/* Whether nobody touched an entry for that long; one that is gone is not old. */
static bool gc_is_old(const struct gc *gc, int dirfd, const char *name, uint64_t age_sec)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	time_t last = st.st_mtime > st.st_ctime ? st.st_mtime : st.st_ctime;
	return last >= 0 && (uint64_t)last <= gc->now && gc->now - (uint64_t)last >= age_sec;
}

static void gc_note(struct gc *gc, uint64_t bytes)
{
	gc->result.removed_entries++;
	gc->result.freed_bytes += bytes;
}

/* What store_remove_layer() and store_remove_image() say: in use, or gone, is fine. */
static int gc_note_removal(struct gc *gc, int r, uint64_t bytes)
{
	if (r == 0)
		gc_note(gc, bytes);
	return r == -EBUSY || r == -ENOENT ? 0 : r;
}

static int gc_remove_plain(struct gc *gc, int dirfd, const char *name, struct err *err)
{
	uint64_t bytes = store_disk_bytes(dirfd, name);
	int r = gc->options->dry_run ? 0 : tree_remove(dirfd, name, err);
	if (r == 0)
		gc_note(gc, bytes);
	return r;
}

static int gc_tmp(void *data, int dirfd, const char *name, struct err *err)
{
	struct gc *gc = data;
	if (!gc_is_old(gc, dirfd, name, gc->options->min_age_sec) || store_tmp_is_live(dirfd, name))
		return 0;
	return gc_remove_plain(gc, dirfd, name, err);
}

static int gc_quarantine(void *data, int dirfd, const char *name, struct err *err)
{
	struct gc *gc = data;
	uint64_t age = gc->options->min_age_sec;
	if (!gc->options->all)
		age = u64_max(age, QUARANTINE_KEEP_SEC);
	return gc_is_old(gc, dirfd, name, age) ? gc_remove_plain(gc, dirfd, name, err) : 0;
}

/* A commit that died in a directory of published things. */
static int gc_commit(void *data, int dirfd, const char *name, struct err *err)
{
	struct gc *gc = data;
	if (!commit_is_temporary(name) ||
	    !gc_is_old(gc, dirfd, name, gc->options->min_age_sec))
		return 0;
	return gc_remove_plain(gc, dirfd, name, err);
}

static int gc_commits_below(void *data, int dirfd, const char *name, struct err *err)
{
	struct digest digest;
	if (!store_entry_parse(name, &digest))
		return gc_commit(data, dirfd, name, err);
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? 0 : store_each(fd, gc_commit, data, err);
}

/* Removes an image that may go, else notes what it names. */
static int gc_image(void *data, int dirfd, const char *name, struct err *err)
{
	struct gc *gc = data;
	struct digest digest;
	uint64_t bytes = 0;
	char path[DIGEST_STR_MAX + 16];
	if (!store_entry_parse(name, &digest))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/image.json", name);
	bool unfinished = faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	if ((gc->options->all || unfinished) &&
	    gc_is_old(gc, dirfd, name, gc->options->min_age_sec)) {
		int r = store_remove_image(gc->store, name, gc->options->dry_run, &bytes, err);
		if (r != -EBUSY)
			return gc_note_removal(gc, r, bytes);
	}
	int r = store_image_names(gc->store, name, keep_add, gc, err);
	if (r == -EBADMSG)
		return err_prefix(err, r, "what layers are needed is unknown, run fsck --repair");
	if (r != -ENOENT)
		return r;
	gc->under_way = true;
	return 0;
}

/* With `all`, what a reference was goes with the image that it was; images keep their manifests. */
static int gc_tag(void *data, int dirfd, const char *name, struct err *err)
{
	struct gc *gc = data;
	struct digest digest;
	if (commit_is_temporary(name) || !gc->options->all)
		return gc_commit(data, dirfd, name, err);
	int r = store_tag_check(gc->store, name, &digest, NULL);
	if ((r < 0 && r != -EBADMSG) || (r == 0 && keep_has(gc, &digest, false)) ||
	    !gc_is_old(gc, dirfd, name, gc->options->min_age_sec))
		return 0;
	return gc_remove_plain(gc, dirfd, name, err);
}

static int gc_layer(void *data, int dirfd, const char *name, struct err *err)
{
	struct gc *gc = data;
	struct digest digest;
	uint64_t bytes = 0;
	if (gc->under_way || !store_entry_parse(name, &digest) || keep_has(gc, &digest, true) ||
	    !gc_is_old(gc, dirfd, name, gc->options->min_age_sec))
		return 0;
	int r = store_remove_layer(gc->store, name, gc->options->dry_run, &bytes, err);
	return gc_note_removal(gc, r, bytes);
}

static int gc_blob(void *data, int dirfd, const char *name, struct err *err)
{
	struct gc *gc = data;
	struct digest digest;
	char text[DIGEST_STR_MAX];
	int n = snprintf(text, sizeof(text), "%s:%s", gc->sha512 ? "sha512" : "sha256", name);
	if (n < 0 || (size_t)n >= sizeof(text) || digest_parse(text, &digest, NULL) < 0)
		return 0;
	if (gc->under_way || keep_has(gc, &digest, false) ||
	    !gc_is_old(gc, dirfd, name, gc->options->min_age_sec))
		return 0;
	return gc_remove_plain(gc, dirfd, name, err);
}

/* A lock file that nobody holds; a waiter that has it open sees that it is gone and makes anew. */
static int gc_lock(void *data, int dirfd, const char *name, struct err *err)
{
	const struct gc *gc = data;
	(void)err;
	if (gc->options->dry_run || !gc_is_old(gc, dirfd, name, gc->options->min_age_sec))
		return 0;
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && ofd_lock(fd, F_WRLCK, 0, 0) == 0) {
		struct stat st;
		if (fstat(fd, &st) == 0 && st.st_nlink > 0)
			(void)unlinkat(dirfd, name, 0);
	}
	return 0;
}

static int gc_trim(void *data, int dirfd, const char *name, struct err *err)
{
	const struct gc *gc = data;
	struct digest digest;
	AUTO(store_layer) struct store_layer *layer = NULL;
	(void)dirfd;
	(void)err;
	/* One that is pinned later has no absent spans. */
	if (!store_entry_parse(name, &digest) || pinned_has_layer(&gc->pinned, &digest) ||
	    layer_load(gc->store, name, &layer, NULL) < 0)
		return 0;
	AUTO_CLOSE int lock_fd = layer_lock_fd(layer);
	if (lock_fd >= 0)
		(void)layer_trim(layer, lock_fd);
	return 0;
}

/* First, so that what only they kept can go. */
static int gc_pins(struct gc *gc, struct err *err)
{
	gc->pinned.keep_dead = gc->options->dry_run;
	int r = pinned_read(gc->store, &gc->pinned, err);
	gc->result.removed_entries += gc->pinned.dead;
	return r;
}

static int gc_walk(struct gc *gc, struct err *err)
{
	static const struct {
		enum store_dir dir;
		store_name_fn fn;
	} walks[] = {
		{STORE_DIR_QUARANTINE, gc_quarantine},
		{STORE_DIR_IMAGES, gc_image}, /* before what images keep */
		{STORE_DIR_LAYERS, gc_layer},
		{STORE_DIR_SHA256, gc_blob},
		{STORE_DIR_SHA512, gc_blob},
		{STORE_DIR_SHA256, gc_commit},
		{STORE_DIR_SHA512, gc_commit},
		{STORE_DIR_UNSYNCED, gc_commit},
		{STORE_DIR_TAGS, gc_tag},
		{STORE_DIR_IMAGES, gc_commits_below},
		{STORE_DIR_LAYERS, gc_commits_below},
		{STORE_DIR_TMP, gc_tmp},
		{STORE_DIR_LOCKS, gc_lock},
	};
	int r = gc_pins(gc, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(walks); i++) {
		gc->sha512 = walks[i].dir == STORE_DIR_SHA512;
		r = store_each(gc->store->dirs[walks[i].dir], walks[i].fn, gc, err);
		if (r < 0)
			return r;
	}
	r = store_each(gc->store->fd, gc_commit, gc, err);
	if (r < 0 || gc->options->dry_run)
		return r;
	r = store_each(gc->store->dirs[STORE_DIR_LAYERS], gc_trim, gc, err);
	return r < 0 ? r : store_recount(gc->store, err);
}

int store_gc(struct store *store, const struct store_gc_options *options,
	     struct store_gc_result *ret, struct err *err)
{
	struct gc gc = {.store = store, .options = options, .now = store_now_sec()};
	int r = gc_walk(&gc, err);
	keep_finish(&gc);
	pinned_finish(&gc.pinned);
	if (r < 0)
		return err_prefix(err, r, "clean up the store %s", store->path);
	uint64_t freed = 0;
	if (!options->dry_run)
		r = store_evict(store, store->budget, &freed, err);
	if (r < 0)
		return r;
	gc.result.freed_bytes += freed;
	*ret = gc.result;
	return 0;
}
