/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parts of blobs, and whole blobs as streams. Both deliver bytes in order to a
 * sink that must never see one twice, so both are a position that only grows
 * and requests for what lies behind it.
 */

#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "fetcher/registry_internal.h"

/* What a 2xx to a request for bytes turned out to be. */
enum verdict {
	SEEN_NOTHING,
	SEEN_PART,    /* exactly what was asked for */
	SEEN_WHOLE,   /* all of the blob, from its start */
	SEEN_WRONG,   /* another part than the one asked for */
	SEEN_CHANGED, /* of another blob, by its size or coding: final */
};

struct reader {
	struct registry *reg;
	struct blob *blob;
	const char *subject;  /* for errors: the blob's digest */
	uint64_t pos, end;    /* still wanted */
	uint64_t skip;	      /* bytes to drop before pos, in this answer */
	bool ranged;	      /* this request carried a Range */
	bool streaming;	      /* a whole answer to a range is made do with */
	enum verdict verdict; /* of this answer */
	const struct byte_sink *sink;
	int sink_result;      /* its refusal, which is not the server's fault */
	bool overrun;	      /* more came than was promised */
	struct digest_ctx *digest; /* of what has been delivered; NULL: not wanted */
};

static int seen(struct reader *rd, enum verdict verdict, struct err *err, const char *words)
{
	rd->verdict = verdict;
	if (verdict == SEEN_CHANGED || verdict == SEEN_WRONG)
		return err_say(err, verdict == SEEN_CHANGED ? -EBADMSG : -EIO, "blob %s: %s",
			       rd->subject, words);
	return 0;
}

/* A 200, or a 206 with the whole: the answer must be the blob from its start. */
static int head_whole(struct reader *rd, bool has_length, uint64_t length, struct err *err)
{
	if (has_length && length != rd->blob->desc.size)
		return seen(rd, SEEN_CHANGED, err, "the server's copy has another size");
	(void)seen(rd, SEEN_WHOLE, err, "");
	if (rd->ranged && !rd->streaming && (rd->pos > 0 || rd->end < rd->blob->desc.size))
		return -ECANCELED;
	rd->skip = rd->pos;
	return 0;
}

/* Decides by status, Content-Range and Content-Length together. */
static int reader_head(void *data, const struct http_response *resp, struct err *err)
{
	struct reader *rd = data;
	struct content_range range = {0};
	uint64_t length = 0;
	bool has_length = http_content_length(resp, &length);
	const char *coding = http_header(resp, "content-encoding");
	const char *text = http_header(resp, "content-range");
	rd->skip = 0;
	if (coding && strcasecmp(coding, "identity") != 0)
		return seen(rd, SEEN_CHANGED, err,
			    "the server sends it with a Content-Encoding, which offsets cannot be "
			    "used with");
	if (resp->status == 200 && !text)
		return head_whole(rd, has_length, length, err);
	if (resp->status != 200 && resp->status != 206)
		return seen(rd, SEEN_WRONG, err, "the server answers with an odd status");
	if (!text || !rd->ranged || content_range_parse(text, &range) < 0 || range.unsatisfied)
		return seen(rd, SEEN_WRONG, err,
			    "the server does not say which part it sends");
	if (range.has_total && range.total != rd->blob->desc.size)
		return seen(rd, SEEN_CHANGED, err, "the server's copy has another size");
	if (range.first != rd->pos || range.last != rd->end - 1 ||
	    (has_length && length != rd->end - rd->pos))
		return seen(rd, SEEN_WRONG, err, "the server sends another part than was asked for");
	return seen(rd, SEEN_PART, err, "");
}

static int reader_write(void *data, const void *bytes, size_t n)
{
	struct reader *rd = data;
	const char *p = bytes;
	if (atomic_load(&rd->reg->closing))
		return -ECANCELED;
	size_t drop = (size_t)u64_min(rd->skip, n);
	rd->skip -= drop;
	p += drop;
	n -= drop;
	if (n > rd->end - rd->pos) {
		rd->overrun = true;
		rd->verdict = SEEN_CHANGED;
		return -EBADMSG;
	}
	if (n == 0)
		return 0;
	int r = rd->digest ? digest_ctx_update(rd->digest, p, n) : 0;
	if (r == 0)
		r = rd->sink->write(rd->sink->data, p, n);
	if (r < 0)
		rd->sink_result = r;
	else
		rd->pos += n;
	return r;
}

/* The address a server gave us for the blob; the caller frees it; NULL: none. */
static char *blob_url(struct registry *reg, const struct blob *blob, const struct server *server)
{
	char *url = NULL;
	(void)pthread_mutex_lock(&reg->lock);
	if (blob->url && blob->url_server == (size_t)(server - reg->servers))
		url = strdup(blob->url);
	(void)pthread_mutex_unlock(&reg->lock);
	return url;
}

/* Remembers where the answer came from, or forgets it with url NULL. */
static void blob_set_url(struct registry *reg, struct blob *blob, const struct server *server,
			 const char *url)
{
	char *copy = url ? strdup(url) : NULL;
	(void)pthread_mutex_lock(&reg->lock);
	free(blob->url);
	blob->url = copy;
	blob->url_server = (size_t)(server - reg->servers);
	(void)pthread_mutex_unlock(&reg->lock);
}

void registry_note_url(struct registry *reg, const struct server *server,
		       const struct descriptor *desc, const char *url)
{
	struct blob *blob = NULL;
	if (registry_blob(reg, desc, &blob, NULL) == 0)
		blob_set_url(reg, blob, server, url);
}

/* One request for [pos, end). */
static int reader_ask(struct reader *rd, struct server *server, const char *url, bool ranged,
		      deadline_t deadline, uint64_t idle_ms, struct http_response *resp,
		      struct err *err)
{
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "/blobs/%s", rd->subject) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "fetch a blob");
	}
	const struct byte_sink sink = {reader_write, rd, rd->sink->queue};
	struct reg_call call = {
		.path = path, .url = url,
		.has_range = ranged, .range_off = rd->pos, .range_len = rd->end - rd->pos,
		.head = reader_head, .head_data = rd,
		.sink = &sink, .deadline = deadline, .idle_ms = idle_ms,
	};
	rd->ranged = ranged;
	rd->overrun = false;
	rd->verdict = SEEN_NOTHING;
	http_response_finish(resp);
	int r = registry_try(rd->reg, server, &call, resp, err);
	if (rd->overrun)
		r = err_say(err, -EBADMSG, "blob %s: the server sends more than its size", rd->subject);
	if (r == 0 && rd->verdict != SEEN_NOTHING && rd->pos < rd->end)
		r = err_say(err, -ECONNRESET, "blob %s: the server sent too little", rd->subject);
	if (rd->verdict == SEEN_PART)
		atomic_store(&server->ranges_seen, true);
	return r;
}

/* What to do after a failed request. */
enum next_step {
	STEP_GIVE_UP,
	STEP_AGAIN,
	STEP_WHOLE, /* this server does not do ranges */
};

/* Counters of one read from one server. */
struct patience {
	struct retry retry;
	unsigned int wrong;   /* false ranges seen */
	unsigned int refused; /* times the server turned down the range itself */
	bool re_resolved;     /* the address has been asked for anew */
};

static bool address_ended(int status)
{
	return status == 400 || status == 401 || status == 403 || status == 404 || status == 410;
}

/* A final answer that is no 2xx, to a request for a range. */
static enum next_step step_status(struct reader *rd, struct server *server,
				  struct patience *patience, const struct http_response *resp,
				  bool elsewhere)
{
	/* A presigned address has ended: one is asked for anew, without a fuss. */
	if (elsewhere && address_ended(resp->status) && !patience->re_resolved) {
		patience->re_resolved = true;
		blob_set_url(rd->reg, rd->blob, server, NULL);
		return STEP_AGAIN;
	}
	switch (resp->status) {
	case 400:
	case 403:
	case 501:
		return patience->refused++ == 0 ? STEP_AGAIN : STEP_WHOLE;
	case 416:
		return STEP_GIVE_UP;
	default:
		return retry_wait(&patience->retry, rd->reg->engine, 0, resp) ? STEP_AGAIN :
										STEP_GIVE_UP;
	}
}

static enum next_step step_after(struct reader *rd, struct server *server,
				 struct patience *patience, int r, uint64_t gained,
				 const struct http_response *resp, bool elsewhere)
{
	if (rd->sink_result < 0 || rd->verdict == SEEN_CHANGED)
		return STEP_GIVE_UP;
	if (rd->verdict == SEEN_WHOLE && r == -ECANCELED)
		return STEP_WHOLE;
	if (gained >= REGISTRY_PROGRESS_MIN)
		patience->retry.failures = 0;
	if (rd->verdict == SEEN_WRONG) {
		if (++patience->wrong >= REGISTRY_WRONG_RANGE_MAX)
			return STEP_GIVE_UP;
		return http_engine_sleep(rd->reg->engine, retry_pause_ms(patience->wrong)) == 0 ?
			       STEP_AGAIN :
			       STEP_GIVE_UP;
	}
	if (r == 0)
		return step_status(rd, server, patience, resp, elsewhere);
	/* The address may be what is broken: the next try asks the registry again. */
	if (elsewhere)
		blob_set_url(rd->reg, rd->blob, server, NULL);
	return retry_wait(&patience->retry, rd->reg->engine, r, NULL) ? STEP_AGAIN : STEP_GIVE_UP;
}

static int reader_refused(const struct reader *rd, const struct http_response *resp,
			  struct err *err)
{
	struct content_range range;
	const char *text = http_header(resp, "content-range");
	if (resp->status != 416)
		return registry_refusal(resp, "GET", err);
	if (text && content_range_parse(text, &range) == 0 && range.has_total &&
	    range.total != rd->blob->desc.size)
		return err_say(err, -EBADMSG, "blob %s: the server's copy has another size",
			       rd->subject);
	return err_say(err, -EIO, "blob %s: the server has no bytes %llu to %llu (status 416)",
		       rd->subject, (unsigned long long)rd->pos, (unsigned long long)rd->end - 1);
}

/* -EXFULL where the server gives the blob whole or not at all. */
static int range_from(struct reader *rd, struct server *server, unsigned int tries,
		      deadline_t deadline, struct err *err)
{
	struct patience patience = {.retry = retry_plan(tries, deadline)};
	/* Somebody is in the middle of a file: a registry that restarts is waited for. */
	patience.retry.waits = tries == RETRY_ATTEMPTS_MAX;
	for (;;) {
		AUTO_FREE char *url = blob_url(rd->reg, rd->blob, server);
		AUTO_FINISH(http_response) struct http_response resp = {0};
		uint64_t before = rd->pos;
		int r = reader_ask(rd, server, url, true, deadline, 0, &resp, err);
		bool elsewhere = url || resp.redirected;
		if (r == 0 && rd->pos == rd->end) {
			if (resp.redirected)
				blob_set_url(rd->reg, rd->blob, server, resp.url);
			return 0;
		}
		switch (step_after(rd, server, &patience, r, rd->pos - before, &resp, elsewhere)) {
		case STEP_AGAIN:
			continue;
		case STEP_WHOLE:
			return -EXFULL;
		case STEP_GIVE_UP:
			break;
		}
		return r < 0 ? r : reader_refused(rd, &resp, err);
	}
}

/* Whether no other server can help: a sink that refuses, or a server that went on past the end. */
static bool reader_is_over(const struct reader *rd, int r)
{
	return r == 0 || rd->sink_result < 0 || (rd->overrun && rd->pos == rd->end);
}

static bool blob_misses(struct registry *reg, const struct blob *blob, const struct server *server)
{
	(void)pthread_mutex_lock(&reg->lock);
	bool misses = blob->missing & UINT32_C(1) << (server - reg->servers);
	(void)pthread_mutex_unlock(&reg->lock);
	return misses;
}

static void blob_set_missing(struct registry *reg, struct blob *blob, const struct server *server)
{
	(void)pthread_mutex_lock(&reg->lock);
	blob->missing |= UINT32_C(1) << (server - reg->servers);
	(void)pthread_mutex_unlock(&reg->lock);
}

/* When every server lacked the blob once, all are asked again: it may be there by now. */
static void blob_hope(struct registry *reg, struct blob *blob)
{
	(void)pthread_mutex_lock(&reg->lock);
	bool nowhere = true;
	for (size_t i = 0; i < reg->n_servers; i++)
		nowhere &= !reg->servers[i].at->pull || (blob->missing & UINT32_C(1) << i);
	if (nowhere)
		blob->missing = 0;
	(void)pthread_mutex_unlock(&reg->lock);
}

static bool blob_spooling(struct registry *reg, const struct blob *blob)
{
	(void)pthread_mutex_lock(&reg->lock);
	bool spooling = blob->spool != SPOOL_NONE;
	(void)pthread_mutex_unlock(&reg->lock);
	return spooling;
}

static int read_off_spool(struct reader *rd, deadline_t deadline, struct err *err)
{
	return spool_read(rd->reg, rd->blob, rd->pos, rd->end - rd->pos, rd->sink, deadline, err);
}

static int range_anywhere(struct reader *rd, deadline_t deadline, struct err *err)
{
	struct registry *reg = rd->reg;
	struct server *server;
	struct walk walk = {0};
	int r = err_say(err, -ENOENT, "no server is known to have blob %s", rd->subject);
	blob_hope(reg, rd->blob);
	while ((server = registry_next(reg, CAN_PULL, &walk))) {
		if (blob_misses(reg, rd->blob, server))
			continue;
		deadline_t rangeless = atomic_load(&server->rangeless_until);
		if (rangeless != 0 && !deadline_passed(rangeless))
			return read_off_spool(rd, deadline, err);
		r = range_from(rd, server, registry_tries(reg, CAN_PULL, walk), deadline, err);
		if (r == -EXFULL) {
			if (!atomic_load(&server->ranges_seen))
				atomic_store(&server->rangeless_until,
					     deadline_in_ms(REGISTRY_RANGELESS_MS));
			return read_off_spool(rd, deadline, err);
		}
		if (reader_is_over(rd, r))
			return r;
		if (r == -ENOENT && reg->n_servers > 1)
			blob_set_missing(reg, rd->blob, server);
		if (!registry_passes_on(server, r) || deadline_passed(deadline))
			break;
		log_debug("%s: %s", server->at->url_base, err ? err_text(err) : "failed");
	}
	return r;
}

/* The addresses in a foreign layer's descriptor, which come before the registry. */
static int range_foreign(struct reader *rd, deadline_t deadline, struct err *err)
{
	struct registry *reg = rd->reg;
	int r = -ENOENT;
	for (char **url = rd->blob->desc.urls; url && *url; url++) {
		struct patience patience = {.retry = retry_plan(REGISTRY_MIRROR_TRIES, deadline)};
		AUTO_FINISH(http_url) struct http_url where = {0};
		if (http_url_parse(*url, &where, err) < 0 || (!where.https && !reg->allow_downgrade))
			continue;
		enum next_step step = STEP_AGAIN;
		while (step == STEP_AGAIN) {
			AUTO_FINISH(http_response) struct http_response resp = {0};
			uint64_t before = rd->pos;
			r = reader_ask(rd, &reg->servers[0], *url, true, deadline, 0, &resp, err);
			if (r == 0 && rd->pos == rd->end)
				return 0;
			step = step_after(rd, &reg->servers[0], &patience, r, rd->pos - before,
					  &resp, false);
			if (r == 0)
				r = reader_refused(rd, &resp, err);
		}
		if (step == STEP_WHOLE)
			return read_off_spool(rd, deadline, err);
		if (reader_is_over(rd, r))
			return r;
	}
	return r;
}

int registry_range(struct origin *o, const struct descriptor *desc, uint64_t off, uint64_t len,
		   const struct byte_sink *sink, deadline_t deadline, struct err *err)
{
	struct registry *reg = registry_of(o);
	struct digest_text text;
	struct reader rd = {
		.reg = reg, .subject = digest_str(&desc->digest, text.s),
		.pos = off, .end = off + len, .sink = sink,
	};
	if (!range_within(off, len, desc->size))
		return err_say(err, -EINVAL, "blob %s has no bytes %llu + %llu", rd.subject,
			       (unsigned long long)off, (unsigned long long)len);
	if (len == 0)
		return 0;
	int r = registry_blob(reg, desc, &rd.blob, err);
	if (r < 0)
		return r;
	if (blob_spooling(reg, rd.blob)) {
		r = read_off_spool(&rd, deadline, err);
	} else {
		r = rd.blob->desc.urls ? range_foreign(&rd, deadline, err) : -ENOENT;
		if (r < 0 && !reader_is_over(&rd, r) && !deadline_passed(deadline))
			r = range_anywhere(&rd, deadline, err);
	}
	if (r < 0)
		net_stats_add(http_engine_stats(reg->engine), errors, 1);
	return r < 0 ? err_prefix(err, r, "read from %s/%s", reg->host, reg->repository) : 0;
}

/* As range_from() for a whole blob: a server without ranges only costs the bytes again. */
static int stream_from(struct reader *rd, struct server *server, const char *url,
		       unsigned int tries, uint64_t idle_ms, struct err *err)
{
	struct retry retry = retry_plan(tries, 0);
	bool ranged = true;
	for (;;) {
		AUTO_FINISH(http_response) struct http_response resp = {0};
		uint64_t before = rd->pos;
		int r = reader_ask(rd, server, url, ranged && rd->pos > 0, 0, idle_ms, &resp, err);
		if (r == 0 && rd->verdict != SEEN_NOTHING && rd->pos == rd->end)
			return 0;
		if (rd->sink_result < 0 || rd->verdict == SEEN_CHANGED)
			return r;
		if (rd->pos - before >= REGISTRY_PROGRESS_MIN)
			retry.failures = 0;
		bool range_refused = r == 0 && rd->ranged && (resp.status == 400 ||
				     resp.status == 403 || resp.status == 416 ||
				     resp.status == 501);
		if (rd->verdict == SEEN_WRONG || range_refused) {
			/* Once without the range, then it is an error like others. */
			if (rd->ranged) {
				ranged = false;
				continue;
			}
			return r < 0 ? r : registry_refusal(&resp, "GET", err);
		}
		if (!retry_wait(&retry, rd->reg->engine, r, &resp))
			return r < 0 ? r : registry_refusal(&resp, "GET", err);
	}
}

static int stream_anywhere(struct reader *rd, uint64_t idle_ms, struct err *err)
{
	struct registry *reg = rd->reg;
	int r = err_say(err, -ENOENT, "no server is known to have blob %s", rd->subject);
	for (char **url = rd->blob->desc.urls; url && *url; url++) {
		if (strncasecmp(*url, "https://", 8) != 0 && !reg->allow_downgrade)
			continue;
		r = stream_from(rd, &reg->servers[0], *url, REGISTRY_MIRROR_TRIES, idle_ms, err);
		if (reader_is_over(rd, r))
			return r;
	}
	struct server *server;
	struct walk walk = {0};
	while ((server = registry_next(reg, CAN_PULL, &walk))) {
		r = stream_from(rd, server, NULL, registry_tries(reg, CAN_PULL, walk), idle_ms, err);
		if (reader_is_over(rd, r) || !registry_passes_on(server, r))
			return r;
	}
	return r;
}

int registry_stream_idle(struct registry *reg, const struct descriptor *desc,
			 const struct byte_sink *sink, uint64_t idle_ms, struct err *err)
{
	struct digest_text text;
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	struct reader rd = {
		.reg = reg, .subject = digest_str(&desc->digest, text.s),
		.end = desc->size, .sink = sink, .streaming = true,
	};
	int r = registry_blob(reg, desc, &rd.blob, err);
	if (r < 0)
		return r;
	r = digest_ctx_create(desc->digest.algo, &ctx);
	if (r < 0)
		return err_set(err, r, "check blob %s", rd.subject);
	rd.digest = ctx;
	r = stream_anywhere(&rd, idle_ms, err);
	if (r == 0) {
		struct digest got;
		r = digest_ctx_final(ctx, &got);
		if (r == 0)
			r = digest_match(&desc->digest, &got, "the blob", err);
	}
	if (r < 0)
		net_stats_add(http_engine_stats(reg->engine), errors, 1);
	return r < 0 ? err_prefix(err, r, "read from %s/%s", reg->host, reg->repository) : 0;
}

int registry_stream(struct origin *o, const struct descriptor *desc,
		    const struct byte_sink *sink, deadline_t deadline, struct err *err)
{
	uint64_t idle_ms = deadline_left_ms(deadline, REGISTRY_SPOOL_IDLE_MS);
	if (idle_ms == 0)
		return err_set(err, -ETIMEDOUT, "read a blob");
	return registry_stream_idle(registry_of(o), desc, sink, idle_ms, err);
}
