/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/num.h"
#include "exec/validate_priv.h"

/* Options that say the opposite of each other; runtimes differ in which of them holds. */
static const char *const opposites[][2] = {
	{"ro", "rw"},
	{"suid", "nosuid"},
	{"dev", "nodev"},
	{"exec", "noexec"},
	{"sync", "async"},
	{"atime", "noatime"},
	{"diratime", "nodiratime"},
	{"relatime", "norelatime"},
	{"strictatime", "nostrictatime"},
	{"iversion", "noiversion"},
	{"lazytime", "nolazytime"},
	{"mand", "nomand"},
	{"silent", "loud"},
	{"symfollow", "nosymfollow"},
	{"rro", "rrw"},
	{"rsuid", "rnosuid"},
	{"rdev", "rnodev"},
	{"rexec", "rnoexec"},
	{"ratime", "rnoatime"},
	{"rdiratime", "rnodiratime"},
	{"rrelatime", "rnorelatime"},
	{"rstrictatime", "rnostrictatime"},
	{"rsymfollow", "rnosymfollow"},
	{"idmap", "ridmap"},
};

/* What a mount does with events has one value, for itself or with what is below. */
static const char *const propagations[] = {"shared", "slave", "private", "unbindable"};

/* The kind of propagation that an option names, with or without "r"; NULL: none. */
static const char *propagation_of(const char *option)
{
	for (size_t i = 0; i < ARRAY_LEN(propagations); i++)
		if (strcmp(option, propagations[i]) == 0 ||
		    (option[0] == 'r' && strcmp(option + 1, propagations[i]) == 0))
			return propagations[i];
	return NULL;
}

/* The options of one mount so far. */
struct options_seen {
	bool side[ARRAY_LEN(opposites)][2];
	const char *propagation; /* the first option that names one */
};

/* What of the options before it the option contradicts, NULL when nothing; notes the option. */
static const char *contradicted(struct options_seen *seen, const char *option)
{
	const char *kind = propagation_of(option);
	for (size_t i = 0; i < ARRAY_LEN(opposites); i++)
		for (size_t side = 0; side < 2; side++) {
			if (strcmp(option, opposites[i][side]) != 0)
				continue;
			seen->side[i][side] = true;
			return seen->side[i][!side] ? opposites[i][!side] : NULL;
		}
	if (!kind)
		return NULL;
	if (!seen->propagation)
		seen->propagation = option;
	return propagation_of(seen->propagation) != kind ? seen->propagation : NULL;
}

static void check_options(struct check *check, const struct at *options)
{
	struct options_seen seen = {0};
	at_each_item(option, options) {
		const char *text = at_string(&option);
		const char *other = text ? contradicted(&seen, text) : NULL;
		if (other)
			find_exactly(check, &option,
				     "must not contradict another option, but \"%s\" stands beside "
				     "\"%s\"",
				     text, other);
	}
}

static void check_idmap(struct check *check, const struct at *mount, const struct at *options)
{
	struct at uids = at_member(mount, "uidMappings"), gids = at_member(mount, "gidMappings");
	check_mappings(check, &uids);
	check_mappings(check, &gids);
	if (uids.value && !gids.value)
		find_exactly(check, &gids, "is required beside uidMappings");
	if (gids.value && !uids.value)
		find_exactly(check, &uids, "is required beside gidMappings");
	if (uids.value || gids.value || (check->namespaces & NS_USER))
		return;
	at_each_item(option, options) {
		const char *text = at_string(&option);
		if (text && (strcmp(text, "idmap") == 0 || strcmp(text, "ridmap") == 0))
			find_exactly(
				check, &option,
				"\"%s\" needs uidMappings and gidMappings, or a user namespace",
				text);
	}
}

static void check_posix_mount(struct check *check, const struct at *mount)
{
	struct at options = at_member(mount, "options"), source = at_member(mount, "source"),
		  destination = at_member(mount, "destination");
	const char *text = at_string(&destination);
	if (text && !form_absolute(text))
		find(check, &destination,
		     "must be an absolute path (relative ones are deprecated)");
	if (!check->on_linux)
		return;
	check_options(check, &options);
	if (!source.value && (at_holds(&options, "bind") || at_holds(&options, "rbind")))
		find(check, &source, "is required for a bind mount");
	check_idmap(check, mount, &options);
}

/* Whether one Windows path is within the other, or the same. */
static bool nested(const char *outer, const char *inner)
{
	size_t n = strlen(outer);
	while (n > 0 && (outer[n - 1] == '\\' || outer[n - 1] == '/'))
		n--;
	return strncasecmp(outer, inner, n) == 0 &&
	       (inner[n] == '\0' || inner[n] == '\\' || inner[n] == '/');
}

enum { WINDOWS_MOUNTS_COMPARED_MAX = 256 };

static void check_windows_mount(struct check *check, const struct at *mounts,
				const struct at *mount)
{
	struct at destination = at_member(mount, "destination");
	const char *text = at_string(&destination);
	if (!text)
		return;
	if (!form_drive(text)) {
		find(check, &destination, "must be an absolute path");
		return;
	}
	if (mount->path.index >= WINDOWS_MOUNTS_COMPARED_MAX)
		return;
	for (size_t i = 0; i < mount->path.index; i++) {
		struct at before = at_item(mounts, i);
		const char *other = at_member_string(&before, "destination");
		if (!other || !(nested(other, text) || nested(text, other)))
			continue;
		find(check, &destination, "must not be nested with that of mount %zu", i);
		return;
	}
}

void check_mounts(struct check *check, const struct at *mounts)
{
	at_each_item(mount, mounts)
		if (check->on_windows)
			check_windows_mount(check, mounts, &mount);
		else
			check_posix_mount(check, &mount);
}
