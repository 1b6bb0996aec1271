/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fdpass.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))]; /* the kernel closes what does not fit */
};

int fdpass_send(int sock, const void *data, size_t n, int fd)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = n};
	union control control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	ssize_t sent;
	do {
		sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* The one descriptor that came, or -1. Padding leaves room for a second, which is then closed. */
static int fdpass_take(struct cmsghdr *head)
{
	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
		return -1;
	int fd = -1;
	size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(fd);
	for (size_t i = 0; i < count; i++) {
		memcpy(&fd, CMSG_DATA(head) + i * sizeof(fd), sizeof(fd));
		if (count > 1)
			(void)close(fd);
	}
	return count == 1 ? fd : -1;
}

ssize_t fdpass_receive(int sock, void *data, size_t n, int flags, int *ret_fd)
{
	struct iovec iov = {.iov_base = data, .iov_len = n};
	union control control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t got;
	do {
		got = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	*ret_fd = fdpass_take(CMSG_FIRSTHDR(&msg));
	return got;
}
