/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "exec/attach.h"
#include "exec/logs.h"
#include "tools/containers.h"
#include "tools/verb.h"

struct logs_state {
	bool follow, timestamps;
	const char *tail, *since;
};

static void logs_options(void *state, struct opt *table)
{
	struct logs_state *s = state;
	table[0] = (struct opt){"follow", 'f', OPT_FLAG, NULL, "go on until the container ends",
				&s->follow};
	table[1] = (struct opt){"tail", 0, OPT_TEXT, "NUMBER", "only the last lines, this many", &s->tail};
	table[2] = (struct opt){"since", 0, OPT_TEXT, "TIME",
				"only since a time (RFC 3339, seconds) or a duration ago (10m)", &s->since};
	table[3] = (struct opt){"timestamps", 't', OPT_FLAG, NULL, "tell when each line was written",
				&s->timestamps};
}

/* 2024-05-01T12:00:00Z, 1714564800, or 10m: that long before now. */
static int parse_since(const char *text, int64_t *ret_ns, struct err *err)
{
	struct tm tm = {0};
	uint64_t n = 0;
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (end && (end[0] == '\0' || strcmp(end, "Z") == 0)) {
		*ret_ns = (int64_t)timegm(&tm) * (int64_t)NS_PER_SEC;
		return 0;
	}
	if (u64_parse(text, INT32_MAX * UINT64_C(4), &n) == 0) {
		*ret_ns = (int64_t)(n * NS_PER_SEC);
		return 0;
	}
	if (duration_parse(text, &n) == 0 && n < INT64_MAX / NS_PER_MS) {
		struct timespec now;
		(void)clock_gettime(CLOCK_REALTIME, &now);
		*ret_ns = (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + now.tv_nsec -
			  (int64_t)(n * NS_PER_MS);
		return 0;
	}
	return err_say(err, -EINVAL,
		       "--since does not take '%s': it wants a time such as 2024-05-01T12:00:00Z, seconds "
		       "since the epoch, or a duration such as 10m", text);
}

struct print {
	bool timestamps;
	bool begun[DRIVER_STDERR + 1]; /* the stream's last piece ended without a newline */
};

static int print_line(void *data, enum driver_stream stream, int64_t time_ns, const void *bytes,
		      size_t n)
{
	struct print *p = data;
	FILE *out = stream == DRIVER_STDERR ? stderr : stdout;
	if (p->timestamps && !p->begun[stream]) {
		struct tm tm;
		char text[32];
		time_t seconds = (time_t)(time_ns / (int64_t)NS_PER_SEC);
		(void)gmtime_r(&seconds, &tm);
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		(void)fprintf(out, "%s.%09lldZ ", text, (long long)(time_ns % (int64_t)NS_PER_SEC));
	}
	p->begun[stream] = n == 0 || ((const char *)bytes)[n - 1] != '\n';
	if (fwrite(bytes, 1, n, out) != n || fflush(out) != 0)
		return -errno;
	return 0;
}

static int logs_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct logs_state *s = state;
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	AUTO_CLOSE int over = -1;
	struct print print = {.timestamps = s->timestamps};
	struct driver_logs want = {.tail = DRIVER_UNKNOWN, .line = print_line, .data = &print};
	struct err ignored;
	(void)argc;
	int r = 0;
	if (s->tail && u64_parse(s->tail, INT64_MAX, &want.tail) < 0)
		r = err_say(err, -EINVAL, "--tail does not take '%s': it wants a whole number", s->tail);
	if (r == 0 && s->since)
		r = parse_since(s->since, &want.since_ns, err);
	if (r == 0)
		r = containers_open(ctx, argv[0], &o, err);
	if (r < 0)
		return r;
	/* The connection to the monitor is silent until the container is over. */
	want.follow = s->follow && attach_connect(container_dirfd(o.container), &over, &ignored) == 0;
	r = logs_read(container_dirfd(o.container), CONTAINER_LOG, &want, over, NULL, err);
	return r == -ENOENT ? 0 : r;
}

const struct verb verb_logs = {
	.name = "logs",
	.args = "CONTAINER",
	.summary = "print what a container wrote",
	.teach = "Prints what a container wrote on its standard output and standard error.\n\n"
		 "  sluice logs --follow --tail 10 web",
	.options = logs_options,
	.state_size = sizeof(struct logs_state),
	.failed = 125,
	.min_words = 1,
	.max_words = 1,
	.run = logs_run,
};
