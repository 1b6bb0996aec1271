/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/store_unsynced.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fetcher/store_priv.h"

enum {
	NOTE_NAME_MAX = 24,
	NOTE_LOOK_MS = 10, /* between two looks whether somebody is done */
};

/* The words of the lines. */
enum kind { KIND_LAYER, KIND_BLOB, KIND_IMAGE, KINDS };
static const char *const words[KINDS] = {"layer", "blob", "image"};

/* ---- writing ---- */

static int note_digests(struct buf *text, enum kind kind, const struct digest *list, size_t n)
{
	struct digest_text digest;
	int r = 0;
	for (size_t i = 0; i < n && r == 0; i++)
		r = buf_printf(text, "%s %s\n", words[kind], digest_str(&list[i], digest.s));
	return r;
}

static int note_text(struct store *store, const struct store_unsynced *what, struct buf *text)
{
	char name[DIGEST_STR_MAX];
	int r = buf_printf(text, "%.*s\n", BOOT_ID_MAX, store->boot);
	for (size_t i = 0; i < what->n_layers && r == 0; i++) {
		store_entry_name(&what->layers[i], name);
		if (faccessat(store->dirs[STORE_DIR_LAYERS], name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		r = note_digests(text, KIND_LAYER, &what->layers[i], 1);
		if (r == 0 && what->ret_noted)
			what->ret_noted[i] = true;
	}
	if (r == 0)
		r = note_digests(text, KIND_BLOB, what->blobs, what->n_blobs);
	return r < 0 ? r : note_digests(text, KIND_IMAGE, what->image, 1);
}

int store_unsynced_note(struct store *store, const struct store_unsynced *what, int *ret_lock,
			struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(UNSYNCED_BYTES_MAX);
	AUTO(commit) struct commit *commit = NULL;
	char name[NOTE_NAME_MAX];
	uint64_t salt;
	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return err_set(err, -errno, "note what is not on the disk yet");
	(void)snprintf(name, sizeof(name), "%016llx", (unsigned long long)salt);
	int r = note_text(store, what, &text);
	if (r < 0)
		return err_set(err, r, "note what is not on the disk yet");
	r = commit_create(store->dirs[STORE_DIR_UNSYNCED], name, &commit, err);
	if (r < 0)
		return r;
	/* Locked before it has its name: nobody takes it for one whose maker is done. */
	AUTO_CLOSE int lock = fcntl(commit_fd(commit), F_DUPFD_CLOEXEC, 0);
	r = lock < 0 ? -errno : ofd_lock(lock, F_WRLCK, 0, 0);
	if (r == 0)
		r = file_write(lock, text.data, text.len);
	if (r < 0)
		return err_set(err, r, "note what is not on the disk yet in %s", store->path);
	/* The file first: what a journal writes for it leaves nothing to do for directories. */
	if (fsync(lock) < 0)
		return err_set(err, -errno, "write a note in %s to disk", store->path);
	r = store_sync_made(store, err);
	if (r == 0)
		r = commit_finish(commit, COMMIT_KEEP, err);
	if (r < 0)
		return r;
	*ret_lock = steal_fd(&lock);
	return 0;
}

/* ---- reading ---- */

/* All notes of a store. */
struct walk {
	struct store *store;
	deadline_t until; /* for all their makers together */
	bool removed;	  /* one at least */
};

/* A note that a power cut brings back would take with it what is on the disk by now. */
static int walk_notes(struct walk *walk,
		      int (*fn)(void *data, int dirfd, const char *name, struct err *err),
		      struct err *err)
{
	const struct store *store = walk->store;
	int r = store_each(store->dirs[STORE_DIR_UNSYNCED], fn, walk, err);
	if (r == 0 && walk->removed && fsync(store->dirs[STORE_DIR_UNSYNCED]) < 0)
		return err_set(err, -errno, "write the store %s to disk", store->path);
	return r;
}

typedef int (*entry_fn)(struct store *store, const struct digest *digest, struct err *err);

struct note {
	struct store *store;
	entry_fn entry[KINDS];
	bool lenient; /* a damaged line is passed over: a store that cannot be opened is worse */
};

static int note_line(const struct note *note, const char *line, struct err *err)
{
	struct digest digest;
	const char *space = strchr(line, ' ');
	for (int kind = 0; space && kind < KINDS; kind++) {
		size_t n = strlen(words[kind]);
		if ((size_t)(space - line) != n || memcmp(line, words[kind], n) != 0)
			continue;
		if (digest_parse(space + 1, &digest, err) < 0)
			break;
		return note->entry[kind](note->store, &digest, err);
	}
	if (!note->lenient)
		return err_say(err, -EBADMSG, "it has a line that is none");
	log_debug("a note in %s/unsynced has a line that is none", note->store->path);
	return 0;
}

/* Each entry of a note's text, behind the boot's id; the text is cut up. */
static int note_each(const struct note *note, char *text, struct err *err)
{
	char *save = NULL;
	int r = 0;
	(void)strtok_r(text, "\n", &save);
	for (char *line = strtok_r(NULL, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = note_line(note, line, err);
	return r < 0 ? err_prefix(err, r, "a note in %s/unsynced", note->store->path) : 0;
}

static bool note_is_of_boot(const struct store *store, const struct buf *text)
{
	size_t n = strnlen(store->boot, BOOT_ID_MAX);
	return text->len > n && memcmp(text->data, store->boot, n) == 0 && text->data[n] == '\n';
}

/* ---- settling ---- */

static int sync_file(void *data, int dirfd, const char *name, struct err *err)
{
	(void)data;
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL)
		return err_set(err, -errno, "write %s of the store to disk", name);
	return 0;
}

/* An entry's files, then their names. One that is gone meanwhile needs nothing. */
static int sync_entry(int parent, const char *name, struct err *err)
{
	AUTO_CLOSE int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "open %s in the store", name);
	int r = store_each(fd, sync_file, NULL, err);
	if (r == 0 && fsync(fd) < 0)
		r = err_set(err, -errno, "write %s of the store to disk", name);
	return r;
}

static int settle_layer(struct store *store, const struct digest *digest, struct err *err)
{
	char name[DIGEST_STR_MAX];
	return sync_entry(store->dirs[STORE_DIR_LAYERS], store_entry_name(digest, name), err);
}

static int settle_blob(struct store *store, const struct digest *digest, struct err *err)
{
	char name[DIGEST_STR_MAX];
	return sync_file(NULL, store_dir_blob(store, digest->algo), digest_hex(digest, name), err);
}

static int settle_image(struct store *store, const struct digest *digest, struct err *err)
{
	char name[DIGEST_STR_MAX];
	return sync_entry(store->dirs[STORE_DIR_IMAGES], store_entry_name(digest, name), err);
}

/* The names of entries. Tags are few, and those on the disk already cost nothing. */
static int settle_names(struct store *store, struct err *err)
{
	static const enum store_dir dirs[] = {STORE_DIR_LAYERS, STORE_DIR_IMAGES, STORE_DIR_SHA256,
					      STORE_DIR_SHA512, STORE_DIR_TAGS};
	int r = store_each(store->dirs[STORE_DIR_TAGS], sync_file, NULL, err);
	for (size_t i = 0; i < ARRAY_LEN(dirs) && r == 0; i++)
		if (fsync(store->dirs[dirs[i]]) < 0)
			r = err_set(err, -errno, "write the store %s to disk", store->path);
	return r;
}

/* Waits until the maker of a note is done. False when that takes too long. */
static bool note_is_done(int fd, deadline_t until)
{
	while (ofd_lock(fd, F_RDLCK, 0, 0) < 0) {
		if (deadline_passed(until))
			return false;
		clock_sleep_ms(NOTE_LOOK_MS, until);
	}
	return true;
}

static int settle_note(void *data, int dirfd, const char *name, struct err *err)
{
	struct walk *walk = data;
	struct store *store = walk->store;
	const struct note note = {store, {settle_layer, settle_blob, settle_image}, false};
	AUTO_FINISH(buf) struct buf text = buf_make(UNSYNCED_BYTES_MAX);
	if (commit_is_temporary(name))
		return 0;
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "read the note %s", name);
	if (!note_is_done(fd, walk->until)) {
		log_debug("note %s of %s is still being worked on", name, store->path);
		return 0;
	}
	int r = file_slurp(dirfd, name, &text, err);
	if (r == -ENOENT)
		return 0; /* somebody else has done it */
	if (r == 0)
		r = note_each(&note, text.data, err);
	if (r == 0)
		r = settle_names(store, err);
	if (r == 0 && unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		r = err_set(err, -errno, "remove the note %s", name);
	walk->removed |= r == 0;
	return r;
}

int store_settle(struct store *store, struct err *err)
{
	struct walk walk = {.store = store, .until = deadline_in_ms(UNSYNCED_WAIT_MS)};
	int r = store_sync_made(store, err);
	return r < 0 ? r : walk_notes(&walk, settle_note, err);
}

/* ---- after another boot ---- */

static int lost_layer(struct store *store, const struct digest *digest, struct err *err)
{
	char name[DIGEST_STR_MAX];
	return tree_remove(store->dirs[STORE_DIR_LAYERS], store_entry_name(digest, name), err);
}

static int lost_blob(struct store *store, const struct digest *digest, struct err *err)
{
	(void)store;
	(void)digest;
	(void)err;
	return 0; /* who reads it checks it */
}

/* What is learned of an image stays: it was not written by whoever made the note. */
static int lost_image(struct store *store, const struct digest *digest, struct err *err)
{
	static const char *const files[] = {"image.json", "tree.erofs"};
	char name[DIGEST_STR_MAX];
	store_entry_name(digest, name);
	AUTO_CLOSE int fd = openat(store->dirs[STORE_DIR_IMAGES], name,
				   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	for (size_t i = 0; fd >= 0 && i < ARRAY_LEN(files); i++)
		if (unlinkat(fd, files[i], 0) < 0 && errno != ENOENT)
			return err_set(err, -errno, "remove %s of image %s", files[i], name);
	if (fd >= 0 && fsync(fd) < 0)
		return err_set(err, -errno, "write image %s to disk", name);
	return 0;
}

static int lost_note(void *data, int dirfd, const char *name, struct err *err)
{
	struct walk *walk = data;
	struct store *store = walk->store;
	const struct note note = {store, {lost_layer, lost_blob, lost_image}, true};
	AUTO_FINISH(buf) struct buf text = buf_make(UNSYNCED_BYTES_MAX);
	/* Without its name nothing was published yet. */
	if (commit_is_temporary(name))
		return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ?
			       err_set(err, -errno, "remove the note %s", name) : 0;
	int r = file_slurp(dirfd, name, &text, err);
	if (r < 0 || note_is_of_boot(store, &text))
		return r;
	r = note_each(&note, text.data, err);
	if (r == 0 && fsync(store->dirs[STORE_DIR_LAYERS]) < 0)
		r = err_set(err, -errno, "write the store %s to disk", store->path);
	if (r == 0 && unlinkat(dirfd, name, 0) < 0)
		r = err_set(err, -errno, "remove the note %s", name);
	walk->removed |= r == 0;
	return r;
}

int store_unsynced_boot(struct store *store, struct err *err)
{
	struct walk walk = {.store = store};
	return walk_notes(&walk, lost_note, err);
}
