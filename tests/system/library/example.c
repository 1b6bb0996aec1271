/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a program does with libsluice: makes a configuration, has it checked,
 * and asks a runtime what it runs. Prints a line for each finding and each
 * container; ends with 0, or with 1 and a sentence.
 */

#include <stdio.h>

#include "base/buf.h"
#include "exec/defaults.h"
#include "exec/driver_oci.h"
#include "exec/validate.h"

enum { DOCUMENT_MAX = 1 << 20, CALL_MS = 20000 };

static int make(const char *cwd, struct buf *document, struct err *err)
{
	AUTO(oci_config) struct oci_config *config = NULL;
	int r = defaults_create(&config, err);
	if (r == 0 && (oci_process_add_args(config->process, "/bin/true") < 0 ||
		       oci_process_set_cwd(config->process, cwd) < 0))
		r = err_set(err, -ENOMEM, "make a configuration");
	return r < 0 ? r : oci_config_emit(config, document, err);
}

static int check(const char *cwd, struct err *err)
{
	AUTO_FINISH(buf) struct buf document = buf_make(DOCUMENT_MAX);
	AUTO_FINISH(findings) struct findings found = {0};
	int r = make(cwd, &document, err);
	if (r == 0)
		r = validate_bytes(VALIDATE_CONFIG, document.data, document.len, &found, err);
	for (size_t i = 0; i < found.count; i++)
		(void)printf("%s (%s)\n", found.items[i].pointer, found.items[i].section);
	return r;
}

static int ask(const char *runtime, const char *state_root, struct err *err)
{
	struct driver_error why = {0};
	struct driver_options options = {.address = runtime, .state_root = state_root};
	struct driver_call call = {.deadline = deadline_in_ms(CALL_MS)};
	AUTO(driver_conn) struct driver_conn *conn = NULL;
	AUTO_FINISH(driver_list) struct driver_list list = {0};
	int r = driver_connect(driver_oci(), &options, &call, &conn, &why);
	if (r == 0)
		r = driver_list(conn, &call, &list, &why);
	if (r < 0)
		return err_say(err, r, "%s: %s", driver_code_name(why.code), err_text(&why.err));
	(void)printf("%s runs %zu\n", driver_info(conn)->name, list.n);
	return 0;
}

/* CWD RUNTIME STATE-ROOT */
int main(int argc, char **argv)
{
	struct err err = {0};
	if (argc != 4)
		return 2;
	if (check(argv[1], &err) < 0 || ask(argv[2], argv[3], &err) < 0) {
		(void)fprintf(stderr, "%s\n", err_text(&err));
		return 1;
	}
	return 0;
}
