/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Copies a NULL-terminated list of strings: the list and each string are then
 * the caller's. A NULL list is left out: *ret stays as it is. -ENOMEM: *ret
 * holds what was copied by then, NULL-terminated, for the caller to free.
 */
int strv_copy(const char *const *from, char ***ret);
