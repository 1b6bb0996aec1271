/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/tar_priv.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/num.h"

/* POSIX.1-2001, "pax Extended Header": records of "length keyword=value\n". */
struct record {
	const char *key, *value; /* borrowed; the key is not terminated */
	size_t key_len, value_len;
};

void tar_pax_init(struct tar_pax *pax)
{
	*pax = (struct tar_pax){
		.path = buf_make(TAR_PAX_MAX),
		.link = buf_make(TAR_PAX_MAX),
		.sparse_name = buf_make(TAR_PAX_MAX),
		.xattr_bytes = buf_make(TAR_PAX_MAX),
	};
}

void tar_pax_finish(struct tar_pax *pax)
{
	buf_finish(&pax->path);
	buf_finish(&pax->link);
	buf_finish(&pax->sparse_name);
	buf_finish(&pax->xattr_bytes);
	tar_sparse_finish(&pax->sparse);
	free(pax->xattrs);
	*pax = (struct tar_pax){0};
}

void tar_pax_reset(struct tar_pax *pax, const struct tar_pax *global)
{
	pax->has = global->has;
	pax->uid = global->uid;
	pax->gid = global->gid;
	pax->mtime_sec = global->mtime_sec;
	pax->mtime_nsec = global->mtime_nsec;
	pax->n_xattrs = 0;
	buf_clear(&pax->xattr_bytes);
	tar_sparse_reset(&pax->sparse);
}

static int decimal(const struct record *rec, uint64_t max, uint64_t *ret, struct err *err)
{
	uint64_t v = 0;
	for (size_t i = 0; i < rec->value_len; i++) {
		unsigned int digit = (unsigned char)rec->value[i] - (unsigned int)'0';
		if (digit > 9)
			return err_say(err, -EBADMSG, "pax %.*s is not a number",
				       (int)rec->key_len, rec->key);
		if (v > (max - digit) / 10)
			return err_say(err, -EBADMSG, "pax %.*s is out of range",
				       (int)rec->key_len, rec->key);
		v = v * 10 + digit;
	}
	*ret = v;
	return 0;
}

static int decimal_u32(const struct record *rec, uint32_t *ret, struct err *err)
{
	uint64_t v = 0;
	int r = decimal(rec, UINT32_MAX, &v, err);
	if (r == 0)
		*ret = (uint32_t)v;
	return r;
}

/* "-1.25" is 1.25 s before 1970: second -2, nanosecond 750,000,000. */
static int parse_mtime(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	bool negative = rec->value[0] == '-';
	uint64_t sec = 0;
	uint32_t nsec = 0;
	struct record whole = *rec;
	whole.value += negative;
	whole.value_len -= negative;
	const char *dot = memchr(whole.value, '.', whole.value_len);
	const char *end = whole.value + whole.value_len;
	if (dot)
		whole.value_len = (size_t)(dot - whole.value);
	int r = whole.value_len > 0 ? decimal(&whole, INT64_MAX - 1, &sec, err) : -EBADMSG;
	if (r < 0)
		return err_say(err, -EBADMSG, "pax mtime is not a time");
	uint32_t place = 100000000;
	for (const char *p = dot ? dot + 1 : end; p < end; p++) {
		if (!isdigit((unsigned char)*p))
			return err_say(err, -EBADMSG, "pax mtime is not a time");
		nsec += place * (uint32_t)(*p - '0');
		place /= 10; /* digits past the ninth count nothing */
	}
	pax->mtime_sec = negative ? -(int64_t)sec : (int64_t)sec;
	pax->mtime_nsec = nsec;
	if (negative && nsec > 0) {
		pax->mtime_sec--;
		pax->mtime_nsec = 1000000000 - nsec;
	}
	return 0;
}

static int text_value(struct buf *to, const struct record *rec, struct err *err)
{
	if (memchr(rec->value, '\0', rec->value_len))
		return err_say(err, -EBADMSG, "pax %.*s holds a NUL", (int)rec->key_len, rec->key);
	buf_clear(to);
	return buf_append(to, rec->value, rec->value_len);
}

/* Replaces an xattr of that name or adds one; the value is the last `len` of xattr_bytes. */
static int xattr_set(struct tar_pax *pax, struct tar_xattr x, struct err *err)
{
	const char *bytes = buf_str(&pax->xattr_bytes);
	for (size_t i = 0; i < pax->n_xattrs; i++) {
		if (strcmp(bytes + pax->xattrs[i].name, bytes + x.name) == 0) {
			pax->xattrs[i] = x;
			return 0;
		}
	}
	if (pax->n_xattrs >= ENTRY_XATTRS_MAX)
		return err_say(err, -EBADMSG, "it has more than %d xattrs", ENTRY_XATTRS_MAX);
	if (pax->n_xattrs == pax->xattrs_room) {
		size_t room = pax->xattrs_room ? pax->xattrs_room * 2 : 8;
		struct tar_xattr *xattrs = reallocarray(pax->xattrs, room, sizeof(*xattrs));
		if (!xattrs)
			return -ENOMEM;
		pax->xattrs = xattrs;
		pax->xattrs_room = room;
	}
	pax->xattrs[pax->n_xattrs++] = x;
	return 0;
}

static int schily_xattr(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	struct buf *bytes = &pax->xattr_bytes;
	struct tar_xattr x = {.name = bytes->len, .len = rec->value_len};
	if (memchr(rec->key, '\0', rec->key_len))
		return err_say(err, -EBADMSG, "the name of an xattr holds a NUL");
	int r = buf_append(bytes, rec->key, rec->key_len);
	r = r < 0 ? r : buf_append(bytes, "", 1);
	x.value = bytes->len;
	r = r < 0 ? r : buf_append(bytes, rec->value, rec->value_len);
	return r < 0 ? r : xattr_set(pax, x, err);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends the name that "user.a%3Db" stands for, and a NUL. */
static int url_decode(struct buf *to, const char *text, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (c == '%') {
			int high = i + 2 < n ? hex_digit(text[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
			if (low < 0)
				return err_say(err, -EBADMSG,
					       "the name of an xattr is not URL-encoded");
			c = (char)(high * 16 + low);
			i += 2;
		}
		if (c == '\0')
			return err_say(err, -EBADMSG, "the name of an xattr holds a NUL");
		int r = buf_append(to, &c, 1);
		if (r < 0)
			return r;
	}
	return buf_append(to, "", 1);
}

static int libarchive_xattr(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	struct buf *bytes = &pax->xattr_bytes;
	struct tar_xattr x = {.name = bytes->len};
	int r = url_decode(bytes, rec->key, rec->key_len, err);
	if (r < 0)
		return r;
	x.value = bytes->len;
	r = entry_base64(rec->value, rec->value_len, bytes);
	if (r == -EBADMSG)
		return err_say(err, r, "the value of an xattr is not base64");
	if (r < 0)
		return r;
	x.len = bytes->len - x.value;
	return xattr_set(pax, x, err);
}

static int sparse_offset(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	if (pax->has & PAX_SPARSE_OFFSET)
		return err_say(err, -EBADMSG, "its sparse map has two offsets in a row");
	return decimal(rec, TAR_SIZE_MAX, &pax->sparse_offset, err);
}

static int sparse_numbytes(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	uint64_t len = 0;
	if (!(pax->has & PAX_SPARSE_OFFSET))
		return err_say(err, -EBADMSG, "its sparse map has a length without an offset");
	int r = decimal(rec, TAR_SIZE_MAX, &len, err);
	if (r < 0)
		return r;
	pax->has &= ~(unsigned int)PAX_SPARSE_OFFSET;
	return tar_sparse_add(&pax->sparse, pax->sparse_offset, len, err);
}

static int set_path(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return text_value(&pax->path, rec, err);
}

static int set_link(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return text_value(&pax->link, rec, err);
}

static int set_size(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return decimal(rec, TAR_SIZE_MAX, &pax->size, err);
}

static int set_uid(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return decimal_u32(rec, &pax->uid, err);
}

static int set_gid(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return decimal_u32(rec, &pax->gid, err);
}

static int set_sparse_name(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return text_value(&pax->sparse_name, rec, err);
}

static int set_sparse_size(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return decimal(rec, TAR_SIZE_MAX, &pax->sparse_size, err);
}

static int set_sparse_count(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return decimal(rec, ENTRY_EXTENTS_MAX, &pax->sparse_count, err);
}

static int set_sparse_map(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return tar_sparse_add_map(&pax->sparse, rec->value, rec->value_len, err);
}

static int set_sparse_major(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return decimal(rec, UINT32_MAX, &pax->sparse_major, err);
}

static int set_sparse_minor(struct tar_pax *pax, const struct record *rec, struct err *err)
{
	return decimal(rec, UINT32_MAX, &pax->sparse_minor, err);
}

static const struct keyword {
	const char *name;
	unsigned int bit; /* 0: a prefix; or set is the one who keeps the books */
	int (*set)(struct tar_pax *pax, const struct record *rec, struct err *err);
} keywords[] = {
	{"path", PAX_PATH, set_path},
	{"linkpath", PAX_LINK, set_link},
	{"size", PAX_SIZE, set_size},
	{"uid", PAX_UID, set_uid},
	{"gid", PAX_GID, set_gid},
	{"mtime", PAX_MTIME, parse_mtime},
	{"GNU.sparse.name", PAX_SPARSE_NAME, set_sparse_name},
	{"GNU.sparse.size", PAX_SPARSE_SIZE, set_sparse_size},
	{"GNU.sparse.realsize", PAX_SPARSE_SIZE, set_sparse_size},
	{"GNU.sparse.numblocks", PAX_SPARSE_COUNT, set_sparse_count},
	{"GNU.sparse.map", PAX_SPARSE_MAP, set_sparse_map},
	{"GNU.sparse.major", PAX_SPARSE_MAJOR, set_sparse_major},
	{"GNU.sparse.minor", PAX_SPARSE_MINOR, set_sparse_minor},
	{"GNU.sparse.offset", PAX_SPARSE_OFFSET, sparse_offset},
	{"GNU.sparse.numbytes", 0, sparse_numbytes},
	{"SCHILY.xattr.", 0, schily_xattr},
	{"LIBARCHIVE.xattr.", 0, libarchive_xattr},
};

/* Keywords that end in a dot are prefixes; *ret_rest is then how long they are, else 0. */
static const struct keyword *keyword_find(const struct record *rec, size_t *ret_rest)
{
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
		size_t n = strlen(keywords[i].name);
		bool prefix = keywords[i].name[n - 1] == '.';
		if (rec->key_len < n || (!prefix && rec->key_len != n) ||
		    memcmp(rec->key, keywords[i].name, n) != 0)
			continue;
		*ret_rest = prefix ? n : 0;
		return &keywords[i];
	}
	return NULL;
}

static int record_apply(struct tar_pax *pax, struct record rec, bool global, struct err *err)
{
	size_t prefix = 0;
	const struct keyword *key = keyword_find(&rec, &prefix);
	if (!key)
		return 0;
	if (global && !(key->bit & PAX_GLOBAL))
		return err_say(err, -EBADMSG, "a global header sets the %.*s of every file",
			       (int)rec.key_len, rec.key);
	rec.key += prefix;
	rec.key_len -= prefix;
	/* An empty value takes back what was said before; an xattr may just be empty. */
	if (rec.value_len == 0 && prefix == 0) {
		if (key->bit & (PAX_SPARSE_OFFSET | PAX_SPARSE_MAP) || key->bit == 0)
			return err_say(err, -EBADMSG, "pax %s is empty", key->name);
		pax->has &= ~key->bit;
		return 0;
	}
	int r = key->set(pax, &rec, err);
	if (r < 0)
		return r;
	pax->has |= key->bit;
	return 0;
}

/* Takes the record at the head of data: its length. */
static int record_split(const char *data, size_t n, struct record *ret, size_t *ret_len)
{
	size_t len = 0;
	size_t i = 0;
	for (; i < n && isdigit((unsigned char)data[i]); i++) {
		len = len * 10 + (size_t)(data[i] - '0');
		if (len > n)
			return -EBADMSG;
	}
	if (i == 0 || i >= n || data[i] != ' ' || len < i + 4 || data[len - 1] != '\n')
		return -EBADMSG;
	const char *key = data + i + 1;
	const char *equals = memchr(key, '=', len - i - 2);
	if (!equals || equals == key)
		return -EBADMSG;
	*ret = (struct record){
		.key = key,
		.key_len = (size_t)(equals - key),
		.value = equals + 1,
		.value_len = (size_t)(data + len - 1 - (equals + 1)),
	};
	*ret_len = len;
	return 0;
}

int tar_pax_parse(struct tar_pax *pax, const char *data, size_t n, bool global, struct err *err)
{
	for (size_t at = 0; at < n;) {
		struct record rec;
		size_t len = 0;
		int r = record_split(data + at, n - at, &rec, &len);
		if (r < 0)
			return err_say(err, r, "its pax header has a broken record at its byte %zu",
				       at);
		r = record_apply(pax, rec, global, err);
		if (r < 0)
			return r;
		at += len;
	}
	if (pax->has & PAX_SPARSE_OFFSET)
		return err_say(err, -EBADMSG, "its sparse map ends with an offset");
	return 0;
}
