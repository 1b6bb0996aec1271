/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "fs/erofs.h"
#include "fs/erofs_format.h"

enum { VERIFY_STEP = 1 << 20 };

/* The image was hashed before it had a checksum and a UUID. */
static void verify_blank(uint8_t *head)
{
	memset(head + EROFS_SUPER_OFFSET + SB_CHECKSUM_AT, 0, 4);
	memset(head + EROFS_SUPER_OFFSET + SB_UUID_AT, 0, EROFS_UUID_SIZE);
}

static int verify_hash(int fd, uint8_t *step, uint8_t *uuid, struct digest *ret)
{
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	int r = digest_ctx_create(DIGEST_SHA256, &ctx);
	uint64_t at = 0;
	ssize_t got = 1;
	while (r == 0 && got > 0) {
		got = file_pread(fd, step, VERIFY_STEP, at);
		if (got < 0)
			return (int)got;
		if (at == 0 && got < EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE)
			return -EBADMSG;
		if (at == 0) {
			memcpy(uuid, step + EROFS_SUPER_OFFSET + SB_UUID_AT, EROFS_UUID_SIZE);
			verify_blank(step);
		}
		r = digest_ctx_update(ctx, step, (size_t)got);
		at += (uint64_t)got;
	}
	return r < 0 ? r : digest_ctx_final(ctx, ret);
}

int erofs_verify(int fd, struct err *err)
{
	AUTO(erofs) struct erofs *image = NULL;
	AUTO_FREE uint8_t *step = malloc(VERIFY_STEP);
	uint8_t has[EROFS_UUID_SIZE], wants[EROFS_UUID_SIZE];
	struct digest digest;
	int r = erofs_open(fd, &image, err);
	if (r < 0)
		return r;
	r = step ? verify_hash(fd, step, has, &digest) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "read an EROFS image");
	/* Of what another writer made nothing is known. */
	if (has[6] >> 4 != EROFS_UUID_VERSION)
		return 0;
	erofs_uuid(&digest, wants);
	if (memcmp(has, wants, sizeof(wants)) != 0)
		return err_say(err, -EBADMSG, "the EROFS image is corrupt: its SHA-256 is not what its "
					      "UUID says");
	return 0;
}
