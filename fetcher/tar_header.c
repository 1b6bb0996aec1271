/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/tar_priv.h"

#include <errno.h>
#include <string.h>

/* POSIX.1-1988, "Extended tar Format"; the names are the standard's. */
enum {
	AT_NAME = 0,
	AT_MODE = 100,
	AT_UID = 108,
	AT_GID = 116,
	AT_SIZE = 124,
	AT_MTIME = 136,
	AT_CHKSUM = 148,
	AT_TYPEFLAG = 156,
	AT_LINKNAME = 157,
	AT_MAGIC = 257,
	AT_DEVMAJOR = 329,
	AT_DEVMINOR = 337,
	AT_PREFIX = 345,

	NAME_LEN = 100,
	ID_LEN = 8,
	SIZE_LEN = 12,
	CHKSUM_LEN = 8,
	MAGIC_LEN = 8,
	PREFIX_LEN = 155,
};

static int base256(const uint8_t *field, size_t n, int64_t *ret)
{
	/* Two's complement of 8n - 1 bits; the top bit only marks the form. */
	int64_t v = field[0] & 0x40 ? (int64_t)field[0] - 256 : field[0] & 0x3f;
	for (size_t i = 1; i < n; i++) {
		if (v > INT64_MAX / 256 || v < INT64_MIN / 256)
			return -ERANGE;
		v = v * 256 + field[i];
	}
	*ret = v;
	return 0;
}

int tar_number(const uint8_t *field, size_t n, int64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;
	if (field[0] & 0x80)
		return base256(field, n, ret);
	while (i < n && field[i] == ' ')
		i++;
	/* At most 12 digits of 3 bits: no overflow. */
	for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
		v = v * 8 + (uint64_t)(field[i] - '0');
	while (i < n && field[i] == ' ')
		i++;
	if (i < n && field[i] != '\0')
		return -EBADMSG;
	*ret = (int64_t)v;
	return 0;
}

int tar_field(const uint8_t *field, size_t n, uint64_t max, const char *what, uint64_t *ret,
	      struct err *err)
{
	int64_t v = 0;
	int r = tar_number(field, n, &v);
	if (r == -EBADMSG)
		return err_say(err, -EBADMSG, "the %s in the header is not a number", what);
	if (r < 0 || v < 0 || (uint64_t)v > max)
		return err_say(err, -EBADMSG, "the %s in the header is out of range", what);
	*ret = (uint64_t)v;
	return 0;
}

static int field_u32(const uint8_t *field, const char *what, uint32_t *ret, struct err *err)
{
	uint64_t v = 0;
	int r = tar_field(field, ID_LEN, UINT32_MAX, what, &v, err);
	if (r == 0)
		*ret = (uint32_t)v;
	return r;
}

/*
 * The sum of all bytes, those of the checksum itself taken as spaces. Old
 * writers summed signed chars: each byte from 128 on then counts 256 less.
 */
static int check_sum(const uint8_t *block, struct err *err)
{
	uint32_t sum = 0;
	uint32_t high = 0;
	int64_t want = 0;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		sum += block[i];
		high += block[i] >> 7;
	}
	for (size_t i = AT_CHKSUM; i < AT_CHKSUM + CHKSUM_LEN; i++) {
		sum = sum - block[i] + ' ';
		high -= block[i] >> 7;
	}
	const uint8_t *field = block + AT_CHKSUM;
	if (tar_number(field, CHKSUM_LEN, &want) < 0 ||
	    (want != (int64_t)sum && want != (int64_t)sum - 256 * (int64_t)high))
		return err_say(err, -EBADMSG, "the checksum of the header is wrong");
	return 0;
}

static enum tar_magic magic_of(const uint8_t *block)
{
	if (memcmp(block + AT_MAGIC, "ustar  ", MAGIC_LEN) == 0)
		return TAR_GNU;
	/* Some writers leave the version blank, so only the magic counts. */
	if (memcmp(block + AT_MAGIC, "ustar", 6) == 0)
		return TAR_USTAR;
	return TAR_V7;
}

int tar_header_parse(const uint8_t block[static TAR_BLOCK], struct tar_header *ret,
		     struct err *err)
{
	struct tar_header h = {.magic = magic_of(block), .type = (char)block[AT_TYPEFLAG]};
	uint64_t mode = 0;
	int r = check_sum(block, err);
	if (r < 0)
		return r;
	r = tar_field(block + AT_MODE, ID_LEN, INT64_MAX, "mode", &mode, err);
	if (r < 0)
		return r;
	h.mode = (uint32_t)(mode & 07777);
	r = field_u32(block + AT_UID, "uid", &h.uid, err);
	if (r < 0)
		return r;
	r = field_u32(block + AT_GID, "gid", &h.gid, err);
	if (r < 0)
		return r;
	r = tar_field(block + AT_SIZE, SIZE_LEN, TAR_SIZE_MAX, "size", &h.size, err);
	if (r < 0)
		return r;
	if (tar_number(block + AT_MTIME, SIZE_LEN, &h.mtime) < 0)
		return err_say(err, -EBADMSG, "the mtime in the header is not a number");
	/* Only devices are sure to have something sensible here. */
	if (h.type == '3' || h.type == '4') {
		r = field_u32(block + AT_DEVMAJOR, "major device number", &h.major, err);
		if (r < 0)
			return r;
		r = field_u32(block + AT_DEVMINOR, "minor device number", &h.minor, err);
		if (r < 0)
			return r;
	}
	h.name = (const char *)block + AT_NAME;
	h.name_len = strnlen(h.name, NAME_LEN);
	h.link = (const char *)block + AT_LINKNAME;
	h.link_len = strnlen(h.link, NAME_LEN);
	h.prefix = (const char *)block + AT_PREFIX;
	/* GNU tar keeps times and sparse maps where ustar has the prefix. */
	h.prefix_len = h.magic == TAR_USTAR ? strnlen(h.prefix, PREFIX_LEN) : 0;
	*ret = h;
	return 0;
}
