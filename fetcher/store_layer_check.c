/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/store_layer_priv.h"

enum {
	CHECK_STEP = 1 << 20,
	QUARANTINE_TRIES = 16, /* names of the same second */
	TAR_BLOCK_BYTES = 512,
	TAR_PADDING_MAX = 1 << 20, /* of zeros after the end of a tar: a long record */
};

int store_quarantine(struct store *store, enum store_dir from, const char *name, const char *why,
		     struct err *err)
{
	int to = store->dirs[STORE_DIR_QUARANTINE];
	char aside[NAME_MAX + 1];
	for (int i = 0;; i++) {
		(void)snprintf(aside, sizeof(aside), "%.200s.%llu.%d", name,
			       (unsigned long long)store_now_sec(), i);
		if (renameat2(store->dirs[from], name, to, aside, RENAME_NOREPLACE) == 0)
			break;
		if (errno != EEXIST || i == QUARANTINE_TRIES)
			return err_set(err, -errno, "put %s aside", name);
	}
	AUTO_CLOSE int fd = openat(to, aside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR ? 0 : err_set(err, -errno, "open quarantine/%s", aside);
	/* The index is the evidence; gigabytes of what it produced are not. */
	(void)unlinkat(fd, "data", 0);
	int r = file_commit(fd, "why", why, strlen(why), COMMIT_REPLACE, err);
	if (r == 0 && (fsync(to) < 0 || fsync(store->dirs[from]) < 0))
		r = err_set(err, -errno, "write the quarantine to disk");
	return r;
}

int store_layer_quarantine(struct store *store, const struct digest *digest, const char *why,
			   struct err *err)
{
	char name[DIGEST_STR_MAX];
	AUTO(store_layer) struct store_layer *layer = NULL;
	store_entry_name(digest, name);
	/* What was counted for it counts no more; when it cannot be read, gc counts anew. */
	uint64_t bytes = layer_load(store, name, &layer, NULL) == 0 ? layer_bytes(layer) : 0;
	int r = store_quarantine(store, STORE_DIR_LAYERS, name, why, err);
	if (r == 0)
		store_usage_sub(store, bytes);
	return r;
}

int layer_put_aside(struct store_layer *layer, const struct err *why)
{
	char name[DIGEST_STR_MAX];
	struct stat mine, named;
	store_entry_name(&layer->digest, name);
	if (fstat(layer->dirfd, &mine) == 0 &&
	    fstatat(layer->store->dirs[STORE_DIR_LAYERS], name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    mine.st_dev == named.st_dev && mine.st_ino == named.st_ino)
		(void)store_layer_quarantine(layer->store, &layer->digest, err_text(why), NULL);
	return why->code;
}

/*
 * SOCI counts the bytes of a tar up to its end marker, where writers fill up
 * their last record with zeros: so the digest may be that of the device with
 * some more blocks. ret is changed only when it is.
 */
static int check_padding(const struct seek *seek, struct digest_ctx *ctx, struct digest *ret)
{
	static const char zeros[TAR_BLOCK_BYTES];
	struct span last = {0};
	struct digest got = *ret;
	int r = 0;
	if (seek_count(seek) > 0)
		seek_get(seek, seek_count(seek) - 1, &last);
	if (last.sum != SEEK_SUM_IN)
		return 0;
	for (size_t n = 0; r == 0 && n < TAR_PADDING_MAX; n += sizeof(zeros)) {
		r = digest_ctx_update(ctx, zeros, sizeof(zeros));
		if (r == 0)
			r = digest_ctx_peek(ctx, &got);
		if (r == 0 && digest_equal(&got, seek_diff_id(seek))) {
			*ret = got;
			return 0;
		}
	}
	return r;
}

static int check_digest(struct store_layer *layer, struct digest *ret, struct err *err)
{
	uint64_t size = seek_out_size(layer->seek);
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	AUTO_FREE char *step = malloc(CHECK_STEP);
	int r = step ? digest_ctx_create(seek_diff_id(layer->seek)->algo, &ctx) : -ENOMEM;
	for (uint64_t off = 0; r == 0 && off < size;) {
		size_t n = (size_t)u64_min(CHECK_STEP, size - off);
		ssize_t got = layer_read_quiet(layer, step, n, off);
		if (got < 0)
			return err_set(err, (int)got, "read a layer back from the store");
		r = digest_ctx_update(ctx, step, n);
		off += n;
	}
	if (r == 0)
		r = digest_ctx_peek(ctx, ret);
	if (r == 0 && !digest_equal(ret, seek_diff_id(layer->seek)))
		r = check_padding(layer->seek, ctx, ret);
	return r < 0 ? err_set(err, r, "hash a layer in the store") : 0;
}

int store_layer_check_whole(struct store_layer *layer, struct err *err)
{
	char name[DIGEST_STR_MAX];
	const struct digest *want = seek_diff_id(layer->seek);
	store_entry_name(&layer->digest, name);
	if (atomic_load(&layer->whole_checked))
		return 0;
	if (!seek_is_tar(layer->seek) || digest_is_none(want))
		return err_say(err, -EAGAIN, "layer %s cannot be checked as a whole", name);
	for (size_t i = 0; i < layer->present.count; i++) {
		if (!(store_layer_state(layer, i) & SPAN_PRESENT))
			return err_say(err, -EAGAIN, "layer %s is not whole in the store", name);
	}
	struct digest got;
	int r = check_digest(layer, &got, err);
	if (r < 0)
		return r;
	r = digest_match(want, &got, "the layer that its index leads to", err);
	if (r < 0) {
		struct err why = {0};
		(void)digest_match(want, &got, "the layer that its index leads to", &why);
		int q = store_layer_quarantine(layer->store, &layer->digest, err_text(&why), NULL);
		return err_prefix(err, r, "layer %s%s", name,
				  q == 0 ? ", put aside" : ", which could not be put aside");
	}
	struct store_layer_info info = layer->info;
	info.whole_checked = true;
	r = layer_json_write(layer->dirfd, &info, COMMIT_REPLACE, err);
	if (r == 0)
		atomic_store(&layer->whole_checked, true);
	return r;
}
