/* SPDX-License-Identifier: Apache-2.0 */

/* The holder of one mount: started by verb_mount.c, or in its place with --foreground. */

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/devices.h"
#include "fs/holder.h"
#include "fs/mount.h"
#include "fs/overlay.h"
#include "tools/mounting.h"
#include "tools/verb.h"

enum { HOLD_PREDECESSOR_MS = 10000 }; /* until a dead holder has let go of the mount */

struct hold_state {
	uint64_t adopt; /* the server of a holder that died; 0: a new mount */
	const char *ahead; /* the image, while its entry says nothing yet; NULL: it does */
	bool foreground, fallback, thrown;
	uint64_t crashes;
	struct opt_list options;
};

static void hold_options(void *state, struct opt *table)
{
	struct hold_state *s = state;
	table[0] = (struct opt){"foreground", 'f', OPT_FLAG, NULL, "no parent waits", &s->foreground};
	table[1] = (struct opt){"options", 'o', OPT_LIST, "LIST", "mount options", &s->options};
	table[2] = (struct opt){"crashes", 0, OPT_NUMBER, "NUMBER", "as of mount", &s->crashes};
	table[3] = (struct opt){"adopt", 0, OPT_NUMBER, "PID", "take over from a holder that died",
				&s->adopt};
	table[4] = (struct opt){"fallback", 0, OPT_FLAG, NULL, "FUSE when EROFS cannot be mounted",
				&s->fallback};
	table[5] = (struct opt){"thrown", 0, OPT_FLAG, NULL, "the upper is removed after the mount",
				&s->thrown};
	table[6] = (struct opt){"ahead", 0, OPT_TEXT, "IMAGE", "wait until the image is prepared",
				&s->ahead};
}

struct hold {
	const char *run_dir;
	struct mtable_entry entry;    /* owned */
	int entry_fd, lock_fd;	      /* owned */
	int upper_fd;		      /* owned; keeps gc from a temporary upper, others from any */
	struct ctx *ctx;	      /* borrowed */
	const struct hold_state *state; /* borrowed */
	const char *id;		      /* borrowed */
	struct holder_config config;  /* what it points to is ours, or lives as long */
	bool loaded;		      /* the entry says what is mounted where */
	char *lower;		      /* owned; where FUSE is mounted */
	char *middle;		      /* owned; where EROFS is, below an overlay */
	bool thrown;		      /* the upper is removed after the mount */
	bool lower_is_own;	      /* something else is what the user sees */
	bool presented;		      /* and it is mounted */
	bool refused;		      /* the kernel did not mount it */
	bool served;		      /* the mount was there */
	struct mount_options options;
};

static void hold_finish(struct hold *h)
{
	mtable_entry_finish(&h->entry);
	cleanup_close(&h->entry_fd);
	cleanup_close(&h->lock_fd);
	cleanup_close(&h->upper_fd);
	free(h->lower);
	free(h->middle);
}
DEFINE_FINISH(hold, hold_finish);

/* Has the kernel mount the metadata of the image on `target`, over the devices in `lower`. */
static int hold_erofs(struct hold *h, const char *target, struct err *err)
{
	struct store *store = NULL;
	AUTO_FREE char *tree = NULL;
	char name[DIGEST_STR_MAX];
	size_t n_layers = 0;
	int r = ctx_store(h->ctx, &store, err);
	if (r == 0)
		r = mounting_layers(store, &h->entry.manifest, &n_layers, err);
	if (r < 0)
		return r;
	if (asprintf(&tree, "%s/images/%s/tree.erofs", store_path(store),
		     store_entry_name(&h->entry.manifest, name)) < 0) {
		tree = NULL;
		return err_set(err, -ENOMEM, "mount the image's metadata");
	}
	mount_tune(h->lower, MOUNT_AHEAD_DEVICES_KIB);
	return devices_mount(tree, h->lower, n_layers, target, h->options.flags, err);
}

/*
 * What the user sees is mounted once FUSE serves what is below it; each mount
 * holds the one that it stands on, which is then detached.
 */
static int hold_present(struct hold *h, struct err *err)
{
	const char *below = h->lower;
	int r = 0;
	if (h->entry.erofs) {
		const char *target = h->entry.upper ? h->middle : h->entry.dir;
		r = hold_erofs(h, target, err);
		if (r == 0 && (r = mount_undo(h->lower, true, err)) < 0)
			(void)mount_undo(target, true, NULL);
		below = target;
	}
	if (r < 0 || !h->entry.upper)
		return r;
	r = overlay_mount(below, h->entry.upper, h->entry.dir,
			  h->options.flags & ~(unsigned long)MS_RDONLY,
			  h->thrown || h->entry.own_upper ? OVERLAY_THROWN : OVERLAY_KEPT,
			  h->entry.image, err);
	int undone = mount_undo(below, true, r < 0 ? NULL : err);
	return r < 0 ? r : undone;
}

static int hold_serving(void *data, pid_t server, struct err *err)
{
	struct hold *h = data;
	h->entry.holder = getpid();
	h->entry.server = server;
	int r = mtable_save(h->entry_fd, &h->entry, err);
	if (r == 0 && !h->presented && h->lower_is_own) {
		r = hold_present(h, err);
		h->presented = r == 0;
		h->refused = r < 0;
	}
	h->served |= r == 0;
	return r;
}

static int hold_places(struct hold *h, const char *id, struct err *err)
{
	h->lower_is_own = h->entry.upper || h->entry.erofs;
	free(h->lower);
	free(h->middle);
	h->lower = h->middle = NULL;
	if (!h->lower_is_own) {
		h->lower = strdup(h->entry.dir);
		return h->lower ? 0 : err_set(err, -ENOMEM, "hold a mount");
	}
	if (asprintf(&h->lower, "%s/%s/lower", h->run_dir, id) < 0)
		h->lower = NULL;
	if (asprintf(&h->middle, "%s/%s/erofs", h->run_dir, id) < 0)
		h->middle = NULL;
	if (!h->lower || !h->middle)
		return err_set(err, -ENOMEM, "hold a mount");
	int r = dir_make(h->lower, 0700, err);
	return r < 0 ? r : dir_make(h->middle, 0700, err);
}

/* A named upper, for as long as the mount lives; one that is there already is not ended for it. */
static int hold_claim(struct hold *h, const struct hold_state *s, struct err *err)
{
	int r = overlay_claim(h->entry.upper, &h->upper_fd, err);
	if (r < 0 && s->adopt) {
		log_warn("%s: %s", h->entry.dir, err_text(err));
		r = 0;
	}
	return r;
}

static void hold_configure(struct hold *h)
{
	h->config.dir = h->lower;
	h->config.top = h->lower_is_own ? h->entry.dir : NULL;
	h->config.source = h->entry.image;
}

/* What to mount where, once the entry says so. */
static int hold_load(struct hold *h, struct err *err)
{
	int r = mtable_load(h->entry_fd, &h->entry, err);
	if (r == 0 && h->entry.own_upper) {
		AUTO_FREE char *path = NULL;
		r = mounting_own_upper(h->ctx, h->id, &path, &h->upper_fd, err);
	}
	if (r == 0 && h->entry.upper && !h->entry.own_upper)
		r = hold_claim(h, h->state, err);
	if (r == 0)
		r = hold_places(h, h->id, err);
	if (r < 0)
		return r;
	hold_configure(h);
	h->loaded = true;
	return 0;
}

static int hold_prepared(void *data, struct err *err)
{
	return hold_load(data, err);
}

static int hold_start(struct hold *h, struct err *err)
{
	const struct hold_state *s = h->state;
	int r = ctx_run_dir(h->ctx, &h->run_dir, err);
	if (r == 0)
		r = mtable_open(h->run_dir, h->id, &h->entry_fd, err);
	if (r == 0)
		r = mtable_lock(h->entry_fd, s->adopt ? HOLD_PREDECESSOR_MS : 0, &h->lock_fd,
				err);
	mount_options_init(&h->options);
	for (size_t i = 0; i < s->options.count && r == 0; i++)
		r = mount_options_parse(&h->options, s->options.items[i], err);
	if (r < 0 || s->ahead)
		return r;
	return hold_load(h, err);
}

/* The words for a server; with `ahead` for one that waits until the image is prepared. */
static int hold_words(struct hold *h, const char *ahead, struct words *ret, struct err *err)
{
	int r = mounting_words(h->ctx, "serve", ret, err);
	if (r < 0)
		return r;
	if (words_add_text(ret, "--ahead", ahead) < 0 || words_add(ret, h->id) < 0)
		return err_set(err, -ENOMEM, "hold a mount");
	return 0;
}

static int hold_run_holder(struct hold *h, const char *ahead, struct err *err)
{
	const struct hold_state *s = h->state;
	AUTO_FREE char *program = NULL;
	AUTO_FINISH(words) struct words words = {0};
	AUTO_FINISH(words) struct words first = {0};
	int r = mounting_program(&program, err);
	if (r == 0)
		r = hold_words(h, NULL, &words, err);
	if (r == 0 && ahead)
		r = hold_words(h, ahead, &first, err);
	if (r < 0)
		return r;
	h->config = (struct holder_config){
		.dir = ahead,
		.options = &h->options,
		.program = program,
		.argv = words.items,
		.envp = environ,
		.again = verb_again,
		.ahead = first.items,
		.prepared = hold_prepared,
		.crashes_max = (unsigned int)u64_min(s->crashes, UINT_MAX),
		.status_fd = s->foreground || s->adopt ? -1 : HOLDER_FD_CONTROL,
		.serving = hold_serving,
		.data = h,
	};
	if (!ahead)
		hold_configure(h);
	r = s->adopt ? holder_adopt(&h->config, (pid_t)s->adopt, err) : holder_run(&h->config, err);
	h->config = (struct holder_config){0};
	return r;
}

/*
 * Holds the mount. With --fs=auto, one that the kernel cannot mount here as EROFS starts again as
 * what can be mounted everywhere; whoever waits for it learns nothing of that.
 */
static int hold_hold(struct hold *h, struct err *err)
{
	int r = hold_run_holder(h, h->state->ahead, err);
	if (r >= 0 || !h->state->fallback || !h->entry.erofs || !h->refused)
		return r;
	log_warn("%s: mounted as --fs=fuse, since EROFS failed: %s", h->entry.dir, err_text(err));
	h->entry.erofs = h->refused = false;
	r = hold_places(h, h->entry.id, err);
	if (r == 0)
		r = mtable_save(h->entry_fd, &h->entry, err);
	return r < 0 ? r : hold_run_holder(h, NULL, err);
}

/* What it counted goes to the image. */
static int hold_count(const struct hold *h, struct ctx *ctx, struct err *err)
{
	struct store *store = NULL;
	struct mount_stats *mine = NULL, *image = NULL;
	int r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = mount_stats_map(h->entry_fd, &mine, err);
	if (r == 0)
		r = image_stats_map(store, &h->entry.manifest, &image, err);
	if (r == 0)
		mount_stats_add(image, mine);
	mount_stats_unmap(mine);
	mount_stats_unmap(image);
	return r;
}

/* What the mount leaves behind when it ends. */
static void hold_clean(struct hold *h, struct ctx *ctx)
{
	struct err err = {0};
	int r = h->loaded ? hold_count(h, ctx, &err) : 0;
	if (r < 0)
		log_debug("%s: count: %s", h->entry.dir, err_text(&err));
	r = 0;
	if (h->entry.own_upper)
		r = tree_remove(AT_FDCWD, h->entry.upper, &err);
	if (r == 0)
		r = mtable_remove(h->run_dir, h->id, &err);
	if (r < 0)
		log_warn("%s: clean up: %s", h->loaded ? h->entry.dir : h->id, err_text(&err));
}

static int hold_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct hold_state *s = state;
	AUTO_FINISH(hold) struct hold h = {.ctx = ctx, .state = s, .id = argv[0], .entry_fd = -1,
					  .lock_fd = -1, .upper_fd = -1, .thrown = s->thrown};
	(void)argc;
	int r = hold_start(&h, err);
	bool started = r == 0;
	/* Then what the user sees is there already. */
	h.presented = s->adopt && h.lower_is_own;
	if (started)
		r = hold_hold(&h, err);
	if (r < 0 && !h.served && !s->foreground && !s->adopt)
		holder_launch_failed(HOLDER_FD_CONTROL, err);
	if (!started)
		return r;
	if (r < 0 && h.presented)
		(void)mount_undo(h.entry.dir, true, NULL);
	/* One that was given up stays until 'sluice umount', which needs the entry to find it. */
	if (r != -ECONNABORTED || h.presented || !h.loaded)
		hold_clean(&h, ctx);
	return r;
}

const struct verb verb_hold = {
	.name = "hold",
	.args = "ID",
	.summary = "hold a mount (started by 'sluice mount')",
	.teach = "Holds the connection of a mount and keeps a server running. 'sluice mount' starts it.",
	.options = hold_options,
	.state_size = sizeof(struct hold_state),
	.hidden = true,
	.min_words = 1,
	.max_words = 1,
	.run = hold_run,
};
