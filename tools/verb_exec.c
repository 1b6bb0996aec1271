/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "exec/cap.h"
#include "exec/command.h"
#include "exec/convert.h"
#include "exec/defaults.h"
#include "exec/spec/oci.h"
#include "exec/user.h"
#include "tools/containers.h"
#include "tools/exec_tty.h"
#include "tools/rootless.h"
#include "tools/run_apply.h"
#include "tools/run_bundle.h"
#include "tools/run_maps.h"
#include "tools/run_parse.h"
#include "tools/run_rootless.h"
#include "tools/verb.h"

enum { STATUS_OURS = 125 };

struct exec_state {
	bool detach, interactive, tty, privileged;
	const char *user, *workdir;
	struct opt_many env, env_file;
};

static void exec_options(void *state, struct opt *table)
{
	struct exec_state *s = state;
	const struct opt rows[] = {
		{"detach", 'd', OPT_FLAG, NULL, "do not wait for the command", &s->detach},
		{"interactive", 'i', OPT_FLAG, NULL, "give it this standard input", &s->interactive},
		{"tty", 't', OPT_FLAG, NULL, "give it a terminal", &s->tty},
		{"env", 'e', OPT_MANY, "NAME[=VALUE]", "set a variable, or pass on the one here", &s->env},
		{"env-file", 0, OPT_MANY, "FILE", "read variables, one a line", &s->env_file},
		{"user", 'u', OPT_TEXT, "USER[:GROUP]", "another user than the container's", &s->user},
		{"workdir", 'w', OPT_TEXT, "DIR", "another working directory", &s->workdir},
		{"privileged", 0, OPT_FLAG, NULL, "all capabilities", &s->privileged},
	};
	memcpy(table, rows, sizeof(rows));
}

static void exec_finish(void *state)
{
	struct exec_state *s = state;
	opt_many_finish(&s->env);
	opt_many_finish(&s->env_file);
}

/* One `sluice exec` under way. */
struct exec {
	const struct exec_state *state;
	struct opened_container o;  /* owned, as the rest */
	struct oci_config *config;  /* the container's; its process becomes the command's */
	struct user user;
	struct id_maps maps;
	int root;		    /* the container's root as its processes see it */
	int exit_status;
};

static void exec_clear(struct exec *e)
{
	opened_container_finish(&e->o);
	oci_config_free(e->config);
	user_finish(&e->user);
	id_maps_finish(&e->maps);
	cleanup_close(&e->root);
}
DEFINE_FINISH(exec, exec_clear);

static int exec_open(struct exec *e, struct ctx *ctx, const char *word, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(RUN_BUNDLE_MAX);
	char path[64];
	int r = containers_open(ctx, word, &e->o, err);
	if (r < 0)
		return r;
	if (!containers_is_live(&e->o) || e->o.state.phase != CONTAINER_RUNNING)
		return err_say(err, -ESRCH, "%s does not run: it is %s", word,
			       containers_status(&e->o));
	r = rootless_join(ctx, &e->o, err);
	if (r == 0)
		r = file_slurp(container_dirfd(e->o.container), CONTAINER_CONFIG, &text, err);
	if (r == 0)
		r = oci_config_parse(text.data, text.len, &e->config, err);
	if (r == 0 && (r = run_maps_of(e->config->linux, &e->maps)) < 0)
		r = err_set(err, r, "read the container's ids");
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/root", (int)e->o.state.pid);
	e->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (e->root < 0 || !container_init_alive(&e->o.state))
		return err_say(err, -ESRCH, "%s does not run any more", word);
	return e->config->process ? 0 : err_say(err, -EINVAL, "%s has no process", word);
}

static int exec_env(const struct exec_state *s, struct oci_process *process, struct err *err)
{
	AUTO_FINISH(words) struct words env = {0};
	int r = 0;
	for (size_t i = 0; i < s->env_file.count && r == 0; i++)
		r = run_parse_env_file(s->env_file.items[i], environ, &env, err);
	for (size_t i = 0; i < s->env.count && r == 0; i++)
		r = run_parse_env(s->env.items[i], environ, &env, err);
	if (r == 0 && run_apply_env(process, &env) < 0)
		r = err_set(err, -ENOMEM, "set the environment");
	return r;
}

static int exec_user(struct exec *e, struct err *err)
{
	if (!e->state->user)
		return 0;
	int r = user_find(e->root, e->state->user, &e->user, err);
	if (r == 0)
		r = run_maps_user(&e->maps, &e->user, err);
	if (r == 0)
		r = run_rootless_user(&e->user, err);
	if (r == 0)
		r = convert_user(&e->user, e->config, err);
	return r;
}

static int exec_caps(struct exec *e, struct err *err)
{
	struct oci_process_capabilities *caps = oci_process_need_capabilities(e->config->process);
	if (!e->state->privileged)
		return 0;
	int r = caps ? run_apply_all_caps(caps) : -ENOMEM;
	return r < 0 ? err_set(err, r, "give all capabilities") : 0;
}

static const char *path_of(const struct oci_process *process)
{
	for (size_t i = 0; i < process->n_env; i++)
		if (strncmp(process->env[i], "PATH=", 5) == 0)
			return process->env[i] + 5;
	return NULL;
}

/* The command is looked for where it will run: mounts and all are there. */
static int exec_find(struct exec *e, struct err *err)
{
	const struct oci_process *process = e->config->process;
	AUTO_FINISH(command) struct command command = {0};
	struct user user = {.uid = process->user ? process->user->uid : 0,
			    .gid = process->user ? process->user->gid : 0};
	struct command_search search = {
		.root = e->root,
		.path = path_of(process),
		.cwd = process->cwd,
		.user = &user,
		.maps = &e->maps,
	};
	int r = command_find(&search, process->args[0], &command, err);
	if (r < 0)
		e->exit_status = command_exit_status(r);
	return r;
}

static int exec_process(struct exec *e, char **words, struct err *err)
{
	struct oci_process *process = e->config->process;
	int r = 0;
	oci_process_clear_args(process);
	for (; *words && r == 0; words++)
		r = oci_process_add_args(process, *words);
	if (r == 0 && e->state->workdir)
		r = oci_process_set_cwd(process, e->state->workdir);
	if (r < 0)
		return err_set(err, r, "write the process");
	oci_process_set_terminal(process, e->state->tty);
	r = exec_env(e->state, process, err);
	if (r == 0)
		r = exec_caps(e, err);
	if (r == 0)
		r = exec_user(e, err);
	if (r == 0)
		r = defaults_env(e->config, e->user.home, err);
	return r == 0 ? exec_find(e, err) : r;
}

static int exec_run(struct exec *e, struct driver_conn *conn, const struct buf *text,
		    struct err *err)
{
	const struct exec_state *s = e->state;
	struct driver_error error = {0};
	struct driver_executed done = {0};
	struct driver_exec request = {
		.id = container_id(e->o.container),
		.process = text->data,
		.process_len = text->len,
		.stdio = {s->interactive && !s->detach ? STDIN_FILENO : -1,
			  s->detach ? -1 : STDOUT_FILENO, s->detach ? -1 : STDERR_FILENO},
		.detach = s->detach,
	};
	int r;
	if (s->tty && !s->detach)
		r = exec_tty(conn, &request, container_path(e->o.container), s->interactive, &done,
			     &error);
	else
		r = driver_exec(conn, NULL, &request, &done, &error);
	if (r == 0)
		return s->detach ? 0 : done.exit_code;
	if (error.program)
		e->exit_status = error.code == DRIVER_NOT_FOUND ? 127 : 126;
	return err_copy(err, &error.err);
}

static int exec_verb_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	AUTO_FINISH(exec) struct exec e = {.state = state, .root = -1, .exit_status = STATUS_OURS};
	AUTO(driver_conn) struct driver_conn *conn = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(RUN_BUNDLE_MAX);
	struct driver_error error = {0};
	(void)argc;
	if (e.state->workdir && e.state->workdir[0] != '/')
		return err_say(err, -EINVAL, "--workdir does not take '%s': it wants an absolute path",
			       e.state->workdir);
	int r = exec_open(&e, ctx, argv[0], err);
	if (r == 0)
		r = exec_process(&e, argv + 1, err);
	if (r == 0)
		r = oci_process_emit(e.config->process, &text, err);
	if (r == 0 && containers_driver(ctx, e.o.record.runtime, &conn, &error) < 0)
		r = err_copy(err, &error.err);
	if (r == 0)
		r = exec_run(&e, conn, &text, err);
	if (r < 0)
		ctx->failed = e.exit_status;
	return r;
}

const struct verb verb_exec = {
	.name = "exec",
	.args = "CONTAINER COMMAND…",
	.summary = "run another command in a container",
	.teach = "Runs a command in a running container, with its environment, user and confinement. The exit\n"
		 "status is the command's, or 125, 126 and 127 as with 'sluice run'.\n\n"
		 "  sluice exec -it web sh",
	.options = exec_options,
	.finish = exec_finish,
	.state_size = sizeof(struct exec_state),
	.failed = STATUS_OURS,
	.strict = true,
	.min_words = 2,
	.max_words = -1,
	.run = exec_verb_run,
};
