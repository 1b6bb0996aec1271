/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * images/<manifest digest>/image.json: what a prepared image consists of, for
 * image_open() and for gc. The keys are those of fs/image.h.
 */

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "fetcher/store.h"

struct image_record {
	char *reference;      /* owned; what it was first prepared as */
	char *media_type;     /* owned; of the manifest */
	struct digest manifest, config;
	struct digest *layers; /* owned; bottom first */
	size_t n_layers;
	struct digest *blobs; /* owned; other blobs that gc must keep */
	size_t n_blobs;
	struct digest artifact; /* the index made of this image here; none: none was made */
	bool from_bundle;     /* all of it came from one index of ours */
};

void image_record_finish(struct image_record *record);
DEFINE_FINISH(image_record, image_record_finish);

/* Opens images/<manifest>, a descriptor the caller closes. -ENOENT. With `make`: makes it. */
int image_dir_open(struct store *store, const struct digest *manifest, bool make, int *ret_fd,
		   struct err *err);

/* Reads the record. -ENOENT, -EBADMSG. */
int image_record_load(int image_dir, struct image_record *ret, struct err *err);

/* Commits the record, replacing an earlier one: the image is then prepared. */
int image_record_keep(int image_dir, const struct image_record *record, enum commit_mode mode,
		      struct err *err);
int image_record_save(int image_dir, const struct image_record *record, struct err *err);

/* Adds a blob that gc must keep, once. -ENOMEM. */
int image_record_add_blob(struct image_record *record, const struct digest *blob);
