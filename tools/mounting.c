/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/mounting.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "fetcher/handover.h"
#include "fs/image_record.h"
#include "fs/mount.h"
#include "tools/verb.h"

int mounting_program(char **ret, struct err *err)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n < 0)
		return err_set(err, -errno, "find this program's own file");
	path[n] = '\0';
	*ret = strdup(path);
	return *ret ? 0 : err_set(err, -ENOMEM, "find this program's own file");
}

int mounting_path(const char *text, char **ret)
{
	AUTO_FREE char *cwd = text[0] == '/' ? NULL : getcwd(NULL, 0);
	if (text[0] != '/' && !cwd)
		return err_errno();
	char *path = NULL;
	if (asprintf(&path, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", text) < 0)
		return -ENOMEM;
	*ret = path;
	return 0;
}

static int words_add_path(struct words *words, const char *option, const char *value)
{
	AUTO_FREE char *path = NULL;
	int r = value ? mounting_path(value, &path) : 0;
	return r < 0 ? r : words_add_text(words, option, path);
}

/* The same for a path in the environment. */
static int environment_fix_path(const char *name)
{
	AUTO_FREE char *path = NULL;
	const char *value = getenv(name);
	if (!value || value[0] == '\0')
		return 0;
	int r = mounting_path(value, &path);
	return r != 0 ? r : setenv(name, path, 1) < 0 ? -errno : 0;
}

static int words_add_common(struct words *w, const struct ctx *c)
{
	int r = words_add_path(w, "--store", c->store ? store_path(c->store) : c->store_path);
	if (r == 0)
		r = words_add_number(w, "--budget", c->budget, "");
	if (r == 0 && c->platform_text)
		r = words_add_text(w, "--platform", c->platform_text);
	if (r == 0 && c->plain_http)
		r = words_add(w, "--plain-http");
	if (r == 0 && c->offline)
		r = words_add(w, "--offline");
	if (r == 0)
		r = words_add_path(w, "--authfile", c->auth_file);
	for (size_t i = 0; i < c->hosts_dirs.count && r == 0; i++)
		r = words_add_path(w, "--hosts-dir", c->hosts_dirs.items[i]);
	for (size_t i = 0; i < c->certs_dirs.count && r == 0; i++)
		r = words_add_path(w, "--cert-dir", c->certs_dirs.items[i]);
	if (r == 0)
		r = words_add_number(w, "--timeout", c->timeout_ms, "ms");
	if (r == 0)
		r = words_add_number(w, "--read-timeout", c->read_timeout_ms, "ms");
	if (r == 0)
		r = words_add_text(w, "--log-level", c->log_level);
	return r;
}

int mounting_words(const struct ctx *ctx, const char *verb, struct words *ret, struct err *err)
{
	AUTO_FINISH(words) struct words words = {0};
	int r = words_add(&words, "sluice");
	if (r == 0)
		r = words_add(&words, verb);
	if (r == 0)
		r = words_add_common(&words, ctx);
	if (r == 0)
		r = environment_fix_path("REGISTRY_AUTH_FILE");
	if (r == 0)
		r = environment_fix_path("DOCKER_CONFIG");
	/* A command line is for everybody to read; an environment is not. */
	if (r == 0 && ctx->user && setenv("SLUICE_CREDS", ctx->user, 1) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, r, "start sluice %s", verb);
	*ret = words;
	words = (struct words){0};
	return 0;
}

/* What preparing the image cost is the first that a mount did. */
static int mounting_count(const struct ctx *ctx, int entry_fd, struct err *err)
{
	struct mount_stats *stats = NULL;
	int r = mount_stats_map(entry_fd, &stats, err);
	if (r < 0)
		return r;
	counter_add(&stats->net.requests, counter_get(&ctx->net->requests));
	counter_add(&stats->net.bytes, counter_get(&ctx->net->bytes));
	counter_add(&stats->net.retries, counter_get(&ctx->net->retries));
	counter_add(&stats->net.token_refreshes, counter_get(&ctx->net->token_refreshes));
	mount_stats_unmap(stats);
	return 0;
}

void mounting_finish(struct mounting *m)
{
	if (!m)
		return;
	holder_cancel(&m->holder);
	cleanup_close(&m->entry_fd);
	m->entry_fd = -1;
	if (m->id[0] != '\0')
		(void)mtable_remove(m->run_dir, m->id, NULL);
	m->id[0] = '\0';
}

/* Starts a holder; ahead is the name of an image that is not prepared yet, or NULL. */
static int mounting_hold(struct mounting *m, const struct words *hold, const char *ahead,
			 struct err *err)
{
	AUTO_FREE char *program = NULL;
	AUTO_FINISH(words) struct words words = {0};
	int r = 0;
	for (size_t i = 0; i < hold->count && r == 0; i++)
		r = words_add(&words, hold->items[i]);
	if (r == 0)
		r = words_add_text(&words, "--ahead", ahead);
	if (r == 0)
		r = words_add(&words, m->id);
	if (r < 0)
		return err_set(err, r, "start the holder");
	r = mounting_program(&program, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int log_fd = openat(m->entry_fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
				       0600);
	if (log_fd < 0)
		return err_set(err, -errno, "open the mount's log");
	return holder_begin(program, words.items, environ, verb_again, log_fd, &m->holder, err);
}

int mounting_begin(struct ctx *ctx, const char *text, const struct words *hold, bool ahead,
		   struct mounting *ret, struct err *err)
{
	AUTO_FINISH(mounting) struct mounting m = mounting_none();
	AUTO_FINISH(ref) struct ref ref = {0};
	AUTO_FREE char *name = NULL;
	int r = ref_parse(text, &ref, err);
	if (r < 0 || (ahead && (ctx->offline || ref.kind != REF_REGISTRY)))
		return r;
	if (ref_text(&ref, &name) < 0)
		return err_set(err, -ENOMEM, "name the image");
	r = ctx_run_dir(ctx, &m.run_dir, err);
	if (r == 0)
		r = mtable_reserve(m.run_dir, m.id, &m.entry_fd, err);
	if (r == 0 && ahead)
		r = mounting_hold(&m, hold, name, err);
	if (r < 0)
		return r;
	*ret = m;
	m = mounting_none();
	return 0;
}

int mounting_enter(const struct ctx *ctx, struct mounting *m,
		   const struct mtable_entry *entry, struct err *err)
{
	int r = mtable_save(m->entry_fd, entry, err);
	/* A holder that ends takes its entry along, and knows why. */
	if (r == -ENOENT && m->holder.sock >= 0)
		r = holder_await(&m->holder, err);
	return r < 0 ? r : mounting_count(ctx, m->entry_fd, err);
}

/* What was learned is a help: a server that does not get it asks again. */
static void mounting_tell(struct ctx *ctx, struct mounting *m, struct origin *origin)
{
	AUTO_CLOSE int known = -1;
	struct err err = {0};
	if (origin && ctx->tokens && handover_write(ctx->tokens, origin, &known, &err) < 0)
		log_debug("%s", err_text(&err));
	holder_prepared(&m->holder, known);
}

int mounting_go(struct ctx *ctx, struct mounting *m, const struct words *hold,
		struct origin *origin, struct err *err)
{
	int r = 0;
	if (m->holder.sock >= 0)
		mounting_tell(ctx, m, origin);
	else
		r = mounting_hold(m, hold, NULL, err);
	if (r == 0)
		r = holder_await(&m->holder, err);
	if (r == 0)
		m->id[0] = '\0'; /* it is the holder's now */
	return r;
}

int mounting_record(const struct profile_flags *flags, struct mtable_entry *entry, struct err *err)
{
	struct mtable_record record = {
		.off = flags->off,
		.quiet_ms = flags->quiet_ms,
		.cap_ms = flags->cap_ms,
		.cap_bytes = flags->cap_bytes,
	};
	int r = flags->file ? mounting_path(flags->file, &record.touched) : 0;
	if (r < 0)
		return err_set(err, r, "find %s", flags->file);
	entry->record = record;
	entry->start = flags->start;
	return 0;
}

static int path_of_dead(const char *text, char **ret)
{
	AUTO_FREE char *copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	size_t n = strlen(copy);
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = '\0';
	char *slash = strrchr(copy, '/');
	const char *last = slash ? slash + 1 : copy;
	if (slash)
		*slash = '\0';
	AUTO_FREE char *parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (!parent)
		return -errno;
	char *path = NULL;
	if (asprintf(&path, "%s%s%s", parent, strcmp(parent, "/") == 0 ? "" : "/", last) < 0)
		return -ENOMEM;
	*ret = path;
	return 0;
}

int mounting_dir(const char *text, char **ret, struct err *err)
{
	char *path = realpath(text, NULL);
	int r = path ? 0 : -errno;
	/* A dead mount cannot be looked into, but the directory that holds it can. */
	if (r == -ENOTCONN)
		r = path_of_dead(text, &path);
	if (r < 0)
		return err_set(err, r, "find %s", text);
	*ret = path;
	return 0;
}

int mounting_own_upper(struct ctx *ctx, const char *id, char **ret, int *ret_lock,
		       struct err *err)
{
	struct store *store = NULL;
	char name[MTABLE_ID_MAX + sizeof("upper-")];
	int r = ctx_store(ctx, &store, err);
	(void)snprintf(name, sizeof(name), "upper-%s", id);
	return r < 0 ? r : store_tmp_hold(store, name, ret, ret_lock, err);
}

int mounting_layers(struct store *store, const struct digest *manifest, size_t *ret,
		    struct err *err)
{
	AUTO_FINISH(image_record) struct image_record record = {0};
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(store, manifest, false, &dir, err);
	if (r == 0)
		r = image_record_load(dir, &record, err);
	if (r < 0)
		return r;
	*ret = record.n_layers;
	return 0;
}

bool mounting_is_seen(const struct mtable_entry *entry)
{
	char name[DIGEST_STR_MAX];
	AUTO_FREE char *tree = NULL;
	if (!entry->erofs || entry->upper)
		return mount_is_there(entry->dir, entry->image);
	if (asprintf(&tree, "%s/images/%s/tree.erofs", entry->store,
		     store_entry_name(&entry->manifest, name)) < 0)
		tree = NULL;
	return mount_is_there(entry->dir, tree);
}

bool mounting_is_serving(const struct mtable_entry *entry)
{
	char path[64];
	AUTO_FINISH(buf) struct buf line = buf_make(64 << 10);
	if (entry->server <= 0)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)entry->server);
	if (file_slurp(AT_FDCWD, path, &line, NULL) < 0)
		return false;
	/* Its last word is the id: a number that was given to another process does not fool us. */
	size_t n = strlen(entry->id);
	return line.len > n && strcmp(line.data + line.len - n - 1, entry->id) == 0;
}

int mounting_clear(const char *run_dir, const struct mtable_entry *entry, int entry_fd,
		   struct err *err)
{
	AUTO_CLOSE int again = -1;
	if (mtable_is_held(entry_fd))
		return 0;
	/* The holder has cleaned up by itself when it could. */
	if (mtable_open(run_dir, entry->id, &again, NULL) < 0)
		return 0;
	if (entry->own_upper)
		(void)tree_remove(AT_FDCWD, entry->upper, NULL);
	return mtable_remove(run_dir, entry->id, err);
}
