/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Content digests, `algorithm:hex`, after the OCI image-spec (descriptor.md,
 * "Digests"). The grammar is strict: sha256 or sha512, lower-case hex of
 * exactly the right length, nothing before or after. A struct digest is a
 * plain value; a digest context belongs to one thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

enum digest_algo { DIGEST_NONE = 0, DIGEST_SHA256, DIGEST_SHA512 };

enum {
	DIGEST_BYTES_MAX = 64,
	DIGEST_STR_MAX = 7 + 2 * DIGEST_BYTES_MAX + 1, /* "sha512:" hex NUL */
	SHA256_BYTES = 32,
};

struct digest {
	enum digest_algo algo;
	uint8_t bytes[DIGEST_BYTES_MAX]; /* unused tail is zero */
};

/* Room for digest_str(); use as `digest_str(&d, (struct digest_text){0}.s)` or a named one. */
struct digest_text {
	char s[DIGEST_STR_MAX];
};

/* Bytes of a digest of this algorithm: 32, 64, or 0 for none. */
size_t digest_size(enum digest_algo algo);

/* "sha256", "sha512", or "none". */
const char *digest_algo_name(enum digest_algo algo);

/* Parses the whole string. -EINVAL for anything outside the grammar. */
int digest_parse(const char *text, struct digest *ret, struct err *err);

/* Writes `algorithm:hex` into out and returns out. */
char *digest_str(const struct digest *digest, char out[static DIGEST_STR_MAX]);

/* Writes only the hex into out and returns out. */
char *digest_hex(const struct digest *digest, char out[static DIGEST_STR_MAX]);

bool digest_equal(const struct digest *a, const struct digest *b);

/* True for the zero value, which stands for "no digest known". */
static inline bool digest_is_none(const struct digest *digest)
{
	return digest->algo == DIGEST_NONE;
}

/* The digest of one buffer. -ENOMEM, or -EIO when the crypto library fails. */
int digest_of(enum digest_algo algo, const void *data, size_t n, struct digest *ret);

/*
 * Checks that data has the digest want. -EBADMSG with a text that names both
 * digests and what (say "manifest") when it has not.
 */
int digest_check(const struct digest *want, const void *data, size_t n, const char *what,
		 struct err *err);

/* -EBADMSG with that same text when got is not want. */
int digest_match(const struct digest *want, const struct digest *got, const char *what,
		 struct err *err);

/* A digest over bytes that arrive in pieces. */
struct digest_ctx;

/* -ENOMEM; -EINVAL for DIGEST_NONE. The caller destroys it. */
int digest_ctx_create(enum digest_algo algo, struct digest_ctx **ret);
void digest_ctx_destroy(struct digest_ctx *ctx);
DEFINE_CLEANUP(digest_ctx, digest_ctx_destroy);

/* Adds bytes. -EIO when the crypto library fails. */
int digest_ctx_update(struct digest_ctx *ctx, const void *data, size_t n);

/* The digest of everything added so far; more can be added. -EIO as above, -ENOMEM. */
int digest_ctx_peek(const struct digest_ctx *ctx, struct digest *ret);

/* The digest of everything added; the context then starts over. -EIO as above. */
int digest_ctx_final(struct digest_ctx *ctx, struct digest *ret);
