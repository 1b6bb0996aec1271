/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/link_model.h"

int64_t wire_passed(const struct wire *wire, int64_t ready, uint64_t n)
{
	int64_t start = ready > wire->free ? ready : wire->free;
	if (wire->rate == 0)
		return ready;
	return start + (int64_t)((double)n * SECOND_NS / (double)wire->rate);
}

void wire_send(struct wire *wire, int64_t ready, uint64_t n)
{
	int64_t passed = wire_passed(wire, ready, n);
	if (wire->since == 0)
		wire->since = ready;
	else if (ready > wire->free)
		wire->idle += ready - wire->free;
	wire->free = passed;
}

void window_init(struct window *w, int64_t rtt, int64_t now)
{
	*w = (struct window){.rtt = rtt, .size = WINDOW_BYTES_MIN, .last = now};
}

/* Linux's tcp_cwnd_restart(): halved for each timeout of idleness, down to what it began with. */
static void restart(struct window *w, int64_t now)
{
	int64_t rto = w->rtt + (int64_t)RTO_MIN_MS * MILLISECOND_NS, idle = now - w->last;
	uint64_t least = WINDOW_BYTES_MIN;
	for (; idle > rto && w->size > least; idle -= rto)
		w->size /= 2;
	if (w->size < least)
		w->size = least;
}

uint64_t window_room(struct window *w, int64_t now)
{
	while (w->n > 0 && w->flights[w->first].at + w->rtt <= now) {
		const struct flight *f = &w->flights[w->first];
		w->out -= f->bytes;
		if (f->full)
			w->size += f->bytes;
		if (w->size > WINDOW_BYTES_MAX)
			w->size = WINDOW_BYTES_MAX;
		w->first = (w->first + 1) % (2 * WINDOW_FLIGHTS);
		w->n--;
	}
	if (w->n == 0)
		restart(w, now);
	return w->size > w->out ? w->size - w->out : 0;
}

int64_t window_opens(const struct window *w)
{
	return w->n > 0 ? w->flights[w->first].at + w->rtt : w->last;
}

void window_send(struct window *w, int64_t now, uint64_t n, bool more)
{
	uint32_t last = (w->first + w->n + 2 * WINDOW_FLIGHTS - 1) % (2 * WINDOW_FLIGHTS);
	w->out += n;
	w->last = now;
	/* As tcp_is_cwnd_limited(): half of it is enough. */
	bool full = more || 2 * w->out >= w->size;
	if (w->n > 0 &&
	    (now - w->flights[last].at < w->rtt / WINDOW_FLIGHTS || w->n == 2 * WINDOW_FLIGHTS)) {
		w->flights[last].bytes += n;
		w->flights[last].full |= full;
		return;
	}
	w->flights[(last + 1) % (2 * WINDOW_FLIGHTS)] =
		(struct flight){.at = now, .bytes = n, .full = full};
	w->n++;
}
