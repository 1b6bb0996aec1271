/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the runtime driver share. */

#include "base/buf.h"
#include "exec/driver_oci.h"

/* A connection; nothing in it changes after connect, so that threads need no lock. */
struct oci_conn {
	char *path;    /* owned: of the runtime */
	char *name;    /* owned: "crun" */
	char *version; /* owned */
	char *root;    /* owned: its --root */
	char *pids;    /* owned: where it writes pid files */
	char *cgroup_manager; /* owned; or NULL */
	char **env;	      /* owned */
	char *told;	      /* owned: what it said of its features, JSON; NULL: it does not */
	bool systemd_cgroup;
	bool hybrid; /* every command goes through hybrid_enter() */
	struct driver_info info;
};

/* One run of the runtime. */
struct oci_command {
	const char *what;	 /* "create container c1", for errors */
	const char *const *args; /* the command and its arguments; NULL-terminated */
	const int *stdio;	 /* three: the container's; NULL: the output is read */
	const int *preserve_fds;
	size_t n_preserve_fds;
	const char *view_from, *view_at; /* as hybrid_view; NULL: nothing is elsewhere */
	bool any_status; /* an exit status other than 0 is a result, when nothing was logged */
};

/*
 * Runs a command. The output (appended; may be NULL) is what it wrote on
 * standard output unless stdio is set. Failures are classified from its log,
 * or else from its standard error. *ret_status (may be NULL): the exit code.
 */
int oci_run(const struct oci_conn *conn, const struct driver_call *call,
	    const struct oci_command *command, struct buf *output, int *ret_status,
	    struct driver_error *error);

/*
 * A copy of the runtime's program in memory that nobody can write to any more (F_SEAL_WRITE and all
 * others): what crun makes of itself when it starts, and then starts again, unless it is run from
 * one. *ret_fd is the caller's, or -1 where the program is better run by its path: it is no ELF file,
 * it gets rights from its file, or a security module knows it by its path. 0 or -errno.
 */
int oci_seal(const char *path, int *ret_fd);

/* Which code the messages of a runtime stand for; *ret_program as in driver_error. */
enum driver_code oci_classify(const char *messages, bool *ret_program);

/*
 * The "msg" of every entry of level error or fatal in a log of JSON lines,
 * joined by "; "; lines that are not JSON are taken as they are.
 */
int oci_log_messages(const char *log, size_t n, struct buf *out);

/* Finds the runtime, asks for its version, and fills path, name, version and features. */
int oci_probe(struct oci_conn *conn, const struct driver_options *options,
	      const struct driver_call *call, struct driver_error *error);

/* a < b in dotted numbers; what follows a number is passed over ("1.1.5+ds1"). */
bool oci_version_less(const char *a, const char *b);

/* driver_oci_query.c */
int oci_inspect(void *conn, const struct driver_call *call, const char *id,
		struct driver_container *ret, struct driver_error *error);
int oci_list(void *conn, const struct driver_call *call, struct driver_list *ret,
	     struct driver_error *error);
int oci_wait(void *conn, const struct driver_call *call, const char *id, struct driver_exit *ret,
	     struct driver_error *error);
int oci_stats(void *conn, const struct driver_call *call, const char *id,
	      struct driver_stats *ret, struct driver_error *error);

int oci_logs(void *conn, const struct driver_call *call, const struct driver_logs *logs,
	     struct driver_error *error);

/* The code of a child of ours that is over, which somebody else goes on to reap; -1 of others. */
int oci_exit_code(int pidfd);

/* driver_oci_events.c */
int oci_events(void *conn, const struct driver_call *call, const struct driver_events *events,
	       struct driver_error *error);
