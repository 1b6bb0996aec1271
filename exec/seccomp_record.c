/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_record.h"

#include <errno.h>
#include <jansson.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/seccomp_arch.h"

enum {
	NUMBERS_MAX = 8192, /* of a table of system calls; MIPS begins at 4000 */
	MESSAGE_MAX = 64 << 10,
	MESSAGE_SECONDS_MAX = 5, /* from the connection to its message */
	POLL_FIXED = 2,		 /* the socket, the end */
};

/* runc needs them between loading a filter and handing its listener over. */
static const char *const always[] = {"write",	"seccomp",    "close",
				     "sendmsg", "exit_group", "rt_sigreturn"};

struct seccomp_recorder {
	struct sockaddr_un address;
	int socket;
	enum seccomp_arch native;
	int listeners[SECCOMP_LISTENERS_MAX];
	size_t n_listeners;
	bool any; /* a listener came */
	bool seen[SECCOMP_ARCH_COUNT][NUMBERS_MAX];
	struct seccomp_notif *request;	     /* owned */
	struct seccomp_notif_resp *response; /* owned */
};

void seccomp_recorder_destroy(struct seccomp_recorder *recorder)
{
	if (!recorder)
		return;
	for (size_t i = 0; i < recorder->n_listeners; i++)
		(void)close(recorder->listeners[i]);
	if (recorder->socket >= 0) {
		(void)close(recorder->socket);
		(void)unlink(recorder->address.sun_path);
	}
	seccomp_notify_free(recorder->request, recorder->response);
	free(recorder);
}

static int listen_at(struct seccomp_recorder *recorder, const char *path)
{
	if (strlen(path) >= sizeof(recorder->address.sun_path))
		return -ENAMETOOLONG;
	recorder->address.sun_family = AF_UNIX;
	memcpy(recorder->address.sun_path, path, strlen(path) + 1);
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    bind(fd, (const struct sockaddr *)&recorder->address, sizeof(recorder->address)) < 0)
		return -errno;
	recorder->socket = steal_fd(&fd);
	return listen(recorder->socket, SECCOMP_LISTENERS_MAX) < 0 ? -errno : 0;
}

int seccomp_recorder_create(const char *socket, struct seccomp_recorder **ret, struct err *err)
{
	AUTO(seccomp_recorder) struct seccomp_recorder *recorder = calloc(1, sizeof(*recorder));
	if (!recorder)
		return err_set(err, -ENOMEM, "record system calls");
	recorder->socket = -1;
	int r = seccomp_arch_of_host(&recorder->native);
	if (r == 0)
		r = seccomp_notify_alloc(&recorder->request, &recorder->response);
	if (r < 0)
		return err_set(err, r, "record system calls");
	r = listen_at(recorder, socket);
	if (r < 0)
		return err_set(err, r, "listen at %s", socket);
	*ret = steal_ptr(&recorder);
	return 0;
}

static bool is_always(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		if (strcmp(always[i], name) == 0)
			return true;
	return false;
}

/* The architectures of programs that this machine runs. */
static size_t find_arches(enum seccomp_arch native, enum seccomp_arch ret[static 3])
{
	size_t n = 0;
	ret[n++] = native;
	if (native == SECCOMP_ARCH_X86_64) {
		ret[n++] = SECCOMP_ARCH_X86;
		ret[n++] = SECCOMP_ARCH_X32;
	} else if (native == SECCOMP_ARCH_AARCH64) {
		ret[n++] = SECCOMP_ARCH_ARM;
	}
	return n;
}

/* A name that the caller frees, NULL for a number without one. */
static char *name_of(enum seccomp_arch arch, int nr)
{
	int number = (int)((uint32_t)nr | seccomp_arch_nr_bit(arch));
	return seccomp_syscall_resolve_num_arch(seccomp_arch_token(arch), number);
}

/* All names of an architecture that can notify, or those that were seen. */
static int add_names(const struct seccomp_recorder *recorder, enum seccomp_arch arch, bool seen,
		     json_t *names)
{
	for (int nr = 0; nr < NUMBERS_MAX; nr++) {
		if (seen && !recorder->seen[arch][nr])
			continue;
		char *name = name_of(arch, nr);
		bool wanted = name && !is_always(name);
		/* An object keeps each name once. */
		int r = wanted ? json_object_set_new(names, name, json_true()) : 0;
		free(name);
		if (r < 0)
			return -ENOMEM;
	}
	return 0;
}

static int put_names(const json_t *names, struct buf *out)
{
	const char *between = "";
	int r = 0;
	for (void *at = json_object_iter((json_t *)(uintptr_t)names); at && r == 0;
	     at = json_object_iter_next((json_t *)(uintptr_t)names, at)) {
		r = buf_printf(out, "%s\n   \"%s\"", between, json_object_iter_key(at));
		between = ",";
	}
	return r;
}

int seccomp_recorder_profile(const struct seccomp_recorder *recorder, struct buf *out,
			     struct err *err)
{
	enum seccomp_arch arches[3];
	size_t n = find_arches(recorder->native, arches);
	AUTO_JSON json_t *names = json_object();
	AUTO_JSON json_t *path = json_string(recorder->address.sun_path);
	AUTO_FREE char *quoted = path ? json_dumps(path, JSON_ENCODE_ANY) : NULL;
	int r = names && quoted ? 0 : -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_names(recorder, arches[i], false, names);
	if (r == 0)
		r = buf_printf(out,
			       "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"listenerPath\": %s, "
			       "\"architectures\": [",
			       quoted);
	for (size_t i = 0; i < n && r == 0; i++)
		r = buf_printf(out, "%s\"%s\"", i ? ", " : "", seccomp_arch_name(arches[i]));
	if (r == 0)
		r = buf_puts(out,
			     "],\n \"syscalls\": [{\"action\": \"SCMP_ACT_NOTIFY\", \"names\": [");
	if (r == 0)
		r = put_names(names, out);
	if (r == 0)
		r = buf_puts(out, "]}]}\n");
	return r < 0 ? err_set(err, r, "make a profile to record with") : 0;
}

static bool was_seen(const struct seccomp_recorder *recorder, enum seccomp_arch arch)
{
	return memchr(recorder->seen[arch], true, NUMBERS_MAX) != NULL;
}

int seccomp_recorder_result(const struct seccomp_recorder *recorder, struct buf *out,
			    struct err *err)
{
	AUTO_JSON json_t *names = json_object();
	int r = names ? 0 : -ENOMEM;
	if (!recorder->any)
		return err_say(err, -ENODATA,
			       "nothing was recorded: the runtime did not hand over "
			       "a listener");
	if (r == 0)
		r = buf_printf(out,
			       "{\n \"defaultAction\": \"SCMP_ACT_ERRNO\",\n"
			       " \"defaultErrnoRet\": %d,\n \"architectures\": [\"%s\"",
			       ENOSYS, seccomp_arch_name(recorder->native));
	for (int i = 0; i < SECCOMP_ARCH_COUNT && r == 0; i++) {
		enum seccomp_arch arch = (enum seccomp_arch)i;
		r = add_names(recorder, arch, true, names);
		if (r == 0 && arch != recorder->native && was_seen(recorder, arch))
			r = buf_printf(out, ", \"%s\"", seccomp_arch_name(arch));
	}
	for (size_t i = 0; i < ARRAY_LEN(always) && r == 0; i++)
		r = json_object_set_new(names, always[i], json_true()) < 0 ? -ENOMEM : 0;
	if (r == 0)
		r = buf_puts(
			out,
			"],\n \"syscalls\": [\n  {\"action\": \"SCMP_ACT_ALLOW\", \"names\": [");
	if (r == 0)
		r = put_names(names, out);
	if (r == 0)
		r = buf_puts(out, "]}\n ]\n}\n");
	return r < 0 ? err_set(err, r, "write the profile") : 0;
}

static void note(struct seccomp_recorder *recorder, const struct seccomp_data *data)
{
	uint32_t nr = (uint32_t)data->nr;
	for (int i = 0; i < SECCOMP_ARCH_COUNT; i++) {
		enum seccomp_arch arch = (enum seccomp_arch)i;
		uint32_t bit = seccomp_arch_nr_bit(arch);
		uint32_t own = nr & ~bit;
		if (seccomp_arch_audit(arch) == data->arch && (nr & bit) == bit &&
		    own < NUMBERS_MAX)
			recorder->seen[arch][own] = true;
	}
}

/* -ENOENT is fine: the caller was killed, or a signal took it out of the call. */
static int let_go_on(struct seccomp_recorder *recorder, int listener)
{
	memset(recorder->request, 0, sizeof(*recorder->request));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, recorder->request) < 0)
		return errno == ENOENT || errno == EINTR ? 0 : -errno;
	note(recorder, &recorder->request->data);
	memset(recorder->response, 0, sizeof(*recorder->response));
	recorder->response->id = recorder->request->id;
	recorder->response->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, recorder->response) < 0)
		return errno == ENOENT || errno == EINTR ? 0 : -errno;
	return 0;
}

/* The one descriptor of a message; -1: none. Further ones are closed. */
static int take_fd(struct msghdr *message)
{
	int taken = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd = -1;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (taken < 0)
				taken = fd;
			else
				(void)close(fd);
		}
	}
	return taken;
}

/* One connection carries one message: the container's state, with the listener. */
static int take_listener(struct seccomp_recorder *recorder, struct err *err)
{
	AUTO_CLOSE int fd = accept4(recorder->socket, NULL, NULL, SOCK_CLOEXEC);
	AUTO_FREE char *text = malloc(MESSAGE_MAX);
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)];
	struct iovec part = {.iov_base = text, .iov_len = MESSAGE_MAX};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	if (fd < 0 || !text)
		return err_set(err, fd < 0 ? -errno : -ENOMEM, "accept the runtime");
	const struct timeval patience = {.tv_sec = MESSAGE_SECONDS_MAX};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return err_set(err, -errno, "accept the runtime");
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return err_set(err, -errno, "hear the runtime");
	AUTO_CLOSE int listener = take_fd(&message);
	if (listener < 0)
		return err_say(err, -ECOMM, "the runtime sent no listener");
	if (recorder->n_listeners == SECCOMP_LISTENERS_MAX)
		return err_say(err, -E2BIG, "more than %d filters at once", SECCOMP_LISTENERS_MAX);
	recorder->listeners[recorder->n_listeners++] = steal_fd(&listener);
	recorder->any = true;
	return 0;
}

/* What came in at the listeners; those whose last process is gone are closed. */
static int serve_listeners(struct seccomp_recorder *recorder, const struct pollfd *polled, size_t n)
{
	size_t kept = 0;
	int r = 0;
	for (size_t i = 0; i < n; i++) {
		int fd = recorder->listeners[i];
		if (r == 0 && (polled[i].revents & POLLIN))
			r = let_go_on(recorder, fd);
		else if (polled[i].revents & (POLLHUP | POLLERR | POLLNVAL)) {
			(void)close(fd);
			continue;
		}
		recorder->listeners[kept++] = fd;
	}
	recorder->n_listeners = kept;
	return r;
}

static int serve(struct seccomp_recorder *recorder, int stop_fd, struct err *err)
{
	struct pollfd polled[POLL_FIXED + SECCOMP_LISTENERS_MAX];
	for (;;) {
		size_t n = recorder->n_listeners;
		polled[0] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
		polled[1] = (struct pollfd){.fd = recorder->socket, .events = POLLIN};
		for (size_t i = 0; i < n; i++)
			polled[POLL_FIXED + i] =
				(struct pollfd){.fd = recorder->listeners[i], .events = POLLIN};
		if (poll(polled, (nfds_t)(POLL_FIXED + n), -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_set(err, -errno, "wait for system calls");
		}
		int r = serve_listeners(recorder, polled + POLL_FIXED, n);
		if (r < 0)
			return err_set(err, r, "record a system call");
		if (polled[1].revents & POLLIN)
			r = take_listener(recorder, err);
		if (r < 0 || (polled[0].revents & POLLIN))
			return r;
	}
}

int seccomp_recorder_serve(struct seccomp_recorder *recorder, int stop_fd, struct err *err)
{
	int r = serve(recorder, stop_fd, err);
	/* Whoever waits for an answer that will not come gets ENOSYS now. */
	for (size_t i = 0; r < 0 && i < recorder->n_listeners; i++)
		(void)close(recorder->listeners[i]);
	if (r < 0)
		recorder->n_listeners = 0;
	return r;
}
