/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/toml_lex.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"

enum { ATOM_MAX = 128 }; /* characters of a number, date or time */

int toml_fail(const struct toml *t, int r, const char *fmt, ...)
{
	char words[256];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	return err_say(t->err, r, "%s, line %zu: %s", t->what, t->line, words);
}

bool toml_take(struct toml *t, const char *bytes)
{
	size_t n = strlen(bytes);
	if ((size_t)(t->end - t->p) < n || memcmp(t->p, bytes, n) != 0)
		return false;
	t->p += n;
	return true;
}

void toml_skip_blanks(struct toml *t)
{
	while (toml_peek(t) == ' ' || toml_peek(t) == '\t')
		t->p++;
}

static bool is_control(char c)
{
	return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

/* A comment if there is one, and a line end if there is one. */
static void skip_rest(struct toml *t)
{
	toml_skip_blanks(t);
	if (toml_peek(t) == '#')
		while (t->p < t->end && !is_control(*t->p))
			t->p++;
	if (toml_take(t, "\r\n") || toml_take(t, "\n"))
		t->line++;
}

void toml_skip_lines(struct toml *t)
{
	const char *before;
	do {
		before = t->p;
		skip_rest(t);
	} while (t->p != before && t->p < t->end);
}

int toml_end_of_line(struct toml *t)
{
	size_t line = t->line;
	skip_rest(t);
	if (t->line == line && t->p < t->end)
		return toml_fail(t, -EINVAL, "the line should end here");
	return 0;
}

static int put(struct toml *t, struct buf *buf, const char *bytes, size_t n)
{
	int r = buf_append(buf, bytes, n);
	return r < 0 ? toml_fail(t, r, r == -ENOMEM ? "out of memory" : "a string is too long") : 0;
}

static int put_utf8(struct toml *t, struct buf *buf, uint32_t c)
{
	char out[4];
	size_t n;
	if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return toml_fail(t, -EINVAL, "an escape names no character");
	if (c < 0x80) {
		out[0] = (char)c;
		return put(t, buf, out, 1);
	}
	n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(c | (n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u));
	return put(t, buf, out, n);
}

static int read_unicode(struct toml *t, size_t digits, struct buf *buf)
{
	uint32_t c = 0;
	for (size_t i = 0; i < digits; i++) {
		char d = toml_peek(t);
		const char *at = d ? strchr("0123456789abcdefABCDEF", d) : NULL;
		if (!at)
			return toml_fail(t, -EINVAL, "an escape takes %zu hex digits", digits);
		t->p++;
		c = c << 4 | (d <= '9' ? (uint32_t)(d - '0') : (uint32_t)((d | 32) - 'a' + 10));
	}
	return put_utf8(t, buf, c);
}

/* A backslash at a line's end swallows all blanks and line ends that follow. */
static bool take_folded_line(struct toml *t)
{
	const char *p = t->p;
	while (p < t->end && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++;
	if (p == t->end || *p != '\n')
		return false;
	for (t->p = p; t->p < t->end && strchr(" \t\r\n", *t->p) && *t->p; t->p++)
		t->line += *t->p == '\n';
	return true;
}

/* What follows a backslash. */
static int read_escape(struct toml *t, bool multi, struct buf *buf)
{
	static const char from[] = "btnfr\"\\";
	static const char to[] = "\b\t\n\f\r\"\\";
	if (multi && take_folded_line(t))
		return 0;
	char c = toml_peek(t);
	if (toml_take(t, "u"))
		return read_unicode(t, 4, buf);
	if (toml_take(t, "U"))
		return read_unicode(t, 8, buf);
	const char *at = c ? strchr(from, c) : NULL;
	if (!at)
		return toml_fail(t, -EINVAL, "unknown escape in a string");
	t->p++;
	return put(t, buf, &to[at - from], 1);
}

/* A line end within a string is a newline, however the file writes it. */
static int read_line_end(struct toml *t, char c, struct buf *buf)
{
	if (c == '\r')
		t->p++;
	t->line++;
	return put(t, buf, "\n", 1);
}

/* Up to the closing quotes. Multi-line strings may end in one or two quotes of their own. */
static int read_string(struct toml *t, char quote, bool multi, struct buf *buf)
{
	const char close[4] = {quote, multi ? quote : '\0', multi ? quote : '\0', '\0'};
	if (multi && (toml_take(t, "\r\n") || toml_take(t, "\n")))
		t->line++;
	for (;;) {
		int r = 0;
		if (t->p == t->end)
			return toml_fail(t, -EINVAL, "a string does not end");
		if (toml_take(t, close)) {
			for (int i = 0; r == 0 && multi && i < 2 && toml_peek(t) == quote; i++)
				r = put(t, buf, t->p++, 1);
			return r;
		}
		char c = *t->p++;
		if (c == '\\' && quote == '"')
			r = read_escape(t, multi, buf);
		else if (multi && (c == '\n' || (c == '\r' && toml_peek(t) == '\n')))
			r = read_line_end(t, c, buf);
		else if (is_control(c))
			r = toml_fail(t, -EINVAL, c == '\n' ? "a string does not end"
							    : "a string holds a control character");
		else
			r = put(t, buf, &c, 1);
		if (r < 0)
			return r;
	}
}

static bool is_bare(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || c == '-';
}

int toml_read_key(struct toml *t, struct buf *ret)
{
	if (toml_take(t, "\""))
		return read_string(t, '"', false, ret);
	if (toml_take(t, "'"))
		return read_string(t, '\'', false, ret);
	const char *start = t->p;
	while (is_bare(toml_peek(t)))
		t->p++;
	if (t->p == start)
		return toml_fail(t, -EINVAL, "a key is expected");
	return put(t, ret, start, (size_t)(t->p - start));
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool looks_like_date(const char *s)
{
	return is_digit(s[0]) && is_digit(s[1]) &&
	       (s[2] == ':' || (is_digit(s[2]) && is_digit(s[3]) && s[4] == '-'));
}

/* Drops the underscores, each of which must stand between two digits. */
static bool drop_underscores(char *s)
{
	char *out = s;
	for (const char *in = s; *in; in++) {
		if (*in != '_') {
			*out++ = *in;
			continue;
		}
		if (in == s || !is_bare(in[-1]) || in[-1] == '_' || !is_bare(in[1]) || in[1] == '_')
			return false;
	}
	*out = '\0';
	return true;
}

/* 0x, 0o, 0b. */
static bool parse_based(const char *s, int64_t *ret)
{
	int base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : 2;
	const char *digits = base == 16 ? "0123456789abcdefABCDEF" : base == 8 ? "01234567" : "01";
	if (s[2] == '\0' || strspn(s + 2, digits) != strlen(s + 2))
		return false;
	errno = 0;
	uintmax_t v = strtoumax(s + 2, NULL, base);
	if (errno != 0 || v > INT64_MAX)
		return false;
	*ret = (int64_t)v;
	return true;
}

static bool parse_decimal(const char *s, int64_t *ret)
{
	const char *digits = s + (*s == '+' || *s == '-');
	if (!is_digit(*digits) || strspn(digits, "0123456789") != strlen(digits))
		return false;
	errno = 0;
	*ret = strtoimax(s, NULL, 10);
	return errno == 0 && (digits[0] != '0' || digits[1] == '\0');
}

static bool parse_float(const char *s, double *ret)
{
	const char *p = s + (*s == '+' || *s == '-');
	size_t whole = strspn(p, "0123456789");
	bool marked = false;
	if (whole == 0 || (p[0] == '0' && whole > 1))
		return false;
	p += whole;
	if (*p == '.') {
		size_t n = strspn(p + 1, "0123456789");
		if (n == 0)
			return false;
		p += 1 + n;
		marked = true;
	}
	if (*p == 'e' || *p == 'E') {
		p += 1 + (p[1] == '+' || p[1] == '-');
		size_t n = strspn(p, "0123456789");
		if (n == 0)
			return false;
		p += n;
		marked = true;
	}
	if (*p != '\0' || !marked)
		return false;
	*ret = strtod(s, NULL);
	return true;
}

static int read_atom(struct toml *t, json_t **ret)
{
	char atom[ATOM_MAX + 1];
	size_t n = 0;
	while (n < ATOM_MAX && (is_bare(toml_peek(t)) || (toml_peek(t) && strchr("+.:", *t->p))))
		atom[n++] = *t->p++;
	/* A date and its time may be parted by a blank. */
	if (n == 10 && atom[4] == '-' && t->end - t->p > 3 && *t->p == ' ' && is_digit(t->p[1]) &&
	    is_digit(t->p[2]) && t->p[3] == ':') {
		atom[n++] = *t->p++;
		while (n < ATOM_MAX && (is_bare(toml_peek(t)) || (toml_peek(t) && strchr("+.:", *t->p))))
			atom[n++] = *t->p++;
	}
	atom[n] = '\0';
	int64_t i;
	double d;
	if (strcmp(atom, "true") == 0 || strcmp(atom, "false") == 0)
		*ret = json_boolean(atom[0] == 't');
	else if (n >= 5 && looks_like_date(atom))
		*ret = json_string(atom);
	else if (!drop_underscores(atom))
		return toml_fail(t, -EINVAL, "'%s' is not a value", atom);
	else if (atom[0] == '0' && atom[1] && strchr("xob", atom[1]) ? parse_based(atom, &i)
								     : parse_decimal(atom, &i))
		*ret = json_integer(i);
	else if (!parse_float(atom, &d))
		return toml_fail(t, -EINVAL, n ? "'%s' is not a value" : "a value is expected%s", atom);
	else if (!isfinite(d))
		return toml_fail(t, -EINVAL, "'%s' cannot be represented", atom);
	else
		*ret = json_real(d);
	return *ret ? 0 : toml_fail(t, -ENOMEM, "out of memory");
}

int toml_read_scalar(struct toml *t, json_t **ret)
{
	char quote = toml_peek(t);
	if (quote != '"' && quote != '\'')
		return read_atom(t, ret);
	AUTO_FINISH(buf) struct buf text = buf_make((size_t)(t->end - t->p));
	bool multi = toml_take(t, quote == '"' ? "\"\"\"" : "'''");
	if (!multi)
		t->p++;
	int r = read_string(t, quote, multi, &text);
	if (r < 0)
		return r;
	/* Checked here, since jansson would not say what it was that failed. */
	if (!utf8_valid(buf_str(&text), text.len))
		return toml_fail(t, -EINVAL, "a string is not UTF-8");
	*ret = json_stringn(buf_str(&text), text.len);
	return *ret ? 0 : toml_fail(t, -ENOMEM, "out of memory");
}
