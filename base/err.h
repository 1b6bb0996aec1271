/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <errno.h>

/*
 * An error that a person can read. Functions return 0 or a negative errno and
 * take a `struct err *` last; the number is for the program, the text for the
 * person: what was tried, on what, and why it failed. Every function here
 * accepts a NULL err and then only passes the number through. Control characters
 * in the words, which may come from a server, are replaced by '?'.
 *
 * A struct err belongs to one thread at a time. It owns no memory, so it is
 * declared on the stack (`struct err err = {0};`) and never freed.
 */

enum { ERR_TEXT_MAX = 1024 }; /* longer texts are cut, never refused */

struct err {
	int code;		/* negative errno, 0 while unset */
	char text[ERR_TEXT_MAX];
};

/* Sets the text to the formatted words, then ": " and the meaning of r. Returns r. */
int err_set(struct err *err, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sets the text to exactly the formatted words. Returns r. */
int err_say(struct err *err, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts the formatted words and ": " in front of the text already there. Returns r. */
int err_prefix(struct err *err, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Copies what from says into err (NULL-safe). Returns from->code. */
int err_copy(struct err *err, const struct err *from);

/* The text, or the meaning of the code where no text was given. Borrowed from err. */
const char *err_text(const struct err *err);

/* -errno, and never 0: what failed without saying why must not pass for what succeeded. */
static inline int err_errno(void)
{
	return errno > 0 ? -errno : -EIO;
}

#ifdef __clang_analyzer__
/* It sees one file at a time, and has to be told that what goes in comes out, and is negative. */
#define ERR_RETURNS_R(fn, err, r, ...)                    \
	({                                                \
		int r_ = (r);                             \
		(void)(fn)((err), r_, __VA_ARGS__);       \
		if (r_ >= 0)                              \
			__builtin_unreachable();          \
		r_;                                       \
	})
#define err_set(err, r, ...)	ERR_RETURNS_R(err_set, err, r, __VA_ARGS__)
#define err_say(err, r, ...)	ERR_RETURNS_R(err_say, err, r, __VA_ARGS__)
#define err_prefix(err, r, ...) ERR_RETURNS_R(err_prefix, err, r, __VA_ARGS__)
#endif
