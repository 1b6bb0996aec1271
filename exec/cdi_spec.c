/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cdi_spec.h"

#include <string.h>

#include "base/num.h"
#include "exec/form.h"
#include "exec/spec/pointer.h"
#include "exec/yaml_json.h"

enum {
	VENDOR_MAX = 253,
	CLASS_MAX = 63,
	MAJOR_MAX = (1 << 12) - 1, /* of a device on Linux */
	MINOR_MAX = (1 << 20) - 1,
	CLOSID_MAX = 4095,
};

struct cdi_spec {
	json_t *root;
	const json_t *devices; /* of root */
};

/* ---- versions ---- */

/* Those that were published, and after which of them a file may have what was added. */
static const char *const versions[] = {"0.3.0", "0.4.0", "0.5.0", "0.6.0",
				       "0.7.0", "0.8.0", "1.0.0", "1.1.0"};
enum { V0_3, V0_4, V0_5, V0_6, V0_7, V0_8, V1_0, V1_1 };

static bool version_find(const char *text, unsigned int *ret)
{
	for (unsigned int i = 0; i < ARRAY_LEN(versions); i++)
		if (strcmp(text + (*text == 'v'), versions[i]) == 0) {
			*ret = i;
			return true;
		}
	return false;
}

/* ---- words ---- */

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Letters, digits and `more` between a letter or digit at either end. */
static bool is_name(const char *text, size_t n, const char *more)
{
	if (n == 0 || !(is_letter(text[n - 1]) || is_digit(text[n - 1])))
		return false;
	if (!(is_letter(text[0]) || is_digit(text[0])))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_letter(text[i]) && !is_digit(text[i]) &&
		    (text[i] == '\0' || !strchr(more, text[i])))
			return false;
	return true;
}

bool cdi_kind_valid(const char *text, size_t n)
{
	const char *slash = memchr(text, '/', n);
	if (!slash)
		return false;
	size_t vendor = (size_t)(slash - text), class = n - vendor - 1;
	return vendor <= VENDOR_MAX && class <= CLASS_MAX && is_name(text, vendor, "_-.") &&
	       is_name(slash + 1, class, "_-.") && is_letter(text[0]) && is_letter(slash[1]);
}

bool cdi_device_valid(const char *name)
{
	return is_name(name, strlen(name), "_-.:");
}

/* Each of these says what is wrong with a text, NULL when nothing is. */

static const char *wrong_version(const char *text)
{
	unsigned int v;
	return version_find(text, &v) ? NULL : "is not a version of CDI from 0.3.0 to 1.1.0";
}

static const char *wrong_kind(const char *text)
{
	return cdi_kind_valid(text, strlen(text)) ? NULL : "is not of the form vendor/class";
}

static const char *wrong_device(const char *text)
{
	return cdi_device_valid(text) ? NULL
				      : "is not a device's name: letters, digits and _-.: between "
					"letters and digits";
}

static const char *wrong_env(const char *text)
{
	return form_assignment(text) ? NULL : "is not of the form NAME=VALUE";
}

static const char *wrong_path(const char *text)
{
	return form_absolute(text) ? NULL : "is not an absolute path";
}

static const char *wrong_empty(const char *text)
{
	return *text ? NULL : "is empty";
}

static const char *wrong_node_type(const char *text)
{
	return *text && !(text[1] == '\0' && strchr("bcup", *text)) ? "is none of b, c, u and p"
								    : NULL;
}

static const char *wrong_permissions(const char *text)
{
	bool right = text[strspn(text, "rwm")] == '\0' || strcmp(text, "none") == 0;
	return right ? NULL : "is neither \"none\" nor of the letters r, w and m";
}

static const char *wrong_hook(const char *text)
{
	static const char *const names[] = {"prestart",	      "createRuntime", "createContainer",
					    "startContainer", "poststart",     "poststop"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(text, names[i]) == 0)
			return NULL;
	return "is none of the hooks of the runtime-spec";
}

static const char *wrong_closid(const char *text)
{
	bool right = strcmp(text, "/") == 0 ||
		     (!strpbrk(text, "/\n") && strcmp(text, ".") != 0 && strcmp(text, "..") != 0);
	return right && strlen(text) <= CLOSID_MAX ? NULL : "is not the name of a class of service";
}

static const char *wrong_interface(const char *text)
{
	return form_interface(text, false) ? NULL : "is not the name of a network interface";
}

/* ---- members ---- */

enum shape { ONE, LIST, MAP };
enum kind { TEXT, NUMBER, BOOL, OBJECT };

struct member {
	const char *key;
	enum shape shape;
	enum kind kind;
	bool need;
	unsigned int since;
	uint64_t min, max;			 /* of a number */
	const char *(*wrong)(const char *text);	 /* with a text; NULL: nothing ever is */
	const struct member *members;		 /* of an object, ended by one without a key */
};

static const struct member node_members[] = {
	{"path", .kind = TEXT, .need = true, .wrong = wrong_path},
	{"hostPath", .kind = TEXT, .since = V0_5, .wrong = wrong_path},
	{"type", .kind = TEXT, .wrong = wrong_node_type},
	{"major", .kind = NUMBER, .max = MAJOR_MAX},
	{"minor", .kind = NUMBER, .max = MINOR_MAX},
	{"fileMode", .kind = NUMBER, .max = UINT32_MAX},
	{"permissions", .kind = TEXT, .wrong = wrong_permissions},
	{"uid", .kind = NUMBER, .max = UINT32_MAX},
	{"gid", .kind = NUMBER, .max = UINT32_MAX},
	{0},
};

static const struct member mount_members[] = {
	{"hostPath", .kind = TEXT, .need = true, .wrong = wrong_empty},
	{"containerPath", .kind = TEXT, .need = true, .wrong = wrong_path},
	{"options", LIST, TEXT, .wrong = wrong_empty},
	{"type", .kind = TEXT, .since = V0_4},
	{0},
};

static const struct member hook_members[] = {
	{"hookName", .kind = TEXT, .need = true, .wrong = wrong_hook},
	{"path", .kind = TEXT, .need = true, .wrong = wrong_path},
	{"args", .shape = LIST, .kind = TEXT},
	{"env", LIST, TEXT, .wrong = wrong_env},
	{"timeout", .kind = NUMBER, .min = 1, .max = INT32_MAX},
	{0},
};

static const struct member rdt_members[] = {
	{"closID", .kind = TEXT, .wrong = wrong_closid},
	{"l3CacheSchema", .kind = TEXT},
	{"memBwSchema", .kind = TEXT},
	{"schemata", LIST, TEXT, .since = V1_1},
	{"enableMonitoring", .kind = BOOL, .since = V1_1},
	{0},
};

static const struct member net_members[] = {
	{"hostInterfaceName", .kind = TEXT, .need = true, .wrong = wrong_interface},
	{"name", .kind = TEXT, .need = true, .wrong = wrong_interface},
	{0},
};

static const struct member edits_members[] = {
	{"env", LIST, TEXT, .wrong = wrong_env},
	{"deviceNodes", LIST, OBJECT, .members = node_members},
	{"netDevices", LIST, OBJECT, .since = V1_1, .members = net_members},
	{"hooks", LIST, OBJECT, .members = hook_members},
	{"mounts", LIST, OBJECT, .members = mount_members},
	{"intelRdt", .kind = OBJECT, .since = V0_7, .members = rdt_members},
	{"additionalGids", LIST, NUMBER, .since = V0_7, .max = UINT32_MAX},
	/* So the specification spells it in its example. */
	{"additionalGIDs", LIST, NUMBER, .since = V0_7, .max = UINT32_MAX},
	{0},
};

static const struct member device_members[] = {
	{"name", .kind = TEXT, .need = true, .wrong = wrong_device},
	{"annotations", MAP, TEXT, .since = V0_6},
	{"containerEdits", .kind = OBJECT, .members = edits_members},
	{0},
};

static const struct member spec_members[] = {
	{"cdiVersion", .kind = TEXT, .need = true, .wrong = wrong_version},
	{"kind", .kind = TEXT, .need = true, .wrong = wrong_kind},
	{"annotations", MAP, TEXT, .since = V0_6},
	{"devices", LIST, OBJECT, .need = true, .members = device_members},
	{"containerEdits", .kind = OBJECT, .members = edits_members},
	{0},
};

/* ---- checking ---- */

struct check {
	const char *what;
	unsigned int version;
	struct err *err;
};

static int wrong_at(const struct check *c, const struct oci_path *path, const char *why)
{
	char pointer[OCI_POINTER_MAX];
	return err_say(c->err, -EINVAL, "%s: %s: %s", c->what, oci_path_text(path, pointer), why);
}

static int too_new(const struct check *c, const struct oci_path *path, unsigned int since)
{
	char pointer[OCI_POINTER_MAX];
	return err_say(c->err, -EINVAL, "%s: %s: needs cdiVersion %s, and the file has %s", c->what,
		       oci_path_text(path, pointer), versions[since], versions[c->version]);
}

static int check_object(const struct check *c, const struct oci_path *path, json_t *object,
			const struct member *members);

static int check_text(const struct check *c, const struct oci_path *path, const struct member *m,
		      const json_t *value)
{
	const char *text = json_string_value(value);
	if (json_is_number(value))
		return wrong_at(c, path, "is a number, and has to be a text, in quotes");
	if (!text)
		return wrong_at(c, path, "is not a text");
	if (strlen(text) != json_string_length(value))
		return wrong_at(c, path, "holds a NUL");
	const char *why = m->wrong ? m->wrong(text) : NULL;
	return why ? wrong_at(c, path, why) : 0;
}

static int check_number(const struct check *c, const struct oci_path *path, const struct member *m,
			const json_t *value)
{
	char pointer[OCI_POINTER_MAX];
	if (!json_is_integer(value))
		return wrong_at(c, path, "is not a whole number");
	json_int_t v = json_integer_value(value);
	if (v >= 0 && (uint64_t)v >= m->min && (uint64_t)v <= m->max)
		return 0;
	return err_say(c->err, -EINVAL, "%s: %s: %lld is not from %llu to %llu", c->what,
		       oci_path_text(path, pointer), (long long)v, (unsigned long long)m->min,
		       (unsigned long long)m->max);
}

static int check_one(const struct check *c, const struct oci_path *path, const struct member *m,
		     json_t *value)
{
	switch (m->kind) {
	case TEXT:
		return check_text(c, path, m, value);
	case NUMBER:
		return check_number(c, path, m, value);
	case BOOL:
		return json_is_boolean(value) ? 0 : wrong_at(c, path, "is not true or false");
	case OBJECT:
		break;
	}
	return check_object(c, path, value, m->members);
}

static int check_list(const struct check *c, const struct oci_path *path, const struct member *m,
		      const json_t *value)
{
	int r = 0;
	if (!json_is_array(value))
		return wrong_at(c, path, "is not a list");
	for (size_t i = 0; r == 0 && i < json_array_size(value); i++) {
		struct oci_path at = oci_path_index(path, i);
		r = check_one(c, &at, m, json_array_get(value, i));
	}
	return r;
}

static int check_map(const struct check *c, const struct oci_path *path, const struct member *m,
		     json_t *value)
{
	const char *key;
	json_t *item;
	int r = 0;
	if (!json_is_object(value))
		return wrong_at(c, path, "is not an object");
	json_object_foreach(value, key, item) {
		struct oci_path at = oci_path_key(path, key);
		r = check_one(c, &at, m, item);
		if (r < 0)
			break;
	}
	return r;
}

static int check_member(const struct check *c, const struct oci_path *path,
			const struct member *members, json_t *value)
{
	const struct member *m = members;
	while (m->key && strcmp(m->key, path->key) != 0)
		m++;
	if (!m->key)
		return wrong_at(c, path, "is nothing that CDI knows");
	if (json_is_null(value))
		return 0;
	if (m->since > c->version)
		return too_new(c, path, m->since);
	if (m->shape == LIST)
		return check_list(c, path, m, value);
	return m->shape == MAP ? check_map(c, path, m, value) : check_one(c, path, m, value);
}

static int check_object(const struct check *c, const struct oci_path *path, json_t *object,
			const struct member *members)
{
	const char *key;
	json_t *value;
	int r = 0;
	if (!json_is_object(object))
		return wrong_at(c, path, "is not an object");
	json_object_foreach(object, key, value) {
		struct oci_path at = oci_path_key(path, key);
		r = check_member(c, &at, members, value);
		if (r < 0)
			return r;
	}
	for (const struct member *m = members; r == 0 && m->key; m++) {
		struct oci_path at = oci_path_key(path, m->key);
		value = json_object_get(object, m->key);
		if (m->need && (!value || json_is_null(value)))
			r = wrong_at(c, &at, "is missing");
	}
	return r;
}

/* ---- beyond single members ---- */

static int check_unique(const struct check *c, const struct oci_path *path, const json_t *list,
			const char *key)
{
	AUTO_JSON json_t *seen = json_object();
	if (!seen)
		return err_set(c->err, -ENOMEM, "check %s", c->what);
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct oci_path item = oci_path_index(path, i);
		struct oci_path at = oci_path_key(&item, key);
		const char *text =
			json_string_value(json_object_get(json_array_get(list, i), key));
		if (json_object_get(seen, text))
			return wrong_at(c, &at, "stands there a second time");
		if (json_object_set_new(seen, text, json_true()) < 0)
			return err_set(c->err, -ENOMEM, "check %s", c->what);
	}
	return 0;
}

static int check_edits(const struct check *c, const struct oci_path *up, const json_t *holder)
{
	const json_t *edits = json_object_get(holder, "containerEdits");
	const json_t *nets = json_object_get(edits, "netDevices");
	struct oci_path path = oci_path_key(up, "containerEdits");
	struct oci_path at = oci_path_key(&path, "netDevices");
	int r = check_unique(c, &at, nets, "hostInterfaceName");
	return r == 0 ? check_unique(c, &at, nets, "name") : r;
}

static int check_devices(const struct check *c, const struct oci_path *root, const json_t *devices)
{
	struct oci_path path = oci_path_key(root, "devices");
	if (json_array_size(devices) == 0)
		return wrong_at(c, &path, "is empty");
	int r = check_unique(c, &path, devices, "name");
	for (size_t i = 0; r == 0 && i < json_array_size(devices); i++) {
		const json_t *device = json_array_get(devices, i);
		struct oci_path item = oci_path_index(&path, i);
		struct oci_path at = oci_path_key(&item, "name");
		const char *name = json_string_value(json_object_get(device, "name"));
		if (is_digit(name[0]) && c->version < V0_5)
			return too_new(c, &at, V0_5);
		r = check_edits(c, &item, device);
	}
	return r;
}

static int check_spec(struct check *c, json_t *root)
{
	struct oci_path path = {0};
	struct oci_path kind = oci_path_key(&path, "kind");
	const char *version = json_string_value(json_object_get(root, "cdiVersion"));
	/* A wrong one is found below; until then everything is allowed. */
	c->version = ARRAY_LEN(versions) - 1;
	if (version)
		(void)version_find(version, &c->version);
	int r = check_object(c, &path, root, spec_members);
	if (r < 0)
		return r;
	const char *slash = strchr(json_string_value(json_object_get(root, "kind")), '/');
	if (strchr(slash, '.') && c->version < V0_6)
		return too_new(c, &kind, V0_6);
	r = check_edits(c, &path, root);
	return r == 0 ? check_devices(c, &path, json_object_get(root, "devices")) : r;
}

int cdi_spec_parse(const void *data, size_t n, enum cdi_form form, const char *what,
		   struct cdi_spec **ret, struct err *err)
{
	AUTO_JSON json_t *root = NULL;
	struct check c = {.what = what, .err = err};
	int r = form == CDI_YAML ? yaml_json_parse(data, n, what, &root, err)
				 : json_parse_object(data, n, what, &root, err);
	if (r == 0)
		r = check_spec(&c, root);
	if (r < 0)
		return r;
	struct cdi_spec *spec = calloc(1, sizeof(*spec));
	if (!spec)
		return err_set(err, -ENOMEM, "read %s", what);
	spec->devices = json_object_get(root, "devices");
	spec->root = steal_ptr(&root);
	*ret = spec;
	return 0;
}

void cdi_spec_destroy(struct cdi_spec *spec)
{
	if (!spec)
		return;
	json_decref(spec->root);
	free(spec);
}

/* ---- what it has ---- */

const char *cdi_spec_kind(const struct cdi_spec *spec)
{
	return json_string_value(json_object_get(spec->root, "kind"));
}

size_t cdi_spec_count(const struct cdi_spec *spec)
{
	return json_array_size(spec->devices);
}

const char *cdi_spec_device(const struct cdi_spec *spec, size_t i)
{
	return json_string_value(json_object_get(json_array_get(spec->devices, i), "name"));
}

bool cdi_spec_find(const struct cdi_spec *spec, const char *name, size_t *ret)
{
	for (size_t i = 0; i < cdi_spec_count(spec); i++)
		if (strcmp(cdi_spec_device(spec, i), name) == 0) {
			*ret = i;
			return true;
		}
	return false;
}

static const json_t *edits_of(const json_t *holder)
{
	const json_t *edits = json_object_get(holder, "containerEdits");
	return json_is_object(edits) ? edits : NULL;
}

const json_t *cdi_spec_edits(const struct cdi_spec *spec)
{
	return edits_of(spec->root);
}

const json_t *cdi_spec_device_edits(const struct cdi_spec *spec, size_t i)
{
	return edits_of(json_array_get(spec->devices, i));
}
