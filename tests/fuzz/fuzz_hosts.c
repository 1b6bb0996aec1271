/* SPDX-License-Identifier: Apache-2.0 */

/* Any text as a hosts.toml, and what comes of it. */

#include <stdlib.h>
#include <string.h>

#include "fetcher/hosts_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What every endpoint promises, whatever the file said. */
static void check(const struct endpoint *e)
{
	if (strncmp(e->url_base, "http://", 7) != 0 && strncmp(e->url_base, "https://", 8) != 0)
		abort();
	for (const char *c = e->url_base; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			abort();
	for (char **header = e->headers; header && *header; header++)
		if (strpbrk(*header, "\r\n") || !strchr(*header, ':'))
			abort();
	if (e->client_key && !e->client_cert)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO_FINISH(endpoints) struct endpoints list = {0};
	/* No descriptor: a relative "ca" is not to be found, and nothing of the machine is read. */
	int r = hosts_toml_parse(-1, "/none", (const char *)data, n, "registry.example:5000", false,
				 &list, &err);
	if (r < 0 && err.text[0] == '\0')
		abort();
	if (r == 0 && (list.count == 0 || !list.items[list.count - 1].is_upstream))
		abort();
	for (size_t i = 0; i < list.count; i++)
		check(&list.items[i]);
	return 0;
}
