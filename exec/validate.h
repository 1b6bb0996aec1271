/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether a document is what version 1.3 of the runtime-spec asks for: its
 * schema, and what the text asks beyond the schema. All that is wrong is
 * found, not just the first of it, and each finding says where. Works on JSON
 * and not on the types of exec/spec, so that a value of the wrong type is a
 * finding like any other. Only the document is looked at, never the machine.
 * Safe from any thread.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

enum { VALIDATE_FINDINGS_MAX = 256 }; /* further ones are counted only */

enum validate_kind {
	VALIDATE_CONFIG,   /* config.json of a bundle */
	VALIDATE_STATE,	   /* the answer to "state", and what hooks read */
	VALIDATE_FEATURES, /* the answer to "features" */
};

struct finding {
	char *pointer; /* RFC 6901; "" is the document; that of a missing member is where it belongs */
	char *text;    /* what the specification asks, and what is there; no newline */
	const char *section; /* of the specification: "config.md#process"; static */
};

/* A zeroed one is empty. */
struct findings {
	struct finding *items; /* owned */
	size_t count;	       /* at most VALIDATE_FINDINGS_MAX */
	size_t left_off;       /* found beyond that */
};

/*
 * Checks a document, of which numbers past int64_t are marked (exec/spec/number.h).
 * Appends what is wrong to found, which the caller finishes whatever the
 * result; what breaks the schema comes first. -ENOMEM.
 */
int validate_json(enum validate_kind kind, const json_t *document, struct findings *found,
		  struct err *err);

/*
 * The same for bytes. What is no JSON object, or holds a key twice, is one
 * finding. -ENOMEM; -E2BIG past OCI_JSON_MAX of exec/spec/type.h.
 */
int validate_bytes(enum validate_kind kind, const void *data, size_t n, struct findings *found,
		   struct err *err);

/* Frees the findings and empties the list. Accepts a zeroed one. */
void findings_finish(struct findings *found);
DEFINE_FINISH(findings, findings_finish);
