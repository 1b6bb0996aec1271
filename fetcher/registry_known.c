/* SPDX-License-Identifier: Apache-2.0 */

/* What a registry's origin knows that another process would ask for again: see fetcher/handover.h. */

#include <string.h>

#include "base/num.h"
#include "fetcher/handover.h"
#include "fetcher/registry_internal.h"

enum {
	SERVER_RECORD = 'S',
	BLOB_RECORD = 'B',
	NUMBER_TEXT_MAX = 24,
	STORE_WARM_CONNECTIONS = 4, /* to a host that a registry sends to for blobs */
};

/* The texts of the records, in this order. */
enum { SERVER_NUMBER, SERVER_DOWN_UNTIL, SERVER_TEXTS };
enum { BLOB_DIGEST, BLOB_SIZE, BLOB_TYPE, BLOB_SERVER, BLOB_URL, BLOB_TEXTS };

static const char *number(uint64_t n, char text[static NUMBER_TEXT_MAX])
{
	(void)snprintf(text, NUMBER_TEXT_MAX, "%llu", (unsigned long long)n);
	return text;
}

static int servers_hand_over(struct registry *reg, struct handover *to)
{
	int r = 0;
	for (size_t i = 0; i < reg->n_servers && r == 0; i++) {
		char index[NUMBER_TEXT_MAX], until[NUMBER_TEXT_MAX];
		deadline_t down_until = atomic_load(&reg->servers[i].down_until);
		const char *texts[SERVER_TEXTS] = {number(i, index), number(down_until, until)};
		if (down_until != 0 && !deadline_passed(down_until))
			r = handover_add(to, SERVER_RECORD, texts, SERVER_TEXTS);
	}
	return r;
}

/* With the registry's lock held. */
static int blob_hand_over(const struct blob *blob, struct handover *to)
{
	char size[NUMBER_TEXT_MAX], server[NUMBER_TEXT_MAX];
	struct digest_text digest;
	const char *texts[BLOB_TEXTS] = {
		digest_str(&blob->desc.digest, digest.s), number(blob->desc.size, size),
		blob->desc.media_type, number(blob->url_server, server), blob->url};
	/* One with addresses of its own is looked for there first. */
	return blob->url && !blob->desc.urls ? handover_add(to, BLOB_RECORD, texts, BLOB_TEXTS) : 0;
}

int registry_hand_over(struct origin *origin, struct handover *to)
{
	if (!registry_is(origin))
		return 0;
	struct registry *reg = registry_of(origin);
	struct hnode *node = NULL;
	int r = servers_hand_over(reg, to);
	(void)pthread_mutex_lock(&reg->lock);
	while (r == 0 && (node = htab_next(&reg->blobs, node)))
		r = blob_hand_over(container_of(node, struct blob, node), to);
	(void)pthread_mutex_unlock(&reg->lock);
	return r;
}

static int server_take_over(struct registry *reg, struct handover *from)
{
	const char *texts[SERVER_TEXTS];
	uint64_t i = 0, down_until = 0;
	int r = handover_take(from, texts, SERVER_TEXTS);
	if (r < 0 || u64_parse(texts[SERVER_NUMBER], reg->n_servers - 1, &i) < 0 ||
	    u64_parse(texts[SERVER_DOWN_UNTIL], UINT64_MAX, &down_until) < 0)
		return -EBADMSG;
	atomic_store(&reg->servers[i].down_until, down_until);
	return 0;
}

/*
 * Where one blob was, others will be: the first request for one still goes to the registry, and
 * connections to the host behind are made meanwhile.
 */
static void store_warm(struct registry *reg, const struct server *server, const char *url)
{
	AUTO_FINISH(http_url) struct http_url where = {0};
	AUTO_FREE char *root = NULL;
	const struct http_tls tls = {.ca_pem = server->at->ca_pem};
	const char *host = strstr(url, "://");
	if (reg->store_warmed || !host || http_url_parse(url, &where, NULL) < 0 ||
	    http_url_same_origin(&where, &server->where))
		return;
	host += strlen("://");
	if (asprintf(&root, "%.*s/", (int)(host - url) + (int)strcspn(host, "/?"), url) < 0) {
		root = NULL;
		return;
	}
	reg->store_warmed = true;
	for (int i = 0; i < STORE_WARM_CONNECTIONS; i++)
		http_engine_warm(reg->engine, root, &tls);
}

static int blob_take_over(struct registry *reg, struct handover *from)
{
	const char *texts[BLOB_TEXTS];
	struct descriptor desc = {0};
	struct blob *blob = NULL;
	uint64_t server = 0;
	if (handover_take(from, texts, BLOB_TEXTS) < 0 ||
	    digest_parse(texts[BLOB_DIGEST], &desc.digest, NULL) < 0 ||
	    u64_parse(texts[BLOB_SIZE], UINT64_MAX, &desc.size) < 0 ||
	    u64_parse(texts[BLOB_SERVER], reg->n_servers - 1, &server) < 0)
		return -EBADMSG;
	desc.media_type = (char *)(uintptr_t)texts[BLOB_TYPE];
	int r = registry_blob(reg, &desc, &blob, NULL);
	if (r < 0)
		return r;
	AUTO_FREE char *url = strdup(texts[BLOB_URL]);
	if (!url)
		return -ENOMEM;
	(void)pthread_mutex_lock(&reg->lock);
	if (!blob->url) {
		blob->url = steal_ptr(&url);
		blob->url_server = (size_t)server;
	}
	(void)pthread_mutex_unlock(&reg->lock);
	store_warm(reg, &reg->servers[server], texts[BLOB_URL]);
	return 0;
}

int registry_take_over(struct origin *origin, char kind, struct handover *from)
{
	if (!registry_is(origin) || (kind != SERVER_RECORD && kind != BLOB_RECORD))
		return -ENOENT;
	return kind == SERVER_RECORD ? server_take_over(registry_of(origin), from) :
				       blob_take_over(registry_of(origin), from);
}
