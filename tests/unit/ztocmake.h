/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Writes zTOCs for tests. Every field of a table has a cell of 8 bytes, and
 * children follow their parents, so that all offsets point forward.
 */

#include "base/buf.h"
#include "base/digest.h"
#include "base/le.h"
#include "tests/unit/unit.h"

enum { ZM_MAX = 64 << 20, ZM_CELL = 8, ZM_HEAD = 12, ZM_POINT = 17 + 32768 };

struct zm_record {
	const char *key, *value;
	size_t len; /* of the value; 0: a string */
};

struct zm_file {
	const char *name, *type, *link, *time;
	int64_t off, size, mode, major, minor;
	uint32_t uid, gid;
	struct zm_record records[2];
};

struct zm_spec {
	const char *version; /* NULL: left out */
	int64_t in_size, out_size;
	bool no_toc, no_info, no_digests, no_checkpoints;
	struct zm_file files[8]; /* up to the one without a name */
	int8_t algorithm;	 /* 0: left out */
	int32_t max_span_id;
	const char *digests[64]; /* up to NULL */
	const void *checkpoints;
	size_t checkpoints_len;
};

static inline void zm_bytes(struct buf *to, const void *data, size_t n)
{
	assert_int_equal(buf_append(to, data, n), 0);
}

/* An empty table of n fields; its place. Cells that are set afterwards also enter the vtable. */
static inline size_t zm_table(struct buf *to, size_t n)
{
	static const uint8_t zeros[256];
	uint8_t head[4];
	while (to->len % 8)
		zm_bytes(to, "", 1);
	size_t vtable = to->len;
	le16_put(head, (uint16_t)(4 + 2 * n));
	le16_put(head + 2, (uint16_t)(ZM_CELL + ZM_CELL * n));
	zm_bytes(to, head, sizeof(head));
	zm_bytes(to, zeros, 2 * n);
	while (to->len % 8)
		zm_bytes(to, "", 1);
	size_t at = to->len;
	zm_bytes(to, zeros, ZM_CELL + ZM_CELL * n);
	le32_put(to->data + at, (uint32_t)(at - vtable));
	return at;
}

static inline size_t zm_cell(struct buf *to, size_t table, size_t field)
{
	size_t vtable = table - le32_get(to->data + table);
	le16_put(to->data + vtable + 4 + 2 * field, (uint16_t)(ZM_CELL + ZM_CELL * field));
	return table + ZM_CELL + ZM_CELL * field;
}

static inline void zm_number(struct buf *to, size_t table, size_t field, int64_t v)
{
	le64_put(to->data + zm_cell(to, table, field), (uint64_t)v);
}

/* The child that is written next. */
static inline void zm_child(struct buf *to, size_t place)
{
	while (to->len % 4)
		zm_bytes(to, "", 1);
	le32_put(to->data + place, (uint32_t)(to->len - place));
}

/* A child table: its vtable comes first, so the link is set afterwards. */
static inline size_t zm_child_table(struct buf *to, size_t place, size_t n)
{
	size_t at = zm_table(to, n);
	le32_put(to->data + place, (uint32_t)(at - place));
	return at;
}

static inline void zm_vector(struct buf *to, size_t place, const void *data, size_t n, size_t width)
{
	uint8_t count[4];
	zm_child(to, place);
	le32_put(count, (uint32_t)n);
	zm_bytes(to, count, sizeof(count));
	zm_bytes(to, data, n * width);
}

static inline void zm_string(struct buf *to, size_t table, size_t field, const char *text)
{
	if (text)
		zm_vector(to, zm_cell(to, table, field), text, strlen(text), 1);
}

/* A vector of n offsets; the place of the first. */
static inline size_t zm_offsets(struct buf *to, size_t place, size_t n)
{
	static const uint8_t zeros[4 * 64];
	zm_vector(to, place, zeros, n, 4);
	return to->len - 4 * n;
}

static inline void zm_file(struct buf *to, size_t place, const struct zm_file *f)
{
	size_t t = zm_child_table(to, place, 14);
	size_t n = 0;
	zm_string(to, t, 0, f->name);
	zm_string(to, t, 1, f->type);
	zm_number(to, t, 2, f->off);
	zm_number(to, t, 3, f->size);
	zm_string(to, t, 4, f->link);
	zm_number(to, t, 5, f->mode);
	zm_number(to, t, 6, f->uid);
	zm_number(to, t, 7, f->gid);
	zm_string(to, t, 10, f->time);
	zm_number(to, t, 11, f->major);
	zm_number(to, t, 12, f->minor);
	while (n < 2 && f->records[n].key)
		n++;
	size_t list = zm_offsets(to, zm_cell(to, t, 13), n);
	for (size_t i = 0; i < n; i++) {
		const struct zm_record *r = &f->records[i];
		size_t pair = zm_child_table(to, list + 4 * i, 2);
		zm_string(to, pair, 0, r->key);
		zm_vector(to, zm_cell(to, pair, 1), r->value, r->len ? r->len : strlen(r->value), 1);
	}
}

static inline void zm_info(struct buf *to, size_t place, const struct zm_spec *spec)
{
	size_t t = zm_child_table(to, place, 4);
	size_t n = 0;
	if (spec->algorithm)
		to->data[zm_cell(to, t, 0)] = (char)spec->algorithm;
	zm_number(to, t, 1, spec->max_span_id);
	while (spec->digests[n])
		n++;
	if (!spec->no_digests) {
		size_t list = zm_offsets(to, zm_cell(to, t, 2), n);
		for (size_t i = 0; i < n; i++)
			zm_vector(to, list + 4 * i, spec->digests[i], strlen(spec->digests[i]), 1);
	}
	if (!spec->no_checkpoints)
		zm_vector(to, zm_cell(to, t, 3), spec->checkpoints, spec->checkpoints_len, 1);
}

static inline void zm_ztoc(struct buf *to, const struct zm_spec *spec)
{
	static const uint8_t root[4];
	zm_bytes(to, root, sizeof(root));
	size_t t = zm_child_table(to, 0, 6);
	zm_string(to, t, 0, spec->version);
	zm_number(to, t, 2, spec->in_size);
	zm_number(to, t, 3, spec->out_size);
	if (!spec->no_toc) {
		size_t toc = zm_child_table(to, zm_cell(to, t, 4), 1);
		size_t n = 0;
		while (n < 8 && spec->files[n].name)
			n++;
		size_t list = zm_offsets(to, zm_cell(to, toc, 0), n);
		for (size_t i = 0; i < n; i++)
			zm_file(to, list + 4 * i, &spec->files[i]);
	}
	if (!spec->no_info)
		zm_info(to, zm_cell(to, t, 5), spec);
}
