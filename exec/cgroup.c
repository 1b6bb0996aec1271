/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cgroup.h"

#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"
#include "exec/hybrid.h"

#define CGROUP_DIR "/sys/fs/cgroup"

enum {
	PROC_CGROUP_MAX = 64 * 1024, /* bytes of /proc/PID/cgroup */
	KNOB_MAX = 64 * 1024,	     /* bytes of one file of a group */
};

/* What version 1 calls "no limit", and everything near it. */
static const uint64_t V1_NO_LIMIT = UINT64_C(1) << 62;

enum controller { CPU, MEMORY, PIDS, BLKIO, FREEZER, N_CONTROLLERS };

static const char *const V1_NAMES[N_CONTROLLERS] = {
	[CPU] = "cpuacct", [MEMORY] = "memory", [PIDS] = "pids",
	[BLKIO] = "blkio", [FREEZER] = "freezer",
};

struct cgroup {
	int v1[N_CONTROLLERS]; /* owned directories; -1: not there */
	int v2;		       /* owned; -1: not there */
};

static bool list_has(const char *list, size_t n, const char *name)
{
	size_t len = strlen(name);
	for (size_t at = 0; at < n;) {
		const char *comma = memchr(list + at, ',', n - at);
		size_t part = comma ? (size_t)(comma - (list + at)) : n - at;
		if (part == len && memcmp(list + at, name, len) == 0)
			return true;
		at += part + 1;
	}
	return false;
}

static int group_dir(const char *hierarchy, const char *path)
{
	AUTO_FREE char *name = NULL;
	if (asprintf(&name, CGROUP_DIR "%s%s%s", hierarchy[0] ? "/" : "", hierarchy, path) < 0) {
		name = NULL;
		return -1;
	}
	return open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* One line: "4:memory:/a/b", or "0::/a/b" for version 2. */
static void add_line(struct cgroup *cgroup, const char *line, enum cgroup_mode mode)
{
	const char *list = strchr(line, ':');
	const char *path = list ? strchr(list + 1, ':') : NULL;
	if (!path)
		return;
	list++;
	size_t n = (size_t)(path - list);
	path++;
	if (n == 0) {
		cgroup->v2 = group_dir(mode == CGROUP_HYBRID ? "unified" : "", path);
		return;
	}
	for (int c = 0; c < N_CONTROLLERS; c++)
		if (cgroup->v1[c] < 0 && list_has(list, n, V1_NAMES[c]))
			cgroup->v1[c] = group_dir(V1_NAMES[c], path);
}

int cgroup_open(pid_t pid, struct cgroup **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PROC_CGROUP_MAX);
	char name[64];
	(void)snprintf(name, sizeof(name), "/proc/%d/cgroup", (int)pid);
	AUTO_CLOSE int fd = open(name, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : file_slurp_fd(fd, &text);
	if (r < 0)
		return err_set(err, r == -ENOENT ? -ESRCH : r, "look up the cgroups of process %d",
			       (int)pid);
	AUTO(cgroup) struct cgroup *cgroup = malloc(sizeof(*cgroup));
	if (!cgroup)
		return err_set(err, -ENOMEM, "look up the cgroups of process %d", (int)pid);
	*cgroup = (struct cgroup){.v1 = {-1, -1, -1, -1, -1}, .v2 = -1};
	enum cgroup_mode mode = cgroup_mode_get();
	char *save = NULL;
	for (char *line = text.data ? strtok_r(text.data, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save))
		add_line(cgroup, line, mode);
	*ret = steal_ptr(&cgroup);
	return 0;
}

void cgroup_close(struct cgroup *cgroup)
{
	if (!cgroup)
		return;
	for (int c = 0; c < N_CONTROLLERS; c++)
		cleanup_close(&cgroup->v1[c]);
	cleanup_close(&cgroup->v2);
	free(cgroup);
}

int cgroup_procs(const struct cgroup *cgroup)
{
	int r = -ENOENT;
	/* Where version 2 is not mounted, its directory may be any. */
	for (int i = 0; i <= N_CONTROLLERS && r < 0; i++) {
		int dir = i < N_CONTROLLERS ? cgroup->v1[i] : cgroup->v2;
		int fd = dir < 0 ? -1 : openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		if (dir >= 0)
			r = fd < 0 ? -errno : fd;
	}
	return r;
}

static int knob_read(int dir, const char *name, struct buf *text)
{
	if (dir < 0)
		return -ENOENT;
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : file_slurp_fd(fd, text);
}

/* A file that holds one number, or "max". */
static uint64_t knob_number(int dir, const char *name)
{
	AUTO_FINISH(buf) struct buf text = buf_make(KNOB_MAX);
	uint64_t n;
	if (knob_read(dir, name, &text) < 0 || text.len == 0)
		return DRIVER_UNKNOWN;
	if (text.data[text.len - 1] == '\n')
		text.data[text.len - 1] = '\0';
	return u64_parse(text.data, UINT64_MAX, &n) == 0 ? n : DRIVER_UNKNOWN;
}

/* A file of lines "key number": the number of this key. */
static uint64_t knob_field(int dir, const char *name, const char *key)
{
	AUTO_FINISH(buf) struct buf text = buf_make(KNOB_MAX);
	if (knob_read(dir, name, &text) < 0 || !text.data)
		return DRIVER_UNKNOWN;
	size_t len = strlen(key);
	char *save = NULL;
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t n;
		if (strncmp(line, key, len) == 0 && line[len] == ' ' &&
		    u64_parse(line + len + 1, UINT64_MAX, &n) == 0)
			return n;
	}
	return DRIVER_UNKNOWN;
}

static void sum_add(uint64_t *sum, const char *number)
{
	uint64_t n;
	if (u64_parse(number, UINT64_MAX, &n) == 0)
		*sum = (*sum == DRIVER_UNKNOWN ? 0 : *sum) + n;
}

/* Version 2: "8:0 rbytes=1 wbytes=2 …" a device. Version 1: "8:0 Read 1". */
static void block_stats(const struct cgroup *cgroup, struct driver_stats *ret)
{
	AUTO_FINISH(buf) struct buf text = buf_make(KNOB_MAX);
	if (knob_read(cgroup->v2, "io.stat", &text) < 0 &&
	    knob_read(cgroup->v1[BLKIO], "blkio.throttle.io_service_bytes", &text) < 0)
		return;
	ret->read_bytes = ret->write_bytes = 0;
	char *save = NULL;
	const char *last = "";
	for (char *word = text.data ? strtok_r(text.data, " \n", &save) : NULL; word;
	     last = word, word = strtok_r(NULL, " \n", &save)) {
		if (strncmp(word, "rbytes=", 7) == 0)
			sum_add(&ret->read_bytes, word + 7);
		else if (strncmp(word, "wbytes=", 7) == 0)
			sum_add(&ret->write_bytes, word + 7);
		else if (strcmp(last, "Read") == 0)
			sum_add(&ret->read_bytes, word);
		else if (strcmp(last, "Write") == 0)
			sum_add(&ret->write_bytes, word);
	}
}

static uint64_t times(uint64_t n, uint64_t factor)
{
	return n == DRIVER_UNKNOWN ? n : n * factor;
}

/* Ticks of USER_HZ, which is 100 wherever the kernel talks to programs. */
static const uint64_t NS_PER_TICK = NS_PER_SEC / 100;

void cgroup_stats(const struct cgroup *cgroup, struct driver_stats *ret)
{
	const int *v1 = cgroup->v1;
	int v2 = cgroup->v2;
	struct driver_stats stats;
	memset(&stats, 0xff, sizeof(stats)); /* DRIVER_UNKNOWN */
	if (v1[CPU] >= 0) {
		stats.cpu_ns = knob_number(v1[CPU], "cpuacct.usage");
		stats.cpu_user_ns = times(knob_field(v1[CPU], "cpuacct.stat", "user"), NS_PER_TICK);
		stats.cpu_system_ns =
			times(knob_field(v1[CPU], "cpuacct.stat", "system"), NS_PER_TICK);
	} else {
		stats.cpu_ns = times(knob_field(v2, "cpu.stat", "usage_usec"), 1000);
		stats.cpu_user_ns = times(knob_field(v2, "cpu.stat", "user_usec"), 1000);
		stats.cpu_system_ns = times(knob_field(v2, "cpu.stat", "system_usec"), 1000);
	}
	if (v1[MEMORY] >= 0) {
		stats.memory_bytes = knob_number(v1[MEMORY], "memory.usage_in_bytes");
		stats.memory_peak_bytes = knob_number(v1[MEMORY], "memory.max_usage_in_bytes");
		stats.memory_limit = knob_number(v1[MEMORY], "memory.limit_in_bytes");
		if (stats.memory_limit >= V1_NO_LIMIT)
			stats.memory_limit = DRIVER_UNKNOWN;
		stats.oom_kills = knob_field(v1[MEMORY], "memory.oom_control", "oom_kill");
	} else {
		stats.memory_bytes = knob_number(v2, "memory.current");
		stats.memory_peak_bytes = knob_number(v2, "memory.peak");
		stats.memory_limit = knob_number(v2, "memory.max");
		stats.oom_kills = knob_field(v2, "memory.events", "oom_kill");
	}
	int pids = v1[PIDS] >= 0 ? v1[PIDS] : v2;
	stats.pids = knob_number(pids, "pids.current");
	stats.pids_limit = knob_number(pids, "pids.max");
	block_stats(cgroup, &stats);
	*ret = stats;
}

uint64_t cgroup_oom_kills(const struct cgroup *cgroup)
{
	uint64_t n = cgroup->v1[MEMORY] >= 0 ?
			     knob_field(cgroup->v1[MEMORY], "memory.oom_control", "oom_kill") :
			     knob_field(cgroup->v2, "memory.events", "oom_kill");
	return n == DRIVER_UNKNOWN ? 0 : n;
}

bool cgroup_frozen(const struct cgroup *cgroup)
{
	if (cgroup->v1[FREEZER] < 0)
		return knob_field(cgroup->v2, "cgroup.events", "frozen") == 1;
	AUTO_FINISH(buf) struct buf text = buf_make(KNOB_MAX);
	return knob_read(cgroup->v1[FREEZER], "freezer.state", &text) == 0 &&
	       strncmp(buf_str(&text), "FROZEN", 6) == 0;
}
