/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/form.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum {
	INTERFACE_MAX = 15, /* IFNAMSIZ without its NUL */
	LIST_DIGITS_MAX = 9,
};

static const char *const rlimits[] = {
	"AS",	"CORE",	  "CPU",   "DATA", "FSIZE",  "LOCKS",  "MEMLOCK",    "MSGQUEUE",
	"NICE", "NOFILE", "NPROC", "RSS",  "RTPRIO", "RTTIME", "SIGPENDING", "STACK",
};

bool form_rlimit(const char *name)
{
	static const char prefix[] = "RLIMIT_";
	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(rlimits); i++)
		if (strcmp(name + sizeof(prefix) - 1, rlimits[i]) == 0)
			return true;
	return false;
}

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* A number without leading zeros, and what follows it. */
static bool semver_number(const char **text, uint64_t *ret)
{
	size_t n = digits(*text);
	uint64_t value = 0;
	if (n == 0 || (n > 1 && **text == '0'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)((*text)[i] - '0'), &value))
			return false;
	*text += n;
	*ret = value;
	return true;
}

/* How long the identifier is that text begins with: letters, digits, hyphens. */
static size_t semver_identifier(const char *text)
{
	return strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");
}

/* Identifiers with dots between them; those of a pre-release have no leading zeros as numbers. */
static bool semver_identifiers(const char **text, bool is_pre)
{
	for (;;) {
		size_t n = semver_identifier(*text);
		if (n == 0 || (is_pre && n > 1 && **text == '0' && digits(*text) == n))
			return false;
		*text += n;
		if (**text != '.')
			return true;
		(*text)++;
	}
}

bool form_semver(const char *text, struct semver *ret)
{
	struct semver version = {0};
	if (!semver_number(&text, &version.major) || *text++ != '.' ||
	    !semver_number(&text, &version.minor) || *text++ != '.' ||
	    !semver_number(&text, &version.patch))
		return false;
	if (*text == '-') {
		version.pre = ++text;
		if (!semver_identifiers(&text, true))
			return false;
		version.pre_len = (size_t)(text - version.pre);
	}
	if (*text == '+') {
		text++;
		if (!semver_identifiers(&text, false))
			return false;
	}
	if (*text != '\0')
		return false;
	*ret = version;
	return true;
}

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* Numbers by size and below words, words by their bytes. */
static int identifier_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	bool a_number = digits(a) >= a_len, b_number = digits(b) >= b_len;
	if (a_number != b_number)
		return a_number ? -1 : 1;
	if (a_number && a_len != b_len)
		return order(a_len, b_len);
	int r = memcmp(a, b, u64_min(a_len, b_len));
	return r != 0 ? r : order(a_len, b_len);
}

static int pre_compare(const char *a, const char *a_end, const char *b, const char *b_end)
{
	while (a < a_end && b < b_end) {
		size_t a_len = semver_identifier(a), b_len = semver_identifier(b);
		int r = identifier_compare(a, a_len, b, b_len);
		if (r != 0)
			return r;
		a += a_len + 1;
		b += b_len + 1;
	}
	return (a < a_end) - (b < b_end);
}

int semver_compare(const struct semver *a, const struct semver *b)
{
	int r = order(a->major, b->major);
	if (r == 0)
		r = order(a->minor, b->minor);
	if (r == 0)
		r = order(a->patch, b->patch);
	if (r != 0)
		return r;
	if (!a->pre || !b->pre)
		return (b->pre != NULL) - (a->pre != NULL);
	return pre_compare(a->pre, a->pre + a->pre_len, b->pre, b->pre + b->pre_len);
}

bool form_absolute(const char *path)
{
	return path[0] == '/';
}

bool form_drive(const char *path)
{
	return isalpha((unsigned char)path[0]) && path[1] == ':' &&
	       (path[2] == '\\' || path[2] == '/');
}

/* How long the GUID is that text begins with; 0: it begins with none. */
static size_t guid(const char *text)
{
	static const size_t groups[] = {8, 4, 4, 4, 12};
	const char *at = text;
	for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
		if (i > 0 && *at++ != '-')
			return 0;
		for (size_t k = 0; k < groups[i]; k++)
			if (!isxdigit((unsigned char)*at++))
				return 0;
	}
	return (size_t)(at - text);
}

bool form_guid(const char *text)
{
	size_t n = guid(text);
	return n > 0 && text[n] == '\0';
}

bool form_volume(const char *path)
{
	static const char begin[] = "\\\\?\\Volume{";
	if (strncmp(path, begin, sizeof(begin) - 1) != 0)
		return false;
	path += sizeof(begin) - 1;
	size_t n = guid(path);
	return n > 0 && strcmp(path + n, "}\\") == 0;
}

bool form_climbs(const char *path)
{
	while (*path) {
		path += strspn(path, "/");
		size_t n = strcspn(path, "/");
		if (n == 2 && path[0] == '.' && path[1] == '.')
			return true;
		path += n;
	}
	return false;
}

bool form_assignment(const char *text)
{
	const char *equals = strchr(text, '=');
	return equals && equals != text;
}

/* A number of a list and what follows it. */
static bool list_number(const char **text, unsigned long *ret)
{
	size_t n = digits(*text);
	if (n == 0 || n > LIST_DIGITS_MAX)
		return false;
	*ret = strtoul(*text, NULL, 10);
	*text += n;
	return true;
}

bool form_list_is_empty(const char *text)
{
	return text[strspn(text, " ")] == '\0';
}

bool form_list(const char *text)
{
	if (form_list_is_empty(text))
		return true;
	for (;;) {
		unsigned long low = 0, high = 0;
		text += strspn(text, " ");
		if (!list_number(&text, &low))
			return false;
		if (*text == '-') {
			text++;
			if (!list_number(&text, &high) || high < low)
				return false;
		}
		text += strspn(text, " ");
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
}

bool form_interface(const char *name, bool is_template)
{
	size_t n = strlen(name);
	if (n == 0 || n > INTERFACE_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (name[i] == '/' || name[i] == ':' || isspace((unsigned char)name[i]))
			return false;
		/* The kernel puts a number there, once. */
		if (name[i] == '%' &&
		    (!is_template || name[i + 1] != 'd' || strchr(name + i + 1, '%')))
			return false;
	}
	return true;
}
