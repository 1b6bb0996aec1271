/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/ref.h"

#include <stdio.h>
#include <string.h>

#define DOCKER_HOST "docker.io"
#define HUB_LIBRARY "library/"

enum { PORT_DIGITS_MAX = 5, PORT_MAX = 65535 };

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_alnum(char c)
{
	return is_digit(c) || is_lower(c) || is_upper(c);
}

static int bad(const char *text, struct err *err, const char *why)
{
	return err_say(err, -EINVAL, "'%.300s' is not an image reference: %s", text, why);
}

/* [A-Za-z0-9] first and last, '-' between, parts joined by '.'. */
static bool host_name_valid(const char *s, size_t n)
{
	bool edge = true; /* the character before was a '.', or there is none */
	for (size_t i = 0; i < n; i++) {
		bool last = i + 1 == n || s[i + 1] == '.';
		if (s[i] == '.') {
			if (edge)
				return false;
			edge = true;
			continue;
		}
		if (!is_alnum(s[i]) && (s[i] != '-' || edge || last))
			return false;
		edge = false;
	}
	return n > 0 && !edge;
}

static bool host_ipv6_valid(const char *s, size_t n)
{
	if (n < 4 || s[0] != '[' || s[n - 1] != ']')
		return false;
	for (size_t i = 1; i + 1 < n; i++) {
		char c = s[i];
		if (!is_digit(c) && c != ':' && !(c >= 'a' && c <= 'f') && !(c >= 'A' && c <= 'F'))
			return false;
	}
	return true;
}

static bool port_valid(const char *s, size_t n)
{
	unsigned int port = 0;
	if (n == 0 || n > PORT_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(s[i]))
			return false;
		port = port * 10 + (unsigned int)(s[i] - '0');
	}
	return port > 0 && port <= PORT_MAX;
}

static bool host_valid(const char *s, size_t n)
{
	size_t host = n;
	const char *bracket = memrchr(s, ']', n);
	const char *colon = memrchr(s, ':', n);
	if (colon && (!bracket || colon > bracket)) {
		host = (size_t)(colon - s);
		if (!port_valid(colon + 1, n - host - 1))
			return false;
	}
	return s[0] == '[' ? host_ipv6_valid(s, host) : host_name_valid(s, host);
}

/* Lower-case letters and digits, joined by '.', '_', '__' or any number of '-'. */
static bool component_valid(const char *s, size_t n)
{
	size_t i = 0;
	while (i < n) {
		size_t run = i;
		while (run < n && (is_lower(s[run]) || is_digit(s[run])))
			run++;
		if (run == i)
			return false; /* begins with, or doubles, a separator */
		if (run == n)
			return true;
		i = run;
		while (i < n && s[i] == s[run])
			i++;
		size_t sep = i - run;
		if (!(s[run] == '-' || (s[run] == '_' && sep <= 2) || (s[run] == '.' && sep == 1)))
			return false;
	}
	return false;
}

static bool repository_valid(const char *s)
{
	for (;;) {
		size_t n = strcspn(s, "/");
		if (!component_valid(s, n))
			return false;
		if (s[n] == '\0')
			return true;
		s += n + 1;
	}
}

static bool tag_valid(const char *s)
{
	size_t n = strlen(s);
	if (n == 0 || n > REF_TAG_MAX || s[0] == '.' || s[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(s[i]) && !strchr("_.-", s[i]))
			return false;
	return true;
}

/*
 * The first component is a host when it cannot be part of a repository: it
 * has a dot, a colon or a capital, or is "localhost".
 */
static size_t host_length(const char *name)
{
	size_t n = strcspn(name, "/");
	if (name[n] != '/')
		return 0;
	if (n == strlen("localhost") && strncmp(name, "localhost", n) == 0)
		return n;
	for (size_t i = 0; i < n; i++)
		if (name[i] == '.' || name[i] == ':' || is_upper(name[i]))
			return n;
	return 0;
}

static bool looks_like_image_id(const char *name)
{
	const size_t n = (size_t)2 * SHA256_BYTES;
	return strlen(name) == n && strspn(name, "0123456789abcdef") == n;
}

static int split_name(const char *text, const char *name, struct ref *ref, struct err *err)
{
	if (strlen(name) > REF_NAME_MAX)
		return bad(text, err, "the name is longer than 255 characters");
	if (looks_like_image_id(name))
		return bad(text, err, "64 hex digits are an image ID, not a name");
	size_t n = host_length(name);
	const char *repository = n ? name + n + 1 : name;
	if (n && !host_valid(name, n))
		return bad(text, err, "the host must be a DNS name or an address, with an optional port");

	bool hub = n == 0 || (n == strlen(DOCKER_HOST) && strncmp(name, DOCKER_HOST, n) == 0) ||
		   (n == strlen("index.docker.io") && strncmp(name, "index.docker.io", n) == 0);
	ref->host = hub ? strdup(DOCKER_HOST) : strndup(name, n);
	if (asprintf(&ref->repository, "%s%s", hub && !strchr(repository, '/') ? HUB_LIBRARY : "",
		     repository) < 0)
		ref->repository = NULL;
	if (!ref->host || !ref->repository)
		return err_set(err, -ENOMEM, "parse '%.300s'", text);
	if (!repository_valid(ref->repository))
		return bad(text, err,
			   "a repository is lower-case letters and digits, joined by '.', '_', '-', '/'");
	return 0;
}

/* Cuts "@digest" off the end of name. */
static int split_digest(const char *text, char *name, struct ref *ref, struct err *err)
{
	char *at = strchr(name, '@');
	if (!at)
		return 0;
	int r = digest_parse(at + 1, &ref->digest, err);
	if (r < 0)
		return err_prefix(err, r, "'%.300s' is not an image reference", text);
	*at = '\0';
	return 0;
}

static int parse_registry(const char *text, char *name, struct ref *ref, struct err *err)
{
	int r = split_digest(text, name, ref, err);
	if (r < 0)
		return r;
	char *slash = strrchr(name, '/');
	char *colon = strchr(slash ? slash : name, ':');
	if (colon) {
		if (!tag_valid(colon + 1))
			return bad(text, err,
				   "a tag is at most 128 letters, digits, '_', '.' and '-', "
				   "and begins with none of '.' and '-'");
		ref->tag = strdup(colon + 1);
		*colon = '\0';
	} else if (digest_is_none(&ref->digest)) {
		ref->tag = strdup("latest");
	}
	if (!ref->tag && digest_is_none(&ref->digest))
		return err_set(err, -ENOMEM, "parse '%.300s'", text);
	if (name[0] == '\0')
		return bad(text, err, "the name is missing");
	return split_name(text, name, ref, err);
}

/*
 * FILE[:tag][@digest]. As in skopeo and podman the path ends at the first
 * colon, since the tag may be a whole name with colons of its own.
 */
static int parse_local(const char *text, char *rest, struct ref *ref, struct err *err)
{
	char *at = strrchr(rest, '@');
	if (at && digest_parse(at + 1, &ref->digest, NULL) == 0)
		*at = '\0';
	char *colon = strchr(rest, ':');
	if (colon) {
		*colon = '\0';
		const char *tag = colon + 1;
		if (tag[0] == '\0')
			return bad(text, err, "the tag after ':' is missing");
		if (strlen(tag) > REF_NAME_MAX + 1 + REF_TAG_MAX)
			return bad(text, err, "the tag is too long");
		for (const char *c = tag; *c; c++)
			if (!is_alnum(*c) && !strchr("_.-:/+@[]", *c))
				return bad(text, err, "the tag has a character that no tag may have");
		ref->tag = strdup(tag);
		if (!ref->tag)
			return err_set(err, -ENOMEM, "parse '%.300s'", text);
	}
	if (rest[0] == '\0')
		return bad(text, err, "the path is missing");
	ref->path = strdup(rest);
	return ref->path ? 0 : err_set(err, -ENOMEM, "parse '%.300s'", text);
}

static const struct {
	const char *prefix;
	enum ref_kind kind;
} transports[] = {
	{"docker://", REF_REGISTRY},
	{"oci:", REF_OCI_DIR},
	{"oci-archive:", REF_OCI_ARCHIVE},
	{"docker-archive:", REF_DOCKER_ARCHIVE},
};

int ref_parse(const char *text, struct ref *ret, struct err *err)
{
	AUTO_FINISH(ref) struct ref ref = {.kind = REF_REGISTRY};
	const char *rest = text;
	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++) {
		size_t n = strlen(transports[i].prefix);
		if (strncmp(text, transports[i].prefix, n) != 0)
			continue;
		rest = text + n;
		ref.kind = transports[i].kind;
		break;
	}
	AUTO_FREE char *copy = strdup(rest);
	if (!copy)
		return err_set(err, -ENOMEM, "parse '%.300s'", text);
	int r = ref.kind == REF_REGISTRY ? parse_registry(text, copy, &ref, err)
					 : parse_local(text, copy, &ref, err);
	if (r < 0)
		return r;
	*ret = ref;
	ref = (struct ref){0};
	return 0;
}

void ref_finish(struct ref *ref)
{
	if (!ref)
		return;
	free(ref->host);
	free(ref->repository);
	free(ref->path);
	free(ref->tag);
	*ref = (struct ref){0};
}

int ref_text(const struct ref *ref, char **ret)
{
	char *text = NULL;
	struct digest_text digest = {0};
	const char *prefix = "";
	for (size_t i = 1; i < sizeof(transports) / sizeof(transports[0]); i++)
		if (transports[i].kind == ref->kind)
			prefix = transports[i].prefix;
	bool has_digest = !digest_is_none(&ref->digest);
	bool registry = ref->kind == REF_REGISTRY;
	if (asprintf(&text, "%s%s%s%s%s%s%s%s", prefix, registry ? ref->host : ref->path,
		     registry ? "/" : "", registry ? ref->repository : "", ref->tag ? ":" : "",
		     ref->tag ? ref->tag : "", has_digest ? "@" : "",
		     has_digest ? digest_str(&ref->digest, digest.s) : "") < 0)
		return -ENOMEM;
	*ret = text;
	return 0;
}
