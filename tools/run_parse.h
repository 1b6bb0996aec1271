/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The values of single flags of `sluice run`. Each function takes the flag's
 * text, and fails with -EINVAL and one sentence that says which flag, what was
 * given, and what it wants, with what looking for a named file gives, or with
 * -ENOMEM. What they return is the caller's.
 */

#include "tools/run_options.h"

enum { RUN_VOLUME_NAME_MAX = 128 };

/* Whether this can be the name of a volume: [a-zA-Z0-9][a-zA-Z0-9_.-]*. */
bool run_is_volume_name(const char *text);

/* [SOURCE:]DIR[:OPTIONS] of --volume. */
int run_parse_volume(const char *text, struct run_mount *ret, struct err *err);
/* type=bind,source=…,target=…[,OPTION…] of --mount. */
int run_parse_mount(const char *text, struct run_mount *ret, struct err *err);
/* DIR[:OPTIONS] of --tmpfs. */
int run_parse_tmpfs(const char *text, struct run_mount *ret, struct err *err);
void run_mount_finish(struct run_mount *mount);
DEFINE_FINISH(run_mount, run_mount_finish);

/* PATH[:PATH][:rwm] of --device. */
int run_parse_device(const char *text, struct run_device *ret, struct err *err);
/* Whether the word is a CDI name: vendor/class=name. */
bool run_is_cdi(const char *text);

/* [[IP:]PORT[-PORT]:]PORT[-PORT][/PROTOCOL] of --publish: added to the options' ports. */
int run_parse_publish(const char *text, struct run_options *options, struct err *err);

/* NAME=SOFT[:HARD] of --ulimit. */
int run_parse_ulimit(const char *text, struct run_limit *ret, struct err *err);

/* IN:OUT[:SIZE] of --uidmap and --gidmap. */
int run_parse_map(const char *flag, const char *text, struct run_map *ret, struct err *err);

/* The mode of a namespace; `network` allows none, bridge and names of networks. */
int run_parse_ns(const char *flag, const char *text, bool network, struct run_ns *ret,
		 struct err *err);

/* 1.5 of --cpus, as microseconds in RUN_CPU_PERIOD. */
int run_parse_cpus(const char *text, int64_t *ret, struct err *err);

/*
 * A list of --cpuset-cpus, "0-2,4", all of which have to be online: in runtimes'
 * mouths this is a number out of range.
 */
int run_check_cpuset(const char *text, struct err *err);

/* A whole number with a sign, between min and max. */
int run_parse_i64(const char *flag, const char *text, int64_t min, int64_t max, int64_t *ret,
		  struct err *err);

/* A size of bytes, or -1 where that is allowed. */
int run_parse_size(const char *flag, const char *text, bool unlimited, int64_t *ret,
		   struct err *err);

/* "TERM", "SIGTERM", "15", "RTMIN+1". `flag` is what the value was given to. */
int run_parse_signal(const char *flag, const char *text, int *ret, struct err *err);

/* NAME:IP of --add-host: "IP NAME" is added to the list. */
int run_parse_host(const char *text, struct words *hosts, struct err *err);

/* A file of --env-file: added to the list. */
int run_parse_env_file(const char *path, char *const *env, struct words *list, struct err *err);
/* NAME=VALUE; NAME or NAME* are looked up in env, and left out where it has none. */
int run_parse_env(const char *text, char *const *env, struct words *list, struct err *err);
