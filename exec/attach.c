/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/attach.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "base/le.h"
#include "exec/container.h"
#include "exec/driver.h"

/* Any directory's socket fits into an address through its descriptor. */
static int address(int dirfd, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dirfd,
			 CONTAINER_ATTACH);
	return n < (int)sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

int attach_connect(int dirfd, int *ret_fd, struct err *err)
{
	struct sockaddr_un addr;
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : address(dirfd, &addr);
	if (r == 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		r = -errno;
	if (r == -ECONNREFUSED || r == -ENOENT)
		return err_say(err, r, "the container has no monitor: it is not running");
	if (r < 0)
		return err_set(err, r, "talk to the container's monitor");
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int wait_for(int fd, short events, deadline_t deadline)
{
	struct driver_call call = {.deadline = deadline};
	return driver_poll(fd, events, &call);
}

int attach_send(int fd, enum attach_word word, const void *data, size_t n, deadline_t deadline)
{
	if (n > ATTACH_DATA_MAX)
		return -EMSGSIZE;
	unsigned char byte = (unsigned char)word;
	union { /* sendmsg(2) does not change what it sends */
		const void *in;
		void *out;
	} cast = {.in = data};
	struct iovec parts[2] = {
		{.iov_base = &byte, .iov_len = 1},
		{.iov_base = cast.out, .iov_len = n},
	};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = n > 0 ? 2 : 1};
	for (;;) {
		if (sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		int r = wait_for(fd, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
}

int attach_send_resize(int fd, uint16_t rows, uint16_t columns, deadline_t deadline)
{
	unsigned char data[4];
	le16_put(data, rows);
	le16_put(data + 2, columns);
	return attach_send(fd, ATTACH_RESIZE, data, sizeof(data), deadline);
}

int attach_send_signal(int fd, int sig, deadline_t deadline)
{
	unsigned char data = (unsigned char)sig;
	return attach_send(fd, ATTACH_SIGNAL, &data, 1, deadline);
}

int attach_send_stop(int fd, uint32_t kill_after_ms, deadline_t deadline)
{
	unsigned char data[4];
	le32_put(data, kill_after_ms);
	return attach_send(fd, ATTACH_STOP, data, sizeof(data), deadline);
}

int attach_receive(int fd, struct attach_message *ret, deadline_t deadline)
{
	for (;;) {
		unsigned char byte;
		struct iovec parts[2] = {
			{.iov_base = &byte, .iov_len = 1},
			{.iov_base = ret->data, .iov_len = ATTACH_DATA_MAX},
		};
		struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
		ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n > 0) {
			if (msg.msg_flags & MSG_TRUNC)
				return -EPROTO;
			ret->word = (enum attach_word)byte;
			ret->n = (size_t)n - 1;
			ret->data[ret->n] = '\0';
			return 0;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		int r = wait_for(fd, POLLIN, deadline);
		if (r < 0)
			return r;
	}
}

int attach_number(const struct attach_message *message)
{
	return message->n >= 4 ? (int)le32_get(message->data) : -1;
}

uint64_t attach_lost(const struct attach_message *message)
{
	return message->n >= 8 ? le64_get(message->data) : 0;
}
