/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/host.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/num.h"
#include "exec/userns.h"

enum { NUMBER_MAX = 32 };

static const struct {
	const char *name;
	int resource;
} limits[] = {
	{"RLIMIT_AS", RLIMIT_AS},	  {"RLIMIT_CORE", RLIMIT_CORE},
	{"RLIMIT_CPU", RLIMIT_CPU},	  {"RLIMIT_DATA", RLIMIT_DATA},
	{"RLIMIT_FSIZE", RLIMIT_FSIZE},	  {"RLIMIT_LOCKS", RLIMIT_LOCKS},
	{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
	{"RLIMIT_NICE", RLIMIT_NICE},	  {"RLIMIT_NOFILE", RLIMIT_NOFILE},
	{"RLIMIT_NPROC", RLIMIT_NPROC},	  {"RLIMIT_RSS", RLIMIT_RSS},
	{"RLIMIT_RTPRIO", RLIMIT_RTPRIO}, {"RLIMIT_RTTIME", RLIMIT_RTTIME},
	{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}, {"RLIMIT_STACK", RLIMIT_STACK},
};
_Static_assert(ARRAY_LEN(limits) == HOST_LIMITS, "every limit has a name");

static int read_number(const char *path, int64_t *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(NUMBER_MAX);
	uint64_t v = 0;
	int r = file_slurp(AT_FDCWD, path, &text, err);
	if (r < 0)
		return r;
	bool negative = buf_str(&text)[0] == '-';
	if (text.len > 0 && text.data[text.len - 1] == '\n')
		text.data[--text.len] = '\0';
	r = u64_parse(buf_str(&text) + (negative ? 1 : 0), INT64_MAX, &v);
	if (r < 0)
		return err_set(err, r, "read the number in %s", path);
	*ret = negative ? -(int64_t)v : (int64_t)v;
	return 0;
}

int host_facts_read(struct host_facts *ret, struct err *err)
{
	struct host_facts facts = {0};
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	int64_t score = 0, nr_open = 0;
	if (syscall(SYS_capget, &head, data) < 0)
		return err_set(err, -errno, "read the capabilities of this process");
	facts.effective = data[0].effective | (cap_set_t)data[1].effective << 32;
	/* The kernel's limits are the first user namespace's. */
	if (userns_is_inside())
		facts.effective &= ~cap_bit(CAP_SYS_RESOURCE);
	for (unsigned int cap = 0; cap < CAP_COUNT; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			facts.bounding |= cap_bit(cap);
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		struct rlimit limit;
		if (getrlimit((__rlimit_resource_t)limits[i].resource, &limit) < 0)
			return err_set(err, -errno, "read %s", limits[i].name);
		facts.limits_hard[limits[i].resource] = limit.rlim_max;
	}
	int r = read_number("/proc/self/oom_score_adj", &score, err);
	if (r == 0)
		r = read_number("/proc/sys/fs/nr_open", &nr_open, err);
	if (r < 0)
		return r;
	facts.oom_score_adj = (int)score;
	facts.nr_open = (uint64_t)nr_open;
	*ret = facts;
	return 0;
}

/* ---- warnings ---- */

struct warnings {
	char **list; /* NULL-terminated; NULL while empty */
	size_t n;
};

void host_warnings_free(char **warnings)
{
	for (size_t i = 0; warnings && warnings[i]; i++)
		free(warnings[i]);
	free(warnings);
}

static void warnings_finish(struct warnings *w)
{
	host_warnings_free(w->list);
}
DEFINE_FINISH(warnings, warnings_finish);

__attribute__((format(printf, 2, 3)))
static int warn(struct warnings *w, const char *fmt, ...)
{
	char **more = reallocarray(w->list, w->n + 2, sizeof(*more));
	if (!more)
		return -ENOMEM;
	w->list = more;
	w->list[w->n] = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&w->list[w->n], fmt, ap);
	va_end(ap);
	if (n < 0) {
		w->list[w->n] = NULL;
		return -ENOMEM;
	}
	w->list[++w->n] = NULL;
	return 0;
}

/* ---- clamps ---- */

static int clamp_oom(const struct host_facts *facts, struct oci_process *process,
		     struct warnings *w)
{
	if (!process->has_oom_score_adj || process->oom_score_adj >= facts->oom_score_adj)
		return 0;
	int r = warn(w, "oomScoreAdj %lld needs CAP_SYS_RESOURCE; it stays at %d",
		     (long long)process->oom_score_adj, facts->oom_score_adj);
	oci_process_set_oom_score_adj(process, facts->oom_score_adj);
	return r;
}

static void limit_text(uint64_t value, char out[static NUMBER_MAX])
{
	if (value == UINT64_MAX)
		(void)strcpy(out, "unlimited"); // NOLINT(clang-analyzer-security.insecureAPI.strcpy)
	else
		(void)snprintf(out, NUMBER_MAX, "%llu", (unsigned long long)value);
}

static int clamp_limit(const struct host_facts *facts, struct oci_rlimit *limit, int resource,
		       struct warnings *w)
{
	char asked[NUMBER_MAX], given[NUMBER_MAX];
	const char *why = "is above fs.nr_open of this host";
	uint64_t most = resource == RLIMIT_NOFILE ? facts->nr_open : UINT64_MAX;
	uint64_t had = u64_max(limit->hard, limit->soft);
	if (!(facts->effective & cap_bit(CAP_SYS_RESOURCE)) &&
	    facts->limits_hard[resource] < most) {
		most = facts->limits_hard[resource];
		why = "is above our own, which needs CAP_SYS_RESOURCE";
	}
	if (had <= most)
		return 0;
	oci_rlimit_set_hard(limit, u64_min(limit->hard, most));
	oci_rlimit_set_soft(limit, u64_min(limit->soft, most));
	limit_text(had, asked);
	limit_text(most, given);
	return warn(w, "%s %s %s; it is lowered to %s", limit->type, asked, why, given);
}

static int clamp_limits(const struct host_facts *facts, struct oci_process *process,
			struct warnings *w)
{
	int r = 0;
	for (size_t i = 0; i < process->n_rlimits && r == 0; i++) {
		struct oci_rlimit *limit = process->rlimits[i];
		for (size_t k = 0; limit->type && k < ARRAY_LEN(limits) && r == 0; k++)
			if (strcmp(limit->type, limits[k].name) == 0)
				r = clamp_limit(facts, limit, limits[k].resource, w);
	}
	return r;
}

static bool is_ours(const struct host_facts *facts, const char *name)
{
	unsigned int cap = 0;
	/* What is no capability is for the validator to say. */
	return cap_parse(name, &cap) < 0 || (facts->bounding & cap_bit(cap));
}

static int clamp_caps(const struct host_facts *facts, struct oci_process_capabilities *caps,
		      struct warnings *w)
{
	int r = 0;
	for (size_t i = caps->n_bounding; i > 0 && r == 0; i--)
		if (!is_ours(facts, caps->bounding[i - 1])) {
			r = warn(w, "%s is not ours to give; the container does without",
				 caps->bounding[i - 1]);
			oci_process_capabilities_remove_bounding(caps, i - 1);
		}
	for (size_t i = caps->n_permitted; i > 0; i--)
		if (!is_ours(facts, caps->permitted[i - 1]))
			oci_process_capabilities_remove_permitted(caps, i - 1);
	for (size_t i = caps->n_effective; i > 0; i--)
		if (!is_ours(facts, caps->effective[i - 1]))
			oci_process_capabilities_remove_effective(caps, i - 1);
	for (size_t i = caps->n_inheritable; i > 0; i--)
		if (!is_ours(facts, caps->inheritable[i - 1]))
			oci_process_capabilities_remove_inheritable(caps, i - 1);
	for (size_t i = caps->n_ambient; i > 0; i--)
		if (!is_ours(facts, caps->ambient[i - 1]))
			oci_process_capabilities_remove_ambient(caps, i - 1);
	return r;
}

int host_clamp(const struct host_facts *facts, struct oci_config *config, char ***ret_warnings,
	       struct err *err)
{
	AUTO_FINISH(warnings) struct warnings w = {0};
	struct oci_process *process = config->process;
	int r = 0;
	if (process && !(facts->effective & cap_bit(CAP_SYS_RESOURCE)))
		r = clamp_oom(facts, process, &w);
	if (r == 0 && process)
		r = clamp_limits(facts, process, &w);
	if (r == 0 && process && process->capabilities)
		r = clamp_caps(facts, process->capabilities, &w);
	if (r < 0)
		return err_set(err, r, "fit the configuration to this host");
	*ret_warnings = steal_ptr(&w.list);
	return 0;
}
