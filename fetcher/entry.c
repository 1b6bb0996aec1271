/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/entry.h"

#include <errno.h>
#include <string.h>

/* One component into out; false when it is not a name a file may have. */
static int entry_check_component(const char *part, size_t n, struct err *err)
{
	if (n > ENTRY_NAME_MAX)
		return err_say(err, -EBADMSG, "a name of %zu bytes is longer than %d", n,
			       ENTRY_NAME_MAX);
	if (n == 2 && part[0] == '.' && part[1] == '.')
		return err_say(err, -EBADMSG, "a path has the component \"..\"");
	return 0;
}

int entry_clean_path(const char *raw, size_t n, char out[static ENTRY_PATH_MAX], struct err *err)
{
	size_t len = 0;
	size_t depth = 0;
	if (memchr(raw, '\0', n))
		return err_say(err, -EBADMSG, "a path holds a NUL");

	for (size_t i = 0; i < n;) {
		const char *part = raw + i;
		const char *slash = memchr(part, '/', n - i);
		size_t part_len = slash ? (size_t)(slash - part) : n - i;
		i += part_len + (slash ? 1 : 0);
		if (part_len == 0 || (part_len == 1 && part[0] == '.'))
			continue;
		int r = entry_check_component(part, part_len, err);
		if (r < 0)
			return r;
		if (++depth > ENTRY_DEPTH_MAX)
			return err_say(err, -EBADMSG, "a path is deeper than %d", ENTRY_DEPTH_MAX);
		if (len + part_len + 2 > ENTRY_PATH_MAX)
			return err_say(err, -EBADMSG, "a path is longer than %d bytes",
				       ENTRY_PATH_MAX);
		if (len > 0)
			out[len++] = '/';
		memcpy(out + len, part, part_len);
		len += part_len;
	}
	out[len] = '\0';
	return 0;
}
