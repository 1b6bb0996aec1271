/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who refers to a manifest (distribution-spec, "Listing Referrers"): the API,
 * or the tag that stands in for it where a registry has none. Which of them a
 * server has is not known before the first question, so that one asks for
 * both at once and costs one round trip.
 */

#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "fetcher/manifest.h"
#include "fetcher/registry_internal.h"

char *referrers_tag(const struct digest *subject, char out[static REFERRERS_TAG_MAX])
{
	char hex[DIGEST_STR_MAX];
	(void)snprintf(out, REFERRERS_TAG_MAX, "%s-%.64s", digest_algo_name(subject->algo),
		       digest_hex(subject, hex));
	return out;
}

/* Moves those of an index that are of the type (NULL: all) to the list. */
static int referrers_add(const struct buf *body, const char *artifact_type,
			 struct descriptors *list, struct err *err)
{
	AUTO_FINISH(manifest) struct manifest index = {0};
	int r = manifest_parse(buf_str(body), body->len, MEDIA_OCI_INDEX, &index, err);
	if (r == 0 && index.kind != MANIFEST_INDEX)
		r = err_say(err, -EPROTO, "it is no index");
	for (size_t i = 0; r == 0 && i < index.manifests.count; i++) {
		struct descriptor *desc = &index.manifests.items[i];
		if (artifact_type &&
		    (!desc->artifact_type || strcmp(desc->artifact_type, artifact_type) != 0))
			continue;
		r = descriptors_add(list, desc);
		if (r < 0)
			(void)err_set(err, r, "list referrers");
	}
	return r < 0 ? err_prefix(err, r, "the list of referrers") : 0;
}

/* The reference of rel="next" in Link headers (RFC 8288), copied; NULL: none. */
static int link_next(const struct http_response *resp, char **ret)
{
	size_t pos = 0;
	const char *value;
	while ((value = http_header_next(resp, "link", &pos))) {
		for (const char *open = strchr(value, '<'); open;) {
			const char *close = strchr(open, '>');
			if (!close)
				break;
			const char *following = strchr(close, '<');
			size_t n = following ? (size_t)(following - close) : strlen(close);
			AUTO_FREE char *params = strndup(close, n);
			if (!params)
				return -ENOMEM;
			if (strcasestr(params, "rel=\"next\"") || strcasestr(params, "rel=next")) {
				*ret = strndup(open + 1, (size_t)(close - open) - 1);
				return *ret ? 0 : -ENOMEM;
			}
			open = following;
		}
	}
	return 0;
}

/* The pages seen of one listing. */
struct pages {
	char *urls[REGISTRY_REFERRERS_MAX];
	size_t count;
};

static void pages_finish(struct pages *pages)
{
	for (size_t i = 0; i < pages->count; i++)
		free(pages->urls[i]);
}
DEFINE_FINISH(pages, pages_finish);

/* Where the next page is: the same server, and no page seen before. *url NULL: the end. */
static int pages_next(struct pages *pages, const struct server *server,
		      const struct http_response *resp, char **url, struct err *err)
{
	AUTO_FREE char *link = NULL;
	AUTO_FREE char *next = NULL;
	AUTO_FINISH(http_url) struct http_url where = {0};
	char shown[HTTP_URL_SHOWN_MAX];
	free(*url);
	*url = NULL;
	int r = link_next(resp, &link);
	if (r < 0)
		return err_set(err, r, "list referrers");
	if (!link)
		return 0;
	r = http_url_join(resp->url, link, &next, err);
	if (r == 0)
		r = http_url_parse(next, &where, err);
	if (r < 0)
		return err_prefix(err, -EPROTO, "the next page of referrers");
	if (!http_url_same_origin(&where, &server->where))
		return err_say(err, -EPROTO, "the next page of referrers is at a foreign host: %s",
			       http_url_shown(next, shown));
	for (size_t i = 0; i < pages->count; i++)
		if (strcmp(pages->urls[i], next) == 0)
			return err_say(err, -ELOOP, "the pages of referrers go round in a circle "
				       "at %s", http_url_shown(next, shown));
	if (pages->count == REGISTRY_REFERRERS_MAX)
		return err_say(err, -E2BIG, "more than %d pages of referrers",
			       REGISTRY_REFERRERS_MAX);
	*url = strdup(next);
	if (!*url)
		return err_set(err, -ENOMEM, "list referrers");
	pages->urls[pages->count++] = steal_ptr(&next);
	return 0;
}

static bool no_such_api(int status)
{
	return status == 404 || status == 405 || status == 400 || status == 501;
}

/* -EOPNOTSUPP where the server does not know the API. */
static int referrers_api(struct registry *reg, struct server *server,
			 const struct digest *subject, const char *artifact_type,
			 struct descriptors *ret, deadline_t deadline, struct err *err)
{
	static const char *const headers[] = {"Accept: " MEDIA_OCI_INDEX, NULL};
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *query = NULL;
	AUTO_FREE char *url = NULL;
	AUTO_FINISH(buf) struct buf body = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(pages) struct pages pages = {0};
	struct digest_text text;
	if (asprintf(&path, "/referrers/%s", digest_str(subject, text.s)) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "list referrers");
	}
	if (artifact_type && http_url_add_query(path, "artifactType", artifact_type, &query) < 0)
		return err_set(err, -ENOMEM, "list referrers");
	do {
		AUTO_FINISH(http_response) struct http_response resp = {0};
		const struct reg_call call = {
			.path = query ? query : path, .url = url, .headers = headers,
			.collect = &body, .max_body = ORIGIN_MANIFEST_MAX, .deadline = deadline,
		};
		int r = registry_call(reg, server, &call, &resp, err);
		if (r < 0)
			return r;
		if (no_such_api(resp.status) && !url)
			return -EOPNOTSUPP;
		if (resp.status != 200)
			return registry_refusal(&resp, "GET", err);
		r = referrers_add(&body, artifact_type, ret, err);
		if (r == 0)
			r = pages_next(&pages, server, &resp, &url, err);
		if (r < 0)
			return r;
	} while (url);
	return 0;
}

static int referrers_by_tag(struct registry *reg, struct server *server,
			    const struct digest *subject, const char *artifact_type,
			    unsigned int tries, struct descriptors *ret, deadline_t deadline,
			    struct err *err)
{
	char tag[REFERRERS_TAG_MAX];
	AUTO_FINISH(buf) struct buf body = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	int r = registry_fetch_manifest(reg, server, referrers_tag(subject, tag), NULL, tries,
					&body, &desc, deadline, err);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : referrers_add(&body, artifact_type, ret, err);
}

/* The question by tag, asked beside the one to the API. */
struct tag_work {
	struct work work;
	struct registry *reg;
	struct server *server;
	const struct digest *subject;
	const char *artifact_type;
	deadline_t deadline;
	struct descriptors list;
	struct err err;
	int result; /* of one try, since the API may well answer */
	bool done; /* under the registry's lock */
};

static void tag_work_run(struct work *work)
{
	struct tag_work *tw = container_of(work, struct tag_work, work);
	struct registry *reg = tw->reg;
	int r = referrers_by_tag(reg, tw->server, tw->subject, tw->artifact_type, 1, &tw->list,
				 tw->deadline, &tw->err);
	(void)pthread_mutex_lock(&reg->lock);
	tw->result = r;
	tw->done = true;
	(void)pthread_cond_broadcast(&reg->spool_moved);
	(void)pthread_mutex_unlock(&reg->lock);
}

static void descriptors_take(struct descriptors *to, struct descriptors *from)
{
	descriptors_finish(to);
	*to = *from;
	*from = (struct descriptors){0};
}

static int referrers_both(struct registry *reg, struct server *server,
			  const struct digest *subject, const char *artifact_type,
			  struct descriptors *ret, deadline_t deadline, struct err *err)
{
	struct workers *workers = NULL;
	struct tag_work tw = {
		.work = {.run = tag_work_run}, .reg = reg, .server = server, .subject = subject,
		.artifact_type = artifact_type, .deadline = deadline,
	};
	list_init(&tw.work.link);
	int r = registry_workers(reg, &workers, err);
	if (r < 0)
		return r;
	r = workers_submit(workers, &tw.work, WORK_URGENT);
	if (r < 0)
		return err_set(err, r, "list referrers");
	r = referrers_api(reg, server, subject, artifact_type, ret, deadline, err);
	if (!workers_cancel(workers, &tw.work)) {
		(void)pthread_mutex_lock(&reg->lock);
		while (!tw.done)
			(void)pthread_cond_wait(&reg->spool_moved, &reg->lock);
		(void)pthread_mutex_unlock(&reg->lock);
	}
	if (r == 0)
		atomic_store(&server->referrers_way, REFERRERS_API);
	if (r == -EOPNOTSUPP) {
		atomic_store(&server->referrers_way, REFERRERS_TAG);
		/* Patience only now that the answer is needed. */
		if (!tw.done || tw.result < 0)
			r = referrers_by_tag(reg, server, subject, artifact_type, 0, ret, deadline,
					     err);
		else
			r = 0;
		if (tw.done && tw.result == 0)
			descriptors_take(ret, &tw.list);
	}
	descriptors_finish(&tw.list);
	return r;
}

static int referrers_of(struct registry *reg, struct server *server, const struct digest *subject,
			const char *artifact_type, struct descriptors *ret, deadline_t deadline,
			struct err *err)
{
	int r;
	switch (atomic_load(&server->referrers_way)) {
	case REFERRERS_API:
		r = referrers_api(reg, server, subject, artifact_type, ret, deadline, err);
		if (r != -EOPNOTSUPP)
			return r;
		break;
	case REFERRERS_TAG:
		break;
	case REFERRERS_UNKNOWN:
		return referrers_both(reg, server, subject, artifact_type, ret, deadline, err);
	}
	return referrers_by_tag(reg, server, subject, artifact_type, 0, ret, deadline, err);
}

int registry_referrers(struct origin *o, const struct digest *subject,
		       const char *artifact_type, struct descriptors *ret, deadline_t deadline,
		       struct err *err)
{
	struct registry *reg = registry_of(o);
	struct server *server;
	struct walk walk = {0};
	struct err why = {0};
	int r = 0;
	while ((server = registry_next(reg, CAN_PULL, &walk))) {
		AUTO_FINISH(descriptors) struct descriptors list = {0};
		int got = referrers_of(reg, server, subject, artifact_type, &list, deadline, &why);
		if (got == 0 && list.count > 0) {
			descriptors_take(ret, &list);
			return 0;
		}
		/* A mirror may not know what the registry itself does. */
		if (got < 0)
			r = got;
		if (got < 0 && (!registry_passes_on(server, got) || deadline_passed(deadline)))
			break;
	}
	if (r == 0)
		return 0;
	net_stats_add(http_engine_stats(reg->engine), errors, 1);
	(void)err_copy(err, &why);
	return err_prefix(err, r, "list what refers to a manifest of %s/%s", reg->host,
			  reg->repository);
}
