/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/user.h"

#include <stdbool.h>
#include <string.h>

#include "base/num.h"
#include "exec/rootfs.h"

#define PASSWD "/etc/passwd"
#define GROUP  "/etc/group"

enum {
	PASSWD_FIELDS = 7,
	PASSWD_NEEDS = 4, /* up to the gid; what is missing is empty */
	GROUP_FIELDS = 4,
	GROUP_NEEDS = 3,
	GIDS_STEP = 16,
};

/* A file of entries, and the place that reading has come to. */
struct entries {
	struct buf text;
	size_t at;
	bool absent;
};

static void entries_finish(struct entries *e)
{
	buf_finish(&e->text);
}
DEFINE_FINISH(entries, entries_finish);

/* What is not there has no entries. */
static int entries_load(const struct user_files *files, const char *path, struct entries *ret,
			struct err *err)
{
	struct err why = {0};
	ret->text = buf_make(USER_FILE_MAX);
	int r = files->read(files->data, path, &ret->text, &why);
	if (r == -ENOENT || r == -ENOTDIR) {
		ret->absent = true;
		return 0;
	}
	return r < 0 ? err_prefix(err, err_copy(err, &why), "look up the user in the image") : 0;
}

/*
 * The next entry with at least `need` fields, cut in place into n, of which
 * the last keeps what follows. False at the end.
 */
static bool entries_next(struct entries *e, char **fields, size_t need, size_t n_fields)
{
	while (e->at < e->text.len) {
		char *line = e->text.data + e->at;
		size_t rest = e->text.len - e->at;
		char *end = memchr(line, '\n', rest);
		size_t n = end ? (size_t)(end - line) : rest;
		e->at += n + (end ? 1 : 0);
		if (n > 0 && line[n - 1] == '\r')
			n--;
		if (n == 0 || memchr(line, '\0', n) || strchr("#+-", line[0]))
			continue;
		line[n] = '\0';
		size_t have = 0;
		for (char *p = line; p && have < n_fields; have++) {
			fields[have] = p;
			p = have + 1 < n_fields ? strchr(p, ':') : NULL;
			if (p)
				*p++ = '\0';
		}
		for (size_t i = have; i < n_fields; i++)
			fields[i] = line + n;
		if (have >= need && fields[0][0] != '\0')
			return true;
	}
	return false;
}

/* Whether the text is a number, and then which: -ERANGE past INT32_MAX. */
static bool is_id(const char *text, size_t n)
{
	size_t digits = 0;
	while (digits < n && text[digits] >= '0' && text[digits] <= '9')
		digits++;
	return n > 0 && digits == n;
}

static int id_parse(const char *text, const char *what, uint32_t *ret, struct err *err)
{
	uint64_t v = 0;
	int r = u64_parse(text, INT32_MAX, &v);
	if (r == -ERANGE)
		return err_say(err, r, "%s %.64s is past the largest id, %d", what, text, INT32_MAX);
	if (r < 0)
		return err_say(err, r, "%s '%.64s' is no id", what, text);
	*ret = (uint32_t)v;
	return 0;
}

void user_finish(struct user *user)
{
	if (!user)
		return;
	free(user->gids);
	free(user->name);
	free(user->home);
	*user = (struct user){0};
}

static int add_gid(struct user *user, uint32_t gid)
{
	for (size_t i = 0; i < user->n_gids; i++)
		if (user->gids[i] == gid)
			return 0;
	if (user->n_gids == USER_GIDS_MAX)
		return -E2BIG;
	if (user->n_gids % GIDS_STEP == 0) {
		uint32_t *more = reallocarray(user->gids, user->n_gids + GIDS_STEP, sizeof(*more));
		if (!more)
			return -ENOMEM;
		user->gids = more;
	}
	user->gids[user->n_gids++] = gid;
	return 0;
}

/* Fills in what the entry of a user says: `name`, or the one with `uid` where name is NULL. */
static int find_passwd(const struct user_files *files, const char *name, uint32_t uid,
		       struct user *user, struct err *err)
{
	AUTO_FINISH(entries) struct entries passwd = {0};
	char *f[PASSWD_FIELDS];
	int r = entries_load(files, PASSWD, &passwd, err);
	if (r < 0)
		return r;
	while (entries_next(&passwd, f, PASSWD_NEEDS, PASSWD_FIELDS)) {
		uint32_t has = 0;
		if (name && strcmp(f[0], name) != 0)
			continue;
		if (!name && (!is_id(f[2], strlen(f[2])) || id_parse(f[2], "", &has, NULL) < 0 ||
			      has != uid))
			continue;
		if ((r = id_parse(f[2], "the uid", &user->uid, err)) < 0 ||
		    (r = id_parse(f[3], "the gid", &user->gid, err)) < 0)
			return err_prefix(err, r, "the entry of user '%.64s' in the image's "
					  PASSWD, f[0]);
		user->name = strdup(f[0]);
		user->home = strdup(f[5][0] == '/' ? f[5] : "/");
		return user->name && user->home ? 0 : err_set(err, -ENOMEM, "look up the user");
	}
	if (name && passwd.absent)
		return err_say(err, -ENOENT, "there is no user '%.64s': the image has no " PASSWD, name);
	if (name)
		return err_say(err, -ENOENT, "there is no user '%.64s' in the image's " PASSWD, name);
	user->uid = uid;
	user->home = strdup("/");
	return user->home ? 0 : err_set(err, -ENOMEM, "look up the user");
}

static int find_group(const struct user_files *files, const char *group, uint32_t *ret,
		      struct err *err)
{
	AUTO_FINISH(entries) struct entries file = {0};
	char *f[GROUP_FIELDS];
	if (is_id(group, strlen(group)))
		return id_parse(group, "the group", ret, err);
	int r = entries_load(files, GROUP, &file, err);
	if (r < 0)
		return r;
	while (entries_next(&file, f, GROUP_NEEDS, GROUP_FIELDS)) {
		if (strcmp(f[0], group) != 0)
			continue;
		r = id_parse(f[2], "the gid", ret, err);
		return r < 0 ? err_prefix(err, r, "the entry of group '%.64s' in the image's "
					  GROUP, group) : 0;
	}
	if (file.absent)
		return err_say(err, -ENOENT, "there is no group '%.64s': the image has no " GROUP,
			       group);
	return err_say(err, -ENOENT, "there is no group '%.64s' in the image's " GROUP, group);
}

static bool lists(char *members, const char *name)
{
	char *save = NULL;
	for (char *m = strtok_r(members, ",", &save); m; m = strtok_r(NULL, ",", &save)) {
		m += strspn(m, " \t");
		m[strcspn(m, " \t:")] = '\0';
		if (strcmp(m, name) == 0)
			return true;
	}
	return false;
}

/* As initgroups(3): the primary group, and those that list the user. */
static int find_groups_of(const struct user_files *files, struct user *user, struct err *err)
{
	AUTO_FINISH(entries) struct entries file = {0};
	char *f[GROUP_FIELDS];
	int r = entries_load(files, GROUP, &file, err);
	if (r == 0 && (r = add_gid(user, user->gid)) < 0)
		err_set(err, r, "look up the user's groups");
	while (r == 0 && entries_next(&file, f, GROUP_NEEDS, GROUP_FIELDS)) {
		uint32_t gid = 0;
		if (!lists(f[3], user->name))
			continue;
		r = id_parse(f[2], "the gid", &gid, err);
		if (r < 0)
			return err_prefix(err, r, "the entry of group '%.64s' in the image's "
					  GROUP, f[0]);
		r = add_gid(user, gid);
		if (r == -E2BIG)
			return err_say(err, r, "user '%.64s' is in more than %d groups", user->name,
				       USER_GIDS_MAX);
		if (r < 0)
			return err_set(err, r, "look up the user's groups");
	}
	return r;
}

static int find(const struct user_files *files, const char *name, const char *group,
		struct user *user, struct err *err)
{
	bool numeric = is_id(name, strlen(name));
	bool named = name[0] != '\0' && !numeric;
	uint32_t uid = 0;
	int r = numeric ? id_parse(name, "the user", &uid, err) : 0;
	if (r < 0 || (r = find_passwd(files, named ? name : NULL, uid, user, err)) < 0)
		return r;
	if (group[0] != '\0')
		return find_group(files, group, &user->gid, err);
	return user->name && !numeric ? find_groups_of(files, user, err) : 0;
}

int user_find_in(const struct user_files *files, const char *spec, struct user *ret,
		 struct err *err)
{
	AUTO_FINISH(user) struct user user = {0};
	AUTO_FREE char *name = strdup(spec ? spec : "");
	if (!name)
		return err_set(err, -ENOMEM, "look up the user");
	char *group = strchrnul(name, ':');
	if (*group)
		*group++ = '\0';
	int r = find(files, name, group, &user, err);
	if (r < 0)
		return r;
	*ret = user;
	user = (struct user){0};
	return 0;
}

static int read_below(void *data, const char *path, struct buf *ret, struct err *err)
{
	const int *root = data;
	return rootfs_slurp(*root, path, ret, err);
}

int user_find(int root, const char *spec, struct user *ret, struct err *err)
{
	const struct user_files files = {.read = read_below, .data = &root};
	return user_find_in(&files, spec, ret, err);
}

int user_add_group(int root, struct user *user, const char *group, struct err *err)
{
	const struct user_files files = {.read = read_below, .data = &root};
	uint32_t gid = 0;
	int r = find_group(&files, group, &gid, err);
	if (r < 0)
		return r;
	r = add_gid(user, gid);
	return r < 0 ? err_set(err, r, "add the group '%.64s'", group) : 0;
}
