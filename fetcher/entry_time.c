/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "fetcher/entry.h"

/* n digits within [low, high]. */
static int digits(const char **s, size_t n, int64_t low, int64_t high, int64_t *ret)
{
	int64_t v = 0;
	for (size_t i = 0; i < n; i++, ++*s) {
		if (!isdigit((unsigned char)**s))
			return -EBADMSG;
		v = v * 10 + (**s - '0');
	}
	*ret = v;
	return v < low || v > high ? -EBADMSG : 0;
}

static int separator(const char **s, const char *any)
{
	if (**s == '\0' || !strchr(any, **s))
		return -EBADMSG;
	++*s;
	return 0;
}

/* Days from 1970-01-01, in the proleptic Gregorian calendar; years count from March. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
	year -= month <= 2;
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	int64_t year_of_era = year - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

/* "Z", "+02:00": seconds east of UTC. */
static int zone_parse(const char **s, int64_t *ret)
{
	int64_t hour = 0;
	int64_t minute = 0;
	if (**s == 'Z' || **s == 'z') {
		++*s;
		*ret = 0;
		return 0;
	}
	int64_t sign = **s == '-' ? -1 : 1;
	if (separator(s, "+-") < 0 || digits(s, 2, 0, 23, &hour) < 0 || separator(s, ":") < 0 ||
	    digits(s, 2, 0, 59, &minute) < 0)
		return -EBADMSG;
	*ret = sign * (hour * 3600 + minute * 60);
	return 0;
}

int entry_time_parse(const char *s, int64_t *ret_sec, uint32_t *ret_nsec)
{
	int64_t year, month, day, hour, minute, second, zone;
	uint32_t nsec = 0;
	if (digits(&s, 4, 0, 9999, &year) < 0 || separator(&s, "-") < 0 ||
	    digits(&s, 2, 1, 12, &month) < 0 || separator(&s, "-") < 0 ||
	    digits(&s, 2, 1, 31, &day) < 0 || separator(&s, "Tt") < 0 ||
	    digits(&s, 2, 0, 23, &hour) < 0 || separator(&s, ":") < 0 ||
	    digits(&s, 2, 0, 59, &minute) < 0 || separator(&s, ":") < 0 ||
	    digits(&s, 2, 0, 60, &second) < 0)
		return -EBADMSG;
	if (*s == '.') {
		uint32_t place = 100000000;
		if (!isdigit((unsigned char)*++s))
			return -EBADMSG;
		for (; isdigit((unsigned char)*s); s++, place /= 10)
			nsec += place * (uint32_t)(*s - '0');
	}
	if (zone_parse(&s, &zone) < 0 || *s != '\0')
		return -EBADMSG;
	*ret_sec = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second -
		   zone;
	*ret_nsec = nsec;
	return 0;
}
