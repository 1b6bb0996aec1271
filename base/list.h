/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An intrusive doubly linked list. A head is a struct list that points at
 * itself while empty; members embed a struct list. Not thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list {
	struct list *prev, *next;
};

/* The structure whose `member` ptr points at; name a const type for a const ptr. */
#define container_of(ptr, type, member)                                            \
	({                                                                         \
		const __typeof__(((type *)0)->member) *member_ = (ptr);            \
		(type *)((uintptr_t)member_ - offsetof(type, member));             \
	})

static inline void list_init(struct list *head)
{
	head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_insert(struct list *at, struct list *item)
{
	item->prev = at;
	item->next = at->next;
	at->next->prev = item;
	at->next = item;
}

/* First in the list. */
static inline void list_push(struct list *head, struct list *item)
{
	list_insert(head, item);
}

/* Last in the list. */
static inline void list_append(struct list *head, struct list *item)
{
	list_insert(head->prev, item);
}

/* Takes the item out and leaves it pointing at itself, so removing twice is harmless. */
static inline void list_remove(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

/* Moves everything from one list to the end of another. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	from->prev->next = to;
	to->prev->next = from->next;
	to->prev = from->prev;
	list_init(from);
}

#define list_first(head, type, member) container_of((head)->next, type, member)

#define list_for_each(pos, head, member)                                           \
	for (pos = container_of((head)->next, __typeof__(*pos), member);           \
	     &pos->member != (head);                                               \
	     pos = container_of(pos->member.next, __typeof__(*pos), member))

/* The current item may be removed inside the loop. */
#define list_for_each_safe(pos, tmp, head, member)                                 \
	for (pos = container_of((head)->next, __typeof__(*pos), member),           \
	    tmp = container_of(pos->member.next, __typeof__(*pos), member);        \
	     &pos->member != (head);                                               \
	     pos = tmp, tmp = container_of(tmp->member.next, __typeof__(*tmp), member))
