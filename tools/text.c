/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/utf8.h"

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
