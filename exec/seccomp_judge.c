/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_judge.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>

#include "exec/seccomp_bpf.h"
#include "exec/seccomp_compile.h"

enum {
	NUMBERS_END = 8000, /* past the numbers of every architecture but ARM's private ones */
	EDGES_MAX = 96,	    /* values of one argument that are tried */
	EDGES_OF_COND = 8,
};

struct seccomp_judge {
	struct seccomp_filter *filter;
	struct buf code;
};

void seccomp_judge_destroy(struct seccomp_judge *judge)
{
	if (!judge)
		return;
	seccomp_filter_destroy(judge->filter);
	buf_finish(&judge->code);
	free(judge);
}

int seccomp_judge_create(const struct seccomp_profile *profile, const struct seccomp_target *target,
			 struct seccomp_judge **ret, struct err *err)
{
	AUTO(seccomp_judge) struct seccomp_judge *judge = calloc(1, sizeof(*judge));
	if (!judge)
		return err_set(err, -ENOMEM, "judge system calls");
	judge->code = buf_make(SECCOMP_BPF_BYTES_MAX);
	int r = seccomp_resolve(profile, target, &judge->filter, err);
	if (r == 0 && !profile->disabled)
		r = seccomp_compile(judge->filter, &judge->code, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&judge);
	return 0;
}

const struct seccomp_filter *seccomp_judge_filter(const struct seccomp_judge *judge)
{
	return judge->filter;
}

size_t seccomp_judge_insns(const struct seccomp_judge *judge)
{
	return judge->code.len / SECCOMP_BPF_INSN_BYTES;
}

bool seccomp_call_matches(const struct seccomp_call *call, const uint64_t args[static SECCOMP_ARGS])
{
	for (size_t i = 0; i < call->n_conds; i++) {
		const struct seccomp_cond *cond = &call->conds[i];
		uint64_t got = args[cond->index];
		const bool holds[SECCOMP_OP_COUNT] = {
			[SECCOMP_OP_NE] = got != cond->value,
			[SECCOMP_OP_LT] =
				got<cond->value, [SECCOMP_OP_LE] = got <= cond->value,
				    [SECCOMP_OP_EQ] = got == cond->value,
				    [SECCOMP_OP_GE] = got >= cond->value, [SECCOMP_OP_GT] = got>
					cond->value,
			[SECCOMP_OP_MASKED_EQ] = (got & cond->value) == cond->value_two,
		};
		if (!holds[cond->op])
			return false;
	}
	return true;
}

int seccomp_call_text(const struct seccomp_call *call, struct buf *out)
{
	static const char *const signs[SECCOMP_OP_COUNT] = {
		[SECCOMP_OP_NE] = "!=", [SECCOMP_OP_LT] = "<",	[SECCOMP_OP_LE] = "<=",
		[SECCOMP_OP_EQ] = "==", [SECCOMP_OP_GE] = ">=", [SECCOMP_OP_GT] = ">",
	};
	int r = 0;
	for (size_t i = 0; i < call->n_conds && r == 0; i++) {
		const struct seccomp_cond *cond = &call->conds[i];
		const char *and = i ? " and " : "";
		r = cond->op == SECCOMP_OP_MASKED_EQ
			    ? buf_printf(out, "%sarg%u & %#" PRIx64 " == %#" PRIx64, and,
					 cond->index, cond->value, cond->value_two)
			    : buf_printf(out, "%sarg%u %s %" PRIu64, and, cond->index,
					 signs[cond->op], cond->value);
	}
	return r;
}

/* The number without the bit of x32; of a call with two ways in, the one of its own. */
static int find_nr(enum seccomp_arch arch, const char *name)
{
	uint32_t token = seccomp_arch_token(arch), bit = seccomp_arch_nr_bit(arch);
	int nr = token ? seccomp_syscall_resolve_name_arch(token, name) : __NR_SCMP_ERROR;
	if (nr >= 0)
		return (int)((uint32_t)nr & ~bit);
	for (int i = 0; i < NUMBERS_END && nr != __NR_SCMP_ERROR; i++) {
		char *found = seccomp_syscall_resolve_num_arch(token, (int)((uint32_t)i | bit));
		bool same = found && strcmp(found, name) == 0;
		free(found);
		if (same)
			return i;
	}
	return -ENOENT;
}

/* The rule whose verdict this is, by the order that seccomp_resolve.h describes. */
static const struct seccomp_call *find_call(const struct seccomp_filter *filter, const char *name,
					    const uint64_t args[static SECCOMP_ARGS],
					    uint32_t action)
{
	const struct seccomp_call *found = NULL;
	for (size_t i = 0; i < filter->n_calls; i++) {
		const struct seccomp_call *call = &filter->calls[i];
		if (call->action != action || !seccomp_rule_names(call->rule, name))
			continue;
		if (call->n_conds == 0)
			return call;
		if (!found && seccomp_call_matches(call, args))
			found = call;
	}
	return found;
}

int seccomp_judge_call(const struct seccomp_judge *judge, enum seccomp_arch arch, const char *name,
		       const uint64_t args[static SECCOMP_ARGS], struct seccomp_verdict *ret)
{
	struct seccomp_verdict verdict = {.nr = find_nr(arch, name), .action = SECCOMP_RET_ALLOW};
	struct seccomp_bpf bpf = {
		.code = judge->code.data,
		.n = judge->code.len,
		.big_endian = seccomp_arch_big_endian(judge->filter->native),
	};
	if (verdict.nr < 0)
		return verdict.nr;
	if (!judge->filter->disabled) {
		verdict.action = seccomp_bpf_call(&bpf, arch, verdict.nr, args);
		verdict.call = find_call(judge->filter, name, args, verdict.action);
	}
	*ret = verdict;
	return 0;
}

/* The values of one argument that are tried. */
struct edges {
	uint64_t values[EDGES_MAX];
	size_t n;
};

static void add_edge(struct edges *edges, uint64_t value)
{
	for (size_t i = 0; i < edges->n; i++)
		if (edges->values[i] == value)
			return;
	if (edges->n < EDGES_MAX)
		edges->values[edges->n++] = value;
}

static void add_edges(struct edges *edges, const struct seccomp_cond *cond)
{
	uint64_t mask = cond->value, two = cond->value_two;
	add_edge(edges, cond->value);
	add_edge(edges, cond->value - 1);
	add_edge(edges, cond->value + 1);
	if (cond->op != SECCOMP_OP_MASKED_EQ)
		return;
	add_edge(edges, two);
	add_edge(edges, two | ~mask);
	add_edge(edges, two ^ (mask & -mask));
}

static void collect(const struct seccomp_filter *filter, const char *name,
		    struct edges edges[static SECCOMP_ARGS])
{
	for (size_t i = 0; i < filter->n_calls; i++)
		for (size_t j = 0; j < filter->calls[i].n_conds; j++)
			if (seccomp_rule_names(filter->calls[i].rule, name)) {
				const struct seccomp_cond *cond = &filter->calls[i].conds[j];
				add_edges(&edges[cond->index], cond);
			}
}

int seccomp_probe(const struct seccomp_filter *const *filters, size_t n, const char *name,
		  int (*probe)(void *to, const uint64_t args[static SECCOMP_ARGS]), void *to)
{
	AUTO_FREE struct edges *edges = calloc(SECCOMP_ARGS, sizeof(*edges));
	size_t at[SECCOMP_ARGS] = {0};
	if (!edges)
		return -ENOMEM;
	for (size_t i = 0; i < SECCOMP_ARGS; i++)
		add_edge(&edges[i], 0);
	for (size_t i = 0; i < n; i++)
		collect(filters[i], name, edges);
	/* Counts through all choices, the first argument fastest. */
	for (size_t probes = 0; probes < SECCOMP_PROBES_MAX; probes++) {
		uint64_t args[SECCOMP_ARGS];
		for (size_t i = 0; i < SECCOMP_ARGS; i++)
			args[i] = edges[i].values[at[i]];
		int r = probe(to, args);
		if (r != 0)
			return r;
		size_t digit = 0;
		while (digit < SECCOMP_ARGS && ++at[digit] == edges[digit].n)
			at[digit++] = 0;
		if (digit == SECCOMP_ARGS)
			break;
	}
	return 0;
}
