/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>

#include "exec/cgroup.h"
#include "exec/driver_oci_priv.h"

/*
 * Runtimes announce nothing. What happens to a container is seen where it
 * leaves traces: its init, its cgroup, and the runtime's directory, in which
 * both crun and runc keep "exec.fifo" until the container is started.
 */
struct watch {
	const struct oci_conn *conn;
	const struct driver_events *events;
	struct cgroup *cgroup; /* owned */
	int pidfd;	       /* owned; -1: init is over */
	bool created;	       /* not started yet */
	bool frozen;
	uint64_t oom_kills;
	int stop; /* what the call-back said: not 0: the end */
};

static void tell(struct watch *watch, enum driver_event_kind kind, int exit_code)
{
	if (watch->stop != 0)
		return;
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	struct driver_event event = {
		.kind = kind,
		.id = watch->events->id,
		.time_ns = (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + now.tv_nsec,
		.exit_code = exit_code,
	};
	watch->stop = watch->events->event(watch->events->data, &event);
}

/* Whether the runtime's directory of the container, or a file in it, is there. */
static bool state_has(const struct watch *watch, const char *file)
{
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "%s/%s/%s", watch->conn->root, watch->events->id, file) < 0) {
		path = NULL;
		return true; /* as before */
	}
	return access(path, F_OK) == 0;
}

static void look(struct watch *watch)
{
	if (watch->created && !state_has(watch, "exec.fifo")) {
		watch->created = false;
		tell(watch, DRIVER_EVENT_START, -1);
	}
	uint64_t kills = cgroup_oom_kills(watch->cgroup);
	if (kills > watch->oom_kills)
		tell(watch, DRIVER_EVENT_OOM, -1);
	watch->oom_kills = kills > watch->oom_kills ? kills : watch->oom_kills;
	bool frozen = cgroup_frozen(watch->cgroup);
	if (frozen != watch->frozen)
		tell(watch, frozen ? DRIVER_EVENT_PAUSE : DRIVER_EVENT_RESUME, -1);
	watch->frozen = frozen;
}

static void init_ended(struct watch *watch)
{
	int code = oci_exit_code(watch->pidfd);
	cleanup_close(&watch->pidfd);
	watch->pidfd = -1;
	look(watch);
	tell(watch, DRIVER_EVENT_EXIT, code);
}

static int watch_run(struct watch *watch, const struct driver_call *call)
{
	while (watch->stop == 0) {
		struct pollfd fds[2] = {
			{.fd = watch->pidfd, .events = POLLIN},
			{.fd = cancel_fd(call->cancel), .events = POLLIN},
		};
		uint64_t left = deadline_left_ms(call->deadline, DRIVER_OCI_EVENTS_MS);
		if (left == 0)
			return -ETIMEDOUT;
		if (poll(fds, 2, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return -ECANCELED;
		if (fds[0].revents)
			init_ended(watch);
		else if (watch->pidfd >= 0)
			look(watch);
		if (!state_has(watch, "")) {
			tell(watch, DRIVER_EVENT_DELETE, -1);
			break;
		}
	}
	return watch->stop < 0 ? watch->stop : 0;
}

int oci_events(void *data, const struct driver_call *call, const struct driver_events *events,
	       struct driver_error *error)
{
	if (!events->id)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "watch containers: a runtime's are watched one by one");
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	int r = oci_inspect(data, call, events->id, &container, error);
	if (r < 0)
		return r;
	struct err err = {0};
	AUTO(cgroup) struct cgroup *cgroup = NULL;
	AUTO_CLOSE int pidfd = container.pid > 0 ? pidfd_open(container.pid, 0) : -1;
	if (pidfd >= 0)
		r = cgroup_open(container.pid, &cgroup, &err);
	if (container.pid == 0 || pidfd < 0 || r == -ESRCH)
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "watch container %s: it is not running", events->id);
	if (r < 0)
		return driver_fail_err(error, r, &err);
	struct watch watch = {
		.conn = data,
		.events = events,
		.cgroup = cgroup,
		.pidfd = steal_fd(&pidfd),
		.created = container.status == DRIVER_CREATED,
		.frozen = container.status == DRIVER_PAUSED,
		.oom_kills = cgroup_oom_kills(cgroup),
	};
	r = watch_run(&watch, call);
	cleanup_close(&watch.pidfd);
	return r < 0 ? driver_fail_set(error, r, "watch container %s", events->id) : 0;
}
