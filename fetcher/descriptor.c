/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/descriptor.h"

#include <string.h>

#include "base/strv.h"

void descriptor_finish(struct descriptor *desc)
{
	if (!desc)
		return;
	free(desc->media_type);
	free(desc->artifact_type);
	json_decref(desc->annotations);
	json_decref(desc->platform);
	for (char **url = desc->urls; url && *url; url++)
		free(*url);
	free(desc->urls);
	free(desc->data);
	*desc = (struct descriptor){0};
}

int descriptor_copy(const struct descriptor *from, struct descriptor *ret)
{
	AUTO_FINISH(descriptor) struct descriptor to = {
		.digest = from->digest,
		.size = from->size,
		.annotations = json_incref(from->annotations),
		.platform = json_incref(from->platform),
		.media_type = strdup(from->media_type ? from->media_type : ""),
		.artifact_type = from->artifact_type ? strdup(from->artifact_type) : NULL,
	};
	if (!to.media_type || (from->artifact_type && !to.artifact_type))
		return -ENOMEM;
	if (from->data) {
		to.data = malloc(from->size + 1);
		if (!to.data)
			return -ENOMEM;
		memcpy(to.data, from->data, from->size + 1);
	}
	int r = strv_copy((const char *const *)from->urls, &to.urls);
	if (r < 0)
		return r;
	*ret = to;
	to = (struct descriptor){0};
	return 0;
}

const char *descriptor_annotation(const struct descriptor *desc, const char *key)
{
	return json_string_value(json_object_get(desc->annotations, key));
}

void descriptors_finish(struct descriptors *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->count; i++)
		descriptor_finish(&list->items[i]);
	free(list->items);
	*list = (struct descriptors){0};
}

int descriptors_add(struct descriptors *list, struct descriptor *desc)
{
	if (list->count >= DESCRIPTORS_MAX)
		return -E2BIG;
	/* Doubling at powers of two: no field for the room is needed. */
	if ((list->count & (list->count - 1)) == 0) {
		size_t room = list->count ? list->count * 2 : 1;
		struct descriptor *items = reallocarray(list->items, room, sizeof(*items));
		if (!items)
			return -ENOMEM;
		list->items = items;
	}
	list->items[list->count++] = *desc;
	*desc = (struct descriptor){0};
	return 0;
}
