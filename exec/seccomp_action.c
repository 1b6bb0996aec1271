/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_words.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

static const char *const op_names[SECCOMP_OP_COUNT] = {
	[SECCOMP_OP_NE] = "SCMP_CMP_NE",
	[SECCOMP_OP_LT] = "SCMP_CMP_LT",
	[SECCOMP_OP_LE] = "SCMP_CMP_LE",
	[SECCOMP_OP_EQ] = "SCMP_CMP_EQ",
	[SECCOMP_OP_GE] = "SCMP_CMP_GE",
	[SECCOMP_OP_GT] = "SCMP_CMP_GT",
	[SECCOMP_OP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ",
};

/* The first name of an action is the one that is written. */
static const struct {
	const char *name;
	uint32_t action;
	const char *meaning;
} actions[] = {
	{"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD, "kill thread"},
	{"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD, "kill thread"},
	{"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS, "kill process"},
	{"SCMP_ACT_TRAP", SECCOMP_RET_TRAP, "SIGSYS"},
	{"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO, "errno"},
	{"SCMP_ACT_TRACE", SECCOMP_RET_TRACE, "trace"},
	{"SCMP_ACT_LOG", SECCOMP_RET_LOG, "allow and log"},
	{"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW, "allow"},
	{"SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF, "notify"},
};

static const char *const flag_names[] = {
	"SECCOMP_FILTER_FLAG_TSYNC",
	"SECCOMP_FILTER_FLAG_LOG",
	"SECCOMP_FILTER_FLAG_SPEC_ALLOW",
	"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
};

const char *seccomp_op_name(enum seccomp_op op)
{
	return op_names[op];
}

int seccomp_op_parse(const char *name, enum seccomp_op *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(op_names); i++)
		if (strcmp(op_names[i], name) == 0) {
			*ret = (enum seccomp_op)i;
			return 0;
		}
	return -EINVAL;
}

const char *seccomp_action_name(uint32_t action)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (actions[i].action == (action & SECCOMP_RET_ACTION_FULL))
			return actions[i].name;
	return NULL;
}

int seccomp_action_parse(const char *name, uint32_t *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (strcmp(actions[i].name, name) == 0) {
			*ret = actions[i].action;
			return 0;
		}
	return -EINVAL;
}

bool seccomp_action_has_errno(uint32_t action)
{
	uint32_t kind = action & SECCOMP_RET_ACTION_FULL;
	return kind == SECCOMP_RET_ERRNO || kind == SECCOMP_RET_TRACE;
}

char *seccomp_action_text(uint32_t action, char out[static SECCOMP_ACTION_TEXT_MAX])
{
	uint32_t kind = action & SECCOMP_RET_ACTION_FULL, data = action & SECCOMP_RET_DATA;
	const char *meaning = "unknown action";
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (actions[i].action == kind)
			meaning = actions[i].meaning;
	const char *name = kind == SECCOMP_RET_ERRNO ? strerrorname_np((int)data) : NULL;
	if (name)
		(void)snprintf(out, SECCOMP_ACTION_TEXT_MAX, "%s", name);
	else if (seccomp_action_has_errno(action))
		(void)snprintf(out, SECCOMP_ACTION_TEXT_MAX, "%s %u", meaning, data);
	else
		(void)snprintf(out, SECCOMP_ACTION_TEXT_MAX, "%s", meaning);
	return out;
}

int seccomp_errno_parse(const char *text, uint64_t *ret)
{
	if (u64_parse(text, UINT16_MAX, ret) == 0)
		return 0;
	for (int i = 1; i <= SECCOMP_ERRNO_MAX; i++) {
		const char *name = strerrorname_np(i);
		if (name && strcmp(name, text) == 0) {
			*ret = (uint64_t)i;
			return 0;
		}
	}
	/* Other names of the same numbers, which glibc does not give back. */
	if (strcmp(text, "EWOULDBLOCK") == 0)
		*ret = EWOULDBLOCK;
	else if (strcmp(text, "EDEADLOCK") == 0)
		*ret = EDEADLOCK;
	else if (strcmp(text, "ENOTSUP") == 0)
		*ret = ENOTSUP;
	else
		return -EINVAL;
	return 0;
}

bool seccomp_flag_known(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(flag_names); i++)
		if (strcmp(flag_names[i], name) == 0)
			return true;
	return false;
}

/* Digits without a leading zero; *text ends behind them. */
static int take_number(const char **text, unsigned int *ret)
{
	size_t n = strspn(*text, "0123456789");
	if (n == 0 || n > 5 || (n > 1 && **text == '0'))
		return -EINVAL;
	unsigned int v = 0;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (unsigned int)((*text)[i] - '0');
	*text += n;
	*ret = v;
	return 0;
}

int seccomp_kernel_take(const char **text, struct seccomp_kernel *ret)
{
	struct seccomp_kernel got = {0};
	const char *p = *text;
	if (take_number(&p, &got.major) < 0 || *p++ != '.' || take_number(&p, &got.minor) < 0)
		return -EINVAL;
	*text = p;
	*ret = got;
	return 0;
}

int seccomp_kernel_parse(const char *release, struct seccomp_kernel *ret)
{
	return seccomp_kernel_take(&release, ret);
}
