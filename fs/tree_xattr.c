/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/tree_priv.h"

enum {
	SET_ITEMS_MAX = ENTRY_XATTRS_MAX + 4, /* those of an entry and our marks */
	/* Of one inode on disk; the count field would take four times as much. */
	SET_BYTES_MAX = 65536,
};

static bool xattr_match(const struct hnode *hash, const void *key)
{
	const struct xattr *x = container_of(hash, const struct xattr, hash);
	const struct entry_xattr *want = key;
	return x->value_len == want->len && strcmp(x->name, want->name) == 0 &&
	       (want->len == 0 || memcmp(x->value, want->value, want->len) == 0);
}

static int xattr_intern(struct tree *tree, const struct entry_xattr *want,
			const struct erofs_prefix *prefix, struct xattr **ret)
{
	size_t name_len = strlen(want->name);
	uint64_t h = tree_hash(tree, 0, want->name, name_len);
	h = tree_hash(tree, h, want->value, want->len);
	struct hnode *hash = htab_find(&tree->xattrs, h, xattr_match, want);
	if (hash) {
		*ret = container_of(hash, struct xattr, hash);
		return 0;
	}
	struct xattr *x = arena_alloc(&tree->arena, sizeof(*x));
	char *name = arena_text(&tree->arena, want->name, name_len);
	uint8_t *value = arena_alloc(&tree->arena, want->len + 1);
	if (!x || !name || !value)
		return -ENOMEM;
	if (want->len > 0)
		memcpy(value, want->value, want->len);
	x->prefix = prefix;
	x->name = name;
	x->value = value;
	x->value_len = (uint32_t)want->len;
	int r = htab_insert(&tree->xattrs, &x->hash, h);
	if (r < 0)
		return r;
	list_append(&tree->all_xattrs, &x->link);
	*ret = x;
	return 0;
}

static int xattr_order(const void *a, const void *b)
{
	const struct xattr *const *x = a;
	const struct xattr *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

static bool set_match(const struct hnode *hash, const void *key)
{
	const struct xattr_set *set = container_of(hash, const struct xattr_set, hash);
	const struct xattr_set *want = key;
	return set->n == want->n &&
	       memcmp(set->items, want->items, set->n * sizeof(set->items[0])) == 0;
}

/* The set's one copy; `draft` is on loan. */
static int set_intern(struct tree *tree, const struct xattr_set *draft,
		      const struct xattr_set **ret)
{
	size_t bytes = draft->n * sizeof(draft->items[0]);
	uint64_t h = tree_hash(tree, 1, draft->items, bytes);
	struct hnode *hash = htab_find(&tree->sets, h, set_match, draft);
	if (hash) {
		*ret = container_of(hash, struct xattr_set, hash);
		return 0;
	}
	struct xattr_set *set = arena_alloc(&tree->arena, sizeof(*set) + bytes);
	if (!set)
		return -ENOMEM;
	set->n = draft->n;
	memcpy(set->items, draft->items, bytes);
	int r = htab_insert(&tree->sets, &set->hash, h);
	if (r < 0)
		return r;
	*ret = set;
	return 0;
}

/* Interns the items into the draft; the later of two with one name wins. */
static int set_draft(struct tree *tree, const struct entry_xattr *xattrs, size_t n,
		     struct xattr_set *draft)
{
	uint64_t bytes = XATTR_HEADER_SIZE;
	for (size_t i = 0; i < n; i++) {
		const char *rest = NULL;
		const struct erofs_prefix *prefix = erofs_prefix_of(xattrs[i].name, &rest);
		if (!prefix)
			continue;
		size_t rest_len = strlen(rest);
		if (rest_len > ENTRY_XATTR_NAME_MAX || xattrs[i].len > ENTRY_XATTR_VALUE_MAX)
			return -E2BIG;
		bytes += erofs_xattr_entry_size((uint32_t)rest_len, (uint32_t)xattrs[i].len);
		if (bytes > SET_BYTES_MAX)
			return -E2BIG;
		struct xattr *x = NULL;
		int r = xattr_intern(tree, &xattrs[i], prefix, &x);
		if (r < 0)
			return r;
		uint32_t at = 0;
		while (at < draft->n && strcmp(draft->items[at]->name, x->name) != 0)
			at++;
		draft->items[at] = x;
		if (at == draft->n)
			draft->n++;
	}
	return 0;
}

int tree_xattr_set(struct tree *tree, const struct entry_xattr *xattrs, size_t n,
		   const struct xattr_set **ret)
{
	if (n > SET_ITEMS_MAX)
		return -E2BIG;
	if (n == 0) {
		*ret = NULL;
		return 0;
	}
	AUTO_FREE struct xattr_set *draft = calloc(1, sizeof(*draft) + n * sizeof(draft->items[0]));
	if (!draft)
		return -ENOMEM;
	int r = set_draft(tree, xattrs, n, draft);
	if (r < 0)
		return r;
	if (draft->n == 0) {
		*ret = NULL;
		return 0;
	}
	qsort(draft->items, draft->n, sizeof(draft->items[0]), xattr_order);
	return set_intern(tree, draft, ret);
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

int tree_mark_dir(struct tree *tree, struct tree_node *node)
{
	struct tree_inode *dir = node->inode;
	uint32_t n_old = dir->xattrs ? dir->xattrs->n : 0;
	AUTO_FREE struct entry_xattr *all = calloc(n_old + 2, sizeof(*all));
	if (!all)
		return -ENOMEM;
	size_t n = 0;
	for (uint32_t i = 0; i < n_old; i++) {
		const struct xattr *x = dir->xattrs->items[i];
		if (has_prefix(x->name, XATTR_OUR_PREFIX) || has_prefix(x->name, XATTR_OVL_PREFIX))
			continue;
		all[n++] = (struct entry_xattr){x->name, x->value, x->value_len};
	}
	if (node->flags & NODE_CUT)
		all[n++] = (struct entry_xattr){XATTR_OPAQUE, "y", 1};
	if (node->flags & NODE_IMPLIED)
		all[n++] = (struct entry_xattr){XATTR_IMPLIED, "y", 1};
	return tree_xattr_set(tree, all, n, &dir->xattrs);
}
