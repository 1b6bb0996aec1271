/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount_stats.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "base/file.h"
#include "fs/image_record.h"

_Static_assert(sizeof(struct mount_stats) % sizeof(_Atomic uint64_t) == 0,
	       "nothing but counters, so that they can be added up as an array");

int mount_stats_map(int dirfd, struct mount_stats **ret, struct err *err)
{
	AUTO_CLOSE int fd = openat(dirfd, "stats", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	/* With its blocks: to write into a hole of a mapped file on a full disk would be SIGBUS. */
	int r = fd < 0 ? -errno : -posix_fallocate(fd, 0, sizeof(struct mount_stats));
	if (r < 0)
		return err_set(err, r, "open the counters");
	void *map = mmap(NULL, sizeof(struct mount_stats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "map the counters");
	*ret = map;
	return 0;
}

void mount_stats_unmap(struct mount_stats *stats)
{
	if (stats)
		(void)munmap(stats, sizeof(*stats));
}

void mount_stats_add(struct mount_stats *to, const struct mount_stats *from)
{
	_Atomic uint64_t *sum = (_Atomic uint64_t *)(void *)to;
	const _Atomic uint64_t *more = (const _Atomic uint64_t *)(const void *)from;
	for (size_t i = 0; i < sizeof(*to) / sizeof(*sum); i++)
		counter_add(&sum[i], counter_get(&more[i]));
}

int image_stats_map(struct store *store, const struct digest *manifest, struct mount_stats **ret,
		    struct err *err)
{
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(store, manifest, false, &dir, err);
	return r < 0 ? r : mount_stats_map(dir, ret, err);
}
