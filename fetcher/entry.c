/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/entry.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* One component into out; false when it is not a name a file may have. */
static int entry_check_component(const char *part, size_t n, struct err *err)
{
	if (n > ENTRY_NAME_MAX)
		return err_say(err, -EBADMSG, "a name of %zu bytes is longer than %d", n,
			       ENTRY_NAME_MAX);
	if (n == 2 && part[0] == '.' && part[1] == '.')
		return err_say(err, -EBADMSG, "a path has the component \"..\"");
	return 0;
}

int entry_clean_path(const char *raw, size_t n, char out[static ENTRY_PATH_MAX], struct err *err)
{
	size_t len = 0;
	size_t depth = 0;
	if (memchr(raw, '\0', n))
		return err_say(err, -EBADMSG, "a path holds a NUL");

	for (size_t i = 0; i < n;) {
		const char *part = raw + i;
		const char *slash = memchr(part, '/', n - i);
		size_t part_len = slash ? (size_t)(slash - part) : n - i;
		i += part_len + (slash ? 1 : 0);
		if (part_len == 0 || (part_len == 1 && part[0] == '.'))
			continue;
		int r = entry_check_component(part, part_len, err);
		if (r < 0)
			return r;
		if (++depth > ENTRY_DEPTH_MAX)
			return err_say(err, -EBADMSG, "a path is deeper than %d", ENTRY_DEPTH_MAX);
		if (len + part_len + 2 > ENTRY_PATH_MAX)
			return err_say(err, -EBADMSG, "a path is longer than %d bytes",
				       ENTRY_PATH_MAX);
		if (len > 0)
			out[len++] = '/';
		memcpy(out + len, part, part_len);
		len += part_len;
	}
	out[len] = '\0';
	return 0;
}

/* ".wh.x" hides x; there is nothing called "", "." or ".." to hide. */
static bool entry_hides_nothing(const char *path)
{
	for (const char *at = path; (at = strstr(at, ".wh.")) != NULL; at++) {
		if (at != path && at[-1] != '/')
			continue;
		size_t n = strcspn(at + 4, "/");
		if (n <= 2 && strspn(at + 4, ".") >= n)
			return true;
	}
	return false;
}

static int entry_check_link(const struct entry *entry, struct err *err)
{
	bool is_link = entry->type == ENTRY_SYMLINK || entry->type == ENTRY_HARDLINK;
	if (!is_link)
		return 0;
	if (!entry->link || entry->link[0] == '\0')
		return err_say(err, -EBADMSG, "a link without a target");
	if (strlen(entry->link) >= ENTRY_PATH_MAX)
		return err_say(err, -EBADMSG, "a link target is longer than %d bytes",
			       ENTRY_PATH_MAX - 1);
	return 0;
}

static int entry_check_xattrs(const struct entry *entry, struct err *err)
{
	size_t total = 0;
	if (entry->n_xattrs > ENTRY_XATTRS_MAX)
		return err_say(err, -EBADMSG, "it has more than %d xattrs", ENTRY_XATTRS_MAX);
	for (size_t i = 0; i < entry->n_xattrs; i++) {
		const struct entry_xattr *x = &entry->xattrs[i];
		size_t n = strlen(x->name);
		if (n == 0 || n > ENTRY_XATTR_NAME_MAX)
			return err_say(err, -EBADMSG, "an xattr has a name of %zu bytes", n);
		if (x->len > ENTRY_XATTR_VALUE_MAX)
			return err_say(err, -EBADMSG, "an xattr has a value of %zu bytes", x->len);
		total += n + x->len;
		if (total > ENTRY_XATTR_BYTES_MAX)
			return err_say(err, -EBADMSG, "its xattrs take more than %d bytes",
				       ENTRY_XATTR_BYTES_MAX);
	}
	return 0;
}

static int entry_check_extents(const struct entry *entry, struct err *err)
{
	uint64_t end = 0;
	if (entry->n_extents > 0 && entry->type != ENTRY_REG)
		return err_say(err, -EBADMSG, "something else than a regular file has content");
	if (entry->n_extents > ENTRY_EXTENTS_MAX)
		return err_say(err, -EBADMSG, "it is sparse in more than %d pieces",
			       ENTRY_EXTENTS_MAX);
	for (size_t i = 0; i < entry->n_extents; i++) {
		const struct entry_extent *x = &entry->extents[i];
		if (x->len == 0 || x->file_off < end || x->file_off > entry->size ||
		    x->len > entry->size - x->file_off || x->dev_off > UINT64_MAX - x->len)
			return err_say(err, -EBADMSG, "piece %zu of its content is out of order "
				       "or outside the file", i);
		end = x->file_off + x->len;
		if (x->file_off % ENTRY_ALIGN || x->dev_off % ENTRY_ALIGN ||
		    (end % ENTRY_ALIGN && end != entry->size))
			return err_say(err, -EOPNOTSUPP, "piece %zu of its content does not begin "
				       "and end on multiples of %d bytes", i, ENTRY_ALIGN);
	}
	return 0;
}

int entry_check(const struct entry *entry, struct err *err)
{
	if (entry->path[0] == '\0' && entry->type != ENTRY_DIR)
		return err_say(err, -EBADMSG, "the root of a layer can only be a directory");
	if (entry_hides_nothing(entry->path))
		return err_say(err, -EBADMSG, "a whiteout must hide a name");
	int r = entry_check_link(entry, err);
	if (r < 0)
		return r;
	r = entry_check_xattrs(entry, err);
	if (r < 0)
		return r;
	return entry_check_extents(entry, err);
}

char *entry_label(const char *raw, size_t n, char out[static ENTRY_LABEL_MAX])
{
	size_t len = n < ENTRY_LABEL_MAX - 1 ? n : ENTRY_LABEL_MAX - 1;
	for (size_t i = 0; i < len; i++)
		out[i] = iscntrl((unsigned char)raw[i]) ? '?' : raw[i];
	out[len] = '\0';
	return out;
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

int entry_base64(const char *text, size_t n, struct buf *to)
{
	uint32_t bits = 0;
	unsigned int n_bits = 0;
	if (n % 4 == 0 && n > 0)
		n -= text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
	if (n % 4 == 1)
		return -EBADMSG;
	int r = buf_reserve(to, n / 4 * 3 + 3);
	for (size_t i = 0; r == 0 && i < n; i++) {
		int digit = base64_digit(text[i]);
		if (digit < 0)
			return -EBADMSG;
		bits = bits << 6 | (uint32_t)digit;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		char byte = (char)(bits >> n_bits & 0xff);
		r = buf_append(to, &byte, 1);
	}
	return r;
}
