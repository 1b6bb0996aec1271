/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the engine drivers share. */

#include "base/buf.h"
#include "base/curl_api.h"
#include "exec/driver_engine.h"

enum {
	ENGINE_WHAT_MAX = 64 + DRIVER_ID_MAX, /* "start container ID" */
	ENGINE_PATH_MAX = 1024,
	ENGINE_ERROR_MAX = 64 << 10, /* bytes of an answer that is an error; the rest is dropped */
};

/* Where Docker and Podman differ; what is NULL is asked in Docker's words. */
struct engine_dialect {
	const char *driver; /* "docker" */
	const char *socket;
	const char *component; /* what /version calls the engine; NULL: any */
	const char *version_min;
	const char *list;	/* answers with exit codes and process numbers */
	const char *stats; /* the id follows */
	const char *events;
};

/* A connection; nothing in it changes after connect, so that threads need no lock. */
struct engine {
	const struct engine_dialect *dialect;
	const struct curl_api *curl;
	char *socket;  /* owned: its path */
	char *version; /* owned: of the engine */
	char api[16];  /* "/v1.41", before the paths of requests */
	bool same_pids; /* it lives in our pid namespace: its process numbers are ours */
	struct driver_info info;
};

struct engine_request {
	const char *what;   /* "start container c1", for errors */
	const char *method; /* "GET" */
	const char *path;   /* from the version on: "/containers/c1/start" */
	bool unversioned;   /* the path is whole */
	const char *body;   /* JSON; NULL: none */
	size_t body_len;
	const char *header; /* one more, "Name: value"; NULL: none */
	/*
	 * Gets the body of a success in pieces, as they come; NULL: it goes to the reply. A result
	 * other than 0 ends the request: a negative one is its result, and error (when it was
	 * set) says why.
	 */
	int (*piece)(void *data, const char *bytes, size_t n, struct driver_error *error);
	void *data;
};

struct engine_reply {
	long status;
	struct buf body;
	bool stopped; /* piece() gave a positive result */
};

static inline struct engine_reply engine_reply_make(void)
{
	return (struct engine_reply){.body = buf_make(DRIVER_ENGINE_BODY_MAX)};
}

static inline void engine_reply_finish(struct engine_reply *reply)
{
	buf_finish(&reply->body);
}
DEFINE_FINISH(engine_reply, engine_reply_finish);

/* A connected, non-blocking socket, the caller's. NOT_FOUND, DENIED, TIMEOUT, CANCELLED, ENGINE. */
int engine_dial(const char *path, const struct driver_call *call, const char *what, int *ret_fd,
		struct driver_error *error);

/*
 * Makes a request, and turns an answer other than 2xx into the error that it
 * stands for. The reply may be NULL when nothing of it is wanted.
 */
int engine_http(const struct engine *engine, const struct driver_call *call,
		const struct engine_request *request, struct engine_reply *reply,
		struct driver_error *error);

/* The error that an answer stands for. */
int engine_refused(const struct engine *engine, const char *what, long status,
		   const struct buf *body, struct driver_error *error);

/* The same of an error that came in the midst of a success. */
int engine_said(const char *what, const char *text, const char *raw, struct driver_error *error);

/* How a wait ended: TIMEOUT, CANCELLED, and ENGINE for the rest. */
int engine_cut(const char *what, const struct driver_call *call, int r,
	       struct driver_error *error);

/*
 * The answer as JSON of that type. Numbers past what jansson has are approximated. ENGINE when it is
 * something else.
 */
int engine_json(const char *what, const struct buf *body, json_type type, json_t **ret,
		struct driver_error *error);

/* GET path, as JSON. */
int engine_get(const struct engine *engine, const struct driver_call *call, const char *what,
	       const char *path, json_t **ret, struct driver_error *error);

/* Members of answers. Engines leave out, and set to null, what they do not know. */
const char *engine_text(const json_t *object, const char *key);	   /* borrowed; NULL when absent */
uint64_t engine_number(const json_t *object, const char *key);	   /* DRIVER_UNKNOWN */
bool engine_true(const json_t *object, const char *key);

/* Percent-encodes (RFC 3986: all but the unreserved) onto the end. 0 or -errno. */
int engine_escape(struct buf *out, const char *text);

/* A point in time as engines write it (RFC 3339 with up to nine decimals), in ns since 1970. */
int engine_time(const char *text, int64_t *ret_ns);

/* driver_engine_lines.c: a stream of lines, cut out of pieces. */
struct engine_lines {
	const char *what;
	struct buf rest; /* of the line that is not complete yet */
	/* A result other than 0 ends the stream. */
	int (*line)(void *data, const char *line, struct driver_error *error);
	void *data;
};
int engine_lines_piece(void *lines, const char *bytes, size_t n, struct driver_error *error);
/* What came after the last newline. */
int engine_lines_end(struct engine_lines *lines, struct driver_error *error);

/* driver_engine_frames.c: the output of a container without a terminal. */
struct engine_frames {
	const char *what;
	unsigned char header[8];
	size_t have;	/* bytes of the header */
	uint32_t left;	/* bytes of the frame that are still to come */
	bool first;	/* none of them has come */
	/* first: these begin a frame. A result other than 0 ends the stream. */
	int (*bytes)(void *data, enum driver_stream stream, bool first, const char *bytes, size_t n,
		     struct driver_error *error);
	void *data;
	struct buf failure; /* what the engine says in place of output */
};
int engine_frames_piece(void *frames, const char *bytes, size_t n, struct driver_error *error);
/* Whether it ended where it may. */
int engine_frames_end(struct engine_frames *frames, struct driver_error *error);

/* driver_engine_query.c */
int engine_state(const struct engine *engine, const struct driver_call *call, const char *what,
		 const char *id, struct driver_container *ret, struct driver_error *error);
int engine_inspect(void *conn, const struct driver_call *call, const char *id,
		   struct driver_container *ret, struct driver_error *error);
int engine_list(void *conn, const struct driver_call *call, struct driver_list *ret,
		struct driver_error *error);
int engine_stats(void *conn, const struct driver_call *call, const char *id,
		 struct driver_stats *ret, struct driver_error *error);

/* driver_engine_create.c */
int engine_create(void *conn, const struct driver_call *call, const struct driver_create *create,
		  struct driver_created *ret, struct driver_error *error);
int engine_remove(void *conn, const struct driver_call *call, const char *id, bool force,
		  struct driver_error *error);
/* POST without a body. */
int engine_post(const struct engine *engine, const struct driver_call *call, const char *what,
		const char *path, struct driver_error *error);
int engine_start(void *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error);
int engine_kill(void *conn, const struct driver_call *call, const char *id, int sig,
		struct driver_error *error);
int engine_wait(void *conn, const struct driver_call *call, const char *id,
		struct driver_exit *ret, struct driver_error *error);
int engine_pause(void *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error);
int engine_resume(void *conn, const struct driver_call *call, const char *id,
		  struct driver_error *error);

/* driver_engine_stream.c: what is done with each line, or piece, of three streams. */
enum { ENGINE_STAMP_MAX = 64 }; /* of the time before each entry of a log */

struct engine_pulling {
	const struct engine *engine;
	const struct driver_pull *pull;
	const char *what;
};
struct engine_logging {
	const struct driver_logs *logs;
	const char *what;
	bool stamped;	/* the current frame's time is known */
	bool hidden;	/* it is before since_ns */
	int64_t time_ns;
	char stamp[ENGINE_STAMP_MAX];
	size_t have;	/* bytes of it */
};
struct engine_watching {
	const struct driver_events *events;
	const char *what;
};

int engine_pull_line(void *pulling, const char *text, struct driver_error *error);
int engine_log_bytes(void *logging, enum driver_stream stream, bool first, const char *bytes,
		     size_t n, struct driver_error *error);
int engine_event_line(void *watching, const char *text, struct driver_error *error);

int engine_pull(void *conn, const struct driver_call *call, const struct driver_pull *pull,
		struct driver_error *error);
int engine_logs(void *conn, const struct driver_call *call, const struct driver_logs *logs,
		struct driver_error *error);
int engine_events(void *conn, const struct driver_call *call, const struct driver_events *events,
		  struct driver_error *error);

/* driver_engine_exec.c */
int engine_exec(void *conn, const struct driver_call *call, const struct driver_exec *exec,
		struct driver_executed *ret, struct driver_error *error);
