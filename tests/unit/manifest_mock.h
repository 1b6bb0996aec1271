/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An origin of a few manifests in memory, by their digest; the first is what the name means. */

#include <stdlib.h>

#include "base/list.h"
#include "fetcher/manifest.h"
#include "fetcher/origin.h"
#include "tests/unit/unit.h"

enum { SHELF_MAX = 16 };

struct shelf {
	struct origin origin;
	struct {
		char *text; /* owned */
		const char *type;
		struct digest digest;
	} items[SHELF_MAX];
	size_t count, asked;
};

static inline int shelf_manifest(struct origin *o, const struct digest *want, struct buf *ret,
				 struct descriptor *ret_desc, deadline_t deadline, struct err *err)
{
	struct shelf *shelf = container_of(o, struct shelf, origin);
	(void)deadline;
	shelf->asked++;
	for (size_t i = 0; i < shelf->count; i++) {
		if (want && !digest_equal(want, &shelf->items[i].digest))
			continue;
		assert_int_equal(buf_puts(ret, shelf->items[i].text), 0);
		*ret_desc = (struct descriptor){.media_type = strdup(shelf->items[i].type),
						.digest = shelf->items[i].digest,
						.size = strlen(shelf->items[i].text)};
		return 0;
	}
	return err_say(err, -ENOENT, "no such manifest");
}

static const struct origin_ops shelf_ops = {.manifest = shelf_manifest};

static inline void shelf_init(struct shelf *shelf)
{
	*shelf = (struct shelf){.origin.ops = &shelf_ops};
}

static inline void shelf_finish(struct shelf *shelf)
{
	for (size_t i = 0; i < shelf->count; i++)
		free(shelf->items[i].text);
}

/* Puts a document there and returns its digest. */
static inline struct digest shelf_add(struct shelf *shelf, const char *type, const char *text)
{
	assert_true(shelf->count < SHELF_MAX);
	struct digest digest;
	assert_int_equal(digest_of(DIGEST_SHA256, text, strlen(text), &digest), 0);
	shelf->items[shelf->count].text = strdup(text);
	shelf->items[shelf->count].type = type;
	shelf->items[shelf->count].digest = digest;
	shelf->count++;
	return digest;
}

#define SHELF_ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHELF_DESC(type) "{\"mediaType\":\"" type "\",\"digest\":\"" SHELF_ABC "\",\"size\":3}"
#define SHELF_IMAGE                                                                        \
	"{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"config\":"         \
	SHELF_DESC(MEDIA_OCI_CONFIG) ",\"layers\":[" SHELF_DESC(MEDIA_OCI_LAYER) "]}"
