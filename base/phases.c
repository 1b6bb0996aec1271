/* SPDX-License-Identifier: Apache-2.0 */
#include "base/phases.h"

#include <stdlib.h>

#include "base/clock.h"

struct phases {
	uint64_t begun;
	phases_look_fn look;
	void *data; /* borrowed */
	size_t n;
	struct phase list[PHASES_MAX];
};

struct phases *phases_create(uint64_t begun_ns, phases_look_fn look, void *data)
{
	struct phases *phases = calloc(1, sizeof(*phases));
	if (phases) {
		phases->begun = begun_ns;
		phases->look = look;
		phases->data = data;
	}
	return phases;
}

void phases_destroy(struct phases *phases)
{
	free(phases);
}

void phases_mark_at(struct phases *phases, const char *name, uint64_t ns)
{
	if (!phases || phases->n == PHASES_MAX)
		return;
	struct phase *phase = &phases->list[phases->n++];
	*phase = (struct phase){.name = name, .ns = ns};
	if (phases->look)
		phases->look(phases->data, phase);
}

void phases_mark(struct phases *phases, const char *name)
{
	if (phases)
		phases_mark_at(phases, name, clock_now_ns());
}

void phases_mark_result(struct phases *phases, const char *name, int r)
{
	if (r >= 0)
		phases_mark(phases, name);
}

uint64_t phases_begun(const struct phases *phases)
{
	return phases ? phases->begun : 0;
}

size_t phases_count(const struct phases *phases)
{
	return phases ? phases->n : 0;
}

const struct phase *phases_get(const struct phases *phases, size_t i)
{
	return &phases->list[i];
}
