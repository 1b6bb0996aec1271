/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_profile.h"

#include <errno.h>
#include <jansson.h>
#include <linux/seccomp.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/seccomp_reader.h"
#include "exec/seccomp_words.h"
#include "exec/spec/place.h"

static const char *const profile_keys[] = {
	"defaultAction", "defaultErrnoRet", "defaultErrno", "architectures",	"archMap",
	"syscalls",	 "flags",	    "listenerPath", "listenerMetadata", NULL,
};
static const char *const map_keys[] = {"architecture", "subArchitectures", NULL};
static const char *const rule_keys[] = {
	"name", "names",   "action",   "errnoRet", "errno",
	"args", "comment", "includes", "excludes", NULL,
};
static const char *const cond_keys[] = {"index", "value", "valueTwo", "op", NULL};
static const char *const when_keys[] = {"caps", "arches", "minKernel", NULL};

static void free_strings(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static void rule_finish(struct seccomp_rule *rule)
{
	for (size_t i = 0; i < rule->n_names; i++)
		free(rule->names[i]);
	free(rule->names);
	free(rule->conds);
}

void seccomp_profile_destroy(struct seccomp_profile *profile)
{
	if (!profile)
		return;
	for (size_t i = 0; i < profile->n_rules; i++)
		rule_finish(&profile->rules[i]);
	free(profile->rules);
	free_strings(profile->flags);
	free(profile->listener_path);
	free(profile->listener_metadata);
	free(profile);
}

/* An action with its errno, which stands in two members; by name it beats the number. */
static int read_action(const struct seccomp_reader *rd, const struct oci_path *at,
		       const json_t *object, const char *const keys[static 3], uint32_t *ret)
{
	struct oci_path action_at = oci_path_key(at, keys[0]), ret_at = oci_path_key(at, keys[1]);
	struct oci_path name_at = oci_path_key(at, keys[2]);
	const char *action = NULL, *name = NULL;
	bool has = false;
	uint64_t data = EPERM;
	int r = seccomp_reader_str(rd, at, object, keys[0], &action);
	if (r == 0 && !action)
		return seccomp_reader_fail(rd, at, -EINVAL, "\"%s\" is missing", keys[0]);
	if (r == 0 && seccomp_action_parse(action, ret) < 0)
		return seccomp_reader_fail(rd, &action_at, -EINVAL, "'%s' is no action", action);
	if (r == 0)
		r = seccomp_reader_number(rd, at, object, keys[1], UINT16_MAX, &has, &data);
	if (r == 0)
		r = seccomp_reader_str(rd, at, object, keys[2], &name);
	if (r < 0)
		return r;
	if (name && !*name)
		name = NULL;
	if (name && seccomp_errno_parse(name, &data) < 0)
		return seccomp_reader_fail(rd, &name_at, -EINVAL, "'%s' is no error", name);
	const struct oci_path *of = name ? &name_at : &ret_at;
	if ((has || name) && !seccomp_action_has_errno(*ret))
		return seccomp_reader_fail(rd, of, -EINVAL, "%s takes no error", action);
	if (*ret == SECCOMP_RET_ERRNO && (data == 0 || data > SECCOMP_ERRNO_MAX))
		return seccomp_reader_fail(rd, of, -EINVAL, "an error is a number from 1 to %d",
					   SECCOMP_ERRNO_MAX);
	if (seccomp_action_has_errno(*ret))
		*ret |= (uint32_t)data;
	return 0;
}

static int read_arches(const struct seccomp_reader *rd, const struct oci_path *at,
		       const json_t *list, enum seccomp_arch *arches, size_t *ret_n)
{
	size_t n = json_array_size(list);
	if (n > SECCOMP_ARCH_COUNT)
		return seccomp_reader_fail(rd, at, -E2BIG, "more architectures than there are");
	for (size_t i = 0; i < n; i++) {
		struct oci_path path = oci_path_index(at, i);
		const char *name = NULL;
		int r = seccomp_reader_item(rd, at, list, i, &name);
		if (r < 0)
			return r;
		if (seccomp_arch_parse(name, &arches[i]) < 0)
			return seccomp_reader_fail(rd, &path, -EINVAL, "'%s' is no architecture",
						   name);
		for (size_t j = 0; j < i; j++)
			if (arches[j] == arches[i])
				return seccomp_reader_fail(rd, &path, -EINVAL, "'%s' stands twice",
							   name);
	}
	*ret_n = n;
	return 0;
}

static int read_map(const struct seccomp_reader *rd, const struct oci_path *at, const json_t *entry,
		    struct seccomp_profile *profile)
{
	struct seccomp_arch_map *map = &profile->maps[profile->n_maps];
	struct oci_path arch_at = oci_path_key(at, "architecture");
	struct oci_path subs_at = oci_path_key(at, "subArchitectures");
	const char *name = NULL;
	json_t *subs = NULL;
	if (!json_is_object(entry))
		return seccomp_reader_fail(rd, at, -EINVAL, "an object is expected");
	int r = seccomp_reader_keys(rd, at, entry, map_keys);
	if (r == 0)
		r = seccomp_reader_str(rd, at, entry, "architecture", &name);
	if (r == 0 && !name)
		return seccomp_reader_fail(rd, at, -EINVAL, "\"architecture\" is missing");
	if (r == 0 && seccomp_arch_parse(name, &map->arch) < 0)
		return seccomp_reader_fail(rd, &arch_at, -EINVAL, "'%s' is no architecture", name);
	if (r == 0)
		r = seccomp_reader_array(rd, at, entry, "subArchitectures", &subs);
	if (r == 0)
		r = read_arches(rd, &subs_at, subs, map->subs, &map->n_subs);
	for (size_t i = 0; r == 0 && i < profile->n_maps; i++)
		if (profile->maps[i].arch == map->arch)
			r = seccomp_reader_fail(rd, &arch_at, -EINVAL, "'%s' stands twice", name);
	for (size_t i = 0; r == 0 && i < map->n_subs; i++)
		if (map->subs[i] == map->arch)
			r = seccomp_reader_fail(rd, &subs_at, -EINVAL, "'%s' is below itself",
						name);
	if (r == 0)
		profile->n_maps++;
	return r;
}

static int read_all_arches(const struct seccomp_reader *rd, const struct oci_path *root,
			   const json_t *json, struct seccomp_profile *profile)
{
	struct oci_path list_at = oci_path_key(root, "architectures");
	struct oci_path maps_at = oci_path_key(root, "archMap");
	json_t *list = NULL, *maps = NULL;
	int r = seccomp_reader_array(rd, root, json, "architectures", &list);
	if (r == 0)
		r = seccomp_reader_array(rd, root, json, "archMap", &maps);
	if (r == 0 && json_array_size(list) > 0 && json_array_size(maps) > 0)
		return seccomp_reader_fail(rd, &maps_at, -EINVAL,
					   "\"architectures\" and \"archMap\" exclude each other");
	if (r == 0)
		r = read_arches(rd, &list_at, list, profile->arches, &profile->n_arches);
	if (r == 0 && json_array_size(maps) > ARRAY_LEN(profile->maps))
		r = seccomp_reader_fail(rd, &maps_at, -E2BIG, "more architectures than there are");
	for (size_t i = 0; r == 0 && i < json_array_size(maps); i++) {
		struct oci_path at = oci_path_index(&maps_at, i);
		r = read_map(rd, &at, json_array_get(maps, i), profile);
	}
	return r;
}

static int read_caps(const struct seccomp_reader *rd, const struct oci_path *at, const json_t *json,
		     cap_set_t *ret)
{
	struct oci_path list_at = oci_path_key(at, "caps");
	json_t *list = NULL;
	int r = seccomp_reader_array(rd, at, json, "caps", &list);
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		struct oci_path path = oci_path_index(&list_at, i);
		const char *name = NULL;
		unsigned int cap = 0;
		r = seccomp_reader_item(rd, &list_at, list, i, &name);
		if (r == 0 && cap_parse(name, &cap) < 0)
			r = seccomp_reader_fail(rd, &path, -EINVAL, "'%s' is no capability", name);
		if (r == 0)
			*ret |= cap_bit(cap);
	}
	return r;
}

static int read_when(const struct seccomp_reader *rd, const struct oci_path *up, const json_t *rule,
		     const char *key, struct seccomp_when *ret)
{
	struct oci_path at = oci_path_key(up, key), list_at = oci_path_key(&at, "arches");
	struct oci_path kernel_at = oci_path_key(&at, "minKernel");
	json_t *json = NULL, *list = NULL;
	const char *kernel = NULL;
	int r = seccomp_reader_object(rd, up, rule, key, &json);
	if (r < 0 || !json)
		return r;
	r = seccomp_reader_keys(rd, &at, json, when_keys);
	if (r == 0)
		r = read_caps(rd, &at, json, &ret->caps);
	if (r == 0)
		r = seccomp_reader_array(rd, &at, json, "arches", &list);
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		struct oci_path path = oci_path_index(&list_at, i);
		const char *name = NULL;
		enum seccomp_arch arch = 0;
		r = seccomp_reader_item(rd, &list_at, list, i, &name);
		if (r == 0 && seccomp_arch_parse_short(name, &arch) < 0)
			r = seccomp_reader_fail(rd, &path, -EINVAL, "'%s' is no architecture",
						name);
		if (r == 0)
			ret->arches |= UINT32_C(1) << arch;
	}
	if (r == 0)
		r = seccomp_reader_str(rd, &at, json, "minKernel", &kernel);
	if (r < 0 || !kernel)
		return r;
	ret->has_kernel = true;
	if (seccomp_kernel_take(&kernel, &ret->kernel) < 0 || *kernel)
		return seccomp_reader_fail(rd, &kernel_at, -EINVAL,
					   "a version like \"4.8\" is expected");
	return 0;
}

static int read_cond(const struct seccomp_reader *rd, const struct oci_path *at, const json_t *json,
		     struct seccomp_cond *ret)
{
	struct oci_path op_at = oci_path_key(at, "op");
	uint64_t index = 0;
	bool has_index = false, has_value = false, has_two = false;
	const char *op = NULL;
	if (!json_is_object(json))
		return seccomp_reader_fail(rd, at, -EINVAL, "an object is expected");
	int r = seccomp_reader_keys(rd, at, json, cond_keys);
	if (r == 0)
		r = seccomp_reader_number(rd, at, json, "index", SECCOMP_ARGS - 1, &has_index,
					  &index);
	if (r == 0)
		r = seccomp_reader_number(rd, at, json, "value", UINT64_MAX, &has_value,
					  &ret->value);
	if (r == 0)
		r = seccomp_reader_number(rd, at, json, "valueTwo", UINT64_MAX, &has_two,
					  &ret->value_two);
	if (r == 0)
		r = seccomp_reader_str(rd, at, json, "op", &op);
	if (r == 0 && (!has_index || !has_value || !op))
		return seccomp_reader_fail(rd, at, -EINVAL, "\"%s\" is missing",
					   !has_index	? "index"
					   : !has_value ? "value"
							: "op");
	if (r == 0 && seccomp_op_parse(op, &ret->op) < 0)
		return seccomp_reader_fail(rd, &op_at, -EINVAL, "'%s' is no comparison", op);
	ret->index = (unsigned int)index;
	return r;
}

static int read_conds(const struct seccomp_reader *rd, const struct oci_path *at,
		      const json_t *json, struct seccomp_rule *rule)
{
	struct oci_path list_at = oci_path_key(at, "args");
	json_t *list = NULL;
	int r = seccomp_reader_array(rd, at, json, "args", &list);
	size_t n = json_array_size(list);
	if (r < 0 || n == 0)
		return r;
	if (n > SECCOMP_CONDS_MAX)
		return seccomp_reader_fail(rd, &list_at, -E2BIG, "more than %d conditions",
					   SECCOMP_CONDS_MAX);
	rule->conds = calloc(n, sizeof(*rule->conds));
	if (!rule->conds)
		return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	unsigned int seen = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct oci_path path = oci_path_index(&list_at, i);
		r = read_cond(rd, &path, json_array_get(list, i), &rule->conds[i]);
		if (r < 0)
			return r;
		unsigned int bit = 1U << rule->conds[i].index;
		rule->any = rule->any || (seen & bit);
		seen |= bit;
	}
	rule->n_conds = n;
	return r;
}

static int add_name(const struct seccomp_reader *rd, const struct oci_path *at, const char *name,
		    struct seccomp_rule *rule)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	size_t len = strlen(name);
	if (len == 0 || len > SECCOMP_NAME_LEN_MAX || strspn(name, letters) != len)
		return seccomp_reader_fail(rd, at, -EINVAL, "'%.80s' cannot be a system call",
					   name);
	char *copy = strdup(name);
	if (!copy)
		return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	rule->names[rule->n_names++] = copy;
	return 0;
}

static int read_names(const struct seccomp_reader *rd, const struct oci_path *at,
		      const json_t *json, struct seccomp_rule *rule)
{
	struct oci_path name_at = oci_path_key(at, "name"), list_at = oci_path_key(at, "names");
	const char *name = NULL;
	json_t *list = NULL;
	int r = seccomp_reader_str(rd, at, json, "name", &name);
	if (r == 0)
		r = seccomp_reader_array(rd, at, json, "names", &list);
	size_t n = json_array_size(list);
	if (r == 0 && name && !*name)
		name = NULL; /* as written by programs that leave nothing out */
	if (r == 0 && name && n > 0)
		return seccomp_reader_fail(rd, &name_at, -EINVAL,
					   "\"name\" and \"names\" exclude each other");
	if (r == 0 && !name && n == 0)
		return seccomp_reader_fail(rd, at, -EINVAL, "\"names\" is missing or empty");
	if (r == 0 && n > SECCOMP_NAMES_MAX)
		return seccomp_reader_fail(rd, &list_at, -E2BIG, "more than %d names",
					   SECCOMP_NAMES_MAX);
	if (r < 0)
		return r;
	rule->names = calloc(name ? 1 : n, sizeof(*rule->names));
	if (!rule->names)
		return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	if (name)
		return add_name(rd, &name_at, name, rule);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct oci_path path = oci_path_index(&list_at, i);
		r = seccomp_reader_item(rd, &list_at, list, i, &name);
		if (r == 0)
			r = add_name(rd, &path, name, rule);
	}
	return r;
}

static int read_rule(const struct seccomp_reader *rd, const struct oci_path *at, const json_t *json,
		     struct seccomp_profile *profile)
{
	static const char *const action_keys[] = {"action", "errnoRet", "errno"};
	struct seccomp_rule *rule = &profile->rules[profile->n_rules++];
	const char *comment = NULL;
	if (!json_is_object(json))
		return seccomp_reader_fail(rd, at, -EINVAL, "an object is expected");
	int r = seccomp_reader_keys(rd, at, json, rule_keys);
	if (r == 0)
		r = seccomp_reader_str(rd, at, json, "comment", &comment);
	if (r == 0)
		r = read_names(rd, at, json, rule);
	if (r == 0)
		r = read_action(rd, at, json, action_keys, &rule->action);
	if (r == 0)
		r = read_conds(rd, at, json, rule);
	if (r == 0)
		r = read_when(rd, at, json, "includes", &rule->includes);
	if (r == 0)
		r = read_when(rd, at, json, "excludes", &rule->excludes);
	if (rule->includes.has_kernel || rule->excludes.has_kernel)
		profile->has_kernel_rules = true;
	return r;
}

static int find_lines(const struct seccomp_reader *rd, const struct oci_path *list_at,
		      struct seccomp_profile *profile)
{
	AUTO_FREE unsigned int *lines = calloc(profile->n_rules, sizeof(*lines));
	if (!lines)
		return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	oci_place_elements(rd->text, rd->n, list_at, lines, profile->n_rules);
	for (size_t i = 0; i < profile->n_rules; i++)
		profile->rules[i].line = lines[i];
	return 0;
}

static int read_rules(const struct seccomp_reader *rd, const struct oci_path *root,
		      const json_t *json, struct seccomp_profile *profile)
{
	struct oci_path list_at = oci_path_key(root, "syscalls");
	json_t *list = NULL;
	int r = seccomp_reader_array(rd, root, json, "syscalls", &list);
	size_t n = json_array_size(list);
	if (r < 0 || n == 0)
		return r;
	if (n > SECCOMP_RULES_MAX)
		return seccomp_reader_fail(rd, &list_at, -E2BIG, "more than %d rules",
					   SECCOMP_RULES_MAX);
	profile->rules = calloc(n, sizeof(*profile->rules));
	if (!profile->rules)
		return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct oci_path at = oci_path_index(&list_at, i);
		r = read_rule(rd, &at, json_array_get(list, i), profile);
	}
	return r < 0 ? r : find_lines(rd, &list_at, profile);
}

static int read_flags(const struct seccomp_reader *rd, const struct oci_path *root,
		      const json_t *json, struct seccomp_profile *profile)
{
	struct oci_path list_at = oci_path_key(root, "flags");
	json_t *list = NULL;
	int r = seccomp_reader_array(rd, root, json, "flags", &list);
	size_t n = json_array_size(list);
	if (r < 0 || n == 0)
		return r;
	profile->flags = calloc(n + 1, sizeof(*profile->flags));
	if (!profile->flags)
		return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	for (size_t i = 0; i < n; i++) {
		struct oci_path at = oci_path_index(&list_at, i);
		const char *name = NULL;
		r = seccomp_reader_item(rd, &list_at, list, i, &name);
		if (r < 0)
			return r;
		if (!seccomp_flag_known(name))
			return seccomp_reader_fail(rd, &at, -EINVAL, "'%s' is no flag", name);
		profile->flags[i] = strdup(name);
		if (!profile->flags[i])
			return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	}
	return 0;
}

static int read_listener(const struct seccomp_reader *rd, const struct oci_path *root,
			 const json_t *json, struct seccomp_profile *profile)
{
	struct oci_path path_at = oci_path_key(root, "listenerPath");
	struct oci_path data_at = oci_path_key(root, "listenerMetadata");
	const char *path = NULL, *data = NULL;
	int r = seccomp_reader_str(rd, root, json, "listenerPath", &path);
	if (r == 0)
		r = seccomp_reader_str(rd, root, json, "listenerMetadata", &data);
	if (r < 0)
		return r;
	if (path && *path && *path != '/')
		return seccomp_reader_fail(rd, &path_at, -EINVAL, "'%s' is not absolute", path);
	if (data && *data && !(path && *path))
		return seccomp_reader_fail(rd, &data_at, -EINVAL,
					   "it is of no use without \"listenerPath\"");
	if (path && *path) {
		profile->listener_path = strdup(path);
		if (!profile->listener_path)
			return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	}
	if (data && *data) {
		profile->listener_metadata = strdup(data);
		if (!profile->listener_metadata)
			return err_set(rd->err, -ENOMEM, "read %s", rd->what);
	}
	return 0;
}

static int read_profile(const struct seccomp_reader *rd, const json_t *json,
			struct seccomp_profile *profile)
{
	static const char *const action_keys[] = {"defaultAction", "defaultErrnoRet",
						  "defaultErrno"};
	struct oci_path root = {0};
	json_t *list = NULL;
	int r = seccomp_reader_keys(rd, &root, json, profile_keys);
	if (r == 0)
		r = seccomp_reader_array(rd, &root, json, "syscalls", &list);
	if (r < 0)
		return r;
	const char *action = json_string_value(json_object_get(json, "defaultAction"));
	if (json_array_size(list) == 0 &&
	    (!json_object_get(json, "defaultAction") || (action && !*action))) {
		profile->disabled = true;
		return 0;
	}
	r = read_action(rd, &root, json, action_keys, &profile->default_action);
	if (r == 0)
		r = read_all_arches(rd, &root, json, profile);
	if (r == 0)
		r = read_flags(rd, &root, json, profile);
	if (r == 0)
		r = read_listener(rd, &root, json, profile);
	if (r == 0)
		r = read_rules(rd, &root, json, profile);
	return r;
}

int seccomp_profile_parse(const void *text, size_t n, const char *what,
			  struct seccomp_profile **ret, struct err *err)
{
	struct seccomp_reader rd = {.text = text, .n = n, .what = what, .err = err};
	AUTO_JSON json_t *json = NULL;
	if (n > SECCOMP_PROFILE_BYTES_MAX)
		return err_say(err, -E2BIG, "%s has more than %d bytes", what,
			       SECCOMP_PROFILE_BYTES_MAX);
	int r = seccomp_reader_parse(&rd, &json);
	if (r < 0)
		return r;
	AUTO(seccomp_profile) struct seccomp_profile *profile = calloc(1, sizeof(*profile));
	if (!profile)
		return err_set(err, -ENOMEM, "read %s", what);
	r = digest_of(DIGEST_SHA256, text, n, &profile->digest);
	if (r < 0)
		return err_set(err, r, "read %s", what);
	r = read_profile(&rd, json, profile);
	if (r < 0)
		return r;
	*ret = steal_ptr(&profile);
	return 0;
}

int seccomp_profile_load(int dirfd, const char *path, struct seccomp_profile **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(SECCOMP_PROFILE_BYTES_MAX);
	int r = file_slurp(dirfd, path, &text, err);
	if (r < 0)
		return err_prefix(err, r, "seccomp profile %s", path);
	return seccomp_profile_parse(buf_str(&text), text.len, path, ret, err);
}
