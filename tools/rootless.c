/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/rootless.h"

#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/spawn.h"

enum { SUBID_FILE_MAX = 1 << 20 };

/* The ids that a user has besides the own one. */
struct subids {
	uint64_t first, count; /* count 0: none */
};

bool rootless_is_in(void)
{
	return getenv(ROOTLESS_VARIABLE) != NULL;
}

bool rootless_is_single(void)
{
	AUTO_FINISH(buf) struct buf text = buf_make(4096);
	unsigned long long inside = 0, outside = 0, count = 0;
	if (!rootless_is_in() || file_slurp(AT_FDCWD, "/proc/self/uid_map", &text, NULL) < 0)
		return false;
	return sscanf(buf_str(&text), "%llu %llu %llu", &inside, &outside, &count) == 3 && // NOLINT
	       count == 1 && strchr(buf_str(&text), '\n') == text.data + text.len - 1;
}

/* The first range of a user, who is written by name or by number, in subuid(5) or subgid(5). */
static void subids_find(const char *path, const char *name, struct subids *ret)
{
	AUTO_FINISH(buf) struct buf text = buf_make(SUBID_FILE_MAX);
	char number[24];
	*ret = (struct subids){0};
	(void)snprintf(number, sizeof(number), "%u", (unsigned int)getuid());
	if (file_slurp(AT_FDCWD, path, &text, NULL) < 0)
		return;
	char *rest = text.data;
	for (char *line; rest && (line = strsep(&rest, "\n")) != NULL;) {
		const char *who = strsep(&line, ":");
		const char *first = strsep(&line, ":");
		if (!line || (strcmp(who, number) != 0 && (!name || strcmp(who, name) != 0)))
			continue;
		if (u64_parse(first, UINT32_MAX, &ret->first) == 0 &&
		    u64_parse(line, UINT32_MAX, &ret->count) == 0)
			return;
	}
	*ret = (struct subids){0};
}

static int file_say(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : file_write(fd, text, strlen(text));
}

/* newuidmap PID 0 OWN 1 1 FIRST COUNT */
static int map_by_helper(const char *helper, pid_t pid, uint32_t own, const struct subids *sub,
			 struct err *err)
{
	AUTO_FREE char *path = NULL;
	AUTO_FINISH(buf) struct buf output = buf_make(4096);
	char words[4][24];
	int status = 0;
	if (spawn_find(getenv("PATH"), helper, &path) < 0)
		return err_say(err, -ENOENT, "%s is not on PATH (apt-get install uidmap)", helper);
	(void)snprintf(words[0], sizeof(words[0]), "%d", (int)pid);
	(void)snprintf(words[1], sizeof(words[1]), "%u", own);
	(void)snprintf(words[2], sizeof(words[2]), "%llu", (unsigned long long)sub->first);
	(void)snprintf(words[3], sizeof(words[3]), "%llu", (unsigned long long)sub->count);
	const char *argv[] = {helper, words[0], "0", words[1], "1", "1", words[2], words[3], NULL};
	struct spawn spawn = {.path = path, .argv = argv, .deadline = deadline_in_ms(ROOTLESS_MAP_MS)};
	int r = spawn_run(&spawn, &output, &status, err);
	if (r == 0 && status != 0)
		r = err_say(err, -EPERM, "%s refuses the ids of /etc/subuid and /etc/subgid", helper);
	return r;
}

/* What the child does that stays outside: it may map the ids of the namespace inside. */
static int map_outside(pid_t pid, uid_t uid, gid_t gid, struct err *err)
{
	struct passwd *user = getpwuid(uid); // NOLINT(concurrency-mt-unsafe): one thread
	struct subids uids, gids;
	subids_find("/etc/subuid", user ? user->pw_name : NULL, &uids);
	subids_find("/etc/subgid", user ? user->pw_name : NULL, &gids);
	if (uids.count == 0 || gids.count == 0)
		return err_say(err, -ENOENT, "/etc/subuid and /etc/subgid have no ids for this user");
	int r = map_by_helper("newuidmap", pid, uid, &uids, err);
	return r < 0 ? r : map_by_helper("newgidmap", pid, gid, &gids, err);
}

/* The one id that everybody may map without help. */
static int map_single(uid_t uid, gid_t gid, struct err *err)
{
	char uids[48], gids[48];
	(void)snprintf(uids, sizeof(uids), "0 %u 1\n", (unsigned int)uid);
	(void)snprintf(gids, sizeof(gids), "0 %u 1\n", (unsigned int)gid);
	int r = file_say("/proc/self/setgroups", "deny");
	if (r == 0)
		r = file_say("/proc/self/gid_map", gids);
	if (r == 0)
		r = file_say("/proc/self/uid_map", uids);
	return r < 0 ? err_set(err, r, "map the user's id") : 0;
}

/* Enters a new user namespace while a child, which stays outside, maps its ids. */
static int enter_user(uid_t uid, gid_t gid, struct err *err)
{
	int go[2];
	pid_t self = getpid();
	int status = 0;
	if (pipe2(go, O_CLOEXEC) < 0)
		return err_set(err, -errno, "make a user namespace");
	pid_t child = fork();
	if (child == 0) {
		struct err why = {0};
		char byte;
		(void)close(go[1]);
		bool told = file_read(go[0], &byte, 1) == 1;
		int r = told ? map_outside(self, uid, gid, &why) : -EIO;
		if (r < 0 && told)
			log_debug("%s", err_text(&why));
		_exit(r < 0);
	}
	(void)close(go[0]);
	int r = child < 0 ? -errno : unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
	if (r == 0)
		r = file_write(go[1], "", 1);
	(void)close(go[1]);
	if (child > 0)
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
	if (r < 0)
		return err_say(err, r, "make a user namespace: %s: this kernel lets only root make "
			       "containers (see user_namespaces(7))", strerrordesc_np(-r));
	return status == 0 ? 0 : map_single(uid, gid, err);
}

/* What depends on who we are is found out while we still are. */
static int keep_places(struct ctx *ctx, uid_t uid, struct err *err)
{
	struct store *store = NULL;
	const char *run_dir = NULL;
	char text[24];
	int r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = ctx_run_dir(ctx, &run_dir, err);
	(void)snprintf(text, sizeof(text), "%u", (unsigned int)uid);
	if (r == 0 && setenv(ROOTLESS_VARIABLE, text, 1) < 0)
		r = err_set(err, -errno, "make a user namespace");
	return r;
}

int rootless_enter(struct ctx *ctx, struct err *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	if (uid == 0)
		return 0;
	int r = keep_places(ctx, uid, err);
	if (r == 0)
		r = enter_user(uid, gid, err);
	if (r < 0)
		return r;
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_set(err, -errno, "make a mount namespace");
	return 0;
}

int rootless_join(struct ctx *ctx, pid_t pid, struct err *err)
{
	uid_t uid = geteuid();
	if (uid == 0)
		return 0;
	int r = keep_places(ctx, uid, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = pidfd_open(pid, 0);
	AUTO_CLOSE int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWUSER | CLONE_NEWNS) < 0 || setresgid(0, 0, 0) < 0 ||
	    setresuid(0, 0, 0) < 0)
		return err_set(err, -errno, "enter the container's user namespace");
	if (cwd >= 0)
		(void)fchdir(cwd);
	return 0;
}
