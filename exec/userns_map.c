/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/userns_map.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "base/spawn.h"

enum {
	PASSWD_TEXT_MAX = 16 << 10,
	MESSAGE_MAX = 256,
	/* The program, the process, three numbers for each range and for the own id, the end. */
	ARGS_MAX = 2 + 3 * (USERNS_RANGES_MAX + 1) + 1,
	NUMBER_TEXT = 12,
};

/* ---- what there is ---- */

static bool is_entry_of(const char *line, size_t n, const char *name, uid_t id)
{
	char number[NUMBER_TEXT];
	(void)snprintf(number, sizeof(number), "%u", (unsigned int)id);
	return (strlen(number) == n && memcmp(line, number, n) == 0) ||
	       (name && strlen(name) == n && memcmp(line, name, n) == 0);
}

/* "first:count" */
static bool range_parse(const char *text, size_t n, struct userns_range *ret)
{
	char copy[2 * NUMBER_TEXT];
	uint64_t first, count;
	if (n >= sizeof(copy))
		return false;
	memcpy(copy, text, n);
	copy[n] = '\0';
	char *colon = strchr(copy, ':');
	if (!colon)
		return false;
	*colon = '\0';
	if (u64_parse(copy, UINT32_MAX, &first) < 0 || u64_parse(colon + 1, UINT32_MAX, &count) < 0 ||
	    count == 0 || first + count > UINT32_MAX)
		return false;
	*ret = (struct userns_range){.first = (uint32_t)first, .count = (uint32_t)count};
	return true;
}

void userns_ranges_parse(const char *text, const char *name, uid_t id, struct userns_ranges *ret)
{
	*ret = (struct userns_ranges){0};
	while (*text != '\0' && ret->count < USERNS_RANGES_MAX) {
		size_t n = strcspn(text, "\n");
		size_t who = strcspn(text, ":\n");
		if (who < n && is_entry_of(text, who, name, id) &&
		    range_parse(text + who + 1, n - who - 1, &ret->list[ret->count]))
			ret->count++;
		text += n + (text[n] == '\n');
	}
}

/* A file that is not there gives nothing. */
static int ranges_read(const char *path, const char *name, uid_t id, struct userns_ranges *ret,
		       struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(USERNS_FILE_MAX);
	struct err why = {0};
	int r = file_slurp(AT_FDCWD, path, &text, &why);
	if (r < 0 && r != -ENOENT)
		return err_copy(err, &why);
	userns_ranges_parse(buf_str(&text), name, id, ret);
	return 0;
}

/* ---- the child ---- */

struct userns_mapper {
	pid_t child;
	int fd; /* to it */
	uid_t uid;
	gid_t gid;
	char *newuidmap, *newgidmap; /* NULL: not installed */
	struct userns_ranges uids, gids;
	char user[64]; /* for messages */
};

/* What the child says when it is done. */
struct answer {
	int r;
	bool half; /* the one map is there, the other is not */
	char message[MESSAGE_MAX];
};

static int run_helper(const char *path, pid_t target, uint32_t own,
		      const struct userns_ranges *ranges, char message[static MESSAGE_MAX])
{
	char numbers[ARGS_MAX][NUMBER_TEXT];
	const char *argv[ARGS_MAX];
	size_t n = 0;
	uint32_t inside = 1;
	AUTO_FINISH(buf) struct buf output = buf_make(MESSAGE_MAX);
	AUTO_FINISH(buf) struct buf errors = buf_make(MESSAGE_MAX);
	struct err err = {0};
	int status = 0;
	argv[n++] = path;
#define ADD(value) \
	(void)snprintf(numbers[n], NUMBER_TEXT, "%u", (unsigned int)(value)); \
	argv[n] = numbers[n]; \
	n++
	ADD(target);
	ADD(0);
	ADD(own);
	ADD(1);
	for (size_t i = 0; i < ranges->count; i++) {
		ADD(inside);
		ADD(ranges->list[i].first);
		ADD(ranges->list[i].count);
		inside += ranges->list[i].count;
	}
#undef ADD
	argv[n] = NULL;
	struct spawn spawn = {
		.path = path,
		.argv = argv,
		.deadline = deadline_in_ms(USERNS_HELPER_MS),
		.errors = &errors,
	};
	int r = spawn_run(&spawn, &output, &status, &err);
	if (r < 0) {
		(void)snprintf(message, MESSAGE_MAX, "%s", err_text(&err));
		return r;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	(void)snprintf(message, MESSAGE_MAX, "%s", buf_str(&errors));
	message[strcspn(message, "\n")] = '\0';
	if (message[0] == '\0')
		(void)snprintf(message, MESSAGE_MAX, "%s failed", path);
	return -EPERM;
}

/* Waits for the namespace to be made, maps it, and says how it went. */
static void mapper_child(const struct userns_mapper *m, int fd, pid_t target)
{
	struct answer answer = {0};
	char go;
	if (read(fd, &go, 1) != 1)
		return;
	answer.r = run_helper(m->newuidmap, target, m->uid, &m->uids, answer.message);
	if (answer.r == 0) {
		answer.r = run_helper(m->newgidmap, target, m->gid, &m->gids, answer.message);
		answer.half = answer.r < 0;
	}
	(void)file_write(fd, &answer, sizeof(answer));
}

static int mapper_fork(struct userns_mapper *m, struct err *err)
{
	int pair[2];
	pid_t target = getpid();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "start a helper");
	m->child = fork();
	if (m->child == 0) {
		(void)close(pair[0]);
		mapper_child(m, pair[1], target);
		_exit(0);
	}
	int r = m->child < 0 ? err_set(err, -errno, "start a helper") : 0;
	(void)close(pair[1]);
	m->fd = pair[0];
	return r;
}

void userns_mapper_destroy(struct userns_mapper *m)
{
	if (!m)
		return;
	/* It ends when it sees the end of what it waits for. */
	cleanup_close(&m->fd);
	while (m->child > 0 && waitpid(m->child, NULL, 0) < 0 && errno == EINTR)
		;
	free(m->newuidmap);
	free(m->newgidmap);
	free(m);
}

static bool mapper_has_all(const struct userns_mapper *m)
{
	return m->uids.count > 0 && m->gids.count > 0 && m->newuidmap && m->newgidmap;
}

static int find_helper(const char *path_env, const char *name, char **ret)
{
	int r = spawn_find(path_env, name, ret);
	return r == -ENOMEM ? r : 0;
}

int userns_mapper_start(const char *path_env, struct userns_mapper **ret, struct err *err)
{
	AUTO(userns_mapper) struct userns_mapper *m = calloc(1, sizeof(*m));
	AUTO_FREE char *text = malloc(PASSWD_TEXT_MAX);
	struct passwd entry, *found = NULL;
	if (!m || !text)
		return err_set(err, -ENOMEM, "make a user namespace");
	m->fd = -1;
	m->uid = geteuid();
	m->gid = getegid();
	(void)getpwuid_r(m->uid, &entry, text, PASSWD_TEXT_MAX, &found);
	(void)snprintf(m->user, sizeof(m->user), "%u", (unsigned int)m->uid);
	if (found)
		(void)snprintf(m->user, sizeof(m->user), "%s", found->pw_name);
	int r = ranges_read("/etc/subuid", found ? found->pw_name : NULL, m->uid, &m->uids, err);
	if (r == 0)
		r = ranges_read("/etc/subgid", found ? found->pw_name : NULL, m->uid, &m->gids, err);
	if (r < 0)
		return r;
	if (find_helper(path_env, "newuidmap", &m->newuidmap) < 0 ||
	    find_helper(path_env, "newgidmap", &m->newgidmap) < 0)
		return err_set(err, -ENOMEM, "make a user namespace");
	if (mapper_has_all(m))
		r = mapper_fork(m, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&m);
	return 0;
}

/* ---- mapping ---- */

static int write_map(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : file_write(fd, text, strlen(text));
}

/* The own ids become 0, for which no help is needed; groups cannot be left any more then. */
static int map_own(const struct userns_mapper *m, bool *ret_denied, struct err *err)
{
	char uid_map[2 * NUMBER_TEXT], gid_map[2 * NUMBER_TEXT];
	(void)snprintf(uid_map, sizeof(uid_map), "0 %u 1", (unsigned int)m->uid);
	(void)snprintf(gid_map, sizeof(gid_map), "0 %u 1", (unsigned int)m->gid);
	int r = write_map("/proc/self/setgroups", "deny");
	if (r == 0)
		r = write_map("/proc/self/gid_map", gid_map);
	if (r == 0)
		r = write_map("/proc/self/uid_map", uid_map);
	*ret_denied = r == -EPERM || r == -EACCES;
	return r < 0 ? err_set(err, r, "give a user namespace its ids") : 0;
}

static void say_lack(const struct userns_mapper *m, char lack[static USERNS_LACK_MAX])
{
	static const char so[] = "so the container has one user and one group, which are yours";
	const char *file = m->uids.count == 0 ? "/etc/subuid" : "/etc/subgid";
	if (m->uids.count == 0 || m->gids.count == 0)
		(void)snprintf(lack, USERNS_LACK_MAX,
			       "%s gives %s no ids, %s (root can give some: 'usermod --add-subuids "
			       "100000-165535 --add-subgids 100000-165535 %s')", file, m->user, so, m->user);
	else
		(void)snprintf(lack, USERNS_LACK_MAX,
			       "newuidmap and newgidmap are not on PATH, %s (Debian has them in the "
			       "package uidmap)", so);
}

int userns_mapper_map(struct userns_mapper *m, char lack[static USERNS_LACK_MAX], bool *ret_denied,
		      struct err *err)
{
	struct answer answer;
	if (m->child <= 0) {
		say_lack(m, lack);
		return map_own(m, ret_denied, err);
	}
	if (send(m->fd, "", 1, MSG_NOSIGNAL) != 1 ||
	    file_read(m->fd, &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
		return err_say(err, -EIO, "give a user namespace its ids: the helper is gone");
	if (answer.half)
		return err_say(err, answer.r, "give a user namespace its groups: %s", answer.message);
	if (answer.r == 0)
		return 0;
	(void)snprintf(lack, USERNS_LACK_MAX,
		       "the ids of /etc/subuid cannot be had (%s), so the container has one user and one "
		       "group, which are yours", answer.message);
	return map_own(m, ret_denied, err);
}
