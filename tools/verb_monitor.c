/* SPDX-License-Identifier: Apache-2.0 */

/* The monitor of one container: started by verb_run.c, and alive for as long as the container. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "exec/monitor.h"
#include "tools/containers.h"
#include "tools/verb.h"

enum { PRESERVED_MAX = 1024 };

struct monitor_verb {
	struct ctx *ctx;	     /* borrowed */
	struct container *container; /* borrowed */
	const struct run_record *record;
};

/* What is left of one that never ran is of no use to anybody: `run` has said why. */
static bool monitor_removes(const struct monitor_verb *m)
{
	AUTO_FINISH(container_state) struct container_state state = {0};
	struct err ignored;
	if (m->record->remove)
		return true;
	return container_state_read(m->container, &state, &ignored) == 0 &&
	       state.phase == CONTAINER_FAILED;
}

/* Beside the runtime's delete, which has no use for it any more. */
static void monitor_ended(void *data)
{
	const struct monitor_verb *m = data;
	containers_unmount_early(m->ctx, m->container, m->record->remove);
}

static int monitor_clean(void *data, int exit_code, struct err *err)
{
	const struct monitor_verb *m = data;
	(void)exit_code;
	int r = m->record->mounted ? containers_unmount(m->ctx, m->container, err) : 0;
	return r == 0 && monitor_removes(m) ? container_remove(m->container, err) : r;
}

static uint64_t stop_timeout(const struct run_record *record)
{
	/* What is written as "for ever" is some weeks; zero is a default to the monitor. */
	if (record->stop_timeout_ms < 0)
		return INT32_MAX;
	return u64_max((uint64_t)record->stop_timeout_ms, 1);
}

static int monitor_stay(struct ctx *ctx, struct driver_conn *conn, struct opened_container *o,
			struct driver_error *error)
{
	const struct run_record *record = &o->record;
	int fds[PRESERVED_MAX];
	size_t n = (size_t)u64_min(record->preserve_fds, PRESERVED_MAX);
	for (size_t i = 0; i < n; i++)
		fds[i] = MONITOR_FD_LAUNCH + 1 + (int)i;
	struct monitor_verb verb = {.ctx = ctx, .container = o->container, .record = record};
	struct monitor_config config = {
		.conn = conn,
		.container = o->container,
		.launch_fd = MONITOR_FD_LAUNCH,
		.launcher_output = !record->detach,
		.tty = record->tty,
		.open_stdin = record->interactive,
		.stdin_once = record->interactive && !record->detach && !record->tty,
		.rows = record->rows,
		.columns = record->columns,
		.preserve_fds = fds,
		.n_preserve_fds = n,
		.rootfs_at = record->view,
		.stop_signal = record->stop_signal,
		.stop_timeout_ms = stop_timeout(record),
		.run_timeout_ms = record->timeout_ms,
		.pidfile = record->pidfile,
		.ended = record->mounted && !record->poststop ? monitor_ended : NULL,
		.cleanup = monitor_clean,
		.data = &verb,
	};
	return monitor_run(&config, error);
}

static int monitor_verb_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	AUTO(driver_conn) struct driver_conn *conn = NULL;
	struct driver_error error = {0};
	(void)state;
	(void)argc;
	int r = containers_open(ctx, argv[0], &o, err);
	if (r < 0)
		(void)driver_fail_err(&error, r, err);
	else
		r = containers_driver(ctx, o.record.runtime, &conn, &error);
	if (r < 0) {
		monitor_launch_failed(MONITOR_FD_LAUNCH, &error);
		return err_copy(err, &error.err);
	}
	r = monitor_stay(ctx, conn, &o, &error);
	return r < 0 ? err_copy(err, &error.err) : 0;
}

const struct verb verb_monitor = {
	.name = "monitor",
	.args = "ID",
	.summary = "stay with a container (started by 'sluice run')",
	.teach = "Has the runtime make a container, and stays with it until it is over.",
	.hidden = true,
	.min_words = 1,
	.max_words = 1,
	.run = monitor_verb_run,
};
