/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the flags of `sluice run` ask for: their values checked, put into types,
 * and independent of the command line and the environment that they came from.
 * Paths of the host are absolute.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tools/run_flags.h"
#include "tools/words.h"

enum {
	RUN_ENV_FILE_MAX = 16 << 20, /* bytes of a file of --env-file */
	RUN_PORTS_MAX = 65536,	     /* ports of all --publish */
	RUN_STOP_TIMEOUT_MS = 10000,
	RUN_SHM_SIZE = 64 << 20,
};

/* The modes of a namespace. */
enum run_ns_kind {
	RUN_NS_DEFAULT,	  /* not given */
	RUN_NS_PRIVATE,
	RUN_NS_HOST,
	RUN_NS_NONE,	  /* network: nothing but the loopback */
	RUN_NS_CONTAINER, /* value: another container */
	RUN_NS_PATH,	  /* value: a namespace's file */
	RUN_NS_NAMED,	  /* network: value is the name of a CNI network */
};

struct run_ns {
	enum run_ns_kind kind;
	char *value; /* owned, or NULL */
};

/* What becomes of the places that an image declares as volumes. */
enum run_image_volume { RUN_IMAGE_VOLUME_ANONYMOUS, RUN_IMAGE_VOLUME_TMPFS, RUN_IMAGE_VOLUME_IGNORE };

enum run_pull { RUN_PULL_MISSING, RUN_PULL_ALWAYS, RUN_PULL_NEWER, RUN_PULL_NEVER };

enum run_fs { RUN_FS_AUTO, RUN_FS_EROFS, RUN_FS_FUSE };

/* A mount that was asked for. */
struct run_mount {
	char *type;	   /* owned: "bind", "tmpfs", "ramfs", "devpts", "volume" */
	char *source;	   /* owned; of the host; a volume's name, NULL: one of the container's own */
	bool nocopy;	   /* a volume stays empty when it is new */
	char *destination; /* owned; absolute, in the container */
	struct words options; /* as the runtime takes them */
};

struct run_device {
	char *path;	   /* owned; of the host */
	char *destination; /* owned */
	char access[4];	   /* of "rwm" */
};

struct run_port {
	char *ip;	   /* owned; NULL: every address */
	uint16_t host;	   /* 0: one that is free */
	uint16_t container;
	const char *protocol; /* "tcp", "udp" or "sctp" */
};

struct run_limit {
	char type[24]; /* "RLIMIT_NOFILE" */
	uint64_t soft, hard; /* RLIM_INFINITY: none */
};

struct run_map {
	uint32_t container, host, size;
};

struct run_options {
	const struct run_flags *flags; /* borrowed: what needs no more than the flag's word */

	enum run_pull pull;
	enum run_fs fs;
	enum run_image_volume image_volume;
	bool has_entrypoint;
	struct words entrypoint; /* may be empty then */
	struct words env;	 /* NAME=VALUE, the later one counts */
	struct words labels, annotations, sysctls; /* KEY=VALUE */
	int stop_signal;	 /* 0: the image's */
	int64_t stop_timeout_ms; /* -1: for ever */
	uint64_t timeout_ms;	 /* 0: none */

	struct run_mount *mounts;
	size_t n_mounts;
	struct run_device *devices;
	size_t n_devices;
	struct words cdi; /* vendor/class=name, of --device */
	struct run_port *ports;
	size_t n_ports;
	struct run_limit *limits;
	size_t n_limits;
	struct run_map *uid_maps, *gid_maps;
	size_t n_uid_maps, n_gid_maps;
	uint64_t shm_size;

	struct run_ns network, pid, ipc, uts, cgroup, user;
	struct words hosts; /* "IP NAME", for /etc/hosts */

	char *seccomp;		 /* owned: a profile's path, or "unconfined"; NULL: the default */
	char *apparmor;		 /* owned: a profile's name */
	bool new_privileges;	 /* setuid programs work */
	bool unmask_all;
	struct words mask, unmask; /* absolute paths */

	bool has_memory, has_memory_swap, has_cpu, has_shares, has_pids, has_oom_score_adj;
	int64_t memory, memory_swap; /* bytes; swap -1: any */
	int64_t cpu_quota;	 /* microseconds in RUN_CPU_PERIOD */
	uint64_t shares;
	int64_t pids;		 /* -1: any */
	int oom_score_adj;
};

enum { RUN_CPU_PERIOD = 100000 };

/*
 * Makes sense of the flags. `env` is the environment (NULL-terminated), for
 * `-e NAME`. -EINVAL with a sentence that names the flag and what it wants;
 * what reading files gives; -ENOMEM. The caller finishes *ret.
 */
int run_options_make(const struct run_flags *flags, char *const *env, struct run_options *ret,
		     struct err *err);

/* Accepts NULL and a zeroed one. */
void run_options_finish(struct run_options *options);
DEFINE_FINISH(run_options, run_options_finish);
