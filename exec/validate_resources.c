/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/num.h"
#include "exec/validate_priv.h"

enum {
	UNLIMITED = -1,
	SWAPPINESS_MAX = 100,
	PAGE_SIZE_DIGITS_MAX = 9,
};

static void check_allowed_devices(struct check *check, const struct at *devices)
{
	static const char *const numbers[] = {"major", "minor"};
	at_each_item(device, devices) {
		struct at type = at_member(&device, "type"), access = at_member(&device, "access");
		const char *kind = at_string(&type), *what = at_string(&access);
		if (kind && strcmp(kind, "a") != 0 && strcmp(kind, "b") != 0 &&
		    strcmp(kind, "c") != 0)
			find(check, &type, "must be a, b or c");
		if (what && (*what == '\0' || strspn(what, "rwm") != strlen(what)))
			find(check, &access, "must be made of r, w and m");
		/* Engines write -1 for all of them. */
		for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
			struct at number = at_member(&device, numbers[i]);
			check_range(check, &number, -1, UINT32_MAX);
		}
	}
}

/* Whether one limit is set to less than another one is. */
static bool below(const struct at *memory, const char *key, const char *other)
{
	wide_t value, bound;
	/* To the runtimes, 0 is no limit. */
	return at_member_number(memory, key, &value) && value > 0 &&
	       at_member_number(memory, other, &bound) && bound > value;
}

static void check_memory(struct check *check, const struct at *memory)
{
	static const char *const limits[] = {"limit", "reservation", "swap", "kernel", "kernelTCP"};
	struct at swap = at_member(memory, "swap"), swappiness = at_member(memory, "swappiness"),
		  reservation = at_member(memory, "reservation");
	wide_t unlimited, value;
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		struct at limit = at_member(memory, limits[i]);
		check_range(check, &limit, UNLIMITED, INT64_MAX);
	}
	if (below(memory, "swap", "limit") ||
	    (at_member_number(memory, "limit", &unlimited) && unlimited == UNLIMITED &&
	     at_number(&swap, &value) && value > 0))
		find_exactly(check, &swap, "must not be below the limit: it is of memory and swap");
	if (below(memory, "limit", "reservation"))
		find_exactly(check, &reservation, "must not be above the limit");
	check_range(check, &swappiness, 0, SWAPPINESS_MAX);
}

static void check_list(struct check *check, const struct at *list)
{
	const char *text = at_string(list);
	if (text && !form_list(text))
		find(check, list, "must be a list like \"0-3,7\"");
}

static void check_cpu(struct check *check, const struct at *cpu)
{
	struct at burst = at_member(cpu, "burst"), idle = at_member(cpu, "idle"),
		  cpus = at_member(cpu, "cpus"), mems = at_member(cpu, "mems"),
		  runtime = at_member(cpu, "realtimeRuntime");
	wide_t value, bound;
	if (at_number(&burst, &value) && at_member_number(cpu, "quota", &bound) && bound > 0 &&
	    value > bound)
		find_exactly(check, &burst, "must not be above the quota");
	if (at_number(&runtime, &value) && at_member_number(cpu, "realtimePeriod", &bound) &&
	    bound > 0 && value > bound)
		find_exactly(check, &runtime, "must not be above realtimePeriod");
	check_range(check, &idle, 0, 1);
	check_list(check, &cpus);
	check_list(check, &mems);
}

static void check_block_io(struct check *check, const struct at *io)
{
	static const char *const throttles[] = {"throttleReadBpsDevice", "throttleWriteBpsDevice",
						"throttleReadIOPSDevice",
						"throttleWriteIOPSDevice"};
	struct at weights = at_member(io, "weightDevice");
	at_each_item(device, &weights) {
		struct at weight = at_member(&device, "weight"),
			  leaf = at_member(&device, "leafWeight");
		if (!weight.value && !leaf.value)
			find_exactly(check, &device, "must have weight or leafWeight");
	}
	for (size_t i = 0; i < ARRAY_LEN(throttles); i++) {
		struct at list = at_member(io, throttles[i]);
		at_each_item(device, &list) {
			struct at rate = at_member(&device, "rate");
			(void)check_there(check, &rate);
		}
	}
}

static void check_huge_pages(struct check *check, const struct at *limits)
{
	check_unique(check, limits, "pageSize");
	at_each_item(limit, limits) {
		struct at size = at_member(&limit, "pageSize");
		const char *text = at_string(&size);
		size_t n = text ? strspn(text, "0123456789") : 0;
		if (n == 0 || n > PAGE_SIZE_DIGITS_MAX)
			continue;
		unsigned long pages = strtoul(text, NULL, 10);
		if (pages & (pages - 1))
			find(check, &size, "must be the size of a huge page, a power of two");
	}
}

static void check_network(struct check *check, const struct at *network)
{
	struct at priorities = at_member(network, "priorities");
	check_unique(check, &priorities, "name");
	at_each_item(priority, &priorities) {
		struct at name = at_member(&priority, "name");
		const char *text = at_string(&name);
		if (text && !form_interface(text, false))
			find(check, &name, "must be the name of a network interface");
	}
}

static void check_rdma(struct check *check, const struct at *rdma)
{
	at_each_member(device, rdma) {
		struct at handles = at_member(&device, "hcaHandles"),
			  objects = at_member(&device, "hcaObjects");
		const char *name = device.path.key;
		if (*name == '\0' || name[strcspn(name, "/ \t\n")] != '\0')
			find_exactly(check, &device, "must have the name of a device as its key");
		else if (!handles.value && !objects.value)
			find_exactly(check, &device, "must have hcaHandles or hcaObjects");
	}
}

static void check_unified(struct check *check, const struct at *unified)
{
	at_each_member(file, unified) {
		const char *name = file.path.key;
		if (*name == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 ||
		    strcmp(name, "..") == 0)
			find_exactly(check, &file,
				     "must have the name of a file in the cgroup as its key");
	}
}

void check_resources(struct check *check, const struct at *resources)
{
	struct at devices = at_member(resources, "devices"),
		  memory = at_member(resources, "memory"), cpu = at_member(resources, "cpu"),
		  io = at_member(resources, "blockIO"),
		  huge = at_member(resources, "hugepageLimits"),
		  network = at_member(resources, "network"), pids = at_member(resources, "pids"),
		  rdma = at_member(resources, "rdma"), unified = at_member(resources, "unified"),
		  limit = at_member(&pids, "limit");
	check_allowed_devices(check, &devices);
	check_memory(check, &memory);
	check_cpu(check, &cpu);
	check_block_io(check, &io);
	check_huge_pages(check, &huge);
	check_network(check, &network);
	check_range(check, &limit, UNLIMITED, INT64_MAX);
	check_rdma(check, &rdma);
	check_unified(check, &unified);
}
