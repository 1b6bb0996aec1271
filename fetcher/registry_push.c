/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Uploads (distribution-spec, "Push"): nothing that is there already, a mount
 * where another repository has it, else one POST and one PUT. Chunks only
 * where a server refuses the one PUT for its size, or broke in the middle of
 * it and says how far it got.
 */

#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "fetcher/manifest.h"
#include "fetcher/registry_internal.h"

enum {
	UPLOAD_TRIES = 5,	 /* new upload sessions for one blob */
	FALLBACK_TRIES = 3,	 /* rounds of reading, changing and writing the fallback tag */
};

/* One blob on its way. */
struct upload {
	struct registry *reg;
	struct server *server;
	const struct descriptor *desc;
	const char *digest;
	const char *data;
	uint64_t size;
	uint64_t sent;	/* bytes that the server has */
	uint64_t chunk; /* bytes of the next PATCH; 0: all at once, with PUT */
	char *location; /* owned: the newest; NULL: no session */
	deadline_t deadline;
	struct retry retry;
};

static void upload_finish(struct upload *up)
{
	free(up->location);
}
DEFINE_FINISH(upload, upload_finish);

static struct server *push_server(struct registry *reg, struct err *err)
{
	struct walk walk = {0};
	struct server *server = registry_next(reg, CAN_PUSH, &walk);
	if (!server)
		(void)err_say(err, -EOPNOTSUPP, "no server of %s is configured for pushing",
			      reg->host);
	return server;
}

/* Keeps where to go on. Every answer may name another place. */
static int upload_moved(struct upload *up, const struct http_response *resp, struct err *err)
{
	char shown[HTTP_URL_SHOWN_MAX];
	AUTO_FINISH(http_url) struct http_url to = {0};
	const char *location = http_header(resp, "location");
	uint64_t min;
	const char *text = http_header(resp, "oci-chunk-min-length");
	if (text && u64_parse(text, REGISTRY_CHUNK_MAX, &min) == 0 && up->chunk > 0)
		up->chunk = u64_max(up->chunk, min);
	if (!location)
		return err_say(err, -EPROTO, "%s gave no Location for the upload",
			       http_url_shown(resp->url, shown));
	char *next = NULL;
	int r = http_url_join(resp->url, location, &next, err);
	if (r < 0)
		return err_prefix(err, -EPROTO, "the Location for the upload");
	free(up->location);
	up->location = next;
	r = http_url_parse(next, &to, err);
	if (r == 0 && up->server->where.https && !to.https && !up->reg->allow_downgrade)
		r = err_say(err, -EPERM, "the upload would go to %s, which is not encrypted",
			    http_url_shown(next, shown));
	return r;
}

static int upload_open(struct upload *up, struct err *err)
{
	AUTO_FINISH(http_response) struct http_response resp = {0};
	const struct reg_call call = {
		.method = "POST", .path = "/blobs/uploads/", .body = "", .push = true,
		.deadline = up->deadline,
	};
	up->sent = 0;
	int r = registry_call(up->reg, up->server, &call, &resp, err);
	if (r == 0 && resp.status != 202)
		r = registry_refusal(&resp, "POST", err);
	return r < 0 ? r : upload_moved(up, &resp, err);
}

/*
 * Asks for the blob out of another repository: 1 when it is there now, 0 when
 * it must be uploaded (maybe into a session that is open already).
 */
static int upload_mount(struct upload *up, struct err *err)
{
	const char *from = up->reg->mount_from;
	AUTO_FREE char *half = NULL;
	AUTO_FREE char *path = NULL;
	if (http_url_add_query("/blobs/uploads/", "mount", up->digest, &half) < 0 ||
	    http_url_add_query(half, "from", from, &path) < 0)
		return err_set(err, -ENOMEM, "mount a blob");
	AUTO_FINISH(http_response) struct http_response resp = {0};
	const struct reg_call call = {
		.method = "POST", .path = path, .body = "", .push = true, .from = from,
		.deadline = up->deadline,
	};
	int r = registry_call(up->reg, up->server, &call, &resp, err);
	if (r == 0 && resp.status == 201)
		return 1;
	if (r == 0 && resp.status == 202)
		return upload_moved(up, &resp, err);
	/* Not allowed to read there, or no such service: it is only a short cut. */
	if (r == 0 || r == -EACCES)
		return 0;
	return r;
}

/* One PUT or PATCH, as far as the server takes it. */
static int upload_send(struct upload *up, struct http_response *resp, bool *ret_last,
		       struct err *err)
{
	char content_range[80];
	AUTO_FREE char *put = NULL;
	uint64_t left = up->size - up->sent;
	bool patch = up->chunk > 0 && left > 0;
	uint64_t n = patch ? u64_min(up->chunk, left) : left;
	const char *headers[] = {"Content-Type: application/octet-stream", NULL, NULL};
	if (patch) {
		(void)snprintf(content_range, sizeof(content_range), "Content-Range: %llu-%llu",
			       (unsigned long long)up->sent,
			       (unsigned long long)(up->sent + n - 1));
		headers[1] = content_range;
	} else if (http_url_add_query(up->location, "digest", up->digest, &put) < 0) {
		return err_set(err, -ENOMEM, "upload a blob");
	}
	struct reg_call call = {
		.method = patch ? "PATCH" : "PUT", .url = patch ? up->location : put,
		.headers = headers, .body = n > 0 ? up->data + up->sent : "", .body_len = (size_t)n,
		.push = true, .fresh = n > 0, .deadline = up->deadline,
	};
	int r = registry_try(up->reg, up->server, &call, resp, err);
	if (r == 0 && patch && resp->status == 202)
		up->sent += n;
	*ret_last = !patch;
	return r;
}

/* After a break: how much is there? With no good answer the session is given up. */
static int upload_status(struct upload *up, struct err *err)
{
	AUTO_FINISH(http_response) struct http_response resp = {0};
	const struct reg_call call = {.url = up->location, .push = true, .deadline = up->deadline};
	int r = registry_call(up->reg, up->server, &call, &resp, err);
	if (r < 0)
		return r;
	const char *range = http_header(&resp, "range");
	uint64_t last;
	const char *dash = range ? strchr(range, '-') : NULL;
	/* "0-0" is what docker-registry says of nothing as well as of one byte. */
	if ((resp.status != 204 && resp.status != 200) || !dash ||
	    u64_parse(dash + 1, INT64_MAX, &last) < 0 || last == 0 || last >= up->size) {
		free(steal_ptr(&up->location));
		return 0;
	}
	up->sent = last + 1;
	if (up->chunk == 0)
		up->chunk = REGISTRY_CHUNK_BYTES;
	return http_header(&resp, "location") ? upload_moved(up, &resp, err) : 0;
}

/* Decides after an answer that did not take the bytes. 0: go on. */
static int upload_recover(struct upload *up, int r, const struct http_response *resp,
			  struct err *err)
{
	if (r == 0 && resp->status == 413 && up->chunk == 0) {
		up->chunk = REGISTRY_CHUNK_BYTES;
		free(steal_ptr(&up->location));
		return 0;
	}
	bool lost = r == 0 && (resp->status == 416 || resp->status == 404);
	if (lost && ++up->retry.failures >= up->retry.max)
		return registry_refusal(resp, "PUT", err);
	if (!lost && !retry_wait(&up->retry, up->reg->engine, r, resp))
		return r < 0 ? r : registry_refusal(resp, "PUT", err);
	return upload_status(up, err);
}

static int upload_run(struct upload *up, struct err *err)
{
	unsigned int sessions = 0;
	for (;;) {
		int r = 0;
		if (!up->location) {
			if (sessions++ >= UPLOAD_TRIES)
				return err_say(err, -EREMOTEIO, "blob %s: %d uploads broke off",
					       up->digest, UPLOAD_TRIES);
			r = upload_open(up, err);
		}
		if (r < 0)
			return r;
		AUTO_FINISH(http_response) struct http_response resp = {0};
		bool last = false;
		r = upload_send(up, &resp, &last, err);
		if (r == 0 && last && resp.status == 201)
			return 0;
		if (r == 0 && !last && resp.status == 202)
			r = upload_moved(up, &resp, err);
		else
			r = upload_recover(up, r, &resp, err);
		if (r < 0)
			return r;
	}
}

static int push_exists(struct upload *up, bool *ret, struct err *err)
{
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "/blobs/%s", up->digest) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "push a blob");
	}
	AUTO_FINISH(http_response) struct http_response resp = {0};
	const struct reg_call call = {
		.method = "HEAD", .path = path, .push = true, .deadline = up->deadline};
	int r = registry_call(up->reg, up->server, &call, &resp, err);
	if (r < 0)
		return r;
	*ret = resp.status == 200;
	if (resp.status == 401 || resp.status == 403)
		return registry_refusal(&resp, "HEAD", err);
	return 0;
}

int registry_push_blob(struct origin *o, const struct descriptor *desc, const void *data,
		       size_t n, deadline_t deadline, struct err *err)
{
	struct registry *reg = registry_of(o);
	struct digest_text text;
	struct layer_type type;
	AUTO_FINISH(upload) struct upload up = {
		.reg = reg, .server = push_server(reg, err), .desc = desc,
		.digest = digest_str(&desc->digest, text.s), .data = data, .size = n,
		.deadline = deadline, .retry = retry_plan(0, deadline),
	};
	if (!up.server)
		return -EOPNOTSUPP;
	if (desc->media_type && layer_type_parse(desc->media_type, &type, NULL) == 0 &&
	    type.foreign)
		return err_say(err, -EOPNOTSUPP, "blob %s is a foreign layer, which may not be pushed",
			       up.digest);
	int r = n == desc->size ? digest_check(&desc->digest, data, n, "the blob", err) :
				  err_say(err, -EINVAL, "blob %s has another size", up.digest);
	bool there = false;
	if (r == 0)
		r = push_exists(&up, &there, err);
	if (r == 0 && !there && reg->mount_from) {
		r = upload_mount(&up, err);
		there = r > 0;
	}
	if (r == 0 && !there)
		r = upload_run(&up, err);
	if (r >= 0)
		return 0;
	net_stats_add(http_engine_stats(reg->engine), errors, 1);
	return err_prefix(err, r, "push a blob to %s/%s", reg->host, reg->repository);
}

/* PUT of a manifest under a name; *ret_kept: the registry has taken note of its subject. */
static int put_manifest(struct registry *reg, struct server *server, const char *name,
			const char *media_type, const void *data, size_t n, deadline_t deadline,
			bool *ret_kept, struct err *err)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *type = NULL;
	if (asprintf(&path, "/manifests/%s", name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "push a manifest");
	}
	if (asprintf(&type, "Content-Type: %s", media_type) < 0) {
		type = NULL;
		return err_set(err, -ENOMEM, "push a manifest");
	}
	const char *const headers[] = {type, NULL};
	AUTO_FINISH(http_response) struct http_response resp = {0};
	const struct reg_call call = {
		.method = "PUT", .path = path, .headers = headers, .body = data, .body_len = n,
		.push = true, .deadline = deadline,
	};
	int r = registry_call(reg, server, &call, &resp, err);
	if (r == 0 && (resp.status < 200 || resp.status > 299))
		r = registry_refusal(&resp, "PUT", err);
	if (r == 0)
		*ret_kept = http_header(&resp, "oci-subject") != NULL;
	return r;
}

/* The entry of the fallback index for a manifest. */
static int fallback_entry(const struct descriptor *desc, const void *data, size_t n,
			  json_t **ret, struct err *err)
{
	AUTO_FINISH(manifest) struct manifest manifest = {0};
	struct digest_text text;
	int r = manifest_parse(data, n, desc->media_type, &manifest, err);
	if (r < 0)
		return r;
	const char *type = desc->artifact_type ? desc->artifact_type : manifest.artifact_type;
	if (!type && manifest.kind == MANIFEST_IMAGE)
		type = manifest.config.media_type;
	AUTO_JSON json_t *entry =
		json_pack("{s:s, s:s, s:I, s:s*, s:O*}", "mediaType", manifest.media_type, "digest",
			  digest_str(&desc->digest, text.s), "size", (json_int_t)desc->size,
			  "artifactType", type, "annotations", manifest.annotations);
	if (!entry)
		return err_set(err, -ENOMEM, "describe a manifest");
	*ret = json_incref(entry);
	return 0;
}

static bool index_holds(const json_t *list, const char *digest)
{
	size_t i;
	json_t *item;
	json_array_foreach(list, i, item) {
		const char *have = json_string_value(json_object_get(item, "digest"));
		if (have && strcmp(have, digest) == 0)
			return true;
	}
	return false;
}

/* Reads the fallback index, or makes an empty one. */
static int fallback_read(struct registry *reg, struct server *server, const char *tag,
			 deadline_t deadline, json_t **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf body = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	int r = registry_fetch_manifest(reg, server, tag, NULL, 0, &body, &desc, deadline, err);
	if (r == -ENOENT) {
		*ret = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType",
				 MEDIA_OCI_INDEX, "manifests");
		return *ret ? 0 : err_set(err, -ENOMEM, "make an index");
	}
	return r < 0 ? r : json_parse_object(body.data, body.len, "the index of referrers", ret, err);
}

/*
 * Registries have no compare-and-set for tags, so somebody's entry can be
 * overwritten by somebody else's; reading back finds that out, mostly.
 */
static int fallback_update(struct registry *reg, struct server *server,
			   const struct descriptor *desc, json_t *entry,
			   const struct digest *subject, deadline_t deadline, struct err *err)
{
	char tag[REFERRERS_TAG_MAX];
	struct digest_text text;
	(void)referrers_tag(subject, tag);
	(void)digest_str(&desc->digest, text.s);
	for (int round = 0; round <= FALLBACK_TRIES; round++) {
		AUTO_JSON json_t *index = NULL;
		json_t *list = NULL;
		int r = fallback_read(reg, server, tag, deadline, &index, err);
		if (r == 0)
			r = json_get_array(index, "manifests", JSON_NEED, &list, err);
		if (r < 0)
			return r;
		if (index_holds(list, text.s))
			return 0;
		if (round == FALLBACK_TRIES)
			break;
		/* Readers that take the first one get the newest. */
		if (json_array_insert(list, 0, entry) < 0)
			return err_set(err, -ENOMEM, "make an index");
		AUTO_FREE char *dump = json_dumps(index, JSON_COMPACT);
		bool kept;
		if (!dump)
			return err_set(err, -ENOMEM, "make an index");
		r = put_manifest(reg, server, tag, MEDIA_OCI_INDEX, dump, strlen(dump), deadline,
				 &kept, err);
		if (r < 0)
			return r;
	}
	return err_say(err, -EBUSY, "the tag %s is being changed by others", tag);
}

int registry_push_manifest(struct origin *o, const struct descriptor *desc, const void *data,
			   size_t n, const struct digest *subject, deadline_t deadline,
			   struct err *err)
{
	struct registry *reg = registry_of(o);
	struct digest_text text;
	AUTO_JSON json_t *entry = NULL;
	bool kept = false;
	struct server *server = push_server(reg, err);
	if (!server)
		return -EOPNOTSUPP;
	int r = n <= ORIGIN_MANIFEST_MAX ?
			digest_check(&desc->digest, data, n, "the manifest", err) :
			err_say(err, -EFBIG, "the manifest is %zu bytes, more than registries take", n);
	if (r == 0 && subject)
		r = fallback_entry(desc, data, n, &entry, err);
	if (r == 0)
		r = put_manifest(reg, server, digest_str(&desc->digest, text.s), desc->media_type,
				 data, n, deadline, &kept, err);
	if (r == 0 && subject && !kept)
		r = fallback_update(reg, server, desc, entry, subject, deadline, err);
	if (r == 0)
		return 0;
	net_stats_add(http_engine_stats(reg->engine), errors, 1);
	return err_prefix(err, r, "push a manifest to %s/%s", reg->host, reg->repository);
}
