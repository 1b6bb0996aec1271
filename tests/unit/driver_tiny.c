/* SPDX-License-Identifier: Apache-2.0 */

/* A driver as other people write them, for test_driver.c: it knows one container. */
#include <stdio.h>
#include <string.h>

#include "exec/driver_load.h"

static int tiny_connect(const struct driver_options *options, const struct driver_call *call,
			void **ret, struct driver_error *error)
{
	static char name[32];
	(void)call;
	(void)error;
	(void)snprintf(name, sizeof(name), "%s", options->address ? options->address : "none");
	*ret = name;
	return 0;
}

static void tiny_close(void *conn)
{
	(void)conn;
}

static const struct driver_info *tiny_info(void *conn)
{
	static struct driver_info info = {.driver = "tiny", .name = "tiny", .version = "7"};
	info.address = conn;
	return &info;
}

static int tiny_start(void *conn, const struct driver_call *call, const char *id,
		      struct driver_error *error)
{
	(void)conn;
	(void)call;
	if (strcmp(id, "one") == 0)
		return 0;
	error->code = DRIVER_NOT_FOUND;
	error->err.code = -2;
	(void)snprintf(error->err.text, sizeof(error->err.text), "tiny knows no %s", id);
	return -2;
}

const struct driver *sluice_driver_1(void);
const struct driver *sluice_driver_1(void)
{
	static const struct driver driver = {
		.version = TINY_VERSION,
		.name = "tiny",
		.connect = tiny_connect,
		.close = tiny_close,
		.info = tiny_info,
		.start = tiny_start,
	};
	return &driver;
}
