/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a holder and its servers say to each other, over a SOCK_SEQPACKET pair. */

#include <stdint.h>
#include <sys/types.h>

#include "fs/holder.h"

enum holder_word {
	HOLDER_READY,
	HOLDER_GO,
	HOLDER_SERVING,
	HOLDER_FAILED,
	HOLDER_PREPARED,
};

struct holder_msg {
	uint32_t word; /* enum holder_word */
	int32_t code;  /* FAILED: why, a negative errno */
	char text[ERR_TEXT_MAX];
};

/* Sends one message; fd -1 sends no descriptor. 0 or -errno. */
int holder_send(int sock, enum holder_word word, const struct err *why, int fd);

/* Receives one: 0; -ECONNRESET when the other side is gone; -EPROTO. *ret_fd is -1 without one. */
int holder_receive(int sock, struct holder_msg *ret, int *ret_fd);

/*
 * Forks and executes the program behind program_fd. In it, control becomes
 * HOLDER_FD_CONTROL, init (unless -1) HOLDER_FD_INIT, log (unless -1) stdout
 * and stderr, with nothing to read and / to work in; every other descriptor is
 * closed. It gets a session of its own. -errno of the fork.
 */
struct holder_exec {
	int program_fd;
	char *const *argv, *const *envp;
	again_main again; /* instead of the program, where that is possible; NULL: never */
	int control, init, log;
};
int holder_fork(const struct holder_exec *exec, pid_t *ret_pid);
