/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* The length of the UTF-8 sequence at p, or 0 when there is none (RFC 3629). */
static size_t utf8_len(const unsigned char *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 :
		     p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what lies past U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

char *text_json(const char *name, size_t n)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *out = malloc(3 * n + 1);
	size_t len = 0;
	if (!out)
		return NULL;
	for (size_t i = 0; i < n;) {
		size_t step = utf8_len((const unsigned char *)name + i, n - i);
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
