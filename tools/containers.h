/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The containers of a store: $STORE/containers/ID. An id is 64 hexadecimal
 * digits; a name stands for one container at a time.
 */

#include "exec/container.h"
#include "exec/driver.h"
#include "tools/ctx.h"
#include "tools/run_record.h"

enum {
	CONTAINERS_ID_BYTES = 32,
	CONTAINERS_SHORT_ID = 12, /* digits that people are shown */
	CONTAINERS_SETUP_MS = 300000, /* a container that is not begun by then never will be */
};

/* Where the image is for as long as it takes to put an overlay on it. */
#define CONTAINERS_LOWER "lower"

/* A container that was opened, and what its state says. */
struct opened_container {
	struct container *container; /* owned, as the rest */
	struct container_state state;
	struct run_record record;
};

/* Accepts NULL and a zeroed one. */
void opened_container_finish(struct opened_container *opened);
DEFINE_FINISH(opened_container, opened_container_finish);

/*
 * Makes a container with an id of its own. record->name is the name that was
 * asked for, or NULL: then it becomes one that is made of the image's. -EEXIST:
 * the name is taken.
 */
int containers_create(struct ctx *ctx, struct run_record *record, struct container **ret,
		      struct err *err);

/* Writes the record into the container's state. */
int containers_note(const struct container *container, const struct run_record *record,
		    struct err *err);

/*
 * Finds a container by its name, its id, or the beginning of its id. -ENOENT;
 * -EINVAL when the beginning is that of several.
 */
int containers_open(struct ctx *ctx, const char *word, struct opened_container *ret,
		    struct err *err);

/*
 * Calls each() for every container of the store until it returns other than 0,
 * which is then the result. Those that are being made or removed are left out.
 */
int containers_each(struct ctx *ctx,
		    int (*each)(void *data, const struct opened_container *opened), void *data,
		    struct err *err);

/* Whether it has a monitor, and so runs or is about to. */
bool containers_is_live(const struct opened_container *opened);

/*
 * Its state in a word: "configured", "created", "running", "exited", "failed";
 * "dead" when its monitor is gone without having seen its end.
 */
const char *containers_status(const struct opened_container *opened);

/* A connection to the runtime that its record names; the caller closes it. */
int containers_driver(struct ctx *ctx, const char *runtime, struct driver_conn **ret,
		      struct driver_error *error);

/*
 * Takes away what is mounted at a container's rootfs, and the image's pin, and disconnects the
 * container from its network. 0 when nothing is there.
 */
int containers_unmount(struct ctx *ctx, const struct container *container, struct err *err);

/*
 * The first part of that: what is mounted at its rootfs, with the pin; and of one that is to be
 * removed, what it changed there. What fails is tried again by the rest.
 */
void containers_unmount_early(struct ctx *ctx, const struct container *container, bool remove);

/*
 * Has the monitor stop the container (its stop signal, SIGKILL after so many
 * milliseconds; 0: at once), and waits until the monitor has cleaned up. One
 * without a monitor is buried.
 */
int containers_stop(struct ctx *ctx, struct opened_container *opened, uint64_t kill_after_ms,
		    struct err *err);

/*
 * Takes away what a monitor that died left: processes, cgroups, the runtime's
 * state, mounts; the container counts as exited from then on. -EBUSY: it has one.
 * An ordinary user's process is root of a user namespace from then on.
 */
int containers_bury(struct ctx *ctx, struct opened_container *opened, struct err *err);

/* Buries a container, and removes it. -EBUSY: it has a monitor. */
int containers_remove(struct ctx *ctx, struct opened_container *opened, struct err *err);
