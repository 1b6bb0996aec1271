/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec_features.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "base/num.h"
#include "base/spawn.h"
#include "exec/cap.h"
#include "exec/spec/slot.h"
#include "exec/validate.h"

enum {
	ASK_MS = 10000,
	COMPLAINT_MAX = 4096, /* bytes of a runtime's standard error that are looked at */
};

static const char version_min[] = "1.0.0", version_max[] = "1.3.0";

static const char *const hooks[] = {
	"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
};

/* config.md, "Linux mount options". */
static const char *const mount_options[] = {
	"async",       "atime",		 "bind",	"defaults",
	"dev",	       "diratime",	 "dirsync",	"exec",
	"idmap",       "iversion",	 "lazytime",	"loud",
	"mand",	       "noatime",	 "nodev",	"nodiratime",
	"noexec",      "noiversion",	 "nolazytime",	"nomand",
	"norelatime",  "nostrictatime",	 "nosuid",	"nosymfollow",
	"private",     "ratime",	 "rbind",	"rdev",
	"rdiratime",   "relatime",	 "remount",	"rexec",
	"ridmap",      "rnoatime",	 "rnodiratime", "rnoexec",
	"rnorelatime", "rnostrictatime", "rnosuid",	"rnosymfollow",
	"ro",	       "rprivate",	 "rrelatime",	"rro",
	"rrw",	       "rshared",	 "rslave",	"rstrictatime",
	"rsuid",       "rsymfollow",	 "runbindable", "rw",
	"shared",      "silent",	 "slave",	"strictatime",
	"suid",	       "symfollow",	 "sync",	"tmpcopyup",
	"unbindable",
};

/* They change what runtimes do, so that none is taken from an image. */
static const char *const unsafe_annotations[] = {
	"io.katacontainers.",
	"org.criu.",
	"org.systemd.property.",
	"run.oci.",
};

static int add_all(void *value, const struct oci_type *type, const char *key,
		   const char *const *texts, size_t n)
{
	const struct oci_member *m = oci_type_member(type, key);
	int r = 0;
	for (size_t i = 0; i < n && r == 0; i++)
		r = oci_slot_add_string(value, m, texts[i]);
	return r;
}

/* Lists whose strings the specification has named get all of them: they are read and checked. */
static int add_words(void *value, const struct oci_type *type)
{
	int r = 0;
	for (size_t i = 0; i < type->n_members && r == 0; i++) {
		const struct oci_member *m = &type->members[i];
		if (m->shape != OCI_LIST)
			continue;
		for (const char *const *word = m->words; word && *word && r == 0; word++)
			r = oci_slot_add_string(value, m, *word);
	}
	return r;
}

static int add_linux(struct oci_features_linux *linux_)
{
	struct oci_features_linux_cgroup *cgroup = oci_features_linux_need_cgroup(linux_);
	struct oci_features_linux_seccomp *seccomp = oci_features_linux_need_seccomp(linux_);
	if (!cgroup || !seccomp)
		return -ENOMEM;
	oci_features_linux_cgroup_set_v1(cgroup, true);
	oci_features_linux_cgroup_set_v2(cgroup, true);
	oci_features_linux_seccomp_set_enabled(seccomp, true);
	int r = add_words(linux_, &oci_features_linux_type);
	if (r == 0)
		r = add_words(seccomp, &oci_features_linux_seccomp_type);
	for (unsigned int cap = 0; cap < CAP_COUNT && r == 0; cap++)
		r = oci_features_linux_add_capabilities(linux_, cap_name(cap));
	return r;
}

int features_create(struct oci_features **ret, struct err *err)
{
	AUTO(oci_features) struct oci_features *features = oci_features_create();
	struct oci_features_linux *linux_ = features ? oci_features_need_linux(features) : NULL;
	int r = linux_ ? add_linux(linux_) : -ENOMEM;
	if (r == 0)
		r = oci_features_set_oci_version_min(features, version_min);
	if (r == 0)
		r = oci_features_set_oci_version_max(features, version_max);
	if (r == 0)
		r = add_all(features, &oci_features_type, "hooks", hooks, ARRAY_LEN(hooks));
	if (r == 0)
		r = add_all(features, &oci_features_type, "mountOptions", mount_options,
			    ARRAY_LEN(mount_options));
	if (r == 0)
		r = add_all(features, &oci_features_type, "potentiallyUnsafeConfigAnnotations",
			    unsafe_annotations, ARRAY_LEN(unsafe_annotations));
	if (r < 0)
		return err_set(err, r, "make the document of features");
	*ret = steal_ptr(&features);
	return 0;
}

static int check_answer(const char *path, const struct buf *answer, struct err *err)
{
	AUTO_FINISH(findings) struct findings found = {0};
	int r = validate_bytes(VALIDATE_FEATURES, answer->data, answer->len, &found, err);
	if (r < 0 || found.count == 0)
		return r;
	return err_say(err, -EBADMSG,
		       "ask %s for its features: its answer is no document of them: %s%s%s", path,
		       found.items[0].pointer, *found.items[0].pointer ? ": " : "",
		       found.items[0].text);
}

int features_ask(const char *path, struct buf *out, struct err *err)
{
	AUTO_FINISH(buf) struct buf answer = buf_make(FEATURES_MAX);
	AUTO_FINISH(buf) struct buf complaint = buf_make(COMPLAINT_MAX);
	const char *const argv[] = {path, "features", NULL};
	const struct spawn spawn = {
		.path = path,
		.argv = argv,
		.errors = &complaint,
		.deadline = deadline_in_ms(ASK_MS),
		.until_exit = true,
	};
	int status = 0;
	int r = spawn_run(&spawn, &answer, &status, err);
	if (r < 0)
		return err_prefix(err, r, "ask %s for its features", path);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		const char *said = buf_str(&complaint);
		return err_say(err, -EOPNOTSUPP,
			       "ask %s for its features: it does not tell them%s%.*s", path,
			       *said ? ": " : "", (int)strcspn(said, "\n"), said);
	}
	r = check_answer(path, &answer, err);
	if (r == 0)
		r = buf_append(out, answer.data, answer.len);
	return r;
}
