/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/containers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/num.h"
#include "exec/attach.h"
#include "exec/cgroup.h"
#include "exec/driver_oci.h"
#include "fs/mount.h"
#include "tools/rootless.h"
#include "tools/run_local.h"
#include "tools/run_network.h"

enum {
	NAME_SALTS_MAX = 64, /* tries to find a name that is free */
	NAME_BASE_MAX = 32,
	REMOVE_CALL_MS = 60000,
	STOPPED_MS = 10000, /* for a monitor to take a message, and to end when it is done */
	UNMOUNT_TRIES = 200, /* for a last user to leave, before it is detached */
	UNMOUNT_STEP_MS = 5,
	UNREADABLE_AGE_SEC = 60, /* of a directory without a state that nobody is making any more */
};

void opened_container_finish(struct opened_container *o)
{
	if (!o)
		return;
	container_close(o->container);
	container_state_finish(&o->state);
	run_record_finish(&o->record);
	*o = (struct opened_container){0};
}

/* A directory of the store's; the caller frees it. */
static int store_below(struct ctx *ctx, const char *name, char **ret, struct err *err)
{
	struct store *store = NULL;
	int r = ctx_store(ctx, &store, err);
	if (r < 0)
		return r;
	if (asprintf(ret, "%s/%s", store_path(store), name) < 0) {
		*ret = NULL;
		return err_set(err, -ENOMEM, "find the containers");
	}
	return 0;
}

/* ---- ids and names ---- */

static int random_hex(char *out, size_t n_bytes, struct err *err)
{
	unsigned char bytes[CONTAINERS_ID_BYTES];
	if (getrandom(bytes, n_bytes, 0) != (ssize_t)n_bytes)
		return err_set(err, -errno, "make an id");
	for (size_t i = 0; i < n_bytes; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* The last part of the image's name, without tag and digest. */
static void name_base(const char *image, char out[static NAME_BASE_MAX])
{
	const char *end = image + strcspn(image, "@");
	const char *start = end;
	while (start > image && start[-1] != '/')
		start--;
	size_t n = 0;
	for (; start < end && *start != ':' && n + 1 < NAME_BASE_MAX; start++)
		if (strchr("abcdefghijklmnopqrstuvwxyz0123456789_.-", *start) && (n > 0 || *start > '.'))
			out[n++] = *start;
	out[n] = '\0';
	if (n == 0)
		(void)snprintf(out, NAME_BASE_MAX, "container");
}

struct find_name {
	const char *name;
	bool found;
};

static int find_name_one(void *data, const struct opened_container *o)
{
	struct find_name *find = data;
	find->found = strcmp(o->record.name, find->name) == 0 ||
		      strcmp(container_id(o->container), find->name) == 0;
	return find->found;
}

static int name_is_free(struct ctx *ctx, const char *name, bool *ret, struct err *err)
{
	struct find_name find = {.name = name};
	int r = containers_each(ctx, find_name_one, &find, err);
	*ret = !find.found;
	return r < 0 ? r : 0;
}

static int name_choose(struct ctx *ctx, struct run_record *record, struct err *err)
{
	bool is_free = false;
	if (record->name) {
		int r = name_is_free(ctx, record->name, &is_free, err);
		if (r == 0 && !is_free)
			r = err_say(err, -EEXIST,
				    "there is a container with the name %s: remove it ('sluice rm %s'), or "
				    "choose another name", record->name, record->name);
		return r;
	}
	char base[NAME_BASE_MAX], salt[5];
	name_base(record->image, base);
	for (int i = 0; i < NAME_SALTS_MAX; i++) {
		AUTO_FREE char *name = NULL;
		int r = random_hex(salt, 2, err);
		if (r < 0)
			return r;
		if (asprintf(&name, "%s-%s", base, salt) < 0) {
			name = NULL;
			return err_set(err, -ENOMEM, "name the container");
		}
		r = name_is_free(ctx, name, &is_free, err);
		if (r < 0)
			return r;
		if (is_free) {
			record->name = steal_ptr(&name);
			return 0;
		}
	}
	return err_say(err, -EEXIST, "no name of the form %s-… is free: choose one with --name", base);
}

int containers_create(struct ctx *ctx, struct run_record *record, struct container **ret,
		      struct err *err)
{
	AUTO_FREE char *dir = NULL;
	char id[2 * CONTAINERS_ID_BYTES + 1];
	int r = store_below(ctx, "containers", &dir, err);
	if (r == 0)
		r = dir_make(dir, 0700, err);
	if (r < 0)
		return r;
	/* Names are chosen by one at a time. */
	AUTO_CLOSE int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_set(err, -errno, "lock %s", dir);
	r = name_choose(ctx, record, err);
	if (r == 0)
		r = random_hex(id, CONTAINERS_ID_BYTES, err);
	if (r < 0)
		return r;
	AUTO_JSON json_t *extra = run_record_json(record);
	if (!extra)
		return err_set(err, -ENOMEM, "make the container");
	return container_create(dir, id, extra, ret, err);
}

int containers_note(const struct container *container, const struct run_record *record,
		    struct err *err)
{
	AUTO_FINISH(container_state) struct container_state state = {0};
	int r = container_state_read(container, &state, err);
	if (r < 0)
		return r;
	json_decref(state.extra);
	state.extra = run_record_json(record);
	return state.extra ? container_state_write(container, &state, err) :
			     err_set(err, -ENOMEM, "note the container's state");
}

/* ---- finding ---- */

/*
 * A container whose state cannot be read was one before a power cut: nothing of it was waited for to
 * reach the disk. One that is made or removed just now has a young directory, or one without a name.
 */
static int take_unreadable(struct opened_container *o, int why)
{
	struct stat st;
	if (fstat(container_dirfd(o->container), &st) < 0 || st.st_nlink == 0 ||
	    st.st_mtime + UNREADABLE_AGE_SEC > time(NULL) || container_is_locked(o->container))
		return why;
	run_record_finish(&o->record);
	container_state_finish(&o->state);
	o->state = (struct container_state){
		.phase = CONTAINER_CREATED,
		.created_ns = (int64_t)st.st_mtime * (int64_t)NS_PER_SEC,
		.exit_code = -1,
	};
	o->record = (struct run_record){
		.name = strndup(container_id(o->container), CONTAINERS_SHORT_ID),
		.image = strdup("?"),
	};
	return o->record.name && o->record.image ? 0 : -ENOMEM;
}

static int open_one(const char *dir, const char *id, struct opened_container *ret, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	int r = container_open(dir, id, &o.container, err);
	if (r < 0)
		return r;
	r = container_state_read(o.container, &o.state, err);
	if (r == 0)
		r = run_record_parse(o.state.extra, &o.record, err);
	if (r < 0 && r != -ENOMEM)
		r = take_unreadable(&o, r);
	if (r < 0)
		return r;
	*ret = o;
	o = (struct opened_container){0};
	return 0;
}

struct each {
	const char *dir;
	int (*each)(void *data, const struct opened_container *opened);
	void *data;
};

static int each_id(void *data, const char *id)
{
	const struct each *e = data;
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	struct err ignored;
	/* Being made, or being removed, just now. */
	if (open_one(e->dir, id, &o, &ignored) < 0)
		return 0;
	return e->each(e->data, &o);
}

int containers_each(struct ctx *ctx,
		    int (*each)(void *data, const struct opened_container *opened), void *data,
		    struct err *err)
{
	AUTO_FREE char *dir = NULL;
	int r = store_below(ctx, "containers", &dir, err);
	struct each e = {.dir = dir, .each = each, .data = data};
	return r < 0 ? r : container_each(dir, each_id, &e, err);
}

struct find {
	const char *word;
	size_t n;
	char id[2 * CONTAINERS_ID_BYTES + 1];
	unsigned int matches;
	bool exact;
};

static int find_one(void *data, const struct opened_container *o)
{
	struct find *find = data;
	const char *id = container_id(o->container);
	find->exact = strcmp(o->record.name, find->word) == 0 || strcmp(id, find->word) == 0;
	if (!find->exact && strncmp(id, find->word, find->n) != 0)
		return 0;
	(void)snprintf(find->id, sizeof(find->id), "%s", id);
	find->matches++;
	return find->exact;
}

int containers_open(struct ctx *ctx, const char *word, struct opened_container *ret,
		    struct err *err)
{
	struct find find = {.word = word, .n = strlen(word)};
	AUTO_FREE char *dir = NULL;
	int r = find.n > 0 ? containers_each(ctx, find_one, &find, err) : 0;
	if (r < 0)
		return r;
	if (find.matches == 0)
		return err_say(err, -ENOENT, "there is no container '%s'; 'sluice ps -a' lists them", word);
	if (find.matches > 1 && !find.exact)
		return err_say(err, -EINVAL, "the ids of several containers begin with '%s'", word);
	r = store_below(ctx, "containers", &dir, err);
	return r < 0 ? r : open_one(dir, find.id, ret, err);
}

/* ---- state ---- */

bool containers_is_live(const struct opened_container *o)
{
	return container_is_locked(o->container);
}

const char *containers_status(const struct opened_container *o)
{
	enum container_phase phase = o->state.phase;
	if (phase == CONTAINER_EXITED || phase == CONTAINER_FAILED || containers_is_live(o))
		return container_phase_name(phase);
	return phase == CONTAINER_CONFIGURED ? container_phase_name(phase) : "dead";
}

/* ---- runtimes ---- */

int containers_driver(struct ctx *ctx, const char *runtime, struct driver_conn **ret,
		      struct driver_error *error)
{
	AUTO_FREE char *root = NULL;
	AUTO_FREE char *cache = NULL;
	struct err err = {0};
	int r = store_below(ctx, "runtime", &root, &err);
	if (r == 0)
		r = store_below(ctx, "cache", &cache, &err);
	if (r == 0)
		r = dir_make(cache, 0700, &err);
	if (r < 0)
		return driver_fail_err(error, r, &err);
	struct driver_options options = {
		.address = runtime,
		.path_env = getenv("PATH"),
		.env = (const char *const *)environ,
		.state_root = root,
		.cache_dir = cache,
		/* An ordinary user's limits are said to be missing before a runtime trips over them. */
		.cgroup_manager = rootless_is_inside() ? "disabled" : NULL,
	};
	return driver_connect(driver_oci(), &options, NULL, ret, error);
}

/* ---- taking away ---- */

static int unmount_root(const struct container *container, struct err *err)
{
	AUTO_FREE char *rootfs = NULL;
	if (asprintf(&rootfs, "%s/" CONTAINER_ROOTFS, container_path(container)) < 0) {
		rootfs = NULL;
		return err_set(err, -ENOMEM, "unmount a container");
	}
	int r = mount_undo(rootfs, false, err);
	for (int i = 0; i < UNMOUNT_TRIES && r == -EBUSY; i++) {
		clock_sleep_ms(UNMOUNT_STEP_MS, 0);
		r = mount_undo(rootfs, false, err);
	}
	if (r == -EBUSY)
		r = mount_undo(rootfs, true, err);
	/* Not mounted, or never made. */
	return r == -EINVAL || r == -ENOENT ? 0 : r;
}

/* What `run` left there when it was killed in between. */
static int unmount_lower(const struct container *container, struct err *err)
{
	AUTO_FREE char *lower = NULL;
	if (asprintf(&lower, "%s/" CONTAINERS_LOWER, container_path(container)) < 0) {
		lower = NULL;
		return err_set(err, -ENOMEM, "unmount a container");
	}
	int r = mount_undo(lower, true, err);
	return r == -EINVAL || r == -ENOENT ? 0 : r;
}

static int unmount(struct ctx *ctx, const struct container *container, struct err *err)
{
	int r = unmount_root(container, err);
	if (r == 0)
		r = unmount_lower(container, err);
	return r < 0 ? r : run_local_unmounted(ctx, container_id(container), err);
}

void containers_unmount_early(struct ctx *ctx, const struct container *container, bool remove)
{
	static const char *const changes[] = {"upper", "work"};
	struct err err = {0};
	int r = unmount(ctx, container, &err);
	for (size_t i = 0; r == 0 && remove && i < ARRAY_LEN(changes); i++) {
		r = tree_remove(container_dirfd(container), changes[i], &err);
		r = r == -ENOENT ? 0 : r;
	}
	if (r < 0)
		log_debug("%s", err_text(&err));
}

int containers_unmount(struct ctx *ctx, const struct container *container, struct err *err)
{
	int r = unmount(ctx, container, err);
	int r_network = run_network_detach(container, r == 0 ? err : NULL);
	return r < 0 ? r : r_network;
}

static int remove_from(struct ctx *ctx, const char *runtime, const char *id,
		       struct driver_error *error)
{
	AUTO(driver_conn) struct driver_conn *conn = NULL;
	struct driver_call call = {.deadline = deadline_in_ms(REMOVE_CALL_MS)};
	int r = containers_driver(ctx, runtime, &conn, error);
	return r == 0 ? driver_delete(conn, &call, id, true, error) : r;
}

static int remove_runtime(struct ctx *ctx, const struct opened_container *o, struct err *err)
{
	static const char *const any[] = {"crun", "runc"};
	const char *id = container_id(o->container);
	struct driver_error error = {0};
	if (o->record.runtime)
		return remove_from(ctx, o->record.runtime, id, &error) < 0 ?
			       err_copy(err, &error.err) : 0;
	/* Which one it was is not known: each that is here forgets it. */
	for (size_t i = 0; i < ARRAY_LEN(any); i++)
		if (remove_from(ctx, any[i], id, &error) < 0 && error.code != DRIVER_NOT_FOUND)
			return err_copy(err, &error.err);
	return 0;
}

/* The last one to try: a plugin that refuses must not keep the container for ever. */
static int bury_mounts(struct ctx *ctx, const struct container *container, struct err *err)
{
	struct err why = {0};
	int r = run_network_detach(container, &why);
	if (r < 0) {
		log_warn("%s; what it left is no longer known here", err_text(&why));
		r = run_network_forget(container, err);
	}
	return r == 0 ? unmount(ctx, container, err) : r;
}

/* What a runtime made and no longer knows of. One that was never written has none. */
static int bury_groups(const struct opened_container *o, struct err *err)
{
	int r = cgroup_remove_bundle(container_path(o->container), container_id(o->container), err);
	if (r == -EINVAL) /* a power cut took what it says */
		log_warn("%s", err_text(err));
	return r == -ENOENT || r == -EINVAL ? 0 : r;
}

static int bury(struct ctx *ctx, struct opened_container *o, struct err *err)
{
	int r = container_lock(o->container, err);
	if (r < 0)
		return r;
	struct container_state *state = &o->state;
	if (state->phase == CONTAINER_EXITED || state->phase == CONTAINER_FAILED)
		return bury_mounts(ctx, o->container, err);
	if (state->phase != CONTAINER_CONFIGURED && container_init_alive(state))
		(void)kill(state->pid, SIGKILL);
	/* A runtime may have been asked already when its monitor ended, and have made it since. */
	r = remove_runtime(ctx, o, err);
	if (r == -ENOENT && state->phase == CONTAINER_CONFIGURED)
		r = 0;
	if (r == 0)
		r = bury_groups(o, err);
	if (r == 0)
		r = bury_mounts(ctx, o->container, err);
	if (r < 0)
		return r;
	state->phase = CONTAINER_EXITED;
	state->exit_code = -1;
	state->pid = 0;
	free(state->error);
	state->error = strdup("its monitor ended before it did");
	return container_state_write(o->container, state, err);
}

static int bury_and_remove(struct ctx *ctx, struct opened_container *o, struct err *err)
{
	int r = bury(ctx, o, err);
	return r < 0 ? r : container_remove(o->container, err);
}

int containers_bury(struct ctx *ctx, struct opened_container *o, struct err *err)
{
	return rootless_call(ctx, o, bury, err);
}

int containers_remove(struct ctx *ctx, struct opened_container *o, struct err *err)
{
	return rootless_call(ctx, o, bury_and_remove, err);
}

/* Until the connection ends: then the monitor has cleaned up. */
static void monitor_await(int fd, const struct opened_container *o)
{
	struct attach_message message;
	deadline_t deadline = deadline_in_ms(STOPPED_MS);
	while (attach_receive(fd, &message, 0) == 0)
		;
	while (container_is_locked(o->container) && !deadline_passed(deadline))
		clock_sleep_ms(UNMOUNT_STEP_MS, deadline);
}

int containers_stop(struct ctx *ctx, struct opened_container *o, uint64_t kill_after_ms,
		    struct err *err)
{
	AUTO_CLOSE int fd = -1;
	if (!containers_is_live(o))
		return containers_bury(ctx, o, err);
	int r = attach_connect(container_dirfd(o->container), &fd, err);
	if (r == 0)
		r = attach_send_stop(fd, (uint32_t)u64_min(kill_after_ms, UINT32_MAX),
				     deadline_in_ms(STOPPED_MS));
	if (r < 0 && !containers_is_live(o))
		return 0;
	if (r < 0)
		return err_set(err, r, "stop %s", o->record.name);
	monitor_await(fd, o);
	return 0;
}
