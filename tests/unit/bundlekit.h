/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A bundle with busybox in it, to run with real runtimes; for tests. */

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "exec/driver_oci.h"
#include "tests/unit/unit.h"

#define KIT_PATH "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { KIT_CALL_MS = 60000 };

struct kit {
	char dir[64];	   /* of everything */
	char bundle[128];  /* in it */
	char state[128];   /* for driver_options.state_root */
	char cache[128];
	char id[64];	   /* a container's, not used elsewhere */
};

static inline void kit_copy(const char *from, const char *to)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(64 << 20);
	struct err err = {0};
	assert_ok(file_slurp(AT_FDCWD, from, &bytes, &err), &err);
	AUTO_CLOSE int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, bytes.data, bytes.len), 0);
}

static inline void kit_put(const char *path, const char *text, mode_t mode)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, text, strlen(text)), 0);
}

/* Writes DIR/config.json for a line of shell; no double quotes in it. */
static inline void kit_config_in(const struct kit *kit, const char *dir, const char *line, bool tty)
{
	char path[256];
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	AUTO_FINISH(buf) struct buf text = buf_make(65536);
	assert_int_equal(buf_printf(&text,
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"%s/rootfs\"},\"hostname\":\"kit\","
		"\"process\":{\"terminal\":%s,\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0},"
		"\"args\":[\"/bin/sh\",\"-c\",\"%s\"],\"env\":[\"PATH=/bin\"]},"
		"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
		"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
		"\"options\":[\"nosuid\",\"mode=755\"]},"
		"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
		"\"options\":[\"newinstance\",\"ptmxmode=0666\",\"mode=0620\"]}],"
		"\"linux\":{\"cgroupsPath\":\"/%s\",\"resources\":{\"pids\":{\"limit\":64}},"
		"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},"
		"{\"type\":\"uts\"},{\"type\":\"network\"}]}}",
		kit->bundle, tty ? "true" : "false", line, kit->id), 0);
	kit_put(path, text.data, 0600);
}

static inline void kit_config(const struct kit *kit, const char *line, bool tty)
{
	kit_config_in(kit, kit->bundle, line, tty);
}

static inline void kit_make(struct kit *kit)
{
	char path[256];
	*kit = (struct kit){.dir = "/tmp/sluice-kit.XXXXXX"};
	assert_non_null(mkdtemp(kit->dir));
	(void)snprintf(kit->bundle, sizeof(kit->bundle), "%s/bundle", kit->dir);
	(void)snprintf(kit->state, sizeof(kit->state), "%s/state", kit->dir);
	(void)snprintf(kit->cache, sizeof(kit->cache), "%s/cache", kit->dir);
	(void)snprintf(kit->id, sizeof(kit->id), "%s", kit->dir + strlen("/tmp/"));
	struct err err = {0};
	(void)snprintf(path, sizeof(path), "%s/rootfs/bin", kit->bundle);
	assert_ok(dir_make(path, 0755, &err), &err);
	(void)snprintf(path, sizeof(path), "%s/rootfs/bin/busybox", kit->bundle);
	kit_copy("/bin/busybox", path);
	static const char *const links[] = {"sh", "sleep", "cat", "echo", "kill", "stty", "ls", "head"};
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/rootfs/bin/%s", kit->bundle, links[i]);
		assert_int_equal(symlink("busybox", path), 0);
	}
}

/* Removes everything, and fails when the container left a cgroup behind. */
static inline void kit_remove(const struct kit *kit)
{
	static const char *const hierarchies[] = {"",	   "cpu",     "cpuacct", "memory", "pids",
						  "devices", "freezer", "blkio",   "cpuset", "unified",
						  "systemd"};
	struct err err = {0};
	for (size_t i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++) {
		char path[PATH_MAX];
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/%s", hierarchies[i], kit->id);
		if (access(path, F_OK) == 0)
			fail_msg("%s is left behind", path);
	}
	assert_ok(tree_remove(AT_FDCWD, kit->dir, &err), &err);
}

/* Why real runtimes cannot run here; NULL: they can. */
static inline const char *kit_lacks(const char *runtime)
{
	if (geteuid() != 0)
		return "not root";
	if (access("/bin/busybox", X_OK) < 0)
		return "no busybox";
	char path[64];
	(void)snprintf(path, sizeof(path), "/usr/bin/%s", runtime);
	if (access(path, X_OK) == 0)
		return NULL;
	(void)snprintf(path, sizeof(path), "/usr/sbin/%s", runtime);
	return access(path, X_OK) == 0 ? NULL : "the runtime is not installed";
}

static inline struct driver_call kit_call(void)
{
	return (struct driver_call){.deadline = deadline_in_ms(KIT_CALL_MS)};
}
