/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/store_layer_priv.h"
#include "fetcher/store_pin_priv.h"

enum { FSCK_STEP = 1 << 20 };

struct fsck {
	struct store *store;
	const struct store_fsck_options *options;
	store_fsck_fn fn;
	void *data;
	uint64_t wrong;
	enum digest_algo algo; /* of the blob directory being walked */
	const char *entry;     /* the layer whose files are being walked */
};

/* Reports; `done` says what repair did (NULL: nothing can be done). */
static void fsck_report(struct fsck *f, const char *what, const char *why, int repaired,
			const char *done)
{
	char text[ERR_TEXT_MAX];
	const char *end = "";
	if (f->options->repair && done)
		end = repaired == 0 ? done : "could not be repaired";
	(void)snprintf(text, sizeof(text), "%.*s%s%s", ERR_TEXT_MAX - 64, why, *end ? ": " : "",
		       end);
	f->wrong++;
	if (f->fn)
		f->fn(f->data, what, text);
}

static int fsck_hash(int fd, const struct digest *want, struct err *err)
{
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	AUTO_FREE char *step = malloc(FSCK_STEP);
	int r = step ? digest_ctx_create(want->algo, &ctx) : -ENOMEM;
	ssize_t got = 1;
	while (r == 0 && got > 0) {
		got = file_read(fd, step, FSCK_STEP);
		r = got < 0 ? (int)got : digest_ctx_update(ctx, step, (size_t)got);
	}
	struct digest digest;
	if (r == 0)
		r = digest_ctx_final(ctx, &digest);
	return r < 0 ? err_set(err, r, "read a blob") : digest_match(want, &digest, "it", err);
}

static int fsck_blob(void *data, int dirfd, const char *name, struct err *err)
{
	struct fsck *f = data;
	struct digest want;
	struct err why = {0};
	char what[NAME_MAX + 32];
	char text[NAME_MAX + 32];
	if (commit_is_temporary(name))
		return 0; /* gc's */
	(void)snprintf(what, sizeof(what), "blobs/%s/%s", digest_algo_name(f->algo), name);
	(void)snprintf(text, sizeof(text), "%s:%s", digest_algo_name(f->algo), name);
	int r = digest_parse(text, &want, NULL);
	if (r < 0)
		err_say(&why, r, "does not belong in the store");
	AUTO_CLOSE int fd = r < 0 ? -1 : openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (r == 0 && fd < 0)
		r = errno == ENOENT ? 0 : err_set(&why, -errno, "cannot be opened");
	else if (r == 0)
		r = fsck_hash(fd, &want, &why);
	if (r == -ENOMEM)
		return err_copy(err, &why);
	if (r < 0)
		fsck_report(f, what, err_text(&why),
			    f->options->repair ? tree_remove(dirfd, name, NULL) : 0, "removed");
	return 0;
}

static bool layer_file_is_known(const char *name)
{
	static const char *const known[] = {
		"tree.erofs", "seek", "windows", "data", "present", "layer.json",
	};
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(known[i], name) == 0)
			return true;
	}
	return commit_is_temporary(name);
}

static int fsck_layer_file(void *data, int dirfd, const char *name, struct err *err)
{
	struct fsck *f = data;
	char what[2 * NAME_MAX + 32];
	(void)err;
	if (layer_file_is_known(name))
		return 0;
	(void)snprintf(what, sizeof(what), "layers/%s/%s", f->entry, name);
	fsck_report(f, what, "does not belong in a layer",
		    f->options->repair ? tree_remove(dirfd, name, NULL) : 0, "removed");
	return 0;
}

/*
 * Makes a span absent. Under a mount of the kernel's its bytes stay until the right ones take their
 * place: a hole would read as zeros there.
 */
static int fsck_drop(struct fsck *f, struct store_layer *layer, int lock_fd, size_t i)
{
	AUTO_FINISH(pinned) struct pinned pinned = {0};
	uint64_t freed = 0;
	AUTO_CLOSE int evict = openat(f->store->fd, "usage", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int r = evict < 0 ? -errno : ofd_lock_wait(evict, F_WRLCK, STORE_LOCK_EVICT, 1);
	if (r == 0)
		r = pinned_read(f->store, &pinned, NULL);
	if (r < 0)
		return r;
	return pinned_has_layer(&pinned, &layer->digest) ?
		       layer_forget(layer, lock_fd, i) :
		       layer_drop(layer, lock_fd, i, i + 1, &freed);
}

static void fsck_span(struct fsck *f, struct store_layer *layer, int lock_fd, size_t i)
{
	struct span span;
	seek_get(layer->seek, i, &span);
	uint32_t word = store_layer_state(layer, i);
	if (!(word & SPAN_PRESENT) || span.codec == SEEK_ZEROS || span.sum != SEEK_SUM_OUT)
		return;
	int r = layer_check_span(layer, i);
	/* Evicted meanwhile, perhaps: then there is nothing to say about it. */
	if (r == 0 || store_layer_state(layer, i) != word)
		return;
	char what[DIGEST_STR_MAX + 64];
	(void)snprintf(what, sizeof(what), "layers/%s span %zu", f->entry, i);
	int dropped = f->options->repair ? fsck_drop(f, layer, lock_fd, i) : 0;
	fsck_report(f, what,
		    r == -EBADMSG ? "its bytes do not have the SHA-256 of the seek table"
				  : "its bytes cannot be read",
		    dropped, "dropped, to be fetched again");
}

/* One that cannot be fetched again takes its layer with it. False: the layer is gone. */
static bool fsck_window(struct fsck *f, struct store_layer *layer, size_t i)
{
	int r = layer_check_window(layer, i);
	if (r == 0)
		return true;
	char what[DIGEST_STR_MAX + 64];
	bool lost = digest_is_none(&layer->info.windows_digest);
	struct err why = {0};
	(void)err_say(&why, r, "the window of span %zu does not unpack", i);
	(void)snprintf(what, sizeof(what), "layers/%s", f->entry);
	if (f->options->repair && lost)
		(void)layer_put_aside(layer, &why);
	else if (f->options->repair)
		store_layer_drop_window(layer, i);
	fsck_report(f, what, err_text(&why), 0, lost ? "put aside, to be made again"
						     : "dropped, to be fetched again");
	return !lost;
}

/* tree.erofs, if there is one: 0, -EBADMSG or what reading it gave. */
static int fsck_tree(const struct fsck *f, int dirfd, struct err *err)
{
	AUTO_CLOSE int fd = openat(dirfd, "tree.erofs", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return 0; /* in the making, or gone */
	if (fd < 0)
		return err_set(err, -errno, "open tree.erofs");
	return f->options->tree ? f->options->tree(fd, err) : 0;
}

static int fsck_layer_tree(struct fsck *f, struct store_layer *layer, struct err *err)
{
	struct err why = {0};
	char what[NAME_MAX + 32];
	int r = fsck_tree(f, layer->dirfd, &why);
	if (r == 0)
		return 0;
	if (r != -EBADMSG && r != -EOPNOTSUPP && r != -EIO)
		return err_copy(err, &why);
	(void)snprintf(what, sizeof(what), "layers/%s/tree.erofs", f->entry);
	fsck_report(f, what, err_text(&why),
		    f->options->repair ? tree_remove(layer->dirfd, "tree.erofs", NULL) : 0,
		    "removed, to be made again");
	return 0;
}

static int fsck_layer_content(struct fsck *f, struct store_layer *layer, struct err *err)
{
	AUTO_CLOSE int lock_fd = layer_lock_fd(layer);
	if (lock_fd < 0)
		return err_set(err, lock_fd, "open present of layers/%s", f->entry);
	for (size_t i = 0; f->options->deep && i < layer->present.count; i++) {
		fsck_span(f, layer, lock_fd, i);
		if (!fsck_window(f, layer, i))
			return 0;
	}
	int r = fsck_layer_tree(f, layer, err);
	return r < 0 ? r : store_each(layer->dirfd, fsck_layer_file, f, err);
}

static int fsck_layer(void *data, int dirfd, const char *name, struct err *err)
{
	struct fsck *f = data;
	struct err why = {0};
	char what[NAME_MAX + 32];
	uint64_t freed;
	struct digest digest;
	AUTO(store_layer) struct store_layer *layer = NULL;
	if (commit_is_temporary(name))
		return 0;
	(void)snprintf(what, sizeof(what), "layers/%s", name);
	if (!store_entry_parse(name, &digest)) {
		fsck_report(f, what, "does not belong in the store",
			    f->options->repair ? tree_remove(dirfd, name, NULL) : 0, "removed");
		return 0;
	}
	int r = layer_load(f->store, name, &layer, &why);
	if (r < 0 && !layer_is_damage(r))
		return err_copy(err, &why);
	if (r < 0 && faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* removed meanwhile */
	if (r < 0) {
		r = f->options->repair ? store_remove_layer(f->store, name, false, &freed, NULL) : 0;
		fsck_report(f, what, err_text(&why), r, "removed, to be fetched again");
		return 0;
	}
	f->entry = name;
	return fsck_layer_content(f, layer, err);
}

static int fsck_nothing(void *data, const struct digest *digest, bool is_layer)
{
	(void)data;
	(void)digest;
	(void)is_layer;
	return 0;
}

/* A profile says what to fetch early, so an image is none the worse without one. */
static int fsck_profile(struct fsck *f, int dirfd, const char *name, const struct digest *digest,
			struct err *err)
{
	struct err why = {0};
	char path[NAME_MAX + 16];
	char what[NAME_MAX + 32];
	int r = f->options->profile ? f->options->profile(f->store, digest, &why) : 0;
	if (r == 0)
		return 0;
	if (r != -EBADMSG && r != -EIO)
		return err_copy(err, &why);
	(void)snprintf(path, sizeof(path), "%s/profile", name);
	(void)snprintf(what, sizeof(what), "images/%s", path);
	fsck_report(f, what, err_text(&why), f->options->repair ? tree_remove(dirfd, path, NULL) : 0,
		    "removed");
	return 0;
}

static int fsck_image(void *data, int dirfd, const char *name, struct err *err)
{
	struct fsck *f = data;
	struct err why = {0};
	char what[NAME_MAX + 32];
	struct digest digest;
	uint64_t freed;
	if (commit_is_temporary(name))
		return 0;
	(void)snprintf(what, sizeof(what), "images/%s", name);
	if (!store_entry_parse(name, &digest)) {
		fsck_report(f, what, "does not belong in the store",
			    f->options->repair ? tree_remove(dirfd, name, NULL) : 0, "removed");
		return 0;
	}
	/* One without an image.json is in the making, or gc's. */
	int r = store_image_names(f->store, name, fsck_nothing, NULL, &why);
	AUTO_CLOSE int fd = r < 0 ? -1 : openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		r = fsck_tree(f, fd, &why);
	if (r == 0)
		return fsck_profile(f, dirfd, name, &digest, err);
	if (r == -ENOENT)
		return 0;
	if (r != -EBADMSG && r != -EOPNOTSUPP && r != -EIO)
		return err_copy(err, &why);
	r = f->options->repair ? store_remove_image(f->store, name, false, &freed, NULL) : 0;
	fsck_report(f, what, err_text(&why), r, "removed, to be fetched again");
	return 0;
}

static int fsck_tag(void *data, int dirfd, const char *name, struct err *err)
{
	struct fsck *f = data;
	struct err why = {0};
	struct digest digest;
	char what[NAME_MAX + 32];
	if (commit_is_temporary(name))
		return 0;
	int r = store_tag_check(f->store, name, &digest, &why);
	if (r == 0 || r == -ENOENT)
		return 0;
	if (r != -EBADMSG)
		return err_copy(err, &why);
	(void)snprintf(what, sizeof(what), "tags/%s", name);
	fsck_report(f, what, err_text(&why),
		    f->options->repair ? tree_remove(dirfd, name, NULL) : 0, "removed");
	return 0;
}

static int fsck_root(void *data, int dirfd, const char *name, struct err *err)
{
	static const char *const known[] = {
		"blobs", "layers", "images", "tags", "tmp", "quarantine", "locks", "pins", "unsynced",
		"usage",
		"version", "lost+found",
		/* Of who runs containers. */
		"cache", "containers", "runtime",
	};
	(void)dirfd;
	(void)err;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(known[i], name) == 0)
			return 0;
	}
	/* Not ours, so not ours to remove. */
	if (!commit_is_temporary(name))
		fsck_report(data, name, "does not belong in the store", 0, NULL);
	return 0;
}

static int fsck_usage(struct fsck *f, struct err *err)
{
	char text[128];
	uint64_t counted = store_usage_bytes(f->store);
	uint64_t held;
	int r = store_count_layers(f->store, &held, err);
	/* Who fills meanwhile counts first, and who evicts counts last. */
	counted = u64_max(counted, store_usage_bytes(f->store));
	if (r < 0 || counted == held)
		return r;
	r = f->options->repair ? store_recount(f->store, err) : 0;
	/* What killed processes have counted is too much, which evictions and gc settle: not wrong. */
	if (r < 0 || counted > held)
		return r;
	(void)snprintf(text, sizeof(text),
		       "%llu bytes of layer data are counted, and the layers hold %llu",
		       (unsigned long long)counted, (unsigned long long)held);
	fsck_report(f, "usage", text, r, "counted anew");
	return r;
}

int store_fsck(struct store *store, const struct store_fsck_options *options, store_fsck_fn fn,
	       void *data, uint64_t *ret_wrong, struct err *err)
{
	static const struct {
		enum store_dir dir;
		store_name_fn fn;
	} walks[] = {
		{STORE_DIR_SHA256, fsck_blob}, {STORE_DIR_SHA512, fsck_blob},
		{STORE_DIR_LAYERS, fsck_layer}, {STORE_DIR_IMAGES, fsck_image},
		{STORE_DIR_TAGS, fsck_tag},
	};
	struct fsck f = {.store = store, .options = options, .fn = fn, .data = data};
	int r = store_each(store->fd, fsck_root, &f, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(walks); i++) {
		f.algo = walks[i].dir == STORE_DIR_SHA512 ? DIGEST_SHA512 : DIGEST_SHA256;
		r = store_each(store->dirs[walks[i].dir], walks[i].fn, &f, err);
	}
	if (r == 0)
		r = fsck_usage(&f, err);
	if (r < 0)
		return err_prefix(err, r, "check the store %s", store->path);
	*ret_wrong = f.wrong;
	return 0;
}
