/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/num.h"
#include "exec/validate_priv.h"

/* The platforms beside Linux: Windows, virtual machines, FreeBSD, z/OS. */

enum {
	CPU_PARTS = 10000, /* a Windows container's share is counted in these */
	STATFS_MAX = 2,
};

static void check_windows_cpu(struct check *check, const struct at *cpu)
{
	static const char *const exclusive[] = {"count", "shares", "maximum", "affinity"};
	struct at shares = at_member(cpu, "shares"), maximum = at_member(cpu, "maximum");
	size_t set = 0;
	check_range(check, &shares, 0, CPU_PARTS);
	check_range(check, &maximum, 0, CPU_PARTS);
	for (size_t i = 0; i < ARRAY_LEN(exclusive); i++)
		set += at_member(cpu, exclusive[i]).value != NULL;
	if (set > 1)
		find_exactly(check, cpu,
			     "must have one of count, shares, maximum and affinity, but has "
			     "%zu of them",
			     set);
}

void check_windows(struct check *check, const struct at *windows)
{
	struct at devices = at_member(windows, "devices"),
		  resources = at_member(windows, "resources"), cpu = at_member(&resources, "cpu");
	at_each_item(device, &devices) {
		struct at id = at_member(&device, "id");
		const char *type = at_member_string(&device, "idType"), *text = at_string(&id);
		if (type && strcmp(type, "class") == 0 && text && !form_guid(text))
			find(check, &id, "must be the GUID of a device interface class");
	}
	check_windows_cpu(check, &cpu);
}

void check_vm(struct check *check, const struct at *vm)
{
	struct at hypervisor = at_member(vm, "hypervisor"), kernel = at_member(vm, "kernel"),
		  image = at_member(vm, "image");
	struct at paths[] = {at_member(&hypervisor, "path"), at_member(&kernel, "path"),
			     at_member(&kernel, "initrd"), at_member(&image, "path")};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		check_absolute(check, &paths[i]);
}

static void check_addresses(struct check *check, const struct at *addresses, int family)
{
	at_each_item(address, addresses) {
		unsigned char out[sizeof(struct in6_addr)];
		const char *text = at_string(&address);
		if (text && inet_pton(family, text, out) != 1)
			find(check, &address, "must be an %s address in numbers",
			     family == AF_INET ? "IPv4" : "IPv6");
	}
}

void check_freebsd(struct check *check, const struct at *freebsd)
{
	struct at devices = at_member(freebsd, "devices"), jail = at_member(freebsd, "jail"),
		  ip4 = at_member(&jail, "ip4Addr"), ip6 = at_member(&jail, "ip6Addr"),
		  statfs = at_member(&jail, "enforceStatfs");
	at_each_item(device, &devices) {
		struct at path = at_member(&device, "path");
		const char *text = at_string(&path);
		if (check_there(check, &path) && text && (*text == '\0' || form_absolute(text)))
			find(check, &path, "must be a path relative to /dev");
	}
	check_addresses(check, &ip4, AF_INET);
	check_addresses(check, &ip6, AF_INET6);
	check_range(check, &statfs, 0, STATFS_MAX);
}

void check_zos(struct check *check, const struct at *zos)
{
	struct at namespaces = at_member(zos, "namespaces");
	check_namespaces(check, &namespaces);
}
