/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/profile_flags.h"

#include <string.h>

#include "base/num.h"

void profile_flags_options(struct profile_flags *flags, struct opt *table)
{
	const struct opt rows[PROFILE_FLAGS] = {
		{"no-profile", 0, OPT_FLAG, NULL,
		 "neither fetch by a startup profile nor record for it", &flags->off},
		{"profile-file", 0, OPT_TEXT, "FILE",
		 "record what the start touches into FILE instead of learning it", &flags->file},
		{"profile-quiet", 0, OPT_DURATION, "TIME",
		 "a start is over when nothing new is touched for so long", &flags->quiet_ms},
		{"profile-time", 0, OPT_DURATION, "TIME", "and at the latest after this time",
		 &flags->cap_ms},
		{"profile-bytes", 0, OPT_SIZE, "SIZE", "and when so many bytes were touched",
		 &flags->cap_bytes},
		{"fill", 0, OPT_FLAG, NULL, "fetch everything in the background, while nobody reads",
		 &flags->start.fill},
		{"no-prefetch", 0, OPT_FLAG, NULL, "fetch nothing before it is read",
		 &flags->start.no_prefetch},
		{"prefetch-rate", 0, OPT_SIZE, "SIZE",
		 "most bytes a second of what nobody waits for (default: no limit)",
		 &flags->start.prefetch_rate},
	};
	memcpy(table, rows, sizeof(rows));
}

int profile_flags_check(const struct profile_flags *flags, struct err *err)
{
	if (!flags->off)
		return 0;
	if (!flags->file && flags->quiet_ms == 0 && flags->cap_ms == 0 && flags->cap_bytes == 0)
		return 0;
	return err_say(err, -EINVAL, "--no-profile records nothing: leave it out, or the other "
				     "options about the profile");
}
