/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cancel.h"

#include <stdatomic.h>
#include <sys/eventfd.h>

struct cancel {
	atomic_bool fired;
	int fd; /* owned: an eventfd */
};

int cancel_create(struct cancel **ret, struct err *err)
{
	AUTO_FREE struct cancel *cancel = calloc(1, sizeof(*cancel));
	if (!cancel)
		return err_set(err, -ENOMEM, "prepare a cancellation");
	cancel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (cancel->fd < 0)
		return err_set(err, -errno, "prepare a cancellation");
	*ret = steal_ptr(&cancel);
	return 0;
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
	return cancel && atomic_load(&cancel->fired);
}

int cancel_fd(const struct cancel *cancel)
{
	return cancel ? cancel->fd : -1;
}
