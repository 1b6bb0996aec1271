/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/holder.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/holder_priv.h"

/* A server, as the holder sees it. */
struct child {
	pid_t pid;	    /* 0: there is none */
	int pidfd;	    /* owned */
	int control;	    /* owned; -1 once it is of no more use */
	bool ready;	    /* said READY, waits for GO */
	bool adopted;	    /* not our child: cannot be waited for */
	deadline_t killed_at; /* SIGKILL when it is still there; 0: never */
};

struct holder {
	const struct holder_config *config;
	int fuse_fd;	/* owned: the connection; -1 until mounted */
	int init_fd;	/* owned */
	int program_fd; /* owned: what the current server runs */
	int next_fd;	/* owned: what the next one runs, while it prepares */
	int signal_fd;	/* owned */
	int status_fd;	/* owned; -1 once told */
	struct child now;
	struct child next; /* of an upgrade */
	uint64_t crashes[HOLDER_CRASHES_MAX]; /* when, the latest first */
	unsigned int n_crashes;		      /* in a row, each close to the one before */
	bool ahead;	   /* what is to be mounted is still being prepared */
	bool served;	   /* the mount is there, and whoever waited for it was told */
	bool leaving;	   /* an unmount was asked for */
	bool over;	   /* the connection is gone, or given up */
};

static void child_forget(struct child *child)
{
	cleanup_close(&child->pidfd);
	cleanup_close(&child->control);
	*child = (struct child){.pidfd = -1, .control = -1};
}

static void child_signal(const struct child *child, int sig)
{
	if (child->pid > 0)
		(void)pidfd_send_signal(child->pidfd, sig, NULL, 0);
}

/* Starts a server. 0 or -errno. */
static int child_start(struct holder *h, int program_fd, struct child *ret)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	AUTO_CLOSE int mine = pair[0];
	AUTO_CLOSE int theirs = pair[1];
	struct holder_exec exec = {.program_fd = program_fd,
				   .argv = h->ahead ? h->config->ahead : h->config->argv,
				   .envp = h->config->envp, .control = theirs,
				   .again = h->fuse_fd < 0 ? h->config->again : NULL,
				   .init = h->init_fd, .log = -1};
	pid_t pid;
	int r = holder_fork(&exec, &pid);
	if (r < 0)
		return r;
	int pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		r = -errno;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return r;
	}
	*ret = (struct child){.pid = pid, .pidfd = pidfd, .control = steal_fd(&mine),
			      .killed_at = h->ahead ? 0 : deadline_in_ms(HOLDER_PREPARE_MS)};
	return 0;
}

/* Waits for a child that has ended, and says how. */
static void child_reap(struct child *child, const char *what)
{
	siginfo_t info = {0};
	if (!child->adopted && waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED) == 0) {
		if (info.si_code == CLD_EXITED)
			log_info("%s %d ended with status %d", what, child->pid, info.si_status);
		else
			log_warn("%s %d was killed by signal %d (%s)", what, child->pid,
				 info.si_status, sigdescr_np(info.si_status));
	}
	child_forget(child);
}

/* Ends a child now or soon. */
static void child_end(struct child *child, uint64_t patience_ms)
{
	if (child->pid <= 0)
		return;
	struct pollfd fd = {.fd = child->pidfd, .events = POLLIN};
	if (patience_ms > 0) {
		child_signal(child, SIGTERM);
		(void)poll(&fd, 1, (int)patience_ms);
	}
	child_signal(child, SIGKILL);
	child_reap(child, "server");
}

static bool child_ended(const struct child *child)
{
	struct pollfd fd = {.fd = child->pidfd, .events = POLLIN};
	return poll(&fd, 1, 0) > 0;
}

/* Whether the kernel has ended the connection. */
static bool connection_gone(const struct holder *h)
{
	struct pollfd fd = {.fd = h->fuse_fd};
	return h->fuse_fd >= 0 && poll(&fd, 1, 0) > 0 && (fd.revents & POLLERR);
}

/*
 * Ends the connection: with the last descriptor the kernel aborts it, and
 * whoever waits for an answer gets an error rather than none for ever.
 */
static int give_up(struct holder *h, const char *why, struct err *err)
{
	h->over = true;
	child_end(&h->next, 0);
	child_end(&h->now, 0);
	cleanup_close(&h->fuse_fd);
	h->fuse_fd = -1;
	return err_say(err, -ECONNABORTED,
		       "%s: %s; the mount is given up and answers ENOTCONN: unmount it, and mount again",
		       h->config->dir, why);
}

/* Notes a server that died, and says whether that is one too many. */
static bool crashes_too_many(struct holder *h)
{
	uint64_t now = clock_now_ns();
	unsigned int max = h->config->crashes_max ? h->config->crashes_max : HOLDER_CRASHES_MAX;
	uint64_t within = HOLDER_CRASHES_WITHIN_MS * NS_PER_MS;
	if (max > HOLDER_CRASHES_MAX) { /* a bound on the rate, for those who mean to kill */
		within = within * HOLDER_CRASHES_MAX / max;
		max = HOLDER_CRASHES_MAX;
	}
	memmove(h->crashes + 1, h->crashes, sizeof(h->crashes) - sizeof(h->crashes[0]));
	h->crashes[0] = now;
	h->n_crashes = h->n_crashes < max ? h->n_crashes + 1 : max;
	return h->n_crashes == max && now - h->crashes[max - 1] < within;
}

/* The first server is ready: now the mount may appear. */
static int holder_mount(struct holder *h, struct err *err)
{
	if (h->fuse_fd >= 0)
		return 0;
	return mount_fuse(h->config->dir, h->config->source, h->config->options, &h->fuse_fd, err);
}

/* Lets the current server, which is ready, serve. */
static int holder_go(struct holder *h, struct err *err)
{
	int r = holder_mount(h, err);
	if (r < 0)
		return r;
	h->now.ready = false;
	h->now.killed_at = 0;
	/* It may have died meanwhile: its pidfd will tell. */
	(void)holder_send(h->now.control, HOLDER_GO, NULL, h->fuse_fd);
	return 0;
}

static int on_serving(struct holder *h, struct err *err)
{
	bool first = !h->served;
	if (first) /* later another file system may be seen there */
		mount_tune(h->config->dir, MOUNT_AHEAD_FILES_KIB);
	int r = h->config->serving ? h->config->serving(h->config->data, h->now.pid, err) : 0;
	if (r < 0 && first)
		return r;
	if (r < 0) /* a full disk, say: no reason to take the mount from its readers */
		log_error("%s: note server %d: %s", h->config->dir, h->now.pid, err_text(err));
	r = h->status_fd < 0 ? 0 : holder_send(h->status_fd, HOLDER_SERVING, NULL, -1);
	if (r < 0)
		return err_set(err, r, "%s: tell whoever asked for the mount", h->config->dir);
	cleanup_close(&h->status_fd);
	h->status_fd = -1;
	h->served = true;
	return 0;
}

static int on_failed(struct holder *h, struct child *child, const struct holder_msg *msg,
		     struct err *err)
{
	if (h->fuse_fd < 0)
		return err_say(err, msg->code < 0 ? msg->code : -EIO, "%s", msg->text);
	log_error("server %d cannot serve: %s", child->pid, msg->text);
	if (msg->code == -EOPNOTSUPP && child == &h->now)
		return give_up(h, msg->text, err);
	return 0; /* it is about to exit, which is counted */
}

static int on_message(struct holder *h, struct child *child, struct err *err)
{
	struct holder_msg msg;
	if (holder_receive(child->control, &msg, NULL) < 0) {
		cleanup_close(&child->control);
		child->control = -1;
		return 0;
	}
	switch (msg.word) {
	case HOLDER_READY:
		if (child_ended(child))
			return 0; /* so that nothing is mounted for the dead */
		child->ready = true;
		if (child == &h->now)
			return holder_go(h, err);
		child->killed_at = 0;
		if (h->now.pid > 0) {
			child_signal(&h->now, SIGTERM);
			h->now.killed_at = deadline_in_ms(HOLDER_STOP_MS);
		}
		return 0;
	case HOLDER_SERVING:
		return on_serving(h, err);
	case HOLDER_FAILED:
		return on_failed(h, child, &msg, err);
	default:
		log_error("server %d talks nonsense", child->pid);
		child_signal(child, SIGKILL);
		return 0;
	}
}

/* The server of an upgrade takes the place of the one that made way or died. */
static int promote_next(struct holder *h, struct err *err)
{
	h->now = h->next;
	h->next = (struct child){.pidfd = -1, .control = -1};
	cleanup_close(&h->program_fd);
	h->program_fd = steal_fd(&h->next_fd);
	return h->now.ready ? holder_go(h, err) : 0;
}

static int on_now_ended(struct holder *h, struct err *err)
{
	/* Its last words may still be unread. */
	struct pollfd fd = {.fd = h->now.control, .events = POLLIN};
	int r = 0;
	while (r == 0 && h->now.control >= 0 && poll(&fd, 1, 0) > 0)
		r = on_message(h, &h->now, err);
	if (r < 0 || h->over)
		return r;
	child_reap(&h->now, "server");
	if (h->fuse_fd < 0)
		return err_say(err, -EIO, "the server ended before it was ready");
	if (connection_gone(h)) {
		h->over = true;
		return 0;
	}
	if (h->next.pid > 0)
		return promote_next(h, err);
	if (crashes_too_many(h))
		return give_up(h, "its server dies again and again", err);
	r = child_start(h, h->program_fd, &h->now);
	if (r < 0)
		return give_up(h, strerrordesc_np(-r), err);
	return 0;
}

static void on_next_ended(struct holder *h)
{
	log_error("%s: the upgrade failed; the old server goes on", h->config->dir);
	child_reap(&h->next, "new server");
	cleanup_close(&h->next_fd);
	h->next_fd = -1;
}

static void upgrade(struct holder *h)
{
	if (h->next.pid > 0 || h->fuse_fd < 0)
		return; /* one at a time */
	h->next_fd = open(h->config->program, O_PATH | O_CLOEXEC);
	int r = h->next_fd < 0 ? -errno : child_start(h, h->next_fd, &h->next);
	if (r == 0)
		return;
	log_error("%s: upgrade to %s: %s", h->config->dir, h->config->program, strerrordesc_np(-r));
	cleanup_close(&h->next_fd);
	h->next_fd = -1;
}

static int leave(struct holder *h, struct err *err)
{
	if (h->leaving || h->fuse_fd < 0)
		return give_up(h, "told to end at once", err);
	h->leaving = true;
	const char *dir = h->served && h->config->top ? h->config->top : h->config->dir;
	int r = mount_undo(dir, false, err);
	if (r < 0)
		r = mount_undo(dir, true, err);
	if (r < 0)
		return give_up(h, err_text(err), err);
	return 0;
}

static int on_signal(struct holder *h, struct err *err)
{
	struct signalfd_siginfo info;
	if (read(h->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	if (info.ssi_signo != SIGHUP)
		return leave(h, err);
	upgrade(h);
	return 0;
}

/* Whoever began this ahead says how it goes on, or is gone. */
static int on_launcher(struct holder *h, struct err *err)
{
	struct holder_msg msg;
	AUTO_CLOSE int fd = -1;
	int r = holder_receive(h->status_fd, &msg, &fd);
	if (r < 0 || msg.word != HOLDER_PREPARED)
		return err_say(err, -ECANCELED, "whoever asked for the mount is gone");
	h->ahead = false;
	h->now.killed_at = deadline_in_ms(HOLDER_PREPARE_MS);
	r = h->config->prepared(h->config->data, err);
	if (r < 0)
		return r;
	/* It may have died meanwhile: its pidfd will tell. */
	(void)holder_send(h->now.control, HOLDER_PREPARED, NULL, fd);
	return 0;
}

enum {
	SEE_SIGNAL,
	SEE_FUSE,
	SEE_NOW,
	SEE_NOW_SAYS,
	SEE_NEXT,
	SEE_NEXT_SAYS,
	SEE_LAUNCHER,
	SEE_ALL,
};

/* Handles what poll() saw. One event a round that ends a child, since the others then differ. */
static int holder_handle(struct holder *h, const struct pollfd *fds, struct err *err)
{
	int r = 0;
	if (fds[SEE_FUSE].revents & POLLERR) {
		h->over = true;
		return 0;
	}
	if (fds[SEE_SIGNAL].revents)
		r = on_signal(h, err);
	else if (fds[SEE_NOW].revents)
		r = on_now_ended(h, err);
	else if (fds[SEE_NOW_SAYS].revents)
		r = on_message(h, &h->now, err);
	else if (fds[SEE_LAUNCHER].revents)
		r = on_launcher(h, err);
	else if (fds[SEE_NEXT].revents)
		on_next_ended(h);
	else if (fds[SEE_NEXT_SAYS].revents)
		r = on_message(h, &h->next, err);
	if (deadline_passed(h->now.killed_at))
		child_signal(&h->now, SIGKILL);
	if (deadline_passed(h->next.killed_at))
		child_signal(&h->next, SIGKILL);
	return r;
}

static int holder_loop(struct holder *h, struct err *err)
{
	while (!h->over) {
		struct pollfd fds[SEE_ALL] = {
			[SEE_SIGNAL] = {.fd = h->signal_fd, .events = POLLIN},
			[SEE_FUSE] = {.fd = h->fuse_fd}, /* POLLERR alone */
			[SEE_NOW] = {.fd = h->now.pidfd, .events = POLLIN},
			[SEE_NOW_SAYS] = {.fd = h->now.control, .events = POLLIN},
			[SEE_NEXT] = {.fd = h->next.pidfd, .events = POLLIN},
			[SEE_NEXT_SAYS] = {.fd = h->next.control, .events = POLLIN},
			[SEE_LAUNCHER] = {.fd = h->ahead ? h->status_fd : -1, .events = POLLIN},
		};
		deadline_t next = deadline_earlier(h->now.killed_at, h->next.killed_at);
		int wait = next == 0 ? -1 : (int)deadline_left_ms(next, HOLDER_PREPARE_MS);
		if (poll(fds, SEE_ALL, wait) < 0 && errno != EINTR)
			return err_set(err, -errno, "watch over %s", h->config->dir);
		int r = holder_handle(h, fds, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int holder_init(struct holder *h, const struct holder_config *config, struct err *err)
{
	*h = (struct holder){
		.config = config, .fuse_fd = -1, .init_fd = -1, .program_fd = -1, .next_fd = -1,
		.signal_fd = -1, .status_fd = config->status_fd, .ahead = config->ahead != NULL,
		.now = {.pidfd = -1, .control = -1}, .next = {.pidfd = -1, .control = -1},
	};
	if (h->status_fd >= 0)
		(void)fcntl(h->status_fd, F_SETFD, FD_CLOEXEC);
	sigset_t mine;
	(void)sigemptyset(&mine);
	(void)sigaddset(&mine, SIGHUP);
	(void)sigaddset(&mine, SIGINT);
	(void)sigaddset(&mine, SIGTERM);
	int r = -pthread_sigmask(SIG_BLOCK, &mine, NULL);
	if (r < 0)
		return err_set(err, r, "start the holder");
	h->signal_fd = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
	if (h->signal_fd < 0)
		return err_set(err, -errno, "start the holder");
	h->program_fd = open(config->program, O_PATH | O_CLOEXEC);
	if (h->program_fd < 0)
		return err_set(err, -errno, "open %s", config->program);
	return 0;
}

/* Ends everything. */
static void holder_finish(struct holder *h, int result)
{
	/* No mount is left behind by a start that failed. */
	if (result < 0 && !h->served && h->fuse_fd >= 0)
		(void)mount_undo(h->config->dir, true, NULL);
	child_end(&h->next, 0);
	if (!h->served) { /* it is waiting for us to say something, and SIGTERM waits with it */
		cleanup_close(&h->now.control);
		h->now.control = -1;
	}
	child_end(&h->now, HOLDER_STOP_MS);
	cleanup_close(&h->fuse_fd);
	cleanup_close(&h->init_fd);
	cleanup_close(&h->program_fd);
	cleanup_close(&h->next_fd);
	cleanup_close(&h->signal_fd);
}

int holder_run(const struct holder_config *config, struct err *err)
{
	struct err own = {0};
	struct holder h;
	err = err ? err : &own;
	int r = holder_init(&h, config, err);
	if (r == 0) {
		h.init_fd = memfd_create("sluice-init", MFD_CLOEXEC);
		r = h.init_fd < 0 ? -errno : child_start(&h, h.program_fd, &h.now);
		if (r < 0)
			(void)err_set(err, r, "start the server");
	}
	if (r == 0)
		r = holder_loop(&h, err);
	holder_finish(&h, r);
	return r;
}

int holder_adopt(const struct holder_config *config, pid_t server, struct err *err)
{
	struct err own = {0};
	struct holder h;
	err = err ? err : &own;
	int r = holder_init(&h, config, err);
	if (r == 0) {
		h.now = (struct child){.pid = server, .control = -1, .adopted = true,
				       .pidfd = pidfd_open(server, 0)};
		if (h.now.pidfd >= 0)
			h.init_fd = pidfd_getfd(h.now.pidfd, HOLDER_FD_INIT, 0);
		if (h.init_fd >= 0)
			h.fuse_fd = pidfd_getfd(h.now.pidfd, HOLDER_FD_FUSE, 0);
		if (h.fuse_fd < 0) {
			r = err_set(err, -errno, "take the connection from server %d", server);
			child_forget(&h.now); /* it is not ours to end */
		}
	}
	h.served = true;
	if (r == 0)
		r = on_serving(&h, err);
	if (r == 0)
		r = holder_loop(&h, err);
	holder_finish(&h, r);
	return r;
}
