/* SPDX-License-Identifier: Apache-2.0 */

/* 'sluice profile export|push --soci': the profile as SOCI's prefetch lists. */

#include "fs/profile_soci.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#include "base/file.h"
#include "fs/profile_store.h"
#include "tools/profile.h"
#include "tools/text.h"

struct soci_job {
	struct ref ref;		     /* owned, as the rest */
	struct origin *origin;
	struct digest image;
	struct manifest manifest;
	struct soci_index *index;
	struct profile_soci soci;    /* borrows from the above */
	struct profile_lists lists;
};

static void soci_job_finish(struct soci_job *job)
{
	profile_lists_finish(&job->lists);
	soci_index_destroy(job->index);
	manifest_finish(&job->manifest);
	origin_destroy(job->origin);
	ref_finish(&job->ref);
}
DEFINE_FINISH(soci_job, soci_job_finish);

static int soci_find(struct ctx *ctx, struct soci_job *job, struct err *err)
{
	AUTO_FINISH(descriptors) struct descriptors referrers = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(ORIGIN_MANIFEST_MAX);
	if (!job->origin)
		return err_say(err, -EINVAL, "SOCI's index is in the registry: leave out --offline");
	int r = store_blob_get(ctx->store, &job->image, &bytes, err);
	if (r == 0)
		r = manifest_parse(bytes.data, bytes.len, NULL, &job->manifest, err);
	if (r == 0)
		r = origin_referrers(job->origin, &job->image, NULL, &referrers,
				     deadline_in_ms(ctx->timeout_ms), err);
	if (r < 0)
		return r;
	r = soci_index_find(job->origin, &job->manifest, &referrers,
			    deadline_in_ms(ctx->timeout_ms), &job->index, err);
	if (r == -ENOENT)
		return err_say(err, r, "the image has no SOCI index in its registry, whose spans the "
				       "lists would name");
	return r;
}

/* The image's profile as lists. */
static int soci_begin(struct ctx *ctx, const char *text, struct soci_job *job, struct err *err)
{
	AUTO(profile) struct profile *p = NULL;
	int r = ctx_prepare(ctx, text, &job->ref, &job->origin, &job->image, err);
	if (r == 0)
		r = profile_load(ctx->store, &job->image, &p, err);
	if (r == 0)
		r = soci_find(ctx, job, err);
	if (r < 0)
		return r;
	job->soci = (struct profile_soci){
		.store = ctx->store,
		.origin = job->origin,
		.soci = job->index,
		.layers = &job->manifest.layers,
		.timeout_ms = ctx->timeout_ms,
	};
	return profile_soci_write(&job->soci, p, &job->lists, err);
}

int profile_soci_do_push(struct ctx *ctx, const char *text, struct err *err)
{
	AUTO_FINISH(soci_job) struct soci_job job = {0};
	struct digest index;
	struct digest_text digest, subject;
	int r = soci_begin(ctx, text, &job, err);
	if (r == 0)
		r = profile_soci_push(&job.soci, &job.lists, &job.image, (int64_t)time(NULL), &index,
				      err);
	if (r < 0)
		return err_prefix(err, r, "push the prefetch lists of %s", text);
	digest_str(&index, digest.s);
	if (!ctx->json) {
		(void)puts(digest.s);
		return 0;
	}
	AUTO_JSON json_t *json = json_pack("{s:s,s:s,s:b}", "digest", digest.s, "subject",
					   digest_str(&job.image, subject.s), "pushed", true);
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

int profile_soci_export(struct ctx *ctx, const char *text, const char *dir, struct err *err)
{
	AUTO_FINISH(soci_job) struct soci_job job = {0};
	AUTO_CLOSE int fd = -1;
	int r = soci_begin(ctx, text, &job, err);
	if (r == 0)
		r = dir_make(dir, 0777, err);
	if (r == 0) {
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? err_set(err, -errno, "open %s", dir) : 0;
	}
	for (size_t i = 0; i < job.lists.n && r == 0; i++) {
		const struct buf *list = &job.lists.items[i];
		char name[DIGEST_STR_MAX + sizeof(".json")];
		if (list->len == 0)
			continue;
		(void)snprintf(name, sizeof(name), "%s.json",
			       store_entry_name(&job.manifest.layers.items[i].digest,
						(struct digest_text){0}.s));
		r = file_commit(fd, name, list->data, list->len, COMMIT_REPLACE, err);
		if (r == 0)
			(void)printf("%s/%s\n", dir, name);
	}
	return r < 0 ? err_prefix(err, r, "export the prefetch lists of %s", text) : 0;
}
