/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cap.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"

static const char prefix[] = "CAP_";
enum { PREFIX_LEN = sizeof(prefix) - 1 };

/* By number, from capabilities(7). */
static const char *const names[CAP_COUNT] = {
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
};

const char *cap_name(unsigned int cap)
{
	return cap < CAP_COUNT ? names[cap] : NULL;
}

int cap_parse(const char *name, unsigned int *ret)
{
	for (unsigned int i = 0; i < CAP_COUNT; i++)
		if (strcmp(names[i], name) == 0) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

int cap_parse_loose(const char *name, unsigned int *ret, struct err *err)
{
	const char *bare = strncasecmp(name, prefix, PREFIX_LEN) == 0 ? name + PREFIX_LEN : name;
	for (unsigned int i = 0; i < CAP_COUNT; i++)
		if (strcasecmp(names[i] + PREFIX_LEN, bare) == 0) {
			*ret = i;
			return 0;
		}
	return err_say(err, -EINVAL, "there is no capability '%s'", name);
}

int cap_set_parse(const char *const *list, size_t n, cap_set_t *ret, struct err *err)
{
	cap_set_t set = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned int cap = 0;
		if (cap_parse(list[i], &cap) < 0)
			return err_say(err, -EINVAL, "there is no capability '%s'", list[i]);
		set |= cap_bit(cap);
	}
	*ret = set;
	return 0;
}
