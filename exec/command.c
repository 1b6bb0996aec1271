/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/command.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "exec/binfmt.h"
#include "exec/elf_file.h"
#include "exec/rootfs.h"

enum { HEAD_MAX = 4096 }; /* nearly every ELF program names its loader in there */

_Static_assert((int)HEAD_MAX >= (int)BINFMT_HEAD_MAX, "the kernel looks at no more");

void command_finish(struct command *command)
{
	if (!command)
		return;
	free(command->path);
	*command = (struct command){0};
}

int command_exit_status(int r)
{
	switch (r) {
	case -ENOENT:
		return 127;
	case -EACCES:
	case -ENOEXEC:
	case -ELOOP:
		return 126;
	default:
		return 125;
	}
}

/* The root itself is what we look at, never something else mounted there. */
static bool is_mounted(const char *path, void *arg)
{
	const struct command_search *search = arg;
	for (const char *const *m = search->mounts; m && *m; m++)
		if (strcmp(*m, "/") != 0 && rootfs_is_below(path, *m))
			return true;
	return false;
}

static bool may_execute(const struct command_search *search, const struct stat *st)
{
	const struct user *user = search->user;
	uid_t uid = id_maps_uid_inside(search->maps, st->st_uid);
	gid_t gid = id_maps_gid_inside(search->maps, st->st_gid);
	if (!user || user->uid == 0)
		return st->st_mode & 0111;
	if (uid == user->uid)
		return st->st_mode & S_IXUSR;
	bool member = gid == user->gid;
	for (size_t i = 0; !member && i < user->n_gids; i++)
		member = gid == user->gids[i];
	return st->st_mode & (member ? S_IXGRP : S_IXOTH);
}

/* What is at a path. */
struct place {
	char *real; /* owned */
	bool mounted; /* only the container will see it */
};

static void place_finish(struct place *place)
{
	free(place->real);
}
DEFINE_FINISH(place, place_finish);

/* Looks whether a path can be executed. -ENOENT, -EACCES, -EISDIR. */
static int place_find(const struct command_search *search, const char *path, struct place *ret)
{
	AUTO_FREE char *real = NULL;
	struct command_search copy = *search;
	struct stat st;
	int r = rootfs_resolve(search->root, path, false, is_mounted, &copy, &real, NULL);
	if (r == -ENOTDIR)
		return -ENOENT;
	if (r < 0)
		return r;
	ret->mounted = is_mounted(real, &copy);
	if (!ret->mounted) {
		r = rootfs_stat(search->root, real, &st);
		if (r < 0)
			return r;
		if (!S_ISREG(st.st_mode) || !may_execute(search, &st))
			return S_ISDIR(st.st_mode) ? -EISDIR : -EACCES;
	}
	ret->real = steal_ptr(&real);
	return 0;
}

/* "dir/name", where a relative dir counts from cwd. The caller frees it; NULL: no memory. */
static char *path_join(const char *cwd, const char *dir, size_t n, const char *name)
{
	char *path = NULL;
	int r;
	if (n > 0 && dir[0] == '/')
		r = asprintf(&path, "%.*s/%s", (int)n, dir, name);
	else if (n == 0)
		r = asprintf(&path, "%s/%s", cwd, name);
	else
		r = asprintf(&path, "%s/%.*s/%s", cwd, (int)n, dir, name);
	return r < 0 ? NULL : path;
}

/* A name with a slash: at the end of that path or nowhere. */
static int find_there(const struct command_search *search, const char *name, char **ret_path,
		      struct place *place, struct err *err)
{
	AUTO_FREE char *path = name[0] == '/' ? strdup(name) : path_join(search->cwd, "", 0, name);
	if (!path)
		return err_set(err, -ENOMEM, "find the command");
	int r = place_find(search, path, place);
	if (r == -ENOENT)
		return err_say(err, r, "there is no command '%.200s' in the image", name);
	if (r == -EISDIR)
		return err_say(err, -EACCES, "the command '%.200s' is a directory", name);
	if (r == -EACCES)
		return err_say(err, r, "the command '%.200s' is not executable", name);
	if (r < 0)
		return err_set(err, r, "find the command '%.200s'", name);
	*ret_path = steal_ptr(&path);
	return 0;
}

/* As execvp(3): the first that can be executed; else it matters that one could not. */
static int find_along(const struct command_search *search, const char *name, char **ret_path,
		      struct place *place, struct err *err)
{
	bool denied = false;
	for (const char *dir = search->path ? search->path : ""; name[0] != '\0';) {
		size_t n = strcspn(dir, ":");
		AUTO_FREE char *path = path_join(search->cwd, dir, n, name);
		if (!path)
			return err_set(err, -ENOMEM, "find the command");
		int r = place_find(search, path, place);
		if (r == 0 && place->mounted) /* it may be there, and it may not */
			return 0;
		if (r == 0) {
			*ret_path = steal_ptr(&path);
			return 0;
		}
		denied = denied || r == -EACCES;
		if (r != -EACCES && r != -ENOENT && r != -EISDIR && r != -ELOOP &&
		    r != -ENAMETOOLONG)
			return err_set(err, r, "find the command '%.200s'", name);
		if (dir[n] == '\0')
			break;
		dir += n + 1;
	}
	if (denied)
		return err_say(err, -EACCES, "the command '%.200s' is not executable", name);
	return err_say(err, -ENOENT, "there is no command '%.200s' along the PATH %.400s of the image",
		       name, search->path ? search->path : "''");
}

/* The first bytes of a program; -EACCES may not mean that it cannot be executed. */
static int head_read(int root, const char *path, int *ret_fd, unsigned char head[HEAD_MAX],
		     size_t *ret_n, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	int r = rootfs_open_file(root, path, &fd, err);
	if (r < 0)
		return r;
	ssize_t n = file_pread(fd, head, HEAD_MAX, 0);
	if (n < 0)
		return err_set(err, (int)n, "read %s", path);
	*ret_n = (size_t)n;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The interpreter that a script names; -ENOEXEC where the kernel would see none. */
static int script_interpreter(const unsigned char *head, size_t n, char out[BINFMT_HEAD_MAX])
{
	size_t max = (size_t)u64_min(n, BINFMT_HEAD_MAX - 1);
	size_t at = 2, len = 0;
	while (at < max && (head[at] == ' ' || head[at] == '\t'))
		at++;
	while (at + len < max && !memchr(" \t\n", head[at + len], 4))
		len++;
	if (len == 0 || (at + len == max && n > max))
		return -ENOEXEC;
	memcpy(out, head + at, len);
	out[len] = '\0';
	return 0;
}

/* Finds what `who` is run by, and says what is amiss with it. */
static int find_helper(const struct command_search *search, const char *who, const char *what,
		       const char *name, struct place *place, struct err *err)
{
	AUTO_FREE char *path = name[0] == '/' ? strdup(name) : path_join(search->cwd, "", 0, name);
	if (!path)
		return err_set(err, -ENOMEM, "find the command");
	int r = place_find(search, path, place);
	size_t n = strlen(name);
	if (r == -ENOENT && n > 0 && name[n - 1] == '\r')
		return err_say(err, r, "'%.200s' needs the %s '%.*s\\r', which is not in the image: "
			       "its lines end with CRLF", who, what, (int)n - 1, name);
	if (r == -ENOENT)
		return err_say(err, r, "'%.200s' needs the %s '%.200s', which is not in the image",
			       who, what, name);
	if (r == -EISDIR || r == -EACCES)
		return err_say(err, -EACCES, "'%.200s' needs the %s '%.200s', which is not executable",
			       who, what, name);
	return r < 0 ? err_set(err, r, "find the %s '%.200s'", what, name) : 0;
}

static int check_elf(const struct command_search *search, const char *path, int fd,
		     const unsigned char *head, size_t n, struct command *ret, struct err *err)
{
	AUTO_FINISH(place) struct place loader = {0};
	struct elf elf;
	int r = elf_parse(fd, head, n, &elf);
	if (r == 0 && elf.native) {
		ret->is_32bit = elf.is_32bit;
		return elf.loader[0] ? find_helper(search, path, "loader", elf.loader, &loader, err)
				     : 0;
	}
	if (binfmt_matches(-1, head, (size_t)u64_min(n, BINFMT_HEAD_MAX)))
		return 0;
	if (r < 0)
		return err_say(err, -ENOEXEC, "'%.200s' is a broken ELF program", path);
	return err_say(err, -ENOEXEC, "'%.200s' is a program for %s, not for this machine (%s), and "
		       "no emulator is set up for it", path, elf.machine, elf_native());
}

/* Follows interpreters from a program to the one that the kernel starts. */
static int check_program(const struct command_search *search, const char *real,
			 struct command *ret, struct err *err)
{
	AUTO_FREE char *path = strdup(real);
	for (int i = 0; path && i <= COMMAND_SCRIPTS_MAX; i++) {
		AUTO_FINISH(place) struct place next = {0};
		AUTO_CLOSE int fd = -1;
		unsigned char head[HEAD_MAX];
		char name[BINFMT_HEAD_MAX];
		size_t n = 0;
		int r = head_read(search->root, path, &fd, head, &n, err);
		if (r == -EACCES) /* may be executed, if not by us read */
			return 0;
		if (r < 0)
			return r;
		if (elf_is(head, n)) {
			ret->seen = true;
			return check_elf(search, path, fd, head, n, ret, err);
		}
		bool script = n >= 2 && memcmp(head, "#!", 2) == 0 &&
			      script_interpreter(head, n, name) == 0;
		if (!script && binfmt_matches(-1, head, (size_t)u64_min(n, BINFMT_HEAD_MAX)))
			return 0;
		if (!script)
			return err_say(err, -ENOEXEC, "'%.200s' is neither a program nor a script "
				       "that names its interpreter", path);
		r = find_helper(search, path, "interpreter", name, &next, err);
		if (r < 0 || next.mounted)
			return r;
		free(path);
		path = steal_ptr(&next.real);
	}
	if (!path)
		return err_set(err, -ENOMEM, "find the command");
	return err_say(err, -ELOOP, "'%.200s' is interpreted by scripts more than %d deep", real,
		       COMMAND_SCRIPTS_MAX);
}

int command_find(const struct command_search *search, const char *name, struct command *ret,
		 struct err *err)
{
	AUTO_FINISH(command) struct command command = {0};
	AUTO_FINISH(place) struct place place = {0};
	int r = strchr(name, '/') ? find_there(search, name, &command.path, &place, err)
				  : find_along(search, name, &command.path, &place, err);
	if (r == 0 && !place.mounted)
		r = check_program(search, place.real, &command, err);
	if (r < 0)
		return r;
	*ret = command;
	command = (struct command){0};
	return 0;
}

bool command_has_32bit(int root, const struct command *command)
{
	static const char *const loaders[] = {
#if defined(__x86_64__)
		"/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1", "/libx32/ld-linux-x32.so.2",
#elif defined(__aarch64__)
		"/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.3", "/lib/ld-musl-armhf.so.1",
		"/lib/ld-musl-arm.so.1",
#endif
		NULL,
	};
	struct stat st;
	if (!command->seen || command->is_32bit)
		return true;
	for (const char *const *loader = loaders; *loader; loader++)
		if (rootfs_stat(root, *loader, &st) == 0)
			return true;
	return false;
}
