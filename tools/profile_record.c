/* SPDX-License-Identifier: Apache-2.0 */

/* 'sluice profile record': a container runs, and what its start touches is learnt. */

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/profile_names.h"
#include "fs/profile_registry.h"
#include "tools/mounting.h"
#include "tools/profile.h"
#include "tools/text.h"
#include "tools/verb.h"

enum {
	STATUS_RUN_FAILED = 125, /* of 'sluice run', to … */
	STATUS_RUN_LAST = 127,	 /* … this: nothing ran that could teach, and it has said why */
	STATUS_SIGNAL = 128,
	RECORD_WAIT_MS = 15000,	 /* for the mount's server to end, once the container has */
	RECORD_LOOK_MS = 20,
};

struct recording {
	struct ctx *ctx;	/* borrowed */
	char *dir;		/* owned; below the store's tmp/ */
	char *file;		/* owned; where the server writes what was touched */
	int lock_fd;		/* owned; keeps gc from dir */
	struct opened opened;	/* owned */
	struct profile *run;	/* owned; what was touched */
	struct profile *learnt; /* owned; what the store has now */
};

static void recording_finish(struct recording *rec)
{
	if (rec->dir)
		(void)tree_remove(AT_FDCWD, rec->dir, NULL);
	free(rec->dir);
	free(rec->file);
	cleanup_close(&rec->lock_fd);
	opened_finish(&rec->opened);
	profile_destroy(rec->run);
	profile_destroy(rec->learnt);
}
DEFINE_FINISH(recording, recording_finish);

static int record_place(struct recording *rec, struct err *err)
{
	struct store *store = NULL;
	char name[32];
	(void)snprintf(name, sizeof(name), "profile-%d", (int)getpid());
	int r = ctx_store(rec->ctx, &store, err);
	if (r == 0)
		r = store_tmp_hold(store, name, &rec->dir, &rec->lock_fd, err);
	if (r < 0)
		return r;
	if (asprintf(&rec->file, "%s/touched", rec->dir) < 0)
		rec->file = NULL;
	return rec->file ? 0 : err_set(err, -ENOMEM, "record");
}

/* sluice run --rm --fs fuse --profile-file FILE … IMAGE CMD…, whose mount has a server that records. */
static int record_words(const struct recording *rec, const struct profile_options *options,
			char **argv, struct words *ret, struct err *err)
{
	const struct profile_flags *f = &options->flags;
	AUTO_FINISH(words) struct words words = {0};
	int r = mounting_words(rec->ctx, "run", &words, err);
	if (r < 0)
		return r;
	r = words_add(&words, "--rm");
	/* EROFS reads pages of the devices, which have something of their files' neighbours, too. */
	if (r == 0)
		r = words_add_text(&words, "--fs", "fuse");
	if (r == 0)
		r = words_add_text(&words, "--profile-file", rec->file);
	if (r == 0)
		r = words_add_number(&words, "--profile-quiet", f->quiet_ms, "ms");
	if (r == 0)
		r = words_add_number(&words, "--profile-time", f->cap_ms, "ms");
	if (r == 0)
		r = words_add_number(&words, "--profile-bytes", f->cap_bytes, "");
	if (r == 0)
		r = words_add(&words, "--");
	for (; *argv && r == 0; argv++)
		r = words_add(&words, *argv);
	if (r < 0)
		return err_set(err, r, "run the image");
	*ret = words;
	words = (struct words){0};
	return 0;
}

/* Starts the program in this process's group: what the terminal says, it hears, too. */
static int record_spawn(const struct recording *rec, const struct words *words,
			const sigset_t *mask, pid_t *ret, struct err *err)
{
	AUTO_FREE char *program = NULL;
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files;
	int r = mounting_program(&program, err);
	if (r < 0)
		return r;
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawn_file_actions_init(&files);
	(void)posix_spawnattr_setsigmask(&attr, mask);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	/* Then standard output is ours. */
	if (rec->ctx->json)
		(void)posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
	r = -posix_spawn(ret, program, &files, &attr, words->items, environ);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	return r < 0 ? err_set(err, r, "start %s", program) : 0;
}

/* Waits for its end; what asks this process to end is passed on, and the recording still learnt. */
static int record_wait(pid_t child, const sigset_t *signals, int *ret_code, struct err *err)
{
	int status = 0;
	pid_t over;
	while ((over = waitpid(child, &status, WNOHANG)) == 0 || (over < 0 && errno == EINTR)) {
		siginfo_t info;
		int sig = sigwaitinfo(signals, &info);
		/* What the terminal sends, the child has got itself. */
		if (sig > 0 && sig != SIGCHLD && info.si_code != SI_KERNEL)
			(void)kill(child, sig);
	}
	if (over < 0)
		return err_set(err, err_errno(), "wait for the container");
	*ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_SIGNAL + WTERMSIG(status);
	return 0;
}

static int record_run(const struct recording *rec, const struct profile_options *options,
		      char **argv, int *ret_code, struct err *err)
{
	AUTO_FINISH(words) struct words words = {0};
	sigset_t signals, before;
	pid_t child = 0;
	int r = record_words(rec, options, argv, &words, err);
	if (r < 0)
		return r;
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &signals, &before) < 0)
		return err_set(err, err_errno(), "block signals");
	r = record_spawn(rec, &words, &before, &child, err);
	if (r == 0)
		r = record_wait(child, &signals, ret_code, err);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* The server writes it at the end of the start, and at the latest at its own end. */
static int record_read(struct recording *rec, struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	deadline_t until = deadline_in_ms(RECORD_WAIT_MS);
	while (access(rec->file, F_OK) < 0 && !deadline_passed(until))
		clock_sleep_ms(RECORD_LOOK_MS, until);
	int r = file_slurp(AT_FDCWD, rec->file, &text, err);
	if (r == -ENOENT)
		return err_say(err, r, "the mount's server left no record of what was touched");
	if (r == 0)
		r = profile_facts_load(rec->ctx->store, &rec->opened.manifest, &facts, err);
	return r < 0 ? r : profile_decode(&facts, text.data, text.len, &rec->run, err);
}

static int record_learn(struct recording *rec, struct err *err)
{
	int r = profile_learn(rec->ctx->store, &rec->opened.manifest, rec->run, err);
	return r < 0 ? r : profile_load(rec->ctx->store, &rec->opened.manifest, &rec->learnt, err);
}

static json_t *record_part(const struct profile *p, uint64_t files)
{
	return json_pack("{s:I,s:I,s:I}", "ranges", (json_int_t)profile_count(p), "bytes",
			 (json_int_t)profile_bytes(p), "files", (json_int_t)files);
}

static int record_tell(const struct recording *rec, int code, struct err *err)
{
	AUTO_FINISH(profile_names) struct profile_names touched = {0};
	AUTO_FINISH(profile_names) struct profile_names known = {0};
	const struct erofs *tree = image_tree(rec->opened.image);
	char bytes[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];
	struct digest_text image;
	int r = profile_names_make(tree, rec->run, &touched, err);
	if (r == 0)
		r = profile_names_make(tree, rec->learnt, &known, err);
	if (r < 0)
		return r;
	if (rec->ctx->json) {
		AUTO_JSON json_t *json = json_pack(
			"{s:s,s:i,s:I,s:o,s:o}", "image", digest_str(&rec->opened.manifest, image.s),
			"status", code, "total_bytes", (json_int_t)profile_total(&rec->opened),
			"touched", record_part(rec->run, touched.files), "profile",
			record_part(rec->learnt, known.files));
		return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
	}
	(void)fprintf(stderr,
		      "touched %zu ranges, %s of %s, of %llu files; the profile has %zu ranges, %s, of "
		      "%llu files\n",
		      profile_count(rec->run), size_text(profile_bytes(rec->run), bytes),
		      size_text(profile_total(&rec->opened), total),
		      (unsigned long long)touched.files, profile_count(rec->learnt),
		      size_text(profile_bytes(rec->learnt), all), (unsigned long long)known.files);
	return 0;
}

int profile_record(struct ctx *ctx, const struct profile_options *options, char **argv,
		   struct err *err)
{
	AUTO_FINISH(recording) struct recording rec = {.ctx = ctx, .lock_fd = -1};
	int code = 0;
	/* It prepares the image, too, and what a name means must not change in between. */
	int r = opened_start(ctx, argv[0], &rec.opened, err);
	if (r == 0)
		r = record_place(&rec, err);
	if (r == 0)
		r = record_run(&rec, options, argv, &code, err);
	if (r < 0)
		return r;
	if (code >= STATUS_RUN_FAILED && code <= STATUS_RUN_LAST)
		return code;
	r = record_read(&rec, err);
	if (r == 0)
		r = record_learn(&rec, err);
	if (r == 0)
		r = record_tell(&rec, code, err);
	return r < 0 ? err_prefix(err, r, "%s", argv[0]) : code;
}
