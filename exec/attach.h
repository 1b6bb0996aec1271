/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Talking to a monitor. The socket (SOCK_SEQPACKET) is `attach` in the
 * container's directory, which only its owner can enter; the one who starts a
 * monitor has a connection from the beginning (monitor_launch()). A message is
 * one packet: a byte that says what it is (enum attach_word), and bytes that
 * depend on it; numbers are little-endian.
 *
 * Any number of clients up to ATTACH_CLIENTS_MAX may be there at once; each
 * gets all output from when it said ATTACH_OUTPUT. Going away never hurts the
 * container. One that does not read is waited for, so that `run | less` loses
 * nothing; after ATTACH_STALL_MS without progress the container goes on
 * without it, and it is told with ATTACH_LOST once it reads again.
 *
 * Messages of a connection are taken in order, and input only as fast as the
 * container reads it. Signals and stops that must not wait behind input go
 * over a connection of their own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"

enum {
	ATTACH_DATA_MAX = 32 * 1024,	 /* bytes in one message */
	ATTACH_CLIENTS_MAX = 64,
	ATTACH_QUEUE_MAX = 1024 * 1024,	 /* bytes that wait for one client */
	ATTACH_STALL_MS = 30000,	 /* how long one client can hold up the output */
	ATTACH_STDIN_MAX = 256 * 1024,	 /* bytes that wait for the container to read them */
};

enum attach_word {
	/* Client to monitor. */
	ATTACH_OUTPUT = 'o',	/* send me output from now on; nothing follows */
	ATTACH_STDIN = 'i',	/* bytes for the container's standard input */
	ATTACH_STDIN_END = 'e', /* which ends here */
	ATTACH_RESIZE = 'w',	/* u16 rows, u16 columns: of the terminal */
	ATTACH_SIGNAL = 's',	/* u8: send this signal to the container's init */
	ATTACH_STOP = 't',	/* u32: stop signal now, SIGKILL after so many milliseconds */
	/* Monitor to client. */
	/*
	 * To the launcher only; i32: the pid of the container's init; then, as u64 nanoseconds of
	 * CLOCK_MONOTONIC, when the monitor was ready and when the runtime had started it.
	 */
	ATTACH_STARTED = 'S',
	/* To the launcher, then the end; u8 enum driver_code, u8 program, the sentence. */
	ATTACH_FAILED = 'F',
	ATTACH_STDOUT = '1',	/* bytes; all output when there is a terminal */
	ATTACH_STDERR = '2',
	ATTACH_LOST = 'L',	/* u64: so many bytes were left out here */
	/* After the last output, and once it is on disk; i32: the exit code. */
	ATTACH_EXIT = 'X',
};

struct attach_message {
	enum attach_word word;
	size_t n;
	unsigned char data[ATTACH_DATA_MAX + 1]; /* followed by a NUL that does not count */
};

/*
 * Connects to the monitor of the container whose directory is dirfd.
 * -ECONNREFUSED or -ENOENT when there is none.
 */
int attach_connect(int dirfd, int *ret_fd, struct err *err);

/* Sends a message, waiting for room until the deadline. -EPIPE, -ETIMEDOUT, -EMSGSIZE. */
int attach_send(int fd, enum attach_word word, const void *data, size_t n, deadline_t deadline);
int attach_send_resize(int fd, uint16_t rows, uint16_t columns, deadline_t deadline);
int attach_send_signal(int fd, int sig, deadline_t deadline);
int attach_send_stop(int fd, uint32_t kill_after_ms, deadline_t deadline);

/*
 * The next message; waits for it until the deadline (deadline_in_ms() of
 * something, or 0: for ever). -ETIMEDOUT; -ECONNRESET when the monitor is gone;
 * -EPROTO. To wait for several things, poll the descriptor for POLLIN first.
 */
int attach_receive(int fd, struct attach_message *ret, deadline_t deadline);

/* The number in ATTACH_STARTED, ATTACH_EXIT. -1 when there is none. */
int attach_number(const struct attach_message *message);

/* The number in ATTACH_LOST. */
uint64_t attach_lost(const struct attach_message *message);
