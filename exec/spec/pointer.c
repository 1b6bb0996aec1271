/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/pointer.h"

#include <string.h>

static int append_key(const char *key, struct buf *out)
{
	int r = buf_puts(out, "/");
	while (r == 0 && *key) {
		size_t plain = strcspn(key, "~/");
		r = buf_append(out, key, plain);
		key += plain;
		if (r == 0 && *key)
			r = buf_puts(out, *key++ == '~' ? "~0" : "~1");
	}
	return r;
}

int oci_path_append(const struct oci_path *path, struct buf *out)
{
	if (!path || !path->up)
		return 0;
	int r = oci_path_append(path->up, out);
	if (r < 0)
		return r;
	return path->key ? append_key(path->key, out) : buf_printf(out, "/%zu", path->index);
}

/* Puts text at out[at...], where there is room for it; otherwise as much as fits. */
static size_t put(char *out, size_t at, const char *text, size_t n)
{
	size_t room = OCI_POINTER_MAX - 1 - at;
	n = n < room ? n : room;
	memcpy(out + at, text, n);
	return at + n;
}

static size_t put_path(const struct oci_path *path, char *out)
{
	char digits[24];
	if (!path->up)
		return 0;
	size_t at = put(out, put_path(path->up, out), "/", 1);
	if (!path->key) {
		int n = snprintf(digits, sizeof(digits), "%zu", path->index);
		return put(out, at, digits, (size_t)n);
	}
	for (const char *p = path->key; *p; p++) {
		const char *one = *p == '~' ? "~0" : *p == '/' ? "~1" : p;
		at = put(out, at, one, one == p ? 1 : 2);
	}
	return at;
}

char *oci_path_text(const struct oci_path *path, char out[static OCI_POINTER_MAX])
{
	size_t n = put_path(path, out);
	if (n == 0)
		n = put(out, 0, "/", 1);
	if (n == OCI_POINTER_MAX - 1)
		memcpy(out + n - 3, "...", 3);
	out[n] = '\0';
	return out;
}

size_t oci_path_depth(const struct oci_path *path)
{
	size_t n = 0;
	for (; path->up; path = path->up)
		n++;
	return n;
}
