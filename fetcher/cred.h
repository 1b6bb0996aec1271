/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Credentials for registries, from the files and helpers of docker and podman:
 *
 *   {"auths": {"host/path": {"auth": base64("user:password"), "identitytoken": "…",
 *    "registrytoken": "…"}}, "credHelpers": {"host": "X"}, "credsStore": "X"}
 *
 * An explicit file is the only one read; otherwise the default files in order,
 * the first that knows the registry wins. Within a file the longest path wins
 * ("host/a/b" before "host/a" before "host"), a credHelpers entry for the host
 * beats the auths, and the auths beat credsStore unless they hold nothing but
 * the name, which is how docker marks "ask the store". A helper is
 * `docker-credential-X get`, with the host on its standard input.
 *
 * Safe from any thread. Secrets are wiped from memory when they are released
 * and never logged, nor put into an error text.
 */

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	CRED_FILE_MAX = 1 << 20,       /* bytes of a credential file */
	CRED_FILES_MAX = 8,	       /* default files */
	CRED_HELPER_OUTPUT_MAX = 64 << 10,
	CRED_HELPER_TIMEOUT_MS = 30000, /* some ask the network or a person's keychain */
	CRED_SECRET_MAX = 64 << 10,    /* one user name, password or token */
	CRED_CACHE_MAX = 256,	       /* answers of helpers that are remembered */
};

/* Frees a secret after it was overwritten. Accepts NULL. */
void secret_free(char *secret);

static inline void cleanup_secret(char **secret)
{
	secret_free(*secret);
}
#define AUTO_SECRET __attribute__((cleanup(cleanup_secret)))

struct cred {
	char *username;	      /* owned; NULL: none */
	char *password;	      /* owned; NULL: none */
	char *identity_token; /* owned; an OAuth2 refresh token; NULL: none */
	char *registry_token; /* owned; sent as Bearer as it is; NULL: none */
};

/* True when there is nothing to send: the registry is asked anonymously. */
static inline bool cred_is_anonymous(const struct cred *cred)
{
	return !cred->username && !cred->identity_token && !cred->registry_token;
}

/* Wipes and frees the strings and leaves the zero value. Accepts NULL. */
void cred_finish(struct cred *cred);
DEFINE_FINISH(cred, cred_finish);

struct creds_config {
	const char *auth_file;		  /* explicit; must be readable; NULL: the defaults */
	const char *const *default_files; /* NULL-terminated; absent ones are passed over */
	const char *path_env;		  /* PATH to find helpers in; NULL: no helpers */
	const char *const *env;		  /* NULL-terminated environment for helpers; NULL: empty */
	const char *username, *password;  /* explicit, for `host` before any file; NULL: none */
	const char *host;		  /* the registry that username is for; NULL: every one */
};

struct creds;

/* Copies the configuration; reads nothing yet. -ENOMEM, -EINVAL. */
int creds_create(const struct creds_config *config, struct creds **ret, struct err *err);
void creds_destroy(struct creds *creds);
DEFINE_CLEANUP(creds, creds_destroy);

/*
 * The credentials for a repository ("library/python", NULL: the host alone)
 * of a registry ("docker.io", "localhost:5000"). Nothing known is 0 and an
 * anonymous *ret, which the caller finishes. Answers of helpers are kept;
 * refresh asks again, for when the registry has turned them down. May block
 * for as long as a helper may run.
 * -EINVAL: a file that is not what it should be, or an unknown answer;
 * -ENOKEY: the explicit file or a helper is missing; -EACCES, -EIO: a helper
 * that failed; -ETIMEDOUT: a helper that did not end.
 */
int creds_get(struct creds *creds, const char *registry_host, const char *repository, bool refresh,
	      struct cred *ret, struct err *err);

/* Where the default files are looked for; each may be NULL or "". */
struct creds_places {
	const char *xdg_runtime_dir; /* $XDG_RUNTIME_DIR */
	const char *xdg_config_home; /* $XDG_CONFIG_HOME, else home/.config */
	const char *home;	     /* $HOME */
	const char *docker_config;   /* $DOCKER_CONFIG, else home/.docker */
};

/*
 * The default files in order: the runtime directory's containers/auth.json,
 * the configuration directory's containers/auth.json, docker's config.json.
 * The caller frees the NULL-terminated list and its strings with
 * creds_free_files(). -ENOMEM.
 */
int creds_default_files(const struct creds_places *places, char ***ret);
void creds_free_files(char **files);
