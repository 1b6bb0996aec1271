/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cdi.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "base/strv.h"
#include "exec/cdi_edit.h"
#include "exec/cdi_spec.h"

const char *const cdi_default_dirs[] = {"/etc/cdi", "/var/run/cdi", NULL};

#define GPU_KIND "nvidia.com/gpu"

enum {
	PLACES_MAX = 700, /* bytes that say where was searched */
	BROKEN_SAID = 2,  /* files that cannot be read, in one sentence */
};

struct cdi_file {
	struct cdi_file *next;
	char *path;
	size_t dir;	       /* which of the directories: a higher one wins */
	struct cdi_spec *spec; /* NULL: it cannot be read */
	struct err why;
};

struct cdi {
	char **dirs; /* NULL-terminated */
	struct cdi_file *files, **end; /* by directory and name */
};

static void file_destroy(struct cdi_file *file)
{
	if (!file)
		return;
	cdi_spec_destroy(file->spec);
	free(file->path);
	free(file);
}
DEFINE_CLEANUP(cdi_file, file_destroy);

void cdi_destroy(struct cdi *cdi)
{
	if (!cdi)
		return;
	while (cdi->files) {
		struct cdi_file *file = cdi->files;
		cdi->files = file->next;
		file_destroy(file);
	}
	cdi_names_free(cdi->dirs);
	free(cdi);
}

void cdi_names_free(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

/* ---- reading ---- */

static bool form_of(const char *name, enum cdi_form *ret)
{
	const char *dot = strrchr(name, '.');
	if (!dot || dot == name)
		return false;
	*ret = strcmp(dot, ".json") == 0 ? CDI_JSON : CDI_YAML;
	return *ret == CDI_JSON || strcmp(dot, ".yaml") == 0;
}

static int wanted(const struct dirent *entry)
{
	enum cdi_form form;
	return form_of(entry->d_name, &form);
}

static int file_read_spec(struct cdi_file *file, int fd, const char *name)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(CDI_SPEC_MAX);
	enum cdi_form form = CDI_JSON;
	(void)form_of(name, &form);
	int r = file_slurp(fd, name, &bytes, NULL);
	if (r < 0)
		return err_set(&file->why, r, "read %s", file->path);
	return cdi_spec_parse(buf_str(&bytes), bytes.len, form, file->path, &file->spec,
			      &file->why);
}

static int add_file(struct cdi *cdi, size_t dir, int fd, const char *name, struct err *err)
{
	AUTO(cdi_file) struct cdi_file *file = calloc(1, sizeof(*file));
	if (!file || asprintf(&file->path, "%s/%s", cdi->dirs[dir], name) < 0) {
		if (file)
			file->path = NULL;
		return err_set(err, -ENOMEM, "read %s", cdi->dirs[dir]);
	}
	file->dir = dir;
	int r = file_read_spec(file, fd, name);
	if (r == -ENOMEM)
		return err_copy(err, &file->why);
	/* It was removed since. */
	if (r == -ENOENT)
		return 0;
	*cdi->end = file;
	cdi->end = &file->next;
	file = NULL;
	return 0;
}

static int add_dir(struct cdi *cdi, size_t dir, struct err *err)
{
	struct dirent **entries = NULL;
	AUTO_CLOSE int fd = open(cdi->dirs[dir], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	int n = fd < 0 ? -1 : scandirat(fd, ".", &entries, wanted, alphasort);
	if (n < 0)
		return err_set(err, -errno, "read %s", cdi->dirs[dir]);
	int r = n > CDI_FILES_MAX ? err_say(err, -E2BIG, "%s has more than %d CDI files",
					    cdi->dirs[dir], CDI_FILES_MAX)
				  : 0;
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = add_file(cdi, dir, fd, entries[i]->d_name, err);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int cdi_create(const char *const *dirs, struct cdi **ret, struct err *err)
{
	AUTO(cdi) struct cdi *cdi = calloc(1, sizeof(*cdi));
	if (!cdi)
		return err_set(err, -ENOMEM, "read CDI files");
	cdi->end = &cdi->files;
	int r = strv_copy(dirs, &cdi->dirs);
	if (r < 0)
		return err_set(err, r, "read CDI files");
	for (size_t i = 0; r == 0 && cdi->dirs[i]; i++)
		r = add_dir(cdi, i, err);
	if (r == 0)
		*ret = steal_ptr(&cdi);
	return r;
}

/* ---- finding ---- */

bool cdi_is_name(const char *text)
{
	const char *equals = strchr(text, '=');
	return equals && cdi_kind_valid(text, (size_t)(equals - text)) &&
	       cdi_device_valid(equals + 1);
}

/* A device, and the file that has it. */
struct found {
	const struct cdi_file *file;
	size_t device;
};

/* "in /etc/cdi and /var/run/cdi; /etc/cdi/a.json: … cannot be used" */
static const char *places(const struct cdi *cdi, struct buf *out)
{
	size_t broken = 0;
	int r = 0;
	for (size_t i = 0; r == 0 && cdi->dirs[i]; i++)
		r = buf_printf(out, "%s%s", i == 0 ? "" : " and ", cdi->dirs[i]);
	for (const struct cdi_file *f = cdi->files; r == 0 && f; f = f->next) {
		if (f->spec || ++broken > BROKEN_SAID)
			continue;
		r = buf_printf(out, "; unusable there: %s", err_text(&f->why));
	}
	if (r == 0 && broken > BROKEN_SAID)
		(void)buf_printf(out, "; and %zu files more", broken - BROKEN_SAID);
	return out->len > 0 ? buf_str(out) : "no directory";
}

static int not_found(const struct cdi *cdi, const char *name, struct err *err)
{
	AUTO_FINISH(buf) struct buf where = buf_make(PLACES_MAX);
	size_t kind = strcspn(name, "=");
	bool has_kind = false;
	for (const struct cdi_file *f = cdi->files; f; f = f->next)
		if (f->spec && strlen(cdi_spec_kind(f->spec)) == kind &&
		    strncmp(cdi_spec_kind(f->spec), name, kind) == 0)
			has_kind = true;
	if (!has_kind)
		return err_say(err, -ENOENT,
			       "there is no CDI device %s: no file is of the kind %.*s; searched %s",
			       name, (int)kind, name, places(cdi, &where));
	return err_say(err, -ENOENT,
		       "there is no CDI device %s: no file of its kind has it; searched %s", name,
		       places(cdi, &where));
}

static int find(const struct cdi *cdi, const char *name, struct found *ret, struct err *err)
{
	const char *equals = strchr(name, '=');
	const struct cdi_file *rival = NULL;
	struct found found = {0};
	if (!cdi_is_name(name))
		return err_say(err, -EINVAL,
			       "\"%s\" is not a CDI device of the form vendor/class=name", name);
	size_t kind = (size_t)(equals - name), device = 0;
	for (const struct cdi_file *f = cdi->files; f; f = f->next) {
		if (!f->spec || strlen(cdi_spec_kind(f->spec)) != kind ||
		    strncmp(cdi_spec_kind(f->spec), name, kind) != 0 ||
		    !cdi_spec_find(f->spec, equals + 1, &device))
			continue;
		rival = found.file && found.file->dir == f->dir ? found.file : NULL;
		found = (struct found){.file = f, .device = device};
	}
	if (!found.file)
		return not_found(cdi, name, err);
	if (rival)
		return err_say(err, -EEXIST, "the CDI device %s is in both %s and %s", name,
			       rival->path, found.file->path);
	*ret = found;
	return 0;
}

/* ---- applying ---- */

struct plan {
	struct found *found;
	size_t n_found;
	const json_t **edits;
	size_t n_edits;
};

static void plan_finish(struct plan *plan)
{
	free(plan->found);
	free(plan->edits);
}
DEFINE_FINISH(plan, plan_finish);

static void plan_add(struct plan *plan, const struct found *found)
{
	bool has_file = false;
	for (size_t i = 0; i < plan->n_found; i++) {
		if (plan->found[i].file != found->file)
			continue;
		if (plan->found[i].device == found->device)
			return;
		has_file = true;
	}
	plan->found[plan->n_found++] = *found;
	if (!has_file)
		plan->edits[plan->n_edits++] = cdi_spec_edits(found->file->spec);
	plan->edits[plan->n_edits++] = cdi_spec_device_edits(found->file->spec, found->device);
}

static int plan_make(const struct cdi *cdi, const char *const *names, struct plan *plan,
		     struct err *err)
{
	size_t n = 0;
	int r = 0;
	while (names[n])
		n++;
	plan->found = calloc(n, sizeof(*plan->found));
	plan->edits = calloc(n, 2 * sizeof(*plan->edits));
	if (!plan->found || !plan->edits)
		return err_set(err, -ENOMEM, "find CDI devices");
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct found found;
		r = find(cdi, names[i], &found, err);
		if (r == 0)
			plan_add(plan, &found);
	}
	return r;
}

int cdi_apply(const struct cdi *cdi, const char *const *names, struct oci_config *config,
	      struct err *err)
{
	AUTO_FINISH(plan) struct plan plan = {0};
	if (!names || !names[0])
		return 0;
	int r = plan_make(cdi, names, &plan, err);
	if (r < 0)
		return r;
	AUTO(oci_config) struct oci_config *edited = oci_config_clone(config);
	if (!edited)
		return err_set(err, -ENOMEM, "give the container its devices");
	r = cdi_edit(edited, plan.edits, plan.n_edits, err);
	if (r < 0)
		return r;
	struct oci_config old = *config;
	*config = *edited;
	*edited = old;
	return 0;
}

/* ---- GPUs ---- */

static const char *gpu_kind(const struct cdi *cdi)
{
	const char *first = NULL;
	for (const struct cdi_file *f = cdi->files; f; f = f->next) {
		const char *kind = f->spec ? cdi_spec_kind(f->spec) : "";
		const char *slash = strchr(kind, '/');
		if (strcmp(kind, GPU_KIND) == 0)
			return kind;
		if (slash && strcmp(slash, "/gpu") == 0 && (!first || strcmp(kind, first) < 0))
			first = kind;
	}
	return first;
}

static int name_add(char ***list, size_t *n, const char *kind, const char *device, size_t len)
{
	char **more = reallocarray(*list, *n + 2, sizeof(*more));
	if (!more)
		return -ENOMEM;
	*list = more;
	more[*n] = more[*n + 1] = NULL;
	if (asprintf(&more[*n], "%s=%.*s", kind, (int)len, device) < 0) {
		more[*n] = NULL;
		return -ENOMEM;
	}
	++*n;
	return 0;
}

static int add_counted(char ***list, const char *kind, uint64_t count)
{
	char text[SIZE_TEXT_MAX];
	size_t n = 0;
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < count; i++) {
		int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)i);
		r = name_add(list, &n, kind, text, (size_t)len);
	}
	return r;
}

static int add_listed(char ***list, const char *kind, const char *devices, size_t len)
{
	size_t n = 0;
	int r = 0;
	for (const char *p = devices, *end = devices + len; r == 0 && p <= end;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;
		r = n < CDI_GPUS_MAX ? name_add(list, &n, kind, p, (size_t)(stop - p)) : -E2BIG;
		if (r == 0 && !cdi_is_name((*list)[n - 1]))
			r = -EINVAL;
		p = stop + 1;
	}
	return r;
}

static int gpus_list(const char *kind, const char *value, char ***list)
{
	static const char device[] = "device=", count[] = "count=";
	size_t len = strlen(value);
	uint64_t n = 0;
	if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
		value++;
		len -= 2;
	}
	if (strncmp(value, device, strlen(device)) == 0)
		return add_listed(list, kind, value + strlen(device), len - strlen(device));
	if (strncmp(value, count, strlen(count)) == 0)
		value += strlen(count);
	if (strcmp(value, "all") == 0)
		return add_listed(list, kind, "all", strlen("all"));
	return u64_parse(value, CDI_GPUS_MAX, &n) == 0 && n > 0 ? add_counted(list, kind, n)
								  : -EINVAL;
}

int cdi_gpus(const struct cdi *cdi, const char *value, char ***ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf where = buf_make(PLACES_MAX);
	const char *kind = gpu_kind(cdi);
	char **list = NULL;
	int r = gpus_list(kind ? kind : GPU_KIND, value, &list);
	if (r == 0 && kind) {
		*ret = list;
		return 0;
	}
	cdi_names_free(list);
	if (r == 0)
		return err_say(err, -ENOENT,
			       "--gpus %s: no CDI file is of the kind " GPU_KIND " or of another "
			       "that ends in /gpu; searched %s",
			       value, places(cdi, &where));
	if (r == -ENOMEM)
		return err_set(err, r, "--gpus %s", value);
	return err_say(err, -EINVAL,
		       "--gpus does not take '%s': it wants all, a number from 1 to %d, or device= "
		       "and the names that /etc/cdi gives them",
		       value, CDI_GPUS_MAX);
}
