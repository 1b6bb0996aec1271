/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/platform.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/buf.h"
#include "base/num.h"

enum { OFFERS_MAX = 900 }; /* of an error's text */

static const struct {
	const char *name, *arch, *variant;
} aliases[] = {
	{"x86_64", "amd64", ""},   {"x86-64", "amd64", ""}, {"aarch64", "arm64", ""},
	{"armhf", "arm", "v7"},	   {"armel", "arm", "v6"},  {"armv6l", "arm", "v6"},
	{"armv7l", "arm", "v7"},   {"i386", "386", ""},	    {"i686", "386", ""},
	{"loongarch64", "loong64", ""},
};

/* Of GOOS and GOARCH, which the image specification refers to: what one word alone may be. */
static const char *const systems[] = {
	"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd",
	"openbsd", "plan9", "solaris", "wasip1", "windows",
};
static const char *const architectures[] = {
	"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
	"ppc64le", "riscv64", "s390x", "sparc64", "wasm",
};

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

static void platform_normalise(struct platform *p)
{
	for (char *c = p->os; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	for (char *c = p->arch; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (strcmp(p->os, "macos") == 0)
		(void)strcpy(p->os, "darwin");
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
		if (strcmp(p->arch, aliases[i].name) != 0)
			continue;
		(void)snprintf(p->arch, sizeof(p->arch), "%s", aliases[i].arch);
		if (p->variant[0] == '\0')
			(void)snprintf(p->variant, sizeof(p->variant), "%s", aliases[i].variant);
	}
	/* "7" and "v7" are the same. */
	if (isdigit((unsigned char)p->variant[0]) && strlen(p->variant) + 1 < sizeof(p->variant)) {
		memmove(p->variant + 1, p->variant, strlen(p->variant) + 1);
		p->variant[0] = 'v';
	}
	if (strcmp(p->arch, "arm") == 0 && p->variant[0] == '\0')
		(void)strcpy(p->variant, "v7");
	if ((strcmp(p->arch, "arm64") == 0 && strcmp(p->variant, "v8") == 0) ||
	    (strcmp(p->arch, "amd64") == 0 && strcmp(p->variant, "v1") == 0))
		p->variant[0] = '\0';
}

static void platform_native(struct platform *p)
{
	struct utsname name;
	*p = (struct platform){.os = "linux"};
	if (uname(&name) == 0)
		(void)snprintf(p->arch, sizeof(p->arch), "%.31s", name.machine);
	platform_normalise(p);
}

static bool part_is_valid(const char *part, size_t n)
{
	if (n == 0 || n >= PLATFORM_PART_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)part[i]) && !strchr("._-", part[i]))
			return false;
	return true;
}

/* One word is an operating system, with the architecture of this machine, or the other way round. */
static int platform_parse_word(const char *word, const struct platform *native,
			       struct platform *ret, struct err *err)
{
	struct platform system = *native, machine = {0};
	(void)snprintf(system.os, sizeof(system.os), "%s", word);
	memcpy(machine.os, native->os, sizeof(machine.os));
	(void)snprintf(machine.arch, sizeof(machine.arch), "%s", word);
	platform_normalise(&system);
	platform_normalise(&machine);
	bool is_system = is_one_of(system.os, systems, ARRAY_LEN(systems));
	if (!is_system && !is_one_of(machine.arch, architectures, ARRAY_LEN(architectures)))
		return err_say(err, -EINVAL,
			       "'%.100s' is no platform: it is neither an operating system nor an "
			       "architecture, as in linux/arm64 or linux/arm/v7", word);
	*ret = is_system ? system : machine;
	return 0;
}

int platform_parse(const char *text, struct platform *ret, struct err *err)
{
	struct platform native, p = {0};
	platform_native(&native);
	if (!text) {
		*ret = native;
		return 0;
	}
	char *const to[] = {p.os, p.arch, p.variant};
	size_t parts = 0;
	for (const char *at = text;; parts++) {
		size_t n = strcspn(at, "/");
		if (parts == ARRAY_LEN(to) || !part_is_valid(at, n))
			return err_say(err, -EINVAL,
				       "'%.100s' is no platform: it should read like linux/arm64 or linux/arm/v7",
				       text);
		memcpy(to[parts], at, n);
		if (at[n] == '\0')
			break;
		at += n + 1;
	}
	if (parts == 0)
		return platform_parse_word(text, &native, ret, err);
	platform_normalise(&p);
	*ret = p;
	return 0;
}

char *platform_text(const struct platform *p, char out[static PLATFORM_TEXT_MAX])
{
	(void)snprintf(out, PLATFORM_TEXT_MAX, "%s/%s%s%s", p->os, p->arch, p->variant[0] ? "/" : "",
		       p->variant);
	return out;
}

static bool platform_make(const char *os, const char *arch, const char *variant,
			  struct platform *ret)
{
	if (!os || !arch || strlen(os) >= PLATFORM_PART_MAX || strlen(arch) >= PLATFORM_PART_MAX ||
	    (variant && strlen(variant) >= PLATFORM_PART_MAX))
		return false;
	*ret = (struct platform){0};
	memcpy(ret->os, os, strlen(os) + 1);
	memcpy(ret->arch, arch, strlen(arch) + 1);
	if (variant)
		memcpy(ret->variant, variant, strlen(variant) + 1);
	platform_normalise(ret);
	return true;
}

/* What an index entry says of itself. False when it says nothing usable. */
static bool platform_of(const struct descriptor *entry, struct platform *ret)
{
	return platform_make(json_string_value(json_object_get(entry->platform, "os")),
			     json_string_value(json_object_get(entry->platform, "architecture")),
			     json_string_value(json_object_get(entry->platform, "variant")), ret);
}

/* "v7" is 7, "" is 0; -1 for a variant that has no order. */
static int variant_rank(const char *variant)
{
	uint64_t rank = 0;
	if (variant[0] == '\0')
		return 0;
	if (variant[0] != 'v' || u64_parse(variant + 1, 100, &rank) < 0)
		return -1;
	return (int)rank;
}

/* How well an entry serves: 0 exactly, else the steps down to its variant; -1: not at all. */
static int platform_distance(const struct platform *want, const struct platform *have)
{
	if (strcmp(want->os, have->os) != 0 || strcmp(want->arch, have->arch) != 0)
		return -1;
	if (strcmp(want->variant, have->variant) == 0)
		return 0;
	int w = variant_rank(want->variant);
	int h = variant_rank(have->variant);
	/* arm64 without a variant is v8; arm never is without one. */
	return w >= 0 && h >= 0 && h < w ? w - h : -1;
}

static char *platform_offers(const struct descriptors *entries)
{
	AUTO_FINISH(buf) struct buf text = buf_make(OFFERS_MAX);
	for (size_t i = 0; i < entries->count; i++) {
		struct platform have;
		char one[PLATFORM_TEXT_MAX];
		/* A list cut short still helps. */
		if (platform_of(&entries->items[i], &have))
			(void)buf_printf(&text, "%s%s", text.len ? ", " : "",
					 platform_text(&have, one));
	}
	return text.len ? buf_steal(&text) : strdup("nothing with a platform");
}

const struct descriptor *platform_choose(const struct platform *platform,
					 const struct descriptors *entries, char **ret_offers)
{
	const struct descriptor *best = NULL;
	int best_distance = -1;
	for (size_t i = 0; i < entries->count; i++) {
		struct platform have;
		if (!platform_of(&entries->items[i], &have))
			continue;
		int distance = platform_distance(platform, &have);
		if (distance < 0 || (best && distance >= best_distance))
			continue;
		best = &entries->items[i];
		best_distance = distance;
	}
	if (!best && entries->count == 1 && !entries->items[0].platform)
		best = &entries->items[0];
	if (!best && ret_offers)
		*ret_offers = platform_offers(entries);
	return best;
}

int platform_check(const struct platform *platform, const struct image_config *config,
		   struct err *err)
{
	char want[PLATFORM_TEXT_MAX], have[PLATFORM_TEXT_MAX];
	struct platform is;
	/* Of a configuration without a variant, as most are, any is believed. */
	const char *variant = config->variant ? config->variant : platform->variant;
	bool says = config->os && config->os[0] && config->architecture && config->architecture[0];
	if (!says || !platform_make(config->os, config->architecture, variant, &is) ||
	    platform_distance(platform, &is) >= 0)
		return 0;
	return err_say(err, -ENOENT, "there is no image for %s; it is one for %s, and no index",
		       platform_text(platform, want), platform_text(&is, have));
}
