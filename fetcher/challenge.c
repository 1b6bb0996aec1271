/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/challenge.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct parser {
	const char *p;
	struct err *err;
};

static void challenge_finish(struct challenge *challenge)
{
	free(challenge->realm);
	free(challenge->service);
	free(challenge->error);
	for (char **scope = challenge->scopes; scope && *scope; scope++)
		free(*scope);
	free(challenge->scopes);
	*challenge = (struct challenge){0};
}

void challenges_finish(struct challenges *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->count; i++)
		challenge_finish(&list->items[i]);
	list->count = 0;
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token(char c)
{
	return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_space(struct parser *s)
{
	s->p += strspn(s->p, " \t");
}

/* The list rule of RFC 9110 allows empty elements. */
static void skip_commas(struct parser *s)
{
	s->p += strspn(s->p, " \t,");
}

static size_t token_length(const char *p)
{
	size_t n = 0;
	while (is_token(p[n]))
		n++;
	return n;
}

/* Steps over the one token68 that may stand in place of parameters. */
static bool skip_token68(struct parser *s)
{
	size_t n = 0;
	while (is_alnum(s->p[n]) || (s->p[n] != '\0' && strchr("-._~+/", s->p[n])))
		n++;
	if (n == 0)
		return false;
	n += strspn(s->p + n, "=");
	size_t end = n + strspn(s->p + n, " \t");
	if (s->p[end] != '\0' && s->p[end] != ',')
		return false;
	s->p += end;
	return true;
}

static int read_quoted(struct parser *s, char **ret)
{
	AUTO_FREE char *text = malloc(strlen(s->p) + 1);
	if (!text)
		return err_set(s->err, -ENOMEM, "parse an authentication challenge");
	size_t n = 0;
	for (s->p++; *s->p != '"'; s->p++) {
		if (*s->p == '\\' && s->p[1] != '\0')
			s->p++;
		if (*s->p == '\0')
			return err_say(s->err, -EINVAL, "a quoted string does not end");
		if (((unsigned char)*s->p < ' ' && *s->p != '\t') || *s->p == 0x7f)
			return err_say(s->err, -EINVAL, "a quoted string holds a control character");
		text[n++] = *s->p;
	}
	s->p++;
	text[n] = '\0';
	*ret = steal_ptr(&text);
	return 0;
}

/* A quoted string, or bare text: some servers do not quote their URLs. */
static int read_value(struct parser *s, char **ret)
{
	if (*s->p == '"')
		return read_quoted(s, ret);
	size_t n = 0;
	while ((unsigned char)s->p[n] > ' ' && s->p[n] != 0x7f && !strchr(",\"", s->p[n]))
		n++;
	if (n == 0)
		return err_say(s->err, -EINVAL, "a parameter has no value");
	char *text = strndup(s->p, n);
	if (!text)
		return err_set(s->err, -ENOMEM, "parse an authentication challenge");
	s->p += n;
	*ret = text;
	return 0;
}

static int add_scope(struct challenge *c, const char *scope, size_t n, struct err *err)
{
	size_t count = 0;
	while (c->scopes && c->scopes[count])
		count++;
	if (count >= CHALLENGE_SCOPES_MAX)
		return err_say(err, -E2BIG, "a challenge has more than %d scopes",
			       CHALLENGE_SCOPES_MAX);
	char **scopes = reallocarray(c->scopes, count + 2, sizeof(*scopes));
	if (!scopes)
		return err_set(err, -ENOMEM, "parse an authentication challenge");
	c->scopes = scopes;
	scopes[count] = strndup(scope, n);
	scopes[count + 1] = NULL;
	return scopes[count] ? 0 : err_set(err, -ENOMEM, "parse an authentication challenge");
}

static int add_scopes(struct challenge *c, const char *text, struct err *err)
{
	for (;;) {
		text += strspn(text, " \t");
		size_t n = strcspn(text, " \t");
		if (n == 0)
			return 0;
		int r = add_scope(c, text, n, err);
		if (r < 0)
			return r;
		text += n;
	}
}

/* One `name = value`; the name is n bytes at s->p. */
static int read_param(struct parser *s, size_t n, struct challenge *c)
{
	const char *name = s->p;
	s->p += n;
	skip_space(s);
	s->p++; /* '=', as the caller saw */
	skip_space(s);
	AUTO_FREE char *value = NULL;
	int r = read_value(s, &value);
	if (r < 0)
		return r;
	skip_space(s);
	if (*s->p != '\0' && *s->p != ',')
		return err_say(s->err, -EINVAL, "a comma is missing after parameter '%.*s'",
			       n < 40 ? (int)n : 40, name);

	if (n == strlen("scope") && strncasecmp(name, "scope", n) == 0)
		return add_scopes(c, value, s->err);
	char **slot = NULL;
	if (n == strlen("realm") && strncasecmp(name, "realm", n) == 0)
		slot = &c->realm;
	else if (n == strlen("service") && strncasecmp(name, "service", n) == 0)
		slot = &c->service;
	else if (n == strlen("error") && strncasecmp(name, "error", n) == 0)
		slot = &c->error;
	if (!slot)
		return 0;
	/* Two readers could each believe another one. */
	if (*slot)
		return err_say(s->err, -EINVAL, "parameter '%.*s' stands twice", (int)n, name);
	*slot = steal_ptr(&value);
	return 0;
}

static int read_params(struct parser *s, struct challenge *c)
{
	for (size_t count = 0;; count++) {
		skip_commas(s);
		size_t n = token_length(s->p);
		size_t eq = n + strspn(s->p + n, " \t");
		/* Not `name =`: the next challenge's scheme, the end, or an error for the caller. */
		if (n == 0 || s->p[eq] != '=')
			return 0;
		if (count >= CHALLENGE_PARAMS_MAX)
			return err_say(s->err, -E2BIG, "a challenge has more than %d parameters",
				       CHALLENGE_PARAMS_MAX);
		int r = read_param(s, n, c);
		if (r < 0)
			return r;
	}
}

static int read_challenge(struct parser *s, struct challenge *c)
{
	size_t n = token_length(s->p);
	if (n == 0)
		return err_say(s->err, -EINVAL, "a scheme is expected at '%.20s'", s->p);
	if (n == strlen("bearer") && strncasecmp(s->p, "bearer", n) == 0)
		c->scheme = CHALLENGE_BEARER;
	else if (n == strlen("basic") && strncasecmp(s->p, "basic", n) == 0)
		c->scheme = CHALLENGE_BASIC;
	s->p += n;
	if (*s->p == '\0' || *s->p == ',')
		return 0;
	if (*s->p != ' ' && *s->p != '\t')
		return err_say(s->err, -EINVAL, "a scheme is expected at '%.20s'", s->p - n);
	skip_space(s);
	if (*s->p == '\0' || *s->p == ',' || skip_token68(s))
		return 0;
	const char *before = s->p;
	int r = read_params(s, c);
	if (r == 0 && s->p == before)
		return err_say(s->err, -EINVAL, "a parameter is expected at '%.20s'", s->p);
	return r;
}

int challenges_parse(const char *value, struct challenges *list, struct err *err)
{
	static const char what[] = "malformed authentication challenge";
	AUTO_FINISH(challenges) struct challenges got = {0};
	struct parser s = {.p = value, .err = err};

	if (strlen(value) > CHALLENGE_HEADER_MAX)
		return err_say(err, -E2BIG, "%s: longer than %d bytes", what, CHALLENGE_HEADER_MAX);
	for (skip_commas(&s); *s.p != '\0'; skip_commas(&s)) {
		if (list->count + got.count >= CHALLENGES_MAX)
			return err_say(err, -E2BIG, "%s: more than %d challenges", what,
				       CHALLENGES_MAX);
		int r = read_challenge(&s, &got.items[got.count++]);
		if (r < 0)
			return err_prefix(err, r, "%s", what);
	}
	for (size_t i = 0; i < got.count; i++)
		list->items[list->count++] = got.items[i];
	got.count = 0;
	return 0;
}

const struct challenge *challenges_find(const struct challenges *list,
					enum challenge_scheme scheme)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].scheme == scheme)
			return &list->items[i];
	return NULL;
}
