/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "tools/run_parse.h"

#define ONLINE "/sys/devices/system/cpu/online"

enum {
	CPUSET_MAX = 8192, /* processors: CONFIG_NR_CPUS has no larger limit */
	ONLINE_MAX = 4096, /* bytes of the kernel's list */
};

/* "0-2,4", which is how the kernel writes it, too. */
static int cpuset_parse(const char *text, bool set[static CPUSET_MAX])
{
	AUTO_FREE char *copy = strdup(text);
	char *rest = copy;
	if (!copy)
		return -ENOMEM;
	for (char *word; (word = strsep(&rest, ",")) != NULL;) {
		uint64_t first = 0, last = 0;
		char *dash = strchr(word, '-');
		if (dash)
			*dash++ = '\0';
		if (u64_parse(word, CPUSET_MAX - 1, &first) < 0 ||
		    u64_parse(dash ? dash : word, CPUSET_MAX - 1, &last) < 0 || last < first)
			return -EINVAL;
		for (; first <= last; first++)
			set[first] = true;
	}
	return 0;
}

int run_check_cpuset(const char *text, struct err *err)
{
	AUTO_FINISH(buf) struct buf online = buf_make(ONLINE_MAX);
	bool asked[CPUSET_MAX] = {false}, there[CPUSET_MAX] = {false};
	int r = cpuset_parse(text, asked);
	if (r == -EINVAL)
		return err_say(err, r, "--cpuset-cpus does not take '%s': it wants processors, say 0-2,4",
			       text);
	if (r < 0)
		return err_set(err, r, "take --cpuset-cpus");
	r = file_slurp(AT_FDCWD, ONLINE, &online, err);
	if (r < 0)
		return err_prefix(err, r, "--cpuset-cpus");
	if (online.len > 0 && online.data[online.len - 1] == '\n')
		online.data[--online.len] = '\0';
	r = cpuset_parse(buf_str(&online), there);
	if (r < 0)
		return err_set(err, r, "read " ONLINE);
	for (size_t i = 0; i < CPUSET_MAX; i++)
		if (asked[i] && !there[i])
			return err_say(err, -EINVAL,
				       "--cpuset-cpus %s: this machine has no processor %zu, but %s", text,
				       i, buf_str(&online));
	return 0;
}
