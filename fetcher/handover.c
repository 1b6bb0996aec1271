/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/handover.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "fetcher/registry.h"

enum { HANDOVER_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static void handover_finish(struct handover *h)
{
	if (h->text.data)
		explicit_bzero(h->text.data, h->text.len);
	buf_finish(&h->text);
}
DEFINE_FINISH(handover, handover_finish);

int handover_add(struct handover *h, char kind, const char *const *texts, size_t n)
{
	const char head[] = {kind, '\0'};
	size_t before = h->text.len;
	size_t need = sizeof(head);
	for (size_t i = 0; i < n; i++)
		need += (texts[i] ? strlen(texts[i]) : 0) + 1;
	if (need > h->text.max - before)
		return -E2BIG;
	int r = buf_append(&h->text, head, sizeof(head));
	for (size_t i = 0; i < n && r == 0; i++) {
		const char *text = texts[i] ? texts[i] : "";
		r = buf_append(&h->text, text, strlen(text) + 1);
	}
	if (r < 0)
		h->text.len = before;
	return r;
}

int handover_take(struct handover *h, const char **ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *nul = memchr(h->at, '\0', (size_t)(h->end - h->at));
		if (!nul)
			return -EBADMSG;
		ret[i] = h->at;
		h->at = nul + 1;
	}
	return 0;
}

int handover_write(struct tokens *tokens, struct origin *origin, int *ret_fd, struct err *err)
{
	AUTO_FINISH(handover) struct handover h = {.text = buf_make(HANDOVER_BYTES_MAX)};
	AUTO_CLOSE int fd = memfd_create("sluice-known", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* All room at once: secrets that realloc() left behind would not be wiped. */
	int r = fd < 0 ? err_errno() : buf_reserve(&h.text, HANDOVER_BYTES_MAX);
	if (r == 0)
		r = tokens_hand_over(tokens, &h);
	if (r == 0)
		r = registry_hand_over(origin, &h);
	if (r == -E2BIG)
		r = 0; /* what there was no room for is learned again */
	if (r == 0)
		r = file_write(fd, buf_str(&h.text), h.text.len);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, HANDOVER_SEALS) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, r, "hand over what is known of the registry");
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The letters are distinct: each record is one of them's. */
static int handover_record(struct handover *h, char kind, struct tokens *tokens,
			   struct origin *origin)
{
	int r = tokens_take_over(tokens, kind, h);
	return r == -ENOENT ? registry_take_over(origin, kind, h) : r;
}

int handover_read(int fd, struct tokens *tokens, struct origin *origin, struct err *err)
{
	uint64_t size = 0;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & HANDOVER_SEALS) != HANDOVER_SEALS || file_size(fd, &size) < 0 ||
	    size > HANDOVER_BYTES_MAX)
		return err_say(err, -EBADMSG, "what was handed over is no sealed memory of ours");
	if (size == 0)
		return 0;
	const char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "read what was handed over");
	struct handover h = {.at = map, .end = map + size};
	int r = 0;
	while (r == 0 && h.at < h.end) {
		const char *kind = NULL;
		r = handover_take(&h, &kind, 1);
		if (r == 0)
			r = handover_record(&h, kind[0], tokens, origin);
	}
	(void)munmap((void *)(uintptr_t)map, size);
	if (r == -ENOENT)
		r = -EBADMSG;
	return r < 0 ? err_set(err, r, "read what was handed over") : 0;
}
