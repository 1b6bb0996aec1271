/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_apply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/htab.h"
#include "base/list.h"
#include "base/num.h"
#include "exec/defaults.h"
#include "exec/convert.h"

enum { TERMINAL_OPTION_MAX = 64 };

/* ---- the environment ---- */

/* Where a variable stands. */
struct place {
	struct hnode node;
	size_t at;
};

struct name {
	const struct oci_process *process;
	const char *text;
	size_t n;
};

static bool place_is(const struct hnode *node, const void *key)
{
	const struct name *name = key;
	const struct place *place = container_of(node, struct place, node);
	const char *other = name->process->env[place->at];
	return strncmp(other, name->text, name->n) == 0 && other[name->n] == '=';
}

static int env_note(struct htab *tab, struct place *place, const struct oci_process *process)
{
	const char *text = process->env[place->at];
	return htab_insert(tab, &place->node, hash_bytes(text, strcspn(text, "=")));
}

static int env_set(struct htab *tab, struct place *places, struct oci_process *process,
		   const char *text)
{
	struct name name = {.process = process, .text = text, .n = strcspn(text, "=")};
	struct hnode *node = htab_find(tab, hash_bytes(text, name.n), place_is, &name);
	if (node) {
		size_t at = container_of(node, struct place, node)->at;
		char *copy = strdup(text);
		if (!copy)
			return -ENOMEM;
		free(process->env[at]);
		process->env[at] = copy;
		return 0;
	}
	int r = oci_process_add_env(process, text);
	struct place *place = &places[process->n_env - 1];
	place->at = process->n_env - 1;
	return r < 0 ? r : env_note(tab, place, process);
}

int run_apply_env(struct oci_process *process, const struct words *env)
{
	struct htab tab = {0};
	AUTO_FREE struct place *places = calloc(process->n_env + env->count + 1, sizeof(*places));
	int r = places ? 0 : -ENOMEM;
	for (size_t i = 0; i < process->n_env && r == 0; i++) {
		struct name name = {process, process->env[i], strcspn(process->env[i], "=")};
		places[i].at = i;
		if (!htab_find(&tab, hash_bytes(name.text, name.n), place_is, &name))
			r = env_note(&tab, &places[i], process);
	}
	for (size_t i = 0; i < env->count && r == 0; i++)
		r = env_set(&tab, places, process, env->items[i]);
	htab_finish(&tab);
	return r;
}

/* ---- mounts ---- */

struct oci_mount *run_find_mount(const struct oci_config *config, const char *destination)
{
	for (size_t i = 0; i < config->n_mounts; i++)
		if (strcmp(config->mounts[i]->destination, destination) == 0)
			return config->mounts[i];
	return NULL;
}

/* One that is there already gives way: it was a default's, or stood before on the command line. */
static int apply_mount(const struct run_mount *m, struct oci_config *config)
{
	struct oci_mount *mount = run_find_mount(config, m->destination);
	if (mount)
		oci_mount_clear_options(mount);
	else
		mount = oci_config_add_mounts(config);
	int r = mount ? oci_mount_set_destination(mount, m->destination) : -ENOMEM;
	if (r == 0)
		r = oci_mount_set_type(mount, strcmp(m->type, "volume") == 0 ? "bind" : m->type);
	if (r == 0)
		r = oci_mount_set_source(mount, m->source);
	for (size_t i = 0; i < m->options.count && r == 0; i++)
		r = oci_mount_add_options(mount, m->options.items[i]);
	return r;
}

struct sorted {
	struct oci_mount *mount;
	size_t depth, at;
};

static int compare_depths(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;
	if (x->depth != y->depth)
		return x->depth < y->depth ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* The parts of a path that are names. */
static size_t path_depth(const char *path)
{
	size_t n = 0;
	while (*(path += strspn(path, "/"))) {
		n++;
		path += strcspn(path, "/");
	}
	return n;
}

int run_sort_mounts(struct oci_config *config)
{
	size_t n = config->n_mounts;
	AUTO_FREE struct sorted *sorted = calloc(n + 1, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		sorted[i] = (struct sorted){config->mounts[i],
					    path_depth(config->mounts[i]->destination), i};
	qsort(sorted, n, sizeof(*sorted), compare_depths);
	for (size_t i = 0; i < n; i++)
		config->mounts[i] = sorted[i].mount;
	return 0;
}

static int apply_shm_size(uint64_t size, struct oci_config *config)
{
	struct oci_mount *mount = run_find_mount(config, "/dev/shm");
	char text[32];
	if (!mount || !mount->type || strcmp(mount->type, "tmpfs") != 0)
		return 0;
	(void)snprintf(text, sizeof(text), "size=%llu", (unsigned long long)size);
	for (size_t i = mount->n_options; i > 0; i--)
		if (strncmp(mount->options[i - 1], "size=", 5) == 0)
			oci_mount_remove_options(mount, i - 1);
	return oci_mount_add_options(mount, text);
}

int run_mount_host(struct oci_mount *mount, const char *const *options, size_t n)
{
	oci_mount_clear_options(mount);
	int r = oci_mount_set_type(mount, "bind");
	if (r == 0)
		r = oci_mount_set_source(mount, mount->destination);
	for (size_t i = 0; i < n && r == 0; i++)
		r = oci_mount_add_options(mount, options[i]);
	return r;
}

/* The host's own, where its namespace is shared. */
static int apply_shared(const char *place, struct oci_config *config)
{
	static const char *const words[] = {"rbind", "nosuid", "noexec", "nodev", "rprivate"};
	struct oci_mount *mount = run_find_mount(config, place);
	/* The host may have mounted none. */
	if (!mount || access(place, F_OK) < 0)
		return 0;
	return run_mount_host(mount, words, ARRAY_LEN(words));
}

static int apply_mounts(const struct run_options *o, struct oci_config *config)
{
	int r = apply_shm_size(o->shm_size, config);
	if (r == 0 && o->ipc.kind == RUN_NS_HOST)
		r = apply_shared("/dev/shm", config);
	if (r == 0 && o->ipc.kind == RUN_NS_HOST)
		r = apply_shared("/dev/mqueue", config);
	for (size_t i = 0; i < o->n_mounts && r == 0; i++)
		r = apply_mount(&o->mounts[i], config);
	struct oci_root *root = oci_config_need_root(config);
	if (!root)
		return -ENOMEM;
	if (o->flags->read_only)
		oci_root_set_readonly(root, true);
	return r;
}

/* ---- the process ---- */

static int apply_limits(const struct run_options *o, struct oci_process *process)
{
	int r = 0;
	for (size_t i = 0; i < o->n_limits && r == 0; i++) {
		struct oci_rlimit *limit = NULL;
		for (size_t k = 0; k < process->n_rlimits && !limit; k++)
			if (strcmp(process->rlimits[k]->type, o->limits[i].type) == 0)
				limit = process->rlimits[k];
		if (!limit)
			limit = oci_process_add_rlimits(process);
		if (!limit)
			return -ENOMEM;
		r = oci_rlimit_set_type(limit, o->limits[i].type);
		oci_rlimit_set_soft(limit, o->limits[i].soft);
		oci_rlimit_set_hard(limit, o->limits[i].hard);
	}
	return r;
}

static int apply_process(const struct run_options *o, struct oci_config *config)
{
	const struct run_flags *f = o->flags;
	struct oci_process *process = oci_config_need_process(config);
	if (!process)
		return -ENOMEM;
	int r = 0;
	oci_process_set_terminal(process, f->tty);
	if (f->tty && !defaults_find_env(process, "TERM"))
		r = oci_process_add_env(process, "TERM=xterm");
	if (r == 0)
		r = run_apply_env(process, &o->env);
	if (r == 0 && f->workdir)
		r = oci_process_set_cwd(process, f->workdir);
	if (r == 0)
		r = apply_limits(o, process);
	if (o->has_oom_score_adj)
		oci_process_set_oom_score_adj(process, o->oom_score_adj);
	if (r == 0 && o->apparmor && strcmp(o->apparmor, "unconfined") != 0)
		r = oci_process_set_apparmor_profile(process, o->apparmor);
	return r;
}

static int apply_pairs(const struct words *pairs, struct oci_config *config)
{
	int r = 0;
	for (size_t i = 0; i < pairs->count && r == 0; i++) {
		const char *value = strchr(pairs->items[i], '=') + 1;
		AUTO_FREE char *key = strndup(pairs->items[i], (size_t)(value - pairs->items[i]) - 1);
		r = key ? oci_config_put_annotations(config, key, value) : -ENOMEM;
	}
	return r;
}

/* Labels describe; what changes how a container runs has to be asked for as such. */
static int check_labels(const struct words *labels, struct err *err)
{
	for (size_t i = 0; i < labels->count; i++) {
		const char *label = labels->items[i];
		if (convert_is_foreign(label))
			return err_say(err, -EINVAL,
				       "--label %.*s: runtimes act upon that as an annotation: if that is "
				       "meant, use --annotation", (int)strcspn(label, "="), label);
	}
	return 0;
}

int run_apply(const struct run_options *options, struct oci_config *config, struct err *err)
{
	int r = check_labels(&options->labels, err);
	if (r < 0)
		return r;
	r = apply_process(options, config);
	if (r == 0)
		r = apply_mounts(options, config);
	if (r == 0)
		r = apply_pairs(&options->labels, config);
	if (r == 0)
		r = apply_pairs(&options->annotations, config);
	if (r < 0)
		return err_set(err, r, "write the container's configuration");
	r = run_apply_linux(options, config, err);
	return r < 0 ? r : run_apply_privileges(options, config, err);
}
