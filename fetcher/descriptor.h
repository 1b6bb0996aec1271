/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What points at content: media type, digest, size, annotations, after the
 * OCI image-spec, descriptor.md. Values own their strings.
 */

#include <jansson.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"

enum {
	DESCRIPTORS_MAX = 4096,	/* entries of one index or layers of one manifest */
};

struct descriptor {
	char *media_type;    /* owned; "" when the document does not say */
	char *artifact_type; /* owned; NULL: none */
	struct digest digest;
	uint64_t size;
	json_t *annotations; /* owned object; NULL: none */
	json_t *platform;    /* owned object; NULL: none */
	char **urls;	     /* owned, NULL-terminated; NULL: none (foreign layers) */
	char *data;	     /* owned inline content (decoded, verified); NULL: none */
};

void descriptor_finish(struct descriptor *desc);
DEFINE_FINISH(descriptor, descriptor_finish);

/* -ENOMEM. */
int descriptor_copy(const struct descriptor *from, struct descriptor *ret);

/* The value of an annotation, borrowed, or NULL. */
const char *descriptor_annotation(const struct descriptor *desc, const char *key);

struct descriptors {
	struct descriptor *items; /* owned */
	size_t count;
};

void descriptors_finish(struct descriptors *list);
DEFINE_FINISH(descriptors, descriptors_finish);

/* Moves *desc to the end and leaves it empty. -E2BIG past DESCRIPTORS_MAX, -ENOMEM. */
int descriptors_add(struct descriptors *list, struct descriptor *desc);
