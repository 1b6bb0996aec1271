/* SPDX-License-Identifier: Apache-2.0 */
#include "base/strv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int strv_copy(const char *const *from, char ***ret)
{
	size_t n = 0;
	if (!from)
		return 0;
	while (from[n])
		n++;
	char **list = calloc(n + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	*ret = list;
	for (size_t i = 0; i < n; i++) {
		list[i] = strdup(from[i]);
		if (!list[i])
			return -ENOMEM;
	}
	return 0;
}
