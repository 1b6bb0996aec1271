/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A root filesystem in a temporary directory, made out of a few words, and a
 * directory beside it that stands for the host: nothing may ever change there.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "tests/unit/unit.h"

enum { ROOTKIT_PATH_MAX = 512 };

struct rootkit {
	char dir[64];
	char host[80]; /* what a hostile tree would like to reach */
	int fd;	       /* of the root */
};

static inline void rootkit_path(const struct rootkit *kit, const char *name,
				char out[static ROOTKIT_PATH_MAX])
{
	(void)snprintf(out, ROOTKIT_PATH_MAX, "%s/root/%s", kit->dir, name);
}

static inline int rootkit_make(void **state)
{
	struct rootkit *kit = calloc(1, sizeof(*kit));
	char root[80];
	assert_non_null(kit);
	(void)snprintf(kit->dir, sizeof(kit->dir), "/tmp/sluice-root-XXXXXX");
	assert_non_null(mkdtemp(kit->dir));
	(void)snprintf(kit->host, sizeof(kit->host), "%s/host", kit->dir);
	(void)snprintf(root, sizeof(root), "%s/root", kit->dir);
	assert_int_equal(mkdir(kit->host, 0755), 0);
	assert_int_equal(mkdir(root, 0755), 0);
	kit->fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(kit->fd >= 0);
	*state = kit;
	return 0;
}

/* The host is as it was: empty. */
static inline int rootkit_remove(void **state)
{
	struct rootkit *kit = *state;
	struct err err = {0};
	int untouched = rmdir(kit->host);
	(void)close(kit->fd);
	assert_ok(tree_remove(AT_FDCWD, kit->dir, &err), &err);
	free(kit);
	assert_int_equal(untouched, 0);
	return 0;
}

static inline void rootkit_dir(const struct rootkit *kit, const char *name, mode_t mode)
{
	char path[ROOTKIT_PATH_MAX];
	struct err err = {0};
	rootkit_path(kit, name, path);
	assert_ok(dir_make(path, 0755, &err), &err);
	assert_int_equal(chmod(path, mode), 0);
}

/* With the directories above it. */
static inline void rootkit_file(const struct rootkit *kit, const char *name, mode_t mode,
				const void *data, size_t n)
{
	char path[ROOTKIT_PATH_MAX];
	struct err err = {0};
	rootkit_path(kit, name, path);
	char *slash = strrchr(path, '/');
	*slash = '\0';
	assert_ok(dir_make(path, 0755, &err), &err);
	*slash = '/';
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, data, n), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static inline void rootkit_text(const struct rootkit *kit, const char *name, const char *text)
{
	rootkit_file(kit, name, 0644, text, strlen(text));
}

static inline void rootkit_link(const struct rootkit *kit, const char *name, const char *target)
{
	char path[ROOTKIT_PATH_MAX];
	rootkit_path(kit, name, path);
	assert_int_equal(symlink(target, path), 0);
}
