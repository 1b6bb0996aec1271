/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http_url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <string.h>

#include "base/buf.h"
#include "base/curl_api.h"
#include "base/num.h"

static inline void cleanup_curlu(CURLU **u)
{
	if (*u)
		curl_api(NULL)->url_cleanup(*u);
}
#define AUTO_CURLU __attribute__((cleanup(cleanup_curlu)))

static inline void cleanup_curl_text(char **text)
{
	if (*text)
		curl_api(NULL)->free(*text);
}
#define AUTO_CURL_TEXT __attribute__((cleanup(cleanup_curl_text)))

static int bad_url(const char *url, struct err *err)
{
	char shown[HTTP_URL_SHOWN_MAX];
	return err_say(err, -EINVAL, "'%s' is not an http or https URL",
		       http_url_shown(url, shown));
}

int http_url_parse(const char *url, struct http_url *ret, struct err *err)
{
	const struct curl_api *curl = curl_api(err);
	if (!curl)
		return -ELIBACC;
	AUTO_CURLU CURLU *u = curl->url();
	AUTO_CURL_TEXT char *scheme = NULL;
	AUTO_CURL_TEXT char *host = NULL;
	AUTO_CURL_TEXT char *port = NULL;
	uint64_t port_nr;
	if (!u)
		return err_set(err, -ENOMEM, "parse a URL");
	if (strlen(url) > HTTP_URL_MAX || curl->url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl->url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl->url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl->url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    u64_parse(port, UINT16_MAX, &port_nr) < 0)
		return bad_url(url, err);
	bool https = strcmp(scheme, "https") == 0;
	if (!https && strcmp(scheme, "http") != 0)
		return bad_url(url, err);

	struct http_url got = {
		.host = strdup(host), .port = (uint16_t)port_nr, .https = https};
	if (!got.host)
		return err_set(err, -ENOMEM, "parse a URL");
	for (char *p = got.host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	*ret = got;
	return 0;
}

void http_url_finish(struct http_url *url)
{
	if (!url)
		return;
	free(url->host);
	*url = (struct http_url){0};
}

bool http_url_same_origin(const struct http_url *a, const struct http_url *b)
{
	return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

int http_url_join(const char *base, const char *reference, char **ret, struct err *err)
{
	const struct curl_api *curl = curl_api(err);
	if (!curl)
		return -ELIBACC;
	AUTO_CURLU CURLU *u = curl->url();
	AUTO_CURL_TEXT char *joined = NULL;
	if (!u)
		return err_set(err, -ENOMEM, "resolve a URL");
	if (strlen(reference) > HTTP_URL_MAX)
		return err_say(err, -EINVAL, "the URL is longer than %d bytes", HTTP_URL_MAX);
	/* The flags libcurl itself follows redirects with: servers do send raw spaces. */
	if (curl->url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK)
		return bad_url(base, err);
	if (curl->url_set(u, CURLUPART_URL, reference, CURLU_URLENCODE | CURLU_ALLOW_SPACE) !=
		    CURLUE_OK ||
	    curl->url_get(u, CURLUPART_URL, &joined, 0) != CURLUE_OK)
		return bad_url(reference, err);

	AUTO_FINISH(http_url) struct http_url parts = {0};
	int r = http_url_parse(joined, &parts, err);
	if (r < 0)
		return r;
	char *copy = strdup(joined);
	if (!copy)
		return err_set(err, -ENOMEM, "resolve a URL");
	*ret = copy;
	return 0;
}

int http_url_add_query(const char *url, const char *key, const char *value, char **ret)
{
	const struct curl_api *curl = curl_api(NULL);
	AUTO_CURL_TEXT char *escaped = curl ? curl->easy_escape(NULL, value, 0) : NULL;
	if (!escaped)
		return -ENOMEM;
	AUTO_FINISH(buf) struct buf buf = buf_make(HTTP_URL_MAX);
	const char *fragment = strchrnul(url, '#');
	const char *query = memchr(url, '?', (size_t)(fragment - url));
	const char *glue = "?";
	if (query)
		glue = query + 1 == fragment || fragment[-1] == '&' ? "" : "&";
	int r = buf_append(&buf, url, (size_t)(fragment - url));
	if (r == 0)
		r = buf_printf(&buf, "%s%s=%s", glue, key, escaped);
	if (r < 0)
		return r == -E2BIG ? -EINVAL : r;
	*ret = buf_steal(&buf);
	return 0;
}

char *http_url_shown(const char *url, char out[static HTTP_URL_SHOWN_MAX])
{
	size_t n = strcspn(url, "?#");
	const char *authority = strstr(url, "://");
	size_t head = authority && authority < url + n ? (size_t)(authority - url) + 3 : 0;
	size_t host_end = head + strcspn(url + head, "/?#");
	const char *at = memrchr(url + head, '@', host_end - head);
	size_t from = at ? (size_t)(at - url) + 1 : head;

	(void)snprintf(out, HTTP_URL_SHOWN_MAX, "%.*s%.*s", (int)u64_min(head, 16), url,
		       (int)u64_min(n - from, HTTP_URL_SHOWN_MAX), url + from);
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return out;
}

static bool ipv4_is_private(uint32_t ip)
{
	static const struct {
		uint32_t net, mask;
	} nets[] = {
		{0x00000000, 0xff000000}, /* 0/8, this network */
		{0x0a000000, 0xff000000}, /* 10/8 */
		{0x64400000, 0xffc00000}, /* 100.64/10, carrier-grade NAT */
		{0x7f000000, 0xff000000}, /* 127/8 */
		{0xa9fe0000, 0xffff0000}, /* 169.254/16, cloud metadata services */
		{0xac100000, 0xfff00000}, /* 172.16/12 */
		{0xc0a80000, 0xffff0000}, /* 192.168/16 */
	};
	for (size_t i = 0; i < ARRAY_LEN(nets); i++)
		if ((ip & nets[i].mask) == nets[i].net)
			return true;
	return false;
}

bool http_host_is_private(const char *host)
{
	struct in_addr v4;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ipv4_is_private(ntohl(v4.s_addr));

	char text[INET6_ADDRSTRLEN];
	size_t n = strlen(host);
	if (n < 2 || host[0] != '[' || host[n - 1] != ']' || n - 2 >= sizeof(text))
		return strcmp(host, "localhost") == 0;
	memcpy(text, host + 1, n - 2);
	text[n - 2] = '\0';
	text[strcspn(text, "%")] = '\0';
	struct in6_addr v6;
	if (inet_pton(AF_INET6, text, &v6) != 1)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&v6)) {
		uint32_t ip;
		memcpy(&ip, &v6.s6_addr[12], sizeof(ip));
		return ipv4_is_private(ntohl(ip));
	}
	return IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_UNSPECIFIED(&v6) ||
	       IN6_IS_ADDR_LINKLOCAL(&v6) || (v6.s6_addr[0] & 0xfe) == 0xfc;
}

/* Takes a run of digits. -EINVAL for none, or a number past 2^63. */
static int take_number(const char **p, uint64_t *ret)
{
	uint64_t v = 0;
	const char *start = *p;
	while (**p >= '0' && **p <= '9') {
		if (v > (UINT64_MAX >> 1) / 10 - 1)
			return -EINVAL;
		v = v * 10 + (uint64_t)(*(*p)++ - '0');
	}
	if (*p == start)
		return -EINVAL;
	*ret = v;
	return 0;
}

int content_range_parse(const char *value, struct content_range *ret)
{
	struct content_range got = {0};
	if (strncasecmp(value, "bytes", 5) != 0 || (value[5] != ' ' && value[5] != '='))
		return -EINVAL;
	const char *p = value + 6;
	while (*p == ' ')
		p++;
	if (*p == '*') {
		got.unsatisfied = true;
		p++;
	} else if (take_number(&p, &got.first) < 0 || *p++ != '-' ||
		   take_number(&p, &got.last) < 0 || got.last < got.first) {
		return -EINVAL;
	}
	if (*p++ != '/')
		return -EINVAL;
	if (*p == '*' && !got.unsatisfied) {
		p++;
	} else if (take_number(&p, &got.total) < 0) {
		return -EINVAL;
	} else {
		got.has_total = true;
	}
	if (*p != '\0' || (got.has_total && !got.unsatisfied && got.last >= got.total))
		return -EINVAL;
	*ret = got;
	return 0;
}

int retry_after_parse(const char *value, time_t now, uint64_t max_ms, uint64_t *ret_ms)
{
	if (value[0] != '\0' && value[strspn(value, "0123456789")] == '\0') {
		uint64_t seconds;
		int r = u64_parse(value, UINT64_MAX / 1000, &seconds);
		if (r < 0 && r != -ERANGE)
			return r;
		*ret_ms = r == -ERANGE ? max_ms : u64_min(seconds * 1000, max_ms);
		return 0;
	}
	const struct curl_api *curl = curl_api(NULL);
	time_t when = curl ? curl->getdate(value, NULL) : (time_t)-1;
	if (when == (time_t)-1)
		return -EINVAL;
	*ret_ms = when <= now ? 0 : u64_min((uint64_t)(when - now) * 1000, max_ms);
	return 0;
}
