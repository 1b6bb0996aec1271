/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/number.h"

#include <string.h>

#include "base/num.h"

#define NUL_ESCAPE "\\u0000"

enum { ESCAPE_LEN = sizeof(NUL_ESCAPE) - 1, DIGITS_SAFE = 18 };

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static size_t digits(const char *p, const char *end)
{
	size_t n = 0;
	while (p + n < end && is_digit(p[n]))
		n++;
	return n;
}

/* Whether n digits are past what an int64_t of that sign holds. */
static bool too_large(const char *p, size_t n, bool negative)
{
	uint64_t value = 0, max = (uint64_t)INT64_MAX + negative;
	if (n <= DIGITS_SAFE)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint64_t digit = (uint64_t)(p[i] - '0');
		if (value > (max - digit) / 10)
			return true;
		value = value * 10 + digit;
	}
	return false;
}

/*
 * The bytes of the number that begins at p, 0 when that is none by the grammar
 * of RFC 8259, and whether it must be marked.
 */
static size_t scan_number(const char *p, const char *end, bool *ret_mark)
{
	const char *start = p;
	bool negative = *p == '-', mark;
	p += negative;
	size_t n = digits(p, end);
	if (n == 0 || (n > 1 && *p == '0'))
		return 0;
	mark = too_large(p, n, negative);
	p += n;
	if (p < end && *p == '.') {
		n = digits(++p, end);
		if (n == 0)
			return 0;
		p += n;
		mark = true;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		p += p < end && (*p == '+' || *p == '-');
		n = digits(p, end);
		if (n == 0)
			return 0;
		p += n;
		mark = true;
	}
	*ret_mark = mark;
	return (size_t)(p - start);
}

/* The bytes of the string that begins at p, its quotes among them; to the end if it has none. */
static size_t scan_string(const char *p, const char *end)
{
	const char *start = p++;
	while (p < end && *p != '"')
		p += *p == '\\' && p + 1 < end ? 2 : 1;
	return (size_t)(p - start) + (p < end);
}

/* Puts what stands between from and to as it is, and then the mark before the text. */
static int put_mark(struct buf *out, const char *from, const char *to, const char *mark)
{
	int r = buf_append(out, from, (size_t)(to - from));
	return r < 0 ? r : buf_puts(out, mark);
}

int oci_number_mark(const char *bytes, size_t n, struct buf *out)
{
	const char *p = bytes, *end = bytes + n, *done = bytes;
	while (p < end) {
		bool mark = false;
		size_t len = 1;
		int r = 0;
		if (*p == '"') {
			len = scan_string(p, end);
			if (len > ESCAPE_LEN && memcmp(p + 1, NUL_ESCAPE, ESCAPE_LEN) == 0) {
				r = put_mark(out, done, p, "\"" NUL_ESCAPE);
				done = p + 1;
			}
		} else if (*p == '-' || is_digit(*p)) {
			len = scan_number(p, end, &mark);
			if (len == 0) { /* jansson says what is wrong with it */
				buf_clear(out);
				return 0;
			}
			if (mark) {
				r = put_mark(out, done, p, "\"" NUL_ESCAPE "n");
				if (r == 0)
					r = put_mark(out, p, p + len, "\"");
				done = p + len;
			}
		}
		if (r < 0)
			return r;
		p += len;
	}
	return done == bytes ? 0 : buf_append(out, done, (size_t)(end - done));
}

const char *oci_number_text(const json_t *value)
{
	const char *text = json_string_value(value);
	return text && json_string_length(value) > 2 && text[0] == '\0' && text[1] == 'n' ?
		       text + 2 :
		       NULL;
}
