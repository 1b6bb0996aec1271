/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "fetcher/store_layer_priv.h"

static const char *const index_names[] = {
	[LAYER_INDEX_STREAMED] = "streamed",
	[LAYER_INDEX_ESTARGZ] = "estargz",
	[LAYER_INDEX_ZSTD_CHUNKED] = "zstd-chunked",
	[LAYER_INDEX_SLUICE] = "sluice",
	[LAYER_INDEX_SOCI_V1] = "soci-v1",
	[LAYER_INDEX_SOCI_V2] = "soci-v2",
	[LAYER_INDEX_LOCAL] = "local",
};

const char *layer_index_name(enum layer_index index)
{
	return index_names[index];
}

bool layer_index_parse(const char *name, enum layer_index *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(index_names); i++) {
		if (strcmp(index_names[i], name) == 0) {
			*ret = (enum layer_index)i;
			return true;
		}
	}
	return false;
}

int layer_json_read(int dirfd, struct store_layer_info *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(STORE_JSON_MAX);
	AUTO_JSON json_t *json = NULL;
	struct store_layer_info info = {0};
	const char *index = NULL;
	int r = file_slurp(dirfd, "layer.json", &text, err);
	if (r == 0)
		r = json_parse_object(buf_str(&text), text.len, "layer.json", &json, err);
	if (r == 0)
		r = json_get_str(json, "index", JSON_NEED, &index, err);
	if (r == 0)
		r = json_get_digest(json, "windows_digest", JSON_MAY, &info.windows_digest, err);
	if (r == 0)
		r = json_get_u64(json, "windows_size", JSON_MAY, &info.windows_size, err);
	if (r == 0)
		r = json_get_digest(json, "index_digest", JSON_MAY, &info.index_digest, err);
	if (r == 0)
		r = json_get_bool(json, "whole_checked", JSON_MAY, &info.whole_checked, err);
	if (r != 0)
		return r;
	if (!layer_index_parse(index, &info.index))
		return err_say(err, -EINVAL, "layer.json: unknown index '%.64s'", index);
	*ret = info;
	return 0;
}

static int json_put_digest(json_t *json, const char *key, const struct digest *digest)
{
	struct digest_text text;
	if (digest_is_none(digest))
		return 0;
	return json_object_set_new(json, key, json_string(digest_str(digest, text.s)));
}

int layer_json_write(int dirfd, const struct store_layer_info *info, enum commit_mode mode,
		     struct err *err)
{
	AUTO_JSON json_t *json = json_object();
	AUTO_FREE char *text = NULL;
	if (json &&
	    json_object_set_new(json, "index", json_string(layer_index_name(info->index))) == 0 &&
	    json_put_digest(json, "windows_digest", &info->windows_digest) == 0 &&
	    json_object_set_new(json, "windows_size",
				json_integer((json_int_t)info->windows_size)) == 0 &&
	    json_put_digest(json, "index_digest", &info->index_digest) == 0 &&
	    json_object_set_new(json, "whole_checked", json_boolean(info->whole_checked)) == 0)
		text = json_dumps(json, JSON_INDENT(2));
	if (!text)
		return err_set(err, -ENOMEM, "write layer.json");
	return file_commit(dirfd, "layer.json", text, strlen(text), mode, err);
}

bool layer_is_damage(int r)
{
	return r == -EBADMSG || r == -EINVAL || r == -ENOENT || r == -EISDIR || r == -E2BIG ||
	       r == -ELOOP;
}

uint64_t span_charge(const struct span *span)
{
	return span->codec == SEEK_ZEROS ? 0 : u64_align(span->out_len, STORE_CHARGE_ALIGN);
}

uint64_t layer_bytes(const struct store_layer *layer)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < layer->present.count; i++) {
		struct span span;
		if (!(store_layer_state(layer, i) & SPAN_PRESENT))
			continue;
		seek_get(layer->seek, i, &span);
		bytes += span_charge(&span);
	}
	return bytes;
}

/*
 * The words are from another boot: what was not yet on disk then is lost or
 * torn now. What can be checked is checked on first use; what cannot is
 * dropped. Zeros are holes and need neither.
 */
static int layer_new_boot(struct store_layer *layer)
{
	struct present *p = &layer->present;
	AUTO_CLOSE int lock_fd = layer_lock_fd(layer);
	if (lock_fd < 0)
		return lock_fd;
	for (size_t i = 0; i < p->count; i++) {
		struct span span;
		seek_get(layer->seek, i, &span);
		/* Windows that cannot be fetched again were fsynced when the layer was published. */
		if (!digest_is_none(&layer->info.windows_digest))
			(void)atomic_fetch_and(&p->state[i], ~(uint32_t)SPAN_WINDOW);
		if (span.codec == SEEK_ZEROS || !(store_layer_state(layer, i) & SPAN_PRESENT))
			continue;
		if (span.sum == SEEK_SUM_OUT) {
			(void)atomic_fetch_or(&p->state[i], SPAN_UNVERIFIED);
			continue;
		}
		uint64_t freed = 0;
		int r = layer_drop(layer, lock_fd, i, i + 1, &freed);
		if (r < 0)
			return r;
	}
	return 0;
}

static int layer_boot_rule(struct store_layer *layer, struct err *err)
{
	struct present *p = &layer->present;
	int r = ofd_lock_wait(p->fd, F_WRLCK, PRESENT_LOCK_BOOT, 1);
	if (r < 0)
		return err_set(err, r, "lock present");
	if (memcmp(p->head->boot, layer->store->boot, BOOT_ID_MAX) != 0) {
		r = layer_new_boot(layer);
		if (r == 0)
			memcpy(p->head->boot, layer->store->boot, BOOT_ID_MAX);
	}
	(void)ofd_lock(p->fd, F_UNLCK, PRESENT_LOCK_BOOT, 1);
	return r < 0 ? err_set(err, r, "mark what is left from before the last boot") : 0;
}

static int layer_open_seek(struct store_layer *layer, struct err *err)
{
	AUTO_CLOSE int fd = openat(layer->dirfd, "seek", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, -errno, "open seek");
	int r = seek_map(fd, &layer->seek, err);
	if (r < 0)
		return err_prefix(err, r, "seek");
	if (!digest_equal(seek_layer(layer->seek), &layer->digest))
		return err_say(err, -EBADMSG, "seek belongs to another layer");
	return 0;
}

/* Opens a file of known size. */
static int layer_open_sized(struct store_layer *layer, const char *name, uint64_t size,
			    int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = openat(layer->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, -errno, "open %s", name);
	uint64_t got;
	int r = file_size(fd, &got);
	if (r < 0)
		return err_set(err, r, "stat %s", name);
	if (got != size)
		return err_say(err, -EBADMSG, "%s has %llu bytes instead of %llu", name,
			       (unsigned long long)got, (unsigned long long)size);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* Holds the layer against gc; -ENOENT when gc was faster. */
static int layer_hold(struct store_layer *layer, struct err *err)
{
	int r = ofd_lock_wait(layer->present.fd, F_RDLCK, PRESENT_LOCK_USE, 1);
	if (r < 0)
		return err_set(err, r, "lock present");
	struct stat st;
	if (fstat(layer->present.fd, &st) < 0)
		return err_set(err, -errno, "stat present");
	if (st.st_nlink == 0)
		return err_say(err, -ENOENT, "the layer was removed meanwhile");
	return 0;
}

static int layer_open_files(struct store_layer *layer, struct err *err)
{
	int r = layer_open_seek(layer, err);
	if (r == 0)
		r = present_open(layer->dirfd, seek_count(layer->seek), &layer->present, err);
	if (r == 0)
		r = layer_hold(layer, err);
	if (r == 0)
		r = layer_json_read(layer->dirfd, &layer->info, err);
	if (r == 0)
		r = layer_open_sized(layer, "data", seek_out_size(layer->seek), &layer->data_fd,
				     err);
	uint64_t windows = r == 0 ? seek_windows_size(layer->seek) : 0;
	if (windows > 0)
		r = layer_open_sized(layer, "windows", windows, &layer->windows_fd, err);
	return r < 0 ? r : layer_boot_rule(layer, err);
}

int layer_load(struct store *store, const char *name, struct store_layer **ret, struct err *err)
{
	AUTO(store_layer) struct store_layer *layer = calloc(1, sizeof(*layer));
	if (!layer)
		return err_set(err, -ENOMEM, "open layer %s", name);
	layer->store = store;
	layer->data_fd = layer->windows_fd = layer->present.fd = -1;
	spares_init(&layer->spares);
	layer->dirfd = openat(store->dirs[STORE_DIR_LAYERS], name,
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (layer->dirfd < 0)
		return err_set(err, -errno, "open layer %s", name);
	if (!store_entry_parse(name, &layer->digest))
		return err_say(err, -EINVAL, "%s is not the name of a layer", name);
	int r = layer_open_files(layer, err);
	if (r < 0)
		return err_prefix(err, r, "open layer %s", name);
	atomic_init(&layer->whole_checked, layer->info.whole_checked);
	*ret = steal_ptr(&layer);
	return 0;
}

/* Whether the directory of that name is still the one that was found to be damaged. */
static bool layer_dir_same(struct store *store, const char *name, const struct stat *seen)
{
	struct stat st;
	return fstatat(store->dirs[STORE_DIR_LAYERS], name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == seen->st_dev && st.st_ino == seen->st_ino;
}

int store_layer_open(struct store *store, const struct digest *digest, struct store_layer **ret,
		     struct err *err)
{
	char name[DIGEST_STR_MAX];
	struct stat seen;
	struct err why = {0};
	store_entry_name(digest, name);
	if (fstatat(store->dirs[STORE_DIR_LAYERS], name, &seen, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(err, -errno, "open layer %s in the store", name);
	int r = layer_load(store, name, ret, &why);
	if (r == 0)
		return 0;
	if (!layer_is_damage(r) || !layer_dir_same(store, name, &seen)) {
		err_copy(err, &why);
		return r;
	}
	(void)store_layer_quarantine(store, digest, err_text(&why), NULL);
	return err_say(err, -ENOENT, "put a damaged layer aside: %s", err_text(&why));
}

void store_layer_close(struct store_layer *layer)
{
	if (!layer)
		return;
	spares_finish(&layer->spares);
	present_finish(&layer->present);
	seek_destroy(layer->seek);
	cleanup_close(&layer->windows_fd);
	cleanup_close(&layer->data_fd);
	cleanup_close(&layer->dirfd);
	free(layer);
}
