/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/token.h"

#include <pthread.h>
#include <string.h>

#include "base/htab.h"
#include "base/list.h"
#include "base/num.h"
#include "fetcher/handover.h"
#include "fetcher/token_fetch.h"

enum { TOKEN_RECORD = 'T', NUMBER_TEXT_MAX = 24 };

/* What is known for one endpoint and set of scopes. Lives as long as the cache. */
struct token_entry {
	struct hnode node;
	char *key;	/* owned */
	char *header;	/* owned secret; NULL: none yet */
	deadline_t renew_at; /* 0: never */
	struct demand demand;
	bool busy;	      /* one thread is fetching */
	unsigned int flights; /* ended so far: what waiters watch */
	struct err failure;   /* of the last flight; code 0: it succeeded */
};

struct tokens {
	struct tokens_config config;
	pthread_mutex_t lock;
	pthread_cond_t landed; /* some entry's flight has ended */
	struct htab entries;   /* of struct token_entry */
};

int tokens_create(const struct tokens_config *config, struct tokens **ret, struct err *err)
{
	struct tokens *tokens = calloc(1, sizeof(*tokens));
	if (!tokens)
		return err_set(err, -ENOMEM, "make a token cache");
	tokens->config = *config;
	(void)pthread_mutex_init(&tokens->lock, NULL);
	(void)pthread_cond_init(&tokens->landed, NULL);
	*ret = tokens;
	return 0;
}

static void entry_free(struct token_entry *entry)
{
	if (!entry)
		return;
	free(entry->key);
	secret_free(entry->header);
	demand_finish(&entry->demand);
	free(entry);
}

void tokens_destroy(struct tokens *tokens)
{
	if (!tokens)
		return;
	struct hnode *node;
	while ((node = htab_pop(&tokens->entries)))
		entry_free(container_of(node, struct token_entry, node));
	htab_finish(&tokens->entries);
	(void)pthread_cond_destroy(&tokens->landed);
	(void)pthread_mutex_destroy(&tokens->lock);
	free(tokens);
}

static bool entry_matches(const struct hnode *node, const void *key)
{
	return strcmp(container_of(node, const struct token_entry, node)->key, key) == 0;
}

/* With the lock held. */
static int tokens_entry_by(struct tokens *tokens, const char *key, struct token_entry **ret)
{
	uint64_t hash = hash_bytes(key, strlen(key));
	struct hnode *node = htab_find(&tokens->entries, hash, entry_matches, key);
	if (node) {
		*ret = container_of(node, struct token_entry, node);
		return 0;
	}
	if (tokens->entries.count >= TOKEN_ENTRIES_MAX)
		return -E2BIG;
	struct token_entry *entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->key = strdup(key);
	int r = entry->key ? htab_insert(&tokens->entries, &entry->node, hash) : -ENOMEM;
	if (r < 0) {
		entry_free(entry);
		return r;
	}
	*ret = entry;
	return 0;
}

static int tokens_entry(struct tokens *tokens, const struct token_ask *ask,
			struct token_entry **ret)
{
	AUTO_FREE char *key = NULL;
	if (asprintf(&key, "%s %s", ask->url_base, ask->scopes) < 0) {
		key = NULL;
		return -ENOMEM;
	}
	return tokens_entry_by(tokens, key, ret);
}

/* Waits until the flight that is under way has landed. With the lock held. */
static int tokens_await(struct tokens *tokens, struct token_entry *entry, deadline_t deadline,
			struct err *err)
{
	unsigned int flights = entry->flights;
	while (entry->flights == flights) {
		if (deadline == 0) {
			(void)pthread_cond_wait(&tokens->landed, &tokens->lock);
			continue;
		}
		struct timespec until = deadline_timespec(deadline);
		if (pthread_cond_clockwait(&tokens->landed, &tokens->lock, CLOCK_MONOTONIC,
					   &until) == ETIMEDOUT &&
		    entry->flights == flights)
			return err_set(err, -ETIMEDOUT, "wait for a token");
	}
	return entry->failure.code < 0 ? err_copy(err, &entry->failure) : 0;
}

/* Fetches without the lock; the entry is marked busy by the caller. */
static int entry_fly(struct tokens *tokens, const struct token_ask *ask,
		     const struct demand *before, const struct http_response *refused,
		     const char *used, struct demand *ret_demand, char **ret_header,
		     uint64_t *ret_life, struct err *err)
{
	AUTO_FINISH(demand) struct demand demand = {0};
	bool renew = false;
	int r = 0;
	if (refused)
		r = demand_read(ask, refused, &demand, err);
	if (r < 0)
		return r;
	bool challenged = demand.scheme != CHALLENGE_OTHER;
	if (!challenged) {
		if (before->scheme == CHALLENGE_OTHER)
			return err_say(err, -EACCES, "%s refuses access, and does not say how to "
				       "log in", ask->registry_host);
		r = demand_copy(before, &demand);
		if (r < 0)
			return err_set(err, r, "keep a challenge");
	}
	/* A token that is turned down has ended; a password that is, is wrong. */
	if (refused && used)
		renew = !challenged || demand.scheme == CHALLENGE_BASIC;
	AUTO_SECRET char *header = NULL;
	r = token_fetch(&tokens->config, ask, &demand, renew, &header, ret_life, err);
	if (r < 0)
		return r;
	if (used && strcmp(used, header) == 0)
		return err_say(err, -EACCES, "%s refuses the credentials for it",
			       ask->registry_host);
	*ret_header = steal_ptr(&header);
	*ret_demand = demand;
	demand = (struct demand){0};
	return 0;
}

/* With the lock held, which is given up meanwhile. */
static int entry_refresh(struct tokens *tokens, struct token_entry *entry,
			 const struct token_ask *ask, const struct http_response *refused,
			 const char *used, struct err *err)
{
	AUTO_FINISH(demand) struct demand before = {0};
	AUTO_FINISH(demand) struct demand demand = {0};
	AUTO_SECRET char *header = NULL;
	uint64_t life = 0;
	struct err why = {0};
	int r = demand_copy(&entry->demand, &before);
	if (r < 0)
		return err_set(err, r, "renew a token");

	entry->busy = true;
	(void)pthread_mutex_unlock(&tokens->lock);
	uint64_t asked_at = clock_now_ns();
	r = entry_fly(tokens, ask, &before, refused, used, &demand, &header, &life, &why);
	if (r < 0 && why.code == 0)
		(void)err_set(&why, r, "log in to %s", ask->registry_host);
	(void)pthread_mutex_lock(&tokens->lock);

	entry->busy = false;
	entry->flights++;
	entry->failure = why;
	secret_free(entry->header);
	entry->header = NULL;
	if (r == 0) {
		entry->failure.code = 0;
		entry->header = steal_ptr(&header);
		/* Early by a quarter: what is sent now still has to arrive and be answered. */
		entry->renew_at = life ? asked_at + life * NS_PER_SEC / 4 * 3 : 0;
		demand_finish(&entry->demand);
		entry->demand = demand;
		demand = (struct demand){0};
	}
	(void)pthread_cond_broadcast(&tokens->landed);
	return r < 0 ? err_copy(err, &why) : 0;
}

/* Whether what is kept will do, or nothing is needed as far as we know. */
static bool entry_serves(const struct token_entry *entry, bool refused, const char *used)
{
	if (refused)
		return entry->header && (!used || strcmp(entry->header, used) != 0);
	if (!entry->header)
		return entry->demand.scheme == CHALLENGE_OTHER;
	return !deadline_passed(entry->renew_at);
}

int tokens_get(struct tokens *tokens, const struct token_ask *ask,
	       const struct http_response *refused, const char *used, char **ret,
	       struct err *err)
{
	struct token_entry *entry = NULL;
	(void)pthread_mutex_lock(&tokens->lock);
	int r = tokens_entry(tokens, ask, &entry);
	if (r < 0)
		(void)err_set(err, r, "log in to %s", ask->registry_host);
	while (r == 0 && !entry_serves(entry, refused != NULL, used)) {
		if (entry->busy)
			r = tokens_await(tokens, entry, ask->deadline, err);
		else
			r = entry_refresh(tokens, entry, ask, refused, used, err);
	}
	char *copy = NULL;
	if (r == 0 && entry->header) {
		copy = strdup(entry->header);
		if (!copy)
			r = err_set(err, -ENOMEM, "log in to %s", ask->registry_host);
	}
	(void)pthread_mutex_unlock(&tokens->lock);
	if (r == 0)
		*ret = copy;
	return r;
}

/* The texts of a record, in this order. */
enum {
	KNOWN_KEY,
	KNOWN_HEADER,
	KNOWN_RENEW_AT, /* nanoseconds of the monotonic clock, which all processes share */
	KNOWN_SCHEME,
	KNOWN_REALM,
	KNOWN_SERVICE,
	KNOWN_SCOPES,
	KNOWN_TEXTS,
};

int tokens_hand_over(struct tokens *tokens, struct handover *to)
{
	struct hnode *node = NULL;
	int r = 0;
	(void)pthread_mutex_lock(&tokens->lock);
	while (r == 0 && (node = htab_next(&tokens->entries, node))) {
		const struct token_entry *entry = container_of(node, struct token_entry, node);
		char renew_at[NUMBER_TEXT_MAX], scheme[NUMBER_TEXT_MAX];
		const char *texts[KNOWN_TEXTS] = {
			entry->key,	      entry->header,	     renew_at,	    scheme,
			entry->demand.realm, entry->demand.service, entry->demand.scopes};
		if (!entry->header || deadline_passed(entry->renew_at))
			continue;
		(void)snprintf(renew_at, sizeof(renew_at), "%llu",
			       (unsigned long long)entry->renew_at);
		(void)snprintf(scheme, sizeof(scheme), "%d", (int)entry->demand.scheme);
		r = handover_add(to, TOKEN_RECORD, texts, KNOWN_TEXTS);
	}
	(void)pthread_mutex_unlock(&tokens->lock);
	return r;
}

static int entry_take(struct token_entry *entry, const char *const texts[static KNOWN_TEXTS])
{
	uint64_t renew_at = 0, scheme = 0;
	if (u64_parse(texts[KNOWN_RENEW_AT], UINT64_MAX, &renew_at) < 0 ||
	    u64_parse(texts[KNOWN_SCHEME], CHALLENGE_BEARER, &scheme) < 0)
		return -EBADMSG;
	if (entry->busy || entry->header)
		return 0;
	const struct demand known = {
		.scheme = (enum challenge_scheme)scheme,
		.realm = (char *)(uintptr_t)texts[KNOWN_REALM],
		.service = texts[KNOWN_SERVICE][0] ? (char *)(uintptr_t)texts[KNOWN_SERVICE] : NULL,
		.scopes = (char *)(uintptr_t)texts[KNOWN_SCOPES],
	};
	struct demand demand = {0};
	int r = demand_copy(&known, &demand);
	if (r < 0)
		return r;
	entry->header = strdup(texts[KNOWN_HEADER]);
	if (!entry->header) {
		demand_finish(&demand);
		return -ENOMEM;
	}
	demand_finish(&entry->demand);
	entry->demand = demand;
	entry->renew_at = renew_at;
	return 0;
}

int tokens_take_over(struct tokens *tokens, char kind, struct handover *from)
{
	const char *texts[KNOWN_TEXTS];
	struct token_entry *entry = NULL;
	if (kind != TOKEN_RECORD)
		return -ENOENT;
	int r = handover_take(from, texts, KNOWN_TEXTS);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&tokens->lock);
	r = tokens_entry_by(tokens, texts[KNOWN_KEY], &entry);
	if (r == 0)
		r = entry_take(entry, texts);
	(void)pthread_mutex_unlock(&tokens->lock);
	return r;
}
