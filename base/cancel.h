/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A call that takes long, taken back by another thread. The one who waits
 * polls cancel_fd() beside what it waits for; the other calls cancel_fire(),
 * after which the descriptor is readable for good. One object may serve any
 * number of calls at once. Everywhere it is taken, NULL means "never".
 */

#include <signal.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"

struct cancel;

int cancel_create(struct cancel **ret, struct err *err);

/*
 * One that the signals of the set fire, for a thread with nobody beside it. They
 * have to be blocked, and stay pending: who wants to know which it was finds it
 * there, and taking the last one takes the cancellation back.
 */
int cancel_on_signals(const sigset_t *set, struct cancel **ret, struct err *err);

/* Nobody may be waiting on it any more. Accepts NULL. */
void cancel_destroy(struct cancel *cancel);
DEFINE_CLEANUP(cancel, cancel_destroy);

/* Any thread, any number of times, also a signal handler. Not for one on signals. */
void cancel_fire(struct cancel *cancel);

bool cancel_fired(const struct cancel *cancel);

/* Readable once fired; -1 for NULL, which poll(2) passes over. Borrowed; nobody reads from it. */
int cancel_fd(const struct cancel *cancel);
