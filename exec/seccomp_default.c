/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_default.h"

#include <string.h>

int seccomp_default_profile(struct seccomp_profile **ret, struct err *err)
{
	return seccomp_profile_parse(seccomp_default_text, strlen(seccomp_default_text),
				     "the default seccomp profile", ret, err);
}
