/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Image references as people type them: `[docker://]name[:tag][@digest]`,
 * `oci:DIR[:tag]`, `oci-archive:FILE[:tag]`, `docker-archive:FILE[:tag]`.
 * Names follow the grammar of the distribution reference; `x` means
 * `docker.io/library/x`.
 */

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"

enum {
	REF_NAME_MAX = 255, /* host and repository together */
	REF_TAG_MAX = 128,
};

enum ref_kind { REF_REGISTRY, REF_OCI_DIR, REF_OCI_ARCHIVE, REF_DOCKER_ARCHIVE };

struct ref {
	enum ref_kind kind;
	char *host;	  /* registry: "docker.io", "localhost:5000"; else NULL */
	char *repository; /* registry: "library/python"; else NULL */
	char *path;	  /* layouts and archives: the directory or file; else NULL */
	char *tag;	  /* NULL: none; a registry name without tag and digest gets "latest" */
	struct digest digest; /* DIGEST_NONE: none */
};

/* Parses the whole of text. -EINVAL with a sentence that says which part is wrong. */
int ref_parse(const char *text, struct ref *ret, struct err *err);
void ref_finish(struct ref *ref);
DEFINE_FINISH(ref, ref_finish);

/* The canonical text, e.g. "docker.io/library/python:3.12"; the caller frees it. -ENOMEM. */
int ref_text(const struct ref *ref, char **ret);
