/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/mount.h"
#include "tools/containers.h"
#include "tools/mounting.h"
#include "tools/text.h"
#include "tools/verb.h"

enum { GC_MIN_AGE_MS = 3600000 };

struct gc_state {
	bool all, dry_run;
	uint64_t min_age_ms;
};

static void gc_options(void *state, struct opt *table)
{
	struct gc_state *s = state;
	s->min_age_ms = GC_MIN_AGE_MS;
	table[0] = (struct opt){"all", 'a', OPT_FLAG, NULL,
				"also images and layers that no mount uses", &s->all};
	table[1] = (struct opt){"dry-run", 'n', OPT_FLAG, NULL, "only say what would go", &s->dry_run};
	table[2] = (struct opt){"min-age", 0, OPT_DURATION, "TIME",
				"spare what is younger than this (default: 1h)",
				&s->min_age_ms};
}

struct gc_mounts {
	const char *run_dir;
	const struct gc_state *state;
	uint64_t min_age_sec, removed;
	struct err *err;
};

/* Both of its processes died, or it never got as far as having them. */
static bool gc_mount_is_dead(const struct gc_mounts *gc, int entry_fd,
			     const struct mtable_entry *entry)
{
	if (mtable_is_held(entry_fd) || mounting_is_serving(entry))
		return false;
	return entry->holder > 0 || entry->created + (int64_t)gc->min_age_sec < (int64_t)time(NULL);
}

/* Another mount that lives may be where this one was: what is seen there is its. */
static bool gc_mount_is_seen(const struct gc_mounts *gc, const struct mtable_entry *entry)
{
	AUTO_FINISH(mtable_entry) struct mtable_entry other = {0};
	AUTO_CLOSE int fd = -1;
	struct err ignored;
	if (entry->holder == 0 || !mounting_is_seen(entry))
		return false;
	return mtable_find(gc->run_dir, entry->dir, &other, &fd, &ignored) == 0 &&
	       !mtable_is_held(fd) && !mounting_is_serving(&other);
}

static int gc_mount(void *data, int entry_fd, const struct mtable_entry *entry)
{
	struct gc_mounts *gc = data;
	if (!gc_mount_is_dead(gc, entry_fd, entry))
		return 0;
	gc->removed++;
	if (gc->state->dry_run)
		return 0;
	if (gc_mount_is_seen(gc, entry))
		(void)mount_undo(entry->dir, true, NULL);
	return mounting_clear(gc->run_dir, entry, entry_fd, gc->err);
}

/* Clears away what dead mounts left, of this machine's table. */
static int gc_mounts(struct ctx *ctx, struct gc_mounts *gc, struct err *err)
{
	uint64_t silent = 0;
	int r = ctx_run_dir(ctx, &gc->run_dir, err);
	if (r == 0)
		r = mtable_each(gc->run_dir, gc_mount, gc, err);
	if (r == 0)
		r = mtable_collect(gc->run_dir, gc->min_age_sec, gc->state->dry_run, &silent, err);
	gc->removed += silent;
	return r;
}

struct gc_containers {
	struct ctx *ctx;
	const struct gc_state *state;
	uint64_t min_age_sec, removed;
};

/* Its monitor died, or what was to start one. */
static bool gc_container_is_dead(const struct gc_containers *gc, const struct opened_container *o)
{
	enum container_phase phase = o->state.phase;
	int64_t made = o->state.created_ns / (int64_t)NS_PER_SEC;
	if (containers_is_live(o))
		return false;
	if (phase == CONTAINER_EXITED)
		return o->record.remove || o->state.exit_code < 0;
	if (phase == CONTAINER_CONFIGURED)
		return made + (int64_t)gc->min_age_sec <= (int64_t)time(NULL);
	return true;
}

static int gc_container(void *data, const struct opened_container *o)
{
	struct gc_containers *gc = data;
	AUTO_FINISH(opened_container) struct opened_container again = {0};
	struct err err = {0};
	if (!gc_container_is_dead(gc, o))
		return 0;
	gc->removed++;
	if (gc->state->dry_run)
		return 0;
	int r = containers_open(gc->ctx, container_id(o->container), &again, &err);
	if (r == 0)
		r = containers_remove(gc->ctx, &again, &err);
	/* One that cannot be removed must not keep the others. */
	if (r < 0 && r != -ENOENT)
		log_warn("remove the container %s: %s", o->record.name, err_text(&err));
	return 0;
}

static int gc_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct gc_state *s = state;
	struct store *store = NULL;
	struct store_gc_result result = {0};
	struct store_gc_options options = {
		.dry_run = s->dry_run,
		.all = s->all,
		.min_age_sec = s->min_age_ms / 1000,
	};
	(void)argc;
	(void)argv;
	struct gc_mounts mounts = {.state = s, .min_age_sec = options.min_age_sec, .err = err};
	struct gc_containers containers = {.ctx = ctx, .state = s, .min_age_sec = options.min_age_sec};
	int r = ctx_store_there(ctx, &store, err);
	/* First, since a container's mount is in the table, too. */
	if (r == 0)
		r = containers_each(ctx, gc_container, &containers, err);
	if (r == 0)
		r = gc_mounts(ctx, &mounts, err);
	if (r == 0)
		r = store_gc(store, &options, &result, err);
	if (r < 0)
		return r;
	result.removed_entries += mounts.removed + containers.removed;
	if (ctx->json) {
		AUTO_JSON json_t *json = json_pack("{s:I,s:I,s:b}", "removed",
						   (json_int_t)result.removed_entries, "freed_bytes",
						   (json_int_t)result.freed_bytes, "dry_run", s->dry_run);
		return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
	}
	char size[SIZE_TEXT_MAX];
	(void)printf("%s %llu entries, %s\n", s->dry_run ? "would remove" : "removed",
		     (unsigned long long)result.removed_entries, size_text(result.freed_bytes, size));
	return 0;
}

const struct verb verb_gc = {
	.name = "gc",
	.args = "",
	.summary = "remove what nothing needs from the store",
	.teach = "Removes leftovers of interrupted work, of mounts whose processes died and of containers\n"
		 "without a monitor, content that was put aside as wrong, layers of no image, and layer data\n"
		 "past the budget; with --all also every image that is not mounted. What is younger than\n"
		 "--min-age stays: another command may be about to use it. What a mount uses stays, too, and\n"
		 "what is missed later is fetched again.\n\n"
		 "  sluice gc --all --dry-run\n"
		 "  sluice gc --all --min-age 0s      all that can be freed, now",
	.options = gc_options,
	.state_size = sizeof(struct gc_state),
	.min_words = 0,
	.max_words = 0,
	.run = gc_run,
};
