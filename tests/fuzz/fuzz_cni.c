/* SPDX-License-Identifier: Apache-2.0 */

/* Any text as a network's configuration, of both forms, and as what a plugin says. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "exec/cni.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is let through has every promise of the header, and survives being noted. */
static void check(const struct cni_network *network, bool again)
{
	const json_t *plugins = cni_network_plugins(network);
	const char *name = cni_network_name(network);
	if (!name || !*name || strchr(name, '/') || !cni_version_known(cni_network_version(network)) ||
	    json_array_size(plugins) == 0 || json_array_size(plugins) > CNI_PLUGINS_MAX)
		abort();
	for (size_t i = 0; i < json_array_size(plugins); i++) {
		const json_t *plugin = json_array_get(plugins, i);
		const char *type = json_string_value(json_object_get(plugin, "type"));
		if (!type || !*type || strchr(type, '/'))
			abort();
		(void)cni_plugin_takes(plugin, "portMappings");
	}
	(void)cni_network_takes(network, "portMappings");
	if (cni_network_can_check(network) && !cni_version_checks(cni_network_version(network)))
		abort();
	if (again)
		return;
	AUTO(cni_network) struct cni_network *same = NULL;
	struct err err = {0};
	if (cni_network_from_json(cni_network_json(network), "record", &same, &err) < 0 ||
	    strcmp(cni_network_name(same), name) != 0 ||
	    strcmp(cni_network_version(same), cni_network_version(network)) != 0)
		abort();
	check(same, true);
}

static void check_result(const struct cni_result *result)
{
	const char **const lists[] = {result->nameservers, result->searches, result->options};
	for (size_t i = 0; i < result->n_interfaces; i++)
		if (!result->interfaces[i].name ||
		    (result->interfaces[i].sandbox && !*result->interfaces[i].sandbox))
			abort();
	for (size_t i = 0; i < result->n_addresses; i++)
		if (!result->addresses[i].cidr)
			abort();
	size_t bytes = 0;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (const char **text = lists[i]; text && *text; text++)
			bytes += strlen(*text);
	if (bytes > CNI_OUTPUT_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO_JSON json_t *json = NULL;
	if (n > CNI_OUTPUT_MAX)
		return 0;
	for (int single = 0; single < 2; single++) {
		AUTO(cni_network) struct cni_network *network = NULL;
		struct err err = {0};
		int r = cni_network_parse(data, n, single, "text", &network, &err);
		if (r < 0 && (err.text[0] == '\0' || network))
			abort();
		if (r == 0)
			check(network, false);
	}
	struct err err = {0};
	if (json_parse_object(data, n, "result", &json, &err) < 0)
		return 0;
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	int r = cni_result_read(json, &result, &err);
	if (r < 0 && (err.text[0] == '\0' || result.json))
		abort();
	if (r == 0)
		check_result(&result);
	return 0;
}
