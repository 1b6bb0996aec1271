/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/num.h"
#include "exec/cgroup_ahead.h"
#include "exec/monitor.h"
#include "fs/overlay.h"
#include "tools/attach.h"
#include "tools/containers.h"
#include "tools/mounting.h"
#include "tools/rootless.h"
#include "tools/run_bundle.h"
#include "tools/run_image.h"
#include "tools/run_maps.h"
#include "tools/run_network.h"
#include "tools/run_spaces.h"
#include "tools/run_timing.h"
#include "tools/run_volumes.h"
#include "tools/text.h"
#include "tools/verb.h"

enum {
	STATUS_OURS = 125,
	STATUS_SIGNAL = 128,
	PRESERVED_MAX = 1024,
};

struct run_state {
	struct run_flags flags;
};

static void run_verb_options(void *state, struct opt *table)
{
	run_flags_options(&((struct run_state *)state)->flags, table);
}

static void run_verb_finish(void *state)
{
	run_flags_finish(&((struct run_state *)state)->flags);
}

/* One `sluice run` under way. */
struct run {
	struct ctx *ctx;		/* borrowed */
	struct run_options options;	/* owned, as the rest */
	struct run_image image;
	struct run_record record;
	struct id_maps maps; /* of a user namespace that is the container's own, and not ours */
	struct cni_result network;
	struct attached_config attached;
	struct container *container;
	struct driver_conn *conn;
	struct buf config;
	int cache_dirfd;
	int monitor_fd;
	pid_t mover;	       /* 0: none: see exec/cgroup_ahead.h */
	struct phases *phases; /* NULL: without --timing */
	size_t told;	       /* of them */
	sigset_t old_signals;
};

static void run_finish(struct run *run)
{
	run_options_finish(&run->options);
	run_image_finish(&run->image);
	run_record_finish(&run->record);
	id_maps_finish(&run->maps);
	cni_result_finish(&run->network);
	container_close(run->container);
	driver_close(run->conn);
	buf_finish(&run->config);
	cleanup_close(&run->cache_dirfd);
	cleanup_close(&run->monitor_fd);
	if (run->mover > 0)
		(void)waitpid(run->mover, NULL, WNOHANG);
	run->ctx->phases = NULL;
	phases_destroy(run->phases);
}
DEFINE_FINISH(run, run_finish);

/* ---- preparing ---- */

static int run_connect(struct run *run, struct err *err)
{
	struct driver_error error = {0};
	int r = containers_driver(run->ctx, run->options.flags->runtime, &run->conn, &error);
	return r < 0 ? err_copy(err, &error.err) : 0;
}

/*
 * Root of a user namespace may not go where the store is, and need not: the runtime sees the root
 * filesystem where the table of mounts is otherwise, of which it needs nothing.
 */
static int run_map_ids(struct run *run, struct err *err)
{
	const char *view = NULL;
	if (rootless_is_inside())
		return 0;
	int r = run_maps_make(&run->options, &run->maps, err);
	if (r < 0 || !run_maps_are(&run->maps))
		return r;
	if (run->options.fs == RUN_FS_EROFS)
		return err_say(err, -EOPNOTSUPP, "--fs=erofs shows no other ids than the image's: leave it "
			       "out, or --uidmap and --gidmap");
	r = ctx_run_dir(run->ctx, &view, err);
	if (r == 0)
		r = dir_make(view, 0700, err);
	if (r < 0)
		return r;
	run->image.maps = &run->maps;
	run->record.view = strdup(view);
	return run->record.view ? 0 : err_set(err, -ENOMEM, "map ids");
}

/* Compiled filters are kept beside what was found out about the runtimes. */
static int run_cache(struct run *run, struct err *err)
{
	struct store *store = NULL;
	AUTO_FREE char *path = NULL;
	int r = ctx_store(run->ctx, &store, err);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/cache/seccomp", store_path(store)) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "find the cache");
	}
	r = dir_make(path, 0700, err);
	if (r < 0)
		return r;
	run->cache_dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return run->cache_dirfd < 0 ? err_set(err, -errno, "open %s", path) : 0;
}

static int run_note(struct run *run, const char *image, struct err *err)
{
	const struct run_flags *f = run->options.flags;
	struct run_record *record = &run->record;
	struct winsize size = {0};
	record->name = f->name ? strdup(f->name) : NULL;
	record->runtime = strdup(driver_info(run->conn)->address);
	record->image = strdup(run->image.name ? run->image.name : image);
	if (!record->image || !record->runtime || (f->name && !record->name))
		return err_set(err, -ENOMEM, "make the container");
	if (f->pidfile && mounting_path(f->pidfile, &record->pidfile) < 0)
		return err_set(err, -ENOMEM, "find %s", f->pidfile);
	record->remove = f->rm;
	record->detach = f->detach;
	record->tty = f->tty;
	record->interactive = f->interactive;
	record->mounted = true;
	record->stop_timeout_ms = run->options.stop_timeout_ms;
	record->timeout_ms = run->options.timeout_ms;
	record->preserve_fds = f->preserve_fds;
	if (f->tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
		record->rows = size.ws_row;
		record->columns = size.ws_col;
	}
	return run_volumes_note(&run->options, record, err);
}

static int run_mount_dir(const char *dir, const char *upper, const char *rootfs, struct err *err)
{
	AUTO_FREE char *lower = realpath(dir, NULL);
	if (!lower)
		return err_set(err, -errno, "--rootfs: find %s", dir);
	return overlay_mount(lower, upper, rootfs, 0, OVERLAY_THROWN, dir, err);
}

static int run_mount(struct run *run, const char *image, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *rootfs = NULL;
	const char *dir = container_path(run->container);
	int r = dir_make_at(container_dirfd(run->container), CONTAINER_ROOTFS, 0755, &fd, err);
	if (r < 0)
		return r;
	if (asprintf(&rootfs, "%s/" CONTAINER_ROOTFS, dir) < 0) {
		rootfs = NULL;
		return err_set(err, -ENOMEM, "mount the image");
	}
	if (run->options.flags->rootfs)
		return run_mount_dir(image, dir, rootfs, err);
	run->image.profile = &run->options.flags->profile;
	const struct run_image_place place = {
		.id = container_id(run->container),
		.upper = dir,
		.rootfs = rootfs,
		.fs = run->options.fs,
	};
	return run_image_mount(run->ctx, &run->image, &place, err);
}

static int run_write_config(const struct run *run, struct err *err)
{
	AUTO_CLOSE int fd = openat(container_dirfd(run->container), CONTAINER_CONFIG,
				   O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : file_write(fd, run->config.data, run->config.len);
	return r < 0 ? err_set(err, r, "write the container's configuration") : 0;
}

/* What a signal, pending since it was blocked, says about going on. */
static int run_check_signals(struct run *run, struct err *err)
{
	int sig = attached_signal_pending();
	if (sig == 0)
		return 0;
	run->ctx->failed = STATUS_SIGNAL + sig;
	return err_say(err, -EINTR, "interrupted before the container ran");
}

static int run_furnish(struct run *run, const char *image, char **words, struct err *err)
{
	struct run_bundle bundle = {
		.options = &run->options,
		.container = run->container,
		.image = run->options.flags->rootfs ? NULL : &run->image.config,
		.runtime = driver_info(run->conn),
		.network = &run->network,
		.maps = run_maps_are(&run->maps) ? &run->maps : NULL,
		.words = words,
		.cache_dirfd = run->cache_dirfd,
	};
	int r = run_mount(run, image, err);
	phases_mark_result(run->phases, "mounted", r);
	if (r == 0)
		r = run_volumes_place(run->ctx, &run->options, run->container, err);
	if (r == 0 || r == -EINTR)
		r = run_check_signals(run, err) < 0 ? err->code : r;
	if (r == 0)
		r = run_network_attach(&run->options, run->container, &run->network, err);
	if (r < 0)
		return r;
	phases_mark(run->phases, "connected");
	r = run_bundle_make(&bundle, &run->record, &run->config, err);
	if (r < 0)
		run->ctx->failed = bundle.exit_status;
	if (r == -EINTR)
		return run_check_signals(run, err) < 0 ? err->code : r;
	if (r == 0)
		r = run_write_config(run, err);
	if (r == 0)
		r = containers_note(run->container, &run->record, err);
	phases_mark_result(run->phases, "bundle", r);
	return r == 0 ? run_check_signals(run, err) : r;
}

/* ---- running ---- */

static int run_words(struct run *run, struct words *ret, struct err *err)
{
	int r = mounting_words(run->ctx, "monitor", ret, err);
	if (r == 0 && words_add(ret, container_id(run->container)) < 0)
		r = err_set(err, -ENOMEM, "start the monitor");
	return r;
}

static int run_launch(struct run *run, struct err *err)
{
	AUTO_FREE char *program = NULL;
	AUTO_FINISH(words) struct words words = {0};
	struct driver_error error = {0};
	struct monitor_launched launched = {0};
	int fds[PRESERVED_MAX];
	size_t n = (size_t)u64_min(run->record.preserve_fds, PRESERVED_MAX);
	for (size_t i = 0; i < n; i++) {
		fds[i] = STDERR_FILENO + 1 + (int)i;
		if (fcntl(fds[i], F_GETFD) < 0)
			return err_say(err, -EBADF, "--preserve-fds %zu: descriptor %d is not open", n,
				       fds[i]);
	}
	int r = mounting_program(&program, err);
	if (r == 0)
		r = run_words(run, &words, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int log_fd = openat(container_dirfd(run->container), "monitor.log",
				       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct monitor_launch launch = {
		.program = program,
		.argv = words.items,
		.again = verb_again,
		.envp = environ,
		.log_fd = log_fd,
		.fds = fds,
		.n_fds = n,
	};
	AUTO(cancel) struct cancel *cancel = NULL;
	r = attached_cancel(&cancel, err);
	if (r < 0)
		return r;
	struct driver_call call = {.cancel = cancel};
	r = monitor_launch(&launch, &call, &run->monitor_fd, &launched, &error);
	if (r == 0) {
		phases_mark_at(run->phases, "monitor", launched.ready_ns);
		phases_mark_at(run->phases, "started", launched.started_ns);
		return 0;
	}
	if (r == -ECANCELED && run_check_signals(run, err) < 0)
		return err->code;
	if (error.program)
		run->ctx->failed = error.code == DRIVER_NOT_FOUND ? 127 : 126;
	return err_copy(err, &error.err);
}

static int run_cidfile(const struct run *run, struct err *err)
{
	const char *path = run->options.flags->cidfile;
	const char *id = container_id(run->container);
	if (!path)
		return 0;
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 && errno == EEXIST)
		return err_say(err, -EEXIST,
			       "--cidfile: %s exists: remove it, or choose another name", path);
	int r = fd < 0 ? -errno : file_write(fd, id, strlen(id));
	return r < 0 ? err_set(err, r, "--cidfile: write %s", path) : 0;
}

static int run_attend(struct run *run, struct err *err)
{
	int code = 0;
	if (run->record.detach) {
		(void)puts(container_id(run->container));
		return 0;
	}
	run->attached.fd = run->monitor_fd;
	run->attached.interactive = run->record.interactive;
	run->attached.tty = run->record.tty;
	run->attached.phases = run->phases;
	int r = attached_run(&run->attached, &code, err);
	phases_mark_result(run->phases, "cleaned", r);
	if (r == -ECANCELED)
		return 0;
	return r < 0 ? r : code;
}

static int run_print(const struct run *run, struct err *err)
{
	AUTO_JSON json_t *json = NULL;
	int r = json_parse_object(run->config.data, run->config.len, "the configuration", &json, err);
	return r == 0 ? text_print_json(json, err) : r;
}

/* Takes back a container that nobody will ever run. */
static void run_abandon(struct run *run)
{
	struct err err = {0};
	int r = containers_unmount(run->ctx, run->container, &err);
	if (r == 0)
		r = container_lock(run->container, &err);
	/* Its monitor has done that already, or still does. */
	if (r == 0)
		r = container_remove(run->container, &err);
	if (r < 0 && r != -EBUSY && r != -ENOENT)
		log_warn("clean up: %s", err_text(&err));
}

static int run_container(struct run *run, const char *image, char **words, struct err *err)
{
	int r = attached_block_signals(&run->old_signals, err);
	if (r == 0)
		r = containers_create(run->ctx, &run->record, &run->container, err);
	phases_mark_result(run->phases, "created", r);
	if (r < 0)
		return r;
	bool dry = run->options.flags->dry_run;
	r = run_furnish(run, image, words, err);
	if (r == 0 && dry)
		r = run_print(run, err);
	if (r == 0 && !dry)
		r = run_cidfile(run, err);
	if (r == 0 && !dry)
		r = run_launch(run, err);
	if (r < 0 || dry)
		run_abandon(run);
	return r;
}

/* Up to the moment when the command runs, or has been printed. */
static int run_start(struct run *run, const struct run_flags *flags, char **argv, struct err *err)
{
	struct ctx *ctx = run->ctx;
	pid_t shared = 0;
	const char *keys = flags->detach_keys ? flags->detach_keys : "ctrl-p,ctrl-q";
	/* Where nobody watches, what is written is the container's. */
	ctx->quiet = isatty(STDERR_FILENO) != 1;
	int r = flags->timing ? run_timing_begin(ctx, &run->phases, err) : 0;
	if (r == 0)
		r = run_options_make(flags, environ, &run->options, err);
	if (r == 0)
		r = attached_parse_keys(keys, &run->attached, err);
	/* Ordinary users' containers have no control groups. */
	if (r == 0 && geteuid() == 0 && !flags->dry_run)
		(void)cgroup_begin_move(&run->mover);
	if (r == 0)
		r = run_spaces_resolve(ctx, &run->options, &shared, err);
	if (r == 0)
		r = rootless_enter(shared, err);
	if (r == 0)
		r = run_connect(run, err);
	if (r == 0)
		r = run_cache(run, err);
	phases_mark_result(run->phases, "runtime", r);
	if (r == 0 && !flags->rootfs)
		r = run_image_open(ctx, argv[0], run->options.pull, run->options.fs,
				   &run->image, err);
	if (r == 0)
		r = run_map_ids(run, err);
	if (r == 0)
		r = run_note(run, argv[0], err);
	return r == 0 ? run_container(run, argv[0], argv + 1, err) : r;
}

static int run_verb_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	struct run_state *s = state;
	AUTO_FINISH(run) struct run run = {
		.ctx = ctx,
		.image = run_image_none(),
		.config = buf_make(RUN_BUNDLE_MAX),
		.cache_dirfd = -1,
		.monitor_fd = -1,
	};
	(void)argc;
	int r = run_start(&run, &s->flags, argv, err);
	bool runs = r == 0 && !s->flags.dry_run;
	run_timing_tell(ctx, run.phases, &run.told, !runs || s->flags.detach);
	if (!runs)
		return r;
	r = run_attend(&run, err);
	run_timing_tell(ctx, run.phases, &run.told, !s->flags.detach);
	return r;
}

const struct verb verb_run = {
	.name = "run",
	.args = "IMAGE [COMMAND…]",
	.summary = "run a command in a container made of an image",
	.teach =
		"Mounts IMAGE without downloading it, and has crun or runc run its command, or COMMAND, in a\n"
		"container on top of it. Options are podman's and end at IMAGE; the exit status is the\n"
		"container's, or 125 when it could not run, 126 and 127 when its command could not.\n\n"
		"  sluice run --rm python:3.12 python3 -c 'print(\"hi\")'\n"
		"  sluice run -it --rm -v ./src:/src:ro alpine sh\n"
		"  sluice run -d --name web -m 512m registry.example/web:1",
	.options = run_verb_options,
	.finish = run_verb_finish,
	.state_size = sizeof(struct run_state),
	.failed = STATUS_OURS,
	.strict = true,
	.min_words = 1,
	.max_words = -1,
	.run = run_verb_run,
};
