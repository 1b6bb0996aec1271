/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * File I/O that finishes what it starts, and the commit rule: whatever is
 * published on disk is written under a temporary name, fsynced, renamed, and
 * its directory fsynced; after a power cut it is there whole or not at all.
 * Directory arguments are open descriptors, borrowed; AT_FDCWD is allowed.
 */

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Reads until n bytes or the end of the file; returns the bytes read or -errno. */
ssize_t file_read(int fd, void *data, size_t n);
ssize_t file_pread(int fd, void *data, size_t n, uint64_t off);

/* Writes all n bytes. 0 or -errno. */
int file_write(int fd, const void *data, size_t n);
int file_pwrite(int fd, const void *data, size_t n, uint64_t off);

/* Appends the whole content of an open file to buf. -E2BIG past its maximum. */
int file_slurp_fd(int fd, struct buf *buf);

/* Appends the content of a regular file. -ENOENT and the others of openat, -EISDIR, -E2BIG. */
int file_slurp(int dirfd, const char *name, struct buf *buf, struct err *err);

/* The size of an open file. */
int file_size(int fd, uint64_t *ret);

/* Makes a directory and its parents (mode applies to each that is new). An existing one is fine. */
int dir_make(const char *path, mode_t mode, struct err *err);

/* Makes one directory inside dirfd, or finds it there, and opens it (O_PATH is not set). */
int dir_make_at(int dirfd, const char *name, mode_t mode, int *ret_fd, struct err *err);

/*
 * A directory that is open, to be listed from its beginning, with a position of its own. The caller
 * closes *ret (closedir(3)).
 */
int dir_stream(int dirfd, DIR **ret);

/* Removes a name and, when it is a directory, everything below it; never follows a symlink. */
int tree_remove(int dirfd, const char *name, struct err *err);

/* A file in the making. It belongs to one thread. */
struct commit;

/* What commit_finish() does when the name is there already. */
enum commit_mode {
	COMMIT_REPLACE, /* the new content takes the place of the old */
	COMMIT_KEEP,	/* the old content stays; not an error (content-addressed names) */
	/*
	 * As COMMIT_REPLACE, but nothing waits for the disk. Readers still see the old content or
	 * the new one; a power cut may leave the name with neither. For what says nothing after a
	 * boot: mounts and containers that live, whose starts would wait for others' writes.
	 */
	COMMIT_LIVE,
	COMMIT_LIVE_KEEP, /* as COMMIT_KEEP, but nothing waits for the disk */
};

/*
 * Opens a temporary file for `name`, a path seen from dirfd (borrowed), in the directory where it
 * will be. The caller destroys the commit.
 */
int commit_create(int dirfd, const char *name, struct commit **ret, struct err *err);

/* The descriptor to write to; borrowed, closed with the commit. */
int commit_fd(const struct commit *commit);

/* fsync, rename, fsync of the directory, as the mode says. Afterwards the commit can only be destroyed. */
int commit_finish(struct commit *commit, enum commit_mode mode, struct err *err);

/* Removes the temporary file unless it was finished. Accepts NULL. */
void commit_destroy(struct commit *commit);
DEFINE_CLEANUP(commit, commit_destroy);

/* The three above for content in memory. */
int file_commit(int dirfd, const char *name, const void *data, size_t n, enum commit_mode mode,
		struct err *err);

/* Whether a directory entry is a temporary of commit_create(), which gc may remove when old. */
bool commit_is_temporary(const char *name);
