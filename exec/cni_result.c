/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "exec/cni.h"

void cni_result_finish(struct cni_result *result)
{
	if (!result)
		return;
	free(result->addresses);
	free(result->interfaces);
	free(result->nameservers);
	free(result->searches);
	free(result->options);
	json_decref(result->json);
}

static int read_interfaces(json_t *json, struct cni_result *ret, struct err *err)
{
	json_t *list = NULL;
	int r = json_get_array(json, "interfaces", JSON_MAY, &list, err);
	if (r < 0 || json_array_size(list) == 0)
		return r;
	ret->interfaces = calloc(json_array_size(list), sizeof(*ret->interfaces));
	if (!ret->interfaces)
		return err_set(err, -ENOMEM, "read interfaces");
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		struct cni_interface *interface = &ret->interfaces[ret->n_interfaces++];
		const json_t *item = json_array_get(list, i);
		r = json_get_str(item, "name", JSON_NEED, &interface->name, err);
		if (r == 0)
			r = json_get_str(item, "mac", JSON_MAY, &interface->mac, err);
		if (r == 0)
			r = json_get_str(item, "sandbox", JSON_MAY, &interface->sandbox, err);
		if (interface->sandbox && *interface->sandbox == '\0')
			interface->sandbox = NULL;
	}
	return r;
}

static int read_addresses(json_t *json, struct cni_result *ret, struct err *err)
{
	json_t *list = NULL;
	int r = json_get_array(json, "ips", JSON_MAY, &list, err);
	if (r < 0 || json_array_size(list) == 0)
		return r;
	ret->addresses = calloc(json_array_size(list), sizeof(*ret->addresses));
	if (!ret->addresses)
		return err_set(err, -ENOMEM, "read addresses");
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		struct cni_address address = {0};
		const json_t *item = json_array_get(list, i);
		uint64_t at = UINT64_MAX;
		r = json_get_str(item, "address", JSON_NEED, &address.cidr, err);
		if (r == 0)
			r = json_get_str(item, "gateway", JSON_MAY, &address.gateway, err);
		if (r == 0)
			r = json_get_u64(item, "interface", JSON_MAY, &at, err);
		if (r == 0 && at != UINT64_MAX && at >= ret->n_interfaces)
			r = err_say(err, -EINVAL, "there is no interface %llu",
				    (unsigned long long)at);
		if (r == 0 && (at == UINT64_MAX || ret->interfaces[at].sandbox))
			ret->addresses[ret->n_addresses++] = address;
	}
	return r;
}

static int read_texts(const json_t *dns, const char *key, const char ***ret, struct err *err)
{
	json_t *list = NULL;
	int r = json_get_array(dns, key, JSON_MAY, &list, err);
	size_t n = json_array_size(list);
	if (r < 0 || n == 0)
		return r;
	const char **texts = calloc(n + 1, sizeof(*texts));
	if (!texts)
		return err_set(err, -ENOMEM, "read %s", key);
	*ret = texts;
	for (size_t i = 0; i < n; i++) {
		texts[i] = json_string_value(json_array_get(list, i));
		if (!texts[i])
			return err_say(err, -EINVAL, "\"%s\" has what is no string", key);
	}
	return 0;
}

static int read_dns(json_t *json, struct cni_result *ret, struct err *err)
{
	json_t *dns = NULL;
	int r = json_get_object(json, "dns", JSON_MAY, &dns, err);
	if (r < 0 || !dns)
		return r;
	r = json_get_str(dns, "domain", JSON_MAY, &ret->domain, err);
	if (r == 0)
		r = read_texts(dns, "nameservers", &ret->nameservers, err);
	if (r == 0)
		r = read_texts(dns, "search", &ret->searches, err);
	return r == 0 ? read_texts(dns, "options", &ret->options, err) : r;
}

int cni_result_read(json_t *json, struct cni_result *ret, struct err *err)
{
	AUTO_FINISH(cni_result) struct cni_result result = {.json = json_incref(json)};
	const char *version = NULL;
	int r = json_get_str(json, "cniVersion", JSON_MAY, &version, err);
	if (r == 0 && version && !cni_version_known(version))
		r = err_say(err, -EINVAL, "its cniVersion is %s", version);
	if (r == 0)
		r = read_interfaces(json, &result, err);
	if (r == 0)
		r = read_addresses(json, &result, err);
	if (r == 0)
		r = read_dns(json, &result, err);
	if (r < 0)
		return err_prefix(err, r, "what the network's plugins said is no result");
	*ret = result;
	result = (struct cni_result){0};
	return 0;
}
