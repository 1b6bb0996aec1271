/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __clang_analyzer__
#undef err_set
#undef err_say
#undef err_prefix
#endif

/*
 * Much of a sentence comes from servers and files, and is read on a terminal:
 * no control character (of ASCII, or of C1 as UTF-8) gets there.
 */
static void err_tame(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
			p[0] = p[1] = '?';
		else if (*p < ' ' || *p == 0x7f)
			*p = '?';
	}
}

__attribute__((format(printf, 3, 0)))
static void err_vformat(char *out, size_t size, const char *fmt, va_list ap)
{
	if (vsnprintf(out, size, fmt, ap) < 0)
		out[0] = '\0';
	err_tame(out);
}

int err_set(struct err *err, int r, const char *fmt, ...)
{
	if (!err)
		return r;

	char words[ERR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	err_vformat(words, sizeof(words), fmt, ap);
	va_end(ap);

	err->code = r;
	/* The reason is what a reader needs most, so a long head is cut before it. */
	const char *why = strerrordesc_np(r < 0 ? -r : r);
	if (!why)
		why = "unknown error";
	int head = (int)(sizeof(err->text) - strlen(why) - 3);
	(void)snprintf(err->text, sizeof(err->text), "%.*s: %s", head, words, why);
	return r;
}

int err_say(struct err *err, int r, const char *fmt, ...)
{
	if (!err)
		return r;

	/* The arguments may point into err->text itself. */
	char words[ERR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	err_vformat(words, sizeof(words), fmt, ap);
	va_end(ap);

	err->code = r;
	memcpy(err->text, words, sizeof(words));
	return r;
}

int err_prefix(struct err *err, int r, const char *fmt, ...)
{
	if (!err)
		return r;

	char words[ERR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	err_vformat(words, sizeof(words), fmt, ap);
	va_end(ap);

	char rest[ERR_TEXT_MAX];
	(void)snprintf(rest, sizeof(rest), "%s", err_text(err));
	err->code = r;
	(void)snprintf(err->text, sizeof(err->text), "%.*s: %.*s", ERR_TEXT_MAX / 2, words,
		       ERR_TEXT_MAX / 2 - 3, rest);
	return r;
}

int err_copy(struct err *err, const struct err *from)
{
	if (err && err != from)
		*err = *from;
	return from->code;
}

const char *err_text(const struct err *err)
{
	if (err->text[0] != '\0')
		return err->text;
	const char *why = strerrordesc_np(err->code < 0 ? -err->code : err->code);
	return why ? why : "unknown error";
}
