/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/cred_file.h"

#include <fcntl.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"

/* The names under which docker's own registry is filed. */
static bool is_hub(const char *s, size_t n)
{
	static const char *const names[] = {"docker.io", "index.docker.io", "registry-1.docker.io"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == n && strncmp(names[i], s, n) == 0)
			return true;
	return false;
}

/*
 * Length of the match of a key of `auths` with host/repository: 0 for none,
 * else the more specific the greater. Old keys are URLs, whose path is an API
 * version and not a repository.
 */
static size_t key_match(const char *key, const char *host, const char *repository)
{
	const char *scheme = strstr(key, "://");
	if (scheme)
		key = scheme + 3;
	size_t n = strcspn(key, "/");
	bool same = is_hub(key, n) ? is_hub(host, strlen(host))
				   : strlen(host) == n && strncmp(host, key, n) == 0;
	if (!same || n == 0)
		return 0;
	const char *path = key + n + (key[n] == '/');
	size_t len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	bool version = len == 2 && (strncmp(path, "v1", 2) == 0 || strncmp(path, "v2", 2) == 0);
	if (scheme || version || len == 0)
		return 1;
	if (!repository || strncmp(repository, path, len) != 0)
		return 0;
	return repository[len] == '\0' || repository[len] == '/' ? 1 + len : 0;
}

/* The value of the key that matches best; NULL: none does. */
static json_t *best_match(json_t *object, const char *host, const char *repository)
{
	size_t best = 0;
	json_t *found = NULL;
	const char *key;
	json_t *value;
	json_object_foreach(object, key, value) {
		size_t n = key_match(key, host, repository);
		if (n <= best)
			continue;
		best = n;
		found = value;
	}
	return found;
}

/* A non-empty string, copied. */
static int dup_secret(const json_t *entry, const char *key, char **ret, struct err *err)
{
	const char *text = NULL;
	int r = json_get_str(entry, key, JSON_MAY, &text, err);
	if (r < 0 || !text || text[0] == '\0')
		return r;
	if (strlen(text) > CRED_SECRET_MAX)
		return err_say(err, -E2BIG, "\"%s\" is longer than %d bytes", key, CRED_SECRET_MAX);
	*ret = strdup(text);
	return *ret ? 0 : err_set(err, -ENOMEM, "copy \"%s\"", key);
}

static int parse_auth(const char *auth, struct cred *cred, struct err *err)
{
	char *text = NULL;
	size_t n = 0;
	int r = base64_decode(auth, strlen(auth), CRED_SECRET_MAX, &text, &n);
	if (r < 0)
		return err_say(err, r, "\"auth\" is not base64");
	/* Some versions of docker pad the password with NULs, which end it here. */
	const char *colon = strchr(text, ':');
	r = -EINVAL;
	if (colon) {
		r = -ENOMEM;
		secret_free(cred->username);
		secret_free(cred->password);
		cred->username = strndup(text, (size_t)(colon - text));
		cred->password = strdup(colon + 1);
		if (cred->username && cred->password)
			r = 0;
	}
	explicit_bzero(text, n);
	free(text);
	if (r == -EINVAL)
		return err_say(err, r, "\"auth\" is not user:password");
	return r < 0 ? err_set(err, r, "copy \"auth\"") : 0;
}

static int parse_entry(const json_t *entry, struct cred *cred, struct err *err)
{
	const char *auth = NULL;
	int r;
	if (!json_is_object(entry))
		return err_say(err, -EINVAL, "an entry of \"auths\" is not an object");
	if ((r = dup_secret(entry, "username", &cred->username, err)) < 0 ||
	    (r = dup_secret(entry, "password", &cred->password, err)) < 0 ||
	    (r = dup_secret(entry, "identitytoken", &cred->identity_token, err)) < 0 ||
	    (r = dup_secret(entry, "registrytoken", &cred->registry_token, err)) < 0 ||
	    (r = json_get_str(entry, "auth", JSON_MAY, &auth, err)) < 0)
		return r;
	return auth && auth[0] ? parse_auth(auth, cred, err) : 0;
}

static int dup_helper(const char *name, char **ret, struct err *err)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	if (name[0] == '\0')
		return 0;
	if (strspn(name, allowed) != strlen(name))
		return err_say(err, -EINVAL, "'%.100s' is not the name of a credential helper", name);
	*ret = strdup(name);
	return *ret ? 0 : err_set(err, -ENOMEM, "copy the name of a helper");
}

static int look_up(json_t *root, const char *host, const char *repository, struct cred *cred,
		   char **helper, struct err *err)
{
	json_t *helpers = NULL, *auths = NULL;
	const char *store = NULL;
	int r;
	if ((r = json_get_object(root, "credHelpers", JSON_MAY, &helpers, err)) < 0 ||
	    (r = json_get_object(root, "auths", JSON_MAY, &auths, err)) < 0 ||
	    (r = json_get_str(root, "credsStore", JSON_MAY, &store, err)) < 0)
		return r;
	const json_t *named = best_match(helpers, host, repository);
	if (named) {
		const char *name = json_string_value(named);
		if (!name)
			return err_say(err, -EINVAL, "an entry of \"credHelpers\" is not a string");
		return dup_helper(name, helper, err);
	}
	const json_t *entry = best_match(auths, host, repository);
	r = entry ? parse_entry(entry, cred, err) : 0;
	if (r < 0)
		return r;
	return store && cred_is_anonymous(cred) ? dup_helper(store, helper, err) : 0;
}

/* jansson keeps its strings where they were; they are overwritten in place before it frees them. */
static void wipe_json(json_t *value)
{
	size_t i;
	const char *key;
	json_t *item;
	if (json_is_string(value)) {
		union {
			const char *in;
			char *out;
		} text = {.in = json_string_value(value)};
		explicit_bzero(text.out, json_string_length(value));
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item)
			wipe_json(item);
	} else if (json_is_object(value)) {
		json_object_foreach(value, key, item)
			wipe_json(item);
	}
}

void cred_json_release(json_t *root)
{
	wipe_json(root);
	json_decref(root);
}

int cred_file_look_up(const char *path, const char *host, const char *repository,
		      struct cred *ret, char **ret_helper, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(CRED_FILE_MAX);
	AUTO_FINISH(cred) struct cred cred = {0};
	AUTO_FREE char *helper = NULL;
	json_t *root = NULL;
	/* All at once, so that growing leaves no copies behind. */
	int r = buf_reserve(&text, CRED_FILE_MAX);
	if (r < 0)
		return err_set(err, r, "read %s", path);
	r = file_slurp(AT_FDCWD, path, &text, err);
	if (r == 0 && text.len > 0)
		r = json_parse_object(text.data, text.len, path, &root, err);
	explicit_bzero(text.data, text.len);
	if (r < 0 || !root)
		return r;
	r = look_up(root, host, repository, &cred, &helper, err);
	cred_json_release(root);
	if (r < 0)
		return err_prefix(err, r, "credential file %s", path);
	*ret = cred;
	cred = (struct cred){0};
	*ret_helper = steal_ptr(&helper);
	return 0;
}

int cred_parse_helper(const char *text, size_t n, struct cred *ret, struct err *err)
{
	json_t *root = NULL;
	AUTO_FINISH(cred) struct cred cred = {0};
	int r = json_parse_object(text, n, "its answer", &root, NULL);
	if (r < 0)
		return err_say(err, r, "its answer is not a JSON object");
	r = dup_secret(root, "Username", &cred.username, err);
	if (r == 0)
		r = dup_secret(root, "Secret", &cred.password, err);
	cred_json_release(root);
	if (r < 0)
		return r;
	if (cred.username && strcmp(cred.username, "<token>") == 0) {
		cred.identity_token = steal_ptr(&cred.password);
		free(steal_ptr(&cred.username));
	}
	*ret = cred;
	cred = (struct cred){0};
	return 0;
}
