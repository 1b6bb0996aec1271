/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/store_layer_priv.h"

enum {
	NEW_FLUSH_BYTES = 8 << 20, /* write-back begins this often, so that fsync has little left */
};

/*
 * `data` stays locked while the layer is in the making, which tells gc that
 * the directory is somebody's work, however old. Bytes count in the usage as
 * they are written.
 */
struct store_layer_new {
	struct store *store; /* borrowed */
	struct digest digest;
	char name[NAME_MAX + 1]; /* below tmp/; "" once there is nothing to remove */
	int dirfd, data_fd, windows_fd, tree_fd; /* owned */
	uint64_t kept;	  /* device bytes [0, kept) are in `data` */
	uint64_t counted; /* of these, in the usage */
	uint64_t flushed;
	uint64_t windows;
	bool full; /* nothing further is kept */
	bool late; /* nothing waits for the disk */
};

static int new_file(struct store_layer_new *n, const char *name, int *ret_fd, struct err *err)
{
	int fd = openat(n->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "create %s of a layer in the store %s", name,
			       n->store->path);
	*ret_fd = fd;
	return 0;
}

int store_layer_new_create(struct store *store, const struct digest *layer,
			   struct store_layer_new **ret, struct err *err)
{
	AUTO(store_layer_new) struct store_layer_new *n = calloc(1, sizeof(*n));
	if (!n)
		return err_set(err, -ENOMEM, "make a layer in the store");
	n->store = store;
	n->digest = *layer;
	n->dirfd = n->data_fd = n->windows_fd = n->tree_fd = -1;
	int r = store_tmp_dir(store, n->name, &n->dirfd, err);
	if (r < 0) {
		n->name[0] = '\0';
		return r;
	}
	r = new_file(n, "data", &n->data_fd, err);
	if (r < 0)
		return r;
	r = ofd_lock(n->data_fd, F_WRLCK, 0, 0);
	if (r < 0)
		return err_set(err, r, "lock the data of a layer");
	*ret = steal_ptr(&n);
	return 0;
}

void store_layer_new_late(struct store_layer_new *n)
{
	n->late = true;
}

int store_layer_new_data(struct store_layer_new *n, const void *data, size_t len, struct err *err)
{
	if (n->full || len == 0)
		return 0;
	if (!store_reserve(n->store, len)) {
		store_usage_sub(n->store, len);
		n->full = true;
		return 0;
	}
	int r = file_pwrite(n->data_fd, data, len, n->kept);
	if ((r == -ENOSPC || r == -EDQUOT) && store_make_room(n->store, len))
		r = file_pwrite(n->data_fd, data, len, n->kept);
	if (r < 0) {
		store_usage_sub(n->store, len);
		n->full = true;
		if (r == -ENOSPC || r == -EDQUOT)
			return 0;
		return err_set(err, r, "keep a layer in the store %s", n->store->path);
	}
	n->kept += len;
	n->counted += len;
	if (n->kept - n->flushed >= NEW_FLUSH_BYTES) {
		(void)sync_file_range(n->data_fd, (off_t)n->flushed, (off_t)(n->kept - n->flushed),
				      SYNC_FILE_RANGE_WRITE);
		n->flushed = n->kept;
	}
	return 0;
}

int store_layer_new_windows(struct store_layer_new *n, const void *data, size_t len,
			    struct err *err)
{
	int r = n->windows_fd < 0 ? new_file(n, "windows", &n->windows_fd, err) : 0;
	if (r < 0)
		return r;
	r = file_pwrite(n->windows_fd, data, len, n->windows);
	if ((r == -ENOSPC || r == -EDQUOT) && store_make_room(n->store, len))
		r = file_pwrite(n->windows_fd, data, len, n->windows);
	if (r < 0)
		return err_set(err, r, "keep windows in the store %s", n->store->path);
	n->windows += len;
	return 0;
}

int store_layer_new_tree(struct store_layer_new *n, int *ret_fd, struct err *err)
{
	int r = n->tree_fd < 0 ? new_file(n, "tree.erofs", &n->tree_fd, err) : 0;
	if (r < 0)
		return r;
	*ret_fd = n->tree_fd;
	return 0;
}

/*
 * Windows are there whole, or not at all and then fetched later from the blob
 * that info names: the file is made sparse for that.
 */
static int new_finish_windows(struct store_layer_new *n, const struct seek *seek,
			      const struct store_layer_info *info, struct err *err)
{
	uint64_t size = seek_windows_size(seek);
	if (n->windows != 0 && n->windows != size)
		return err_say(err, -EINVAL, "%llu bytes of windows were written, the table has %llu",
			       (unsigned long long)n->windows, (unsigned long long)size);
	if (size == 0 || n->windows != 0)
		return 0;
	if (digest_is_none(&info->windows_digest))
		return err_say(err, -EINVAL, "a layer needs windows, and nothing says where from");
	int r = n->windows_fd < 0 ? new_file(n, "windows", &n->windows_fd, err) : 0;
	if (r < 0)
		return r;
	if (ftruncate(n->windows_fd, (off_t)size) < 0)
		return err_set(err, -errno, "size the windows of a layer");
	return 0;
}

/* Writes `present`, and cuts `data` to what the present spans need. */
static int new_finish_present(struct store_layer_new *n, const struct seek *seek, int *ret_fd,
			      struct err *err)
{
	AUTO_FREE void *base = NULL;
	size_t len;
	int r = present_make(n->store, seek, &base, &len);
	if (r < 0)
		return err_set(err, r, "publish a layer");
	struct present p = {.fd = -1};
	present_words(&p, base, seek_count(seek));
	uint32_t now = (uint32_t)(store_now_sec() - PRESENT_EPOCH);
	uint64_t used = 0;
	uint64_t end = 0;
	for (size_t i = 0; i < p.count; i++) {
		struct span span;
		uint32_t word = atomic_load(&p.state[i]);
		seek_get(seek, i, &span);
		if (span.out_off + span.out_len <= n->kept && span.codec != SEEK_ZEROS) {
			word |= SPAN_PRESENT;
			used += span_charge(&span);
			end = span.out_off + span.out_len;
		}
		if (span.win_len > 0 && n->windows > 0)
			word |= SPAN_WINDOW;
		atomic_init(&p.state[i], word);
		atomic_init(&p.used[i], now);
	}
	/* In one step: an eviction that settles the counter must not see both. */
	(void)store_usage_add(n->store, used - n->counted);
	n->counted = used;
	if (ftruncate(n->data_fd, (off_t)end) < 0 ||
	    ftruncate(n->data_fd, (off_t)seek_out_size(seek)) < 0)
		return err_set(err, -errno, "size the data of a layer");
	r = new_file(n, "present", ret_fd, err);
	if (r < 0)
		return r;
	r = file_write(*ret_fd, base, len);
	return r < 0 ? err_set(err, r, "write present") : 0;
}

static int new_finish_seek(struct store_layer_new *n, const struct seek *seek, int *ret_fd,
			   struct err *err)
{
	size_t len;
	const void *bytes = seek_bytes(seek, &len);
	int r = new_file(n, "seek", ret_fd, err);
	if (r < 0)
		return r;
	r = file_write(*ret_fd, bytes, len);
	return r < 0 ? err_set(err, r, "write seek") : 0;
}

/* Everything to disk, then the name: after a power cut the layer is there whole or not at all. */
static int new_publish(struct store_layer_new *n, int seek_fd, int present_fd, struct err *err)
{
	const int fds[] = {seek_fd, present_fd, n->data_fd, n->windows_fd, n->tree_fd, n->dirfd};
	/* A hint: with all of them on their way, the first fsync finds most of the work done. */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			(void)sync_file_range(fds[i], 0, 0, SYNC_FILE_RANGE_WRITE);
	for (size_t i = 0; i < ARRAY_LEN(fds) && !n->late; i++) {
		if (fds[i] >= 0 && fsync(fds[i]) < 0)
			return err_set(err, -errno, "write a layer to disk");
	}
	int tmp = n->store->dirs[STORE_DIR_TMP];
	int layers = n->store->dirs[STORE_DIR_LAYERS];
	char name[DIGEST_STR_MAX];
	store_entry_name(&n->digest, name);
	if (renameat2(tmp, n->name, layers, name, RENAME_NOREPLACE) < 0) {
		if (errno == EEXIST || errno == ENOTEMPTY)
			return 0; /* another was first; ours goes with the destroy */
		return err_set(err, -errno, "publish layer %s", name);
	}
	n->name[0] = '\0';
	if (!n->late && fsync(layers) < 0)
		return err_set(err, -errno, "write the layers of the store %s to disk",
			       n->store->path);
	return 0;
}

int store_layer_new_finish(struct store_layer_new *n, const struct seek *seek,
			   const struct store_layer_info *info, struct err *err)
{
	AUTO_CLOSE int seek_fd = -1;
	AUTO_CLOSE int present_fd = -1;
	if (!digest_equal(seek_layer(seek), &n->digest))
		return err_say(err, -EINVAL, "publish a layer: the table belongs to another layer");
	if (n->kept > seek_out_size(seek))
		return err_say(err, -EINVAL, "publish a layer: %llu bytes were written, it has %llu",
			       (unsigned long long)n->kept,
			       (unsigned long long)seek_out_size(seek));
	int r = new_finish_windows(n, seek, info, err);
	if (r == 0)
		r = new_finish_seek(n, seek, &seek_fd, err);
	if (r == 0)
		r = new_finish_present(n, seek, &present_fd, err);
	if (r == 0)
		r = layer_json_write(n->dirfd, info, n->late ? COMMIT_LIVE : COMMIT_REPLACE, err);
	return r < 0 ? r : new_publish(n, seek_fd, present_fd, err);
}

void store_layer_new_destroy(struct store_layer_new *n)
{
	if (!n)
		return;
	if (n->name[0] != '\0') {
		(void)tree_remove(n->store->dirs[STORE_DIR_TMP], n->name, NULL);
		store_usage_sub(n->store, n->counted);
	}
	cleanup_close(&n->tree_fd);
	cleanup_close(&n->windows_fd);
	cleanup_close(&n->data_fd);
	cleanup_close(&n->dirfd);
	free(n);
}
