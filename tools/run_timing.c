/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_timing.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"

static void timing_look(void *data, struct phase *phase)
{
	const struct ctx *ctx = data;
	const struct net_stats *net = ctx->net ? ctx->net : &ctx->own_net;
	phase->requests = atomic_load_explicit(&net->requests, memory_order_relaxed);
	phase->bytes = atomic_load_explicit(&net->bytes, memory_order_relaxed);
}

int run_timing_begin(struct ctx *ctx, struct phases **ret, struct err *err)
{
	struct phases *phases = phases_create(ctx->begun_ns, timing_look, ctx);
	if (!phases)
		return err_set(err, -ENOMEM, "--timing: take the time");
	ctx->phases = *ret = phases;
	return 0;
}

static double phase_ms(const struct phases *phases, const struct phase *phase)
{
	return (double)(phase->ns - phases_begun(phases)) / (double)NS_PER_MS;
}

static void tell_lines(const struct phases *phases, size_t *from)
{
	for (; *from < phases_count(phases); (*from)++) {
		const struct phase *phase = phases_get(phases, *from);
		(void)fprintf(stderr, "timing: %9.2f ms  %-10s  %llu requests, %llu bytes\n",
			      phase_ms(phases, phase), phase->name,
			      (unsigned long long)phase->requests,
			      (unsigned long long)phase->bytes);
	}
}

static void tell_json(const struct phases *phases)
{
	AUTO_JSON json_t *all = json_object();
	json_t *list = json_array();
	int r = all && list ? json_object_set(all, "phases", list) : -1;
	for (size_t i = 0; r == 0 && i < phases_count(phases); i++) {
		const struct phase *phase = phases_get(phases, i);
		r = json_array_append_new(
			list, json_pack("{s:s, s:f, s:I, s:I}", "phase", phase->name, "ms",
					phase_ms(phases, phase), "requests",
					(json_int_t)phase->requests, "bytes",
					(json_int_t)phase->bytes));
	}
	json_decref(list);
	AUTO_FREE char *text =
		r == 0 ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	if (text)
		(void)fprintf(stderr, "%s\n", text);
}

void run_timing_tell(const struct ctx *ctx, const struct phases *phases, size_t *from, bool over)
{
	if (!phases)
		return;
	if (!ctx->json)
		tell_lines(phases, from);
	else if (over)
		tell_json(phases);
}
