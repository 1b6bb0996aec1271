/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The devices of --device VENDOR/CLASS=NAME and --gpus, by the Container Device Interface. */

#include "exec/spec/oci.h"
#include "tools/run_options.h"

/*
 * Gives the container what was asked for; its user is known by now, and nothing has
 * been made for its mounts. What cdi_create(), cdi_gpus() and cdi_apply() give.
 */
int run_devices(const struct run_options *options, struct oci_config *config, struct err *err);
