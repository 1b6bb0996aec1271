/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/origin_open.h"

#include "fetcher/local.h"

int origin_open(const struct registry_config *registry, const struct ref *ref,
		struct origin **ret, struct err *err)
{
	switch (ref->kind) {
	case REF_REGISTRY:
		return registry_open(registry, ref, ret, err);
	case REF_OCI_DIR:
		return layout_open(ref, ret, err);
	case REF_OCI_ARCHIVE:
	case REF_DOCKER_ARCHIVE:
		return archive_open(ref, ret, err);
	}
	return err_say(err, -EINVAL, "unknown kind of image reference");
}
