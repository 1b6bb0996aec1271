/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec/seccomp_bpf.h"
#include "exec/seccomp_compile.h"

/* What the child says: its own words are all that works once the filter is in force. */
struct trial {
	atomic_int done; /* 1: the kernel took the filter */
	atomic_int why;	 /* else the errno */
};

/* After fork(): async-signal-safe, and no system call behind the filter but the end. */
static void load_and_end(struct trial *trial, struct sock_fprog *prog)
{
	const struct rlimit no_core = {0, 0};
	(void)setrlimit(RLIMIT_CORE, &no_core);
	(void)signal(SIGSEGV, SIG_DFL);
	(void)signal(SIGSYS, SIG_DFL);
	(void)signal(SIGILL, SIG_DFL);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, prog) == 0)
		atomic_store(&trial->done, 1);
	else
		atomic_store(&trial->why, errno);
	/* A filter that forbids the end makes it a crash, which is as good. */
	_exit(0);
}

static int wait_for(pid_t pid)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int seccomp_try_load(const void *code, size_t n, struct err *err)
{
	struct seccomp_bpf bpf = {
		.code = code, .n = n, .big_endian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__};
	int r = seccomp_bpf_check(&bpf, err);
	if (r < 0)
		return r;
	struct sock_fprog prog = {.len = (unsigned short)(n / SECCOMP_BPF_INSN_BYTES),
				  .filter = (struct sock_filter *)(uintptr_t)code};
	struct trial *trial = mmap(NULL, sizeof(*trial), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trial == MAP_FAILED)
		return err_set(err, -errno, "try a seccomp filter");
	pid_t pid = fork();
	if (pid == 0)
		load_and_end(trial, &prog);
	r = pid < 0 ? -errno : wait_for(pid);
	if (r == 0 && !atomic_load(&trial->done))
		r = atomic_load(&trial->why) ? -atomic_load(&trial->why) : -EIO;
	(void)munmap(trial, sizeof(*trial));
	return r < 0 ? err_set(err, r, "load a seccomp filter of %zu instructions into the kernel",
			       n / SECCOMP_BPF_INSN_BYTES)
		     : 0;
}
