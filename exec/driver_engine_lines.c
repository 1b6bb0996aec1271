/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "exec/driver_engine_priv.h"

int engine_lines_end(struct engine_lines *lines, struct driver_error *error)
{
	if (lines->rest.len == 0)
		return 0;
	int r = 0;
	/* What a NUL hides would be lost. */
	if (strlen(lines->rest.data) != lines->rest.len)
		r = driver_fail(error, DRIVER_ENGINE, lines->rest.data,
				"%s: the engine's answer holds a NUL", lines->what);
	else if (lines->rest.data[strspn(lines->rest.data, " \t\r")])
		r = lines->line(lines->data, lines->rest.data, error);
	buf_clear(&lines->rest);
	return r;
}

int engine_lines_piece(void *data, const char *bytes, size_t n, struct driver_error *error)
{
	struct engine_lines *lines = data;
	while (n > 0) {
		const char *end = memchr(bytes, '\n', n);
		size_t len = end ? (size_t)(end - bytes) : n;
		int r = buf_append(&lines->rest, bytes, len);
		if (r == -E2BIG)
			return driver_fail(error, DRIVER_ENGINE, buf_str(&lines->rest),
					   "%s: a line of the engine's answer has more than %zu bytes",
					   lines->what, lines->rest.max);
		if (r < 0)
			return driver_fail_set(error, r, "%s", lines->what);
		if (end && (r = engine_lines_end(lines, error)) != 0)
			return r;
		len += end ? 1 : 0;
		bytes += len;
		n -= len;
	}
	return 0;
}
