/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "exec/validate_priv.h"

enum {
	ARGUMENT_MAX = 5,	/* a system call has six */
	ERRNO_MAX = 4095,	/* of the kernel */
	TRACE_DATA_MAX = 65535, /* what a tracer is told has 16 bits */
};

static const char notify[] = "SCMP_ACT_NOTIFY";

/* The number beside an action: only two of them take one. */
static void check_errno(struct check *check, const struct at *object, const char *key,
			const char *action_key)
{
	struct at number = at_member(object, key);
	const char *action = at_member_string(object, action_key);
	if (!number.value || !action)
		return;
	if (strcmp(action, "SCMP_ACT_ERRNO") == 0)
		check_range(check, &number, 0, ERRNO_MAX);
	else if (strcmp(action, "SCMP_ACT_TRACE") == 0)
		check_range(check, &number, 0, TRACE_DATA_MAX);
	else
		find_exactly(check, &number,
			     "must be left out: %s takes no errno, SCMP_ACT_ERRNO and "
			     "SCMP_ACT_TRACE do",
			     action);
}

/* An index that stands there again is another condition, of which one has to hold. */
static void check_argument(struct check *check, const struct at *argument)
{
	struct at index = at_member(argument, "index"), second = at_member(argument, "valueTwo");
	const char *op = at_member_string(argument, "op");
	wide_t value;
	check_range(check, &index, 0, ARGUMENT_MAX);
	/* Old profiles write the 0 that is meant by nothing. */
	if (op && strcmp(op, "SCMP_CMP_MASKED_EQ") != 0 && at_number(&second, &value) && value != 0)
		find_exactly(check, &second,
			     "must be left out: it is for SCMP_CMP_MASKED_EQ, not for %s", op);
}

static void check_rule(struct check *check, const struct at *rule)
{
	struct at names = at_member(rule, "names"), arguments = at_member(rule, "args");
	at_each_item(name, &names) {
		const char *text = at_string(&name);
		if (text && *text == '\0')
			find(check, &name, "must be the name of a system call");
	}
	check_errno(check, rule, "errnoRet", "action");
	at_each_item(argument, &arguments)
		check_argument(check, &argument);
}

static bool is_notify(const struct at *object, const char *key)
{
	const char *action = at_member_string(object, key);
	return action && strcmp(action, notify) == 0;
}

void check_seccomp(struct check *check, const struct at *seccomp)
{
	struct at rules = at_member(seccomp, "syscalls"), path = at_member(seccomp, "listenerPath"),
		  metadata = at_member(seccomp, "listenerMetadata");
	const char *listener = at_string(&path), *text = at_string(&metadata);
	bool notifies = is_notify(seccomp, "defaultAction");
	check_errno(check, seccomp, "defaultErrnoRet", "defaultAction");
	at_each_item(rule, &rules) {
		check_rule(check, &rule);
		notifies |= is_notify(&rule, "action");
	}
	bool listens = listener && *listener;
	if (notifies && !listens)
		find(check, &path, "must be the path of a socket where %s is an action", notify);
	/* Go writes the empty string for nothing. */
	else if (text && *text && !listens)
		find_exactly(check, &metadata, "must not be set without listenerPath");
}
