/* SPDX-License-Identifier: Apache-2.0 */
/* Windows that the disk did not take, until a decoder has used them. */
#include <stdlib.h>
#include <string.h>

#include "fetcher/store_layer_priv.h"

struct spare {
	struct list link;
	size_t span, len;
	uint8_t packed[];
};

void spares_init(struct spares *spares)
{
	(void)pthread_mutex_init(&spares->lock, NULL);
	list_init(&spares->list);
	spares->bytes = 0;
}

static void spares_remove(struct spares *spares, struct spare *spare)
{
	list_remove(&spare->link);
	spares->bytes -= spare->len;
}

void spares_finish(struct spares *spares)
{
	while (!list_empty(&spares->list)) {
		struct spare *spare = list_first(&spares->list, struct spare, link);
		spares_remove(spares, spare);
		free(spare);
	}
	(void)pthread_mutex_destroy(&spares->lock);
}

int spares_put(struct spares *spares, size_t span, const void *packed, size_t len)
{
	struct spare *spare = malloc(sizeof(*spare) + len);
	if (!spare)
		return -ENOMEM;
	spare->span = span;
	spare->len = len;
	memcpy(spare->packed, packed, len);
	(void)pthread_mutex_lock(&spares->lock);
	list_append(&spares->list, &spare->link);
	spares->bytes += len;
	while (spares->bytes > SPARES_BYTES_MAX) {
		struct spare *oldest = list_first(&spares->list, struct spare, link);
		spares_remove(spares, oldest);
		free(oldest);
	}
	(void)pthread_mutex_unlock(&spares->lock);
	return 0;
}

void *spares_take(struct spares *spares, size_t span, size_t *ret_len)
{
	struct spare *spare, *found = NULL;
	(void)pthread_mutex_lock(&spares->lock);
	list_for_each(spare, &spares->list, link) {
		if (spare->span == span) {
			found = spare;
			break;
		}
	}
	if (found)
		spares_remove(spares, found);
	(void)pthread_mutex_unlock(&spares->lock);
	if (!found)
		return NULL;
	*ret_len = found->len;
	memmove(found, found->packed, found->len);
	return found;
}
