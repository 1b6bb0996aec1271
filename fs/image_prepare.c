/* SPDX-License-Identifier: Apache-2.0 */

/* image_prepare(): see fs/image.h. What it does for one layer is in layer_prepare.c. */

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/tasks.h"
#include "fetcher/manifest.h"
#include "fetcher/resolve.h"
#include "fetcher/store_unsynced.h"
#include "fs/bundle.h"
#include "fs/erofs_check.h"
#include "fs/image.h"
#include "fs/image_record.h"
#include "fs/layer_prepare.h"
#include "fs/profile_registry.h"
#include "fs/profile_soci.h"
#include "fs/tree.h"

enum {
	PREPARE_TIMEOUT_MS = 60000, /* default for one small request */
	PREPARE_TRIES = 3,	    /* where another process removes layers meanwhile */
	BUNDLE_WINDOWS_MAX = 1 << 30, /* of one layer, where they are taken whole */
};

struct prepare_task {
	struct task task;
	struct prepare *prepare;
};

/* What the registry has beside an image: who refers to it, Sluice's index, and a startup profile. */
struct prepare_index {
	struct digest of;		/* the manifest it was asked about; none: not asked yet */
	struct descriptors referrers;	/* owned */
	struct descriptor bundle;	/* owned; of Sluice's index, once it is found */
	struct buf bytes;		/* owned; the bundle's */
	struct descriptor profile;	/* owned; of the startup profile, once it is found */
	struct buf profile_bytes;	/* owned */
};

struct prepare {
	const struct image_request *request;
	uint64_t timeout_ms;
	struct resolved image;		/* owned: manifest and its bytes */
	struct image_config config;	/* owned */
	struct image_record record;	/* owned */
	struct tasks tasks;		/* owned; what is under way of the following */
	struct prepare_task config_task, referrers_task, bundle_task, profile_task, lists_task;
	struct prepare_task note_task;
	int note_lock;			/* owned; while things are published that are noted */
	bool *noted;			/* owned; a layer each: whether the note names it */
	struct prepare_index index;	/* owned; the tasks' until they are over */
	struct soci_index *soci;	/* owned; NULL: there is none, or it is not needed */
	struct profile_lists lists;	/* owned; of SOCI */
	int dir;			/* owned; images/<digest> */
};

static void prepare_index_finish(struct prepare_index *index)
{
	descriptors_finish(&index->referrers);
	descriptor_finish(&index->bundle);
	buf_finish(&index->bytes);
	descriptor_finish(&index->profile);
	buf_finish(&index->profile_bytes);
	*index = (struct prepare_index){0};
}

static void prepare_finish(struct prepare *p)
{
	tasks_wait(&p->tasks);
	tasks_finish(&p->tasks);
	resolved_finish(&p->image);
	image_config_finish(&p->config);
	image_record_finish(&p->record);
	prepare_index_finish(&p->index);
	profile_lists_finish(&p->lists);
	soci_index_destroy(p->soci);
	cleanup_close(&p->dir);
	cleanup_close(&p->note_lock);
	free(p->noted);
}
DEFINE_FINISH(prepare, prepare_finish);

/* How what needs a note is committed: without one the disk is waited for. */
static enum commit_mode prepare_mode(const struct prepare *p)
{
	return p->note_lock >= 0 ? COMMIT_LIVE : COMMIT_REPLACE;
}

/* The same for what needs none, since it is checked whenever it is read. */
static enum commit_mode prepare_mode_checked(const struct prepare *p)
{
	return p->request->late ? COMMIT_LIVE : COMMIT_REPLACE;
}

/* ---- what can be fetched at once ---- */

static void prepare_begin(struct prepare *p, struct prepare_task *task,
			  int (*run)(struct task *task, struct err *err))
{
	*task = (struct prepare_task){.task.run = run, .prepare = p};
	tasks_begin(&p->tasks, fetch_pool_io(p->request->pool), &task->task);
}

static int prepare_config(struct prepare *p, struct err *err)
{
	const struct descriptor *desc = &p->image.manifest.config;
	AUTO_FINISH(buf) struct buf bytes = buf_make(CONFIG_MAX);
	struct err ignored;
	int r = store_blob_get(p->request->store, &desc->digest, &bytes, &ignored);
	if (r < 0 && !p->request->origin)
		return err_say(err, -EHOSTUNREACH,
			       "the image's configuration is not in the store, and nothing may be fetched");
	if (r < 0) {
		r = origin_blob(p->request->origin, desc, &bytes, deadline_in_ms(p->timeout_ms), err);
		if (r < 0)
			return err_prefix(err, r, "fetch the image's configuration");
	}
	r = image_config_parse(bytes.data, bytes.len, p->image.manifest.layers.count, &p->config,
			       err);
	if (r < 0)
		return err_prefix(err, r, "read the image's configuration");
	return store_blob_keep(p->request->store, &desc->digest, bytes.data, bytes.len,
			       prepare_mode_checked(p), err);
}

static int prepare_config_run(struct task *task, struct err *err)
{
	return prepare_config(container_of(task, struct prepare_task, task)->prepare, err);
}

/* On the disk while the registry is waited for, so that what comes from it need not be. */
static int prepare_note_run(struct task *task, struct err *err)
{
	struct prepare *p = container_of(task, struct prepare_task, task)->prepare;
	const struct descriptors *layers = &p->image.manifest.layers;
	const struct digest blobs[] = {p->image.desc.digest, p->image.manifest.config.digest};
	AUTO_FREE struct digest *digests = calloc(layers->count + 1, sizeof(*digests));
	p->noted = calloc(layers->count + 1, sizeof(*p->noted));
	if (!digests || !p->noted)
		return err_set(err, -ENOMEM, "note an image");
	for (size_t i = 0; i < layers->count; i++)
		digests[i] = layers->items[i].digest;
	const struct store_unsynced what = {
		.image = &p->image.desc.digest,
		.layers = digests,
		.n_layers = layers->count,
		.blobs = blobs,
		.n_blobs = ARRAY_LEN(blobs),
		.ret_noted = p->noted,
	};
	return store_unsynced_note(p->request->store, &what, &p->note_lock, err);
}

static int prepare_bundle_run(struct task *task, struct err *err)
{
	struct prepare *p = container_of(task, struct prepare_task, task)->prepare;
	p->index.bytes = buf_make(BUNDLE_MAX);
	return origin_blob(p->request->origin, &p->index.bundle, &p->index.bytes,
			   deadline_in_ms(p->timeout_ms), err);
}

static int prepare_profile_run(struct task *task, struct err *err)
{
	struct prepare *p = container_of(task, struct prepare_task, task)->prepare;
	p->index.profile_bytes = buf_make(PROFILE_BLOB_MAX);
	return origin_blob(p->request->origin, &p->index.profile, &p->index.profile_bytes,
			   deadline_in_ms(u64_min(p->timeout_ms, PROFILE_FETCH_MS)), err);
}

/* A startup profile helps, and is never why an image does not start. */
static void prepare_ask_profile(struct prepare *p)
{
	struct err err = {0};
	int r = profile_find(&p->index.referrers, &p->index.profile, &err);
	if (err.code != 0)
		log_warn("%s: ignored: %s", p->request->reference, err_text(&err));
	if (r == 0)
		prepare_begin(p, &p->profile_task, prepare_profile_run);
}

/* The bundle's descriptor from the list of referrers. -ENOENT: it names none. */
static int bundle_find(struct prepare_index *index, struct err *err)
{
	for (size_t i = 0; i < index->referrers.count; i++) {
		const struct descriptor *desc = &index->referrers.items[i];
		if (!desc->artifact_type || strcmp(desc->artifact_type, IMAGE_INDEX_ARTIFACT) != 0)
			continue;
		const char *digest = descriptor_annotation(desc, IMAGE_INDEX_BUNDLE_DIGEST);
		const char *size = descriptor_annotation(desc, IMAGE_INDEX_BUNDLE_SIZE);
		if (!digest || !size)
			continue;
		index->bundle.media_type = strdup(IMAGE_INDEX_BUNDLE);
		if (!index->bundle.media_type)
			return err_set(err, -ENOMEM, "read the list of referrers");
		int r = digest_parse(digest, &index->bundle.digest, err);
		if (r == 0 && u64_parse(size, BUNDLE_MAX, &index->bundle.size) < 0)
			r = err_say(err, -EBADMSG, "the index has no proper size: \"%.40s\"", size);
		return r < 0 ? -EBADMSG : 0;
	}
	return -ENOENT;
}

static int prepare_referrers_run(struct task *task, struct err *err)
{
	struct prepare *p = container_of(task, struct prepare_task, task)->prepare;
	int r = origin_referrers(p->request->origin, &p->index.of, NULL, &p->index.referrers,
				 deadline_in_ms(p->timeout_ms), err);
	/* An index is a help, not a need. */
	if (r < 0) {
		log_debug("look for an index: %s", err_text(err));
		return 0;
	}
	/* What is found is asked for at once: nothing else has to be known for that. */
	r = bundle_find(&p->index, err);
	if (r == 0)
		prepare_begin(p, &p->bundle_task, prepare_bundle_run);
	prepare_ask_profile(p);
	return r == -ENOENT ? 0 : r;
}

/* Asks who refers to a manifest, without waiting for the answer. */
static void prepare_ask_index(struct prepare *p, const struct digest *manifest)
{
	if (p->request->index_use != IMAGE_INDEX_ANY || digest_equal(&p->index.of, manifest))
		return;
	/* What was asked about an index of several platforms says nothing of the image. */
	tasks_wait(&p->tasks);
	prepare_index_finish(&p->index);
	p->bundle_task = p->profile_task = (struct prepare_task){0};
	p->index.of = *manifest;
	prepare_begin(p, &p->referrers_task, prepare_referrers_run);
}

static int prepare_fetch_sides(struct prepare *p, struct err *err)
{
	/* The index is what takes longest, so its request gets the connection that is open. */
	prepare_ask_index(p, &p->image.desc.digest);
	prepare_begin(p, &p->config_task, prepare_config_run);
	if (p->request->late)
		prepare_begin(p, &p->note_task, prepare_note_run);
	tasks_wait(&p->tasks);
	if (p->note_task.task.result < 0)
		log_debug("%s", err_text(&p->note_task.task.err));
	if (p->config_task.task.result < 0)
		return err_copy(err, &p->config_task.task.err);
	return 0;
}

/* ---- which image ---- */

/* The manifest from the store: 0, or -ENOENT. */
static int prepare_from_store(struct prepare *p, const struct digest *digest, struct err *err)
{
	struct store *store = p->request->store;
	AUTO_CLOSE int dir = -1;
	AUTO_FINISH(image_record) struct image_record record = {0};
	int r = image_dir_open(store, digest, false, &dir, err);
	if (r == 0)
		r = image_record_load(dir, &record, err);
	if (r < 0)
		return r;
	AUTO_FINISH(buf) struct buf bytes = buf_make(ORIGIN_MANIFEST_MAX);
	r = store_blob_get(store, digest, &bytes, err);
	if (r < 0)
		return r;
	return resolved_from_bytes(&bytes, record.media_type, digest, &p->image, err);
}

/* Whether an error says that nobody answered, rather than that the answer was no. */
static bool origin_is_away(int r)
{
	switch (r) {
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

static int prepare_resolve(struct prepare *p, struct err *err)
{
	const struct image_request *request = p->request;
	struct err local = {0};
	struct digest known = {0};
	if (request->pinned && prepare_from_store(p, request->pinned, &local) == 0)
		return 0;
	int r = -EHOSTUNREACH;
	/*
	 * Who knows the digest need not wait for the manifest to ask what belongs to it. What
	 * was mounted before without being in the store is an index of several platforms.
	 */
	if (request->pinned && request->origin &&
	    store_tag_get(request->store, request->reference, &known, &local) < 0)
		prepare_ask_index(p, request->pinned);
	if (request->origin)
		r = image_resolve(request->origin, request->platform, request->pinned,
				  deadline_in_ms(p->timeout_ms), &p->image, err);
	else
		(void)err_say(err, r, "it is not in the store, and nothing may be fetched: "
					 "pull it while its registry can be reached");
	if (r == 0 || !origin_is_away(r) || request->current)
		return r;

	/* Nobody answers: what the name meant last time is better than nothing. */
	if (store_tag_get(request->store, request->reference, &known, &local) < 0 ||
	    prepare_from_store(p, &known, &local) < 0)
		return r;
	if (request->origin)
		log_warn("%s: using the image of last time: %s", request->reference, err_text(err));
	return 0;
}

/* Whether all that image_open() needs is there. */
static bool prepare_is_done(struct prepare *p)
{
	struct store *store = p->request->store;
	AUTO_FINISH(image_record) struct image_record record = {0};
	AUTO_FINISH(buf) struct buf manifest = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO(erofs) struct erofs *tree = NULL;
	AUTO_CLOSE int dir = -1;
	AUTO_CLOSE int fd = -1;
	struct err ignored;
	if (image_dir_open(store, &p->image.desc.digest, false, &dir, &ignored) < 0 ||
	    image_record_load(dir, &record, &ignored) < 0 ||
	    store_blob_get(store, &record.manifest, &manifest, &ignored) < 0)
		return false;
	fd = openat(dir, "tree.erofs", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || erofs_open(fd, &tree, &ignored) < 0)
		return false;
	for (size_t i = 0; i < record.n_layers; i++) {
		AUTO(store_layer) struct store_layer *layer = NULL;
		if (store_layer_open(store, &record.layers[i], &layer, &ignored) < 0)
			return false;
	}
	return true;
}

/* ---- Sluice's index ---- */

/* Whether a wrong window would go unseen: the digests are not those of what is decoded. */
static bool windows_need_check(const struct seek *seek)
{
	for (size_t i = 0; i < seek_count(seek); i++) {
		struct span span;
		seek_get(seek, i, &span);
		if (span.sum == SEEK_SUM_IN && span.win_len > 0)
			return true;
	}
	return false;
}

/* Windows that must be known to be right are taken whole, against their digest. */
static int bundle_fetch_windows(struct prepare *p, struct store_layer_info *info,
				struct store_layer_new *layer, struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(info->windows_size);
	AUTO_FINISH(descriptor) struct descriptor desc = {
		.media_type = strdup(IMAGE_INDEX_WINDOWS),
		.digest = info->windows_digest,
		.size = info->windows_size,
	};
	if (!desc.media_type)
		return err_set(err, -ENOMEM, "fetch the windows of a layer");
	if (info->windows_size > BUNDLE_WINDOWS_MAX)
		return err_say(err, -EFBIG, "the windows of a layer have more than %d bytes",
			       BUNDLE_WINDOWS_MAX);
	int r = origin_blob(p->request->origin, &desc, &bytes, deadline_in_ms(p->timeout_ms), err);
	if (r < 0)
		return err_prefix(err, r, "fetch the windows of a layer");
	/* They are all here now, and never fetched again. */
	info->windows_digest = (struct digest){0};
	info->windows_size = 0;
	return store_layer_new_windows(layer, bytes.data, bytes.len, err);
}

static int bundle_install_layer(struct prepare *p, const struct bundle *bundle, size_t i,
				const struct digest *bundle_digest, struct err *err)
{
	struct store *store = p->request->store;
	const struct descriptor *desc = &p->image.manifest.layers.items[i];
	AUTO(store_layer) struct store_layer *have = NULL;
	AUTO(store_layer_new) struct store_layer_new *layer = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct bundle_layer head;
	bundle_layer(bundle, i, &head);
	if (!digest_equal(&head.digest, &desc->digest))
		return err_say(err, -EBADMSG, "the index names other layers than the manifest");
	if (store_layer_open(store, &desc->digest, &have, err) == 0) {
		store_layer_touch(have);
		return layer_check_diff_id(have, &p->config.diff_ids[i], err);
	}
	int r = bundle_layer_seek(bundle, i, &seek, err);
	if (r < 0)
		return r;
	if (seek_in_size(seek) != desc->size)
		return err_say(err, -EBADMSG, "the index describes a layer of another size");
	if (!digest_is_none(seek_diff_id(seek)) &&
	    p->config.diff_ids[i].algo == seek_diff_id(seek)->algo &&
	    !digest_equal(seek_diff_id(seek), &p->config.diff_ids[i]))
		return err_say(err, -EBADMSG, "the index names another diff_id than the image");
	struct store_layer_info info = {
		.index = LAYER_INDEX_SLUICE,
		.windows_digest = head.windows_digest,
		.windows_size = head.windows_size,
		.index_digest = *bundle_digest,
	};
	r = store_layer_new_create(store, &desc->digest, &layer, err);
	/* One that was there, and has been removed meanwhile, has no note. */
	if (r == 0 && prepare_mode(p) == COMMIT_LIVE && p->noted[i])
		store_layer_new_late(layer);
	if (r == 0 && windows_need_check(seek))
		r = bundle_fetch_windows(p, &info, layer, err);
	return r < 0 ? r : store_layer_new_finish(layer, seek, &info, err);
}

struct bundle_task {
	struct task task;
	struct prepare *prepare;
	const struct bundle *bundle;
	const struct digest *digest;
	size_t number;
};

static int bundle_task_run(struct task *task, struct err *err)
{
	struct bundle_task *t = container_of(task, struct bundle_task, task);
	return bundle_install_layer(t->prepare, t->bundle, t->number, t->digest, err);
}

/* Writes the tree, and checks it: nobody here made it, and the kernel may be given it (--fs=erofs). */
static int bundle_install_tree(struct prepare *p, const struct bundle *bundle,
			       struct commit *commit, struct err *err)
{
	size_t n = p->image.manifest.layers.count;
	AUTO(erofs) struct erofs *tree = NULL;
	struct erofs_stats stats;
	int r = bundle_write_tree(bundle, commit_fd(commit), err);
	if (r == 0)
		r = erofs_open(commit_fd(commit), &tree, err);
	if (r == 0)
		r = erofs_check(tree, err);
	if (r < 0)
		return r;
	erofs_stats(tree, &stats);
	if (stats.n_devices != n)
		return err_say(err, -EBADMSG, "the index's metadata names %u layers, the image has %zu",
			       stats.n_devices, n);
	return 0;
}

/* The tree here and all layers beside it. The image is not there before all of them are. */
static int bundle_install(struct prepare *p, const struct bundle *bundle,
			  const struct digest *bundle_digest, struct err *err)
{
	size_t n = p->image.manifest.layers.count;
	if (bundle_layer_count(bundle) != n)
		return err_say(err, -EBADMSG, "the index has %zu layers, the image %zu",
			       bundle_layer_count(bundle), n);
	AUTO(commit) struct commit *commit = NULL;
	AUTO_FREE struct bundle_task *items = calloc(n + 1, sizeof(*items));
	if (!items)
		return err_set(err, -ENOMEM, "install the layers");
	int r = commit_create(p->dir, "tree.erofs", &commit, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		items[i] = (struct bundle_task){
			.task.run = bundle_task_run,
			.prepare = p,
			.bundle = bundle,
			.digest = bundle_digest,
			.number = i,
		};
		tasks_begin(&p->tasks, fetch_pool_io(p->request->pool), &items[i].task);
	}
	r = bundle_install_tree(p, bundle, commit, err);
	tasks_wait(&p->tasks);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = items[i].task.result;
		if (r < 0)
			(void)err_copy(err, &items[i].task.err);
	}
	return r < 0 ? r : commit_finish(commit, prepare_mode(p), err);
}

/* Uses Sluice's index if there is one: 1, or 0. */
static int prepare_bundle(struct prepare *p, struct err *err)
{
	AUTO(bundle) struct bundle *bundle = NULL;
	const struct prepare_index *index = &p->index;
	const struct task *found = &p->referrers_task.task, *fetched = &p->bundle_task.task;
	int r = found->result;
	if (r < 0)
		(void)err_copy(err, &found->err);
	else if (!fetched->run)
		return 0;
	else if (fetched->result == -ENOENT) {
		log_warn("%s: its index is gone from the registry", p->request->reference);
		return 0;
	} else if ((r = fetched->result) < 0)
		(void)err_copy(err, &fetched->err);
	if (r == 0)
		r = bundle_parse(&p->image.desc.digest, index->bytes.data, index->bytes.len,
				 &bundle, err);
	if (r == 0)
		r = bundle_install(p, bundle, &index->bundle.digest, err);
	if (r < 0)
		return err_prefix(err, r, "use the image's index, which --no-index avoids");
	p->record.from_bundle = true;
	return 1;
}

/* ---- layers one by one ---- */

struct layer_task {
	struct task task;
	struct layer_prepare layer;
};

static int layer_task_run(struct task *task, struct err *err)
{
	return layer_prepare_run(&container_of(task, struct layer_task, task)->layer, err);
}

/* What only helps has so long from now on, all of it together. */
static struct profile_soci prepare_soci(const struct prepare *p)
{
	return (struct profile_soci){
		.store = p->request->store,
		.origin = p->request->origin,
		.soci = p->soci,
		.layers = &p->image.manifest.layers,
		.timeout_ms = p->timeout_ms,
		.deadline = deadline_in_ms(u64_min(p->timeout_ms, PROFILE_FETCH_MS)),
	};
}

static int prepare_lists_run(struct task *task, struct err *err)
{
	struct prepare *p = container_of(task, struct prepare_task, task)->prepare;
	const struct profile_soci soci = prepare_soci(p);
	return profile_soci_fetch(&soci, &p->lists, err);
}

/* Where there is no profile, SOCI's prefetch lists are one. They come while layers are read. */
static int prepare_find_soci(struct prepare *p, struct err *err)
{
	if (p->soci || p->request->index_use != IMAGE_INDEX_ANY)
		return 0;
	int r = soci_index_find(p->request->origin, &p->image.manifest, &p->index.referrers,
				deadline_in_ms(p->timeout_ms), &p->soci, err);
	if (r < 0)
		return r == -ENOENT ? 0 : err_prefix(err, r, "use the image's SOCI index");
	const struct profile_soci soci = prepare_soci(p);
	if (!p->profile_task.task.run && profile_soci_is_there(&soci))
		prepare_begin(p, &p->lists_task, prepare_lists_run);
	return 0;
}

static int prepare_layers(struct prepare *p, struct err *err)
{
	size_t n = p->image.manifest.layers.count;
	AUTO_FREE struct layer_task *items = calloc(n + 1, sizeof(*items));
	AUTO_FREE struct task **tasks = calloc(n + 1, sizeof(struct task *));
	if (!items || !tasks)
		return err_set(err, -ENOMEM, "read the layers");
	int r = prepare_find_soci(p, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		items[i].task.run = layer_task_run;
		items[i].layer = (struct layer_prepare){
			.request = p->request,
			.timeout_ms = p->timeout_ms,
			.desc = &p->image.manifest.layers.items[i],
			.diff_id = &p->config.diff_ids[i],
			.soci = p->soci,
			.number = i,
			.count = n,
		};
		tasks[i] = &items[i].task;
	}
	return tasks_run(fetch_pool_io(p->request->pool), tasks, n, err);
}

static int merge_layer(struct prepare *p, struct tree *tree, size_t i, struct tree_device *device,
		       struct err *err)
{
	AUTO(store_layer) struct store_layer *layer = NULL;
	AUTO(erofs) struct erofs *image = NULL;
	AUTO_CLOSE int fd = -1;
	const struct digest *digest = &p->image.manifest.layers.items[i].digest;
	char hex[DIGEST_STR_MAX];
	int r = store_layer_open(p->request->store, digest, &layer, err);
	if (r == -ENOENT)
		r = -ESTALE;
	if (r == 0)
		r = store_layer_tree(layer, &fd, err);
	if (r == 0)
		r = erofs_open(fd, &image, err);
	if (r == 0)
		r = tree_apply(tree, image, (uint32_t)i + 1, err);
	if (r < 0)
		return err_prefix(err, r, "merge layer %zu", i + 1);
	device->size = seek_out_size(store_layer_seek(layer));
	memcpy(device->tag, digest_hex(digest, hex), sizeof(device->tag));
	return 0;
}

static int prepare_merge(struct prepare *p, struct err *err)
{
	size_t n = p->image.manifest.layers.count;
	AUTO(tree) struct tree *tree = NULL;
	AUTO(commit) struct commit *commit = NULL;
	AUTO_FREE struct tree_device *devices = calloc(n + 1, sizeof(*devices));
	int r = devices ? tree_create(&tree) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "merge the layers");
	for (size_t i = 0; i < n && r == 0; i++)
		r = merge_layer(p, tree, i, &devices[i], err);
	if (r == 0)
		r = commit_create(p->dir, "tree.erofs", &commit, err);
	if (r == 0)
		r = tree_write(tree, devices, (uint32_t)n, commit_fd(commit), err);
	return r < 0 ? r : commit_finish(commit, prepare_mode(p), err);
}

/* ---- the startup profile ---- */

static int prepare_profile_facts(const struct prepare *p, struct profile_facts *ret,
				 struct err *err)
{
	AUTO(erofs) struct erofs *tree = NULL;
	AUTO_CLOSE int fd = openat(p->dir, "tree.erofs", O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? err_set(err, -errno, "open the image's metadata") :
			 erofs_open(fd, &tree, err);
	return r < 0 ? r : profile_facts_make(tree, &p->image.desc.digest, p->record.layers,
					      p->record.n_layers, ret, err);
}

/* Keeps what was fetched: a profile, or lists that become one. */
static int prepare_profile_keep(const struct prepare *p, struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO(profile) struct profile *profile = NULL;
	const struct profile_soci soci = prepare_soci(p);
	const struct buf *bytes = &p->index.profile_bytes;
	int r = prepare_profile_facts(p, &facts, err);
	if (r == 0)
		r = p->profile_task.task.run ?
			    profile_decode(&facts, bytes->data, bytes->len, &profile, err) :
			    profile_soci_read(&soci, &p->lists, &profile, err);
	return r < 0 ? r : profile_adopt(p->request->store, &facts, profile, NULL, err);
}

static void prepare_profile(struct prepare *p)
{
	bool own = p->profile_task.task.run;
	const struct task *fetched = own ? &p->profile_task.task : &p->lists_task.task;
	struct err err = {0};
	if (!fetched->run)
		return;
	tasks_wait(&p->tasks);
	int r = fetched->result;
	if (r < 0)
		(void)err_copy(&err, &fetched->err);
	else
		r = prepare_profile_keep(p, &err);
	if (r < 0)
		log_warn("%s: its %s in the registry %s ignored: %s", p->request->reference,
			 own ? "startup profile" : "SOCI prefetch lists", own ? "is" : "are",
			 err_text(&err));
}

/* ---- all together ---- */

static int prepare_record(struct prepare *p, struct err *err)
{
	const struct manifest *manifest = &p->image.manifest;
	struct image_record *record = &p->record;
	record->manifest = p->image.desc.digest;
	record->config = manifest->config.digest;
	record->reference = strdup(p->request->reference);
	record->media_type = strdup(manifest->media_type);
	record->layers = calloc(manifest->layers.count + 1, sizeof(*record->layers));
	if (!record->reference || !record->media_type || !record->layers)
		return err_set(err, -ENOMEM, "record the image");
	record->n_layers = manifest->layers.count;
	for (size_t i = 0; i < record->n_layers; i++)
		record->layers[i] = manifest->layers.items[i].digest;
	prepare_profile(p);
	return image_record_keep(p->dir, record, prepare_mode(p), err);
}

/* An index was asked for the platform; a manifest that the reference names itself was not. */
static int prepare_check_platform(struct prepare *p, struct err *err)
{
	const struct image_request *request = p->request;
	if (!request->platform_asked || !digest_equal(&p->image.top, &p->image.desc.digest))
		return 0;
	int r = p->config.json ? 0 : prepare_config(p, err);
	return r < 0 ? r : platform_check(request->platform, &p->config, err);
}

static int prepare_all(struct prepare *p, struct err *err)
{
	struct store *store = p->request->store;
	const struct digest *digest = &p->image.desc.digest;
	AUTO_CLOSE int lock = -1;
	int r = store_lock(store, digest, 0, &lock, err);
	if (r < 0)
		return r;
	if (prepare_is_done(p))
		return prepare_check_platform(p, err);
	if (!p->request->origin)
		return err_say(err, -EHOSTUNREACH,
			       "the image is not complete in the store, and nothing may be fetched");
	r = image_dir_open(store, digest, true, &p->dir, err);
	if (r == 0)
		r = prepare_fetch_sides(p, err);
	phases_mark_result(p->request->phases, "configured", r);
	if (r == 0)
		r = prepare_check_platform(p, err);
	if (r == 0)
		r = store_blob_keep(store, digest, p->image.bytes.data, p->image.bytes.len,
				    prepare_mode_checked(p), err);
	if (r < 0)
		return r;
	r = p->request->index_use == IMAGE_INDEX_ANY ? prepare_bundle(p, err) : 0;
	phases_mark_result(p->request->phases, "indexed", r);
	/* Until an image names them, gc may take layers that were just made, or found. */
	for (int tries = 0; r == 0 || (r == -ESTALE && tries < PREPARE_TRIES); tries++) {
		r = prepare_layers(p, err);
		if (r == 0)
			r = prepare_merge(p, err);
		if (r == 0)
			break;
	}
	return r < 0 ? r : prepare_record(p, err);
}

/* Notes what the reference means, unless that is known: the disk would be waited for. */
static int prepare_tag(struct prepare *p, struct err *err)
{
	const struct image_request *request = p->request;
	struct digest known = {0};
	struct err ignored;
	if (store_tag_get(request->store, request->reference, &known, &ignored) == 0 &&
	    digest_equal(&known, &p->image.desc.digest))
		return 0;
	return store_tag_keep(request->store, request->reference, &p->image.desc.digest,
			      prepare_mode_checked(p), err);
}

int image_prepare(const struct image_request *request, struct digest *ret_manifest,
		  struct err *err)
{
	AUTO_FINISH(prepare) struct prepare p = {
		.request = request,
		.timeout_ms = request->timeout_ms ? request->timeout_ms : PREPARE_TIMEOUT_MS,
		.dir = -1,
		.note_lock = -1,
	};
	tasks_init(&p.tasks);
	int r = prepare_resolve(&p, err);
	phases_mark_result(request->phases, "resolved", r);
	if (r == 0)
		r = manifest_check_layers(&p.image.manifest, err);
	if (r == 0)
		r = prepare_all(&p, err);
	if (r == 0)
		r = prepare_tag(&p, err);
	/* What others have left for later is part of what is promised now. */
	if (r == 0 && !request->late)
		r = store_settle(request->store, err);
	phases_mark_result(request->phases, "prepared", r);
	if (r < 0)
		return r;
	*ret_manifest = p.image.desc.digest;
	return 0;
}
