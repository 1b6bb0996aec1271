/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/json.h"
#include "fetcher/local_priv.h"

struct layout {
	struct local local; /* first */
	int dirfd;
};

/* Symlinks may lead around within the layout, never out of it. */
static int open_beneath(int dirfd, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

static int layout_open_file(struct local *local, const char *name, struct local_file *ret,
			    struct err *err)
{
	const struct layout *layout = (const struct layout *)local;
	AUTO_CLOSE int fd = open_beneath(layout->dirfd, name);
	struct stat st;
	if (fd < 0)
		return err_set(err, fd, "open %s", name);
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "open %s", name);
	if (!S_ISREG(st.st_mode))
		return err_say(err, -EINVAL, "%s is not a file", name);
	*ret = (struct local_file){.fd = steal_fd(&fd), .owned = true, .size = (uint64_t)st.st_size};
	return 0;
}

static void layout_destroy(struct origin *o)
{
	struct layout *layout = (struct layout *)o;
	local_finish(&layout->local);
	cleanup_close(&layout->dirfd);
	free(layout);
}

static int layout_push_blob(struct origin *o, const struct descriptor *desc, const void *data,
			    size_t n, deadline_t deadline, struct err *err)
{
	(void)deadline;
	const struct layout *layout = (const struct layout *)o;
	AUTO_CLOSE int blobs = -1;
	AUTO_CLOSE int dir = -1;
	char hex[DIGEST_STR_MAX];
	int r;
	if ((r = digest_check(&desc->digest, data, n, "a blob to be added", err)) < 0 ||
	    (r = dir_make_at(layout->dirfd, "blobs", 0755, &blobs, err)) < 0 ||
	    (r = dir_make_at(blobs, digest_algo_name(desc->digest.algo), 0755, &dir, err)) < 0 ||
	    (r = file_commit(dir, digest_hex(&desc->digest, hex), data, n, COMMIT_KEEP, err)) < 0)
		return err_prefix(err, r, "add to %s", layout->local.path);
	return 0;
}

/* The document itself, not struct manifest: what is unknown to us stays in it. */
static int load_index(struct layout *layout, json_t **ret, struct err *err)
{
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	AUTO_FINISH(buf) struct buf text = buf_make(LOCAL_INDEX_MAX);
	int r = layout_open_file(&layout->local, "index.json", &file, err);
	if (r == 0)
		r = local_slurp(&file, NULL, &text, "index.json", err);
	return r < 0 ? r : json_parse_object(buf_str(&text), text.len, "index.json", ret, err);
}

static int add_to_index(struct layout *layout, const struct descriptor *desc, json_t *index,
			struct err *err)
{
	struct digest_text digest;
	json_t *list = NULL;
	size_t i;
	json_t *entry;
	int r = json_get_array(index, "manifests", JSON_NEED, &list, err);
	if (r < 0)
		return r;
	(void)digest_str(&desc->digest, digest.s);
	json_array_foreach(list, i, entry) {
		const char *have = json_string_value(json_object_get(entry, "digest"));
		if (have && strcmp(have, digest.s) == 0)
			return 0;
	}
	AUTO_JSON json_t *fresh = json_pack("{s:s, s:s, s:I, s:s*, s:O*}", "mediaType",
					    desc->media_type, "digest", digest.s, "size",
					    (json_int_t)desc->size, "artifactType",
					    desc->artifact_type, "annotations", desc->annotations);
	if (!fresh || json_array_append(list, fresh) < 0)
		return err_set(err, -ENOMEM, "add to index.json");
	AUTO_FREE char *text = json_dumps(index, JSON_COMPACT);
	if (!text)
		return err_set(err, -ENOMEM, "add to index.json");
	return file_commit(layout->dirfd, "index.json", text, strlen(text), COMMIT_REPLACE, err);
}

static int layout_push_manifest(struct origin *o, const struct descriptor *desc, const void *data,
				size_t n, const struct digest *subject, deadline_t deadline,
				struct err *err)
{
	(void)subject; /* it stands in the manifest, which is where referrers are looked for */
	struct layout *layout = (struct layout *)o;
	AUTO_JSON json_t *index = NULL;
	int r = layout_push_blob(o, desc, data, n, deadline, err);
	if (r < 0)
		return r;
	/* A description of its own: the lock ends with it, and threads exclude each other too. */
	AUTO_CLOSE int lock = openat(layout->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_set(err, -errno, "lock %s", layout->local.path);
	r = load_index(layout, &index, err);
	if (r == 0)
		r = add_to_index(layout, desc, index, err);
	return r < 0 ? err_prefix(err, r, "add to %s", layout->local.path) : 0;
}

static const struct origin_ops layout_ops = {
	.manifest = local_manifest,
	.blob = local_blob,
	.range = local_range,
	.stream = local_stream,
	.referrers = local_referrers,
	.push_blob = layout_push_blob,
	.push_manifest = layout_push_manifest,
	.destroy = layout_destroy,
};

int layout_open(const struct ref *ref, struct origin **ret, struct err *err)
{
	struct layout *layout = calloc(1, sizeof(*layout));
	if (!layout)
		return err_set(err, -ENOMEM, "open %s", ref->path);
	AUTO(origin) struct origin *origin = &layout->local.origin;
	origin->ops = &layout_ops;
	layout->dirfd = -1;
	layout->local.open = layout_open_file;
	layout->local.open_blob = local_open_oci_blob;
	if (local_init(&layout->local, ref) < 0)
		return err_set(err, -ENOMEM, "open %s", ref->path);
	layout->dirfd = open(ref->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layout->dirfd < 0)
		return err_set(err, -errno, "open OCI layout %s", ref->path);
	if (faccessat(layout->dirfd, "index.json", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return err_say(err, -EINVAL, "%s is not an OCI layout: it has no index.json", ref->path);
	*ret = steal_ptr(&origin);
	return 0;
}
