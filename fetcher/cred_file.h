/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The documents behind fetcher/cred.h: a credential file, and a helper's answer. */

#include <jansson.h>
#include <stddef.h>

#include "fetcher/cred.h"

/*
 * What one file knows about a repository: credentials, or the name of the
 * helper to ask (*ret_helper, which the caller frees), or neither. -ENOENT when
 * there is no such file; -EINVAL, -E2BIG with the file and the place.
 */
int cred_file_look_up(const char *path, const char *host, const char *repository,
		      struct cred *ret, char **ret_helper, struct err *err);

/* The answer of `docker-credential-X get`. -EINVAL; no part of it is in the error text. */
int cred_parse_helper(const char *text, size_t n, struct cred *ret, struct err *err);

/* Overwrites every string of a document and releases it. */
void cred_json_release(json_t *root);
