/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "exec/validate_priv.h"

/* The two documents that a runtime writes: a container's state, and the runtime's features. */

void check_state(struct check *check, const struct at *document)
{
	struct at version = at_member(document, "ociVersion"), id = at_member(document, "id"),
		  pid = at_member(document, "pid"), bundle = at_member(document, "bundle"),
		  annotations = at_member(document, "annotations");
	const char *status = at_member_string(document, "status"), *name = at_string(&id),
		   *path = at_string(&bundle);
	struct semver ignored;
	wide_t number;
	(void)check_version(check, &version, &ignored);
	if (name && *name == '\0')
		find(check, &id, "must be the container's id");
	if (status && (strcmp(status, "created") == 0 || strcmp(status, "running") == 0)) {
		if (!pid.value || (at_number(&pid, &number) && number == 0))
			find(check, &pid, "must be the id of the process of a container that is %s",
			     status);
	}
	/* Nothing says which platform wrote it. */
	if (path && !form_absolute(path) && !form_drive(path))
		find(check, &bundle, "must be an absolute path");
	check_annotations(check, &annotations);
}

void check_features(struct check *check, const struct at *document)
{
	struct at min = at_member(document, "ociVersionMin"),
		  max = at_member(document, "ociVersionMax"),
		  annotations = at_member(document, "annotations");
	struct semver low, high;
	bool has_low = check_version(check, &min, &low);
	if (check_version(check, &max, &high) && has_low && semver_compare(&high, &low) < 0)
		find_exactly(check, &max, "must not be less than ociVersionMin");
	check_annotations(check, &annotations);
}
