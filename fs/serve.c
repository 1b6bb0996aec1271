/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include "base/log.h"
#include "fs/holder_priv.h"

void holder_serve_failed(const struct err *err)
{
	(void)holder_send(HOLDER_FD_CONTROL, HOLDER_FAILED, err, -1);
}

/* Waits for GO: 1 with the connection; 0 when SIGTERM came first, or the holder is gone. */
static int wait_for_go(int signal_fd, int *ret_fuse, struct err *err)
{
	struct pollfd fds[] = {{.fd = HOLDER_FD_CONTROL, .events = POLLIN},
			       {.fd = signal_fd, .events = POLLIN}};
	while (poll(fds, 2, -1) < 0) {
		if (errno != EINTR)
			return err_set(err, -errno, "wait for the holder");
	}
	if (fds[1].revents)
		return 0;
	struct holder_msg msg;
	int fd = -1;
	int r = holder_receive(HOLDER_FD_CONTROL, &msg, &fd);
	if (r == -ECONNRESET)
		return 0;
	if (r < 0)
		return err_set(err, r, "wait for the holder");
	if (msg.word != HOLDER_GO || fd < 0) {
		cleanup_close(&fd);
		return err_say(err, -EPROTO, "the holder said something else than GO");
	}
	*ret_fuse = fd;
	return 1;
}

int holder_serve_await(int *ret_fd, struct err *err)
{
	struct holder_msg msg;
	int fd = -1;
	int r = holder_receive(HOLDER_FD_CONTROL, &msg, &fd);
	if (r < 0)
		return err_set(err, r == -ECONNRESET ? -ECANCELED : r, "wait for what is mounted");
	if (msg.word != HOLDER_PREPARED) {
		cleanup_close(&fd);
		return err_say(err, -EPROTO, "the holder said something else than PREPARED");
	}
	*ret_fd = fd;
	return 0;
}

int holder_serve_prepare(struct err *err)
{
	(void)prctl(PR_SET_NAME, "sluice-server");
	sigset_t stop;
	(void)sigemptyset(&stop);
	(void)sigaddset(&stop, SIGTERM);
	(void)sigaddset(&stop, HOLDER_READY_SIGNAL);
	int r = -pthread_sigmask(SIG_BLOCK, &stop, NULL);
	return r < 0 ? err_set(err, r, "prepare to serve") : 0;
}

/*
 * Until the mount is gone, or SIGTERM. A holder that dies takes nothing along,
 * but with it the next crash would be the last one: somebody is told.
 */
static int serve_to_the_end(struct server *server, int signal_fd,
			    const struct holder_orphan *orphan, struct err *err)
{
	int lost_fd = HOLDER_FD_CONTROL;
	for (;;) {
		int r = server_wait(server, signal_fd, lost_fd, err);
		if (r <= 0)
			return r;
		lost_fd = orphan ? orphan->lost(orphan->data) : -1;
	}
}

int holder_serve(const struct server_config *config, const struct holder_orphan *orphan,
		 struct err *err)
{
	sigset_t stop;
	(void)sigemptyset(&stop);
	(void)sigaddset(&stop, SIGTERM);
	AUTO_CLOSE int signal_fd = signalfd(-1, &stop, SFD_CLOEXEC);
	if (signal_fd < 0)
		return err_set(err, -errno, "serve");

	AUTO(server) struct server *server = NULL;
	int r = server_create(config, &server, err);
	if (r < 0)
		return r;
	r = holder_send(HOLDER_FD_CONTROL, HOLDER_READY, NULL, -1);
	if (r < 0)
		return err_set(err, r, "tell the holder");
	AUTO_CLOSE int got = -1;
	r = wait_for_go(signal_fd, &got, err);
	if (r <= 0)
		return r;
	/* A known number, for a new holder to take it from (holder_adopt()). */
	if (got != HOLDER_FD_FUSE && dup3(got, HOLDER_FD_FUSE, O_CLOEXEC) < 0)
		return err_set(err, -errno, "keep the connection");
	if (got == HOLDER_FD_FUSE)
		(void)steal_fd(&got);
	r = server_start(server, HOLDER_FD_FUSE, HOLDER_FD_INIT, err);
	if (r < 0)
		return r;
	(void)holder_send(HOLDER_FD_CONTROL, HOLDER_SERVING, NULL, -1);
	r = serve_to_the_end(server, signal_fd, orphan, err);
	if (r < 0)
		return r;
	server_stop(server, SERVER_DRAIN_MS);
	return 0;
}
