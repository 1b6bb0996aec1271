/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/token_fetch.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/curl_api.h"
#include "base/json.h"
#include "base/num.h"
#include "fetcher/hosts.h"
#include "fetcher/http_url.h"
#include "fetcher/retry.h"

enum { TOKEN_FORM_MAX = 256 << 10 }; /* bytes of a URL-encoded form */

static void secret_buf_finish(struct buf *buf)
{
	if (buf->data)
		explicit_bzero(buf->data, buf->len);
	buf_finish(buf);
}
#define AUTO_SECRET_BUF __attribute__((cleanup(secret_buf_finish)))

void demand_finish(struct demand *demand)
{
	if (!demand)
		return;
	free(demand->realm);
	free(demand->service);
	free(demand->scopes);
	*demand = (struct demand){0};
}

int demand_copy(const struct demand *from, struct demand *ret)
{
	AUTO_FINISH(demand) struct demand to = {
		.scheme = from->scheme,
		.realm = from->realm ? strdup(from->realm) : NULL,
		.service = from->service ? strdup(from->service) : NULL,
		.scopes = from->scopes ? strdup(from->scopes) : NULL,
	};
	if ((from->realm && !to.realm) || (from->service && !to.service) ||
	    (from->scopes && !to.scopes))
		return -ENOMEM;
	*ret = to;
	to = (struct demand){0};
	return 0;
}

/* Whether a scope list holds a scope of the same resource ("repository:demo/q:"). */
static bool scopes_cover(const char *scopes, const char *scope)
{
	const char *colon = strrchr(scope, ':');
	size_t n = colon ? (size_t)(colon - scope) + 1 : strlen(scope);
	for (const char *p = scopes; p; p = strchr(p, ' ') ? strchr(p, ' ') + 1 : NULL)
		if (strncmp(p, scope, n) == 0)
			return true;
	return false;
}

static int demand_from(const struct token_ask *ask, const struct challenge *c,
		       struct demand *ret)
{
	AUTO_FINISH(buf) struct buf scopes = buf_make(TOKEN_FORM_MAX);
	AUTO_FINISH(demand) struct demand d = {.scheme = c->scheme};
	int r = buf_puts(&scopes, ask->scopes);
	for (char **scope = c->scopes; scope && *scope && r == 0; scope++)
		if (!scopes_cover(ask->scopes, *scope))
			r = buf_printf(&scopes, " %s", *scope);
	if (r < 0)
		return -ENOMEM;
	d.scopes = buf_steal(&scopes);
	d.realm = strdup(c->realm ? c->realm : "");
	d.service = c->service ? strdup(c->service) : NULL;
	if (!d.realm || (c->service && !d.service))
		return -ENOMEM;
	*ret = d;
	d = (struct demand){0};
	return 0;
}

int demand_read(const struct token_ask *ask, const struct http_response *resp,
		struct demand *ret, struct err *err)
{
	struct challenges *list = calloc(1, sizeof(*list));
	if (!list)
		return err_set(err, -ENOMEM, "read a challenge");
	const char *value;
	size_t pos = 0;
	int r = 0;
	while (r == 0 && (value = http_header_next(resp, "www-authenticate", &pos)))
		r = challenges_parse(value, list, err);
	if (r < 0)
		r = err_prefix(err, -EPROTO, "the registry's challenge");
	const struct challenge *c = challenges_find(list, CHALLENGE_BEARER);
	if (!c)
		c = challenges_find(list, CHALLENGE_BASIC);
	if (r == 0 && c)
		r = demand_from(ask, c, ret);
	challenges_finish(list);
	free(list);
	return r;
}

/* A token goes into a header: nothing but visible ASCII may be in it. */
static bool token_is_sane(const char *token)
{
	for (const char *p = token; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return token[0] != '\0';
}

int token_parse(const void *data, size_t n, char **ret_token, uint64_t *ret_life_sec,
		struct err *err)
{
	AUTO_JSON json_t *json = NULL;
	const char *token = NULL;
	uint64_t life = 0;
	if (json_parse_object(data, n, "the answer", &json, err) < 0 ||
	    json_get_str(json, "token", JSON_MAY, &token, err) < 0 ||
	    (!token && json_get_str(json, "access_token", JSON_MAY, &token, err) < 0) ||
	    json_get_u64(json, "expires_in", JSON_MAY, &life, err) < 0)
		return err_prefix(err, -EPROTO, "it sent no token");
	if (!token || !token_is_sane(token))
		return err_say(err, -EPROTO, "it sent JSON without a usable token");
	char *copy = strdup(token);
	if (!copy)
		return err_set(err, -ENOMEM, "keep a token");
	*ret_token = copy;
	*ret_life_sec = u64_min(u64_max(life, TOKEN_LIFE_MIN_SEC), TOKEN_LIFE_MAX_SEC);
	return 0;
}

static int basic_header(const struct cred *cred, char **ret)
{
	AUTO_SECRET_BUF struct buf plain = buf_make(2 * CRED_SECRET_MAX + 1);
	int r = buf_printf(&plain, "%s:%s", cred->username, cred->password ? cred->password : "");
	if (r < 0)
		return r;
	size_t room = sizeof("Basic ") + 4 * (plain.len / 3 + 1) + 1;
	char *out = malloc(room);
	if (!out)
		return -ENOMEM;
	memcpy(out, "Basic ", 6);
	(void)EVP_EncodeBlock((unsigned char *)out + 6, (const unsigned char *)plain.data,
			      (int)plain.len);
	*ret = out;
	return 0;
}

static int bearer_header(const char *token, char **ret)
{
	return asprintf(ret, "Bearer %s", token) < 0 ? -ENOMEM : 0;
}

/*
 * Where credentials may be sent to: never in the clear for a registry that is
 * encrypted, never to an address inside somebody's network that the registry
 * merely names (a registry could make us knock on any door there).
 */
static int realm_check(const struct tokens_config *config, const struct token_ask *ask,
		       const char *realm, bool *ret_home, struct err *err)
{
	AUTO_FINISH(http_url) struct http_url home = {0};
	AUTO_FINISH(http_url) struct http_url to = {0};
	char shown[HTTP_URL_SHOWN_MAX];
	int r = http_url_parse(ask->url_base, &home, err);
	if (r < 0)
		return r;
	if (http_url_parse(realm, &to, err) < 0)
		return err_prefix(err, -EPROTO, "%s names a token server", ask->registry_host);
	if (home.https && !to.https)
		return err_say(err, -EPERM,
			       "%s names the token server %s, which is not encrypted: refused",
			       ask->registry_host, http_url_shown(realm, shown));
	bool same = strcmp(home.host, to.host) == 0;
	/* However the two spell it, this machine is one host. */
	bool both_here = host_is_loopback(home.host) && host_is_loopback(to.host);
	if (!same && !both_here && http_host_is_private(to.host) && !config->allow_private_realm)
		return err_say(err, -EPERM,
			       "%s names the token server %s at a private address: refused",
			       ask->registry_host, http_url_shown(realm, shown));
	*ret_home = same;
	return 0;
}

static int form_add(struct buf *form, const char *key, const char *value)
{
	const struct curl_api *curl = curl_api(NULL);
	char *escaped = curl ? curl->easy_escape(NULL, value, 0) : NULL;
	if (!escaped)
		return -ENOMEM;
	int r = buf_printf(form, "%s%s=%s", form->len > 0 ? "&" : "", key, escaped);
	explicit_bzero(escaped, strlen(escaped));
	curl->free(escaped);
	return r;
}

struct collect {
	struct buf *buf;
};

static int collect_write(void *data, const void *bytes, size_t n)
{
	struct collect *c = data;
	int r = buf_append(c->buf, bytes, n);
	return r == -E2BIG ? -EFBIG : r;
}

/* One request with bounded patience. 0 with any final status. */
static int token_request(const struct tokens_config *config, const struct token_ask *ask,
			 struct http_request *req, struct http_response *resp, struct buf *body,
			 struct err *err)
{
	struct retry retry = retry_plan(TOKEN_TRIES, ask->deadline);
	struct collect collect = {body};
	struct byte_sink sink = {.write = collect_write, .data = &collect};
	char shown[HTTP_URL_SHOWN_MAX];
	req->sink = &sink;
	req->max_body = TOKEN_BODY_MAX;
	req->deadline = ask->deadline;
	int r;
	do {
		buf_clear(body);
		r = http_perform(config->engine, req, resp, err);
	} while (retry_wait(&retry, config->engine, r, resp));
	net_stats_add(http_engine_stats(config->engine), token_refreshes, 1);
	if (r < 0)
		return err_prefix(err, r, "ask the token server");
	if (retry_status(resp->status))
		return err_say(err, -EREMOTEIO, "the token server %s answered %d, %u times",
			       http_url_shown(req->url, shown), resp->status, retry.failures);
	return 0;
}

/* GET realm?service=…&scope=… with Basic, as the token specification has it. */
static int token_get(const struct tokens_config *config, const struct token_ask *ask,
		     const struct demand *demand, const struct cred *cred, struct http_request *req,
		     struct http_response *resp, struct buf *body, struct err *err)
{
	AUTO_FREE char *url = strdup(demand->realm);
	AUTO_FREE char *scopes = strdup(demand->scopes);
	AUTO_SECRET char *basic = NULL;
	int r = url && scopes ? 0 : -ENOMEM;
	char *next = NULL;
	if (r == 0 && demand->service) {
		r = http_url_add_query(url, "service", demand->service, &next);
		if (r == 0) {
			free(url);
			url = next;
		}
	}
	char *save = NULL;
	for (char *s = scopes ? strtok_r(scopes, " ", &save) : NULL; s && r == 0;
	     s = strtok_r(NULL, " ", &save)) {
		r = http_url_add_query(url, "scope", s, &next);
		if (r == 0) {
			free(url);
			url = next;
		}
	}
	if (r == 0 && cred->username)
		r = basic_header(cred, &basic);
	if (r < 0)
		return err_set(err, r, "make a token request");
	req->url = url;
	req->authorization = basic;
	r = token_request(config, ask, req, resp, body, err);
	req->url = NULL;
	req->authorization = NULL;
	return r;
}

/* POST of an identity token, as OAuth2 has it. */
static int token_post(const struct tokens_config *config, const struct token_ask *ask,
		      const struct demand *demand, const struct cred *cred,
		      struct http_request *req, struct http_response *resp, struct buf *body,
		      struct err *err)
{
	static const char *const headers[] = {
		"Content-Type: application/x-www-form-urlencoded", "Accept: application/json", NULL};
	AUTO_SECRET_BUF struct buf form = buf_make(TOKEN_FORM_MAX);
	int r = form_add(&form, "grant_type", "refresh_token");
	if (r == 0)
		r = form_add(&form, "service", demand->service ? demand->service : "");
	if (r == 0)
		r = form_add(&form, "scope", demand->scopes);
	if (r == 0)
		r = form_add(&form, "client_id", "sluice");
	if (r == 0)
		r = form_add(&form, "refresh_token", cred->identity_token);
	if (r < 0)
		return err_set(err, r, "make a token request");
	struct http_request post = *req;
	post.method = "POST";
	post.url = demand->realm;
	post.headers = headers;
	post.body = form.data;
	post.body_len = form.len;
	post.secret_body = true;
	return token_request(config, ask, &post, resp, body, err);
}

static bool post_falls_back(int status, const struct cred *cred)
{
	return status == 400 || status == 401 || status == 404 ||
	       (status == 405 && cred->username);
}

static int token_bearer(const struct tokens_config *config, const struct token_ask *ask,
			const struct demand *demand, const struct cred *cred, char **ret,
			uint64_t *ret_life_sec, struct err *err)
{
	static const char *const headers[] = {"Accept: application/json", NULL};
	bool home = false;
	int r = realm_check(config, ask, demand->realm, &home, err);
	if (r < 0)
		return r;
	AUTO_FINISH(http_response) struct http_response resp = {0};
	AUTO_SECRET_BUF struct buf body = buf_make(TOKEN_BODY_MAX);
	struct http_request req = {.headers = headers};
	if (home)
		req.tls = *ask->tls;
	bool posted = cred->identity_token != NULL;
	if (posted)
		r = token_post(config, ask, demand, cred, &req, &resp, &body, err);
	if (!posted || (r == 0 && post_falls_back(resp.status, cred))) {
		buf_clear(&body);
		http_response_finish(&resp);
		r = token_get(config, ask, demand, cred, &req, &resp, &body, err);
	}
	if (r < 0)
		return r;

	char shown[HTTP_URL_SHOWN_MAX];
	(void)http_url_shown(demand->realm, shown);
	if (resp.status == 401 || resp.status == 403)
		return err_say(err, -EACCES, "the token server %s refuses %s %s (status %d)", shown,
			       cred->username || posted ? "the credentials for" :
							  "anonymous access to",
			       ask->registry_host, resp.status);
	if (resp.status != 200)
		return err_say(err, -EREMOTEIO, "the token server %s answered %d", shown,
			       resp.status);
	AUTO_SECRET char *token = NULL;
	r = token_parse(body.data, body.len, &token, ret_life_sec, err);
	if (r < 0)
		return err_prefix(err, r, "the token server %s", shown);
	return bearer_header(token, ret);
}

static int token_once(const struct tokens_config *config, const struct token_ask *ask,
		      const struct demand *demand, bool renew, char **ret,
		      uint64_t *ret_life_sec, bool *ret_known, struct err *err)
{
	AUTO_FINISH(cred) struct cred cred = {0};
	int r = 0;
	if (config->creds)
		r = creds_get(config->creds, ask->registry_host, ask->repository, renew, &cred, err);
	if (r < 0)
		return r;
	*ret_known = !cred_is_anonymous(&cred);
	if (cred.registry_token) {
		*ret_life_sec = 0;
		return bearer_header(cred.registry_token, ret);
	}
	if (demand->scheme == CHALLENGE_BEARER)
		return token_bearer(config, ask, demand, &cred, ret, ret_life_sec, err);
	if (!cred.username)
		return err_say(err, -EACCES,
			       "%s wants a user name and password, and none is known for it: log in "
			       "with podman login or docker login",
			       ask->registry_host);
	*ret_life_sec = 0;
	r = basic_header(&cred, ret);
	return r < 0 ? err_set(err, r, "make a login") : 0;
}

int token_fetch(const struct tokens_config *config, const struct token_ask *ask,
		const struct demand *demand, bool renew, char **ret, uint64_t *ret_life_sec,
		struct err *err)
{
	bool known = false;
	int r = token_once(config, ask, demand, renew, ret, ret_life_sec, &known, err);
	/* What a helper said earlier may have ended since. */
	if (r == -EACCES && known && !renew)
		r = token_once(config, ask, demand, true, ret, ret_life_sec, &known, err);
	return r;
}
