/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_options.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "tools/run_parse.h"

enum { SECURITY_WORD_MAX = 4096 };

void run_options_finish(struct run_options *o)
{
	if (!o)
		return;
	struct words *const lists[] = {&o->entrypoint, &o->env, &o->labels, &o->annotations,
				       &o->sysctls, &o->cdi, &o->hosts, &o->mask, &o->unmask};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		words_finish(lists[i]);
	for (size_t i = 0; i < o->n_mounts; i++)
		run_mount_finish(&o->mounts[i]);
	for (size_t i = 0; i < o->n_devices; i++) {
		free(o->devices[i].path);
		free(o->devices[i].destination);
	}
	for (size_t i = 0; i < o->n_ports; i++)
		free(o->ports[i].ip);
	struct run_ns *const spaces[] = {&o->network, &o->pid, &o->ipc, &o->uts, &o->cgroup, &o->user};
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++)
		free(spaces[i]->value);
	free(o->mounts);
	free(o->devices);
	free(o->ports);
	free(o->limits);
	free(o->uid_maps);
	free(o->gid_maps);
	free(o->seccomp);
	free(o->apparmor);
	*o = (struct run_options){0};
}

/* Room for what one list of flags asks for; NULL for an empty list is fine. */
static void *items_make(size_t n, size_t size, int *r, struct err *err)
{
	void *items = *r == 0 && n > 0 ? calloc(n, size) : NULL;
	if (*r == 0 && n > 0 && !items)
		*r = err_set(err, -ENOMEM, "take the flags");
	return items;
}

static int make_entrypoint(struct run_options *o, struct err *err)
{
	const char *text = o->flags->entrypoint;
	if (!text)
		return 0;
	o->has_entrypoint = true;
	if (text[0] == '\0')
		return 0;
	if (text[0] != '[')
		return words_add(&o->entrypoint, text) < 0 ?
			       err_set(err, -ENOMEM, "take --entrypoint") : 0;
	AUTO_JSON json_t *json = json_loads(text, 0, NULL);
	size_t i;
	json_t *word;
	json_array_foreach(json, i, word)
		if (!json_is_string(word))
			break;
	if (!json_is_array(json) || i != json_array_size(json))
		return err_say(err, -EINVAL,
			       "--entrypoint does not take '%s': it wants a program or a JSON array of "
			       "strings", text);
	json_array_foreach(json, i, word)
		if (words_add(&o->entrypoint, json_string_value(word)) < 0)
			return err_set(err, -ENOMEM, "take --entrypoint");
	return 0;
}

static int make_image_volume(struct run_options *o, struct err *err)
{
	static const struct {
		const char *name;
		enum run_image_volume kind;
	} kinds[] = {
		{"anonymous", RUN_IMAGE_VOLUME_ANONYMOUS}, {"bind", RUN_IMAGE_VOLUME_ANONYMOUS},
		{"tmpfs", RUN_IMAGE_VOLUME_TMPFS},	   {"ignore", RUN_IMAGE_VOLUME_IGNORE},
	};
	const char *text = o->flags->image_volume;
	for (size_t i = 0; text && i < ARRAY_LEN(kinds); i++) {
		if (strcmp(text, kinds[i].name) == 0) {
			o->image_volume = kinds[i].kind;
			return 0;
		}
	}
	return text ? err_say(err, -EINVAL,
			      "--image-volume does not take '%s': it wants anonymous (or bind), tmpfs or "
			      "ignore", text) : 0;
}

static int make_pull(struct run_options *o, struct err *err)
{
	static const char *const names[] = {[RUN_PULL_MISSING] = "missing", [RUN_PULL_ALWAYS] = "always",
					    [RUN_PULL_NEWER] = "newer", [RUN_PULL_NEVER] = "never"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!o->flags->pull || strcmp(o->flags->pull, names[i]) == 0) {
			o->pull = (enum run_pull)i;
			return 0;
		}
	}
	return err_say(err, -EINVAL,
		       "--pull does not take '%s': it wants always, missing, newer or never",
		       o->flags->pull);
}

static int make_fs(struct run_options *o, struct err *err)
{
	static const char *const names[] = {
		[RUN_FS_AUTO] = "auto", [RUN_FS_EROFS] = "erofs", [RUN_FS_FUSE] = "fuse"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!o->flags->fs || strcmp(o->flags->fs, names[i]) == 0) {
			o->fs = (enum run_fs)i;
			return 0;
		}
	}
	return err_say(err, -EINVAL, "--fs does not take '%s': it wants fuse, erofs or auto",
		       o->flags->fs);
}

static int make_seconds(const char *flag, const char *text, int64_t *ret, struct err *err)
{
	uint64_t ms = 0;
	if (duration_parse(text, &ms) < 0 || ms > INT32_MAX)
		return err_say(err, -EINVAL, "--%s does not take '%s': it wants seconds", flag, text);
	*ret = (int64_t)ms;
	return 0;
}

/* A name as people and files know it: nothing that a path or an option could be taken for. */
static int check_name(const char *name, struct err *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	if (!name || (name[0] != '\0' && strlen(name) <= 255 && !strchr("_.-", name[0]) &&
		      strspn(name, allowed) == strlen(name)))
		return 0;
	return err_say(err, -EINVAL,
		       "--name does not take '%s': it wants letters, digits, '_', '.' and '-', and a "
		       "letter or digit first", name);
}

static int make_life(struct run_options *o, struct err *err)
{
	const struct run_flags *f = o->flags;
	int64_t timeout = 0;
	int r = check_name(f->name, err);
	if (r == 0)
		r = make_pull(o, err);
	if (r == 0)
		r = make_fs(o, err);
	if (r == 0)
		r = make_entrypoint(o, err);
	if (r == 0 && f->stop_signal)
		r = run_parse_signal("--stop-signal", f->stop_signal, &o->stop_signal, err);
	o->stop_timeout_ms = RUN_STOP_TIMEOUT_MS;
	if (r == 0 && f->stop_timeout && strcmp(f->stop_timeout, "-1") == 0)
		o->stop_timeout_ms = -1;
	else if (r == 0 && f->stop_timeout)
		r = make_seconds("stop-timeout", f->stop_timeout, &o->stop_timeout_ms, err);
	if (r == 0 && f->timeout)
		r = make_seconds("timeout", f->timeout, &timeout, err);
	o->timeout_ms = (uint64_t)timeout;
	return r;
}

/* KEY=VALUE of one flag; a label may have no value. */
static int make_pairs(const char *flag, const struct opt_many *many, bool valueless,
		      struct words *ret, struct err *err)
{
	for (size_t i = 0; i < many->count; i++) {
		const char *text = many->items[i];
		size_t n = strcspn(text, "=");
		AUTO_FREE char *pair = NULL;
		if (n == 0 || (text[n] == '\0' && !valueless))
			return err_say(err, -EINVAL, "--%s does not take '%s': it wants KEY=VALUE", flag,
				       text);
		if (asprintf(&pair, "%s%s", text, text[n] == '=' ? "" : "=") < 0)
			pair = NULL;
		if (!pair || words_take(ret, steal_ptr(&pair)) < 0)
			return err_set(err, -ENOMEM, "take --%s", flag);
	}
	return 0;
}

static int make_process(struct run_options *o, char *const *env, struct err *err)
{
	const struct run_flags *f = o->flags;
	int r = 0;
	/* What stands on the command line counts, wherever a file is named. */
	for (size_t i = 0; i < f->env_file.count && r == 0; i++)
		r = run_parse_env_file(f->env_file.items[i], env, &o->env, err);
	for (size_t i = 0; i < f->env.count && r == 0; i++)
		r = run_parse_env(f->env.items[i], env, &o->env, err);
	if (r == 0)
		r = make_pairs("label", &f->label, true, &o->labels, err);
	if (r == 0)
		r = make_pairs("annotation", &f->annotation, false, &o->annotations, err);
	if (r == 0)
		r = make_pairs("sysctl", &f->sysctl, false, &o->sysctls, err);
	if (r == 0 && f->workdir && f->workdir[0] != '/')
		r = err_say(err, -EINVAL, "--workdir does not take '%s': it wants an absolute path",
			    f->workdir);
	return r;
}

static int make_devices(struct run_options *o, struct err *err)
{
	const struct run_flags *f = o->flags;
	int r = 0;
	o->devices = items_make(f->device.count, sizeof(*o->devices), &r, err);
	for (size_t i = 0; i < f->device.count && r == 0; i++) {
		if (run_is_cdi(f->device.items[i]))
			r = words_add(&o->cdi, f->device.items[i]) < 0 ?
				    err_set(err, -ENOMEM, "take --device") : 0;
		else
			r = run_parse_device(f->device.items[i], &o->devices[o->n_devices], err);
		if (r == 0 && !run_is_cdi(f->device.items[i]))
			o->n_devices++;
	}
	return r;
}

static int compare_mounts(const void *a, const void *b)
{
	const struct run_mount *const *x = a, *const *y = b;
	return strcmp((*x)->destination, (*y)->destination);
}

/* Two mounts at one place: one of them would never be seen. */
static int check_places(const struct run_options *o, struct err *err)
{
	AUTO_FREE const struct run_mount **mounts = calloc(o->n_mounts + 1, sizeof(*mounts));
	if (!mounts)
		return err_set(err, -ENOMEM, "take the mounts");
	for (size_t i = 0; i < o->n_mounts; i++)
		mounts[i] = &o->mounts[i];
	qsort(mounts, o->n_mounts, sizeof(struct run_mount *), compare_mounts);
	for (size_t i = 1; i < o->n_mounts; i++)
		if (compare_mounts(&mounts[i - 1], &mounts[i]) == 0)
			return err_say(err, -EINVAL, "two mounts are asked for at %s: leave one out",
				       mounts[i]->destination);
	return 0;
}

static int make_files(struct run_options *o, struct err *err)
{
	typedef int (*parse_fn)(const char *text, struct run_mount *ret, struct err *err);
	const struct {
		const struct opt_many *many;
		parse_fn parse;
	} kinds[] = {
		{&o->flags->volume, run_parse_volume},
		{&o->flags->mount, run_parse_mount},
		{&o->flags->tmpfs, run_parse_tmpfs},
	};
	int r = make_image_volume(o, err);
	int64_t shm = RUN_SHM_SIZE;
	if (r < 0)
		return r;
	size_t n = o->flags->volume.count + o->flags->mount.count + o->flags->tmpfs.count;
	o->mounts = items_make(n, sizeof(*o->mounts), &r, err);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (size_t i = 0; i < kinds[k].many->count && r == 0; i++) {
			r = kinds[k].parse(kinds[k].many->items[i], &o->mounts[o->n_mounts], err);
			o->n_mounts += r == 0;
		}
	if (r == 0)
		r = check_places(o, err);
	if (r == 0 && o->flags->shm_size)
		r = run_parse_size("shm-size", o->flags->shm_size, false, &shm, err);
	o->shm_size = (uint64_t)shm;
	return r == 0 ? make_devices(o, err) : r;
}

static int make_paths(const char *option, const char *text, struct words *ret, struct err *err)
{
	AUTO_FREE char *copy = strdup(text);
	int r = copy ? 0 : -ENOMEM;
	char *rest = copy;
	for (char *path; r == 0 && (path = strsep(&rest, ":")) != NULL;) {
		if (path[0] != '/')
			return err_say(err, -EINVAL,
				       "--security-opt %s does not take '%s': it wants absolute paths, with "
				       "a colon between them", option, text);
		r = words_add(ret, path);
	}
	return r < 0 ? err_set(err, r, "take --security-opt") : 0;
}

/* A word that is kept as it is; the later one counts. */
static int make_word(const char *value, char **ret, struct err *err)
{
	if (value[0] == '\0' || strlen(value) > SECURITY_WORD_MAX)
		return err_say(err, -EINVAL, "--security-opt wants a name behind the '='");
	free(*ret);
	*ret = strdup(value);
	return *ret ? 0 : err_set(err, -ENOMEM, "take --security-opt");
}

static int make_security(struct run_options *o, const char *text, struct err *err)
{
	/* Docker's older way is a colon. */
	size_t n = strcspn(text, "=:");
	const char *value = text[n] ? text + n + 1 : NULL;
#define IS(name) (n == sizeof(name) - 1 && strncmp(text, name, n) == 0)
	if (IS("seccomp") && value)
		return make_word(value, &o->seccomp, err);
	if (IS("apparmor") && value)
		return make_word(value, &o->apparmor, err);
	if (IS("no-new-privileges") &&
	    (!value || strcmp(value, "true") == 0 || strcmp(value, "false") == 0)) {
		o->new_privileges = value && strcmp(value, "false") == 0;
		return 0;
	}
	if (IS("mask") && value)
		return make_paths("mask", value, &o->mask, err);
	if ((IS("unmask") && value && strcmp(value, "ALL") == 0) ||
	    (IS("systempaths") && value && strcmp(value, "unconfined") == 0)) {
		o->unmask_all = true;
		return 0;
	}
	if (IS("unmask") && value)
		return make_paths("unmask", value, &o->unmask, err);
	/* There are no labels of SELinux to take away. */
	if (IS("label") && value && strcmp(value, "disable") == 0)
		return 0;
#undef IS
	return err_say(err, -EINVAL,
		       "--security-opt does not take '%s': it wants seccomp=, apparmor=, "
		       "no-new-privileges[=false], mask=, unmask= or label=disable", text);
}

static int make_maps(const char *flag, const struct opt_many *many, struct run_map **items,
		     size_t *n, struct err *err)
{
	int r = 0;
	*items = items_make(many->count, sizeof(**items), &r, err);
	for (size_t i = 0; i < many->count && r == 0; i++)
		r = run_parse_map(flag, many->items[i], &(*items)[i], err);
	if (r == 0)
		*n = many->count;
	return r;
}

static int make_isolation(struct run_options *o, struct err *err)
{
	const struct run_flags *f = o->flags;
	const struct {
		const char *flag, *text;
		struct run_ns *ns;
	} spaces[] = {
		{"network", f->network, &o->network}, {"pid", f->pid, &o->pid},
		{"ipc", f->ipc, &o->ipc},	      {"uts", f->uts, &o->uts},
		{"cgroupns", f->cgroupns, &o->cgroup}, {"userns", f->userns, &o->user},
	};
	int r = 0;
	for (size_t i = 0; i < ARRAY_LEN(spaces) && r == 0; i++)
		if (spaces[i].text)
			r = run_parse_ns(spaces[i].flag, spaces[i].text, i == 0, spaces[i].ns, err);
	if (r == 0)
		r = make_maps("uidmap", &f->uidmap, &o->uid_maps, &o->n_uid_maps, err);
	if (r == 0)
		r = make_maps("gidmap", &f->gidmap, &o->gid_maps, &o->n_gid_maps, err);
	for (size_t i = 0; i < f->publish.count && r == 0; i++)
		r = run_parse_publish(f->publish.items[i], o, err);
	for (size_t i = 0; i < f->add_host.count && r == 0; i++)
		r = run_parse_host(f->add_host.items[i], &o->hosts, err);
	for (size_t i = 0; i < f->security_opt.count && r == 0; i++)
		r = make_security(o, f->security_opt.items[i], err);
	return r;
}

static int make_memory(struct run_options *o, struct err *err)
{
	const struct run_flags *f = o->flags;
	int r = 0;
	o->has_memory = f->memory != NULL;
	o->has_memory_swap = f->memory_swap != NULL;
	if (f->memory)
		r = run_parse_size("memory", f->memory, false, &o->memory, err);
	if (r == 0 && f->memory_swap)
		r = run_parse_size("memory-swap", f->memory_swap, true, &o->memory_swap, err);
	if (r == 0 && f->memory_swap && !f->memory)
		r = err_say(err, -EINVAL, "--memory-swap is of use with --memory only");
	if (r == 0 && f->memory_swap && o->memory_swap != -1 && o->memory_swap < o->memory)
		r = err_say(err, -EINVAL,
			    "--memory-swap is memory and swap together, and so not less than --memory");
	return r;
}

static int make_resources(struct run_options *o, struct err *err)
{
	const struct run_flags *f = o->flags;
	int64_t shares = 0, adjust = 0;
	int r = make_memory(o, err);
	if (r == 0 && f->cpus)
		r = run_parse_cpus(f->cpus, &o->cpu_quota, err);
	if (r == 0 && f->cpu_shares)
		r = run_parse_i64("cpu-shares", f->cpu_shares, 2, 262144, &shares, err);
	if (r == 0 && f->pids_limit)
		r = run_parse_i64("pids-limit", f->pids_limit, -1, INT32_MAX, &o->pids, err);
	if (r == 0 && f->oom_score_adj)
		r = run_parse_i64("oom-score-adj", f->oom_score_adj, -1000, 1000, &adjust, err);
	if (r == 0 && f->cpuset_cpus)
		r = run_check_cpuset(f->cpuset_cpus, err);
	o->has_cpu = f->cpus != NULL;
	o->has_shares = f->cpu_shares != NULL;
	o->has_pids = f->pids_limit != NULL;
	o->has_oom_score_adj = f->oom_score_adj != NULL;
	o->shares = (uint64_t)shares;
	o->oom_score_adj = (int)adjust;
	if (o->pids == 0) /* as podman: no limit */
		o->pids = -1;
	o->limits = items_make(f->ulimit.count, sizeof(*o->limits), &r, err);
	for (size_t i = 0; i < f->ulimit.count && r == 0; i++) {
		r = run_parse_ulimit(f->ulimit.items[i], &o->limits[i], err);
		o->n_limits += r == 0;
	}
	return r;
}

int run_options_make(const struct run_flags *flags, char *const *env, struct run_options *ret,
		     struct err *err)
{
	AUTO_FINISH(run_options) struct run_options o = {.flags = flags};
	int r = profile_flags_check(&flags->profile, err);
	if (r == 0)
		r = make_life(&o, err);
	if (r == 0)
		r = make_process(&o, env, err);
	if (r == 0)
		r = make_files(&o, err);
	if (r == 0)
		r = make_isolation(&o, err);
	if (r == 0)
		r = make_resources(&o, err);
	if (r < 0)
		return r;
	*ret = o;
	o = (struct run_options){0};
	return 0;
}
