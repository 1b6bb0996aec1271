/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of the EROFS reader share; fs/erofs.h is the interface. */

#include "fs/erofs.h"
#include "fs/erofs_format.h"

struct erofs {
	const uint8_t *data; /* mapped (owned) or borrowed */
	uint64_t size;
	bool mapped;
	uint8_t block_bits;
	uint16_t n_devices;
	uint16_t device_mask;
	uint64_t root;
	uint64_t meta;	  /* byte offset that nids count from */
	uint64_t xattrs;  /* byte offset that shared xattr ids count from */
	uint64_t devices; /* byte offset of the device table */
	uint64_t inodes;
	int64_t build_sec;
	uint32_t build_nsec;
};

/* The order of names in a directory: by bytes, a prefix first. <0, 0, >0. */
int erofs_name_compare(const char *a, size_t a_len, const char *b, size_t b_len);

/* The bytes [off, off + n) of the image, or NULL when they are not all there. */
static inline const uint8_t *erofs_bytes(const struct erofs *image, uint64_t off, uint64_t n)
{
	return range_within(off, n, image->size) ? image->data + off : NULL;
}

static inline uint64_t erofs_block_size(const struct erofs *image)
{
	return UINT64_C(1) << image->block_bits;
}

/*
 * Where byte off of a flat inode's data is: a pointer, and in *ret_len how many
 * bytes follow up to the end of that run. NULL when the image is broken.
 * off < size.
 */
const uint8_t *erofs_flat_data(const struct erofs *image, const struct erofs_inode *inode,
			       uint64_t off, uint64_t *ret_len);
