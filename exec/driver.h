/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One interface over everything that can run a container: a connection takes
 * typed requests and gives typed responses. Two kinds of drivers stand behind
 * it. *Runtimes* (crun, runc: exec/driver_oci.h) run a bundle that the caller
 * has made. *Engines* (Docker, Podman) take an image's name, a command and
 * options, and do the rest themselves.
 *
 *	struct driver_error why = {0};
 *	struct driver_call call = {.deadline = deadline_in_ms(10000), .cancel = cancel};
 *	AUTO(driver_conn) struct driver_conn *conn = NULL;
 *	r = driver_connect(driver_oci(), &options, &call, &conn, &why);
 *	struct driver_create create = {.id = id, .bundle = dir, .stdio = {-1, 1, 2}};
 *	r = driver_create(conn, &call, &create, &made, &why);
 *	r = driver_start(conn, &call, id, &why);
 *
 * Every call returns 0 or a negative errno that stands for why->code, takes a
 * deadline and a cancellation (call may be NULL: neither), and may be made by
 * any number of threads at once on one connection. When a call fails or is
 * taken back, outputs stay as they were, and a runtime's process group is dead.
 *
 * Outputs that own memory have a ..._finish(). Strings in requests are
 * borrowed for the call. Descriptors in requests stay the caller's, and stay
 * open; -1 means none.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/err.h"

enum {
	DRIVER_VERSION = 1,	/* of this interface: struct driver's layout and meaning */
	DRIVER_RAW_MAX = 4096,	/* of the raw cause; what is longer is cut */
	DRIVER_ID_MAX = 255,	/* of a container's id, which is [a-zA-Z0-9][a-zA-Z0-9_.-]* */
	DRIVER_LIST_MAX = 65536, /* containers in one list */
};

/* A number that the driver does not know. */
#define DRIVER_UNKNOWN UINT64_MAX

enum driver_code {
	DRIVER_OK,
	DRIVER_NOT_FOUND,   /* -ENOENT: the container, the image, or the command in it */
	DRIVER_EXISTS,	    /* -EEXIST: the id or the name is taken */
	DRIVER_INVALID,	    /* -EINVAL: the request is wrong, or not in the container's state */
	DRIVER_DENIED,	    /* -EACCES */
	DRIVER_UNSUPPORTED, /* -EOPNOTSUPP: not by this driver, version or host */
	DRIVER_TIMEOUT,	    /* -ETIMEDOUT: the call's deadline passed */
	DRIVER_CANCELLED,   /* -ECANCELED: the call's cancel was fired */
	DRIVER_ENGINE,	    /* -EIO: the runtime or engine failed; the raw cause says how */
};

struct driver_error {
	enum driver_code code;
	/*
	 * With NOT_FOUND and DENIED: it was the program to run, inside the container (podman's
	 * exit codes 127 and 126), and not the container.
	 */
	bool program;
	struct err err;		  /* the sentence for a person */
	char raw[DRIVER_RAW_MAX]; /* the runtime's messages or the HTTP body as they came; or "" */
};

/* What every call takes. */
struct driver_call {
	deadline_t deadline;	     /* 0: none */
	const struct cancel *cancel; /* NULL: none */
};

/* Whom to talk to. Everything may be left zero. */
struct driver_options {
	/*
	 * Runtimes: "crun", "runc" or an absolute path; NULL: crun, else runc. Engines: the path of
	 * the socket; NULL: the usual one.
	 */
	const char *address;
	/* The rest is for runtimes. */
	const char *path_env;	   /* PATH to find runtimes in; NULL: absolute addresses only */
	const char *const *env;	   /* of the runtime's own process; NULL: empty */
	const char *state_root;	   /* its --root: a directory, made with mode 0700. Required */
	const char *cache_dir;	   /* keeps what was probed (a directory, 0700); NULL: probe anew */
	const char *cgroup_manager; /* crun's: "disabled", "cgroupfs"; or NULL */
	bool systemd_cgroup;	   /* cgroups are asked from systemd */
};

enum driver_feature {
	DRIVER_PULL = 1 << 0,	 /* can pull, and creates from images */
	DRIVER_BUNDLE = 1 << 1,	 /* creates from bundles */
	DRIVER_LOGS = 1 << 2,	 /* keeps logs; otherwise driver_logs.path is read */
	DRIVER_SECCOMP_BPF = 1 << 3, /* takes compiled filters by annotation (crun) */
	DRIVER_SECCOMP_NOTIFY = 1 << 4,
	DRIVER_HYBRID_ESCAPE = 1 << 5, /* runs in a private mount namespace (exec/hybrid.h) */
};

/* What a connection leads to; borrowed from it. */
struct driver_info {
	const char *driver;  /* "oci", "docker", "podman", … */
	const char *name;    /* "crun", "runc", … */
	const char *address; /* the runtime's path or the socket's */
	const char *version; /* "1.8.1" */
	unsigned int features; /* enum driver_feature */
	const char *told;      /* a runtime's own features document (features.md); NULL: it has none */
	const char *warning; /* what this host will refuse, a sentence; NULL: nothing known */
};

struct driver_pull {
	const char *image;
	const char *platform;  /* os/arch[/variant]; NULL: the engine's own */
	const char *user;      /* credentials; NULL: the engine's own */
	const char *secret;
	/* Each line of progress, as the engine words it; may be NULL. */
	void (*progress)(void *data, const char *line);
	void *data;
};

/* An engine's image and what to make of it; NULL and zero leave the engine's defaults. */
struct driver_image {
	const char *image;
	const char *name;	      /* of the container; NULL: driver_create.id */
	const char *const *entrypoint;
	const char *const *command;
	const char *const *env;	      /* K=V */
	const char *workdir;
	const char *user;
	const json_t *labels;	      /* an object of strings */
	/* Members in the engine's own words that go into its request (Docker: HostConfig, …). */
	const json_t *options;
};

struct driver_create {
	const char *id;
	/*
	 * Runtimes. rootfs and config.json are there already. Without a console socket the
	 * container gets stdio: [0], [1], [2], where -1 is /dev/null. The runtime's own messages
	 * go to the error, and some runtimes repeat them on stdio[2].
	 */
	const char *bundle;
	int stdio[3];
	const char *console_socket; /* gets the terminal's master (exec/console.h); NULL: no tty */
	const int *preserve_fds;    /* become 3, 4, … in the container */
	size_t n_preserve_fds;
	/*
	 * Runtimes. A root filesystem in a place where the root of the container's user namespace may
	 * not go: for the runtime alone it is bound at rootfs_at, a directory, which is the
	 * configuration's root.path. NULL: root.path is where it is.
	 */
	const char *rootfs, *rootfs_at;
	bool start; /* start it too, in one step where the runtime can */
	/* Engines. tty and open_stdin are theirs as well. */
	const struct driver_image *image;
	bool tty, open_stdin;
};

struct driver_created {
	char *id;  /* owned: as the driver will know it */
	pid_t pid; /* of the container's init, in the caller's pid namespace; 0: not known */
};
void driver_created_finish(struct driver_created *created);
DEFINE_FINISH(driver_created, driver_created_finish);

struct driver_exec {
	const char *id;
	/* The runtime-spec's process. An engine takes args, env, cwd, user, terminal. */
	const char *process;
	size_t process_len;
	int stdio[3];		    /* as in driver_create */
	/* With "terminal": true. runc gives one only to a program that it does not wait for: detach. */
	const char *console_socket;
	const int *preserve_fds;
	size_t n_preserve_fds;
	bool detach; /* do not wait for its end */
};

struct driver_executed {
	pid_t pid;     /* detached; 0: not known */
	int exit_code; /* not detached: 0 … 255, 128 + n for signal n */
};

struct driver_exit {
	int exit_code; /* 0 … 255, 128 + n for signal n; -1: the driver cannot know */
};

enum driver_status {
	DRIVER_STATUS_UNKNOWN,
	DRIVER_CREATING,
	DRIVER_CREATED,
	DRIVER_RUNNING,
	DRIVER_PAUSED,
	DRIVER_STOPPED,
};

/* "created", "running" and so on, as in the runtime-spec. */
const char *driver_status_name(enum driver_status status);
enum driver_status driver_status_parse(const char *name);

struct driver_container {
	char *id;	   /* owned, as all strings here; NULL where the driver does not say */
	char *name, *image, *bundle;
	char *created;	   /* RFC 3339 */
	enum driver_status status;
	pid_t pid;	   /* 0: not running */
	int exit_code;	   /* -1: not known or not over */
	json_t *raw;	   /* owned: all that the driver said; inspect only */
};
void driver_container_finish(struct driver_container *container);
DEFINE_FINISH(driver_container, driver_container_finish);

struct driver_list {
	struct driver_container *items; /* owned */
	size_t n;
};
void driver_list_finish(struct driver_list *list);
DEFINE_FINISH(driver_list, driver_list_finish);

/* Each DRIVER_UNKNOWN where the host or the driver does not tell. */
struct driver_stats {
	uint64_t cpu_ns, cpu_user_ns, cpu_system_ns;
	uint64_t memory_bytes, memory_peak_bytes, memory_limit;
	uint64_t pids, pids_limit;
	uint64_t read_bytes, write_bytes; /* of block devices */
	uint64_t oom_kills;
};

enum driver_stream { DRIVER_STDOUT = 1, DRIVER_STDERR = 2 };

struct driver_logs {
	const char *id;
	const char *path; /* runtimes: the monitor's log (exec/logs.h); engines ignore it */
	bool follow;	  /* until the container ends, the deadline or the cancellation */
	uint64_t tail;	  /* only the last n lines; DRIVER_UNKNOWN: all */
	int64_t since_ns; /* of CLOCK_REALTIME; 0: from the beginning */
	/*
	 * A piece of output. time_ns is 0 where the driver does not say. A result other than 0
	 * ends the call, which then returns it when it is negative, and 0 when it is positive.
	 */
	int (*line)(void *data, enum driver_stream stream, int64_t time_ns, const void *bytes,
		    size_t n);
	void *data;
};

enum driver_event_kind {
	DRIVER_EVENT_OTHER, /* what this interface has no word for: see raw */
	DRIVER_EVENT_CREATE,
	DRIVER_EVENT_START,
	DRIVER_EVENT_PAUSE,
	DRIVER_EVENT_RESUME,
	DRIVER_EVENT_OOM,
	DRIVER_EVENT_EXIT,
	DRIVER_EVENT_DELETE,
};

struct driver_event {
	enum driver_event_kind kind;
	const char *id;	 /* borrowed, as raw */
	int64_t time_ns; /* of CLOCK_REALTIME */
	int exit_code;	 /* with EXIT; -1: not known */
	const char *raw; /* the engine's own words; NULL from runtimes */
};

struct driver_events {
	const char *id; /* NULL: all containers (engines) */
	/* As driver_logs.line. Runtimes end by themselves after DELETE; engines go on. */
	int (*event)(void *data, const struct driver_event *event);
	void *data;
};

/*
 * A driver: what stands behind the calls below. NULL members are answered with
 * DRIVER_UNSUPPORTED. Requests were checked by then: ids are well-formed, required members
 * are there, the deadline has not passed. conn is what connect gave. A driver
 * sets the error with driver_fail() and returns its result; it keeps nothing of
 * a request after the call.
 */
struct driver {
	unsigned int version; /* DRIVER_VERSION */
	const char *name;
	int (*connect)(const struct driver_options *options, const struct driver_call *call,
		       void **ret_conn, struct driver_error *error);
	void (*close)(void *conn); /* no call is under way */
	const struct driver_info *(*info)(void *conn);
	int (*pull)(void *conn, const struct driver_call *call, const struct driver_pull *pull,
		    struct driver_error *error);
	int (*create)(void *conn, const struct driver_call *call,
		      const struct driver_create *create, struct driver_created *ret,
		      struct driver_error *error);
	int (*start)(void *conn, const struct driver_call *call, const char *id,
		     struct driver_error *error);
	int (*exec)(void *conn, const struct driver_call *call, const struct driver_exec *exec,
		    struct driver_executed *ret, struct driver_error *error);
	int (*kill)(void *conn, const struct driver_call *call, const char *id, int sig,
		    struct driver_error *error);
	int (*wait)(void *conn, const struct driver_call *call, const char *id,
		    struct driver_exit *ret, struct driver_error *error);
	int (*pause)(void *conn, const struct driver_call *call, const char *id,
		     struct driver_error *error);
	int (*resume)(void *conn, const struct driver_call *call, const char *id,
		      struct driver_error *error);
	int (*logs)(void *conn, const struct driver_call *call, const struct driver_logs *logs,
		    struct driver_error *error);
	int (*list)(void *conn, const struct driver_call *call, struct driver_list *ret,
		    struct driver_error *error);
	int (*inspect)(void *conn, const struct driver_call *call, const char *id,
		       struct driver_container *ret, struct driver_error *error);
	int (*stats)(void *conn, const struct driver_call *call, const char *id,
		     struct driver_stats *ret, struct driver_error *error);
	int (*events)(void *conn, const struct driver_call *call,
		      const struct driver_events *events, struct driver_error *error);
	int (*remove)(void *conn, const struct driver_call *call, const char *id, bool force,
		      struct driver_error *error);
};

struct driver_conn;

/*
 * Finds the runtime or reaches the engine, learns its version and features,
 * and refuses one that is too old. UNSUPPORTED, NOT_FOUND, DENIED. The driver
 * has to outlive the connection.
 */
int driver_connect(const struct driver *driver, const struct driver_options *options,
		   const struct driver_call *call, struct driver_conn **ret,
		   struct driver_error *error);

/* No call may be under way on it. The containers go on. Accepts NULL. */
void driver_close(struct driver_conn *conn);
DEFINE_CLEANUP(driver_conn, driver_close);

/* Borrowed from the connection. */
const struct driver_info *driver_info(const struct driver_conn *conn);

/* Brings an image to the engine. NOT_FOUND, DENIED; UNSUPPORTED with runtimes. */
int driver_pull(struct driver_conn *conn, const struct driver_call *call,
		const struct driver_pull *pull, struct driver_error *error);

/*
 * Makes a container out of a bundle or of an image; its init waits for
 * driver_start() unless create->start. EXISTS. Nothing is left of one that could
 * not be made.
 */
int driver_create(struct driver_conn *conn, const struct driver_call *call,
		  const struct driver_create *create, struct driver_created *ret,
		  struct driver_error *error);

/* Runs a created container's program. INVALID when it is not in that state. */
int driver_start(struct driver_conn *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error);

/*
 * Runs another program in a running container and, unless detached, waits for
 * its end. A call that ends before (deadline, cancellation) kills the program.
 */
int driver_exec(struct driver_conn *conn, const struct driver_call *call,
		const struct driver_exec *exec, struct driver_executed *ret,
		struct driver_error *error);

/* Sends a signal to the container's init. INVALID when it does not run. */
int driver_kill(struct driver_conn *conn, const struct driver_call *call, const char *id, int sig,
		struct driver_error *error);

/* Waits until the container has ended. Runtimes know the code of children of this process only. */
int driver_wait(struct driver_conn *conn, const struct driver_call *call, const char *id,
		struct driver_exit *ret, struct driver_error *error);

/* Freezes and thaws all of a container's processes. INVALID in the wrong state. */
int driver_pause(struct driver_conn *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error);
int driver_resume(struct driver_conn *conn, const struct driver_call *call, const char *id,
		  struct driver_error *error);

/* What the container wrote. */
int driver_logs(struct driver_conn *conn, const struct driver_call *call,
		const struct driver_logs *logs, struct driver_error *error);

/* Every container that the runtime or engine knows. */
int driver_list(struct driver_conn *conn, const struct driver_call *call, struct driver_list *ret,
		struct driver_error *error);

int driver_inspect(struct driver_conn *conn, const struct driver_call *call, const char *id,
		   struct driver_container *ret, struct driver_error *error);

/* What a running container uses. INVALID when it does not run. */
int driver_stats(struct driver_conn *conn, const struct driver_call *call, const char *id,
		 struct driver_stats *ret, struct driver_error *error);

int driver_events(struct driver_conn *conn, const struct driver_call *call,
		  const struct driver_events *events, struct driver_error *error);

/* Removes a container that is over; force: kills it first, and is content when there is none. */
int driver_delete(struct driver_conn *conn, const struct driver_call *call, const char *id,
		  bool force, struct driver_error *error);

/* For drivers, and whoever words errors. */

/* "not found", "exists" and so on. */
const char *driver_code_name(enum driver_code code);
/* The negative errno for a code, 0 for DRIVER_OK. */
int driver_code_errno(enum driver_code code);
/* The code that a negative errno stands for; DRIVER_ENGINE for those that have none. */
enum driver_code driver_code_from(int r);

/*
 * Sets code and sentence. Raw (NUL-terminated, may be NULL) is copied as far
 * as it fits. Returns the code's errno. Accepts a NULL error.
 */
int driver_fail(struct driver_error *error, enum driver_code code, const char *raw,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The same with the code that r (a negative errno) stands for; ": " and r's meaning follow. */
int driver_fail_set(struct driver_error *error, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same out of what a function of base/ said. */
int driver_fail_err(struct driver_error *error, int r, const struct err *err);

/*
 * Waits until fd has one of the poll(2) events (POLLIN, …), or an error. 0, -ETIMEDOUT,
 * -ECANCELED, or another errno of poll(2).
 */
int driver_poll(int fd, short events, const struct driver_call *call);

/* Whether an id is one that every driver takes. */
bool driver_id_valid(const char *id);
