/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int u64_parse(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	if (*text == '\0')
		return -EINVAL;
	for (const char *p = text; *p; p++) {
		if (!isdigit((unsigned char)*p))
			return -EINVAL;
		uint64_t digit = (uint64_t)(*p - '0');
		if (v > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		v = v * 10 + digit;
	}
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* number[.fraction][unit]; the fraction has at most three digits, so the sum stays exact. */
static int scaled_parse(const char *text, const struct unit *units, size_t n_units, uint64_t *ret)
{
	uint64_t whole = 0;
	uint64_t milli = 0;
	const char *p = text;
	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		if (whole > (UINT64_MAX - 9) / 10)
			return -ERANGE;
		whole = whole * 10 + (uint64_t)(*p - '0');
	}
	if (*p == '.') {
		uint64_t place = 100;
		if (!isdigit((unsigned char)*++p))
			return -EINVAL;
		for (; isdigit((unsigned char)*p); p++) {
			if (place == 0)
				return -EINVAL;
			milli += place * (uint64_t)(*p - '0');
			place /= 10;
		}
	}
	for (size_t i = 0; i < n_units; i++) {
		if (strcasecmp(p, units[i].name) != 0)
			continue;
		uint64_t factor = units[i].factor;
		uint64_t extra = factor * milli / 1000;
		if (whole > (UINT64_MAX - extra) / factor)
			return -ERANGE;
		*ret = whole * factor + extra;
		return 0;
	}
	return -EINVAL;
}

int size_parse(const char *text, uint64_t *ret)
{
	static const struct unit units[] = {
		{"", 1},	     {"b", 1},		  {"k", KIB(1)},   {"kb", KIB(1)},
		{"kib", KIB(1)},     {"m", MIB(1)},	  {"mb", MIB(1)},  {"mib", MIB(1)},
		{"g", GIB(1)},	     {"gb", GIB(1)},	  {"gib", GIB(1)}, {"t", GIB(1024)},
		{"tb", GIB(1024)},   {"tib", GIB(1024)},
	};
	return scaled_parse(text, units, ARRAY_LEN(units), ret);
}

int duration_parse(const char *text, uint64_t *ret_ms)
{
	static const struct unit units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000},
	};
	return scaled_parse(text, units, ARRAY_LEN(units), ret_ms);
}

char *size_text(uint64_t bytes, char out[static SIZE_TEXT_MAX])
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t unit = 0;
	double v = (double)bytes;
	while (v >= 1024 && unit + 1 < ARRAY_LEN(names)) {
		v /= 1024;
		unit++;
	}
	(void)snprintf(out, SIZE_TEXT_MAX, unit == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v,
		       names[unit]);
	return out;
}
