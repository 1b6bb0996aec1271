/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Image manifests and indexes, OCI (image-spec manifest.md, image-index.md)
 * and Docker (schema 2, manifest list), and the part of the image
 * configuration that a mount needs. Everything from the document is checked
 * here; the bytes themselves the caller has verified against their digest.
 * Values own what they point at.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"
#include "base/err.h"
#include "fetcher/descriptor.h"

#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX	      "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_EMPTY	      "application/vnd.oci.empty.v1+json"
#define MEDIA_OCI_LAYER	      "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_OCI_LAYER_GZIP  "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_OCI_LAYER_ZSTD  "application/vnd.oci.image.layer.v1.tar+zstd"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"

enum {
	MANIFEST_LAYERS_MAX = 1024, /* overlayfs takes 500; more is nobody's image */
	MANIFEST_DATA_MAX = 1 << 20, /* decoded inline content of one descriptor */
	MANIFEST_URLS_MAX = 16,	     /* of one foreign layer */
	CONFIG_MAX = 8 << 20,	     /* bytes of an image configuration */
};

enum manifest_kind { MANIFEST_IMAGE, MANIFEST_INDEX };

struct manifest {
	enum manifest_kind kind;
	char *media_type;		/* owned; what it is treated as, one of the four above */
	struct descriptor config;	/* an image's */
	struct descriptors layers;	/* an image's, bottom first */
	struct descriptors manifests;	/* an index's, entries of unknown type left out */
	struct digest subject;		/* DIGEST_NONE: none */
	char *artifact_type;		/* owned; NULL: none */
	json_t *annotations;		/* owned object; NULL: none */
};

void manifest_finish(struct manifest *manifest);
DEFINE_FINISH(manifest, manifest_finish);

/*
 * Parses a manifest or an index. What it is, its `mediaType` says; failing
 * that, content_type (the header or the descriptor's media type; parameters
 * are ignored; NULL or an unknown one: none); failing that, its shape. A
 * document that is both, or contradicts its media type, is refused.
 * -EINVAL with what is wrong; -EOPNOTSUPP for Docker schema 1; -EBADMSG for
 * inline data that is not what its digest says; -E2BIG past a limit; -ENOMEM.
 */
int manifest_parse(const void *data, size_t n, const char *content_type, struct manifest *ret,
		   struct err *err);

/*
 * Parses one descriptor object; `what` names it in errors. media type, digest
 * and size must be there; inline data is decoded and verified. Errors as above.
 */
int descriptor_parse(const json_t *object, const char *what, struct descriptor *ret,
		     struct err *err);

/* Whether a media type is one of the four that manifest_parse() takes. */
bool media_is_manifest(const char *media_type);
bool media_is_index(const char *media_type);

/* How a layer blob is stored. What the media type promises; the bytes are sniffed when read. */
enum layer_compression { LAYER_TAR, LAYER_GZIP, LAYER_ZSTD };

struct layer_type {
	enum layer_compression compression;
	bool foreign; /* nondistributable: downloaded through its urls, never pushed */
};

/* What a layer's media type means. -EOPNOTSUPP, naming it, when it is not a layer of files. */
int layer_type_parse(const char *media_type, struct layer_type *ret, struct err *err);

/*
 * Whether all layers of an image's manifest are of a type that can be mounted.
 * -EOPNOTSUPP naming the type of the first that is not, or the type of the
 * artifact that this is in an image's stead (image-spec manifest.md, "Guidelines
 * for Artifact Usage"). Nothing is fetched for that.
 */
int manifest_check_layers(const struct manifest *manifest, struct err *err);

/* What a mount needs of an image configuration (image-spec config.md). */
struct image_config {
	char *os, *architecture, *variant; /* owned; NULL when not given */
	struct digest *diff_ids;	   /* owned; one a layer, bottom first */
	size_t n_diff_ids;
	json_t *json;			   /* owned: the whole document */
};

void image_config_finish(struct image_config *config);
DEFINE_FINISH(image_config, image_config_finish);

/*
 * Parses the configuration of an image with n_layers layers. -EINVAL when it
 * is not one, or names another number of layers; -E2BIG, -ENOMEM.
 */
int image_config_parse(const void *data, size_t n, size_t n_layers, struct image_config *ret,
		       struct err *err);
