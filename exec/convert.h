/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An image's configuration as a runtime's: image-spec conversion.md. It goes on
 * top of a configuration that has what the image says nothing about
 * (exec/defaults.h).
 *
 * Images are not to be trusted. Annotations that runtimes act upon are not
 * taken from them: what begins with "run.oci." makes crun ignore the seccomp
 * profile, "org.systemd.property.", "org.criu.", "cdi.k8s.io/" and
 * "io.katacontainers." reach systemd, CRIU, devices and the host's side of a
 * virtual machine, "module.wasm." and "dev.gvisor." choose other ways to run. A
 * label with such a key is left out, without a word.
 */

#include <stdbool.h>

#include "base/err.h"
#include "exec/image_spec.h"
#include "exec/spec/oci.h"
#include "exec/user.h"

/* What becomes of the image's Volumes. */
enum convert_volumes {
	CONVERT_VOLUMES_NONE,  /* nothing: the upper is the container's alone, and as good */
	CONVERT_VOLUMES_TMPFS, /* memory, with a copy of what the image has there */
	CONVERT_VOLUMES_BIND,  /* directories of the host: 0, 1, … in volumes_dir, not made here */
};

struct convert_options {
	const char *architecture;	/* asked for by name, in Go's words; NULL: this machine's */
	const char *const *entrypoint;	/* takes the place of Entrypoint and Cmd; may be empty */
	const char *const *cmd;		/* takes the place of Cmd; NULL: the image's */
	enum convert_volumes volumes;
	const char *volumes_dir;
};

/*
 * Lays the image's words over config: cwd (when it has one), env (appended word for
 * word), args (Entrypoint, then Cmd), annotations (the implicit ones, then
 * labels, which win) and volumes (unless there is a mount at that very place). The
 * user is convert_user()'s. On failure config is partly written.
 *
 * -ENOEXEC: an image for another system or machine. -EINVAL: no command at all,
 * a cwd that is not absolute, a volume where none can be. -ENOMEM.
 */
int convert_image(const struct image_spec *image, const struct convert_options *options,
		  struct oci_config *config, struct err *err);

/*
 * Gives the process a user (exec/user.h). Anybody but uid 0 keeps the bounding
 * set of capabilities alone; so this comes after whatever changes the sets.
 * -ENOMEM.
 */
int convert_user(const struct user *user, struct oci_config *config, struct err *err);

/* Whether some runtime acts upon annotations with this key: no label may become one. */
bool convert_is_foreign(const char *key);
