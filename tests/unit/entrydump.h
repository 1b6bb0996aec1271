/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Entries as text, one line each, for comparison with what other readers say. */

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "fetcher/entry.h"

/* Bytes that are not plain are written %xx. */
static inline int dump_text(struct buf *to, const void *data, size_t n)
{
	const unsigned char *p = data;
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = isalnum(p[i]) || strchr("._-/", p[i] ? p[i] : '%') ? buf_append(to, p + i, 1)
								       : buf_printf(to, "%%%02x", p[i]);
	return r;
}

/* An entry_fn; data is a struct buf. */
static inline int dump_entry(void *data, const struct entry *e, struct err *err)
{
	static const char types[] = "-dlhcbps";
	struct buf *to = data;
	(void)err;
	int r = buf_printf(to, "%c ", types[e->type]);
	r = r < 0 ? r : dump_text(to, e->path, strlen(e->path));
	r = r < 0 ? r : buf_printf(to, " %o %u:%u %" PRId64 ".%09u", e->mode, e->uid, e->gid,
				   e->mtime_sec, e->mtime_nsec);
	if (r == 0 && e->type == ENTRY_REG)
		r = buf_printf(to, " %" PRIu64, e->size);
	if (r == 0 && (e->type == ENTRY_CHAR || e->type == ENTRY_BLOCK))
		r = buf_printf(to, " %u,%u", e->major, e->minor);
	if (r == 0 && e->link) {
		r = buf_puts(to, " > ");
		r = r < 0 ? r : dump_text(to, e->link, strlen(e->link));
	}
	for (size_t i = 0; r == 0 && i < e->n_xattrs; i++) {
		r = buf_puts(to, " ");
		r = r < 0 ? r : dump_text(to, e->xattrs[i].name, strlen(e->xattrs[i].name));
		r = r < 0 ? r : buf_puts(to, "=");
		r = r < 0 ? r : dump_text(to, e->xattrs[i].value, e->xattrs[i].len);
	}
	for (size_t i = 0; r == 0 && i < e->n_extents; i++)
		r = buf_printf(to, " [%" PRIu64 "@%" PRIu64 "+%" PRIu64 "]",
			       e->extents[i].file_off, e->extents[i].dev_off, e->extents[i].len);
	return r < 0 ? r : buf_puts(to, "\n");
}
