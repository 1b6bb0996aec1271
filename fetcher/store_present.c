/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "fetcher/store_layer_priv.h"

static size_t present_len(size_t count)
{
	return sizeof(struct present_header) + count * 2 * sizeof(uint32_t);
}

void present_words(struct present *p, void *base, size_t count)
{
	p->head = base;
	p->count = count;
	p->state = (_Atomic uint32_t *)(void *)((char *)base + sizeof(struct present_header));
	p->used = p->state + count;
}

int present_make(const struct store *store, const struct seek *seek, void **ret, size_t *ret_len)
{
	size_t count = seek_count(seek);
	char *base = calloc(1, present_len(count));
	if (!base)
		return -ENOMEM;
	struct present p = {.fd = -1};
	present_words(&p, base, count);
	p.head->magic = PRESENT_MAGIC;
	p.head->version = PRESENT_VERSION;
	p.head->count = (uint32_t)count;
	p.head->epoch = PRESENT_EPOCH;
	memcpy(p.head->boot, store->boot, BOOT_ID_MAX);
	for (size_t i = 0; i < count; i++) {
		struct span span;
		seek_get(seek, i, &span);
		if (span.codec == SEEK_ZEROS)
			atomic_init(&p.state[i], SPAN_PRESENT); /* a hole holds its bytes */
	}
	*ret = base;
	*ret_len = present_len(count);
	return 0;
}

int present_open(int dirfd, size_t count, struct present *ret, struct err *err)
{
	AUTO_CLOSE int fd = openat(dirfd, "present", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, -errno, "open present");
	uint64_t size;
	int r = file_size(fd, &size);
	if (r < 0)
		return err_set(err, r, "stat present");
	if (size != present_len(count))
		return err_say(err, -EBADMSG, "present has %llu bytes, and %zu spans need %zu",
			       (unsigned long long)size, count, present_len(count));
	void *map = mmap(NULL, present_len(count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "map present");
	const struct present_header *head = map;
	if (head->magic != PRESENT_MAGIC || head->version != PRESENT_VERSION ||
	    head->count != count || head->epoch != PRESENT_EPOCH) {
		(void)munmap(map, present_len(count));
		return err_say(err, -EBADMSG, "present has a header that does not fit");
	}
	present_words(ret, map, count);
	ret->map_len = present_len(count);
	ret->fd = steal_fd(&fd);
	return 0;
}

void present_finish(struct present *p)
{
	if (p->head)
		(void)munmap(p->head, p->map_len);
	cleanup_close(&p->fd);
	*p = (struct present){.fd = -1};
}
