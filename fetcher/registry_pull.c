/* SPDX-License-Identifier: Apache-2.0 */

/* Manifests and small blobs: fetched whole, checked, from the first server that has them. */

#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "fetcher/manifest.h"
#include "fetcher/registry_internal.h"

/* Without these docker-registry answers 404 for OCI manifests. */
static const char *const manifest_headers[] = {
	"Accept: " MEDIA_OCI_MANIFEST ", " MEDIA_OCI_INDEX ", " MEDIA_DOCKER_MANIFEST
	", " MEDIA_DOCKER_LIST,
	NULL,
};

/* Refuses a whole object that says it is too large, or is in a coding we did not ask for. */
static int whole_head(void *data, const struct http_response *resp, struct err *err)
{
	const uint64_t *max = data;
	char shown[HTTP_URL_SHOWN_MAX];
	uint64_t length;
	const char *coding = http_header(resp, "content-encoding");
	(void)http_url_shown(resp->url, shown);
	if (coding && strcasecmp(coding, "identity") != 0)
		return err_say(err, -EBADMSG, "%s comes with Content-Encoding %.40s, which was not "
			       "asked for", shown, coding);
	if (http_content_length(resp, &length) && length > *max)
		return err_say(err, -EFBIG, "%s is %llu bytes, more than the %llu allowed", shown,
			       (unsigned long long)length, (unsigned long long)*max);
	return 0;
}

/* The media type: what the document says, else the header. The shape is manifest_parse()'s. */
static int manifest_describe(const struct http_response *resp, const struct buf *body,
			     const struct digest *digest, struct descriptor *ret,
			     struct err *err)
{
	AUTO_FINISH(descriptor) struct descriptor desc = {.digest = *digest, .size = body->len};
	AUTO_FINISH(manifest) struct manifest manifest = {0};
	const char *type = http_header(resp, "content-type");
	int r = manifest_parse(body->data, body->len, type, &manifest, err);
	if (r < 0)
		return r;
	desc.media_type = steal_ptr(&manifest.media_type);
	desc.artifact_type = steal_ptr(&manifest.artifact_type);
	*ret = desc;
	desc = (struct descriptor){0};
	return 0;
}

int registry_fetch_manifest(struct registry *reg, struct server *server, const char *name,
			    const struct digest *want, unsigned int tries, struct buf *ret,
			    struct descriptor *ret_desc, deadline_t deadline, struct err *err)
{
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "/manifests/%s", name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "fetch a manifest");
	}
	uint64_t max = u64_min(ret->max, ORIGIN_MANIFEST_MAX);
	struct reg_call call = {
		.path = path, .headers = manifest_headers, .head = whole_head, .head_data = &max,
		.collect = ret, .max_body = max, .tries = tries, .deadline = deadline,
	};
	AUTO_FINISH(http_response) struct http_response resp = {0};
	int r = registry_call(reg, server, &call, &resp, err);
	if (r == 0 && resp.status != 200)
		r = registry_refusal(&resp, "GET", err);
	if (r < 0)
		return r;
	if (want) {
		r = digest_check(want, buf_str(ret), ret->len, "the manifest", err);
		return r < 0 ? r : manifest_describe(&resp, ret, want, ret_desc, err);
	}
	/* What the server says the digest is does not count; what it is does. */
	struct digest digest;
	r = digest_of(DIGEST_SHA256, buf_str(ret), ret->len, &digest);
	if (r < 0)
		return err_set(err, r, "digest a manifest");
	return manifest_describe(&resp, ret, &digest, ret_desc, err);
}

int registry_manifest(struct origin *o, const struct digest *want, struct buf *ret,
		      struct descriptor *ret_desc, deadline_t deadline, struct err *err)
{
	struct registry *reg = registry_of(o);
	struct digest_text text;
	if (!want && !digest_is_none(&reg->ref.digest))
		want = &reg->ref.digest;
	const char *name = want ? digest_str(want, text.s) : reg->ref.tag;
	enum capability can = want ? CAN_PULL : CAN_RESOLVE;
	struct server *server;
	struct walk walk = {0};
	int r = err_say(err, -ENOENT, "no server is configured to be asked for %s of %s",
			name ? name : "the manifest", reg->repository);
	while (name && (server = registry_next(reg, can, &walk))) {
		buf_clear(ret);
		r = registry_fetch_manifest(reg, server, name, want,
					    registry_tries(reg, can, walk), ret, ret_desc, deadline,
					    err);
		if (r == 0)
			return 0;
		if (!registry_passes_on(server, r) || deadline_passed(deadline))
			break;
		log_debug("%s: %s", server->at->url_base, err ? err_text(err) : "failed");
	}
	buf_clear(ret);
	net_stats_add(http_engine_stats(reg->engine), errors, 1);
	return err_prefix(err, r, "%s%s/%s",
			  r == -ENOENT ? "there is no such image, check its name and tag: " :
			  r == -EACCES ? "access is denied, log in or pass --creds: " :
					 "fetch the manifest of ",
			  reg->host, reg->repository);
}

static int blob_from(struct registry *reg, struct server *server, const struct descriptor *desc,
		     unsigned int tries, struct buf *ret, deadline_t deadline, struct err *err)
{
	struct digest_text text;
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "/blobs/%s", digest_str(&desc->digest, text.s)) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "fetch a blob");
	}
	uint64_t max = u64_min(ret->max, desc->size);
	struct reg_call call = {
		.path = path, .head = whole_head, .head_data = &max, .collect = ret,
		.max_body = max > 0 ? max : 1, .tries = tries, .deadline = deadline,
	};
	AUTO_FINISH(http_response) struct http_response resp = {0};
	int r = registry_call(reg, server, &call, &resp, err);
	if (r == 0 && resp.status != 200)
		r = registry_refusal(&resp, "GET", err);
	if (r == 0)
		r = digest_check(&desc->digest, buf_str(ret), ret->len, "the blob", err);
	if (r == 0 && resp.redirected)
		registry_note_url(reg, server, desc, resp.url);
	return r;
}

int registry_get_blob(struct origin *o, const struct descriptor *desc, struct buf *ret,
		      deadline_t deadline, struct err *err)
{
	struct registry *reg = registry_of(o);
	struct digest_text text;
	if (desc->size > ret->max)
		return err_say(err, -EFBIG, "blob %s is %llu bytes, more than the %zu allowed",
			       digest_str(&desc->digest, text.s), (unsigned long long)desc->size,
			       ret->max);
	buf_clear(ret);
	if (desc->data)
		return buf_append(ret, desc->data, (size_t)desc->size);
	struct server *server;
	struct walk walk = {0};
	int r = err_say(err, -ENOENT, "no server is configured to be asked for blobs of %s",
			reg->repository);
	while ((server = registry_next(reg, CAN_PULL, &walk))) {
		r = blob_from(reg, server, desc, registry_tries(reg, CAN_PULL, walk), ret,
			      deadline, err);
		if (r == 0)
			return 0;
		if (!registry_passes_on(server, r) || deadline_passed(deadline))
			break;
	}
	buf_clear(ret);
	net_stats_add(http_engine_stats(reg->engine), errors, 1);
	return err_prefix(err, r, "fetch a blob of %s/%s", reg->host, reg->repository);
}
