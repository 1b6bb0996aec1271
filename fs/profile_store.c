/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/profile_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "fs/image_record.h"

void profile_facts_finish(struct profile_facts *facts)
{
	if (!facts)
		return;
	free(facts->layers);
	free(facts->sizes);
	*facts = (struct profile_facts){0};
}

int profile_facts_make(const struct erofs *tree, const struct digest *manifest,
		       const struct digest *layers, size_t n, struct profile_facts *ret,
		       struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {.image = *manifest, .n = n};
	struct erofs_stats stats;
	erofs_stats(tree, &stats);
	if (stats.n_devices != n || n > PROFILE_LAYERS_MAX)
		return err_say(err, -EBADMSG, "the image's metadata names %u layers, and it has %zu",
			       stats.n_devices, n);
	facts.layers = calloc(n + 1, sizeof(*facts.layers));
	facts.sizes = calloc(n + 1, sizeof(*facts.sizes));
	if (!facts.layers || !facts.sizes)
		return err_set(err, -ENOMEM, "read the image's layers");
	for (size_t i = 0; i < n; i++) {
		struct erofs_device device;
		int r = erofs_device(tree, (uint32_t)i + 1, &device);
		if (r < 0)
			return err_set(err, r, "read the image's layers");
		facts.layers[i] = layers[i];
		facts.sizes[i] = device.size;
	}
	*ret = facts;
	facts = (struct profile_facts){0};
	return 0;
}

static int facts_load(int dir, const struct digest *manifest, struct profile_facts *ret,
		      struct err *err)
{
	AUTO_FINISH(image_record) struct image_record record = {0};
	AUTO(erofs) struct erofs *tree = NULL;
	int r = image_record_load(dir, &record, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = openat(dir, "tree.erofs", O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? err_set(err, -errno, "open the image's metadata") : erofs_open(fd, &tree, err);
	return r < 0 ? r : profile_facts_make(tree, manifest, record.layers, record.n_layers, ret, err);
}

int profile_facts_load(struct store *store, const struct digest *manifest,
		       struct profile_facts *ret, struct err *err)
{
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(store, manifest, false, &dir, err);
	return r < 0 ? r : facts_load(dir, manifest, ret, err);
}

/* The profile in an image's directory. -ENOENT, -EBADMSG. */
static int profile_read(int dir, const struct profile_facts *facts, struct profile **ret,
			struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	int r = file_slurp(dir, PROFILE_FILE, &text, err);
	if (r == -E2BIG)
		return err_say(err, -EBADMSG, "the profile has more than %d bytes", PROFILE_TEXT_MAX);
	if (r < 0)
		return r;
	return profile_parse(&facts->image, facts->layers, facts->sizes, facts->n, text.data,
			     text.len, ret, err);
}

static int profile_write(int dir, const struct profile_facts *facts, const struct profile *p,
			 struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	int r = profile_emit(p, &facts->image, facts->layers, facts->n, &text, err);
	return r < 0 ? r : file_commit(dir, PROFILE_FILE, text.data, text.len, COMMIT_REPLACE, err);
}

int profile_load(struct store *store, const struct digest *manifest, struct profile **ret,
		 struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(store, manifest, false, &dir, err);
	/* Most images have none: then nothing else is read. */
	if (r == 0 && faccessat(dir, PROFILE_FILE, F_OK, 0) < 0)
		r = err_set(err, err_errno(), "open the image's startup profile");
	if (r == 0)
		r = facts_load(dir, manifest, &facts, err);
	return r < 0 ? r : profile_read(dir, &facts, ret, err);
}

/*
 * Waits for the lock of an image's profile. The image's own is held for as long as
 * it takes to prepare it, which may be when its profile arrives.
 */
static int profile_lock(struct store *store, const struct digest *manifest, int *ret_fd,
			struct err *err)
{
	char text[sizeof(PROFILE_FILE " ") + DIGEST_STR_MAX] = PROFILE_FILE " ";
	struct digest name;
	digest_str(manifest, text + strlen(PROFILE_FILE " "));
	int r = digest_of(DIGEST_SHA256, text, strlen(text), &name);
	if (r < 0)
		return err_set(err, r, "lock the image's startup profile");
	return store_lock(store, &name, deadline_in_ms(PROFILE_LOCK_MS), ret_fd, err);
}

/* Merges `other` into what the store has, and writes that if it is something new. */
static int profile_change(struct store *store, const struct profile_facts *facts,
			  const struct profile *other,
			  int (*merge)(struct profile *into, const struct profile *other),
			  struct profile **ret, struct err *err)
{
	AUTO_CLOSE int lock = -1;
	AUTO_CLOSE int dir = -1;
	AUTO(profile) struct profile *old = NULL;
	AUTO(profile) struct profile *p = NULL;
	int r = profile_lock(store, &facts->image, &lock, err);
	if (r == 0)
		r = image_dir_open(store, &facts->image, false, &dir, err);
	if (r < 0)
		return r;
	r = profile_read(dir, facts, &old, err);
	if (r == -EBADMSG)
		log_debug("begin a startup profile anew: %s", err_text(err));
	if (r < 0 && r != -EBADMSG && r != -ENOENT)
		return r;
	r = profile_create(&p);
	/* Joined with nothing, it is as it was. */
	if (r == 0 && old)
		r = profile_join(p, old);
	if (r == 0)
		r = merge(p, other);
	if (r < 0)
		return err_set(err, r, "merge startup profiles");
	if (!old || !profile_equal(old, p))
		r = profile_write(dir, facts, p, err);
	if (r == 0 && ret)
		*ret = steal_ptr(&p);
	return r;
}

int profile_learn(struct store *store, const struct digest *manifest, const struct profile *run,
		  struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	int r = profile_facts_load(store, manifest, &facts, err);
	if (r == 0)
		r = profile_change(store, &facts, run, profile_learn_run, NULL, err);
	return r < 0 ? err_prefix(err, r, "keep what the start touched") : 0;
}

int profile_adopt(struct store *store, const struct profile_facts *facts,
		  const struct profile *other, struct profile **ret, struct err *err)
{
	return profile_change(store, facts, other, profile_join, ret, err);
}

int profile_remove(struct store *store, const struct digest *manifest, struct err *err)
{
	AUTO_CLOSE int lock = -1;
	AUTO_CLOSE int dir = -1;
	int r = profile_lock(store, manifest, &lock, err);
	if (r == 0)
		r = image_dir_open(store, manifest, false, &dir, err);
	if (r == 0 && unlinkat(dir, PROFILE_FILE, 0) < 0)
		r = err_set(err, err_errno(), "remove the image's startup profile");
	return r;
}

int profile_check(struct store *store, const struct digest *manifest, struct err *err)
{
	AUTO(profile) struct profile *p = NULL;
	int r = profile_load(store, manifest, &p, err);
	return r == -ENOENT ? 0 : r;
}
