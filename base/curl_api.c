/* SPDX-License-Identifier: Apache-2.0 */
#include "base/curl_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/num.h"

static const char library[] = "libcurl.so.4";
enum { VERSION_MIN = 0x075400 };

/* Written once, below, before anyone sees them. */
static struct curl_api functions;
static struct err failure;
static pthread_once_t loaded = PTHREAD_ONCE_INIT;

static const struct {
	const char *name;
	size_t at; /* in struct curl_api */
} wanted[] = {
#define WANTED(member, function) {#function, offsetof(struct curl_api, member)},
	CURL_API_FUNCTIONS(WANTED)
#undef WANTED
};

static int find_all(void *handle)
{
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		void *function = dlsym(handle, wanted[i].name);
		if (!function)
			return err_say(&failure, -ELIBACC, "load %s: it has no %s()", library,
				       wanted[i].name);
		/* ISO C knows no cast from an object to a function. */
		memcpy((char *)&functions + wanted[i].at, &function, sizeof(function));
	}
	const curl_version_info_data *info = functions.version_info(CURLVERSION_FIRST);
	if (info->version_num < VERSION_MIN)
		return err_say(&failure, -ELIBACC, "load %s: its version %s is older than 7.84",
			       library, info->version);
	return 0;
}

static void load(void)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		(void)err_say(&failure, -ELIBACC, "load %s, which requests over HTTP need: %s",
			      library, dlerror()); /* NOLINT(concurrency-mt-unsafe): a thread has its own */
	else if (find_all(handle) < 0)
		(void)dlclose(handle);
}

const struct curl_api *curl_api(struct err *err)
{
	(void)pthread_once(&loaded, load);
	if (failure.code == 0)
		return &functions;
	(void)err_copy(err, &failure);
	return NULL;
}
