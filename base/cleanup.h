/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Scope-bound cleanup. A variable marked with one of the AUTO_ macros is
 * released when it leaves its scope; steal_fd() and steal_ptr() hand it to
 * somebody else first. fd -1 and NULL mean "nothing to release".
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close(const int *fd)
{
	if (*fd < 0)
		return;
	int saved = errno;
	(void)close(*fd);
	errno = saved;
}

static inline void cleanup_free(void *slot)
{
	free(*(void **)slot);
}

static inline void cleanup_fclose(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

#define AUTO_CLOSE  __attribute__((cleanup(cleanup_close)))
#define AUTO_FREE   __attribute__((cleanup(cleanup_free)))
#define AUTO_FCLOSE __attribute__((cleanup(cleanup_fclose)))

/* DEFINE_CLEANUP(store, store_close) gives AUTO(store) to `struct store *` variables. */
#define DEFINE_CLEANUP(type, release)                           \
	static inline void cleanup_##type(struct type **p)      \
	{                                                       \
		release(*p);                                    \
	}                                                       \
	struct type

/* DEFINE_FINISH(buf, buf_finish) gives AUTO_FINISH(buf) to `struct buf` values. */
#define DEFINE_FINISH(type, finish)                             \
	static inline void cleanup_finish_##type(struct type *v) \
	{                                                       \
		finish(v);                                      \
	}                                                       \
	struct type

#define AUTO(type)	  __attribute__((cleanup(cleanup_##type)))
#define AUTO_FINISH(type) __attribute__((cleanup(cleanup_finish_##type)))

static inline int steal_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

#define steal_ptr(slot)                                         \
	({                                                      \
		__typeof__(*(slot)) taken_ = *(slot);           \
		*(slot) = NULL;                                 \
		taken_;                                         \
	})
