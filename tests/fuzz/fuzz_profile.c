/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "fs/profile_registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { LAYERS = 2 };

/* What is read is in bounds, and whoever writes and reads it again, or merges it, gets the like. */
static void check(const struct profile_facts *facts, const struct profile *p)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf text = buf_make((size_t)2 * PROFILE_TEXT_MAX);
	AUTO(profile) struct profile *again = NULL;
	AUTO(profile) struct profile *joined = NULL;
	uint64_t bytes = 0;
	for (size_t i = 0; i < profile_count(p); i++) {
		struct profile_range range;
		profile_get(p, i, &range);
		if (range.layer >= LAYERS || range.len == 0 ||
		    !range_within(range.off, range.len, facts->sizes[range.layer]))
			abort();
		bytes += range.len;
	}
	if (bytes != profile_bytes(p) || bytes > PROFILE_BYTES_MAX)
		abort();
	if (profile_emit(p, &facts->image, facts->layers, LAYERS, &text, &err) < 0 ||
	    profile_decode(facts, text.data, text.len, &again, &err) < 0 || !profile_equal(p, again))
		abort();
	if (profile_create(&joined) < 0 || profile_join(joined, p) < 0 ||
	    profile_join(joined, p) < 0 || profile_bytes(joined) != bytes ||
	    profile_learn_run(joined, p) < 0 || profile_bytes(joined) != bytes)
		abort();
}

/* The corpus has profiles of the image whose digest is that of "i", with layers "a" and "b". */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	struct digest layers[LAYERS];
	uint64_t sizes[LAYERS] = {MIB(64), 5000};
	struct profile_facts facts = {.layers = layers, .sizes = sizes, .n = LAYERS};
	AUTO(profile) struct profile *p = NULL;
	if (digest_of(DIGEST_SHA256, "i", 1, &facts.image) < 0 ||
	    digest_of(DIGEST_SHA256, "a", 1, &layers[0]) < 0 ||
	    digest_of(DIGEST_SHA256, "b", 1, &layers[1]) < 0)
		abort();
	int r = profile_decode(&facts, data, n, &p, &err);
	if (r < 0 && (r != -EBADMSG || err.text[0] == '\0'))
		abort();
	if (r == 0)
		check(&facts, p);
	return 0;
}
