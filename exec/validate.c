/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/validate.h"

#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/num.h"
#include "base/utf8.h"
#include "exec/spec/number.h"
#include "exec/spec/oci.h"
#include "exec/validate_priv.h"

enum {
	FINDING_TEXT_MAX = 1024,
	FINDING_POINTER_MAX = 4096,	/* a longer one is cut */
	MARKED_MAX = 10 * OCI_JSON_MAX, /* what marks make of the largest document */
	SHOWN_MAX = 60,			/* bytes of a string that a finding quotes */
};

void findings_finish(struct findings *found)
{
	for (size_t i = 0; i < found->count; i++) {
		free(found->items[i].pointer);
		free(found->items[i].text);
	}
	free(found->items);
	*found = (struct findings){0};
}

/* What the finding says of a string: its beginning, in quotes, and nothing that drives a terminal. */
static int show_string(struct buf *out, const char *text, size_t n)
{
	int r = buf_puts(out, "\"");
	size_t off = 0;
	while (r == 0 && off < n && off < SHOWN_MAX) {
		size_t len = utf8_len(text + off, n - off);
		unsigned char byte = (unsigned char)text[off];
		if (len == 0 || byte < 0x20 || byte == 0x7f)
			r = buf_printf(out, "\\u%04x", byte);
		else
			r = buf_append(out, text + off, len);
		off += len > 0 ? len : 1;
	}
	return r < 0 ? r : buf_puts(out, off < n ? "…\"" : "\"");
}

static int show(struct buf *out, const json_t *value)
{
	const char *number = oci_number_text(value);
	if (number)
		return buf_printf(out, "%.*s%s", SHOWN_MAX, number,
				  strlen(number) > SHOWN_MAX ? "…" : "");
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return buf_puts(out, json_object_size(value) ? "an object" : "an empty object");
	case JSON_ARRAY:
		return buf_puts(out, json_array_size(value) ? "an array" : "an empty array");
	case JSON_STRING:
		return show_string(out, json_string_value(value), json_string_length(value));
	case JSON_INTEGER:
		return buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	case JSON_REAL:
		return buf_printf(out, "%.17g", json_real_value(value));
	case JSON_TRUE:
		return buf_puts(out, "true");
	case JSON_FALSE:
		return buf_puts(out, "false");
	case JSON_NULL:
	default:
		return buf_puts(out, "null");
	}
}

static int pointer_of(const struct at *at, char **ret)
{
	AUTO_FINISH(buf) struct buf out = buf_make(FINDING_POINTER_MAX);
	int r = oci_path_append(&at->path, &out);
	if (r == -E2BIG) {
		char text[OCI_POINTER_MAX];
		buf_clear(&out);
		r = buf_puts(&out, oci_path_text(&at->path, text));
	}
	if (r == 0)
		r = buf_puts(&out, "");
	if (r < 0)
		return r;
	char *pointer = out.len > 0 ? buf_steal(&out) : strdup("");
	if (!pointer)
		return -ENOMEM;
	*ret = pointer;
	return 0;
}

/* Whether the schema has refused what stands there: one mistake, one finding. */
static bool known(const struct check *check, const char *pointer)
{
	for (size_t i = 0; i < check->n_schema; i++)
		if (strcmp(check->found->items[i].pointer, pointer) == 0)
			return true;
	return false;
}

static int add(struct check *check, const struct at *at, struct buf *text)
{
	struct findings *found = check->found;
	AUTO_FREE char *pointer = NULL;
	int r = pointer_of(at, &pointer);
	if (r < 0 || known(check, pointer))
		return r;
	struct finding *items = reallocarray(found->items, found->count + 1, sizeof(*found->items));
	if (!items)
		return -ENOMEM;
	found->items = items;
	items[found->count++] = (struct finding){
		.pointer = steal_ptr(&pointer),
		.text = buf_steal(text),
		.section = at->path.up ? section_of(check->type, &at->path) : check->section,
	};
	return 0;
}

static void find_va(struct check *check, const struct at *at, bool shown, const char *fmt,
		    va_list ap) __attribute__((format(printf, 4, 0)));
static void find_va(struct check *check, const struct at *at, bool shown, const char *fmt,
		    va_list ap)
{
	AUTO_FINISH(buf) struct buf text = buf_make(FINDING_TEXT_MAX);
	if (check->r < 0)
		return;
	if (check->found->count >= VALIDATE_FINDINGS_MAX) {
		check->found->left_off++;
		return;
	}
	int r = buf_vprintf(&text, fmt, ap);
	if (r == 0 && shown)
		r = buf_puts(&text, at->value ? ", but is " : ", but ");
	if (r == 0 && shown)
		r = at->value ? show(&text, at->value) : buf_puts(&text, "is missing");
	/* The words that are ours fit; what is quoted is cut. */
	if (r == -E2BIG)
		r = 0;
	if (r == 0)
		r = add(check, at, &text);
	check->r = r;
}

void find(struct check *check, const struct at *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	find_va(check, at, true, fmt, ap);
	va_end(ap);
}

void find_exactly(struct check *check, const struct at *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	find_va(check, at, false, fmt, ap);
	va_end(ap);
}

static const struct {
	const struct oci_type *type;
	const char *section; /* of the whole document */
} kinds[] = {
	[VALIDATE_CONFIG] = {&oci_config_type, "config.md"},
	[VALIDATE_STATE] = {&oci_state_type, "runtime.md#state"},
	[VALIDATE_FEATURES] = {&oci_features_type, "features.md"},
};

int validate_json(enum validate_kind kind, const json_t *document, struct findings *found,
		  struct err *err)
{
	struct check check = {
		.type = kinds[kind].type, .section = kinds[kind].section, .found = found};
	struct at root = at_document(document);
	check_schema(&check, &root);
	check.n_schema = found->count;
	switch (kind) {
	case VALIDATE_CONFIG:
		check_config(&check, &root);
		break;
	case VALIDATE_STATE:
		check_state(&check, &root);
		break;
	case VALIDATE_FEATURES:
		check_features(&check, &root);
		break;
	}
	return check.r < 0 ? err_set(err, check.r, "check the document") : 0;
}

/* Parses the document so that no number in it is lost. */
static int parse(const void *data, size_t n, json_t **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf marked = buf_make(MARKED_MAX);
	int r = oci_number_mark(data, n, &marked);
	if (r < 0)
		return err_set(err, r, "read the numbers of the document");
	if (marked.len == 0)
		return json_parse_object(data, n, "the document", ret, err);
	return json_parse_object(marked.data, marked.len, "the document", ret, err);
}

int validate_bytes(enum validate_kind kind, const void *data, size_t n, struct findings *found,
		   struct err *err)
{
	AUTO_JSON json_t *document = NULL;
	struct err why = {0};
	if (n > OCI_JSON_MAX)
		return err_set(err, -E2BIG, "check a document of %zu bytes", n);
	int r = parse(data, n, &document, &why);
	if (r == 0)
		return validate_json(kind, document, found, err);
	if (r != -EINVAL)
		return err_copy(err, &why);
	struct check check = {
		.type = kinds[kind].type, .section = kinds[kind].section, .found = found};
	struct at root = at_document(NULL);
	find_exactly(&check, &root, "%s", err_text(&why));
	return check.r < 0 ? err_set(err, check.r, "check the document") : 0;
}
