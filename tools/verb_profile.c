/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/holder.h"
#include "fs/profile_registry.h"
#include "tools/containers.h"
#include "tools/mounting.h"
#include "tools/profile.h"
#include "tools/text.h"
#include "tools/verb.h"

_Static_assert(sizeof(struct profile_options) <= VERB_STATE_MAX, "the verb's state");

static void profile_options(void *state, struct opt *table)
{
	struct profile_options *o = state;
	const struct opt rows[] = {
		{"profile-quiet", 0, OPT_DURATION, "TIME",
		 "record: a start is over when nothing new is touched for so long",
		 &o->flags.quiet_ms},
		{"profile-time", 0, OPT_DURATION, "TIME", "record: and at the latest after this time",
		 &o->flags.cap_ms},
		{"profile-bytes", 0, OPT_SIZE, "SIZE", "record: and when so many bytes were touched",
		 &o->flags.cap_bytes},
		{"soci", 0, OPT_FLAG, NULL, "push, export: as prefetch lists of the image's SOCI index",
		 &o->soci},
	};
	memcpy(table, rows, sizeof(rows));
}

/* What import, export, rm and push begin with: the image is prepared, and its facts are read. */
static int profile_begin(struct ctx *ctx, const char *text, struct origin **ret_origin,
			 struct profile_facts *ret, struct err *err)
{
	AUTO_FINISH(ref) struct ref ref = {0};
	AUTO(origin) struct origin *origin = NULL;
	struct digest manifest;
	struct store *store = NULL;
	int r = ctx_prepare(ctx, text, &ref, &origin, &manifest, err);
	if (r == 0)
		r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = profile_facts_load(store, &manifest, ret, err);
	if (r == 0 && ret_origin)
		*ret_origin = steal_ptr(&origin);
	return r;
}

static int profile_import(struct ctx *ctx, const char *text, const char *file, struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(PROFILE_TEXT_MAX);
	AUTO(profile) struct profile *p = NULL;
	int r = file_slurp(AT_FDCWD, file, &bytes, err);
	if (r == 0)
		r = profile_begin(ctx, text, NULL, &facts, err);
	if (r == 0)
		r = profile_decode(&facts, bytes.data, bytes.len, &p, err);
	if (r == 0)
		r = profile_adopt(ctx->store, &facts, p, NULL, err);
	return r < 0 ? err_prefix(err, r, "import %s", file) : 0;
}

static int profile_export(struct ctx *ctx, const char *text, const char *file, struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(PROFILE_TEXT_MAX);
	AUTO(profile) struct profile *p = NULL;
	int r = profile_begin(ctx, text, NULL, &facts, err);
	if (r == 0)
		r = profile_load(ctx->store, &facts.image, &p, err);
	if (r == 0)
		r = profile_emit(p, &facts.image, facts.layers, facts.n, &bytes, err);
	if (r == 0 && strcmp(file, "-") == 0)
		return fputs(buf_str(&bytes), stdout) < 0 ? err_set(err, -EIO, "print") : 0;
	if (r == 0)
		r = file_commit(AT_FDCWD, file, bytes.data, bytes.len, COMMIT_REPLACE, err);
	return r < 0 ? err_prefix(err, r, "export the profile of %s", text) : 0;
}

static int profile_rm(struct ctx *ctx, const char *text, struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	int r = profile_begin(ctx, text, NULL, &facts, err);
	if (r == 0)
		r = profile_remove(ctx->store, &facts.image, err);
	return r < 0 ? err_prefix(err, r, "%s", text) : 0;
}

static int push_tell(const struct ctx *ctx, const struct profile_facts *facts,
		     const struct profile_pushed *pushed, struct err *err)
{
	struct digest_text artifact = {""}, image;
	if (pushed->pushed)
		digest_str(&pushed->artifact, artifact.s);
	if (!ctx->json) {
		(void)puts(pushed->pushed ? artifact.s : "the registry has it already");
		return 0;
	}
	AUTO_JSON json_t *json = json_pack("{s:s?,s:s,s:b}", "digest",
					   pushed->pushed ? artifact.s : NULL, "subject",
					   digest_str(&facts->image, image.s), "pushed",
					   pushed->pushed);
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

static int profile_do_push(struct ctx *ctx, const char *text, struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO(origin) struct origin *origin = NULL;
	struct profile_pushed pushed = {0};
	int r = profile_begin(ctx, text, &origin, &facts, err);
	if (r == 0 && !origin)
		r = err_say(err, -EINVAL, "a profile cannot be pushed with --offline");
	if (r == 0)
		r = profile_push(ctx->store, &facts.image, origin, (int64_t)time(NULL),
				 ctx->timeout_ms, &pushed, err);
	if (r < 0)
		return err_prefix(err, r, "push the profile of %s", text);
	if (pushed.ignored.code != 0)
		log_warn("%s: the profile in the registry is ignored: %s", text,
			 err_text(&pushed.ignored));
	return push_tell(ctx, &facts, &pushed, err);
}

/* The mount on a directory, or of a container. */
static int ready_find(struct ctx *ctx, const char *word, struct mtable_entry *ret, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	AUTO_CLOSE int entry_fd = -1;
	AUTO_FREE char *dir = NULL;
	AUTO_FREE char *rootfs = NULL;
	const char *run_dir = NULL;
	struct err ignored;
	int r = ctx_run_dir(ctx, &run_dir, err);
	if (r < 0)
		return r;
	if (mounting_dir(word, &dir, &ignored) == 0 &&
	    mtable_find(run_dir, dir, ret, &entry_fd, &ignored) == 0)
		return 0;
	r = containers_open(ctx, word, &o, err);
	if (r < 0)
		return r;
	if (asprintf(&rootfs, "%s/" CONTAINER_ROOTFS, container_path(o.container)) < 0) {
		rootfs = NULL;
		return err_set(err, -ENOMEM, "find %s", word);
	}
	return mtable_find(run_dir, rootfs, ret, &entry_fd, err);
}

/* The start of what is mounted on a directory, or runs in a container, is over. */
static int profile_ready(struct ctx *ctx, const char *word, struct err *err)
{
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	int r = ready_find(ctx, word, &entry, err);
	if (r < 0)
		return r;
	if (!mounting_is_serving(&entry))
		return err_say(err, -ESRCH, "%s: no server of its mount is running", word);
	if (kill(entry.server, HOLDER_READY_SIGNAL) < 0)
		return err_set(err, err_errno(), "tell the server of %s", word);
	return 0;
}

static int profile_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct profile_options *options = state;
	const char *what = argv[0];
	if (strcmp(what, "record") == 0)
		return profile_record(ctx, options, argv + 1, err);
	if (strcmp(what, "show") == 0 && argc == 2)
		return profile_show(ctx, argv[1], err);
	if (strcmp(what, "push") == 0 && argc == 2)
		return options->soci ? profile_soci_do_push(ctx, argv[1], err) :
				       profile_do_push(ctx, argv[1], err);
	if (strcmp(what, "import") == 0 && argc == 3)
		return profile_import(ctx, argv[1], argv[2], err);
	if (strcmp(what, "export") == 0 && argc == 3)
		return options->soci ? profile_soci_export(ctx, argv[1], argv[2], err) :
				       profile_export(ctx, argv[1], argv[2], err);
	if (strcmp(what, "rm") == 0 && argc == 2)
		return profile_rm(ctx, argv[1], err);
	if (strcmp(what, "ready") == 0 && argc == 2)
		return profile_ready(ctx, argv[1], err);
	return ctx_misuse(ctx, err_say(err, -EINVAL,
				       "it is 'profile record IMAGE [-- CMD…]', 'show IMAGE', "
				       "'push IMAGE', 'import IMAGE FILE', 'export IMAGE FILE', "
				       "'rm IMAGE' or 'ready DIR|CONTAINER'"));
}

const struct verb verb_profile = {
	.name = "profile",
	.args = "record IMAGE [-- CMD…] | show|push|rm IMAGE | import|export IMAGE FILE | ready DIR",
	.summary = "record, print, publish startup profiles",
	.teach = "A startup profile says which bytes of an image its starts touch, and in what order, so\n"
		 "that the next one fetches them before anything asks. Mounts and containers record it by\n"
		 "themselves while they are young; several runs make it better, and what they no longer\n"
		 "touch leaves it.\n\n"
		 "  record   run a command in a container of the image, and learn what its start touches\n"
		 "  show     print the profile: what is fetched, in which order, and whose bytes they are\n"
		 "  push     join it with the one in the registry, and publish it beside the image, where\n"
		 "           machines that prepare the image find it\n"
		 "  import   join a profile out of a file into the store's\n"
		 "  export   write it to a file (-: standard output); with --soci one prefetch list a\n"
		 "           layer into a directory\n"
		 "  rm       forget it\n"
		 "  ready    say that what is mounted on DIR, or a container, has started: what it\n"
		 "           touches from now on is not recorded\n\n"
		 "  sluice profile record python:3.12 -- python3 -c 'import json'\n"
		 "  sluice profile push registry.example/team/app:1.4",
	.options = profile_options,
	.state_size = sizeof(struct profile_options),
	.min_words = 2,
	.max_words = -1,
	.run = profile_run,
};
