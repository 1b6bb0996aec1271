/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

/*
 * The functions below EVP, which OpenSSL 3 would rather have nobody use. The first EVP of a
 * process reads the configuration and loads the providers: more than a millisecond, which several
 * processes of every `sluice run` would each spend to hash some hundred bytes. The code that
 * hashes is the same.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <string.h>

struct digest_ctx {
	enum digest_algo algo;
	union {
		SHA256_CTX sha256;
		SHA512_CTX sha512;
	} state;
};

size_t digest_size(enum digest_algo algo)
{
	switch (algo) {
	case DIGEST_SHA256:
		return SHA256_BYTES;
	case DIGEST_SHA512:
		return DIGEST_BYTES_MAX;
	case DIGEST_NONE:
		break;
	}
	return 0;
}

const char *digest_algo_name(enum digest_algo algo)
{
	switch (algo) {
	case DIGEST_SHA256:
		return "sha256";
	case DIGEST_SHA512:
		return "sha512";
	case DIGEST_NONE:
		break;
	}
	return "none";
}

/* Only lower case: upper-case digests are outside the grammar and would alias. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int digest_parse(const char *text, struct digest *ret, struct err *err)
{
	struct digest got = {0};
	const char *hex = strchr(text, ':');
	if (hex && (size_t)(hex - text) == strlen("sha256")) {
		if (strncmp(text, "sha256", strlen("sha256")) == 0)
			got.algo = DIGEST_SHA256;
		else if (strncmp(text, "sha512", strlen("sha512")) == 0)
			got.algo = DIGEST_SHA512;
	}
	if (got.algo == DIGEST_NONE)
		return err_say(err, -EINVAL, "'%.200s' is not a digest: it must begin with sha256: or sha512:",
			       text);
	hex++;

	size_t size = digest_size(got.algo);
	if (strlen(hex) != 2 * size)
		return err_say(err, -EINVAL, "'%.200s' is not a digest: %s takes %zu hex digits", text,
			       digest_algo_name(got.algo), 2 * size);
	for (size_t i = 0; i < size; i++) {
		int hi = hex_value(hex[2 * i]);
		int lo = hex_value(hex[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return err_say(err, -EINVAL,
				       "'%.200s' is not a digest: only 0-9 and a-f may follow the colon",
				       text);
		got.bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	*ret = got;
	return 0;
}

char *digest_hex(const struct digest *digest, char out[static DIGEST_STR_MAX])
{
	static const char digits[] = "0123456789abcdef";
	size_t size = digest_size(digest->algo);
	for (size_t i = 0; i < size; i++) {
		out[2 * i] = digits[digest->bytes[i] >> 4];
		out[2 * i + 1] = digits[digest->bytes[i] & 15];
	}
	out[2 * size] = '\0';
	return out;
}

char *digest_str(const struct digest *digest, char out[static DIGEST_STR_MAX])
{
	char hex[DIGEST_STR_MAX];
	(void)snprintf(out, DIGEST_STR_MAX, "%s:%.*s", digest_algo_name(digest->algo),
		       2 * DIGEST_BYTES_MAX, digest_hex(digest, hex));
	return out;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->algo == b->algo && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static int ctx_init(struct digest_ctx *ctx, enum digest_algo algo)
{
	ctx->algo = algo;
	switch (algo) {
	case DIGEST_SHA256:
		return SHA256_Init(&ctx->state.sha256) == 1 ? 0 : -EIO;
	case DIGEST_SHA512:
		return SHA512_Init(&ctx->state.sha512) == 1 ? 0 : -EIO;
	case DIGEST_NONE:
		break;
	}
	return -EINVAL;
}

static int ctx_finish(struct digest_ctx *ctx, struct digest *ret)
{
	struct digest got = {.algo = ctx->algo};
	int ok = ctx->algo == DIGEST_SHA256 ? SHA256_Final(got.bytes, &ctx->state.sha256) :
					      SHA512_Final(got.bytes, &ctx->state.sha512);
	if (ok != 1)
		return -EIO;
	*ret = got;
	return 0;
}

int digest_ctx_create(enum digest_algo algo, struct digest_ctx **ret)
{
	AUTO(digest_ctx) struct digest_ctx *ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	int r = ctx_init(ctx, algo);
	if (r < 0)
		return r;
	*ret = steal_ptr(&ctx);
	return 0;
}

void digest_ctx_destroy(struct digest_ctx *ctx)
{
	free(ctx);
}

int digest_ctx_update(struct digest_ctx *ctx, const void *data, size_t n)
{
	int ok = ctx->algo == DIGEST_SHA256 ? SHA256_Update(&ctx->state.sha256, data, n) :
					      SHA512_Update(&ctx->state.sha512, data, n);
	return ok == 1 ? 0 : -EIO;
}

int digest_ctx_peek(const struct digest_ctx *ctx, struct digest *ret)
{
	struct digest_ctx copy = *ctx;
	return ctx_finish(&copy, ret);
}

int digest_ctx_final(struct digest_ctx *ctx, struct digest *ret)
{
	struct digest got;
	int r = ctx_finish(ctx, &got);
	if (r == 0)
		r = ctx_init(ctx, ctx->algo);
	if (r < 0)
		return r;
	*ret = got;
	return 0;
}

int digest_of(enum digest_algo algo, const void *data, size_t n, struct digest *ret)
{
	struct digest_ctx ctx;
	int r = ctx_init(&ctx, algo);
	if (r == 0)
		r = digest_ctx_update(&ctx, data, n);
	return r < 0 ? r : ctx_finish(&ctx, ret);
}

int digest_match(const struct digest *want, const struct digest *got, const char *what,
		 struct err *err)
{
	if (digest_equal(want, got))
		return 0;
	struct digest_text a, b;
	return err_say(err, -EBADMSG, "%s is corrupt: expected %s, got %s", what,
		       digest_str(want, a.s), digest_str(got, b.s));
}

int digest_check(const struct digest *want, const void *data, size_t n, const char *what,
		 struct err *err)
{
	struct digest got;
	int r = digest_of(want->algo, data, n, &got);
	if (r < 0)
		return err_set(err, r, "compute the digest of %s", what);
	return digest_match(want, &got, what, err);
}
