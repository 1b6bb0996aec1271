/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/erofs_format.h"

#include <string.h>

const struct erofs_prefix erofs_prefixes[EROFS_PREFIXES] = {
	{1, "user."},	 {2, "system.posix_acl_access"}, {3, "system.posix_acl_default"},
	{4, "trusted."}, {6, "security."},
};

const struct erofs_prefix *erofs_prefix_of(const char *name, const char **ret_rest)
{
	for (size_t i = 0; i < EROFS_PREFIXES; i++) {
		const struct erofs_prefix *p = &erofs_prefixes[i];
		size_t n = strlen(p->text);
		if (strncmp(name, p->text, n) != 0)
			continue;
		/* A class needs a name after its dot; an ACL's name is complete. */
		bool class = p->text[n - 1] == '.';
		if (class == (name[n] == '\0'))
			continue;
		*ret_rest = name + n;
		return p;
	}
	return NULL;
}

void erofs_uuid(const struct digest *digest, uint8_t *ret)
{
	memcpy(ret, digest->bytes, EROFS_UUID_SIZE);
	ret[6] = (uint8_t)((ret[6] & 0x0f) | EROFS_UUID_VERSION << 4);
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

static uint32_t crc32c_add(uint32_t crc, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return crc;
}

uint32_t erofs_super_checksum(const uint8_t *super, size_t n)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c_add(UINT32_MAX, super, SB_CHECKSUM_AT);
	crc = crc32c_add(crc, zero, sizeof(zero));
	return crc32c_add(crc, super + SB_COMPAT_AT, n - SB_COMPAT_AT);
}
