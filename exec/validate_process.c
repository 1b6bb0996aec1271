/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/num.h"
#include "exec/cap.h"
#include "exec/validate_priv.h"

enum {
	OOM_SCORE_MIN = -1000, /* proc(5) */
	OOM_SCORE_MAX = 1000,
	UMASK_MAX = 0777, /* umask(2) */
	NICE_MIN = -20,	  /* setpriority(2) */
	NICE_MAX = 19,
	PRIORITY_MIN = 1, /* sched(7), of real-time policies */
	PRIORITY_MAX = 99,
	RUNTIME_MIN_NS = 1024, /* sched(7), of SCHED_DEADLINE */
	IO_PRIORITY_MAX = 7,
};

static const wide_t id_max = UINT32_MAX - 1; /* the last one means "none" */

static void check_command(struct check *check, const struct at *process)
{
	struct at args = at_member(process, "args"), first = at_item(&args, 0),
		  line = at_member(process, "commandLine");
	const char *text = at_string(&first);
	if (check->on_windows) {
		if (!args.value && !line.value)
			find_exactly(check, &line, "is required where there are no args");
		return;
	}
	if (at_count(&args) == 0)
		find(check, &args, "must have an entry, the program");
	else if (text && *text == '\0')
		find(check, &first, "must be the program to run");
}

static void check_user(struct check *check, const struct at *user)
{
	static const char *const ids[] = {"uid", "gid"};
	struct at umask = at_member(user, "umask"), more = at_member(user, "additionalGids");
	if (!user->value || check->on_windows)
		return;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct at id = at_member(user, ids[i]);
		if (check_there(check, &id))
			check_range(check, &id, 0, id_max);
	}
	at_each_item(id, &more)
		check_range(check, &id, 0, id_max);
	check_range(check, &umask, 0, UMASK_MAX);
}

/* The capabilities that a set names; what is no name is told by check_capabilities(). */
static cap_set_t caps_of(const struct at *capabilities, const char *set)
{
	struct at list = at_member(capabilities, set);
	cap_set_t caps = 0;
	at_each_item(capability, &list) {
		const char *name = at_string(&capability);
		unsigned int cap;
		if (name && cap_parse(name, &cap) == 0)
			caps |= cap_bit(cap);
	}
	return caps;
}

/* Each of the set is in `other`, too. */
static void check_subset(struct check *check, const struct at *capabilities, const char *set,
			 const char *other)
{
	struct at list = at_member(capabilities, set);
	cap_set_t others = caps_of(capabilities, other);
	at_each_item(capability, &list) {
		const char *name = at_string(&capability);
		unsigned int cap;
		if (name && cap_parse(name, &cap) == 0 && !(others & cap_bit(cap)))
			find_exactly(check, &capability, "%s is %s and must be %s, too", name, set,
				     other);
	}
}

static void check_capabilities(struct check *check, const struct at *capabilities)
{
	static const char *const sets[] = {"bounding", "effective", "inheritable", "permitted",
					   "ambient"};
	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		struct at set = at_member(capabilities, sets[i]);
		at_each_item(capability, &set) {
			const char *name = at_string(&capability);
			unsigned int ignored;
			if (name && cap_parse(name, &ignored) < 0)
				find(check, &capability,
				     "must be the name of a capability in capabilities(7)");
		}
	}
	check_subset(check, capabilities, "effective", "permitted");
	check_subset(check, capabilities, "ambient", "permitted");
	check_subset(check, capabilities, "ambient", "inheritable");
}

static void check_rlimits(struct check *check, const struct at *rlimits)
{
	check_unique(check, rlimits, "type");
	at_each_item(rlimit, rlimits) {
		struct at type = at_member(&rlimit, "type"), soft = at_member(&rlimit, "soft");
		const char *name = at_string(&type);
		wide_t low, high;
		if (check->on_linux && name && !form_rlimit(name))
			find(check, &type, "must be the name of a limit in getrlimit(2)");
		if (at_number(&soft, &low) && at_member_number(&rlimit, "hard", &high) &&
		    low > high)
			find_exactly(check, &soft, "must not be above the hard limit");
	}
}

static void check_realtime(struct check *check, const struct at *priority)
{
	wide_t value = 0;
	if (!priority->value ||
	    (at_number(priority, &value) && (value < PRIORITY_MIN || value > PRIORITY_MAX)))
		find(check, priority, "must be from %d to %d for a real-time policy", PRIORITY_MIN,
		     PRIORITY_MAX);
}

/* runtime <= deadline <= period, where no period means the deadline. */
static void check_deadline(struct check *check, const struct at *scheduler)
{
	struct at runtime = at_member(scheduler, "runtime"),
		  deadline = at_member(scheduler, "deadline");
	wide_t run, dead, period;
	if (!check_there(check, &runtime) || !check_there(check, &deadline) ||
	    !at_number(&runtime, &run) || !at_number(&deadline, &dead))
		return;
	if (run < RUNTIME_MIN_NS)
		find(check, &runtime, "must be at least %d nanoseconds", RUNTIME_MIN_NS);
	else if (run > dead)
		find_exactly(check, &runtime, "must not be longer than the deadline");
	if (at_member_number(scheduler, "period", &period) && period != 0 && dead > period)
		find_exactly(check, &deadline, "must not be longer than the period");
}

static void check_scheduler(struct check *check, const struct at *scheduler)
{
	static const char *const of_deadline[] = {"runtime", "deadline", "period"};
	struct at nice = at_member(scheduler, "nice"), priority = at_member(scheduler, "priority");
	const char *policy = at_member_string(scheduler, "policy");
	wide_t value;
	if (!policy)
		return;
	check_range(check, &nice, NICE_MIN, NICE_MAX);
	if (strcmp(policy, "SCHED_FIFO") == 0 || strcmp(policy, "SCHED_RR") == 0)
		check_realtime(check, &priority);
	else if (at_number(&priority, &value) && value != 0)
		find_exactly(check, &priority, "must be 0 or left out: %s has no priorities",
			     policy);
	if (strcmp(policy, "SCHED_DEADLINE") == 0) {
		check_deadline(check, scheduler);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(of_deadline); i++) {
		struct at time = at_member(scheduler, of_deadline[i]);
		if (at_number(&time, &value) && value != 0)
			find_exactly(check, &time,
				     "must be 0 or left out: it is for SCHED_DEADLINE, not for %s",
				     policy);
	}
}

static void check_io_priority(struct check *check, const struct at *io)
{
	struct at priority = at_member(io, "priority");
	if (io->value && check_there(check, &priority))
		check_range(check, &priority, 0, IO_PRIORITY_MAX);
}

static void check_affinity(struct check *check, const struct at *affinity)
{
	static const char *const whens[] = {"initial", "final"};
	for (size_t i = 0; i < ARRAY_LEN(whens); i++) {
		struct at list = at_member(affinity, whens[i]);
		const char *text = at_string(&list);
		if (text && !form_list(text))
			find(check, &list, "must be a list of CPUs like \"0-3,7\"");
	}
}

void check_process(struct check *check, const struct at *process)
{
	struct at cwd = at_member(process, "cwd"), env = at_member(process, "env"),
		  user = at_member(process, "user"), rlimits = at_member(process, "rlimits"),
		  oom = at_member(process, "oomScoreAdj"), io = at_member(process, "ioPriority"),
		  capabilities = at_member(process, "capabilities"),
		  scheduler = at_member(process, "scheduler"),
		  affinity = at_member(process, "execCPUAffinity");
	const char *text = at_string(&cwd);
	if (!check->on_windows)
		check_absolute(check, &cwd);
	else if (text && !form_drive(text))
		find(check, &cwd, "must be an absolute path");
	check_command(check, process);
	check_assignments(check, &env);
	check_user(check, &user);
	check_capabilities(check, &capabilities);
	check_rlimits(check, &rlimits);
	check_range(check, &oom, OOM_SCORE_MIN, OOM_SCORE_MAX);
	check_scheduler(check, &scheduler);
	check_io_priority(check, &io);
	check_affinity(check, &affinity);
}
