/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/profile_registry.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "base/json.h"
#include "base/le.h"
#include "base/num.h"
#include "fetcher/manifest.h"
#include "fs/image_record.h"

enum {
	PROFILE_LEVEL = 12,
	CREATED_LEN = 20, /* 2006-01-02T15:04:05Z */
};

/* ---- time ---- */

void profile_created_text(int64_t when, char out[static PROFILE_CREATED_MAX])
{
	time_t seconds = (time_t)when;
	struct tm tm;
	if (!gmtime_r(&seconds, &tm) || tm.tm_year < 0 || tm.tm_year > 8099 ||
	    strftime(out, PROFILE_CREATED_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) != CREATED_LEN)
		out[0] = '\0';
}

/* Seconds of such a text; 0, which is older than anything, when it is none. */
static int64_t created_read(const char *text)
{
	struct tm tm = {0};
	char again[PROFILE_CREATED_MAX];
	if (!text || strlen(text) != CREATED_LEN)
		return 0;
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (!end || *end)
		return 0;
	int64_t when = timegm(&tm);
	profile_created_text(when, again);
	return strcmp(again, text) == 0 ? when : 0;
}

/* ---- in the list of referrers ---- */

/* The blob that an entry of the list names. */
static int find_blob(const struct descriptor *desc, struct descriptor *ret, struct err *err)
{
	const char *digest = descriptor_annotation(desc, PROFILE_BLOB_DIGEST);
	const char *size = descriptor_annotation(desc, PROFILE_BLOB_SIZE);
	if (!digest || !size)
		return err_say(err, -EBADMSG, "it does not say where its blob is");
	if (digest_parse(digest, &ret->digest, err) < 0)
		return -EBADMSG;
	if (u64_parse(size, PROFILE_BLOB_MAX, &ret->size) < 0)
		return err_say(err, -EBADMSG, "it has no proper size: \"%.40s\"", size);
	return 0;
}

/* As profile_find(), and when the profile was made. */
static int find_newest(const struct descriptors *referrers, struct descriptor *ret,
		       int64_t *ret_created, struct err *err)
{
	struct descriptor newest = {0};
	int64_t created = -1;
	for (size_t i = 0; i < referrers->count; i++) {
		const struct descriptor *desc = &referrers->items[i];
		struct descriptor blob = {0};
		if (!desc->artifact_type || strcmp(desc->artifact_type, PROFILE_ARTIFACT) != 0)
			continue;
		int64_t when = created_read(descriptor_annotation(desc, PROFILE_CREATED));
		if (when <= created)
			continue;
		int r = find_blob(desc, &blob, err);
		if (r < 0) {
			(void)err_prefix(err, r, "a startup profile in the registry");
			continue;
		}
		newest = blob;
		created = when;
	}
	if (created < 0)
		return -ENOENT;
	newest.media_type = strdup(PROFILE_BLOB);
	if (!newest.media_type)
		return err_set(err, -ENOMEM, "read the list of referrers");
	*ret = newest;
	*ret_created = created;
	return 0;
}

int profile_find(const struct descriptors *referrers, struct descriptor *ret, struct err *err)
{
	int64_t created = 0;
	return find_newest(referrers, ret, &created, err);
}

/* ---- the blob ---- */

static int blob_unpack(const void *data, size_t n, struct buf *ret, struct err *err)
{
	unsigned long long size = ZSTD_getFrameContentSize(data, n);
	if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN)
		return err_say(err, -EBADMSG, "the profile does not say how large it is unpacked");
	if (size > PROFILE_TEXT_MAX)
		return err_say(err, -EBADMSG, "the profile claims %llu bytes, and %d is the most", size,
			       PROFILE_TEXT_MAX);
	int r = buf_reserve(ret, (size_t)size + 1);
	if (r < 0)
		return err_set(err, r, "unpack a profile");
	size_t got = ZSTD_decompress(ret->data, (size_t)size, data, n);
	if (ZSTD_isError(got))
		return err_say(err, -EBADMSG, "unpack a profile: %s", ZSTD_getErrorName(got));
	ret->len = got;
	ret->data[got] = '\0';
	return 0;
}

int profile_decode(const struct profile_facts *facts, const void *data, size_t n,
		   struct profile **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX + 1);
	if (n >= 4 && le32_get(data) == ZSTD_MAGICNUMBER) {
		int r = blob_unpack(data, n, &text, err);
		if (r < 0)
			return r;
		data = text.data;
		n = text.len;
	}
	return profile_parse(&facts->image, facts->layers, facts->sizes, facts->n, data, n, ret, err);
}

int profile_encode(const struct profile_facts *facts, const struct profile *p, struct buf *ret,
		   struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	int r = profile_emit(p, &facts->image, facts->layers, facts->n, &text, err);
	if (r < 0)
		return r;
	size_t bound = ZSTD_compressBound(text.len);
	r = buf_reserve(ret, bound);
	if (r < 0)
		return err_set(err, r, "pack a profile");
	size_t got = ZSTD_compress(ret->data + ret->len, bound, text.data, text.len, PROFILE_LEVEL);
	if (ZSTD_isError(got))
		return err_say(err, -ENOMEM, "pack a profile: %s", ZSTD_getErrorName(got));
	ret->len += got;
	ret->data[ret->len] = '\0';
	return 0;
}

/* ---- publishing ---- */

/* One push under way. */
struct push {
	struct origin *origin;
	uint64_t timeout_ms;
	struct profile_facts facts; /* owned */
	struct descriptor subject;  /* owned */
	struct profile *theirs;	    /* owned; NULL: the registry has none that is right */
	struct profile *joined;	    /* owned */
	int64_t created;
};

static void push_finish(struct push *push)
{
	profile_facts_finish(&push->facts);
	descriptor_finish(&push->subject);
	profile_destroy(push->theirs);
	profile_destroy(push->joined);
}
DEFINE_FINISH(push, push_finish);

static int push_subject(struct store *store, struct push *push, struct err *err)
{
	AUTO_FINISH(image_record) struct image_record record = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(store, &push->facts.image, false, &dir, err);
	if (r == 0)
		r = image_record_load(dir, &record, err);
	if (r == 0)
		r = store_blob_get(store, &push->facts.image, &bytes, err);
	if (r < 0)
		return r;
	push->subject.digest = push->facts.image;
	push->subject.size = bytes.len;
	push->subject.media_type = steal_ptr(&record.media_type);
	return 0;
}

/* The newest profile that is there. One that is wrong is as good as none. */
static int push_read_theirs(struct push *push, struct err *ret_ignored, struct err *err)
{
	AUTO_FINISH(descriptors) struct descriptors referrers = {0};
	AUTO_FINISH(descriptor) struct descriptor blob = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(PROFILE_BLOB_MAX);
	int r = origin_referrers(push->origin, &push->facts.image, PROFILE_ARTIFACT, &referrers,
				 deadline_in_ms(push->timeout_ms), err);
	if (r < 0)
		return r;
	r = find_newest(&referrers, &blob, &push->created, ret_ignored);
	if (r < 0)
		return r == -ENOENT ? 0 : err_copy(err, ret_ignored);
	r = origin_blob(push->origin, &blob, &bytes, deadline_in_ms(push->timeout_ms), ret_ignored);
	if (r == 0)
		r = profile_decode(&push->facts, bytes.data, bytes.len, &push->theirs, ret_ignored);
	if (r == -EBADMSG || r == -ENOENT || r == -EFBIG)
		return 0;
	return r < 0 ? err_copy(err, ret_ignored) : 0;
}

static json_t *blob_json(const struct descriptor *desc)
{
	struct digest_text text;
	return json_pack("{s:s,s:s,s:I}", "mediaType", desc->media_type, "digest",
			 digest_str(&desc->digest, text.s), "size", (json_int_t)desc->size);
}

/* Uploads bytes under their digest, which goes to ret. */
static int push_bytes(const struct push *push, const char *media_type, const void *data, size_t n,
		      struct descriptor *ret, struct err *err)
{
	ret->size = n;
	ret->media_type = strdup(media_type);
	int r = ret->media_type ? digest_of(DIGEST_SHA256, data, n, &ret->digest) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "push a startup profile");
	return origin_push_blob(push->origin, ret, data, n, deadline_in_ms(push->timeout_ms), err);
}

static int push_artifact(const struct push *push, const struct descriptor *config,
			 const struct descriptor *blob, struct digest *ret, struct err *err)
{
	AUTO_FINISH(descriptor) struct descriptor desc = {
		.media_type = strdup(MEDIA_OCI_MANIFEST),
		.artifact_type = strdup(PROFILE_ARTIFACT),
	};
	struct digest_text text;
	char created[PROFILE_CREATED_MAX], size[24];
	profile_created_text(push->created, created);
	(void)snprintf(size, sizeof(size), "%llu", (unsigned long long)blob->size);
	desc.annotations = json_pack("{s:s,s:s,s:s}", PROFILE_BLOB_DIGEST,
				     digest_str(&blob->digest, text.s), PROFILE_BLOB_SIZE, size,
				     PROFILE_CREATED, created);
	AUTO_JSON json_t *root = json_pack(
		"{s:i,s:s,s:s,s:o,s:[o],s:o,s:O}", "schemaVersion", 2, "mediaType",
		MEDIA_OCI_MANIFEST, "artifactType", PROFILE_ARTIFACT, "config", blob_json(config),
		"layers", blob_json(blob), "subject", blob_json(&push->subject), "annotations",
		desc.annotations);
	AUTO_FREE char *json = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	if (!json || !desc.media_type || !desc.artifact_type)
		return err_set(err, -ENOMEM, "push a startup profile");
	desc.size = strlen(json);
	int r = digest_of(DIGEST_SHA256, json, strlen(json), &desc.digest);
	if (r < 0)
		return err_set(err, r, "push a startup profile");
	*ret = desc.digest;
	return origin_push_manifest(push->origin, &desc, json, strlen(json), &push->facts.image,
				    deadline_in_ms(push->timeout_ms), err);
}

static int push_joined(const struct push *push, struct digest *ret, struct err *err)
{
	static const char empty[] = "{}";
	AUTO_FINISH(descriptor) struct descriptor config = {0};
	AUTO_FINISH(descriptor) struct descriptor blob = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(PROFILE_TEXT_MAX + (PROFILE_TEXT_MAX >> 4));
	int r = profile_encode(&push->facts, push->joined, &bytes, err);
	if (r == 0 && bytes.len > PROFILE_BLOB_MAX)
		r = err_say(err, -EFBIG, "the startup profile has %zu bytes packed, and %d is the most",
			    bytes.len, PROFILE_BLOB_MAX);
	if (r == 0)
		r = push_bytes(push, MEDIA_OCI_EMPTY, empty, strlen(empty), &config, err);
	if (r == 0)
		r = push_bytes(push, PROFILE_BLOB, bytes.data, bytes.len, &blob, err);
	return r < 0 ? r : push_artifact(push, &config, &blob, ret, err);
}

int profile_push(struct store *store, const struct digest *manifest, struct origin *origin,
		 int64_t now, uint64_t timeout_ms, struct profile_pushed *ret, struct err *err)
{
	AUTO_FINISH(push) struct push push = {.origin = origin, .timeout_ms = timeout_ms};
	AUTO(profile) struct profile *mine = NULL;
	struct profile_pushed pushed = {0};
	int r = profile_load(store, manifest, &mine, err);
	if (r == 0)
		r = profile_facts_load(store, manifest, &push.facts, err);
	if (r == 0)
		r = push_subject(store, &push, err);
	if (r == 0)
		r = push_read_theirs(&push, &pushed.ignored, err);
	if (r == 0)
		r = profile_adopt(store, &push.facts, push.theirs ? push.theirs : mine, &push.joined,
				  err);
	if (r < 0)
		return r;
	if (!push.theirs || !profile_equal(push.theirs, push.joined)) {
		/* A clock that is behind must not make the new one the older one. */
		push.created = now > push.created ? now : push.created + 1;
		r = push_joined(&push, &pushed.artifact, err);
		pushed.pushed = true;
	}
	if (r < 0)
		return r;
	*ret = pushed;
	return 0;
}
