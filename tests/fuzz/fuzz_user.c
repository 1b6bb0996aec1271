/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "exec/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct piece {
	const uint8_t *data;
	size_t n;
};

/* /etc/passwd and /etc/group. */
static int piece_read(void *data, const char *path, struct buf *ret, struct err *err)
{
	const struct piece *piece = (struct piece *)data + (strcmp(path, "/etc/group") == 0);
	(void)err;
	return buf_append(ret, piece->data, piece->n);
}

/* The bytes up to a mark, which is taken off with them. */
static struct piece piece_cut(const uint8_t **data, size_t *n, uint8_t mark)
{
	const uint8_t *end = *n ? memchr(*data, mark, *n) : NULL;
	struct piece piece = {*data, end ? (size_t)(end - *data) : *n};
	size_t taken = piece.n + (end ? 1 : 0);
	*data += taken;
	*n -= taken;
	return piece;
}

/* A user up to the first '|', then /etc/passwd up to the next one, then /etc/group. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO_FINISH(user) struct user user = {0};
	struct err err = {0};
	struct piece spec = piece_cut(&data, &n, '|');
	struct piece pieces[2] = {piece_cut(&data, &n, '|')};
	pieces[1] = (struct piece){data, n};
	const struct user_files files = {.read = piece_read, .data = pieces};
	AUTO_FREE char *text = strndup((const char *)spec.data, spec.n);
	if (!text)
		abort();
	int r = user_find_in(&files, text, &user, &err);
	if (r < 0 ? user.home != NULL : !user.home || user.home[0] != '/')
		abort();
	if (user.uid > INT32_MAX || user.gid > INT32_MAX || user.n_gids > USER_GIDS_MAX)
		abort();
	return 0;
}
