/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Log lines on stderr, one write(2) each, so lines of several threads and
 * processes never mix. Library code logs only at debug; FUSE operations,
 * workers and verbs log each event once. The level is the one setting here
 * that is process-wide: tools/ sets it before any thread starts. Safe from any
 * thread.
 */

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* "error", "warn", "info", "debug". False when name is none of them. */
bool log_level_parse(const char *name, enum log_level *ret);
const char *log_level_name(enum log_level level);

void log_set_level(enum log_level level);
enum log_level log_get_level(void);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
