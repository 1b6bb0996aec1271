/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/ztoc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fetcher/ztoc_priv.h"

#define ZTOC_VERSION "0.9"

/* Fields of the tables, in the order of the schema. */
enum {
	ZTOC_FIELD_VERSION,
	ZTOC_FIELD_BUILD_TOOL,
	ZTOC_FIELD_IN_SIZE,
	ZTOC_FIELD_OUT_SIZE,
	ZTOC_FIELD_TOC,
	ZTOC_FIELD_COMPRESSION,
};
enum { TOC_FIELD_METADATA };
enum {
	COMPRESSION_FIELD_ALGORITHM,
	COMPRESSION_FIELD_MAX_SPAN_ID,
	COMPRESSION_FIELD_DIGESTS,
	COMPRESSION_FIELD_CHECKPOINTS,
};

void ztoc_destroy(struct ztoc *ztoc)
{
	free(ztoc);
}

uint64_t ztoc_device_size(const struct ztoc *ztoc)
{
	return ztoc->out_size;
}

/* Makes a field that was left out an error. */
static int need(int r, const char *name, struct err *err)
{
	if (r == 0)
		return err_say(err, -EBADMSG, "the zTOC lacks %s", name);
	return r < 0 ? r : 0;
}

static int read_version(const struct flat_table *root, struct err *err)
{
	struct flat_bytes version = {0};
	char label[ENTRY_LABEL_MAX];
	int r = need(flat_bytes(root, ZTOC_FIELD_VERSION, "version", &version, err), "version",
		     err);
	if (r < 0)
		return r;
	if (version.len != strlen(ZTOC_VERSION) ||
	    memcmp(version.data, ZTOC_VERSION, version.len) != 0)
		return err_say(err, -EBADMSG, "version \"%s\" of the zTOC is not known",
			       entry_label(version.data, version.len, label));
	return 0;
}

static int read_size(const struct flat_table *root, size_t field, const char *name, uint64_t *ret,
		     struct err *err)
{
	int64_t size = 0;
	int r = flat_i64(root, field, name, &size, err);
	if (r < 0)
		return r;
	if (size < 0)
		return err_say(err, -EBADMSG, "%s of the zTOC is negative", name);
	*ret = (uint64_t)size;
	return 0;
}

static int read_sizes(struct ztoc *z, const struct flat_table *root, uint64_t layer_size,
		      struct err *err)
{
	int r = read_size(root, ZTOC_FIELD_IN_SIZE, "compressed_archive_size", &z->in_size, err);
	if (r == 0)
		r = read_size(root, ZTOC_FIELD_OUT_SIZE, "uncompressed_archive_size", &z->out_size,
			      err);
	if (r < 0)
		return r;
	if (z->in_size != layer_size)
		return err_say(err, -EBADMSG,
			       "compressed_archive_size of the zTOC is %" PRIu64
			       ", but the layer has %" PRIu64 " bytes",
			       z->in_size, layer_size);
	return 0;
}

static int read_files(struct ztoc *z, const struct flat_table *root, struct err *err)
{
	struct flat_table toc;
	int r = need(flat_table(root, ZTOC_FIELD_TOC, "toc", &toc, err), "toc", err);
	if (r == 0)
		r = flat_vector(&toc, TOC_FIELD_METADATA, "metadata", &z->files, err);
	if (r < 0)
		return r;
	if (z->files.count > ENTRIES_MAX)
		return err_say(err, -EBADMSG, "metadata of the zTOC has more than %d entries",
			       ENTRIES_MAX);
	return 0;
}

static int read_compression(struct ztoc *z, const struct flat_table *root, struct err *err)
{
	struct flat_table info;
	int8_t algorithm = ZTOC_GZIP;
	int32_t max_span_id = 0;
	int r = need(flat_table(root, ZTOC_FIELD_COMPRESSION, "compression_info", &info, err),
		     "compression_info", err);
	if (r == 0)
		r = flat_i8(&info, COMPRESSION_FIELD_ALGORITHM, "compression_algorithm",
			    &algorithm, err);
	if (r >= 0)
		r = flat_i32(&info, COMPRESSION_FIELD_MAX_SPAN_ID, "max_span_id", &max_span_id,
			     err);
	if (r >= 0)
		r = need(flat_vector(&info, COMPRESSION_FIELD_DIGESTS, "span_digests", &z->digests,
				     err),
			 "span_digests", err);
	if (r >= 0)
		r = need(flat_bytes(&info, COMPRESSION_FIELD_CHECKPOINTS, "checkpoints",
				    &z->checkpoints, err),
			 "checkpoints", err);
	if (r < 0)
		return r;
	if (algorithm != ZTOC_GZIP && algorithm != ZTOC_UNCOMPRESSED)
		return err_say(err, -EBADMSG, "compression_algorithm %d of the zTOC is not known",
			       algorithm);
	z->codec = (enum ztoc_codec)algorithm;
	if (max_span_id < 0 || z->digests.count != (size_t)max_span_id + 1)
		return err_say(err, -EBADMSG,
			       "span_digests of the zTOC has %zu digests, max_span_id is %d",
			       z->digests.count, max_span_id);
	if (z->digests.count > SEEK_SPANS_MAX)
		return err_say(err, -EBADMSG, "span_digests of the zTOC has more than %d digests",
			       SEEK_SPANS_MAX);
	return 0;
}

int ztoc_parse(const void *data, size_t n, uint64_t layer_size, struct ztoc **ret, struct err *err)
{
	AUTO(ztoc) struct ztoc *z = calloc(1, sizeof(*z));
	struct flat_table root;
	if (!z)
		return err_set(err, -ENOMEM, "read a zTOC");
	z->flat = (struct flat){.data = data, .n = n, .what = "the zTOC"};
	int r = flat_root(&z->flat, &root, err);
	if (r == 0)
		r = read_version(&root, err);
	if (r == 0)
		r = read_sizes(z, &root, layer_size, err);
	if (r == 0)
		r = read_files(z, &root, err);
	if (r == 0)
		r = read_compression(z, &root, err);
	if (r < 0)
		return r;
	if (z->codec == ZTOC_UNCOMPRESSED) {
		if (z->out_size > z->in_size)
			return err_say(err, -EBADMSG,
				       "uncompressed_archive_size of the zTOC is %" PRIu64
				       ", more than the %" PRIu64 " bytes of an uncompressed layer",
				       z->out_size, z->in_size);
		/* Padding of the archive included. */
		z->out_size = z->in_size;
	}
	*ret = steal_ptr(&z);
	return 0;
}

int ztoc_entries(const struct ztoc *ztoc, entry_fn fn, void *data, struct err *err)
{
	AUTO_FINISH(ztoc_text) struct ztoc_text text = {
		.xattr_names = buf_make(ENTRY_XATTR_BYTES_MAX + ENTRY_XATTRS_MAX)};
	for (size_t i = 0; i < ztoc->files.count; i++) {
		struct flat_table file;
		struct flat_bytes name = {0};
		struct entry_extent extent;
		struct entry entry;
		char label[ENTRY_LABEL_MAX];
		int r = flat_vector_table(&ztoc->files, i, &file, err);
		if (r == 0)
			r = ztoc_file_name(&file, &name, err);
		if (r < 0)
			return err_prefix(err, r, "zTOC entry %zu", i);
		r = ztoc_file_read(ztoc, &file, &text, &extent, &entry, err);
		if (r == 0)
			r = entry_check(&entry, err);
		if (r < 0)
			return err_prefix(err, r, "zTOC entry %zu, \"%s\"", i,
					  entry_label(name.data, name.len, label));
		r = fn(data, &entry, err);
		if (r < 0)
			return r;
	}
	return 0;
}
