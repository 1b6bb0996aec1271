/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/tar_priv.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"

/* A piece in an old GNU header: offset and length, 12 bytes each. */
enum { OLD_NUMBER_LEN = 12, OLD_SLOT_LEN = 2 * OLD_NUMBER_LEN };

enum { NUMBER_DIGITS_MAX = 32 }; /* of a decimal number, leading zeros and all */

void tar_sparse_reset(struct tar_sparse *sparse)
{
	*sparse = (struct tar_sparse){.items = sparse->items, .room = sparse->room};
}

void tar_sparse_finish(struct tar_sparse *sparse)
{
	free(sparse->items);
	*sparse = (struct tar_sparse){0};
}

static int sparse_grow(struct tar_sparse *sparse)
{
	if (sparse->items && sparse->n < sparse->room)
		return 0;
	size_t room = sparse->room ? sparse->room * 2 : 16;
	struct entry_extent *items = reallocarray(sparse->items, room, sizeof(*items));
	if (!items)
		return -ENOMEM;
	sparse->items = items;
	sparse->room = room;
	return 0;
}

int tar_sparse_add(struct tar_sparse *sparse, uint64_t off, uint64_t len, struct err *err)
{
	struct entry_extent *last = sparse->n > 0 ? &sparse->items[sparse->n - 1] : NULL;
	if (off > TAR_SIZE_MAX || len > TAR_SIZE_MAX)
		return err_say(err, -EBADMSG, "a number in its sparse map is out of range");
	if (last && off < last->file_off + last->len)
		return err_say(err, -EBADMSG, "its sparse map is out of order");
	if (len == 0)
		return 0;
	if (sparse->stored + len > TAR_SIZE_MAX)
		return err_say(err, -EBADMSG, "its sparse map is out of range");
	if (last && off == last->file_off + last->len) {
		last->len += len;
		sparse->stored += len;
		return 0;
	}
	if (sparse->n >= ENTRY_EXTENTS_MAX)
		return err_say(err, -EBADMSG, "it is sparse in more than %d pieces",
			       ENTRY_EXTENTS_MAX);
	int r = sparse_grow(sparse);
	if (r < 0)
		return r;
	sparse->items[sparse->n++] = (struct entry_extent){
		.file_off = off,
		.dev_off = sparse->stored,
		.len = len,
	};
	sparse->stored += len;
	return 0;
}

int tar_sparse_add_old(struct tar_sparse *sparse, const uint8_t *slots, size_t n,
		       struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *slot = slots + i * OLD_SLOT_LEN;
		const char *what = "sparse map";
		uint64_t off = 0;
		uint64_t len = 0;
		if (slot[0] == '\0' || slot[OLD_NUMBER_LEN] == '\0')
			return 0;
		int r = tar_field(slot, OLD_NUMBER_LEN, TAR_SIZE_MAX, what, &off, err);
		if (r < 0)
			return r;
		r = tar_field(slot + OLD_NUMBER_LEN, OLD_NUMBER_LEN, TAR_SIZE_MAX, what, &len, err);
		if (r < 0)
			return r;
		r = tar_sparse_add(sparse, off, len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Takes one character of a list of decimal numbers, each ended by `end`: 1
 * when this character ended one, which is then in sparse->number until the
 * next call.
 */
static int sparse_char(struct tar_sparse *sparse, char c, char end, struct err *err)
{
	if (c == end && sparse->digits > 0) {
		sparse->digits = 0;
		return 1;
	}
	if (c < '0' || c > '9')
		return err_say(err, -EBADMSG, "its sparse map is not a list of numbers");
	if (sparse->digits++ == 0)
		sparse->number = 0;
	sparse->number = sparse->number * 10 + (uint64_t)(c - '0');
	/* Checked at each digit, so the product cannot overflow. */
	if (sparse->number > TAR_SIZE_MAX || sparse->digits > NUMBER_DIGITS_MAX)
		return err_say(err, -EBADMSG, "a number in its sparse map is out of range");
	return 0;
}

int tar_sparse_add_map(struct tar_sparse *sparse, const char *text, size_t n, struct err *err)
{
	bool odd = false;
	tar_sparse_reset(sparse);
	for (size_t i = 0; i <= n && n > 0; i++) {
		int r = sparse_char(sparse, i < n ? text[i] : ',', ',', err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (odd) {
			r = tar_sparse_add(sparse, sparse->off, sparse->number, err);
			if (r < 0)
				return r;
		}
		sparse->off = sparse->number;
		odd = !odd;
	}
	if (odd)
		return err_say(err, -EBADMSG, "its sparse map ends with an offset");
	return 0;
}

int tar_sparse_add_block(struct tar_sparse *sparse, const uint8_t block[static TAR_BLOCK],
			 struct err *err)
{
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		int r = sparse_char(sparse, (char)block[i], '\n', err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (!sparse->counted) {
			if (sparse->number > ENTRY_EXTENTS_MAX)
				return err_say(err, -EBADMSG, "it is sparse in more than %d pieces",
					       ENTRY_EXTENTS_MAX);
			sparse->counted = true;
			sparse->numbers_left = 2 * sparse->number;
		} else {
			sparse->numbers_left--;
			if (sparse->numbers_left % 2 == 0) {
				r = tar_sparse_add(sparse, sparse->off, sparse->number, err);
				if (r < 0)
					return r;
			}
			sparse->off = sparse->number;
		}
		if (sparse->numbers_left == 0)
			return 1;
	}
	return 0;
}
