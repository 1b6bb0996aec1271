/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/arena.h"

#include <string.h>

#include "base/num.h"

enum {
	ARENA_BLOCK = 256 * 1024,
	ARENA_LARGE = ARENA_BLOCK / 8, /* a larger piece gets a block of its own */
	ARENA_ALIGN = 8,
};

struct arena_block {
	struct arena_block *next;
	uint8_t data[] __attribute__((aligned(ARENA_ALIGN)));
};

void arena_finish(struct arena *arena)
{
	if (!arena)
		return;
	while (arena->blocks) {
		struct arena_block *next = arena->blocks->next;
		free(arena->blocks);
		arena->blocks = next;
	}
	*arena = (struct arena){0};
}

static struct arena_block *arena_block(size_t n)
{
	if (n > SIZE_MAX - sizeof(struct arena_block))
		return NULL;
	return calloc(1, sizeof(struct arena_block) + n);
}

/* A large piece goes behind the newest block, which stays the one that is filled. */
static void *arena_alloc_large(struct arena *arena, size_t n)
{
	struct arena_block *block = arena_block(n);
	if (!block)
		return NULL;
	if (arena->blocks) {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
	} else {
		arena->blocks = block;
		arena->used = arena->room = n;
	}
	return block->data;
}

void *arena_alloc(struct arena *arena, size_t n)
{
	if (n > ARENA_LARGE)
		return arena_alloc_large(arena, n);
	size_t size = (size_t)u64_align(n, ARENA_ALIGN);
	if (!arena->blocks || size > arena->room - arena->used) {
		struct arena_block *block = arena_block(ARENA_BLOCK);
		if (!block)
			return NULL;
		block->next = arena->blocks;
		arena->blocks = block;
		arena->used = 0;
		arena->room = ARENA_BLOCK;
	}
	void *piece = arena->blocks->data + arena->used;
	arena->used += size;
	return piece;
}

char *arena_text(struct arena *arena, const char *text, size_t n)
{
	char *copy = arena_alloc(arena, n + 1);
	if (copy)
		memcpy(copy, text, n);
	return copy;
}
