/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Allocations that fail when they are told to. The linker puts these functions
 * in the place of malloc() and its like (-Wl,--wrap), in our code and, by
 * torture_begin(), in jansson; other libraries are left alone.
 */

#include <stdbool.h>
#include <stddef.h>

/* Takes over jansson's allocations. */
void torture_begin(void);

/* The nth allocation from now fails, 1 being the next, and with `on` all after it. 0: none. */
void torture_arm(size_t nth, bool on);

/* With `on`, jansson's allocations count for nothing and never fail. */
void torture_spare_jansson(bool on);

/* Which allocation was the first to fail since torture_arm(). */
enum torture_hit { TORTURE_NONE, TORTURE_OURS, TORTURE_JANSSON };
enum torture_hit torture_hit(void);

/* Allocations not freed yet. */
long torture_live(void);
