/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "exec/seccomp_bpf.h"
#include "exec/seccomp_cache.h"
#include "exec/seccomp_compile.h"
#include "tests/unit/unit.h"

static const char small[] =
	"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_X86_64\","
	"\"SCMP_ARCH_X86\"],\"syscalls\":[{\"names\":[\"read\",\"exit_group\"],\"action\":"
	"\"SCMP_ACT_ALLOW\"},{\"name\":\"socket\",\"action\":\"SCMP_ACT_ALLOW\",\"args\":"
	"[{\"index\":0,\"value\":4294967297,\"op\":\"SCMP_CMP_GT\"},"
	"{\"index\":2,\"value\":240,\"valueTwo\":16,\"op\":\"SCMP_CMP_MASKED_EQ\"}]},"
	"{\"name\":\"ptrace\",\"action\":\"SCMP_ACT_KILL_PROCESS\",\"includes\":"
	"{\"caps\":[\"CAP_KILL\"]}},{\"name\":\"never_heard_of\",\"action\":\"SCMP_ACT_ALLOW\"}]}";

static struct seccomp_profile *parse(const char *text)
{
	struct err err = {0};
	struct seccomp_profile *profile = NULL;
	assert_ok(seccomp_profile_parse(text, strlen(text), "it", &profile, &err), &err);
	return profile;
}

static void compile(const struct seccomp_profile *profile, const struct seccomp_target *target,
		    struct buf *out)
{
	struct err err = {0};
	AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
	assert_ok(seccomp_resolve(profile, target, &filter, &err), &err);
	assert_ok(seccomp_compile(filter, out, &err), &err);
}

static uint32_t call(const struct seccomp_bpf *bpf, enum seccomp_arch arch, int nr, uint64_t a0,
		     uint64_t a2)
{
	uint64_t args[6] = {a0, 99, a2};
	return seccomp_bpf_call(bpf, arch, nr, args);
}

static void test_verdicts(void **state)
{
	(void)state;
	AUTO(seccomp_profile) struct seccomp_profile *profile = parse(small);
	AUTO_FINISH(buf) struct buf code = buf_make(SECCOMP_BPF_BYTES_MAX);
	struct seccomp_target target = {.native = SECCOMP_ARCH_X86_64, .caps = cap_bit(5)};
	struct err err = {0};
	enum { READ = 0, SOCKET = 41, PTRACE = 101, READ_X86 = 3, PTRACE_X86 = 26 };
	compile(profile, &target, &code);
	struct seccomp_bpf bpf = {.code = code.data, .n = code.len};
	assert_ok(seccomp_bpf_check(&bpf, &err), &err);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X86_64, READ, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X86, READ_X86, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X86_64, 1, 0, 0), SECCOMP_RET_ERRNO | EPERM);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X86_64, PTRACE, 0, 0), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X86, PTRACE_X86, 0, 0), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_AARCH64, READ, 0, 0), SECCOMP_RET_KILL_THREAD);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X32, READ, 0, 0), SECCOMP_RET_KILL_THREAD);
	static const struct {
		uint64_t a0, a2;
		bool allowed;
	} sockets[] = {
		{UINT64_C(0x100000001), 16, false},   {UINT64_C(0x100000002), 16, true},
		{UINT64_C(0x200000000), 16, true},    {UINT64_C(2), 16, false},
		{UINT64_MAX, 0x11f, true},	      {UINT64_MAX, 0x20, false},
		{UINT64_MAX, UINT64_C(1) << 32, false},
	};
	for (size_t i = 0; i < ARRAY_LEN(sockets); i++)
		assert_int_equal(call(&bpf, SECCOMP_ARCH_X86_64, SOCKET, sockets[i].a0, sockets[i].a2),
				 sockets[i].allowed ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | EPERM);

	target.caps = 0;
	target.native_only = true;
	buf_clear(&code);
	compile(profile, &target, &code);
	bpf = (struct seccomp_bpf){.code = code.data, .n = code.len};
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X86_64, PTRACE, 0, 0), SECCOMP_RET_ERRNO | EPERM);
	assert_int_equal(call(&bpf, SECCOMP_ARCH_X86, READ_X86, 0, 0), SECCOMP_RET_KILL_THREAD);
}

/* Every instruction that there is, by programs whose result is known. */
static void test_interpreter(void **state)
{
	(void)state;
	enum { S = 8 };
	static const struct {
		struct sock_filter code[S];
		uint32_t want;
	} runs[] = {
		{{BPF_STMT(BPF_RET | BPF_K, 7)}, 7},
		{{BPF_STMT(BPF_LD | BPF_IMM, 9), BPF_STMT(BPF_RET | BPF_A, 0)}, 9},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_RET | BPF_A, 0)}, 64},
		{{BPF_STMT(BPF_LDX | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_MISC | BPF_TXA, 0),
		  BPF_STMT(BPF_RET | BPF_A, 0)}, 64},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_A, 0)}, 0x11},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4), BPF_STMT(BPF_RET | BPF_A, 0)}, 0x22},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 8), BPF_STMT(BPF_RET | BPF_A, 0)}, 0x44},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12), BPF_STMT(BPF_RET | BPF_A, 0)}, 0x33},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 56), BPF_STMT(BPF_RET | BPF_A, 0)}, 0x66},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 60), BPF_STMT(BPF_RET | BPF_A, 0)}, 0x55},
		{{BPF_STMT(BPF_LD | BPF_IMM, 12), BPF_STMT(BPF_ST, 15), BPF_STMT(BPF_LD | BPF_IMM, 1),
		  BPF_STMT(BPF_LDX | BPF_MEM, 15), BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		  BPF_STMT(BPF_RET | BPF_A, 0)}, 13},
		{{BPF_STMT(BPF_LDX | BPF_IMM, 5), BPF_STMT(BPF_STX, 0), BPF_STMT(BPF_LD | BPF_MEM, 0),
		  BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 4), BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0),
		  BPF_STMT(BPF_RET | BPF_A, 0)}, 15},
		{{BPF_STMT(BPF_LD | BPF_IMM, 100), BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 7),
		  BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 4), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1),
		  BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 3), BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 1),
		  BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xfe), BPF_STMT(BPF_RET | BPF_A, 0)}, 0x72},
		{{BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_ALU | BPF_NEG, 0),
		  BPF_STMT(BPF_RET | BPF_A, 0)}, UINT32_MAX},
		{{BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
		  BPF_STMT(BPF_RET | BPF_K, 5)}, 0},
		{{BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_RET | BPF_K, 1),
		  BPF_STMT(BPF_RET | BPF_K, 2)}, 2},
		{{BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 0, 3),
		  BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 6, 2, 0), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 6, 0, 1),
		  BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 2, 1, 0), BPF_STMT(BPF_RET | BPF_K, 1),
		  BPF_STMT(BPF_RET | BPF_K, 2)}, 2},
		{{BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_MISC | BPF_TAX, 0),
		  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1), BPF_STMT(BPF_RET | BPF_K, 3),
		  BPF_STMT(BPF_RET | BPF_K, 4)}, 3},
	};
	const struct seccomp_data data = {
		.nr = 0x11,
		.arch = 0x22,
		.instruction_pointer = UINT64_C(0x3300000044),
		.args = {0, 0, 0, 0, 0, UINT64_C(0x5500000066)},
	};
	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		struct err err = {0};
		size_t n = S, steps = 0;
		while (runs[i].code[n - 1].code == 0 && n > 1)
			n--;
		struct seccomp_bpf bpf = {.code = runs[i].code, .n = n * sizeof(struct sock_filter)};
		assert_ok(seccomp_bpf_check(&bpf, &err), &err);
		assert_int_equal(seccomp_bpf_run(&bpf, &data, &steps), runs[i].want);
		assert_true(steps >= 1 && steps <= n);
	}
}

static void test_bad_programs(void **state)
{
	(void)state;
	static const struct {
		struct sock_filter code[2];
		const char *words;
	} bad[] = {
		{{BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_LD | BPF_IMM, 1)}, "does not end in a return"},
		{{BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_LD | BPF_MEM, 16), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_ST, 16), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 2), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0)}, "instruction 0 of"},
		{{BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_X, 0)}, "instruction 1 of"},
		{{BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(0xffff, 0)}, "instruction 1 of"},
	};
	struct err err = {0};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct seccomp_bpf bpf = {.code = bad[i].code, .n = sizeof(bad[i].code)};
		assert_err(seccomp_bpf_check(&bpf, &err), -EINVAL, &err, bad[i].words);
		/* The kernel's opinion of the same. */
		assert_err(seccomp_try_load(bad[i].code, sizeof(bad[i].code), &err), -EINVAL, &err,
			   bad[i].words);
	}
	struct seccomp_bpf odd = {.code = bad[0].code, .n = 12}, none = {.code = bad[0].code};
	assert_err(seccomp_bpf_check(&odd, &err), -EINVAL, &err, "12 bytes are no seccomp filter");
	assert_err(seccomp_bpf_check(&none, &err), -EINVAL, &err, "0 bytes are no seccomp filter");
}

/* The trial works whatever the filter forbids, and leaves this process as it was. */
static void test_trial(void **state)
{
	(void)state;
	static const uint32_t verdicts[] = {SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS,
					    SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_TRAP,
					    SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE};
	for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
		struct err err = {0};
		struct sock_filter code = BPF_STMT(BPF_RET | BPF_K, verdicts[i]);
		assert_ok(seccomp_try_load(&code, sizeof(code), &err), &err);
	}
}

static int open_dir(const char *name)
{
	struct err err = {0};
	int fd = -1;
	(void)tree_remove(AT_FDCWD, name, NULL);
	assert_ok(dir_make_at(AT_FDCWD, name, 0700, &fd, &err), &err);
	return fd;
}

static void test_cache(void **state)
{
	(void)state;
	AUTO(seccomp_profile) struct seccomp_profile *profile = parse(small);
	AUTO_CLOSE int dir = open_dir("seccomp-cache.test");
	AUTO_FINISH(buf) struct buf first = buf_make(SECCOMP_BPF_BYTES_MAX);
	AUTO_FINISH(buf) struct buf again = buf_make(SECCOMP_BPF_BYTES_MAX);
	struct seccomp_target target;
	struct err err = {0};
	bool hit = true;
	assert_ok(seccomp_target_of_host(&target, &err), &err);
	target.native_only = true;
	assert_ok(seccomp_cache_get(dir, profile, &target, &first, &hit, &err), &err);
	assert_false(hit);
	assert_ok(seccomp_cache_get(dir, profile, &target, &again, &hit, &err), &err);
	assert_true(hit);
	assert_int_equal(first.len, again.len);
	assert_memory_equal(first.data, again.data, first.len);
	/* What the program depends on has an entry of its own. */
	target.caps = cap_bit(5);
	buf_clear(&again);
	assert_ok(seccomp_cache_get(dir, profile, &target, &again, &hit, &err), &err);
	assert_false(hit);
	target.native_only = false;
	assert_ok(seccomp_cache_get(dir, profile, &target, &again, &hit, &err), &err);
	assert_false(hit);
	assert_ok(seccomp_cache_get(-1, profile, &target, &again, &hit, &err), &err);
	assert_false(hit);
	assert_ok(tree_remove(AT_FDCWD, "seccomp-cache.test", &err), &err);
}

static size_t count_files(void)
{
	size_t n = 0;
	DIR *dir = opendir("seccomp-cache.test");
	assert_non_null(dir);
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		n += entry->d_name[0] != '.';
	(void)closedir(dir);
	return n;
}

/* A file that is not whole, or not for this kernel, is made again; what is old goes. */
static void test_cache_damage(void **state)
{
	(void)state;
	AUTO(seccomp_profile) struct seccomp_profile *profile = parse(small);
	AUTO_CLOSE int dir = open_dir("seccomp-cache.test");
	struct seccomp_target target;
	struct err err = {0};
	assert_ok(seccomp_target_of_host(&target, &err), &err);
	/* In the magic, the length, the kernel's release, the digest and the program. */
	static const off_t places[] = {0, 12, 16, 90, 150};
	char path[512] = "";
	for (size_t i = 0; i <= ARRAY_LEN(places); i++) {
		AUTO_FINISH(buf) struct buf out = buf_make(SECCOMP_BPF_BYTES_MAX);
		bool hit = false;
		char byte = 0;
		assert_ok(seccomp_cache_get(dir, profile, &target, &out, &hit, &err), &err);
		assert_false(hit);
		assert_int_equal(count_files(), 1);
		DIR *list = opendir("seccomp-cache.test");
		assert_non_null(list);
		for (const struct dirent *e = readdir(list); e; e = readdir(list))
			if (e->d_name[0] != '.')
				(void)snprintf(path, sizeof(path), "seccomp-cache.test/%s", e->d_name);
		(void)closedir(list);
		if (i == ARRAY_LEN(places))
			break;
		AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, places[i]), 1);
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, places[i]), 1);
	}
	for (unsigned int i = 0; i < SECCOMP_CACHE_FILES_MAX; i++) {
		char name[65];
		(void)snprintf(name, sizeof(name), "%064x", i);
		AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
	}
	AUTO_FINISH(buf) struct buf out = buf_make(SECCOMP_BPF_BYTES_MAX);
	target.caps = 1;
	assert_ok(seccomp_cache_get(dir, profile, &target, &out, NULL, &err), &err);
	assert_int_equal(count_files(), SECCOMP_CACHE_FILES_MAX / 2 + 2);
	assert_ok(tree_remove(AT_FDCWD, "seccomp-cache.test", &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),     cmocka_unit_test(test_interpreter),
		cmocka_unit_test(test_bad_programs), cmocka_unit_test(test_trial),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_cache_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
