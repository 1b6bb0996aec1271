/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/local_priv.h"
#include "fetcher/manifest.h"

#define REF_NAME "org.opencontainers.image.ref.name"

static struct local *local_of(struct origin *o)
{
	return (struct local *)o; /* its first member */
}

void local_file_finish(struct local_file *file)
{
	if (file->owned)
		cleanup_close(&file->fd);
	*file = (struct local_file){.fd = -1};
}

int local_init(struct local *local, const struct ref *ref)
{
	local->path = strdup(ref->path);
	local->tag = ref->tag ? strdup(ref->tag) : NULL;
	local->digest = ref->digest;
	return local->path && (local->tag || !ref->tag) ? 0 : -ENOMEM;
}

void local_finish(struct local *local)
{
	free(local->path);
	free(local->tag);
}

bool local_tag_matches(const char *have, const char *want)
{
	AUTO_FINISH(ref) struct ref a = {0};
	AUTO_FINISH(ref) struct ref b = {0};
	if (strcmp(have, want) == 0)
		return true;
	if (ref_parse(have, &a, NULL) < 0 || a.kind != REF_REGISTRY || !a.tag)
		return false;
	if (!strpbrk(want, ":/"))
		return strcmp(a.tag, want) == 0;
	return ref_parse(want, &b, NULL) == 0 && b.kind == REF_REGISTRY && b.tag &&
	       strcmp(a.host, b.host) == 0 && strcmp(a.repository, b.repository) == 0 &&
	       strcmp(a.tag, b.tag) == 0;
}

int local_slurp(const struct local_file *file, const struct digest *want, struct buf *ret,
		const char *what, struct err *err)
{
	size_t start = ret->len;
	if (file->size > ret->max - ret->len)
		return err_say(err, -EFBIG, "%s has %lu bytes, more than the limit of %zu", what,
			       (unsigned long)file->size, ret->max - ret->len);
	int r = buf_reserve(ret, file->size);
	if (r < 0)
		return err_set(err, r, "read %s", what);
	ssize_t n = file_pread(file->fd, ret->data + start, file->size, file->off);
	if (n < 0 || (uint64_t)n != file->size)
		return err_set(err, n < 0 ? (int)n : -EIO, "read %s", what);
	if (want) {
		r = digest_check(want, ret->data + start, file->size, what, err);
		if (r < 0)
			return r;
	}
	ret->len += file->size;
	ret->data[ret->len] = '\0';
	return 0;
}

int local_open_oci_blob(struct local *local, const struct digest *digest, struct local_file *ret,
			struct err *err)
{
	char name[sizeof("blobs//") + DIGEST_STR_MAX];
	char hex[DIGEST_STR_MAX];
	(void)snprintf(name, sizeof(name), "blobs/%s/%s", digest_algo_name(digest->algo),
		       digest_hex(digest, hex));
	return local->open(local, name, ret, err);
}

int local_manifest_by_digest(struct local *local, const struct digest *want, struct buf *ret,
			     struct err *err)
{
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	int r = local->open_blob(local, want, &file, err);
	if (r == 0)
		r = local_slurp(&file, want, ret, "the manifest", err);
	return r < 0 ? err_prefix(err, r, "%s", local->path) : 0;
}

static int read_index(struct local *local, struct manifest *ret, struct err *err)
{
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	AUTO_FINISH(buf) struct buf text = buf_make(LOCAL_INDEX_MAX);
	int r = local->open(local, "index.json", &file, err);
	if (r == 0)
		r = local_slurp(&file, NULL, &text, "index.json", err);
	if (r == 0)
		r = manifest_parse(buf_str(&text), text.len, MEDIA_OCI_INDEX, ret, err);
	if (r == 0 && ret->kind != MANIFEST_INDEX) {
		manifest_finish(ret);
		r = err_say(err, -EINVAL, "index.json is no index");
	}
	return r < 0 ? err_prefix(err, r, "%s", local->path) : 0;
}

static bool entry_is_meant(const struct local *local, const struct descriptor *entry)
{
	if (!digest_is_none(&local->digest))
		return digest_equal(&local->digest, &entry->digest);
	if (!local->tag)
		return !entry->artifact_type; /* not what was attached to an image */
	const char *name = descriptor_annotation(entry, REF_NAME);
	return name && strcmp(name, local->tag) == 0;
}

/* The entry that the reference means. Several names for one digest are no contradiction. */
static int choose_entry(const struct local *local, const struct manifest *index,
			const struct descriptor **ret, struct err *err)
{
	const struct descriptor *found = NULL;
	for (size_t i = 0; i < index->manifests.count; i++) {
		const struct descriptor *entry = &index->manifests.items[i];
		if (!entry_is_meant(local, entry))
			continue;
		if (found && !digest_equal(&found->digest, &entry->digest))
			return err_say(err, -EINVAL, "%s holds several images%s%s; name one with %s:TAG",
				       local->path, local->tag ? " called " : "",
				       local->tag ? local->tag : "", local->path);
		found = entry;
	}
	if (!found)
		return err_say(err, -ENOENT, "%s holds no image%s%s", local->path,
			       local->tag ? " called " : "", local->tag ? local->tag : "");
	*ret = found;
	return 0;
}

static int set_descriptor(const char *media_type, const struct digest *digest, uint64_t size,
			  struct descriptor *ret, struct err *err)
{
	char *type = strdup(media_type);
	if (!type)
		return err_set(err, -ENOMEM, "describe a manifest");
	*ret = (struct descriptor){.media_type = type, .digest = *digest, .size = size};
	return 0;
}

int local_manifest(struct origin *o, const struct digest *want, struct buf *ret,
		   struct descriptor *ret_desc, deadline_t deadline, struct err *err)
{
	(void)deadline;
	struct local *local = local_of(o);
	AUTO_FINISH(manifest) struct manifest index = {0};
	const struct descriptor *entry = NULL;
	const char *type = "";
	int r = 0;
	if (!want) {
		r = read_index(local, &index, err);
		if (r == 0)
			r = choose_entry(local, &index, &entry, err);
		if (r < 0 && (r != -ENOENT || digest_is_none(&local->digest)))
			return r;
		/* A digest may name a manifest inside an index, which index.json does not list. */
		want = entry ? &entry->digest : &local->digest;
		type = entry ? entry->media_type : "";
	}
	size_t start = ret->len;
	r = local_manifest_by_digest(local, want, ret, err);
	if (r < 0)
		return r;
	if (entry && entry->size != ret->len - start)
		return err_say(err, -EBADMSG, "%s: the manifest has %zu bytes, index.json says %lu",
			       local->path, ret->len - start, (unsigned long)entry->size);
	return set_descriptor(type, want, ret->len - start, ret_desc, err);
}

/* Opens a blob and checks that it is as long as its descriptor says. */
static int open_checked(struct local *local, const struct descriptor *desc,
			struct local_file *ret, struct err *err)
{
	struct digest_text text;
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	int r = local->open_blob(local, &desc->digest, &file, err);
	if (r < 0)
		return err_prefix(err, r, "%s", local->path);
	if (file.size != desc->size)
		return err_say(err, -EBADMSG, "%s: blob %s has %lu bytes, its descriptor says %lu",
			       local->path, digest_str(&desc->digest, text.s),
			       (unsigned long)file.size, (unsigned long)desc->size);
	*ret = file;
	file.owned = false;
	return 0;
}

int local_blob(struct origin *o, const struct descriptor *desc, struct buf *ret,
	       deadline_t deadline, struct err *err)
{
	(void)deadline;
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	int r = open_checked(local_of(o), desc, &file, err);
	return r < 0 ? r : local_slurp(&file, &desc->digest, ret, "a blob", err);
}

/* Copies [off, off + len) of a file into the sink, and into a digest when there is one. */
static int copy_out(const struct local *local, const struct local_file *file, uint64_t off,
		    uint64_t len, const struct byte_sink *sink, struct digest_ctx *ctx,
		    struct err *err)
{
	AUTO_FREE char *bytes = malloc(LOCAL_READ_BYTES);
	if (!bytes)
		return err_set(err, -ENOMEM, "read %s", local->path);
	while (len > 0) {
		size_t want = (size_t)u64_min(len, LOCAL_READ_BYTES);
		ssize_t n = file_pread(file->fd, bytes, want, file->off + off);
		if (n < 0 || (size_t)n != want)
			return err_set(err, n < 0 ? (int)n : -EIO, "read %s", local->path);
		int r = ctx ? digest_ctx_update(ctx, bytes, want) : 0;
		if (r == 0)
			r = sink->write(sink->data, bytes, want);
		if (r < 0)
			return err_set(err, r, "read %s", local->path);
		off += want;
		len -= want;
	}
	return 0;
}

int local_range(struct origin *o, const struct descriptor *desc, uint64_t off, uint64_t len,
		const struct byte_sink *sink, deadline_t deadline, struct err *err)
{
	(void)deadline;
	struct local *local = local_of(o);
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	int r = open_checked(local, desc, &file, err);
	if (r < 0)
		return r;
	if (!range_within(off, len, file.size))
		return err_say(err, -EINVAL, "%s: a range past the end of a blob", local->path);
	return copy_out(local, &file, off, len, sink, NULL, err);
}

int local_stream(struct origin *o, const struct descriptor *desc, const struct byte_sink *sink,
		 deadline_t deadline, struct err *err)
{
	(void)deadline;
	struct local *local = local_of(o);
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	struct digest got;
	int r = open_checked(local, desc, &file, err);
	if (r < 0)
		return r;
	r = digest_ctx_create(desc->digest.algo, &ctx);
	if (r < 0)
		return err_set(err, r, "read %s", local->path);
	r = copy_out(local, &file, 0, file.size, sink, ctx, err);
	if (r < 0)
		return r;
	r = digest_ctx_final(ctx, &got);
	if (r < 0)
		return err_set(err, r, "read %s", local->path);
	return digest_match(&desc->digest, &got, "a blob", err);
}

/* Adds the entry when it is an image manifest about the subject, of the type asked for. */
static int add_referrer(struct local *local, const struct descriptor *entry,
			const struct digest *subject, const char *artifact_type,
			struct descriptors *list, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(manifest) struct manifest m = {0};
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	int r = local_manifest_by_digest(local, &entry->digest, &text, err);
	if (r == 0)
		r = manifest_parse(buf_str(&text), text.len, entry->media_type, &m, err);
	if (r < 0)
		return r;
	if (!digest_equal(&m.subject, subject))
		return 0;
	const char *type = m.artifact_type ? m.artifact_type : m.config.media_type;
	if (artifact_type && (!type || strcmp(type, artifact_type) != 0))
		return 0;
	r = descriptor_copy(entry, &desc);
	if (r == 0 && type) {
		free(desc.artifact_type);
		desc.artifact_type = strdup(type);
		r = desc.artifact_type ? 0 : -ENOMEM;
	}
	if (r == 0) {
		json_decref(desc.annotations);
		desc.annotations = json_incref(m.annotations);
		r = descriptors_add(list, &desc);
	}
	return r < 0 ? err_set(err, r, "list what refers to an image") : 0;
}

int local_referrers(struct origin *o, const struct digest *subject, const char *artifact_type,
		    struct descriptors *ret, deadline_t deadline, struct err *err)
{
	(void)deadline;
	struct local *local = local_of(o);
	AUTO_FINISH(manifest) struct manifest index = {0};
	AUTO_FINISH(descriptors) struct descriptors list = {0};
	int r = read_index(local, &index, err);
	for (size_t i = 0; r == 0 && i < index.manifests.count; i++)
		r = add_referrer(local, &index.manifests.items[i], subject, artifact_type, &list, err);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct descriptors){0};
	return 0;
}

static int no_push(struct origin *o, struct err *err)
{
	return err_say(err, -EOPNOTSUPP, "nothing can be added to the archive %s", local_of(o)->path);
}

int local_no_push_blob(struct origin *o, const struct descriptor *desc, const void *data,
		       size_t n, deadline_t deadline, struct err *err)
{
	(void)desc, (void)data, (void)n, (void)deadline;
	return no_push(o, err);
}

int local_no_push_manifest(struct origin *o, const struct descriptor *desc, const void *data,
			   size_t n, const struct digest *subject, deadline_t deadline,
			   struct err *err)
{
	(void)desc, (void)data, (void)n, (void)subject, (void)deadline;
	return no_push(o, err);
}
