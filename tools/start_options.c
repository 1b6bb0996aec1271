/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/start_options.h"

#include <string.h>

void start_options(struct mount_start *start, struct opt *rows)
{
	const struct opt all[START_OPTIONS] = {
		{"fill", 0, OPT_FLAG, NULL, "fetch the rest in the background, while nobody reads",
		 &start->fill},
		{"prefetch-rate", 0, OPT_SIZE, "SIZE",
		 "most bytes a second of what nobody waits for (default: no limit)",
		 &start->prefetch_rate},
		{"no-prefetch", 0, OPT_FLAG, NULL, "fetch nothing before it is read",
		 &start->no_prefetch},
	};
	memcpy(rows, all, sizeof(all));
}
