/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/num.h"
#include "fs/interrupt.h"
#include "fetcher/entry.h"
#include "fs/server_priv.h"

/*
 * A READ. Its first pass over the extents copies what is local; pieces that
 * are not become reads of their sources, and the request is parked. From then
 * on whoever is first ends it, which the server's lock decides: the last piece
 * to be done, the look that finds its reader dying, or the end of the server
 * (which leaves it to the successor). Each of them holds a share of the
 * request; the last share to be put frees it.
 */
enum request_state {
	REQUEST_NEW, /* not yet parked; belongs to the thread that reads it */
	REQUEST_PARKED,
	REQUEST_ENDED,
};

struct piece {
	struct source_read read;
	struct read_request *request;
	struct source *source;
};

struct read_request {
	struct server *server;
	fuse_req_t req; /* until ended */
	pid_t tid;	/* of the reader, as /proc knows it; 0: unknown */
	deadline_t late; /* a failure after this is one that the reader has waited for */
	bool direct;	/* past the page cache */
	uint64_t ino;
	uint64_t off;	/* of the file */
	size_t len;
	struct piece *pieces; /* owned */
	size_t n_pieces, room;
	/* Under the server's lock. */
	struct list link;
	struct list watch;  /* among the interrupted ones */
	deadline_t look_at; /* when to look at its reader next */
	bool interrupted;
	enum request_state state;
	size_t shares; /* pieces not yet done, and whoever else uses it just now */
	int result;
	char data[];
};

static void request_free(struct read_request *rq)
{
	free(rq->pieces);
	free(rq);
}

/* Says that sources fail once, until a read succeeds again. */
static void note_result(struct server *server, uint64_t ino, int result, const struct err *err)
{
	if (result == 0) {
		if (atomic_load_explicit(&server->said_failing, memory_order_relaxed) &&
		    atomic_exchange(&server->said_failing, false))
			log_warn("reads succeed again");
		return;
	}
	if (result == -ETIMEDOUT)
		counter_add(&server->counters->timeouts, 1);
	if (!atomic_exchange(&server->said_failing, true))
		log_error("read inode %llu: %s; more failures are only counted until a read succeeds",
			  (unsigned long long)ino, err && err->code ? err_text(err) :
			  strerrordesc_np(-result));
}

static void reply_data(struct server *server, fuse_req_t req, const char *data, size_t n)
{
	counter_add(&server->counters->reads, 1);
	counter_add(&server->counters->bytes_served, n);
	(void)fuse_reply_buf(req, data, n);
}

static void reply_error(struct server *server, fuse_req_t req, int error)
{
	counter_add(&server->counters->reads, 1);
	counter_add(&server->counters->errors, 1);
	(void)fuse_reply_err(req, error);
}

/* Takes a request off the lists. The lock is held. */
static void unpark(struct read_request *rq)
{
	struct server *server = rq->server;
	list_remove(&rq->link);
	list_remove(&rq->watch);
	if (list_empty(&server->parked))
		(void)pthread_cond_broadcast(&server->idle);
}

/*
 * When read-ahead fails, the kernel asks once more on behalf of the reader, for
 * the page it wants, and EROFS above it does so, too. That must not cost the
 * reader a second timeout. A reader that asks again by itself, later, is not
 * meant: each failure counts so often only, and not for long.
 */
static void late_note(const struct read_request *rq)
{
	struct server *server = rq->server;
	if (rq->direct)
		return; /* no read-ahead */
	(void)pthread_mutex_lock(&server->lock);
	server->late[server->n_late++ % SERVER_LATE_MAX] = (struct late_read){
		.tid = rq->tid, .ino = rq->ino, .off = rq->off, .len = rq->len,
		.until = deadline_in_ms(SERVER_LATE_MS), .left = SERVER_LATE_AGAIN};
	(void)pthread_mutex_unlock(&server->lock);
}

static bool late_again(const struct read_request *rq)
{
	struct server *server = rq->server;
	bool again = false;
	(void)pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < SERVER_LATE_MAX && !again; i++) {
		struct late_read *late = &server->late[i];
		if (late->until == 0 || late->tid != rq->tid || late->ino != rq->ino ||
		    rq->off < late->off || rq->off - late->off >= late->len)
			continue;
		again = !deadline_passed(late->until);
		if (!again || --late->left == 0)
			late->until = 0;
	}
	(void)pthread_mutex_unlock(&server->lock);
	return again;
}

enum request_end { END_RESULT, END_DEAD, END_SUCCESSOR };

/* Ends a parked request, once. The caller holds a share. */
static void request_end(struct read_request *rq, enum request_end how, const struct err *err)
{
	struct server *server = rq->server;
	(void)pthread_mutex_lock(&server->lock);
	bool first = rq->state == REQUEST_PARKED;
	if (first)
		rq->state = REQUEST_ENDED;
	(void)pthread_mutex_unlock(&server->lock);
	if (!first)
		return;
	/* Waits for an interrupt that is being delivered: it may still look at the request. */
	fuse_req_interrupt_func(rq->req, NULL, NULL);
	if (how == END_SUCCESSOR) {
		fuse_reply_none(rq->req); /* frees libfuse's part, says nothing to the kernel */
	} else if (how == END_DEAD) {
		counter_add(&server->counters->interrupted, 1);
		(void)fuse_reply_err(rq->req, EINTR);
	} else {
		note_result(server, rq->ino, rq->result, err);
		if (rq->result < 0 && deadline_passed(rq->late))
			late_note(rq);
		if (rq->result == 0)
			reply_data(server, rq->req, rq->data, rq->len);
		else
			reply_error(server, rq->req, EIO);
	}
	(void)pthread_mutex_lock(&server->lock);
	unpark(rq);
	(void)pthread_mutex_unlock(&server->lock);
}

/* Puts a share back; with the last one every piece is done. */
static void request_put(struct read_request *rq, int result, const struct err *err)
{
	struct server *server = rq->server;
	(void)pthread_mutex_lock(&server->lock);
	if (result < 0 && rq->result == 0)
		rq->result = result;
	bool last = --rq->shares == 0;
	if (last) /* not sooner: a read that was given up keeps its buffer while its source has it */
		server->parked_bytes -= rq->len;
	(void)pthread_mutex_unlock(&server->lock);
	if (!last)
		return;
	request_end(rq, END_RESULT, err);
	request_free(rq);
	server_unref(server);
}

static void piece_done(struct source_read *read, int result, const struct err *err)
{
	struct piece *piece = container_of(read, struct piece, read);
	request_put(piece->request, result, err);
}

/* Has the reader of an interrupted request looked at, the first time at once. The lock is held. */
static void watch(struct read_request *rq)
{
	rq->look_at = clock_now_ns();
	list_push(&rq->server->interrupted, &rq->watch);
	(void)eventfd_write(rq->server->look_fd, 1);
}

/*
 * A signal for the reader. libfuse calls this with the request locked, and from
 * within fuse_req_interrupt_func() when it came early: the request must not be
 * answered here, since libfuse still uses it.
 */
static void request_interrupt(fuse_req_t req, void *data)
{
	(void)req;
	struct read_request *rq = data;
	struct server *server = rq->server;
	(void)pthread_mutex_lock(&server->lock);
	if (rq->state == REQUEST_PARKED && !rq->interrupted)
		watch(rq);
	rq->interrupted = true;
	(void)pthread_mutex_unlock(&server->lock);
}

deadline_t server_read_look(struct server *server)
{
	deadline_t next = 0;
	(void)pthread_mutex_lock(&server->lock);
	while (!list_empty(&server->interrupted)) {
		struct read_request *rq =
			list_first(&server->interrupted, struct read_request, watch);
		next = rq->look_at;
		if (!deadline_passed(next))
			break;
		list_remove(&rq->watch);
		if (rq->state == REQUEST_PARKED) {
			rq->look_at = deadline_in_ms(SERVER_LOOK_MS);
			list_append(&server->interrupted, &rq->watch);
			rq->shares++;
			(void)pthread_mutex_unlock(&server->lock);
			if (interrupt_is_deadly(rq->tid))
				request_end(rq, END_DEAD, NULL);
			request_put(rq, 0, NULL);
			(void)pthread_mutex_lock(&server->lock);
		}
		next = 0;
	}
	(void)pthread_mutex_unlock(&server->lock);
	return next;
}

/* 0; -ENOMEM past SERVER_PARKED_MAX. */
static int request_park(struct read_request *rq)
{
	struct server *server = rq->server;
	rq->late = deadline_in_ms(u64_min(SERVER_WAITED_MS, server->config.read_timeout_ms));
	fuse_req_interrupt_func(rq->req, request_interrupt, rq);
	(void)pthread_mutex_lock(&server->lock);
	int r = server->parked_bytes + rq->len > SERVER_PARKED_MAX ? -ENOMEM : 0;
	rq->state = r == 0 ? REQUEST_PARKED : REQUEST_ENDED;
	if (r == 0) {
		list_append(&server->parked, &rq->link);
		server->parked_bytes += rq->len;
		server->refs++;
		if (rq->interrupted)
			watch(rq);
	}
	(void)pthread_mutex_unlock(&server->lock);
	return r;
}

/*
 * Holds an extent to the bytes that the device has. Devices end where their
 * layer does, files may in the middle of the block that follows: it is zero.
 */
static int map_device(const struct source *device, struct erofs_extent *e)
{
	uint64_t size = source_size(device);
	if (!range_within(e->dev_off, e->len, u64_align(size, ENTRY_ALIGN)))
		return -EBADMSG;
	if (e->dev_off >= size)
		e->hole = true;
	else
		e->len = u64_min(e->len, size - e->dev_off);
	return 0;
}

/* The part of a file's extent that lies in [off, end), checked. 0 or -errno. */
static int map_part(struct server *server, const struct erofs_inode *inode, uint64_t off,
		    uint64_t end, struct erofs_extent *ret)
{
	struct erofs_extent e;
	int r = erofs_map(server->config.image, inode, off, &e);
	if (r < 0)
		return r;
	if (e.off > off || e.len <= off - e.off)
		return -EBADMSG;
	uint64_t skip = off - e.off;
	e.off = off;
	e.len = u64_min(e.len - skip, end - off);
	if (!e.hole && e.device == 0) {
		if (!e.inlined)
			return -EBADMSG;
		e.inlined = (const char *)e.inlined + skip;
	} else if (!e.hole) {
		if (e.device > server->config.n_devices || e.dev_off > UINT64_MAX - skip)
			return -EBADMSG;
		e.dev_off += skip;
		r = map_device(server->config.devices[e.device - 1], &e);
		if (r < 0)
			return r;
	}
	*ret = e;
	return 0;
}

static int request_add(struct read_request *rq, struct source *source, uint64_t dev_off,
		       char *data, size_t len)
{
	if (rq->n_pieces == rq->room) {
		/* An extent is at least a block, so there are few pieces in a read. */
		size_t room = rq->room == 0 ? 4 : rq->room * 2;
		struct piece *more = realloc(rq->pieces, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		rq->pieces = more;
		rq->room = room;
	}
	rq->pieces[rq->n_pieces++] = (struct piece){
		.read = {.off = dev_off, .len = len, .data = data, .done = piece_done},
		.request = rq,
		.source = source,
	};
	return 0;
}

/* Tells the recorder what is asked for, if it still listens. */
static void note_demand(const struct server *server, const struct erofs_extent *e)
{
	struct recorder *recorder = server->config.recorder;
	if (recorder && recorder_is_on(recorder))
		recorder_note(recorder, e->device - 1, e->dev_off, e->len);
}

/* Copies what is local, and lists the rest. 0 or -errno. */
static int request_fill(struct read_request *rq, const struct erofs_inode *inode)
{
	struct server *server = rq->server;
	uint64_t end = rq->off + rq->len;
	for (uint64_t at = rq->off; at < end;) {
		struct erofs_extent e;
		int r = map_part(server, inode, at, end, &e);
		if (r < 0)
			return r;
		char *data = rq->data + (at - rq->off);
		if (e.hole) {
			memset(data, 0, e.len);
		} else if (e.device == 0) {
			memcpy(data, e.inlined, e.len);
		} else {
			struct source *source = server->config.devices[e.device - 1];
			note_demand(server, &e);
			/* A store that fails is the source's to heal, so any failure goes there. */
			if (source_peek(source, data, e.len, e.dev_off) != (ssize_t)e.len)
				r = request_add(rq, source, e.dev_off, data, e.len);
			if (r < 0)
				return r;
		}
		at += e.len;
	}
	return 0;
}

/* Asks the sources for [off, end) of a file, without anybody waiting for it. */
static void advise(struct server *server, const struct erofs_inode *inode, uint64_t off,
		   uint64_t end)
{
	while (off < end) {
		struct erofs_extent e;
		if (map_part(server, inode, off, end, &e) < 0)
			return; /* whoever reads it is told */
		if (!e.hole && e.device != 0) {
			source_advise(server->config.devices[e.device - 1], e.dev_off, e.len);
			counter_add(&server->counters->advised_bytes, e.len);
		}
		off += e.len;
	}
}

/*
 * A file is read from its start. Files that are read in the order in which
 * their layer has them are a sequence too, however small each is.
 */
static void advise_layer(struct server *server, const struct erofs_inode *inode)
{
	struct erofs_extent e;
	if (map_part(server, inode, 0, inode->size, &e) < 0 || e.hole || e.device == 0)
		return;
	struct source *source = server->config.devices[e.device - 1];
	uint64_t ahead = 0;
	uint64_t n = readahead_note(server->readahead, READAHEAD_LAYER | e.device, e.dev_off,
				    e.len, source_size(source), &ahead);
	if (n == 0)
		return;
	source_advise(source, ahead, n);
	counter_add(&server->counters->advised_bytes, n);
}

static void request_submit(struct read_request *rq)
{
	deadline_t deadline = deadline_in_ms(rq->server->config.read_timeout_ms);
	rq->shares = rq->n_pieces + 1;
	int r = request_park(rq);
	if (r < 0) {
		fuse_req_interrupt_func(rq->req, NULL, NULL);
		reply_error(rq->server, rq->req, -r);
		request_free(rq);
		return;
	}
	for (size_t i = 0; i < rq->n_pieces; i++) {
		struct piece *piece = &rq->pieces[i];
		piece->read.deadline = deadline;
		source_submit(piece->source, &piece->read);
	}
	request_put(rq, 0, NULL);
}

/* Answers a read of len > 0 bytes within the file. */
static void read_range(struct server *server, fuse_req_t req, const struct erofs_inode *inode,
		       uint64_t off, size_t len, bool direct)
{
	struct read_request *rq = malloc(sizeof(*rq) + len);
	if (!rq) {
		reply_error(server, req, ENOMEM);
		return;
	}
	*rq = (struct read_request){
		.server = server, .req = req, .tid = fuse_req_ctx(req)->pid, .direct = direct,
		.ino = inode->nid, .off = off, .len = len};
	list_init(&rq->link);
	list_init(&rq->watch);
	int r = request_fill(rq, inode);
	if (r < 0) {
		reply_error(server, req, server_errno(server, r));
		request_free(rq);
	} else if (rq->n_pieces == 0) {
		counter_add(&server->counters->cache_hits, 1);
		reply_data(server, req, rq->data, rq->len);
		request_free(rq);
	} else if (late_again(rq)) {
		reply_error(server, req, EIO);
		request_free(rq);
	} else {
		counter_add(&server->counters->cache_misses, 1);
		request_submit(rq);
	}
}

void server_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		 struct fuse_file_info *fi)
{
	struct server *server = fuse_req_userdata(req);
	struct erofs_inode inode;
	int r = server_inode(server, ino, &inode);
	if (r == 0 && !S_ISREG(inode.mode))
		r = EINVAL;
	if (r == 0 && off < 0)
		r = EINVAL;
	if (r != 0) {
		reply_error(server, req, r);
		return;
	}
	uint64_t at = (uint64_t)off;
	if (at >= inode.size || size == 0) {
		reply_data(server, req, NULL, 0);
		return;
	}
	size_t len = (size_t)u64_min(u64_min(size, SERVER_READ_MAX), inode.size - at);
	uint64_t ahead = 0;
	uint64_t key = inode.nid | (server->config.files_are_devices ? READAHEAD_DEVICE : 0);
	uint64_t n = readahead_note(server->readahead, key, at, len, inode.size, &ahead);
	read_range(server, req, &inode, at, len, fi->flags & O_DIRECT);
	if (n > 0)
		advise(server, &inode, ahead, ahead + n);
	if (at == 0 && !server->config.files_are_devices)
		advise_layer(server, &inode);
}

/* A parked request with a share taken; NULL when there is none that nobody ends already. */
static struct read_request *take_parked(struct server *server)
{
	struct read_request *rq;
	list_for_each(rq, &server->parked, link) {
		if (rq->state == REQUEST_PARKED) {
			rq->shares++;
			return rq;
		}
	}
	return NULL;
}

void server_read_drain(struct server *server, uint64_t drain_ms)
{
	struct timespec until = deadline_timespec(deadline_in_ms(drain_ms + 1));
	(void)pthread_mutex_lock(&server->lock);
	while (!list_empty(&server->parked)) {
		if (pthread_cond_clockwait(&server->idle, &server->lock, CLOCK_MONOTONIC,
					   &until) != 0)
			break;
	}
	struct read_request *rq;
	while ((rq = take_parked(server))) {
		(void)pthread_mutex_unlock(&server->lock);
		request_end(rq, END_SUCCESSOR, NULL);
		request_put(rq, 0, NULL);
		(void)pthread_mutex_lock(&server->lock);
	}
	while (!list_empty(&server->parked))
		(void)pthread_cond_wait(&server->idle, &server->lock);
	(void)pthread_mutex_unlock(&server->lock);
}
