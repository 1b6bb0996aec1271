/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/num.h"
#include "base/spawn.h"
#include "exec/driver_oci_priv.h"
#include "exec/hybrid.h"
#include "exec/spec/oci.h"
#include "exec/spec_features.h"

enum {
	VERSION_MAX = 4096,	/* bytes of --version's output */
	STATUS_MAX = 64 * 1024, /* bytes of /proc/self/status */
};

/*
 * In the order of preference. The features are those of one that does not tell its own ("features",
 * since crun 1.9 and runc 1.1); compiled filters are crun's alone, and no document has a word for them.
 */
static const struct {
	const char *name;
	const char *least;
	unsigned int features;
} KNOWN[] = {
	{"crun", DRIVER_CRUN_MIN, DRIVER_SECCOMP_BPF | DRIVER_SECCOMP_NOTIFY},
	{"runc", DRIVER_RUNC_MIN, DRIVER_SECCOMP_NOTIFY},
};

bool oci_version_less(const char *a, const char *b)
{
	for (;;) {
		char *a_end, *b_end;
		unsigned long x = strtoul(a, &a_end, 10);
		unsigned long y = strtoul(b, &b_end, 10);
		if (x != y)
			return x < y;
		bool a_more = a_end[0] == '.' && isdigit((unsigned char)a_end[1]);
		bool b_more = b_end[0] == '.' && isdigit((unsigned char)b_end[1]);
		if (!a_more && !b_more)
			return false;
		a = a_more ? a_end + 1 : "0";
		b = b_more ? b_end + 1 : "0";
	}
}

static int find_runtime(const struct driver_options *options, char **ret,
			struct driver_error *error)
{
	const char *address = options->address;
	if (address && address[0] == '\0')
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "find a container runtime: its name is empty");
	if (address && strchr(address, '/')) {
		if (address[0] != '/')
			return driver_fail(error, DRIVER_INVALID, NULL,
					   "use the runtime %s: the path is not absolute", address);
		if (access(address, X_OK) < 0)
			return driver_fail_set(error, -errno, "use the runtime %s", address);
		*ret = strdup(address);
		return *ret ? 0 : driver_fail_set(error, -ENOMEM, "find a runtime");
	}
	int r = -ENOENT;
	for (size_t i = 0; r == -ENOENT && i < (address ? 1 : ARRAY_LEN(KNOWN)); i++)
		r = spawn_find(options->path_env, address ? address : KNOWN[i].name, ret);
	if (r == -ENOENT && address)
		return driver_fail(error, DRIVER_NOT_FOUND, NULL,
				   "find the runtime %s: it is not in PATH", address);
	if (r == -ENOENT)
		return driver_fail(error, DRIVER_NOT_FOUND, NULL,
				   "find a container runtime: neither crun nor runc is in PATH; install one, or name one with --runtime");
	return r < 0 ? driver_fail_set(error, r, "find the runtime %s", address ? address : "crun")
		     : 0;
}

/* "crun version 1.8.1\n…", "runc version 1.1.5+ds1\n…". */
static int parse_version(const char *text, char **ret_name, char **ret_version)
{
	const char *at = strstr(text, " version ");
	const char *line_end = strchrnul(text, '\n');
	if (!at || at == text || at > line_end || at - text > 64)
		return -EINVAL;
	const char *version = at + strlen(" version ");
	size_t n = strcspn(version, " \n\t");
	if (n == 0 || !isdigit((unsigned char)version[0]))
		return -EINVAL;
	AUTO_FREE char *name = strndup(text, (size_t)(at - text));
	if (!name)
		return -ENOMEM;
	*ret_version = strndup(version, n);
	if (!*ret_version)
		return -ENOMEM;
	*ret_name = steal_ptr(&name);
	return 0;
}

/* Asks the program. */
static int ask_version(const struct oci_conn *conn, const struct driver_call *call,
		       struct buf *text, struct driver_error *error)
{
	const char *const argv[] = {conn->path, "--version", NULL};
	struct spawn spawn = {
		.path = conn->path,
		.argv = argv,
		.env = (const char *const *)conn->env,
		.cancel = call->cancel,
		.deadline = deadline_earlier(call->deadline, deadline_in_ms(DRIVER_OCI_PROBE_MS)),
		.until_exit = true,
	};
	struct err err = {0};
	int status = 0;
	int r = spawn_run(&spawn, text, &status, &err);
	if (r == -E2BIG || (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)))
		return driver_fail(error, DRIVER_UNSUPPORTED, buf_str(text),
				   "ask %s for its version: it failed; is it a container runtime?",
				   conn->path);
	return r < 0 ? driver_fail_err(error, r, &err) : 0;
}

/* Names the very file that answered: another one there later has another name. */
static int cache_name(const struct oci_conn *conn, char out[static 128])
{
	struct stat st;
	if (stat(conn->path, &st) < 0)
		return -errno;
	(void)snprintf(out, 128, "runtime-%llx-%llx-%llx-%llx.%09ld",
		       (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
		       (unsigned long long)st.st_size, (unsigned long long)st.st_ctim.tv_sec,
		       st.st_ctim.tv_nsec);
	return 0;
}

/* What the program said the last time. A cache that cannot be read is an empty one. */
static bool cache_get(const char *dir, const char *name, struct buf *text)
{
	AUTO_CLOSE int fd = dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	return fd >= 0 && file_slurp(fd, name, text, NULL) == 0 && text->len > 0;
}

static void cache_put(const char *dir, const char *name, const struct buf *text)
{
	if (!dir || dir_make(dir, 0700, NULL) < 0)
		return;
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)file_commit(fd, name, text->data, text->len, COMMIT_REPLACE, NULL);
}

/* What an empty document in the cache says: it was asked, and does not tell. */
static const char does_not_tell[] = "{}";

/* Has the runtime tell its features, once for as long as it stays the same file. */
static int ask_features(struct oci_conn *conn, const struct driver_options *options,
			const struct driver_call *call, const char *cache,
			struct driver_error *error)
{
	AUTO_FINISH(buf) struct buf text = buf_make(FEATURES_MAX);
	char name[160];
	(void)snprintf(name, sizeof(name), "%s-features", cache);
	if (!cache_get(options->cache_dir, name, &text)) {
		buf_clear(&text);
		int r = features_ask(conn->path, &text, NULL);
		if (r == -ENOMEM || (call->cancel && cancel_fired(call->cancel)))
			return driver_fail_set(error, r < 0 ? r : -ECANCELED,
					       "ask %s for its features", conn->path);
		if (r < 0)
			buf_clear(&text);
		if (r < 0 && buf_puts(&text, does_not_tell) < 0)
			return driver_fail_set(error, -ENOMEM, "connect");
		cache_put(options->cache_dir, name, &text);
	}
	if (strcmp(buf_str(&text), does_not_tell) == 0)
		return 0;
	conn->told = strdup(buf_str(&text));
	return conn->told ? 0 : driver_fail_set(error, -ENOMEM, "connect");
}

/* Whether the document has the action NOTIFY; without one, what is known of the runtime stays. */
static void judge_seccomp(struct oci_conn *conn)
{
	AUTO(oci_features) struct oci_features *told = NULL;
	if (!conn->told || oci_features_parse(conn->told, strlen(conn->told), &told, NULL) < 0 ||
	    !told->linux || !told->linux->seccomp || !told->linux->seccomp->actions)
		return;
	const struct oci_features_linux_seccomp *seccomp = told->linux->seccomp;
	conn->info.features &= ~(unsigned int)DRIVER_SECCOMP_NOTIFY;
	for (size_t i = 0; i < seccomp->n_actions && seccomp->enabled; i++)
		if (strcmp(seccomp->actions[i], "SCMP_ACT_NOTIFY") == 0)
			conn->info.features |= DRIVER_SECCOMP_NOTIFY;
}

static bool has_capability(unsigned int bit)
{
	AUTO_FINISH(buf) struct buf text = buf_make(STATUS_MAX);
	AUTO_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || file_slurp_fd(fd, &text) < 0)
		return false;
	const char *line = strstr(buf_str(&text), "CapEff:");
	return line && (strtoull(line + strlen("CapEff:"), NULL, 16) >> bit & 1);
}

enum { CAPABILITY_SYS_RESOURCE = 24 };

/* On version 2, device rules are BPF programs, for which crun raises RLIMIT_MEMLOCK. */
static const char *host_warning(const struct oci_conn *conn)
{
	struct rlimit limit;
	if (strcmp(conn->name, "crun") != 0 || cgroup_mode_get() != CGROUP_V2 ||
	    has_capability(CAPABILITY_SYS_RESOURCE) ||
	    getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
		return NULL;
	return "crun cannot set device rules here: they need CAP_SYS_RESOURCE or an unlimited RLIMIT_MEMLOCK; use runc, or raise the limit";
}

static int judge(struct oci_conn *conn, struct driver_error *error)
{
	conn->info = (struct driver_info){
		.driver = "oci", .name = conn->name, .address = conn->path,
		.version = conn->version, .features = DRIVER_BUNDLE, .told = conn->told,
		.warning = host_warning(conn),
	};
	for (size_t i = 0; i < ARRAY_LEN(KNOWN); i++) {
		if (strcmp(conn->name, KNOWN[i].name) != 0)
			continue;
		if (oci_version_less(conn->version, KNOWN[i].least))
			return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
					   "use the runtime %s: it is %s %s, and the oldest that works is %s",
					   conn->path, conn->name, conn->version, KNOWN[i].least);
		conn->info.features |= KNOWN[i].features;
	}
	judge_seccomp(conn);
	conn->hybrid = strcmp(conn->name, "crun") == 0 && cgroup_mode_get() == CGROUP_HYBRID;
	if (conn->hybrid)
		conn->info.features |= DRIVER_HYBRID_ESCAPE;
	return 0;
}

int oci_probe(struct oci_conn *conn, const struct driver_options *options,
	      const struct driver_call *call, struct driver_error *error)
{
	int r = find_runtime(options, &conn->path, error);
	if (r < 0)
		return r;
	AUTO_FINISH(buf) struct buf text = buf_make(VERSION_MAX);
	char name[128];
	r = cache_name(conn, name);
	if (r < 0)
		return driver_fail_set(error, r, "use the runtime %s", conn->path);
	bool cached = cache_get(options->cache_dir, name, &text);
	if (!cached) {
		buf_clear(&text);
		r = ask_version(conn, call, &text, error);
		if (r < 0)
			return r;
	}
	r = parse_version(buf_str(&text), &conn->name, &conn->version);
	if (r == -EINVAL)
		return driver_fail(error, DRIVER_UNSUPPORTED, buf_str(&text),
				   "use the runtime %s: its --version is not that of a container runtime",
				   conn->path);
	if (r < 0)
		return driver_fail_set(error, r, "use the runtime %s", conn->path);
	if (!cached)
		cache_put(options->cache_dir, name, &text);
	r = ask_features(conn, options, call, name, error);
	return r < 0 ? r : judge(conn, error);
}
