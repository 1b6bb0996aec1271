/* SPDX-License-Identifier: Apache-2.0 */
/* What answers say: errors, JSON and its members, times. */
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/driver_engine_priv.h"
#include "exec/driver_oci_priv.h"

/*
 * What engines say with a status that does not tell: there is no other interface to it. These are
 * the words of Docker 20.10 … 28 and Podman 4 and 5; the first that is found counts.
 */
static const struct {
	const char *words;
	enum driver_code code;
} SAYINGS[] = {
	{"no such container", DRIVER_NOT_FOUND},
	{"No such container", DRIVER_NOT_FOUND},
	{"no container with name or ID", DRIVER_NOT_FOUND},
	{"No such image", DRIVER_NOT_FOUND},
	{"no such image", DRIVER_NOT_FOUND},
	{"image not known", DRIVER_NOT_FOUND},
	{"manifest unknown", DRIVER_NOT_FOUND},
	{"manifest for ", DRIVER_NOT_FOUND},
	{"name unknown", DRIVER_NOT_FOUND},
	{"repository does not exist", DRIVER_NOT_FOUND},
	{"already in use", DRIVER_EXISTS},
	{"already exists", DRIVER_EXISTS},
	{"unauthorized", DRIVER_DENIED},
	{"authentication required", DRIVER_DENIED},
	{"incorrect username or password", DRIVER_DENIED},
	{"denied", DRIVER_DENIED},
	{"container state improper", DRIVER_INVALID},
	{"container has already been removed", DRIVER_NOT_FOUND},
	{"container is not running", DRIVER_INVALID},
	{"is not running", DRIVER_INVALID},
	{"is already paused", DRIVER_INVALID},
	{"is not paused", DRIVER_INVALID},
	{"invalid reference format", DRIVER_INVALID},
	{"invalid argument", DRIVER_INVALID},
	{"without a cgroup", DRIVER_UNSUPPORTED},
	{"without cgroups", DRIVER_UNSUPPORTED},
	{"not supported", DRIVER_UNSUPPORTED},
	{"not implemented", DRIVER_UNSUPPORTED},
	{"operation not permitted", DRIVER_DENIED},
};

static enum driver_code classify_words(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(SAYINGS); i++)
		if (strstr(text, SAYINGS[i].words))
			return SAYINGS[i].code;
	return DRIVER_ENGINE;
}

static enum driver_code classify(long status, const char *text)
{
	switch (status) {
	case 304: /* it is in that state already */
	case 400:
	case 406:
	case 413:
	case 422:
		return DRIVER_INVALID;
	case 401:
	case 403:
		return DRIVER_DENIED;
	case 404:
		return DRIVER_NOT_FOUND;
	case 405:
	case 501:
		return DRIVER_UNSUPPORTED;
	case 409: /* a name that is taken, or a container in the wrong state */
		return classify_words(text) == DRIVER_EXISTS ? DRIVER_EXISTS : DRIVER_INVALID;
	default:
		return classify_words(text);
	}
}

int engine_refused(const struct engine *engine, const char *what, long status,
		   const struct buf *body, struct driver_error *error)
{
	AUTO_JSON json_t *answer = NULL;
	const char *text = NULL;
	if (json_parse_object(buf_str(body), body->len, "answer", &answer, NULL) == 0)
		text = engine_text(answer, "message");
	if (!text)
		text = buf_str(body);
	bool program = false;
	enum driver_code code = oci_classify(text, &program);
	if (!program)
		code = classify(status, text);
	int r = driver_fail(error, code, buf_str(body), "%s: %s answers with status %ld%s%s", what,
			    engine->info.name, status, *text ? ": " : "", text);
	if (error)
		error->program = program;
	return r;
}

int engine_said(const char *what, const char *text, const char *raw, struct driver_error *error)
{
	return driver_fail(error, classify_words(text), raw, "%s: the engine says: %s", what, text);
}

int engine_json(const char *what, const struct buf *body, json_type type, json_t **ret,
		struct driver_error *error)
{
	json_error_t why;
	AUTO_JSON json_t *value =
		json_loadb(buf_str(body), body->len, JSON_REJECT_DUPLICATES, &why);
	if (!value) /* numbers of 64 bits without a sign are too big for jansson's integers */
		value = json_loadb(buf_str(body), body->len,
				   JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
	if (!value)
		return driver_fail(error, DRIVER_ENGINE, buf_str(body),
				   "%s: the engine's answer is not JSON: line %d: %s", what, why.line,
				   why.text);
	if (json_typeof(value) != type)
		return driver_fail(error, DRIVER_ENGINE, buf_str(body),
				   "%s: the engine's answer is not %s", what,
				   type == JSON_ARRAY ? "an array" : "an object");
	*ret = steal_ptr(&value);
	return 0;
}

int engine_get(const struct engine *engine, const struct driver_call *call, const char *what,
	       const char *path, json_t **ret, struct driver_error *error)
{
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	struct engine_request request = {.what = what, .method = "GET", .path = path};
	int r = engine_http(engine, call, &request, &reply, error);
	return r < 0 ? r : engine_json(what, &reply.body, JSON_OBJECT, ret, error);
}

const char *engine_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

uint64_t engine_number(const json_t *object, const char *key)
{
	static const double LIMIT = 18446744073709551615.0;
	const json_t *value = json_object_get(object, key);
	if (json_is_integer(value) && json_integer_value(value) >= 0)
		return (uint64_t)json_integer_value(value);
	if (!json_is_real(value) || !(json_real_value(value) >= 0))
		return DRIVER_UNKNOWN;
	return json_real_value(value) < LIMIT ? (uint64_t)json_real_value(value) : DRIVER_UNKNOWN;
}

bool engine_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

int engine_escape(struct buf *out, const char *text)
{
	static const char UNRESERVED[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;
		bool plain = strchr(UNRESERVED, c);
		int r = plain ? buf_append(out, p, 1) : buf_printf(out, "%%%02X", c);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ".123456789": as many decimals as there are, up to nine. */
static const char *decimals(const char *at, int64_t *ret)
{
	int64_t ns = 0, unit = (int64_t)NS_PER_SEC / 10;
	if (*at == '.') {
		for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
			ns += (*at - '0') * unit;
	}
	*ret = ns;
	return at;
}

/* "Z" or "+hh:mm", in seconds. */
static int offset(const char *at, int64_t *ret)
{
	int hours, minutes, end = 0;
	if (strcmp(at, "Z") == 0) {
		*ret = 0;
		return 0;
	}
	/* NOLINTNEXTLINE(cert-err34-c): at most two digits each */
	if (sscanf(at + (*at ? 1 : 0), "%2d:%2d%n", &hours, &minutes, &end) != 2 || at[1 + end] ||
	    (*at != '+' && *at != '-') || hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
		return -EINVAL;
	*ret = (*at == '-' ? -1 : 1) * (int64_t)(hours * 3600 + minutes * 60);
	return 0;
}

int engine_time(const char *text, int64_t *ret_ns)
{
	struct tm tm = {0};
	int64_t ns, east;
	const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!at || tm.tm_year < 0 || tm.tm_year > 300)
		return -EINVAL;
	int r = offset(decimals(at, &ns), &east);
	if (r == 0)
		*ret_ns = ((int64_t)timegm(&tm) - east) * (int64_t)NS_PER_SEC + ns;
	return r;
}
