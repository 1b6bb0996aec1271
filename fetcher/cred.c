/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/cred.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/spawn.h"
#include "base/strv.h"
#include "fetcher/cred_file.h"

#define HUB_KEY "https://index.docker.io/v1/" /* what docker asks helpers for */

/* A helper's answer for one registry. */
struct answer {
	char *helper, *host; /* owned */
	struct cred cred;
};

struct creds {
	char *auth_file;
	char **default_files, **env; /* owned lists */
	char *path_env;
	struct cred given;	     /* --creds */
	char *given_host;
	pthread_mutex_t lock;	     /* guards the answers; never held while a helper runs */
	struct answer answers[CRED_CACHE_MAX];
	size_t n_answers;
};

void secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void cred_finish(struct cred *cred)
{
	if (!cred)
		return;
	secret_free(cred->username);
	secret_free(cred->password);
	secret_free(cred->identity_token);
	secret_free(cred->registry_token);
	*cred = (struct cred){0};
}

static int dup_optional(const char *from, char **ret)
{
	if (!from)
		return 0;
	*ret = strdup(from);
	return *ret ? 0 : -ENOMEM;
}

static int cred_copy(const struct cred *from, struct cred *ret)
{
	AUTO_FINISH(cred) struct cred to = {0};
	if (dup_optional(from->username, &to.username) < 0 ||
	    dup_optional(from->password, &to.password) < 0 ||
	    dup_optional(from->identity_token, &to.identity_token) < 0 ||
	    dup_optional(from->registry_token, &to.registry_token) < 0)
		return -ENOMEM;
	*ret = to;
	to = (struct cred){0};
	return 0;
}

void creds_free_files(char **files)
{
	for (char **file = files; file && *file; file++)
		free(*file);
	free(files);
}

int creds_create(const struct creds_config *config, struct creds **ret, struct err *err)
{
	size_t files = 0;
	while (config->default_files && config->default_files[files])
		files++;
	if (files > CRED_FILES_MAX)
		return err_say(err, -EINVAL, "more than %d credential files", CRED_FILES_MAX);
	if (config->username && !config->password)
		return err_say(err, -EINVAL, "a user name without a password");
	struct creds *creds = calloc(1, sizeof(*creds));
	if (!creds)
		return err_set(err, -ENOMEM, "prepare credentials");
	(void)pthread_mutex_init(&creds->lock, NULL);
	if (dup_optional(config->auth_file, &creds->auth_file) < 0 ||
	    dup_optional(config->path_env, &creds->path_env) < 0 ||
	    dup_optional(config->username, &creds->given.username) < 0 ||
	    dup_optional(config->password, &creds->given.password) < 0 ||
	    dup_optional(config->host, &creds->given_host) < 0 ||
	    strv_copy(config->default_files, &creds->default_files) < 0 ||
	    strv_copy(config->env, &creds->env) < 0) {
		creds_destroy(creds);
		return err_set(err, -ENOMEM, "prepare credentials");
	}
	*ret = creds;
	return 0;
}

static void answer_finish(struct answer *answer)
{
	free(answer->helper);
	free(answer->host);
	cred_finish(&answer->cred);
	*answer = (struct answer){0};
}

void creds_destroy(struct creds *creds)
{
	if (!creds)
		return;
	free(creds->auth_file);
	free(creds->path_env);
	free(creds->given_host);
	cred_finish(&creds->given);
	creds_free_files(creds->default_files);
	creds_free_files(creds->env);
	for (size_t i = 0; i < creds->n_answers; i++)
		answer_finish(&creds->answers[i]);
	(void)pthread_mutex_destroy(&creds->lock);
	free(creds);
}

/* The caller holds the lock. */
static struct answer *answer_find(struct creds *creds, const char *helper, const char *host)
{
	for (size_t i = 0; i < creds->n_answers; i++)
		if (strcmp(creds->answers[i].helper, helper) == 0 &&
		    strcmp(creds->answers[i].host, host) == 0)
			return &creds->answers[i];
	return NULL;
}

/* 1 when an answer was kept, 0 when not. */
static int answer_get(struct creds *creds, const char *helper, const char *host, struct cred *ret)
{
	(void)pthread_mutex_lock(&creds->lock);
	const struct answer *answer = answer_find(creds, helper, host);
	int r = answer ? cred_copy(&answer->cred, ret) : 0;
	(void)pthread_mutex_unlock(&creds->lock);
	return r < 0 ? r : answer != NULL;
}

static int answer_put(struct creds *creds, const char *helper, const char *host,
		      const struct cred *cred)
{
	struct answer fresh = {.helper = strdup(helper), .host = strdup(host)};
	if (!fresh.helper || !fresh.host || cred_copy(cred, &fresh.cred) < 0) {
		answer_finish(&fresh);
		return -ENOMEM;
	}
	(void)pthread_mutex_lock(&creds->lock);
	struct answer *slot = answer_find(creds, helper, host);
	if (!slot && creds->n_answers < CRED_CACHE_MAX)
		slot = &creds->answers[creds->n_answers++];
	else if (!slot)
		slot = &creds->answers[0];
	answer_finish(slot);
	*slot = fresh;
	(void)pthread_mutex_unlock(&creds->lock);
	return 0;
}

static int helper_answer(const char *program, const struct buf *output, int status,
			 struct cred *ret, struct err *err)
{
	static const char unknown[] = "credentials not found in native keychain";
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return cred_parse_helper(buf_str(output), output->len, ret, err);
	if (strstr(buf_str(output), unknown))
		return 0;
	/* Its words stay out of the text: nobody knows what is in them. */
	if (WIFSIGNALED(status))
		return err_say(err, -EIO, "it was killed by signal %d", WTERMSIG(status));
	return err_say(err, -EACCES,
		       "it failed with exit status %d; run `%s get` by hand to see why",
		       WEXITSTATUS(status), program);
}

static int helper_run(struct creds *creds, const char *helper, const char *host,
		      struct cred *ret, struct err *err)
{
	AUTO_FREE char *program = NULL;
	AUTO_FREE char *path = NULL;
	if (asprintf(&program, "docker-credential-%s", helper) < 0) {
		program = NULL;
		return err_set(err, -ENOMEM, "run a credential helper");
	}
	int r = spawn_find(creds->path_env, program, &path);
	if (r < 0)
		return err_set(err, r, "find the credential helper %s in PATH", program);
	const char *server = strcmp(host, "docker.io") == 0 ? HUB_KEY : host;
	const char *const argv[] = {program, "get", NULL};
	struct spawn spawn = {
		.path = path,
		.argv = argv,
		.env = (const char *const *)creds->env,
		.input = server,
		.input_len = strlen(server),
		.deadline = deadline_in_ms(CRED_HELPER_TIMEOUT_MS),
	};
	log_debug("asking %s about %s", program, server);
	AUTO_FINISH(buf) struct buf output = buf_make(CRED_HELPER_OUTPUT_MAX);
	int status = 0;
	/* All at once, so that growing leaves no copies behind. */
	r = buf_reserve(&output, CRED_HELPER_OUTPUT_MAX);
	if (r < 0)
		return err_set(err, r, "run %s", program);
	r = spawn_run(&spawn, &output, &status, err);
	if (r == 0)
		r = helper_answer(program, &output, status, ret, err);
	explicit_bzero(output.data, output.len);
	return r < 0 ? err_prefix(err, r, "credential helper %s, asked about %s", program, server) : 0;
}

static int helper_get(struct creds *creds, const char *helper, const char *host, bool refresh,
		      struct cred *ret, struct err *err)
{
	AUTO_FINISH(cred) struct cred cred = {0};
	int r = refresh ? 0 : answer_get(creds, helper, host, &cred);
	if (r == 0) {
		r = helper_run(creds, helper, host, &cred, err);
		if (r < 0)
			return r;
		r = answer_put(creds, helper, host, &cred);
	}
	if (r < 0)
		return err_set(err, r, "keep the answer of a credential helper");
	*ret = cred;
	cred = (struct cred){0};
	return 0;
}

static int file_get(struct creds *creds, const char *path, const char *host,
		    const char *repository, bool refresh, struct cred *ret, struct err *err)
{
	AUTO_FREE char *helper = NULL;
	int r = cred_file_look_up(path, host, repository, ret, &helper, err);
	if (r < 0 || !helper)
		return r;
	return helper_get(creds, helper, host, refresh, ret, err);
}

/* What is missing is not the image: nobody who asked a registry must take it for that. */
static int creds_missing(int r, struct err *err)
{
	if (r != -ENOENT)
		return r;
	if (err)
		err->code = -ENOKEY;
	return -ENOKEY;
}

int creds_get(struct creds *creds, const char *registry_host, const char *repository, bool refresh,
	      struct cred *ret, struct err *err)
{
	AUTO_FINISH(cred) struct cred cred = {0};
	int r = 0;
	if (creds->given.username &&
	    (!creds->given_host || strcmp(creds->given_host, registry_host) == 0)) {
		r = cred_copy(&creds->given, &cred);
		if (r < 0)
			return err_set(err, r, "copy credentials");
	} else if (creds->auth_file) {
		r = file_get(creds, creds->auth_file, registry_host, repository, refresh, &cred, err);
		if (r < 0)
			return creds_missing(r, err);
	} else {
		for (char **file = creds->default_files; file && *file; file++) {
			r = file_get(creds, *file, registry_host, repository, refresh, &cred, err);
			/* A file that is not there, or whose directory is not, is no error here. */
			if (r < 0 && (r != -ENOENT || access(*file, F_OK) == 0))
				return creds_missing(r, err);
			if (!cred_is_anonymous(&cred))
				break;
		}
	}
	*ret = cred;
	cred = (struct cred){0};
	return 0;
}

static bool is_given(const char *text)
{
	return text && text[0] != '\0';
}

static int add_file(char **files, size_t *count, const char *dir, const char *rest)
{
	if (!is_given(dir))
		return 0;
	if (asprintf(&files[*count], "%s/%s", dir, rest) < 0) {
		files[*count] = NULL;
		return -ENOMEM;
	}
	++*count;
	return 0;
}

int creds_default_files(const struct creds_places *places, char ***ret)
{
	static const char auth[] = "containers/auth.json";
	size_t n = 0;
	char **files = calloc(CRED_FILES_MAX + 1, sizeof(*files));
	if (!files)
		return -ENOMEM;
	int r = add_file(files, &n, places->xdg_runtime_dir, auth);
	if (r == 0)
		r = is_given(places->xdg_config_home)
			    ? add_file(files, &n, places->xdg_config_home, auth)
			    : add_file(files, &n, places->home, ".config/containers/auth.json");
	if (r == 0)
		r = is_given(places->docker_config)
			    ? add_file(files, &n, places->docker_config, "config.json")
			    : add_file(files, &n, places->home, ".docker/config.json");
	if (r < 0) {
		creds_free_files(files);
		return r;
	}
	*ret = files;
	return 0;
}
