/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/attach.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "exec/attach.h"

enum {
	STDIN_BYTES = 16 << 10,
	SEND_MS = 30000, /* for the monitor to take a message */
};

struct attached {
	const struct attached_config *config;
	int signal_fd;		 /* owned */
	bool raw;		 /* our terminal is, and has to be put back */
	struct termios old;	 /* as it was */
	size_t keys;		 /* how many of the detach keys were just pressed */
	bool input_open;
	bool over;		 /* the exit code is there */
	bool heard;		 /* output of the container's */
	int code;
};

static const int forwarded[] = {
	SIGHUP,	 SIGINT,  SIGQUIT, SIGABRT, SIGUSR1, SIGUSR2, SIGALRM,	SIGTERM, SIGCONT,
	SIGTRAP, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ, SIGIO,	SIGPWR,	 SIGSYS,  SIGSTKFLT,
	SIGURG,	 SIGWINCH,
};

static void forwarded_set(sigset_t *set)
{
	(void)sigemptyset(set);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		(void)sigaddset(set, forwarded[i]);
	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		(void)sigaddset(set, sig);
}

int attached_block_signals(sigset_t *ret_old, struct err *err)
{
	sigset_t set;
	forwarded_set(&set);
	int r = -pthread_sigmask(SIG_BLOCK, &set, ret_old);
	return r < 0 ? err_set(err, r, "keep the signals") : 0;
}

static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

int attached_cancel(struct cancel **ret, struct err *err)
{
	sigset_t set;
	(void)sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		(void)sigaddset(&set, ends[i]);
	return cancel_on_signals(&set, ret, err);
}

int attached_signal_pending(void)
{
	sigset_t set;
	if (sigpending(&set) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (sigismember(&set, ends[i]) == 1)
			return ends[i];
	return 0;
}

int attached_parse_keys(const char *text, struct attached_config *config, struct err *err)
{
	config->n_keys = 0;
	while (*text) {
		size_t n = strcspn(text, ",");
		unsigned char key = 0;
		if (n == 1 && *text > ' ')
			key = (unsigned char)*text;
		else if (n == 6 && strncasecmp(text, "ctrl-", 5) == 0 &&
			 (strchr("@[\\]^_", text[5]) || (text[5] >= 'a' && text[5] <= 'z')))
			key = (unsigned char)text[5] & 0x1f;
		else
			n = 0;
		if (n == 0 || config->n_keys == ATTACHED_KEYS_MAX)
			return err_say(err, -EINVAL,
				       "--detach-keys does not take '%s': it wants keys such as "
				       "ctrl-p,ctrl-q, %d at most", text, ATTACHED_KEYS_MAX);
		config->keys[config->n_keys++] = key;
		text += n + (text[n] == ',');
	}
	return 0;
}

/* ---- the terminal ---- */

static int terminal_raw(struct attached *a, struct err *err)
{
	if (!a->config->tty || !a->config->interactive || isatty(STDIN_FILENO) != 1)
		return 0;
	struct termios raw;
	if (tcgetattr(STDIN_FILENO, &a->old) < 0)
		return err_set(err, -errno, "read the terminal's settings");
	raw = a->old;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
		return err_set(err, -errno, "set the terminal");
	a->raw = true;
	return 0;
}

static void terminal_back(struct attached *a)
{
	if (a->raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &a->old);
	a->raw = false;
}

/* The monitor may be gone by now; whoever reads from it will see. */
static void send_size(const struct attached *a)
{
	struct winsize size;
	if (a->config->tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		(void)attach_send_resize(a->config->fd, size.ws_row, size.ws_col,
					 deadline_in_ms(SEND_MS));
}

/* ---- what is copied ---- */

static void input_end(struct attached *a)
{
	a->input_open = false;
	(void)attach_send(a->config->fd, ATTACH_STDIN_END, NULL, 0, deadline_in_ms(SEND_MS));
}

/* How many of the bytes come before the keys that detach; *ret_found: those are there. */
static size_t find_keys(struct attached *a, const unsigned char *bytes, size_t n, bool *ret_found)
{
	const struct attached_config *c = a->config;
	*ret_found = false;
	for (size_t i = 0; i < n && c->tty && c->n_keys > 0; i++) {
		if (bytes[i] != c->keys[a->keys])
			a->keys = bytes[i] == c->keys[0];
		else
			a->keys++;
		if (a->keys == c->n_keys) {
			*ret_found = true;
			return i + 1 > c->n_keys ? i + 1 - c->n_keys : 0;
		}
	}
	return n;
}

static int on_input(struct attached *a, struct err *err)
{
	unsigned char bytes[STDIN_BYTES];
	bool detach = false;
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	/* A terminal that is gone (EIO) is an end like any other. */
	if (n <= 0) {
		input_end(a);
		return 0;
	}
	size_t keep = find_keys(a, bytes, (size_t)n, &detach);
	int r = keep > 0 ? attach_send(a->config->fd, ATTACH_STDIN, bytes, keep, 0) : 0;
	if (detach)
		return err_say(err, -ECANCELED, "detached");
	/* It does not want more, or is over: that is told by what the monitor says. */
	if (r < 0)
		a->input_open = false;
	return 0;
}

static void on_signal(struct attached *a)
{
	struct signalfd_siginfo info;
	if (read(a->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH)
		send_size(a);
	else if (info.ssi_signo != SIGURG)
		(void)attach_send_signal(a->config->fd, (int)info.ssi_signo, deadline_in_ms(SEND_MS));
}

static int on_message(struct attached *a, struct err *err)
{
	struct attach_message message;
	int r = attach_receive(a->config->fd, &message, deadline_in_ms(SEND_MS));
	if (r < 0)
		return r == -ECONNRESET && !a->over ?
			       err_say(err, r, "the container's monitor is gone; 'sluice ps -a' says more") :
			       r;
	switch (message.word) {
	case ATTACH_STDOUT:
	case ATTACH_STDERR:
		if (!a->heard)
			phases_mark(a->config->phases, "output");
		a->heard = true;
		/* A reader of ours who left is no reason to stop the container. */
		(void)file_write(message.word == ATTACH_STDOUT ? STDOUT_FILENO : STDERR_FILENO,
				 message.data, message.n);
		break;
	case ATTACH_LOST:
		log_warn("%llu bytes of output were left out: they were not read in time",
			 (unsigned long long)attach_lost(&message));
		break;
	case ATTACH_EXIT:
		phases_mark(a->config->phases, "exited");
		a->code = attach_number(&message);
		a->over = true;
		break;
	default:
		break;
	}
	return 0;
}

static int attached_loop(struct attached *a, struct err *err)
{
	for (;;) {
		struct pollfd fds[] = {
			{.fd = a->config->fd, .events = POLLIN},
			{.fd = a->signal_fd, .events = POLLIN},
			{.fd = a->input_open ? STDIN_FILENO : -1, .events = POLLIN},
		};
		int r = 0;
		if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return err_set(err, -errno, "wait for the container");
		if (fds[1].revents)
			on_signal(a);
		if (fds[0].revents)
			r = on_message(a, err);
		if (r == -ECONNRESET && a->over)
			return 0;
		if (r == 0 && fds[2].revents)
			r = on_input(a, err);
		if (r < 0)
			return r;
	}
}

int attached_run(const struct attached_config *config, int *ret_code, struct err *err)
{
	struct attached a = {.config = config, .signal_fd = -1, .input_open = config->interactive};
	sigset_t set;
	forwarded_set(&set);
	AUTO_CLOSE int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return err_set(err, -errno, "wait for signals");
	a.signal_fd = signal_fd;
	int r = terminal_raw(&a, err);
	if (r < 0)
		return r;
	send_size(&a);
	r = attached_loop(&a, err);
	terminal_back(&a);
	if (r == 0)
		*ret_code = a.code;
	return r;
}
