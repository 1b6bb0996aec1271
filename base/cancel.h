/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A call that takes long, taken back by another thread. The one who waits
 * polls cancel_fd() beside what it waits for; the other calls cancel_fire(),
 * after which the descriptor is readable for good. One object may serve any
 * number of calls at once. Everywhere it is taken, NULL means "never".
 */

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"

struct cancel;

int cancel_create(struct cancel **ret, struct err *err);

/* Nobody may be waiting on it any more. Accepts NULL. */
void cancel_destroy(struct cancel *cancel);
DEFINE_CLEANUP(cancel, cancel_destroy);

/* Any thread, any number of times, also a signal handler. */
void cancel_fire(struct cancel *cancel);

bool cancel_fired(const struct cancel *cancel);

/* Readable once fired; -1 for NULL, which poll(2) passes over. Borrowed; nobody reads from it. */
int cancel_fd(const struct cancel *cancel);
