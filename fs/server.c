/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/server.h"

#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/server_priv.h"

enum {
	NOTIFY_RESEND = 7,	/* FUSE_NOTIFY_RESEND, newer than Debian 12's headers */
	INIT_MESSAGE_MAX = 4096,
	THREAD_STACK = 256 * 1024,
	WAKE_SIGNAL = SIGUSR1,	/* ends a read of /dev/fuse; see threads_stop() */
	WAKE_INTERVAL_MS = 1,
	INTERRUPTS_LEFT_MAX = 1024, /* see interrupts_finish() */
};

void server_unref(struct server *server)
{
	(void)pthread_mutex_lock(&server->lock);
	bool last = --server->refs == 0;
	(void)pthread_mutex_unlock(&server->lock);
	if (!last)
		return;
	readahead_destroy(server->readahead);
	cleanup_close(&server->end_fd);
	cleanup_close(&server->look_fd);
	(void)pthread_cond_destroy(&server->idle);
	(void)pthread_mutex_destroy(&server->lock);
	free(server);
}

static int check_config(const struct server_config *config, struct err *err)
{
	struct erofs_stats stats;
	erofs_stats(config->image, &stats);
	if (stats.n_devices > config->n_devices)
		return err_say(err, -EINVAL, "serve the image: it needs %u devices, %u are there",
			       stats.n_devices, config->n_devices);
	if (config->threads > SERVER_THREADS_MAX)
		return err_say(err, -EINVAL, "serve the image: %u threads are more than %u",
			       config->threads, (unsigned int)SERVER_THREADS_MAX);
	return 0;
}

int server_create(const struct server_config *config, struct server **ret, struct err *err)
{
	int r = check_config(config, err);
	if (r < 0)
		return r;
	struct server *server = calloc(1, sizeof(*server));
	if (!server)
		return err_set(err, -ENOMEM, "start the FUSE server");
	server->config = *config;
	server->counters = config->counters ? config->counters : &server->own;
	server->refs = 1;
	list_init(&server->parked);
	list_init(&server->interrupted);
	(void)pthread_mutex_init(&server->lock, NULL);
	(void)pthread_cond_init(&server->idle, NULL);
	for (uint32_t i = 0; i < config->n_devices; i++)
		server->device_bytes += source_size(config->devices[i]);

	server->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->look_fd = server->end_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = server->look_fd < 0 ? -errno : readahead_create(&server->readahead);
	if (r < 0) {
		server_unref(server);
		return err_set(err, r, "start the FUSE server");
	}
	*ret = server;
	return 0;
}

static void *serve_thread(void *data)
{
	struct server *server = data;
	struct fuse_buf buf = {0};
	while (!atomic_load(&server->stopping)) {
		int r = fuse_session_receive_buf(server->session, &buf);
		if (r == -EINTR)
			continue;
		if (r <= 0) {
			/* 0: unmounted or aborted. The others end when they read, too. */
			if (r < 0 && r != -ECONNABORTED)
				log_error("read /dev/fuse: %s", strerrordesc_np(-r));
			(void)eventfd_write(server->end_fd, 1);
			break;
		}
		if (((const struct fuse_in_header *)buf.mem)->opcode == FUSE_INTERRUPT)
			(void)atomic_fetch_add(&server->n_interrupts, 1);
		fuse_session_process_buf(server->session, &buf);
	}
	free(buf.mem);
	(void)atomic_fetch_add(&server->n_ended, 1);
	return NULL;
}

static int threads_start(struct server *server)
{
	unsigned int n = server->config.threads ? server->config.threads : SERVER_THREADS;
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);
	if (r != 0)
		return -r;
	(void)pthread_attr_setstacksize(&attr, THREAD_STACK);
	while (r == 0 && server->n_threads < n) {
		r = pthread_create(&server->threads[server->n_threads], &attr, serve_thread, server);
		if (r == 0)
			server->n_threads++;
	}
	(void)pthread_attr_destroy(&attr);
	return -r;
}

/*
 * A thread waits in read(2), which a signal ends. One that arrives between the
 * look at `stopping` and the read is lost, so it is sent until all have ended.
 */
static void threads_stop(struct server *server)
{
	atomic_store(&server->stopping, true);
	while (atomic_load(&server->n_ended) < server->n_threads) {
		for (unsigned int i = 0; i < server->n_threads; i++)
			(void)pthread_kill(server->threads[i], WAKE_SIGNAL);
		clock_sleep_ms(WAKE_INTERVAL_MS, 0);
	}
	for (unsigned int i = 0; i < server->n_threads; i++)
		(void)pthread_join(server->threads[i], NULL);
	server->n_threads = 0;
}

static void wake_handler(int sig)
{
	(void)sig;
}

static int session_open(struct server *server, int fuse_fd, struct err *err)
{
	AUTO_CLOSE int fd = fuse_fd;
	struct sigaction action = {.sa_handler = wake_handler}; /* without SA_RESTART */
	if (sigaction(WAKE_SIGNAL, &action, NULL) < 0)
		return err_set(err, -errno, "start the FUSE server");
	char name[] = "sluice";
	char *argv[] = {name, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	server->session = fuse_session_new(&args, &server_ops, sizeof(server_ops), server);
	fuse_opt_free_args(&args); /* a copy that libfuse made */
	if (!server->session)
		return err_say(err, -ENOMEM, "start the FUSE server: libfuse refuses");
	char path[32];
	(void)snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	if (fuse_session_mount(server->session, path) != 0)
		return err_say(err, -EINVAL, "start the FUSE server: descriptor %d is bad", fd);
	(void)steal_fd(&fd);
	return 0;
}

/* Has the kernel send again what was read but never answered. */
static int ask_resend(struct server *server, struct err *err)
{
	struct fuse_out_header head = {.len = sizeof(head), .error = NOTIFY_RESEND};
	if (write(fuse_session_fd(server->session), &head, sizeof(head)) == (ssize_t)sizeof(head))
		return 0;
	if (errno == EINVAL)
		return err_say(err, -EOPNOTSUPP,
			       "take over a mount: the kernel is older than Linux 6.9");
	return err_set(err, -errno, "take over a mount");
}

/* Reads the first message of a connection, keeps it, and lets libfuse answer it. */
static int init_first(struct server *server, int init_fd, struct err *err)
{
	/* A predecessor may have died between reading the message and keeping it. */
	(void)ask_resend(server, NULL);
	struct fuse_buf buf = {0};
	int r;
	do {
		r = fuse_session_receive_buf(server->session, &buf);
	} while (r == -EINTR);
	AUTO_FREE void *mem = buf.mem;
	(void)mem;
	if (r <= 0)
		return err_set(err, r < 0 ? r : -ENOTCONN, "wait for the kernel's INIT");
	const struct fuse_in_header *head = buf.mem;
	if ((size_t)r < sizeof(*head) || r > INIT_MESSAGE_MAX || head->opcode != FUSE_INIT)
		return err_say(err, -EPROTO, "wait for the kernel's INIT: another message came");
	r = file_pwrite(init_fd, buf.mem, (size_t)r, 0);
	if (r < 0)
		return err_set(err, r, "keep the kernel's INIT");
	fuse_session_process_buf(server->session, &buf);
	return 0;
}

static int take_over(struct server *server, const char *message, size_t n, struct err *err)
{
	char copy[INIT_MESSAGE_MAX];
	memcpy(copy, message, n);
	struct fuse_buf buf = {.size = n, .mem = copy};
	/* The kernel does not know this request any more and ignores the answer (ENOENT). */
	fuse_session_process_buf(server->session, &buf);
	counter_add(&server->counters->takeovers, 1);
	return ask_resend(server, err);
}

int server_start(struct server *server, int fuse_fd, int init_fd, struct err *err)
{
	int r = session_open(server, fuse_fd, err);
	if (r < 0)
		return r;
	char message[INIT_MESSAGE_MAX];
	ssize_t n = file_pread(init_fd, message, sizeof(message), 0);
	if (n < 0)
		return err_set(err, (int)n, "read the kernel's INIT");
	r = n > 0 ? take_over(server, message, (size_t)n, err) : init_first(server, init_fd, err);
	if (r < 0)
		return r;
	r = threads_start(server);
	if (r < 0)
		return err_set(err, r, "start the FUSE server's threads");
	return 0;
}

/* Of a socket the end of its peer; what a peer says is not for us. Of a pidfd its only event. */
static short lost_events(int fd)
{
	struct stat st;
	return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? POLLRDHUP : POLLIN;
}

int server_wait(struct server *server, int stop_fd, int lost_fd, struct err *err)
{
	struct pollfd fds[] = {{.fd = server->end_fd, .events = POLLIN},
			       {.fd = stop_fd, .events = POLLIN},
			       {.fd = server->look_fd, .events = POLLIN},
			       {.fd = lost_fd, .events = lost_events(lost_fd)}};
	for (;;) {
		deadline_t next = server_read_look(server);
		int wait = next == 0 ? -1 : (int)deadline_left_ms(next, SERVER_LOOK_MS);
		int n = poll(fds, ARRAY_LEN(fds), wait);
		if (n < 0 && errno != EINTR)
			return err_set(err, -errno, "wait for the end of the mount");
		if (n > 0 && (fds[0].revents || fds[1].revents))
			return 0;
		if (n > 0 && fds[3].revents)
			return 1;
		eventfd_t said;
		(void)eventfd_read(server->look_fd, &said);
	}
}

void server_stop(struct server *server, uint64_t drain_ms)
{
	threads_stop(server);
	server_read_drain(server, drain_ms);
}

/*
 * libfuse keeps an INTERRUPT that overtook the answer to its request until some
 * later request comes by, and forgets to free it at the end of the session. A
 * FORGET of nothing is a request that is not answered, and takes one along.
 */
static void interrupts_finish(struct server *server)
{
	unsigned int n = atomic_load(&server->n_interrupts);
	for (unsigned int i = 0; i < n && i < INTERRUPTS_LEFT_MAX; i++) {
		struct {
			struct fuse_in_header head;
			struct fuse_forget_in body;
		} message = {.head = {.len = sizeof(message), .opcode = FUSE_FORGET}};
		struct fuse_buf buf = {.size = sizeof(message), .mem = &message};
		fuse_session_process_buf(server->session, &buf);
	}
}

void server_destroy(struct server *server)
{
	if (!server)
		return;
	server_stop(server, 0);
	if (server->session) {
		interrupts_finish(server);
		fuse_session_destroy(server->session);
	}
	server_unref(server);
}
