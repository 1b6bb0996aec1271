/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/rootless.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "exec/userns.h"
#include "fs/mtable.h"

/* How the processes that are started inside learn who they are for. */
#define UID_VARIABLE "SLUICE_USERNS_UID"

enum { UID_TEXT_MAX = 16 };

uid_t rootless_uid(void)
{
	const char *text = getenv(UID_VARIABLE);
	uint64_t uid;
	if (geteuid() == 0 && text && u64_parse(text, UINT32_MAX, &uid) == 0)
		return (uid_t)uid;
	return geteuid();
}

bool rootless_is_inside(void)
{
	return rootless_uid() != geteuid();
}

static int note_uid(uid_t uid, struct err *err)
{
	char text[UID_TEXT_MAX];
	(void)snprintf(text, sizeof(text), "%u", (unsigned int)uid);
	return setenv(UID_VARIABLE, text, 1) < 0 ? err_set(err, -errno, "remember the user") : 0;
}

static int enter(bool say, struct err *err)
{
	char lack[USERNS_LACK_MAX];
	uid_t uid = geteuid();
	int r = userns_enter(getenv("PATH"), lack, err);
	if (r == 0 && say && lack[0] != '\0')
		log_warn("%s", lack);
	return r == 0 ? note_uid(uid, err) : r;
}

int rootless_enter(pid_t shared, struct err *err)
{
	uid_t uid = geteuid();
	if (uid == 0)
		return 0;
	if (shared == 0)
		return enter(true, err);
	int r = userns_join(shared, false, err);
	return r == 0 ? note_uid(uid, err) : r;
}

/* ---- going to one that is there ---- */

/* The holder of the image's mount, or its server, which outlive a monitor that was killed. */
static pid_t find_holder(struct ctx *ctx, const struct opened_container *o)
{
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *rootfs = NULL;
	const char *run_dir = NULL;
	struct err ignored;
	if (asprintf(&rootfs, "%s/" CONTAINER_ROOTFS, container_path(o->container)) < 0) {
		rootfs = NULL;
		return 0;
	}
	if (ctx_run_dir(ctx, &run_dir, &ignored) < 0 ||
	    mtable_find(run_dir, rootfs, &entry, &fd, &ignored) < 0)
		return 0;
	if (mtable_is_held(fd))
		return entry.holder;
	return proc_alive(entry.server, 0) ? entry.server : 0;
}

int rootless_join(struct ctx *ctx, const struct opened_container *o, struct err *err)
{
	uid_t uid = geteuid();
	if (uid == 0)
		return 0;
	const struct {
		pid_t pid;
		bool mounts; /* it is in the monitor's mount namespace */
	} ways[] = {
		{container_monitor_alive(&o->state) ? o->state.monitor : 0, true},
		{find_holder(ctx, o), true},
		{container_init_alive(&o->state) ? o->state.pid : 0, false},
	};
	int r = -ESRCH;
	/* Each may just end. */
	for (size_t i = 0; i < ARRAY_LEN(ways) && r == -ESRCH; i++)
		if (ways[i].pid > 0)
			r = userns_join(ways[i].pid, ways[i].mounts, err);
	if (r == -ESRCH)
		return enter(false, err);
	return r == 0 ? note_uid(uid, err) : r;
}

/* ---- by a child ---- */

struct answer {
	int r;
	struct err err;
};

static void call_child(int fd, struct ctx *ctx, struct opened_container *o, rootless_fn fn)
{
	struct answer answer = {0};
	answer.r = rootless_join(ctx, o, &answer.err);
	if (answer.r == 0)
		answer.r = fn(ctx, o, &answer.err);
	(void)file_write(fd, &answer, sizeof(answer));
}

int rootless_call(struct ctx *ctx, struct opened_container *o, rootless_fn fn, struct err *err)
{
	struct answer answer;
	int fds[2];
	if (geteuid() == 0)
		return fn(ctx, o, err);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "go into the container's namespaces");
	pid_t child = fork();
	if (child == 0) {
		(void)close(fds[0]);
		call_child(fds[1], ctx, o, fn);
		_exit(0);
	}
	int r = child < 0 ? err_set(err, -errno, "go into the container's namespaces") : 0;
	(void)close(fds[1]);
	if (r == 0 && file_read(fds[0], &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
		r = err_say(err, -EIO, "go into the container's namespaces: the helper is gone");
	(void)close(fds[0]);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return r;
	return answer.r < 0 ? err_copy(err, &answer.err) : answer.r;
}
