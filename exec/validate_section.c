/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/type.h"
#include "exec/validate_priv.h"

/* How far the tables know the way to a place. */
struct known {
	const struct oci_type *type; /* of the object there; NULL: it has no members of its own */
	const char *section;
	bool in_map; /* the next step is a key of the document's own */
};

static struct known known_way(const struct oci_type *document, const struct oci_path *path)
{
	if (!path->up)
		return (struct known){.type = document, .section = document->section};
	struct known known = known_way(document, path->up);
	if (!path->key)
		return known;
	if (known.in_map) {
		known.in_map = false;
		return known;
	}
	const struct oci_member *m = known.type ? oci_type_member(known.type, path->key) : NULL;
	if (!m)
		return (struct known){.section = known.section};
	return (struct known){
		.type = m->type,
		.section = m->section,
		.in_map = m->shape == OCI_MAP,
	};
}

const char *section_of(const struct oci_type *document, const struct oci_path *path)
{
	return known_way(document, path).section;
}
