/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/retry.h"

#include <sys/random.h>

#include "base/num.h"
#include "fetcher/http_url.h"

struct retry retry_plan(unsigned int max, deadline_t deadline)
{
	return (struct retry){
		.deadline = deadline,
		.max = max == 0 || max > RETRY_ATTEMPTS_MAX ? RETRY_ATTEMPTS_MAX : max,
	};
}

bool retry_status(int status)
{
	if (status == 501 || status == 505)
		return false;
	return status == 408 || status == 429 || (status >= 500 && status <= 599);
}

/* Nobody answered: refused, no route, no such name. */
static bool retry_unreachable(int r)
{
	return r == -ECONNREFUSED || r == -EHOSTUNREACH || r == -ENETUNREACH;
}

bool retry_errno(int r)
{
	return retry_unreachable(r) || r == -ECONNRESET || r == -ETIMEDOUT;
}

uint64_t retry_pause_ms(unsigned int failures)
{
	unsigned int doublings = failures > 0 ? failures - 1 : 0;
	uint64_t full = RETRY_LONGEST_MS;
	if (doublings < 16)
		full = u64_min((uint64_t)RETRY_FIRST_MS << doublings, RETRY_LONGEST_MS);
	uint32_t noise = 0;
	/* Without entropy the pause is just not spread. */
	if (getrandom(&noise, sizeof(noise), GRND_NONBLOCK) != (ssize_t)sizeof(noise))
		noise = 0;
	return full / 2 + noise % (full / 2 + 1);
}

/* Passes a Retry-After on to everybody who talks to that host. */
static void retry_obey(struct http_engine *engine, const struct http_response *resp)
{
	const char *value = http_header(resp, "retry-after");
	uint64_t ms;
	if (!value || (resp->status != 429 && resp->status != 503))
		return;
	if (retry_after_parse(value, time(NULL), HTTP_PAUSE_MAX_MS, &ms) == 0)
		http_engine_pause(engine, resp->url, ms);
}

bool retry_wait(struct retry *retry, struct http_engine *engine, int r,
		const struct http_response *resp)
{
	if (r < 0 ? !retry_errno(r) : !retry_status(resp->status))
		return false;
	if (r == 0)
		retry_obey(engine, resp);
	retry->failures++;
	if (retry->failures >= retry->max)
		return false;
	if (retry_unreachable(r) && !retry->waits && retry->failures >= RETRY_CONNECT_MAX)
		return false;
	uint64_t ms = retry_pause_ms(retry->failures);
	if (deadline_left_ms(retry->deadline, UINT64_MAX) <= ms)
		return false;
	if (http_engine_sleep(engine, ms) < 0)
		return false;
	net_stats_add(http_engine_stats(engine), retries, 1);
	return true;
}
