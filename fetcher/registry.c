/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/registry.h"

#include <fcntl.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/num.h"
#include "fetcher/registry_internal.h"

enum {
	REFUSAL_WORDS_MAX = 200, /* of what a server says about an error */
	REGISTRY_WARM_MAX = 8,
};

/* The text for a URL of this server, with ?ns= where the endpoint wants it. */
static int call_url(const struct registry *reg, const struct server *server,
		    const struct reg_call *call, char **ret)
{
	AUTO_FREE char *url = NULL;
	if (call->url) {
		url = strdup(call->url);
	} else if (asprintf(&url, "%s/%s%s", server->at->url_base, reg->repository,
			    call->path) < 0) {
		url = NULL;
	}
	if (!url)
		return -ENOMEM;
	if (call->url || !server->at->ns) {
		*ret = steal_ptr(&url);
		return 0;
	}
	return http_url_add_query(url, "ns", server->at->ns, ret);
}

static int call_scopes(const struct registry *reg, const struct reg_call *call, char **ret)
{
	int n;
	if (call->from)
		n = asprintf(ret, "repository:%s:pull,push repository:%s:pull", reg->repository,
			     call->from);
	else
		n = asprintf(ret, "repository:%s:%s", reg->repository,
			     call->push ? "pull,push" : "pull");
	return n < 0 ? -ENOMEM : 0;
}

static int collect_write(void *data, const void *bytes, size_t n)
{
	int r = buf_append(data, bytes, n);
	return r == -E2BIG ? -EFBIG : r;
}

static int call_send(struct registry *reg, const struct server *server,
		     const struct reg_call *call, const char *url, bool at_home,
		     const struct http_tls *tls, const char *authorization,
		     struct http_response *resp, struct err *err)
{
	struct byte_sink collect = {.write = collect_write, .data = call->collect};
	if (call->collect)
		buf_clear(call->collect);
	struct http_request req = {
		.method = call->method,
		.url = url,
		.headers = call->headers,
		.authorization = authorization,
		.private_headers = at_home ? server->at->headers : NULL,
		.body = call->body,
		.body_len = call->body_len,
		.has_range = call->has_range,
		.range_off = call->range_off,
		.range_len = call->range_len,
		.allow_downgrade = reg->allow_downgrade,
		.keep_redirect = call->keep_redirect,
		.fresh = call->fresh,
		.deadline = call->deadline,
		.idle_ms = call->idle_ms,
		.dial_timeout_ms = server->at->dial_timeout_ms,
		.head = call->head,
		.head_data = call->head_data,
		.sink = call->collect ? &collect : call->sink,
		.max_body = call->max_body,
	};
	if (at_home)
		req.tls = *tls;
	else
		req.tls.ca_pem = tls->ca_pem;
	return http_perform(reg->engine, &req, resp, err);
}

/* Whether the endpoint itself (no host it redirects to) turns down what we sent. */
static bool call_refused(const struct http_response *resp, const char *authorization)
{
	if (resp->status == 401)
		return true;
	/* ECR answers a login that has ended with 403 and no challenge. */
	return resp->status == 403 && authorization && !http_header(resp, "www-authenticate");
}

int registry_try(struct registry *reg, struct server *server, const struct reg_call *call,
		 struct http_response *resp, struct err *err)
{
	AUTO_FREE char *url = NULL;
	AUTO_FREE char *scopes = NULL;
	AUTO_SECRET char *authorization = NULL;
	AUTO_FINISH(http_url) struct http_url where = {0};
	if (call_url(reg, server, call, &url) < 0 || call_scopes(reg, call, &scopes) < 0)
		return err_set(err, -ENOMEM, "make a request");
	int r = http_url_parse(url, &where, err);
	if (r < 0)
		return r;
	bool at_home = http_url_same_origin(&where, &server->where);
	const struct http_tls tls = {
		.ca_pem = server->at->ca_pem,
		.client_cert = server->at->client_cert,
		.client_key = server->at->client_key,
		.skip_verify = server->at->skip_verify,
	};
	const struct token_ask ask = {
		.url_base = server->at->url_base,
		.registry_host = server->cred_host,
		.repository = reg->repository,
		.scopes = scopes,
		.tls = &tls,
		.deadline = call->idle_ms ? deadline_in_ms(call->idle_ms) : call->deadline,
	};
	if (at_home)
		r = tokens_get(reg->tokens, &ask, NULL, NULL, &authorization, err);

	bool logged_in = false, renewed = false;
	while (r == 0) {
		r = call_send(reg, server, call, url, at_home, &tls, authorization, resp, err);
		if (r < 0 || !at_home || resp->redirected || !call_refused(resp, authorization))
			break;
		bool *spent = resp->status == 401 ? &logged_in : &renewed;
		if (*spent)
			break;
		*spent = true;
		char *next = NULL;
		r = tokens_get(reg->tokens, &ask, resp, authorization, &next, err);
		/* Without a way to log in, a 403 stands as it is. */
		if (r == -EACCES && resp->status == 403)
			return 0;
		if (r == 0) {
			secret_free(authorization);
			authorization = next;
		}
	}
	return r;
}

int registry_call(struct registry *reg, struct server *server, const struct reg_call *call,
		  struct http_response *resp, struct err *err)
{
	struct retry retry = retry_plan(call->tries, call->deadline);
	int r;
	do {
		http_response_finish(resp);
		r = registry_try(reg, server, call, resp, err);
	} while (retry_wait(&retry, reg->engine, r, resp));
	return r;
}

/* The first error of an error body (distribution-spec, "Error Codes"), "" without one. */
static void refusal_words(const struct http_response *resp, char out[static REFUSAL_WORDS_MAX])
{
	AUTO_JSON json_t *json = NULL;
	json_t *list = NULL;
	const char *code = "", *message = "";
	out[0] = '\0';
	if (resp->error.len == 0 ||
	    json_parse_object(resp->error.data, resp->error.len, "the error", &json, NULL) < 0 ||
	    json_get_array(json, "errors", JSON_NEED, &list, NULL) < 0 ||
	    json_get_str(json_array_get(list, 0), "code", JSON_MAY, &code, NULL) < 0 ||
	    json_get_str(json_array_get(list, 0), "message", JSON_MAY, &message, NULL) < 0)
		return;
	(void)snprintf(out, REFUSAL_WORDS_MAX, ", %s: %s", code, message);
}

int registry_refusal(const struct http_response *resp, const char *method, struct err *err)
{
	char shown[HTTP_URL_SHOWN_MAX];
	char words[REFUSAL_WORDS_MAX];
	const char *meaning = "";
	int r = -EREMOTEIO;
	if (resp->status == 404) {
		r = -ENOENT;
		meaning = " (not found)";
	} else if (resp->status == 401 || resp->status == 403) {
		r = -EACCES;
		meaning = " (access denied)";
	} else if (resp->status == 429) {
		meaning = " (too many requests)";
	}
	refusal_words(resp, words);
	return err_say(err, r, "%s %s: the server answered %d%s%s", method,
		       http_url_shown(resp->url ? resp->url : "", shown), resp->status, meaning,
		       words);
}

static bool server_can(const struct server *server, enum capability can)
{
	switch (can) {
	case CAN_RESOLVE:
		return server->at->resolve;
	case CAN_PULL:
		return server->at->pull;
	case CAN_PUSH:
		return server->at->push;
	}
	return false;
}

struct server *registry_next(struct registry *reg, enum capability can, struct walk *walk)
{
	/* Two rounds: those that answer, then those that lately did not. */
	while (walk->pos < 2 * reg->n_servers) {
		bool last_round = walk->pos >= reg->n_servers;
		size_t i = last_round ? walk->pos - reg->n_servers : walk->pos;
		walk->pos++;
		struct server *server = &reg->servers[i];
		deadline_t until = atomic_load(&server->down_until);
		bool down = until != 0 && !deadline_passed(until);
		if ((walk->asked & UINT32_C(1) << i) || !server_can(server, can) ||
		    (down && !last_round))
			continue;
		walk->asked |= UINT32_C(1) << i;
		return server;
	}
	return NULL;
}

unsigned int registry_tries(struct registry *reg, enum capability can, struct walk walk)
{
	return registry_next(reg, can, &walk) ? REGISTRY_MIRROR_TRIES : RETRY_ATTEMPTS_MAX;
}

bool registry_passes_on(struct server *server, int r)
{
	if (retry_errno(r) || r == -EKEYREJECTED)
		atomic_store(&server->down_until, deadline_in_ms(REGISTRY_DOWN_MS));
	return r != -ECANCELED && r != -ENOMEM;
}

static bool blob_matches(const struct hnode *node, const void *key)
{
	return digest_equal(&container_of(node, const struct blob, node)->desc.digest, key);
}

int registry_blob(struct registry *reg, const struct descriptor *desc, struct blob **ret,
		  struct err *err)
{
	uint64_t hash = hash_bytes(desc->digest.bytes, sizeof(desc->digest.bytes));
	int r = 0;
	(void)pthread_mutex_lock(&reg->lock);
	struct hnode *node = htab_find(&reg->blobs, hash, blob_matches, &desc->digest);
	struct blob *blob = node ? container_of(node, struct blob, node) : NULL;
	if (!blob && reg->blobs.count >= REGISTRY_BLOBS_MAX)
		r = -E2BIG;
	if (!blob && r == 0) {
		blob = calloc(1, sizeof(*blob));
		r = blob ? descriptor_copy(desc, &blob->desc) : -ENOMEM;
		if (r == 0) {
			blob->spool_fd = -1;
			blob->registry = reg;
			list_init(&blob->work.link);
			r = htab_insert(&reg->blobs, &blob->node, hash);
		}
		if (r < 0 && blob) {
			descriptor_finish(&blob->desc);
			free(blob);
		}
	}
	(void)pthread_mutex_unlock(&reg->lock);
	if (r < 0)
		return err_set(err, r, "keep account of a blob of %s", reg->repository);
	if (blob->desc.size != desc->size)
		return err_say(err, -EBADMSG,
			       "two descriptors give one blob the sizes %llu and %llu",
			       (unsigned long long)blob->desc.size, (unsigned long long)desc->size);
	*ret = blob;
	return 0;
}

int registry_workers(struct registry *reg, struct workers **ret, struct err *err)
{
	int r = 0;
	(void)pthread_mutex_lock(&reg->lock);
	if (!reg->workers)
		r = workers_create(REGISTRY_SPOOLS_MAX, "sluice-spool", &reg->workers, err);
	if (r == 0)
		*ret = reg->workers;
	(void)pthread_mutex_unlock(&reg->lock);
	return r;
}

static void registry_destroy(struct origin *o)
{
	struct registry *reg = registry_of(o);
	atomic_store(&reg->closing, true);
	workers_destroy(reg->workers);
	struct hnode *node;
	while ((node = htab_pop(&reg->blobs))) {
		struct blob *blob = container_of(node, struct blob, node);
		descriptor_finish(&blob->desc);
		free(blob->url);
		cleanup_close(&blob->spool_fd);
		free(blob);
	}
	htab_finish(&reg->blobs);
	for (size_t i = 0; i < reg->n_servers; i++) {
		http_url_finish(&reg->servers[i].where);
		free(reg->servers[i].cred_host);
	}
	free(reg->servers);
	endpoints_finish(&reg->endpoints);
	cleanup_close(&reg->spool_dirfd);
	ref_finish(&reg->ref);
	free(reg->mount_from);
	free(reg->repository);
	free(reg->host);
	(void)pthread_cond_destroy(&reg->spool_moved);
	(void)pthread_mutex_destroy(&reg->lock);
	free(reg);
}

static const struct origin_ops registry_ops = {
	.manifest = registry_manifest,
	.blob = registry_get_blob,
	.range = registry_range,
	.stream = registry_stream,
	.referrers = registry_referrers,
	.push_blob = registry_push_blob,
	.push_manifest = registry_push_manifest,
	.destroy = registry_destroy,
};

bool registry_is(const struct origin *o)
{
	return o->ops == &registry_ops;
}

/* A mirror gets the credentials that are stored for it, never the image's. */
static int server_init(const struct registry *reg, struct endpoint *at, struct server *server,
		       struct err *err)
{
	server->at = at;
	int r = http_url_parse(at->url_base, &server->where, err);
	if (r < 0)
		return r;
	const char *start = strstr(at->url_base, "://") + 3;
	if (at->is_upstream)
		server->cred_host = strdup(reg->host);
	else
		server->cred_host = strndup(start, strcspn(start, "/"));
	return server->cred_host ? 0 : err_set(err, -ENOMEM, "open %s", reg->host);
}

int registry_spool_in(struct origin *origin, int dirfd, struct err *err)
{
	if (!registry_is(origin))
		return 0;
	struct registry *reg = registry_of(origin);
	int fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return err_set(err, -errno, "keep the directory for temporary files");
	cleanup_close(&reg->spool_dirfd);
	reg->spool_dirfd = fd;
	return 0;
}

static int registry_init(struct registry *reg, const struct registry_config *config,
			 const struct ref *ref, struct err *err)
{
	reg->engine = config->engine;
	reg->tokens = config->tokens;
	reg->allow_downgrade = config->allow_downgrade;
	reg->host = strdup(ref->host);
	reg->repository = strdup(ref->repository);
	reg->mount_from = config->mount_from ? strdup(config->mount_from) : NULL;
	reg->ref.kind = REF_REGISTRY;
	reg->ref.digest = ref->digest;
	reg->ref.tag = ref->tag ? strdup(ref->tag) : NULL;
	if (!reg->host || !reg->repository || (config->mount_from && !reg->mount_from) ||
	    (ref->tag && !reg->ref.tag))
		return err_set(err, -ENOMEM, "open %s", ref->host);
	int r = config->spool_dirfd < 0 ? 0 : registry_spool_in(&reg->origin, config->spool_dirfd, err);
	if (r == 0)
		r = hosts_resolve(config->hosts, ref->host, &reg->endpoints, err);
	if (r < 0)
		return r;
	/* struct blob's `missing` has a bit for each. */
	if (reg->endpoints.count == 0 || reg->endpoints.count > 32)
		return err_say(err, -EINVAL, "%s has %zu servers", ref->host, reg->endpoints.count);
	reg->servers = calloc(reg->endpoints.count, sizeof(*reg->servers));
	if (!reg->servers)
		return err_set(err, -ENOMEM, "open %s", ref->host);
	while (r == 0 && reg->n_servers < reg->endpoints.count) {
		r = server_init(reg, &reg->endpoints.items[reg->n_servers],
				&reg->servers[reg->n_servers], err);
		reg->n_servers++;
	}
	return r;
}

int registry_open(const struct registry_config *config, const struct ref *ref,
		  struct origin **ret, struct err *err)
{
	if (ref->kind != REF_REGISTRY)
		return err_say(err, -EINVAL, "the reference names no registry");
	struct registry *reg = calloc(1, sizeof(*reg));
	if (!reg)
		return err_set(err, -ENOMEM, "open %s", ref->host);
	reg->origin.ops = &registry_ops;
	reg->spool_dirfd = -1;
	(void)pthread_mutex_init(&reg->lock, NULL);
	(void)pthread_cond_init(&reg->spool_moved, NULL);
	int r = registry_init(reg, config, ref, err);
	if (r < 0) {
		registry_destroy(&reg->origin);
		return r;
	}
	*ret = &reg->origin;
	return 0;
}

void registry_warm(struct origin *origin, unsigned int n)
{
	if (!registry_is(origin))
		return;
	struct registry *reg = registry_of(origin);
	struct walk walk = {0};
	struct server *server = registry_next(reg, CAN_PULL, &walk);
	AUTO_FREE char *url = NULL;
	if (!server || asprintf(&url, "%s/", server->at->url_base) < 0) {
		url = NULL;
		return;
	}
	const struct http_tls tls = {
		.ca_pem = server->at->ca_pem,
		.client_cert = server->at->client_cert,
		.client_key = server->at->client_key,
		.skip_verify = server->at->skip_verify,
	};
	for (unsigned int i = 0; i < n && i < REGISTRY_WARM_MAX; i++)
		http_engine_warm(reg->engine, url, &tls);
}
