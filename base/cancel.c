/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cancel.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

struct cancel {
	atomic_bool fired;
	bool by_signals;
	int fd; /* owned: an eventfd, or a signalfd */
};

static int create(const sigset_t *set, struct cancel **ret, struct err *err)
{
	AUTO_FREE struct cancel *cancel = calloc(1, sizeof(*cancel));
	if (!cancel)
		return err_set(err, -ENOMEM, "prepare a cancellation");
	cancel->by_signals = set != NULL;
	cancel->fd = set ? signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK) :
			   eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (cancel->fd < 0)
		return err_set(err, -errno, "prepare a cancellation");
	*ret = steal_ptr(&cancel);
	return 0;
}

int cancel_create(struct cancel **ret, struct err *err)
{
	return create(NULL, ret, err);
}

int cancel_on_signals(const sigset_t *set, struct cancel **ret, struct err *err)
{
	return create(set, ret, err);
}

void cancel_destroy(struct cancel *cancel)
{
	if (!cancel)
		return;
	cleanup_close(&cancel->fd);
	free(cancel);
}

void cancel_fire(struct cancel *cancel)
{
	int saved = errno;
	/* Once is enough; and the counter, which only overflows at 2^64, never fails. */
	if (!atomic_exchange(&cancel->fired, true))
		(void)eventfd_write(cancel->fd, 1);
	errno = saved;
}

bool cancel_fired(const struct cancel *cancel)
{
	if (!cancel || !cancel->by_signals)
		return cancel && atomic_load(&cancel->fired);
	struct pollfd fd = {.fd = cancel->fd, .events = POLLIN};
	return poll(&fd, 1, 0) > 0;
}

int cancel_fd(const struct cancel *cancel)
{
	return cancel ? cancel->fd : -1;
}
