/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the monitor share. */

#include <poll.h>

#include "base/buf.h"
#include "base/list.h"
#include "exec/cgroup.h"
#include "exec/logs.h"
#include "exec/monitor.h"

/* One connection. */
struct client {
	struct list link;
	int fd;		   /* owned */
	bool output;	   /* asked for it */
	bool launcher;
	bool gave_input;
	struct buf queue;  /* messages that wait: le32 length, word, bytes */
	deadline_t patience; /* the queue is full, and the container waits so long; 0: it is not */
	uint64_t lost;	   /* bytes left out since */
	bool gone;	   /* to be freed */
};

/* Everyone who is connected; nothing here knows of containers. */
struct clients {
	struct list list;
	unsigned int n;
	int listening; /* owned; -1 */
};

/* The list is initialized, and may have members. */
int clients_listen(struct clients *clients, int dirfd, struct err *err);
void clients_finish(struct clients *clients, int dirfd);

/* Adds a connection, which is taken over. NULL when there is no room: it is closed then. */
struct client *clients_add(struct clients *clients, int fd);
void clients_accept(struct clients *clients);

/* Queues a message for one, and tries to send it. */
void client_send(struct client *client, enum attach_word word, const void *data, size_t n);
void client_flush(struct client *client);

/* Output for all who asked; in pieces of at most ATTACH_DATA_MAX. */
void clients_output(struct clients *clients, enum attach_word word, const void *data, size_t n);

/* The same message for all. */
void clients_tell(struct clients *clients, enum attach_word word, const void *data, size_t n);

/* Whether the container has to wait for somebody, whose queue is full; until *next at most. */
bool clients_full(struct clients *clients, deadline_t *next);

/* Frees those who are gone. */
void clients_sweep(struct clients *clients);

/* Waits until everything is read, at most so long. */
void clients_farewell(struct clients *clients, uint64_t ms);

struct monitor {
	const struct monitor_config *config;
	struct container_state state;
	struct clients clients;
	struct client *launcher; /* one of clients, or NULL */
	struct logs *logs;	 /* owned; NULL: none */
	struct cgroup *cgroup;	 /* owned; NULL: not known */
	int signals;		 /* owned: a signalfd */
	bool made;		 /* the runtime knows the container */
	pid_t init;
	int pidfd;		 /* owned: of init */
	int status;		 /* of waitpid(2), once init_over */
	bool init_over;
	bool begun;		 /* init has executed its program */
	uint64_t held;		 /* signals for init that wait for that, as a set of bits */
	deadline_t held_until;	 /* and no longer than this */
	int in, out, err;	 /* owned: the container's, or a terminal twice; -1: closed */
	struct buf input;	 /* waits for in */
	bool input_end;		 /* in is closed after that */
	deadline_t kill_at;	 /* SIGKILL then; 0: not asked to stop */
	deadline_t timeout_at;	 /* --timeout */
	uint64_t oom_kills;	 /* before it began */
	uint64_t ready_ns, started_ns; /* of clock_now_ns(): see ATTACH_STARTED */
	bool log_failed;	 /* was told once */
};

/* monitor_io.c */

/* Makes the pipes, or nothing with a terminal. fds: what the container gets. */
int monitor_open_stdio(struct monitor *monitor, int fds[3], struct err *err);
/* Everything until init is over and its output is read. */
int monitor_loop(struct monitor *monitor, struct err *err);
/* Collects children that ended; init's status among them. */
void monitor_reap(struct monitor *monitor);
/* Asks init to end, now or never mind how in ms. */
void monitor_stop(struct monitor *monitor, uint64_t ms);
