/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/cleanup.h"

static size_t base64_alphabet_run(const char *text, size_t n)
{
	size_t i = 0;
	while (i < n && ((text[i] >= 'A' && text[i] <= 'Z') || (text[i] >= 'a' && text[i] <= 'z') ||
			 (text[i] >= '0' && text[i] <= '9') || text[i] == '+' || text[i] == '/'))
		i++;
	return i;
}

int base64_decode(const char *text, size_t n, size_t max, char **ret, size_t *ret_n)
{
	size_t pad = 0;
	if (n % 4 != 0)
		return -EINVAL;
	while (pad < 2 && pad < n && text[n - pad - 1] == '=')
		pad++;
	/* The library would pass over blanks, and takes '=' for zeros. */
	if (base64_alphabet_run(text, n) != n - pad)
		return -EINVAL;
	if (n > INT_MAX || n / 4 * 3 - pad > max)
		return -E2BIG;

	AUTO_FREE char *out = malloc(n / 4 * 3 + 1);
	if (!out)
		return -ENOMEM;
	if (EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)n) < 0)
		return -EINVAL;
	*ret_n = n / 4 * 3 - pad;
	out[*ret_n] = '\0';
	*ret = steal_ptr(&out);
	return 0;
}

int base64_encode(const void *data, size_t n, struct buf *out)
{
	size_t len = (n + 2) / 3 * 4;
	if (n > INT_MAX / 4 * 3 - 2)
		return -E2BIG;
	int r = buf_reserve(out, len);
	if (r < 0)
		return r;
	AUTO_FREE unsigned char *text = malloc(len + 1);
	if (!text)
		return -ENOMEM;
	(void)EVP_EncodeBlock(text, data, (int)n);
	return buf_append(out, text, len);
}
