/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/torture.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tests that use this have one thread. */
static struct {
	size_t left; /* until the failure; 0: not armed */
	bool on, in_jansson, spare_jansson;
	enum torture_hit hit;
	long live;
} torture;

void *__real_malloc(size_t n);
void *__real_realloc(void *old, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *old, size_t n);
void *__wrap_reallocarray(void *old, size_t count, size_t n);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
int __wrap_vasprintf(char **ret, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
int __wrap_asprintf(char **ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap___vasprintf_chk(char **ret, int flag, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));
int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void __wrap_free(void *p);

static bool refuse(void)
{
	if (torture.in_jansson && torture.spare_jansson)
		return false;
	if (torture.left == 0 || --torture.left > 0)
		return false;
	if (torture.hit == TORTURE_NONE)
		torture.hit = torture.in_jansson ? TORTURE_JANSSON : TORTURE_OURS;
	torture.left = torture.on ? 1 : 0;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t n)
{
	void *p = refuse() ? NULL : __real_malloc(n);
	torture.live += p != NULL;
	return p;
}

void *__wrap_calloc(size_t count, size_t n)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, n, &bytes))
		return NULL;
	void *p = __wrap_malloc(bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

void *__wrap_realloc(void *old, size_t n)
{
	void *p = refuse() ? NULL : __real_realloc(old, n);
	torture.live += p && !old;
	return p;
}

void *__wrap_reallocarray(void *old, size_t count, size_t n)
{
	size_t bytes;
	return __builtin_mul_overflow(count, n, &bytes) ? NULL : __wrap_realloc(old, bytes);
}

char *__wrap_strndup(const char *text, size_t n)
{
	size_t len = strnlen(text, n);
	char *p = __wrap_malloc(len + 1);
	if (!p)
		return NULL;
	memcpy(p, text, len);
	p[len] = '\0';
	return p;
}

char *__wrap_strdup(const char *text)
{
	return __wrap_strndup(text, strlen(text));
}

int __wrap_vasprintf(char **ret, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	/* Not NULL on failure: what glibc leaves there nobody may look at. */
	*ret = (char *)1;
	char *p = n < 0 ? NULL : __wrap_malloc((size_t)n + 1);
	if (!p)
		return -1;
	*ret = p;
	return vsnprintf(p, (size_t)n + 1, fmt, ap);
}

int __wrap_asprintf(char **ret, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = __wrap_vasprintf(ret, fmt, ap);
	va_end(ap);
	return n;
}

/* The same where _FORTIFY_SOURCE is set. */
int __wrap___vasprintf_chk(char **ret, int flag, const char *fmt, va_list ap)
{
	(void)flag;
	return __wrap_vasprintf(ret, fmt, ap);
}

int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
{
	va_list ap;
	(void)flag;
	va_start(ap, fmt);
	int n = __wrap_vasprintf(ret, fmt, ap);
	va_end(ap);
	return n;
}

void __wrap_free(void *p)
{
	torture.live -= p != NULL;
	__real_free(p);
}

static void *jansson_malloc(size_t n)
{
	torture.in_jansson = true;
	void *p = __wrap_malloc(n);
	torture.in_jansson = false;
	return p;
}

void torture_begin(void)
{
	json_set_alloc_funcs(jansson_malloc, __wrap_free);
}

void torture_arm(size_t nth, bool on)
{
	torture.left = nth;
	torture.on = on;
	torture.hit = TORTURE_NONE;
}

void torture_spare_jansson(bool on)
{
	torture.spare_jansson = on;
}

enum torture_hit torture_hit(void)
{
	return torture.hit;
}

long torture_live(void)
{
	return torture.live;
}
