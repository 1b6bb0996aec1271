/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/expect.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/elf_needs.h"
#include "fs/walk.h"

#define EXPECT_PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define EXPECT_LINKER_CACHE "/etc/ld.so.cache"

/* Where ld.so looks without being told, "%s" for what the machine's directory is called. */
static const char *const library_dirs[] = {"/lib/%s", "/usr/lib/%s", "/lib64", "/usr/lib64",
					   "/lib",    "/usr/lib",    "/usr/local/lib"};

struct file {
	char *path; /* owned; as it is looked up, for $ORIGIN */
	struct erofs_inode inode;
};

struct expect {
	struct expect_config config;
	json_t *json; /* owned; config.config of the configuration, or NULL */
	char *search; /* owned; $PATH */
	char machine[64]; /* Debian's name of the libraries' directory; empty: unknown */
	struct file files[EXPECT_FILES_MAX];
	size_t n_files, n_looked; /* known; of these, looked into */
	unsigned int depth;
	uint64_t bytes;
	struct elf_needs needs; /* of the file that is looked into */
};

/* ---- files ---- */

static bool expect_knows(const struct expect *e, uint64_t nid)
{
	for (size_t i = 0; i < e->n_files; i++)
		if (e->files[i].inode.nid == nid)
			return true;
	return false;
}

/*
 * Follows the symlinks at the end of a path, so that $ORIGIN is where the file
 * itself is. Whether it leads to a regular file; `path` is then its own.
 */
static bool expect_resolve(const struct expect *e, char path[static EXPECT_PATH_MAX],
			   struct erofs_inode *ret)
{
	for (size_t i = 0; i < WALK_LINKS_MAX; i++) {
		const char *target = NULL;
		if (walk_path(e->config.image, path, false, ret, NULL) < 0)
			return false;
		if (!S_ISLNK(ret->mode))
			return S_ISREG(ret->mode);
		ssize_t n = erofs_readlink(e->config.image, ret, &target);
		const char *slash = strrchr(path, '/');
		size_t dir = n > 0 && target[0] != '/' && slash ? (size_t)(slash - path) + 1 : 0;
		if (n <= 0 || dir + (size_t)n >= EXPECT_PATH_MAX)
			return false;
		memcpy(path + dir, target, (size_t)n);
		path[dir + (size_t)n] = '\0';
	}
	return false;
}

/* Notes a file to be fetched and looked into. Whether it is there. */
static bool expect_file(struct expect *e, const char *name)
{
	char path[EXPECT_PATH_MAX];
	struct erofs_inode inode;
	int n = snprintf(path, sizeof(path), "%s", name);
	if (n < 0 || (size_t)n >= sizeof(path) || !expect_resolve(e, path, &inode))
		return false;
	if (expect_knows(e, inode.nid) || e->n_files == EXPECT_FILES_MAX)
		return true;
	char *copy = strdup(path);
	if (copy)
		e->files[e->n_files++] = (struct file){copy, inode};
	return true;
}

/* The first of the directories, separated by colons, that has the name. */
static bool expect_search(struct expect *e, const char *dirs, const char *name)
{
	char path[EXPECT_PATH_MAX];
	for (size_t i = 0; i < EXPECT_DIRS_MAX && dirs; i++) {
		const char *end = strchrnul(dirs, ':');
		int n = snprintf(path, sizeof(path), "%.*s/%s", (int)(end - dirs), dirs, name);
		if (n > 0 && (size_t)n < sizeof(path) && path[0] == '/' && expect_file(e, path))
			return true;
		dirs = *end ? end + 1 : NULL;
	}
	return false;
}

/* A program as execvp(3) finds it. */
static bool expect_program(struct expect *e, const char *name)
{
	char path[EXPECT_PATH_MAX];
	const char *dir = NULL;
	if (!strchr(name, '/'))
		return expect_search(e, e->search, name);
	if (name[0] == '/')
		return expect_file(e, name);
	if (json_get_str(e->json, "WorkingDir", JSON_MAY, &dir, NULL) < 0 || !dir)
		dir = "/";
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
	return n > 0 && (size_t)n < sizeof(path) && expect_file(e, path);
}

/* ---- what a file leads to ---- */

struct reading {
	struct expect *e;
	const struct file *file;
};

static ssize_t read_part(void *data, void *ret, size_t len, uint64_t off)
{
	const struct reading *r = data;
	const struct expect_config *c = &r->e->config;
	return walk_read(c->image, c->sources, c->n_sources, &r->file->inode, ret, len, off,
			 c->read_timeout_ms, NULL);
}

/* The next word of a line, ended where it stands; NULL: none. */
static char *line_word(char **at)
{
	char *word = *at + strspn(*at, " \t");
	*at = word + strcspn(word, " \t\n");
	if (*at == word)
		return NULL;
	if (**at)
		*(*at)++ = '\0';
	return word;
}

/* "#!/usr/bin/env python3" leads to both. */
static void expect_script(struct expect *e, char *line)
{
	line[strcspn(line, "\n")] = '\0';
	char *at = line + 2;
	const char *interpreter = line_word(&at);
	if (!interpreter || interpreter[0] != '/' || !expect_file(e, interpreter))
		return;
	const char *name = strrchr(interpreter, '/') + 1;
	const char *word = strcmp(name, "env") == 0 ? line_word(&at) : NULL;
	if (word && strcmp(word, "-S") == 0)
		word = line_word(&at);
	if (word && word[0] != '-')
		(void)expect_program(e, word);
}

/* $ORIGIN in a search path is where the file itself is. */
static void expand_origin(const char *path, const char *file, char *ret, size_t size)
{
	const char *slash = strrchr(file, '/');
	int dir_len = slash && slash > file ? (int)(slash - file) : 0;
	size_t n = 0;
	ret[0] = '\0';
	while (*path && n < size) {
		size_t skip = strncmp(path, "$ORIGIN", 7) == 0	   ? 7 :
			      strncmp(path, "${ORIGIN}", 9) == 0 ? 9 :
								   0;
		int put = skip ? snprintf(ret + n, size - n, "%.*s", dir_len, file) :
				 snprintf(ret + n, size - n, "%c", *path);
		path += skip ? skip : 1;
		n += (size_t)put;
	}
}

static void expect_library(struct expect *e, const struct file *file, const char *name)
{
	char dirs[EXPECT_PATH_MAX];
	if (strchr(name, '/')) {
		(void)expect_program(e, name);
		return;
	}
	expand_origin(e->needs.runpath, file->path, dirs, sizeof(dirs));
	if (dirs[0] != '\0' && expect_search(e, dirs, name))
		return;
	for (size_t i = 0; i < ARRAY_LEN(library_dirs); i++) {
		char path[EXPECT_PATH_MAX];
		char dir[128];
		bool of_machine = strchr(library_dirs[i], '%');
		if (of_machine && e->machine[0] == '\0')
			continue;
		/* The machine's name is our own text. */
		(void)snprintf(dir, sizeof(dir), "%.*s%s",
			       (int)strcspn(library_dirs[i], "%"), library_dirs[i],
			       of_machine ? e->machine : "");
		int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
		if (n > 0 && (size_t)n < sizeof(path) && expect_file(e, path))
			return;
	}
}

static void expect_look(struct expect *e, const struct file *file)
{
	struct reading reading = {e, file};
	struct err err = {0};
	char line[EXPECT_LINE_MAX + 1];
	ssize_t n = read_part(&reading, line, EXPECT_LINE_MAX, 0);
	if (n < 2)
		return;
	line[n] = '\0';
	if (line[0] == '#' && line[1] == '!') {
		expect_script(e, line);
		return;
	}
	int r = elf_needs_parse(read_part, &reading, &e->needs, &err);
	if (r < 0) {
		log_debug("%s: %s", file->path, err_text(&err));
		return;
	}
	if (e->needs.interpreter[0] == '/' && expect_file(e, e->needs.interpreter))
		(void)expect_file(e, EXPECT_LINKER_CACHE);
	for (size_t i = 0; i < e->needs.n_needed; i++)
		expect_library(e, file, e->needs.needed[i]);
}

/* ---- the configuration ---- */

static const char *list_item(const json_t *json, const char *key, size_t i)
{
	const char *text = json_string_value(json_array_get(json_object_get(json, key), i));
	return text && text[0] != '\0' ? text : NULL;
}

static const char *config_search(const json_t *json)
{
	const char *path = NULL;
	size_t i;
	json_t *item;
	json_array_foreach(json_object_get(json, "Env"), i, item) {
		const char *text = json_string_value(item);
		if (text && strncmp(text, "PATH=", 5) == 0)
			path = text + 5;
	}
	return path ? path : EXPECT_PATH_DEFAULT;
}

static void config_machine(struct expect *e, const json_t *json)
{
	static const struct {
		const char *architecture, *dir;
	} machines[] = {{"amd64", "x86_64-linux-gnu"},	    {"arm64", "aarch64-linux-gnu"},
			{"386", "i386-linux-gnu"},	    {"arm", "arm-linux-gnueabihf"},
			{"riscv64", "riscv64-linux-gnu"},   {"ppc64le", "powerpc64le-linux-gnu"},
			{"loong64", "loongarch64-linux-gnu"}};
	const char *name = json_string_value(json_object_get(json, "architecture"));
	for (size_t i = 0; name && i < ARRAY_LEN(machines); i++)
		if (strcmp(machines[i].architecture, name) == 0)
			(void)snprintf(e->machine, sizeof(e->machine), "%s", machines[i].dir);
}

/* What an entry point is given to run is run soon, too, if it is a program. */
static void expect_command(struct expect *e)
{
	const char *entry = list_item(e->json, "Entrypoint", 0);
	const char *command = list_item(e->json, "Cmd", 0);
	if (entry)
		(void)expect_program(e, entry);
	if (command)
		(void)expect_program(e, command);
}

int expect_create(const struct expect_config *config, struct expect **ret, struct err *err)
{
	AUTO_JSON json_t *json = NULL;
	int r = json_parse_object(config->config, config->config_len, "the image's configuration",
				  &json, err);
	if (r < 0)
		return r;
	AUTO(expect) struct expect *e = calloc(1, sizeof(*e));
	if (!e)
		return err_set(err, -ENOMEM, "look into an image");
	e->config = *config;
	e->config.config = NULL;
	e->json = json_incref(json_object_get(json, "config"));
	e->search = strdup(config_search(e->json));
	if (!e->search)
		return err_set(err, -ENOMEM, "look into an image");
	config_machine(e, json);
	expect_command(e);
	*ret = steal_ptr(&e);
	return 0;
}

void expect_destroy(struct expect *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->n_files; i++)
		free(e->files[i].path);
	free(e->search);
	json_decref(e->json);
	free(e);
}

/* ---- the plan ---- */

static int plan_file(struct expect *e, const struct file *file, struct plan *plan)
{
	uint64_t want = file->inode.size > EXPECT_WHOLE_MAX ? EXPECT_HEAD_BYTES : file->inode.size;
	want = u64_min(want, EXPECT_BYTES_MAX - e->bytes);
	e->bytes += want;
	for (uint64_t off = 0; off < want;) {
		struct erofs_extent x;
		if (erofs_map(e->config.image, &file->inode, off, &x) < 0 || x.off > off ||
		    x.len <= off - x.off)
			return 0; /* whoever reads it is told */
		uint64_t skip = off - x.off;
		uint64_t n = u64_min(x.len - skip, want - off);
		if (!x.hole && x.device > 0 && x.device <= e->config.n_sources &&
		    x.dev_off <= UINT64_MAX - skip) {
			int r = plan_add(plan, x.device - 1, x.dev_off + skip, n);
			if (r < 0)
				return r;
		}
		off += n;
	}
	return 0;
}

int expect_next(struct expect *e, struct plan *plan, struct err *err)
{
	size_t known = e->n_files;
	if (e->depth > 0) {
		/* What is found grows the list; only what was there before is looked into now. */
		while (e->n_looked < known)
			expect_look(e, &e->files[e->n_looked++]);
	} else {
		known = 0;
	}
	for (size_t i = known; i < e->n_files; i++) {
		int r = plan_file(e, &e->files[i], plan);
		if (r < 0)
			return err_set(err, r, "look into an image");
	}
	/* Where a program is local, so is what it needs, as a rule. */
	return !plan_is_empty(plan) && ++e->depth < EXPECT_DEPTH_MAX;
}
