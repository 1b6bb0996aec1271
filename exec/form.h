/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The forms that strings in documents of the runtime-spec have. All of them
 * are pure, take strings of any content, and never fail: a string has the form
 * or it has not.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A version of https://semver.org/spec/v2.0.0.html. */
struct semver {
	uint64_t major, minor, patch;
	const char *pre; /* what follows the '-', borrowed; NULL: nothing does */
	size_t pre_len;
};

/* Reads the whole of text. A number past 64 bits has not the form. */
bool form_semver(const char *text, struct semver *ret);

/* Negative, 0 or positive as a has lower, equal or higher precedence than b (SemVer, 11). */
int semver_compare(const struct semver *a, const struct semver *b);

/* Whether a POSIX path is absolute. */
bool form_absolute(const char *path);

/* Whether a Windows path begins at a drive: C:\ or C:/. */
bool form_drive(const char *path);

/* Whether a Windows path is that of a volume: \\?\Volume{GUID}\ */
bool form_volume(const char *path);

/* 8-4-4-4-12 hexadecimal digits. */
bool form_guid(const char *text);

/* Whether one of the components of a path is "..". */
bool form_climbs(const char *path);

/* NAME=VALUE with a name. */
bool form_assignment(const char *text);

/*
 * Numbers and ascending ranges of them, separated by commas: "0-3,7"; spaces
 * around a part are allowed. Nothing at all is a list, too.
 */
bool form_list(const char *text);

/* Whether such a list names nothing. */
bool form_list_is_empty(const char *text);

/*
 * A name that Linux gives to a network interface: 1 to 15 bytes, no blank, no
 * slash, no colon, neither "." nor "..". A template may hold one "%d".
 */
bool form_interface(const char *name, bool is_template);

/* A limit of getrlimit(2) on Linux: "RLIMIT_NOFILE". */
bool form_rlimit(const char *name);
