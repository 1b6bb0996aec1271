/* SPDX-License-Identifier: Apache-2.0 */

/* The text of a profile: see fs/README.md, "Startup profiles". */

#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "fs/profile.h"
#include "fs/profile_priv.h"

enum { RANGE_FIELDS = 5 };

int profile_emit(const struct profile *p, const struct digest *image, const struct digest *layers,
		 size_t n, struct buf *ret, struct err *err)
{
	struct digest_text text;
	int r = buf_printf(ret, "{\"version\":%d,\n\"image\":\"%s\",\n\"layers\":[", PROFILE_VERSION,
			   digest_str(image, text.s));
	for (size_t i = 0; i < n && r == 0; i++)
		r = buf_printf(ret, "%s\"%s\"", i > 0 ? ",\n" : "", digest_str(&layers[i], text.s));
	if (r == 0)
		r = buf_puts(ret, "],\n\"ranges\":[");
	for (size_t i = 0; i < p->n && r == 0; i++) {
		const struct profile_range *range = &p->items[i];
		if (range->layer >= n)
			return err_say(err, -EINVAL,
				       "range %zu of the profile is of layer %u, and the image has %zu",
				       i, range->layer, n);
		r = buf_printf(ret, "%s[%u,%llu,%llu,%u,%llu]", i > 0 ? ",\n" : "\n",
			       range->layer, (unsigned long long)range->off,
			       (unsigned long long)range->len, range->score,
			       (unsigned long long)range->place);
	}
	if (r == 0)
		r = buf_puts(ret, "]}\n");
	return r < 0 ? err_set(err, r, "write a profile") : 0;
}

/* ---- reading ---- */

static int parse_version(const json_t *root, struct err *err)
{
	uint64_t version = 0;
	if (json_get_u64(root, "version", JSON_NEED, &version, err) < 0)
		return -EBADMSG;
	if (version != PROFILE_VERSION)
		return err_say(err, -EBADMSG, "the profile has version %llu, and %d is what is known",
			       (unsigned long long)version, PROFILE_VERSION);
	return 0;
}

/* Whether it is one of this very image. */
static int parse_names(const json_t *root, const struct digest *image, const struct digest *layers,
		       size_t n, struct err *err)
{
	struct digest of = {0};
	struct digest_text text;
	json_t *list = NULL;
	if (json_get_digest(root, "image", JSON_NEED, &of, err) < 0 ||
	    json_get_array(root, "layers", JSON_NEED, &list, err) < 0)
		return -EBADMSG;
	if (!digest_equal(&of, image))
		return err_say(err, -EBADMSG, "the profile is one of another image, %s",
			       digest_str(&of, text.s));
	if (json_array_size(list) != n)
		return err_say(err, -EBADMSG, "the profile names %zu layers, and the image has %zu",
			       json_array_size(list), n);
	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(list, i));
		if (!name || strcmp(name, digest_str(&layers[i], text.s)) != 0)
			return err_say(err, -EBADMSG, "the profile names another layer %zu than the image",
				       i);
	}
	return 0;
}

static int parse_numbers(const json_t *item, size_t i, uint64_t ret[static RANGE_FIELDS],
			 struct err *err)
{
	if (json_array_size(item) != RANGE_FIELDS)
		return err_say(err, -EBADMSG, "range %zu of the profile is not a list of %d numbers", i,
			       RANGE_FIELDS);
	for (size_t k = 0; k < RANGE_FIELDS; k++) {
		const json_t *number = json_array_get(item, k);
		if (!json_is_integer(number) || json_integer_value(number) < 0)
			return err_say(err, -EBADMSG,
				       "range %zu of the profile: number %zu is not a whole one", i, k);
		ret[k] = (uint64_t)json_integer_value(number);
	}
	return 0;
}

static int parse_range(const json_t *item, size_t i, const uint64_t *sizes, size_t n,
		       struct profile_range *ret, struct err *err)
{
	uint64_t v[RANGE_FIELDS];
	int r = parse_numbers(item, i, v, err);
	if (r < 0)
		return r;
	if (v[0] >= n)
		return err_say(err, -EBADMSG, "range %zu of the profile is of layer %llu, and the image has %zu",
			       i, (unsigned long long)v[0], n);
	uint64_t size = sizes[v[0]];
	uint64_t whole = u64_align(size, PROFILE_GRAIN);
	if (v[1] >= size || !range_within(v[1], v[2], whole))
		return err_say(err, -EBADMSG, "range %zu of the profile lies outside layer %llu", i,
			       (unsigned long long)v[0]);
	uint64_t len = u64_min(v[2], size - v[1]);
	if (len == 0 || v[1] % PROFILE_GRAIN != 0 ||
	    (len % PROFILE_GRAIN != 0 && v[1] + len != size))
		return err_say(err, -EBADMSG, "range %zu of the profile is empty or not on blocks of %d bytes",
			       i, PROFILE_GRAIN);
	if (v[3] < PROFILE_SCORE_MIN || v[3] > PROFILE_SCORE_MAX)
		return err_say(err, -EBADMSG, "range %zu of the profile has the score %llu", i,
			       (unsigned long long)v[3]);
	if (v[4] > PROFILE_BYTES_MAX)
		return err_say(err, -EBADMSG, "range %zu of the profile has the place %llu", i,
			       (unsigned long long)v[4]);
	*ret = (struct profile_range){(uint32_t)v[0], v[1], len, (uint8_t)v[3], v[4]};
	return 0;
}

static int parse_ranges(const json_t *root, const uint64_t *sizes, size_t n, struct profile *p,
			struct err *err)
{
	json_t *list = NULL;
	if (json_get_array(root, "ranges", JSON_NEED, &list, err) < 0)
		return -EBADMSG;
	size_t count = json_array_size(list);
	if (count > PROFILE_RANGES_MAX)
		return err_say(err, -EBADMSG, "the profile has %zu ranges, and %d is the most", count,
			       PROFILE_RANGES_MAX);
	int r = profile_reserve(p, count);
	if (r < 0)
		return err_set(err, r, "read a profile");
	uint64_t left = PROFILE_BYTES_MAX;
	for (size_t i = 0; i < count; i++) {
		r = parse_range(json_array_get(list, i), i, sizes, n, &p->items[i], err);
		if (r < 0)
			return r;
		if (i > 0 && profile_order_compare(&p->items[i - 1], &p->items[i]) >= 0)
			return err_say(err, -EBADMSG, "range %zu of the profile is out of order", i);
		if (p->items[i].len > left)
			return err_say(err, -EBADMSG, "the ranges of the profile have more than %llu bytes",
				       (unsigned long long)PROFILE_BYTES_MAX);
		left -= p->items[i].len;
	}
	p->n = count;
	size_t overlap = 0;
	if (!profile_sort(p, &overlap))
		return err_say(err, -EBADMSG, "range %zu of the profile overlaps another", overlap);
	return 0;
}

int profile_parse(const struct digest *image, const struct digest *layers, const uint64_t *sizes,
		  size_t n, const void *data, size_t len, struct profile **ret, struct err *err)
{
	AUTO_JSON json_t *root = NULL;
	AUTO(profile) struct profile *p = NULL;
	if (len > PROFILE_TEXT_MAX)
		return err_say(err, -EBADMSG, "the profile has %zu bytes, and %d is the most", len,
			       PROFILE_TEXT_MAX);
	int r = json_parse_object(data, len, "the profile", &root, err);
	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	r = profile_create(&p);
	if (r < 0)
		return err_set(err, r, "read a profile");
	r = parse_version(root, err);
	if (r == 0)
		r = parse_names(root, image, layers, n, err);
	if (r == 0)
		r = parse_ranges(root, sizes, n, p, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&p);
	return 0;
}
