/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "base/spawn.h"
#include "exec/convert.h"
#include "exec/defaults.h"
#include "exec/spec_features.h"
#include "exec/validate.h"
#include "tools/opened.h"
#include "tools/text.h"
#include "tools/verb.h"

struct spec_state {
	const char *kind;
	const char *runtime;
};

static const struct {
	const char *name;
	enum validate_kind kind;
} kinds[] = {
	{"config", VALIDATE_CONFIG},
	{"state", VALIDATE_STATE},
	{"features", VALIDATE_FEATURES},
};

static void spec_options(void *state, struct opt *table)
{
	struct spec_state *s = state;
	const struct opt rows[] = {
		{"kind", 0, OPT_TEXT, "KIND",
		 "of validate: config, state or features (default: config)", &s->kind},
		{"runtime", 0, OPT_TEXT, "PROGRAM",
		 "of features: those of a runtime, by its path or name", &s->runtime},
	};
	memcpy(table, rows, sizeof(rows));
}

/* A file, or with "-" the standard input. */
static int read_document(const char *name, struct buf *out, struct err *err)
{
	bool is_input = strcmp(name, "-") == 0;
	int r = is_input ? file_slurp_fd(STDIN_FILENO, out) : file_slurp(AT_FDCWD, name, out, err);
	if (r == -E2BIG)
		return err_say(err, r, "%s is larger than a document may be, %d MiB",
			       is_input ? "the standard input" : name, OCI_JSON_MAX >> 20);
	return r < 0 && is_input ? err_set(err, r, "read the standard input") : r;
}

static void print_findings(const char *name, const struct findings *found)
{
	for (size_t i = 0; i < found->count; i++) {
		const struct finding *finding = &found->items[i];
		text_print_name(finding->pointer, strlen(finding->pointer));
		(void)printf("%s%s (%s)\n", *finding->pointer ? ": " : "", finding->text,
			     finding->section);
	}
	if (found->left_off > 0)
		(void)printf("and %zu more\n", found->left_off);
	if (found->count == 0)
		(void)printf("nothing is wrong with %s\n",
			     strcmp(name, "-") == 0 ? "the standard input" : name);
}

static int print_findings_json(const char *kind, const struct findings *found, struct err *err)
{
	AUTO_JSON json_t *list = json_array();
	int r = list ? 0 : -1;
	for (size_t i = 0; i < found->count && r == 0; i++)
		r = json_array_append_new(
			list, json_pack("{s:s,s:s,s:s}", "pointer", found->items[i].pointer, "text",
					found->items[i].text, "section", found->items[i].section));
	AUTO_JSON json_t *json =
		r == 0 ? json_pack("{s:s,s:b,s:O,s:I}", "kind", kind, "valid", found->count == 0,
				   "findings", list, "left_off", (json_int_t)found->left_off)
		       : NULL;
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

static int spec_validate(struct ctx *ctx, struct spec_state *s, char **words, struct err *err)
{
	AUTO_FINISH(buf) struct buf document = buf_make(OCI_JSON_MAX);
	AUTO_FINISH(findings) struct findings found = {0};
	const char *kind = s->kind ? s->kind : kinds[0].name;
	size_t i = 0;
	while (i < ARRAY_LEN(kinds) && strcmp(kinds[i].name, kind) != 0)
		i++;
	if (i == ARRAY_LEN(kinds))
		return ctx_misuse(ctx,
				  err_say(err, -EINVAL,
					  "--kind does not take '%s': it wants config, state or "
					  "features",
					  kind));
	int r = read_document(words[0], &document, err);
	if (r == 0)
		r = validate_bytes(kinds[i].kind, buf_str(&document), document.len, &found, err);
	if (r == 0 && ctx->json)
		r = print_findings_json(kind, &found, err);
	if (r < 0)
		return r;
	if (!ctx->json)
		print_findings(words[0], &found);
	return found.count > 0;
}

static int find_runtime(const char *given, char **ret, struct err *err)
{
	int r;
	if (!strchr(given, '/')) {
		const char *path_env = getenv("PATH");
		r = spawn_find(path_env ? path_env : "", given, ret);
		return r < 0 ? err_set(err, r, "find the runtime %s in PATH", given) : 0;
	}
	*ret = realpath(given, NULL);
	return *ret ? 0 : err_set(err, -errno, "find the runtime %s", given);
}

/* A runtime's own words as they came. */
static int print_runtime(const char *given, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(FEATURES_MAX);
	AUTO_FREE char *path = NULL;
	int r = find_runtime(given, &path, err);
	if (r == 0)
		r = features_ask(path, &text, err);
	if (r == 0 && fwrite(text.data, 1, text.len, stdout) != text.len)
		r = err_say(err, -EIO, "the output could not be written");
	return r;
}

static int spec_features(struct ctx *ctx, struct spec_state *s, char **words, struct err *err)
{
	(void)ctx;
	(void)words;
	AUTO_FINISH(buf) struct buf text = buf_make(FEATURES_MAX);
	AUTO(oci_features) struct oci_features *features = NULL;
	if (s->runtime)
		return print_runtime(s->runtime, err);
	int r = features_create(&features, err);
	if (r == 0)
		r = oci_features_emit(features, &text, err);
	return r < 0 ? r : text_print_compact(text.data, text.len, err);
}

static int print_config(const struct oci_config *config, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(OCI_JSON_MAX);
	int r = oci_config_emit(config, &text, err);
	return r < 0 ? r : text_print_compact(text.data, text.len, err);
}

/* What a container gets that nobody said anything about, and a shell. */
static int spec_new(struct ctx *ctx, struct spec_state *s, char **words, struct err *err)
{
	AUTO(oci_config) struct oci_config *config = NULL;
	(void)ctx;
	(void)s;
	(void)words;
	int r = defaults_create(&config, err);
	if (r < 0)
		return r;
	struct oci_process *process = oci_config_need_process(config);
	if (!process || oci_process_add_args(process, "sh") < 0)
		return err_set(err, -ENOMEM, "make a configuration");
	r = defaults_env(config, NULL, err);
	return r < 0 ? r : print_config(config, err);
}

static int slurp_opened(void *data, const char *path, struct buf *ret, struct err *err)
{
	return opened_slurp(data, path, ret, err);
}

static int convert_opened(struct opened *opened, struct oci_config *config, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(IMAGE_SPEC_MAX);
	AUTO_FINISH(image_spec) struct image_spec image = {0};
	AUTO_FINISH(user) struct user user = {0};
	const struct ctx *ctx = opened->ctx;
	const struct user_files files = {.read = slurp_opened, .data = opened};
	const struct convert_options options = {
		.architecture = ctx->platform_text ? ctx->platform.arch : NULL,
	};
	int r = opened_config(opened, &text, err);
	if (r == 0)
		r = image_spec_parse(buf_str(&text), text.len, &image, err);
	if (r == 0)
		r = convert_image(&image, &options, config, err);
	if (r == 0)
		r = user_find_in(&files, image.user, &user, err);
	if (r == 0)
		r = convert_user(&user, config, err);
	return r < 0 ? r : defaults_env(config, user.home, err);
}

static int spec_convert(struct ctx *ctx, struct spec_state *s, char **words, struct err *err)
{
	AUTO_FINISH(opened) struct opened opened = {0};
	AUTO(oci_config) struct oci_config *config = NULL;
	(void)s;
	int r = opened_start(ctx, words[0], &opened, err);
	if (r == 0)
		r = defaults_create(&config, err);
	if (r < 0)
		return r;
	r = convert_opened(&opened, config, err);
	return r < 0 ? err_prefix(err, r, "%s", words[0]) : print_config(config, err);
}

static const struct {
	const char *name;
	int words; /* behind the name */
	int (*run)(struct ctx *ctx, struct spec_state *s, char **words, struct err *err);
} tasks[] = {
	{"validate", 1, spec_validate},
	{"new", 0, spec_new},
	{"convert", 1, spec_convert},
	{"features", 0, spec_features},
};

static int spec_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	size_t i = 0;
	while (i < ARRAY_LEN(tasks) && strcmp(tasks[i].name, argv[0]) != 0)
		i++;
	if (i == ARRAY_LEN(tasks))
		return ctx_misuse(ctx,
				  err_say(err, -EINVAL,
					  "there is no 'spec %s': it is validate, new, convert "
					  "or features",
					  argv[0]));
	if (argc - 1 != tasks[i].words)
		return ctx_misuse(ctx,
				  err_say(err, -EINVAL, "'spec %s' takes %s", argv[0],
					  tasks[i].words == 0 ? "no more words" : "one more word"));
	return tasks[i].run(ctx, state, argv + 1, err);
}

const struct verb verb_spec = {
	.name = "spec",
	.args = "validate FILE | new | convert IMAGE | features",
	.summary = "check and make documents of the runtime-spec",
	.teach = "Works with documents of the OCI runtime-spec, version 1.3.\n\n"
		 "  validate  check a config.json against the schema and against what the text of "
		 "the\n"
		 "            specification asks beyond it; '-' is the standard input. One line "
		 "for each\n"
		 "            thing that is wrong: where (a JSON pointer), what is asked, and the "
		 "section\n"
		 "            that asks it. Exit status 1 when there is any\n"
		 "  new       print a configuration to begin with: what Sluice gives a container "
		 "that\n"
		 "            nobody said anything about, and a shell\n"
		 "  convert   print the configuration that an image asks for, on top of the same\n"
		 "  features  print what Sluice knows of the specification, or with --runtime what "
		 "a\n"
		 "            runtime says that it knows\n\n"
		 "  sluice spec validate bundle/config.json\n"
		 "  sluice spec convert python:3.12 >bundle/config.json\n"
		 "  runc state web | sluice spec validate --kind state -\n"
		 "  sluice spec features --runtime runc",
	.options = spec_options,
	.state_size = sizeof(struct spec_state),
	.min_words = 1,
	.max_words = 2,
	.run = spec_run,
};
