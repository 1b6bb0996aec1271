/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>

void clock_sleep_ms(uint64_t ms, deadline_t deadline)
{
	struct timespec until = deadline_timespec(deadline_earlier(deadline_in_ms(ms), deadline));
	if (ms == 0)
		return;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}
