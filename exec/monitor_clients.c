/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/le.h"
#include "base/num.h"
#include "exec/monitor_priv.h"

enum {
	BACKLOG = 16,
	RECORD_HEAD = 5,     /* le32 length of what follows the word, word */
	QUEUE_RESERVE = 256, /* room beyond ATTACH_QUEUE_MAX for LOST and EXIT */
};

int clients_listen(struct clients *clients, int dirfd, struct err *err)
{
	/* Of a monitor that was killed: the lock says that it is gone. */
	if (unlinkat(dirfd, CONTAINER_ATTACH, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "make the attach socket");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dirfd,
		       CONTAINER_ATTACH);
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return err_set(err, -errno, "make the attach socket");
	clients->listening = steal_fd(&fd);
	return 0;
}

static void client_free(struct client *client)
{
	list_remove(&client->link);
	cleanup_close(&client->fd);
	buf_finish(&client->queue);
	free(client);
}

void clients_finish(struct clients *clients, int dirfd)
{
	struct client *client, *next;
	list_for_each_safe(client, next, &clients->list, link)
		client_free(client);
	if (clients->listening >= 0)
		(void)unlinkat(dirfd, CONTAINER_ATTACH, 0);
	cleanup_close(&clients->listening);
	clients->listening = -1;
	clients->n = 0;
}

struct client *clients_add(struct clients *clients, int fd)
{
	struct client *client = clients->n < ATTACH_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		(void)close(fd);
		return NULL;
	}
	client->fd = fd;
	client->queue = buf_make(ATTACH_QUEUE_MAX + ATTACH_DATA_MAX + QUEUE_RESERVE);
	list_append(&clients->list, &client->link);
	clients->n++;
	return client;
}

void clients_accept(struct clients *clients)
{
	int fd = accept4(clients->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		(void)clients_add(clients, fd);
}

/* Sends as many of the queued messages as the socket takes. */
static size_t send_queued(struct client *client)
{
	size_t at = 0;
	while (!client->gone && at < client->queue.len) {
		const char *record = client->queue.data + at;
		size_t n = le32_get(record) + (size_t)1;
		ssize_t sent = send(client->fd, record + RECORD_HEAD - 1, n,
				    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			break;
		client->gone = sent < 0;
		at += RECORD_HEAD - 1 + n;
	}
	return at;
}

static int queue_add(struct client *client, enum attach_word word, const void *data, size_t n)
{
	unsigned char head[RECORD_HEAD];
	le32_put(head, (uint32_t)n);
	head[RECORD_HEAD - 1] = (unsigned char)word;
	int r = buf_reserve(&client->queue, sizeof(head) + n);
	if (r == 0)
		r = buf_append(&client->queue, head, sizeof(head));
	return r < 0 ? r : buf_append(&client->queue, data, n);
}

void client_flush(struct client *client)
{
	size_t sent = client->queue.len > 0 ? send_queued(client) : 0;
	if (sent > 0) {
		buf_shift(&client->queue, sent);
		client->patience = 0;
	}
	if (client->queue.len == 0 && client->lost > 0) {
		unsigned char lost[8];
		le64_put(lost, client->lost);
		client->lost = 0;
		(void)queue_add(client, ATTACH_LOST, lost, sizeof(lost));
		(void)buf_shift(&client->queue, send_queued(client));
	}
}

void client_send(struct client *client, enum attach_word word, const void *data, size_t n)
{
	if (client->gone)
		return;
	/* Without memory there is nothing better than to let it go. */
	if (queue_add(client, word, data, n) < 0)
		client->gone = true;
	client_flush(client);
}

void clients_output(struct clients *clients, enum attach_word word, const void *data, size_t n)
{
	struct client *client;
	list_for_each(client, &clients->list, link) {
		if (!client->output || client->gone)
			continue;
		if (client->lost > 0 || client->queue.len >= ATTACH_QUEUE_MAX)
			client->lost += n;
		else
			client_send(client, word, data, n);
	}
}

void clients_tell(struct clients *clients, enum attach_word word, const void *data, size_t n)
{
	struct client *client;
	list_for_each(client, &clients->list, link)
		client_send(client, word, data, n);
}

bool clients_full(struct clients *clients, deadline_t *next)
{
	bool full = false;
	struct client *client;
	list_for_each(client, &clients->list, link) {
		if (client->gone || !client->output || client->lost > 0 ||
		    client->queue.len < ATTACH_QUEUE_MAX)
			continue;
		if (client->patience == 0)
			client->patience = deadline_in_ms(ATTACH_STALL_MS);
		if (deadline_passed(client->patience))
			continue; /* what comes now is lost for it */
		full = true;
		*next = deadline_earlier(*next, client->patience);
	}
	return full;
}

void clients_sweep(struct clients *clients)
{
	struct client *client, *next;
	list_for_each_safe(client, next, &clients->list, link) {
		if (!client->gone)
			continue;
		client_free(client);
		clients->n--;
	}
}

void clients_farewell(struct clients *clients, uint64_t ms)
{
	deadline_t until = deadline_in_ms(ms);
	for (;;) {
		struct pollfd fds[ATTACH_CLIENTS_MAX];
		nfds_t n = 0;
		struct client *client;
		list_for_each(client, &clients->list, link) {
			client_flush(client);
			if (!client->gone && client->queue.len > 0 && n < ATTACH_CLIENTS_MAX)
				fds[n++] = (struct pollfd){.fd = client->fd, .events = POLLOUT};
		}
		uint64_t left = deadline_left_ms(until, ms);
		if (n == 0 || left == 0)
			return;
		(void)poll(fds, n, (int)left);
	}
}
