/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/spawn.h"
#include "exec/seccomp_record.h"
#include "tools/mounting.h"
#include "tools/seccomp.h"

enum {
	STATUS_RUN_FAILED = 125, /* of sluice run: neither it nor the command did anything */
	STATUS_RUN_LAST = 127,
	STATUS_SIGNAL = 128,
};

/* A recording under way, in a directory of its own. */
struct recording {
	char *dir; /* owned; removed in the end */
	char *socket, *profile;
	struct seccomp_recorder *recorder;
	int stop_fd;
	int result; /* of the thread that serves */
	struct err err;
};

static void recording_finish(struct recording *rec)
{
	seccomp_recorder_destroy(rec->recorder);
	if (rec->dir)
		(void)tree_remove(AT_FDCWD, rec->dir, NULL);
	free(rec->dir);
	free(rec->socket);
	free(rec->profile);
	cleanup_close(&rec->stop_fd);
}
DEFINE_FINISH(recording, recording_finish);

static int make_paths(struct ctx *ctx, struct recording *rec, struct err *err)
{
	const char *run_dir = NULL;
	AUTO_FREE char *dir = NULL;
	int r = ctx_run_dir(ctx, &run_dir, err);
	if (r == 0)
		r = dir_make(run_dir, 0700, err);
	if (r < 0)
		return r;
	if (asprintf(&dir, "%s/record-XXXXXX", run_dir) < 0) {
		dir = NULL;
		return err_set(err, -ENOMEM, "record");
	}
	if (!mkdtemp(dir))
		return err_set(err, -errno, "make a directory below %s", run_dir);
	rec->dir = steal_ptr(&dir);
	if (asprintf(&rec->socket, "%s/socket", rec->dir) < 0)
		rec->socket = NULL;
	if (asprintf(&rec->profile, "%s/profile.json", rec->dir) < 0)
		rec->profile = NULL;
	return rec->socket && rec->profile ? 0 : err_set(err, -ENOMEM, "record");
}

static int start(struct ctx *ctx, struct recording *rec, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(SECCOMP_RECORD_BYTES_MAX);
	int r = make_paths(ctx, rec, err);
	if (r == 0)
		r = seccomp_recorder_create(rec->socket, &rec->recorder, err);
	if (r == 0)
		r = seccomp_recorder_profile(rec->recorder, &text, err);
	if (r == 0)
		r = file_commit(AT_FDCWD, rec->profile, text.data, text.len, COMMIT_KEEP, err);
	if (r < 0)
		return r;
	rec->stop_fd = eventfd(0, EFD_CLOEXEC);
	return rec->stop_fd < 0 ? err_set(err, -errno, "record") : 0;
}

static void *serve(void *data)
{
	struct recording *rec = data;
	rec->result = seccomp_recorder_serve(rec->recorder, rec->stop_fd, &rec->err);
	return NULL;
}

/* In the child: a recording that is interrupted ends the container, too. */
static int end_with_parent(void *data)
{
	(void)data;
	return prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 ? -errno : 0;
}

/* sluice run --rm --security-opt seccomp=PROFILE IMAGE CMD…; its output goes to ours for errors. */
static int run_image(struct ctx *ctx, const struct seccomp_options *options,
		     const struct recording *rec, char **argv, int *ret_status, struct err *err)
{
	AUTO_FINISH(words) struct words words = {0};
	AUTO_FINISH(buf) struct buf none = buf_make(1);
	AUTO_FREE char *program = NULL;
	AUTO_FREE char *profile = NULL;
	AUTO_CLOSE int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (asprintf(&profile, "seccomp=%s", rec->profile) < 0)
		profile = NULL;
	if (null < 0 || !profile)
		return err_set(err, null < 0 ? -errno : -ENOMEM, "run %s", argv[0]);
	int r = mounting_program(&program, err);
	if (r == 0)
		r = mounting_words(ctx, "run", &words, err);
	if (r < 0)
		return r;
	r = words_add(&words, "--rm");
	if (r == 0)
		r = words_add_text(&words, "--security-opt", profile);
	if (r == 0)
		r = words_add_text(&words, "--runtime", options->runtime);
	for (size_t i = 0; i < options->caps.count && r == 0; i++)
		r = words_add_text(&words, "--cap-add", options->caps.items[i]);
	for (; *argv && r == 0; argv++)
		r = words_add(&words, *argv);
	if (r < 0)
		return err_set(err, r, "run the image");
	const int fds[] = {null, STDERR_FILENO, STDERR_FILENO};
	struct spawn spawn = {
		.path = program,
		.argv = (const char *const *)words.items,
		.env = (const char *const *)environ,
		.fds = fds,
		.n_fds = 3,
		.until_exit = true,
		.prepare = end_with_parent,
	};
	return spawn_run(&spawn, &none, ret_status, err);
}

/* The image runs while a thread serves what its filter asks. */
static int record(struct ctx *ctx, const struct seccomp_options *options, struct recording *rec,
		  char **argv, int *ret_status, struct err *err)
{
	pthread_t thread;
	uint64_t one = 1;
	int r = pthread_create(&thread, NULL, serve, rec);
	if (r != 0)
		return err_set(err, -r, "record");
	r = run_image(ctx, options, rec, argv, ret_status, err);
	if (file_write(rec->stop_fd, &one, sizeof(one)) < 0)
		r = r < 0 ? r : err_say(err, -EIO, "the recording cannot be ended");
	(void)pthread_join(thread, NULL);
	if (r == 0 && rec->result < 0)
		r = err_copy(err, &rec->err);
	return r;
}

static int put_result(const struct seccomp_options *options, const struct recording *rec,
		      struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(SECCOMP_RECORD_BYTES_MAX);
	int r = seccomp_recorder_result(rec->recorder, &text, err);
	if (r < 0)
		return r;
	if (options->output)
		return file_commit(AT_FDCWD, options->output, text.data, text.len, COMMIT_REPLACE,
				   err);
	return fputs(buf_str(&text), stdout) < 0 ? err_set(err, -EIO, "print") : 0;
}

int seccomp_record(struct ctx *ctx, const struct seccomp_options *options, char **argv,
		   struct err *err)
{
	AUTO_FINISH(recording) struct recording rec = {.stop_fd = -1};
	int status = 0;
	int r = start(ctx, &rec, err);
	if (r == 0)
		r = record(ctx, options, &rec, argv, &status, err);
	if (r < 0)
		return r;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_SIGNAL + WTERMSIG(status);
	/* It has said why; there is nothing to record. */
	if (code >= STATUS_RUN_FAILED && code <= STATUS_RUN_LAST)
		return code;
	r = put_result(options, &rec, err);
	return r < 0 ? r : code;
}
