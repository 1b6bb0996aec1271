/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_bpf.h"

#include <endian.h>
#include <errno.h>
#include <linux/filter.h>
#include <string.h>

enum { SCRATCH_WORDS = BPF_MEMWORDS };

_Static_assert(sizeof(struct sock_filter) == SECCOMP_BPF_INSN_BYTES, "an instruction");
_Static_assert(BPF_MAXINSNS == SECCOMP_BPF_INSNS_MAX, "the kernel's limit");

static struct sock_filter fetch(const struct seccomp_bpf *bpf, size_t at)
{
	struct sock_filter insn;
	memcpy(&insn, (const char *)bpf->code + at * sizeof(insn), sizeof(insn));
	insn.code = bpf->big_endian ? be16toh(insn.code) : le16toh(insn.code);
	insn.k = bpf->big_endian ? be32toh(insn.k) : le32toh(insn.k);
	return insn;
}

/* The instructions that seccomp lets through, by the kernel's seccomp_check_filter(). */
static bool is_known(uint16_t code)
{
	switch (code) {
	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_IMM:
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
	case BPF_ALU | BPF_NEG:
	case BPF_JMP | BPF_JA:
		return true;
	default:
		break;
	}
	uint16_t op = BPF_OP(code);
	if (code & ~(BPF_CLASS(code) | op | BPF_SRC(code)))
		return false;
	if (BPF_CLASS(code) == BPF_ALU)
		return op == BPF_ADD || op == BPF_SUB || op == BPF_MUL || op == BPF_DIV ||
		       op == BPF_AND || op == BPF_OR || op == BPF_XOR || op == BPF_LSH ||
		       op == BPF_RSH;
	if (BPF_CLASS(code) == BPF_JMP)
		return op == BPF_JEQ || op == BPF_JGT || op == BPF_JGE || op == BPF_JSET;
	return false;
}

/* Whether what the instruction points at is there; left: the instructions behind it. */
static bool is_sound(const struct sock_filter *insn, size_t left)
{
	switch (BPF_CLASS(insn->code)) {
	case BPF_LD:
	case BPF_LDX:
		if (BPF_MODE(insn->code) == BPF_ABS)
			return insn->k % 4 == 0 && insn->k < sizeof(struct seccomp_data);
		return BPF_MODE(insn->code) != BPF_MEM || insn->k < SCRATCH_WORDS;
	case BPF_ST:
	case BPF_STX:
		return insn->k < SCRATCH_WORDS;
	case BPF_ALU:
		if (BPF_SRC(insn->code) == BPF_X)
			return true;
		if (BPF_OP(insn->code) == BPF_DIV)
			return insn->k != 0;
		return (BPF_OP(insn->code) != BPF_LSH && BPF_OP(insn->code) != BPF_RSH) ||
		       insn->k < 32;
	case BPF_JMP:
		return BPF_OP(insn->code) == BPF_JA ? insn->k < left
						    : insn->jt < left && insn->jf < left;
	default:
		return true;
	}
}

int seccomp_bpf_check(const struct seccomp_bpf *bpf, struct err *err)
{
	size_t n = bpf->n / SECCOMP_BPF_INSN_BYTES;
	if (bpf->n == 0 || bpf->n % SECCOMP_BPF_INSN_BYTES != 0)
		return err_say(err, -EINVAL, "%zu bytes are no seccomp filter", bpf->n);
	if (n > SECCOMP_BPF_INSNS_MAX)
		return err_say(err, -E2BIG, "a seccomp filter of %zu instructions; %d are possible",
			       n, SECCOMP_BPF_INSNS_MAX);
	for (size_t i = 0; i < n; i++) {
		struct sock_filter insn = fetch(bpf, i);
		if (!is_known(insn.code) || !is_sound(&insn, n - 1 - i))
			return err_say(err, -EINVAL,
				       "instruction %zu of the seccomp filter is not possible", i);
	}
	if (BPF_CLASS(fetch(bpf, n - 1).code) != BPF_RET)
		return err_say(err, -EINVAL, "the seccomp filter does not end in a return");
	return 0;
}

/* The word at this place, as a CPU of that byte order has it. */
static uint32_t load(const struct seccomp_bpf *bpf, const struct seccomp_data *data, uint32_t at)
{
	size_t arg = (at - offsetof(struct seccomp_data, args)) / sizeof(data->args[0]);
	switch (at) {
	case offsetof(struct seccomp_data, nr):
		return (uint32_t)data->nr;
	case offsetof(struct seccomp_data, arch):
		return data->arch;
	case offsetof(struct seccomp_data, instruction_pointer):
	case offsetof(struct seccomp_data, instruction_pointer) + 4:
		return (at % 8 == 0) == bpf->big_endian
			       ? (uint32_t)(data->instruction_pointer >> 32)
			       : (uint32_t)data->instruction_pointer;
	default:
		return (at % 8 == 0) == bpf->big_endian ? (uint32_t)(data->args[arg] >> 32)
							: (uint32_t)data->args[arg];
	}
}

struct machine {
	uint32_t a, x, scratch[SCRATCH_WORDS];
};

static void compute(struct machine *m, const struct sock_filter *insn)
{
	uint32_t v = BPF_SRC(insn->code) == BPF_X ? m->x : insn->k;
	switch (BPF_OP(insn->code)) {
	case BPF_ADD:
		m->a += v;
		break;
	case BPF_SUB:
		m->a -= v;
		break;
	case BPF_MUL:
		m->a *= v;
		break;
	case BPF_DIV:
		m->a = v ? m->a / v : 0; /* never 0: is_sound(), seccomp_bpf_run() */
		break;
	case BPF_AND:
		m->a &= v;
		break;
	case BPF_OR:
		m->a |= v;
		break;
	case BPF_XOR:
		m->a ^= v;
		break;
	case BPF_LSH:
		m->a <<= v & 31;
		break;
	case BPF_RSH:
		m->a >>= v & 31;
		break;
	default: /* BPF_NEG */
		m->a = -m->a;
		break;
	}
}

/* How many instructions are skipped. */
static size_t jump(const struct machine *m, const struct sock_filter *insn)
{
	uint32_t v = BPF_SRC(insn->code) == BPF_X ? m->x : insn->k;
	bool taken = false;
	switch (BPF_OP(insn->code)) {
	case BPF_JA:
		return insn->k;
	case BPF_JEQ:
		taken = m->a == v;
		break;
	case BPF_JGT:
		taken = m->a > v;
		break;
	case BPF_JGE:
		taken = m->a >= v;
		break;
	default: /* BPF_JSET */
		taken = m->a & v;
		break;
	}
	return taken ? insn->jt : insn->jf;
}

static uint32_t loaded(const struct machine *m, const struct sock_filter *insn,
		       const struct seccomp_bpf *bpf, const struct seccomp_data *data)
{
	switch (BPF_MODE(insn->code)) {
	case BPF_ABS:
		return load(bpf, data, insn->k);
	case BPF_LEN:
		return sizeof(*data);
	case BPF_MEM:
		return m->scratch[insn->k];
	default: /* BPF_IMM */
		return insn->k;
	}
}

uint32_t seccomp_bpf_run(const struct seccomp_bpf *bpf, const struct seccomp_data *data,
			 size_t *ret_insns)
{
	struct machine m = {0};
	size_t n = bpf->n / SECCOMP_BPF_INSN_BYTES, steps = 0;
	uint32_t result = SECCOMP_RET_KILL_THREAD;
	/* Jumps only go forward: it ends. */
	for (size_t pc = 0; pc < n; pc++) {
		struct sock_filter insn = fetch(bpf, pc);
		steps++;
		uint16_t class = BPF_CLASS(insn.code);
		if (class == BPF_RET) {
			result = BPF_RVAL(insn.code) == BPF_A ? m.a : insn.k;
			break;
		}
		/* The kernel ends a program that divides by nothing, with 0. */
		if (insn.code == (BPF_ALU | BPF_DIV | BPF_X) && m.x == 0) {
			result = 0;
			break;
		}
		if (class == BPF_LD)
			m.a = loaded(&m, &insn, bpf, data);
		else if (class == BPF_LDX)
			m.x = loaded(&m, &insn, bpf, data);
		else if (class == BPF_ST)
			m.scratch[insn.k] = m.a;
		else if (class == BPF_STX)
			m.scratch[insn.k] = m.x;
		else if (class == BPF_ALU)
			compute(&m, &insn);
		else if (class == BPF_JMP)
			pc += jump(&m, &insn);
		else if (BPF_MISCOP(insn.code) == BPF_TAX)
			m.x = m.a;
		else
			m.a = m.x;
	}
	if (ret_insns)
		*ret_insns = steps;
	return result;
}

uint32_t seccomp_bpf_call(const struct seccomp_bpf *bpf, enum seccomp_arch arch, int nr,
			  const uint64_t args[static 6])
{
	struct seccomp_data data = {
		.nr = (int)((uint32_t)nr | seccomp_arch_nr_bit(arch)),
		.arch = seccomp_arch_audit(arch),
	};
	memcpy(data.args, args, sizeof(data.args));
	return seccomp_bpf_run(bpf, &data, NULL);
}
