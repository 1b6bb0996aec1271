/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/utf8.h"
#include "fs/devices.h"
#include "fs/holder.h"
#include "fs/mount.h"
#include "tools/mounting.h"
#include "tools/verb.h"

struct mount_state {
	bool rw, foreground;
	const char *upper, *fs;
	uint64_t crashes;
	struct opt_list options;
	struct profile_flags profile;
};

static void mount_verb_options(void *state, struct opt *table)
{
	struct mount_state *s = state;
	const struct opt rows[] = {
		{"rw", 0, OPT_FLAG, NULL, "writable: an overlay keeps the changes (root)", &s->rw},
		{"upper", 0, OPT_TEXT, "DIR",
		 "keep the changes of --rw there (default: lost at umount)", &s->upper},
		{"foreground", 'f', OPT_FLAG, NULL, "stay until the mount ends", &s->foreground},
		{"options", 'o', OPT_LIST, "LIST", "mount options: nosuid,suid,noexec,noatime,allow_other…",
		 &s->options},
		{"crashes", 0, OPT_NUMBER, "NUMBER",
		 "give up when the server dies so often in 10 s (default: 5)", &s->crashes},
		{"fs", 0, OPT_TEXT, "KIND", "fuse; erofs (root): the kernel reads the metadata; or auto: what works",
		 &s->fs},
	};
	memcpy(table, rows, sizeof(rows));
	profile_flags_options(&s->profile, table + ARRAY_LEN(rows));
}

static bool mount_verb_is_auto(const struct mount_state *s)
{
	return !s->fs || strcmp(s->fs, "auto") == 0;
}

/* What --fs=auto is here: EROFS where it can be mounted, unless FUSE's own options are asked for. */
static bool mount_verb_erofs(const struct mount_state *s)
{
	struct mount_options options;
	struct err why = {0};
	if (!mount_verb_is_auto(s))
		return strcmp(s->fs, "erofs") == 0;
	mount_options_init(&options);
	for (size_t i = 0; i < s->options.count; i++)
		(void)mount_options_parse(&options, s->options.items[i], NULL);
	if (options.only_fuse)
		log_debug("--fs=auto is fuse: only it has the options of -o");
	else if (devices_probe(&why) < 0)
		log_debug("--fs=auto is fuse: %s", err_text(&why));
	else
		return true;
	return false;
}

static int mount_verb_check(const struct mount_state *s, struct err *err)
{
	struct mount_options options;
	bool erofs = s->fs && strcmp(s->fs, "erofs") == 0;
	if (s->fs && !erofs && strcmp(s->fs, "fuse") != 0 && strcmp(s->fs, "auto") != 0)
		return err_say(err, -EINVAL, "--fs does not take '%s': it wants fuse, erofs or auto",
			       s->fs);
	if (erofs && geteuid() != 0)
		return err_say(err, -EPERM, "--fs=erofs needs root: only root can mount EROFS");
	if (s->upper && !s->rw)
		return err_say(err, -EINVAL, "--upper is of use with --rw only");
	if (s->rw && geteuid() != 0)
		return err_say(err, -EPERM, "--rw needs root: only root can mount the overlay it takes");
	mount_options_init(&options);
	for (size_t i = 0; i < s->options.count; i++) {
		int r = mount_options_parse(&options, s->options.items[i], err);
		if (r < 0)
			return r;
	}
	return profile_flags_check(&s->profile, err);
}

/* The table of mounts is JSON, which has no other names. */
static int mount_verb_check_name(const char *what, const char *path, struct err *err)
{
	if (utf8_valid(path, strlen(path)))
		return 0;
	return err_say(err, -EINVAL, "the %s %s cannot be noted: its name is not UTF-8; use another",
		       what, path);
}

struct upper_use {
	const char *upper;
	struct err *err;
};

static int mount_verb_upper_use(void *data, int entry_fd, const struct mtable_entry *entry)
{
	const struct upper_use *use = data;
	struct stat mine, other;
	(void)entry_fd;
	if (!entry->upper || stat(use->upper, &mine) < 0 || stat(entry->upper, &other) < 0 ||
	    mine.st_dev != other.st_dev || mine.st_ino != other.st_ino || !mounting_is_seen(entry))
		return 0;
	return err_say(use->err, -EBUSY,
		       "%s is the upper of what is mounted on %s: unmount that first, or use another "
		       "directory", use->upper, entry->dir);
}

/*
 * Refused before anything is fetched; the holder's claim of the upper is what holds. A mount whose
 * processes died has no claim any more, but its overlay still writes.
 */
static int mount_verb_check_upper(const char *run_dir, const char *upper, struct err *err)
{
	struct upper_use use = {.upper = upper, .err = err};
	return upper ? mtable_each(run_dir, mount_verb_upper_use, &use, err) : 0;
}

/* Where the mount will be, and its upper if it has a name. */
static int mount_verb_places(const struct mount_state *s, const char *dir,
			     struct mtable_entry *entry, struct err *err)
{
	int r = mounting_dir(dir, &entry->dir, err);
	if (r == 0)
		r = mount_verb_check_name("directory", entry->dir, err);
	if (r < 0 || !s->upper)
		return r;
	r = mounting_path(s->upper, &entry->upper);
	if (r < 0)
		return err_set(err, r, "find %s", s->upper);
	return mount_verb_check_name("upper", entry->upper, err);
}

/* Enters the mount into the table. A temporary upper is held until the holder holds it itself. */
static int mount_verb_enter(struct ctx *ctx, const struct mount_state *s,
			    struct mounting *mounting, struct mtable_entry *entry,
			    int *ret_upper, struct err *err)
{
	int r = 0;
	if (mounting->id[0] == '\0')
		r = mounting_begin(ctx, entry->image, NULL, false, mounting, err);
	if (r < 0)
		return r;
	memcpy(entry->id, mounting->id, sizeof(entry->id));
	if (s->rw && !entry->upper) {
		r = mounting_own_upper(ctx, entry->id, &entry->upper, ret_upper, err);
		entry->own_upper = true;
	}
	return r < 0 ? r : mounting_enter(ctx, mounting, entry, err);
}

/* The words for a holder, but for the id. */
static int mount_verb_words(const struct ctx *ctx, const struct mount_state *s, struct words *ret,
			    struct err *err)
{
	AUTO_FINISH(words) struct words words = {0};
	int r = mounting_words(ctx, "hold", &words, err);
	for (size_t i = 0; i < s->options.count && r == 0; i++) {
		r = words_add(&words, "-o");
		if (r == 0)
			r = words_add(&words, s->options.items[i]);
	}
	if (r == 0 && s->foreground)
		r = words_add(&words, "--foreground");
	if (r == 0 && mount_verb_is_auto(s))
		r = words_add(&words, "--fallback");
	if (r == 0)
		r = words_add_number(&words, "--crashes", s->crashes, "");
	if (r < 0)
		return err_set(err, r, "start the holder");
	*ret = words;
	words = (struct words){0};
	return 0;
}

static int mount_verb_start(struct ctx *ctx, const struct mount_state *s,
			    struct mounting *mounting, struct words *hold, struct origin *origin,
			    struct err *err)
{
	AUTO_FREE char *program = NULL;
	if (!s->foreground)
		return mounting_go(ctx, mounting, hold, origin, err);
	int r = mounting_program(&program, err);
	if (r == 0 && words_add(hold, mounting->id) < 0)
		r = err_set(err, -ENOMEM, "start the holder");
	if (r < 0)
		return r;
	(void)execv(program, hold->items);
	return err_set(err, -errno, "start %s", program);
}

/* A mount with something on top looks like anybody's: it takes the table to know it for one of ours. */
static int mount_verb_check_table(const char *run_dir, const char *dir, struct err *err)
{
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *real = NULL;
	struct err ignored;
	if (mounting_dir(dir, &real, &ignored) == 0 &&
	    mtable_find(run_dir, real, &entry, &fd, &ignored) == 0 && mounting_is_seen(&entry))
		return err_say(err, -EBUSY, "%s: %s is mounted here already: unmount it first, or use "
			       "another directory", dir, entry.image);
	return 0;
}

/*
 * Keeps others from mounting on the directory while this command does: two that
 * prepare an image at once would both find it free. Also checks that it is.
 */
static int mount_verb_reserve(const char *run_dir, const char *dir, int *ret_lock, struct err *err)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return err_say(err, -EBUSY,
			       "%s: another mount here is under way: wait for it, or use another directory",
			       dir);
	int r = mount_verb_check_table(run_dir, dir, err);
	if (r == 0)
		r = mount_check(dir, err);
	if (r == 0)
		*ret_lock = steal_fd(&fd);
	return r;
}

/*
 * The kernel's mount of the metadata keeps the server's by the devices that it has open. An image
 * without layers has none, and nothing for the kernel to read faster: FUSE serves it.
 */
static int mount_verb_fs(struct ctx *ctx, const struct mount_state *s, struct mtable_entry *entry,
			 struct err *err)
{
	size_t n_layers = 0;
	if (!mount_verb_erofs(s))
		return 0;
	int r = mounting_layers(ctx->store, &entry->manifest, &n_layers, err);
	entry->erofs = r == 0 && n_layers > 0;
	return r;
}

static int mount_verb_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	struct mount_state *s = state;
	AUTO_FINISH(ref) struct ref ref = {0};
	AUTO(origin) struct origin *origin = NULL;
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_FINISH(mounting) struct mounting mounting = mounting_none();
	AUTO_FINISH(words) struct words hold = {0};
	AUTO_CLOSE int upper_lock = -1;
	AUTO_CLOSE int dir_lock = -1;
	const char *run_dir = NULL;
	(void)argc;
	ctx->late = true;
	int r = ctx_misuse(ctx, mount_verb_check(s, err));
	if (r == 0)
		r = ctx_run_dir(ctx, &run_dir, err);
	/* Refused before anything is fetched what could not be mounted later. */
	if (r == 0)
		r = mount_verb_reserve(run_dir, argv[1], &dir_lock, err);
	if (r == 0)
		r = mount_verb_places(s, argv[1], &entry, err);
	if (r == 0)
		r = mount_verb_check_upper(run_dir, entry.upper, err);
	if (r == 0)
		r = mount_verb_words(ctx, s, &hold, err);
	if (r == 0 && !s->foreground)
		r = mounting_begin(ctx, argv[0], &hold, true, &mounting, err);
	if (r == 0)
		r = ctx_prepare(ctx, argv[0], &ref, &origin, &entry.manifest, err);
	if (r < 0)
		return r;
	entry.created = (int64_t)time(NULL);
	r = mount_verb_fs(ctx, s, &entry, err);
	if (r == 0)
		r = mounting_record(&s->profile, &entry, err);
	if (r < 0)
		return r;
	entry.store = strdup(store_path(ctx->store));
	if (!entry.store || ref_text(&ref, &entry.image) < 0)
		return err_set(err, -ENOMEM, "mount %s", argv[0]);
	r = mount_verb_enter(ctx, s, &mounting, &entry, &upper_lock, err);
	if (r == 0)
		r = ctx_say_full(ctx, mount_verb_start(ctx, s, &mounting, &hold, origin, err), err);
	if (r < 0)
		mounting_finish(&mounting);
	if (r < 0 && entry.own_upper && entry.upper)
		(void)tree_remove(AT_FDCWD, entry.upper, NULL);
	return r < 0 ? err_prefix(err, r, "mount %s on %s", argv[0], argv[1]) : 0;
}

const struct verb verb_mount = {
	.name = "mount",
	.args = "IMAGE DIR",
	.summary = "mount an image without downloading it",
	.teach =
		"Mounts an image's root filesystem on DIR, an empty directory, and returns as soon as it\n"
		"answers. Bytes are fetched when they are read, checked, and kept in the store. The mount\n"
		"outlives this command, crashes of its server, and a registry that goes away: what is\n"
		"local can be read, the rest is EIO after --read-timeout, until the registry is back.\n\n"
		"  sluice mount python:3.12 /mnt/py\n"
		"  sluice mount --rw --upper /srv/changes registry.example/app:1 /mnt/app\n"
		"  sluice mount oci:./layout:v1 /mnt/x",
	.options = mount_verb_options,
	.state_size = sizeof(struct mount_state),
	.min_words = 2,
	.max_words = 2,
	.run = mount_verb_run,
};
