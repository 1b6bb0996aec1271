/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"

enum { LOG_LINE_MAX = 2048 }; /* longer lines are cut */

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static _Atomic enum log_level level_now = LOG_LEVEL_WARN;

bool log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (strcmp(name, level_names[i]) != 0)
			continue;
		*ret = (enum log_level)i;
		return true;
	}
	return false;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_now, level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return atomic_load_explicit(&level_now, memory_order_relaxed);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	if (level > log_get_level())
		return;

	char line[LOG_LINE_MAX];
	int head = snprintf(line, sizeof(line), "sluice: %s: ", level_names[level]);
	if (head < 0)
		return;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	size_t len = strlen(line);
	line[len++] = '\n';
	/* Nobody is left to tell when stderr itself fails. */
	ssize_t written = write(STDERR_FILENO, line, len);
	(void)written;
}
