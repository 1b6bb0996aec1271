/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/utf8.h"

enum { COMPACT_PRINTED_MAX = 256 << 20 }; /* the largest document with its spaces */

static char mode_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	default:
		return '-';
	}
}

const char *text_mode(uint32_t mode, char out[static TEXT_MODE_MAX])
{
	static const char bits[] = "rwxrwxrwx";
	out[0] = mode_type(mode);
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode & (0400U >> i) ? bits[i] : '-';
	if (mode & S_ISUID)
		out[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		out[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		out[9] = mode & S_IXOTH ? 't' : 'T';
	out[10] = '\0';
	return out;
}

void text_print_name(const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];
		if (c < ' ' || c == 0x7f || c == '\\')
			(void)printf("\\%03o", c);
		else
			(void)putchar(c);
	}
}

char *text_json(const char *name, size_t n)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *out = malloc(3 * n + 1);
	size_t len = 0;
	if (!out)
		return NULL;
	for (size_t i = 0; i < n;) {
		size_t step = utf8_len(name + i, n - i);
		if (step == 0) {
			memcpy(out + len, replacement, 3);
			len += 3;
			i++;
			continue;
		}
		memcpy(out + len, name + i, step);
		len += step;
		i += step;
	}
	out[len] = '\0';
	return out;
}

int text_print_json(const json_t *json, struct err *err)
{
	if (json_dumpf(json, stdout, JSON_INDENT(1) | JSON_ENCODE_ANY) < 0)
		return err_say(err, -EIO, "the output could not be written");
	(void)putchar('\n');
	return 0;
}

/* The bytes of the string that begins at json[i], with its quotes. */
static size_t string_len(const char *json, size_t n, size_t i)
{
	size_t end = i + 1;
	while (end < n && json[end] != '"')
		end += json[end] == '\\' ? 2 : 1;
	return u64_min(end + 1, n) - i;
}

static int break_line(struct buf *out, unsigned int depth)
{
	return buf_printf(out, "\n%*s", (int)depth, "");
}

/* One token of a compact document and the space around it; *i moves behind it. */
static int print_token(const char *json, size_t n, size_t *i, unsigned int *depth, struct buf *out)
{
	const char *at = json + *i;
	size_t len = *at == '"' ? string_len(json, n, *i) : 1;
	bool opens = *at == '{' || *at == '[', closes = *at == '}' || *at == ']';
	/* What is empty stays on its line. */
	if (opens && *i + 1 < n && (at[1] == '}' || at[1] == ']')) {
		*i += 2;
		return buf_append(out, at, 2);
	}
	int r = 0;
	if (closes && *depth > 0)
		r = break_line(out, --*depth);
	if (r == 0)
		r = buf_append(out, at, len);
	if (r == 0 && *at == ':')
		r = buf_puts(out, " ");
	if (r == 0 && opens)
		r = break_line(out, ++*depth);
	if (r == 0 && *at == ',')
		r = break_line(out, *depth);
	*i += len;
	return r;
}

int text_print_compact(const char *json, size_t n, struct err *err)
{
	AUTO_FINISH(buf) struct buf out = buf_make(COMPACT_PRINTED_MAX);
	unsigned int depth = 0;
	int r = 0;
	for (size_t i = 0; i < n && r == 0;)
		r = print_token(json, n, &i, &depth, &out);
	if (r < 0)
		return err_set(err, r, "print a document of %zu bytes", n);
	if (fwrite(out.data, 1, out.len, stdout) != out.len || putchar('\n') == EOF)
		return err_say(err, -EIO, "the output could not be written");
	return 0;
}
