/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's bundle: what the image says, the defaults, and what was asked
 * for, made one configuration for the root filesystem that is mounted.
 */

#include "base/buf.h"
#include "exec/cni.h"
#include "exec/container.h"
#include "exec/driver.h"
#include "tools/ctx.h"
#include "tools/run_options.h"
#include "tools/run_record.h"

struct run_bundle {
	const struct run_options *options;
	const struct container *container; /* its rootfs is mounted */
	const struct buf *image;	   /* the image's configuration; NULL: there is none */
	const struct driver_info *runtime;
	const struct cni_result *network;  /* what plugins made of it; zeroed: there were none */
	const struct id_maps *maps;	   /* of the container's user namespace; NULL: it is ours */
	char *const *words;		   /* the command line's; NULL-terminated */
	int cache_dirfd;		   /* for compiled seccomp filters; -1: none */
	/* Results. */
	int exit_status;		   /* of a failure: 125, 126 or 127 */
};

enum { RUN_BUNDLE_MAX = 64 << 20 }; /* bytes of a configuration */

/*
 * Makes the configuration, and in the root filesystem what it needs; appends it
 * to *ret as JSON, and writes into the record what the monitor has to know:
 * the command and the stop signal. What fails sets exit_status.
 */
int run_bundle_make(struct run_bundle *bundle, struct run_record *record, struct buf *ret,
		    struct err *err);
