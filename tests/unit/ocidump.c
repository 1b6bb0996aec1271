/* SPDX-License-Identifier: Apache-2.0 */

/*
 * ocidump TYPE FILE...: each file read as the type and written in the canonical
 * form, or why not, on a line of its own. ocidump --merge TYPE FILE FILE...:
 * the first with each of the others laid over it. For check_oci.py.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "exec/spec/oci.h"

static const struct oci_type *const types[] = {&oci_config_type, &oci_features_type,
					       &oci_state_type};

static const struct oci_type *type_of(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i]->name, name) == 0)
			return types[i];
	return NULL;
}

static int read_value(const struct oci_type *type, const char *path, void **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(OCI_JSON_MAX);
	int r = file_slurp(AT_FDCWD, path, &text, err);
	return r < 0 ? r : oci_value_parse(type, buf_str(&text), text.len, ret, err);
}

/* Writes it, and a copy of it, which must be the same. */
static int write_value(const struct oci_type *type, const void *value, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(4 * OCI_JSON_MAX);
	AUTO_FINISH(buf) struct buf again = buf_make(4 * OCI_JSON_MAX);
	void *copy = oci_value_clone(type, value);
	if (!copy)
		return -ENOMEM;
	bool equal = oci_value_equal(type, value, copy);
	int r = oci_value_emit(type, value, &text, err);
	if (r == 0)
		r = oci_value_emit(type, copy, &again, err);
	oci_value_free(type, copy);
	if (r == 0 && (!equal || strcmp(buf_str(&text), buf_str(&again)) != 0))
		return err_say(err, -EBADMSG, "a copy is not the same");
	if (r == 0)
		(void)puts(buf_str(&text));
	return r;
}

static int dump(const struct oci_type *type, const char *path, struct err *err)
{
	void *value = NULL;
	int r = read_value(type, path, &value, err);
	if (r == 0)
		r = write_value(type, value, err);
	oci_value_free(type, value);
	return r;
}

static int merge(const struct oci_type *type, char **paths, struct err *err)
{
	void *value = NULL, *over = NULL;
	int r = read_value(type, *paths, &value, err);
	while (r == 0 && *++paths) {
		r = read_value(type, *paths, &over, err);
		if (r == 0)
			r = oci_value_merge(type, value, over);
		oci_value_free(type, over);
		over = NULL;
	}
	if (r == 0)
		r = write_value(type, value, err);
	oci_value_free(type, value);
	return r;
}

int main(int argc, char **argv)
{
	bool merging = argc > 1 && strcmp(argv[1], "--merge") == 0;
	argv += merging;
	const struct oci_type *type = argc > 2 + merging ? type_of(argv[1]) : NULL;
	if (!type)
		return 2;
	struct err err = {0};
	if (merging && merge(type, argv + 2, &err) < 0)
		(void)printf("error: %s\n", err_text(&err));
	for (char **path = argv + 2; !merging && *path; path++) {
		err = (struct err){0};
		if (dump(type, *path, &err) < 0)
			(void)printf("error: %s\n", err_text(&err));
	}
	return 0;
}
