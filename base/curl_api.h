/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * libcurl, loaded when the first request is made. Loading it with the program
 * would bring some thirty libraries along and cost every start 3 ms, also the
 * starts of a mount whose bytes are all local; a start is to take ten.
 *
 * The members are the functions of <curl/curl.h> without their first word, and
 * keep their types. Nothing in this tree calls libcurl by another way.
 */

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#include "base/err.h"

/* X(member, function of libcurl) */
#define CURL_API_FUNCTIONS(X)                            \
	X(easy_cleanup, curl_easy_cleanup)               \
	X(easy_escape, curl_easy_escape)                 \
	X(easy_getinfo, curl_easy_getinfo)               \
	X(easy_init, curl_easy_init)                     \
	X(easy_pause, curl_easy_pause)                   \
	X(easy_reset, curl_easy_reset)                   \
	X(easy_setopt, curl_easy_setopt)                 \
	X(easy_strerror, curl_easy_strerror)             \
	X(free, curl_free)                               \
	X(getdate, curl_getdate)                         \
	X(global_cleanup, curl_global_cleanup)           \
	X(global_init, curl_global_init)                 \
	X(multi_add_handle, curl_multi_add_handle)       \
	X(multi_cleanup, curl_multi_cleanup)             \
	X(multi_info_read, curl_multi_info_read)         \
	X(multi_init, curl_multi_init)                   \
	X(multi_perform, curl_multi_perform)             \
	X(multi_poll, curl_multi_poll)                   \
	X(multi_remove_handle, curl_multi_remove_handle) \
	X(multi_setopt, curl_multi_setopt)               \
	X(multi_wakeup, curl_multi_wakeup)               \
	X(share_cleanup, curl_share_cleanup)             \
	X(share_init, curl_share_init)                   \
	X(share_setopt, curl_share_setopt)               \
	X(slist_append, curl_slist_append)               \
	X(slist_free_all, curl_slist_free_all)           \
	X(url, curl_url)                                 \
	X(url_cleanup, curl_url_cleanup)                 \
	X(url_get, curl_url_get)                         \
	X(url_set, curl_url_set)                         \
	X(version_info, curl_version_info)

/* As macros of <curl/curl.h> they would only count their arguments. */
#undef curl_easy_getinfo
#undef curl_easy_setopt
#undef curl_multi_setopt
#undef curl_share_setopt

struct curl_api {
#define CURL_API_MEMBER(member, function) typeof(function) *member;
	CURL_API_FUNCTIONS(CURL_API_MEMBER)
#undef CURL_API_MEMBER
};

/*
 * The functions, the same ones for ever after; libcurl is never unloaded. NULL
 * with -ELIBACC when it is not installed, lacks a function, or is older than
 * 7.84. Any thread.
 */
const struct curl_api *curl_api(struct err *err);
