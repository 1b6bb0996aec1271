/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What this host lets us give a container. Runtimes fail with EPERM where a
 * configuration asks for more than they may set; here it is lowered to what
 * they may, and said.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "exec/cap.h"
#include "exec/spec/oci.h"

enum { HOST_LIMITS = 16 }; /* kinds of resource limits that Linux has */

struct host_facts {
	cap_set_t bounding, effective;	   /* capabilities of this process */
	int oom_score_adj;		   /* of this process */
	uint64_t limits_hard[HOST_LIMITS]; /* by RLIMIT_ number; UINT64_MAX: none */
	uint64_t nr_open;		   /* what RLIMIT_NOFILE may be for anybody */
};

/* Reads them. What reading /proc gives. */
int host_facts_read(struct host_facts *ret, struct err *err);

/*
 * Lowers what the host cannot give: capabilities that this process may not
 * hand on; RLIMIT_NOFILE above fs.nr_open; and without CAP_SYS_RESOURCE resource
 * limits above our hard ones, and an oomScoreAdj below our own. *ret_warnings, a NULL-terminated list that the
 * caller frees with its strings (NULL: there was nothing), has a sentence for
 * each. -ENOMEM: config is partly changed.
 */
int host_clamp(const struct host_facts *facts, struct oci_config *config, char ***ret_warnings,
	       struct err *err);

/* Frees such a list. Accepts NULL. */
void host_warnings_free(char **warnings);
