/* SPDX-License-Identifier: Apache-2.0 */

/* A server of one mount: started by its holder, and anew whenever one dies. */

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetcher/handover.h"
#include "fetcher/store_unsynced.h"
#include "fs/devices.h"
#include "fs/holder.h"
#include "fs/start.h"
#include "tools/mounting.h"
#include "tools/verb.h"

enum {
	HOLDER_SHORT_MS = 1000,	  /* a holder that lives no longer than this … */
	HOLDERS_SHORT_MAX = 5,	  /* … so often in a row is not started again */
	SETTLE_AFTER_MS = 2000,	  /* not while a start has better uses for the disk */
	SERVE_WARM_CONNECTIONS = 8, /* opened while the image is prepared */
};

/* A thread that has on the disk what the start did not wait for. */
struct settling {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ends;
	struct store *store; /* borrowed */
	bool started, ending;
};

struct serve {
	struct ctx *ctx;	   /* borrowed */
	pid_t holder;		   /* started by this server; 0: none */
	int holder_fd;		   /* owned; its pidfd */
	uint64_t holder_since;	   /* clock_now_ns() */
	unsigned int n_short;	   /* holders in a row that ended at once */
	struct mtable_entry entry; /* owned */
	int entry_fd;		   /* owned */
	int upper_fd;		   /* owned; keeps gc from a temporary upper, holder or not */
	struct mount_stats *stats; /* mapped */
	struct ref ref;		   /* owned */
	struct origin *origin;	   /* owned */
	struct image *image;	   /* owned */
	struct start *start;	   /* owned */
	int ready_fd;		   /* owned; a signalfd of HOLDER_READY_SIGNAL */
	struct erofs *devices;	   /* owned; what is served instead with --fs=erofs */
	struct settling settling;
};

struct serve_state {
	const char *ahead; /* the image, while the entry says nothing yet; NULL: it does */
};

static void serve_options(void *state, struct opt *table)
{
	struct serve_state *s = state;
	table[0] = (struct opt){"ahead", 0, OPT_TEXT, "IMAGE", "wait until the image is prepared",
				&s->ahead};
}

static void serve_finish(struct serve *s)
{
	start_end(s->start);
	cleanup_close(&s->ready_fd);
	image_close(s->image);
	erofs_close(s->devices);
	origin_destroy(s->origin);
	ref_finish(&s->ref);
	mount_stats_unmap(s->stats);
	mtable_entry_finish(&s->entry);
	cleanup_close(&s->entry_fd);
	cleanup_close(&s->upper_fd);
	cleanup_close(&s->holder_fd);
}
DEFINE_FINISH(serve, serve_finish);

/* Bytes are on their way before the mount answers. */
static int serve_begin(struct serve *s, struct err *err)
{
	sigset_t ready;
	(void)sigemptyset(&ready);
	(void)sigaddset(&ready, HOLDER_READY_SIGNAL);
	s->ready_fd = signalfd(-1, &ready, SFD_CLOEXEC);
	if (s->ready_fd < 0)
		return err_set(err, -errno, "serve");
	struct start_config config = {
		.store = s->ctx->store,
		.image = s->image,
		.pool = s->ctx->pool,
		.stats = s->stats,
		.record = &s->entry.record,
		.start = &s->entry.start,
		.online = s->origin != NULL,
		.ready_fd = s->ready_fd,
		.read_timeout_ms = s->ctx->read_timeout_ms,
	};
	return start_begin(&config, &s->start, err);
}

/* Waits until the image is prepared, and takes over what was learned meanwhile. */
static int serve_await(struct serve *s, struct err *err)
{
	struct err why = {0};
	AUTO_CLOSE int fd = -1;
	int r = holder_serve_await(&fd, err);
	if (r < 0)
		return r;
	/* It is a help: what is missing is asked for again. */
	if (fd >= 0 && s->origin && s->ctx->tokens &&
	    handover_read(fd, s->ctx->tokens, s->origin, &why) < 0)
		log_warn("%s", err_text(&why));
	return 0;
}

/* What is mounted, which an entry that was begun ahead says only at the end. */
static int serve_entry(struct serve *s, const struct serve_state *state, struct err *err)
{
	AUTO_FREE char *name = NULL;
	int r = state->ahead ? serve_await(s, err) : 0;
	if (r == 0)
		r = mtable_load(s->entry_fd, &s->entry, err);
	if (r < 0 || !state->ahead)
		return r;
	if (ref_text(&s->ref, &name) < 0)
		return err_set(err, -ENOMEM, "read what is mounted");
	if (strcmp(name, s->entry.image) != 0)
		return err_say(err, -EINVAL, "%s was begun ahead, and %s is mounted", name,
			       s->entry.image);
	return 0;
}

/* What it takes to fetch: from here on connections are open. */
static int serve_connect(struct serve *s, const struct serve_state *state, struct err *err)
{
	struct ctx *ctx = s->ctx;
	int r = mount_stats_map(s->entry_fd, &s->stats, err);
	if (r < 0)
		return r;
	ctx->net = &s->stats->net;
	r = ref_parse(state->ahead ? state->ahead : s->entry.image, &s->ref, err);
	if (r < 0)
		return r;
	return ctx_open(ctx, &s->ref, state->ahead ? SERVE_WARM_CONNECTIONS : 0, &s->origin, err);
}

static int serve_open(struct serve *s, const struct serve_state *state, const char *id,
		      struct err *err)
{
	struct ctx *ctx = s->ctx;
	const char *run_dir = NULL;
	int r = ctx_run_dir(ctx, &run_dir, err);
	if (r == 0)
		r = mtable_open(run_dir, id, &s->entry_fd, err);
	if (r == 0 && !state->ahead)
		r = serve_entry(s, state, err);
	if (r == 0)
		r = serve_connect(s, state, err);
	if (r == 0 && state->ahead)
		r = serve_entry(s, state, err);
	if (r == 0 && s->entry.own_upper) {
		AUTO_FREE char *path = NULL;
		r = mounting_own_upper(ctx, id, &path, &s->upper_fd, err);
	}
	if (r < 0)
		return r;
	struct image_open_config config = {
		.store = ctx->store,
		.origin = s->origin,
		.pool = ctx->pool,
		.counters = &s->stats->fetch,
		.transfer_ms = ctx->read_timeout_ms,
	};
	r = image_open(&config, &s->entry.manifest, &s->image, err);
	return r < 0 ? r : serve_begin(s, err);
}

/*
 * The holder died: a new one is started, which takes the connection from this
 * process. It inherits nothing but the log.
 */
static int serve_start_holder(struct serve *s, struct err *err)
{
	AUTO_FREE char *program = NULL;
	AUTO_FINISH(words) struct words words = {0};
	char self[24];
	pid_t holder = -1;
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files;
	(void)snprintf(self, sizeof(self), "%d", (int)getpid());
	int r = mounting_program(&program, err);
	if (r == 0)
		r = mounting_words(s->ctx, "hold", &words, err);
	if (r < 0)
		return r;
	if (words_add(&words, "--adopt") < 0 || words_add(&words, self) < 0 ||
	    words_add(&words, s->entry.id) < 0)
		return err_set(err, -ENOMEM, "start a holder");
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawn_file_actions_init(&files);
	sigset_t none;
	(void)sigemptyset(&none);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	(void)posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	r = -posix_spawn(&holder, program, &files, &attr, words.items, environ);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	if (r < 0)
		return err_set(err, r, "start %s", program);
	/* Where Yama restricts ptrace, a parent has to allow it to its child. */
	(void)prctl(PR_SET_PTRACER, (unsigned long)holder, 0, 0, 0);
	s->holder = holder;
	s->holder_since = clock_now_ns();
	s->holder_fd = pidfd_open(holder, 0);
	return s->holder_fd < 0 ? err_set(err, -errno, "watch the new holder") : 0;
}

/* Buries the holder that this server started, if it is that one that died. */
static void serve_bury_holder(struct serve *s)
{
	if (s->holder <= 0)
		return;
	(void)waitpid(s->holder, NULL, 0);
	uint64_t lived_ms = (clock_now_ns() - s->holder_since) / NS_PER_MS;
	s->n_short = lived_ms < HOLDER_SHORT_MS ? s->n_short + 1 : 0;
	s->holder = 0;
	cleanup_close(&s->holder_fd);
}

static int serve_lost(void *data)
{
	struct serve *s = data;
	struct err err = {0};
	serve_bury_holder(s);
	int r = 0;
	if (s->n_short >= HOLDERS_SHORT_MAX)
		r = err_say(&err, -ECONNABORTED, "%u ended as soon as they were started",
			    s->n_short);
	else
		r = serve_start_holder(s, &err);
	if (r < 0)
		log_error("%s: its holder died, and there is no new one: %s", s->entry.dir,
			  err_text(&err));
	else
		log_warn("%s: its holder died; a new one takes over", s->entry.dir);
	return s->holder_fd;
}

static void *settling_main(void *data)
{
	struct settling *s = data;
	struct err err = {0};
	struct timespec until = deadline_timespec(deadline_in_ms(SETTLE_AFTER_MS));
	(void)pthread_setname_np(pthread_self(), "sluice-settle");
	(void)pthread_mutex_lock(&s->lock);
	while (!s->ending && pthread_cond_clockwait(&s->ends, &s->lock, CLOCK_MONOTONIC,
						    &until) != ETIMEDOUT)
		;
	(void)pthread_mutex_unlock(&s->lock);
	if (store_settle(s->store, &err) < 0)
		log_warn("%s", err_text(&err));
	return NULL;
}

/* Without a thread it is done at the end. */
static void settling_start(struct settling *s, struct store *store)
{
	sigset_t all, old;
	s->store = store;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->ends, NULL);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	s->started = pthread_create(&s->thread, NULL, settling_main, s) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void settling_end(struct settling *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->ending = true;
	(void)pthread_cond_signal(&s->ends);
	(void)pthread_mutex_unlock(&s->lock);
	if (s->started)
		(void)pthread_join(s->thread, NULL);
	else
		(void)settling_main(s);
	(void)pthread_cond_destroy(&s->ends);
	(void)pthread_mutex_destroy(&s->lock);
}

static int serve_serve(struct serve *s, struct ctx *ctx, struct err *err)
{
	struct holder_orphan orphan = {.lost = serve_lost, .data = s};
	size_t n = 0;
	struct source **sources = image_sources(s->image, &n);
	if (s->entry.erofs) {
		AUTO_CLOSE int fd = -1;
		int r = devices_image(sources, n, &fd, err);
		if (r == 0)
			r = erofs_open(fd, &s->devices, err);
		if (r < 0) {
			holder_serve_failed(err);
			return r;
		}
	}
	struct server_config config = {
		.image = s->devices ? s->devices : image_tree(s->image),
		.devices = sources,
		.n_devices = (uint32_t)n,
		.files_are_devices = s->devices != NULL,
		.read_timeout_ms = ctx->read_timeout_ms,
		.maps = s->entry.maps.n_uids > 0 ? &s->entry.maps : NULL,
		.counters = &s->stats->mount,
		.recorder = start_recorder(s->start),
	};
	return holder_serve(&config, &orphan, err);
}

static int serve_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	AUTO_FINISH(serve) struct serve s = {.ctx = ctx, .entry_fd = -1, .upper_fd = -1, .holder_fd = -1,
						.ready_fd = -1};
	(void)argc;
	int r = holder_serve_prepare(err);
	if (r == 0)
		r = serve_open(&s, state, argv[0], err);
	if (r < 0) {
		holder_serve_failed(err);
		if (ctx->http)
			http_engine_stop(ctx->http);
		return r;
	}
	settling_start(&s.settling, ctx->store);
	r = serve_serve(&s, ctx, err);
	settling_end(&s.settling);
	/* Transfers that still wait for the registry must not hold up the end. */
	if (ctx->http)
		http_engine_stop(ctx->http);
	return r;
}

const struct verb verb_serve = {
	.name = "serve",
	.args = "ID",
	.summary = "serve a mount (started by its holder)",
	.teach = "Serves one mount over /dev/fuse. Its holder starts it, again whenever it dies.",
	.options = serve_options,
	.state_size = sizeof(struct serve_state),
	.hidden = true,
	.min_words = 1,
	.max_words = 1,
	.run = serve_run,
};
