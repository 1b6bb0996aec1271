/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/start.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "fs/expect.h"
#include "fs/image_record.h"
#include "fs/prefetch.h"
#include "fs/profile_store.h"

struct start {
	struct start_config config;
	struct recorder *recorder; /* owned */
	struct prefetch *prefetch; /* owned */
	struct expect *expect;	   /* owned; the prefetch thread's */
};

static const struct digest *start_manifest(const struct start *s)
{
	return &image_manifest(s->config.image)->digest;
}

/* ---- recording ---- */

/* Writes what was touched to a file, in place of what it held. */
static int start_tell(struct start *s, const struct profile *run, struct err *err)
{
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	AUTO_FREE char *copy = strdup(s->config.record->touched);
	char *name = copy ? strrchr(copy, '/') : NULL;
	if (!name)
		return err_set(err, copy ? -EINVAL : -ENOMEM, "tell what was read");
	*name++ = '\0';
	AUTO_CLOSE int dir = open(copy[0] ? copy : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(err, -errno, "open %s", copy);
	int r = profile_facts_load(s->config.store, start_manifest(s), &facts, err);
	if (r == 0)
		r = profile_emit(run, &facts.image, facts.layers, facts.n, &text, err);
	return r < 0 ? r : file_commit(dir, name, text.data, text.len, COMMIT_LIVE, err);
}

static void start_learn(void *data, const struct profile *run)
{
	struct start *s = data;
	struct err err = {0};
	int r = 0;
	if (s->config.record->touched)
		r = start_tell(s, run, &err);
	else if (profile_count(run) > 0) /* a mount that nobody read from says nothing about starts */
		r = profile_learn(s->config.store, start_manifest(s), run, &err);
	if (r < 0)
		log_warn("what this start read is not learnt: %s", err_text(&err));
	counter_add(&s->config.stats->start.recorded, 1);
}

static int start_record(struct start *s, struct err *err)
{
	struct recorder_config config = {
		.quiet_ms = s->config.record->quiet_ms,
		.max_ms = s->config.record->cap_ms,
		.max_bytes = s->config.record->cap_bytes,
		.ready_fd = s->config.ready_fd,
		.learn = start_learn,
		.data = s,
	};
	config.sources = image_sources(s->config.image, &config.n_sources);
	int r = recorder_create(&config, &s->recorder, err);
	if (r == 0)
		counter_add(&s->config.stats->start.recordings, 1);
	return r;
}

/* ---- what is fetched ---- */

static int plan_profile(const struct profile *profile, struct plan *plan, struct err *err)
{
	for (size_t i = 0; i < profile_count(profile); i++) {
		struct profile_range range;
		profile_get(profile, i, &range);
		int r = plan_add(plan, range.layer, range.off, range.len);
		/* A plan that is full is fetched, too. */
		if (r == -E2BIG)
			break;
		if (r < 0)
			return err_set(err, r, "plan by the profile");
	}
	return 0;
}

/* Without a profile: what the image itself lets expect. */
static int start_expect(struct start *s, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(EXPECT_CONFIG_MAX);
	AUTO_FINISH(image_record) struct image_record record = {0};
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(s->config.store, start_manifest(s), false, &dir, err);
	if (r == 0)
		r = image_record_load(dir, &record, err);
	if (r == 0)
		r = store_blob_get(s->config.store, &record.config, &text, err);
	if (r < 0)
		return r;
	struct expect_config config = {
		.image = image_tree(s->config.image),
		.config = text.data,
		.config_len = text.len,
		.read_timeout_ms = s->config.read_timeout_ms,
	};
	config.sources = image_sources(s->config.image, &config.n_sources);
	return expect_create(&config, &s->expect, err);
}

static int start_plan(void *data, struct plan *plan, struct err *err)
{
	struct start *s = data;
	AUTO(profile) struct profile *profile = NULL;
	if (s->expect)
		return expect_next(s->expect, plan, err);
	int r = s->config.record->off ? -ENOENT :
		profile_load(s->config.store, start_manifest(s), &profile, err);
	if (r == 0)
		return plan_profile(profile, plan, err);
	if (r != -ENOENT)
		log_warn("the startup profile is not used: %s", err_text(err));
	r = start_expect(s, err);
	return r < 0 ? r : expect_next(s->expect, plan, err);
}

static void start_full(void *data)
{
	struct start *s = data;
	log_info("%s is fully local", image_reference(s->config.image));
	counter_add(&s->config.stats->start.filled, 1);
}

static int start_fetch(struct start *s, bool young, struct err *err)
{
	const struct mount_start *options = s->config.start;
	bool plan = young && !options->no_prefetch;
	if (!s->config.online || (!plan && !options->fill))
		return 0;
	struct prefetch_config config = {
		.pool = s->config.pool,
		.store = s->config.store,
		.mount = &s->config.stats->mount,
		.plan = plan ? start_plan : NULL,
		.plan_data = s,
		.rate = options->prefetch_rate,
		.fill = options->fill,
		.full = start_full,
		.full_data = s,
	};
	config.sources = image_sources(s->config.image, &config.n_sources);
	return prefetch_start(&config, &s->prefetch, err);
}

/* ---- life ---- */

int start_begin(const struct start_config *config, struct start **ret, struct err *err)
{
	AUTO(start) struct start *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, -ENOMEM, "begin a start");
	s->config = *config;
	bool young = counter_get(&config->stats->mount.reads) == 0;
	int r = start_fetch(s, young, err);
	if (r == 0 && young && !config->record->off)
		r = start_record(s, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&s);
	return 0;
}

struct recorder *start_recorder(const struct start *s)
{
	return s->recorder;
}

void start_end(struct start *s)
{
	if (!s)
		return;
	prefetch_stop(s->prefetch);
	recorder_destroy(s->recorder);
	expect_destroy(s->expect);
	free(s);
}
