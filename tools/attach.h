/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The terminal, or the pipes, of this command, connected with a container
 * through its monitor (exec/attach.h).
 */

#include <signal.h>
#include <stdbool.h>

#include "base/cancel.h"
#include "base/err.h"
#include "base/phases.h"

enum { ATTACHED_KEYS_MAX = 8 };

struct attached_config {
	int fd;		   /* of the monitor; borrowed */
	bool interactive;  /* standard input goes to the container */
	bool tty;	   /* the container has a terminal; ours becomes raw */
	unsigned char keys[ATTACHED_KEYS_MAX]; /* what detaches from a terminal */
	size_t n_keys;
	struct phases *phases; /* borrowed; NULL: nobody asks */
};

/* Signals that are passed on to a container are kept for attached_run() from now on. */
int attached_block_signals(sigset_t *ret_old, struct err *err);

/* The first signal kept that means an end (INT, TERM, HUP, QUIT); 0: none. */
int attached_signal_pending(void);

/* Fired for as long as there is one: for calls before the container runs. The caller's. */
int attached_cancel(struct cancel **ret, struct err *err);

/* "ctrl-p,ctrl-q" or "a,b"; "" is none. -EINVAL. */
int attached_parse_keys(const char *text, struct attached_config *config, struct err *err);

/*
 * Copies until the container is over, and the monitor has cleaned up:
 * *ret_code is its exit code. -ECANCELED: detached by the keys; -ECONNRESET: the
 * monitor went away, and nobody knows the code.
 */
int attached_run(const struct attached_config *config, int *ret_code, struct err *err);
