/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drivers of other people's, from shared objects. The object defines
 *
 *	const struct driver *sluice_driver_1(void);
 *
 * whose name carries DRIVER_VERSION: an object made for another version of the
 * interface lacks it, and is refused before anything of it is called. It says
 * why something failed by filling in struct driver_error, and needs no function
 * of the program's. What is loaded runs with all rights of the program: name
 * only what its owner trusts.
 */

#include "exec/driver.h"

#define DRIVER_LOAD_SYMBOL "sluice_driver_1"

/* A loaded object. */
struct driver_module;

/*
 * Loads an object by its absolute path. It has to be a regular file that only
 * its owner, who is root or the caller, can write to. NOT_FOUND, DENIED;
 * UNSUPPORTED for another version, INVALID when it is no driver.
 */
int driver_load(const char *path, struct driver_module **ret, struct driver_error *error);

/* Borrowed from the module. */
const struct driver *driver_module_driver(const struct driver_module *module);

/* All its connections are closed. Accepts NULL. */
void driver_unload(struct driver_module *module);
DEFINE_CLEANUP(driver_module, driver_unload);
