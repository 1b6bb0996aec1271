/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "fetcher/store.h"
#include "fetcher/store_priv.h"

enum {
	TAG_NAME_MAX = 200,    /* longer ones are named by their SHA-256 */
	TAG_TEXT_MAX = 4096,   /* the file: digest, space, reference, newline */
};

int store_dir_blob(const struct store *store, enum digest_algo algo)
{
	return store->dirs[algo == DIGEST_SHA512 ? STORE_DIR_SHA512 : STORE_DIR_SHA256];
}

int store_blob_get(struct store *store, const struct digest *digest, struct buf *ret,
		   struct err *err)
{
	char name[DIGEST_STR_MAX];
	int dir = store_dir_blob(store, digest->algo);
	size_t before = ret->len;
	int r = file_slurp(dir, digest_hex(digest, name), ret, err);
	if (r == 0) {
		const char *data = ret->data ? ret->data + before : "";
		r = digest_check(digest, data, ret->len - before, "a blob in the store", err);
	}
	if (r < 0 && ret->data) {
		ret->len = before;
		ret->data[before] = '\0';
	}
	if (r == -EBADMSG) {
		/* Nothing is lost: it is fetched again. */
		(void)unlinkat(dir, name, 0);
		return err_prefix(err, -ENOENT, "removed %s/%s", store->path, name);
	}
	return r < 0 ? err_prefix(err, r, "get a blob from the store %s", store->path) : 0;
}

/* Whether the file holds these bytes: a power cut may have left others. */
static bool blob_is(int dir, const char *name, const void *data, size_t n)
{
	AUTO_FINISH(buf) struct buf have = buf_make(n);
	struct stat st;
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == n && file_slurp(dir, name, &have, NULL) == 0 &&
	       have.len == n && memcmp(buf_str(&have), data, n) == 0;
}

int store_blob_keep(struct store *store, const struct digest *digest, const void *data, size_t n,
		    enum commit_mode mode, struct err *err)
{
	char name[DIGEST_STR_MAX];
	int dir = store_dir_blob(store, digest->algo);
	digest_hex(digest, name);
	/* gc goes by the age: one that is put again is young again. */
	if (blob_is(dir, name, data, n) && utimensat(dir, name, NULL, 0) == 0)
		return 0;
	/* Others are damaged, hence replaced. */
	int r = file_commit(dir, name, data, n, mode, err);
	return r < 0 ? err_prefix(err, r, "keep a blob in the store %s", store->path) : 0;
}

int store_blob_put(struct store *store, const struct digest *digest, const void *data, size_t n,
		   struct err *err)
{
	return store_blob_keep(store, digest, data, n, COMMIT_REPLACE, err);
}

static bool tag_char_is_plain(char c, bool first)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-' || c == ':' || c == '@' ||
	       (c == '.' && !first);
}

/* A reference as a file name: percent-escaped, or by its digest where that is too long. */
static int tag_name(const char *ref_text, char out[static NAME_MAX + 1])
{
	size_t len = 0;
	for (const char *p = ref_text; *p && len < TAG_NAME_MAX; p++) {
		if (tag_char_is_plain(*p, p == ref_text))
			out[len++] = *p;
		else
			len += (size_t)sprintf(out + len, "%%%02X", (unsigned char)*p);
	}
	out[len] = '\0';
	if (len > 0 && len < TAG_NAME_MAX)
		return 0;

	struct digest digest;
	char hex[DIGEST_STR_MAX];
	int r = digest_of(DIGEST_SHA256, ref_text, strlen(ref_text), &digest);
	if (r < 0)
		return r;
	(void)snprintf(out, NAME_MAX + 1, "%%%%%s", digest_hex(&digest, hex));
	return 0;
}

/* Splits "digest reference\n" in place. */
static int tag_parse(char *text, struct digest *ret, const char **ret_ref)
{
	char *space = text ? strchr(text, ' ') : NULL;
	char *end = space ? strchr(space, '\n') : NULL;
	if (!end)
		return -EBADMSG;
	*end = *space = '\0';
	*ret_ref = space + 1;
	return digest_parse(text, ret, NULL) < 0 ? -EBADMSG : 0;
}

int store_tag_get(struct store *store, const char *ref_text, struct digest *ret, struct err *err)
{
	char name[NAME_MAX + 1];
	AUTO_FINISH(buf) struct buf text = buf_make(TAG_TEXT_MAX);
	int r = tag_name(ref_text, name);
	if (r < 0)
		return err_set(err, r, "look up what %s was", ref_text);
	r = file_slurp(store->dirs[STORE_DIR_TAGS], name, &text, err);
	if (r < 0)
		return err_prefix(err, r, "look up what %s was", ref_text);

	struct digest digest;
	const char *ref = NULL;
	if (tag_parse(text.data, &digest, &ref) < 0 || strcmp(ref, ref_text) != 0) {
		(void)unlinkat(store->dirs[STORE_DIR_TAGS], name, 0);
		return err_say(err, -ENOENT, "what the store noted about %s was damaged: removed",
			       ref_text);
	}
	*ret = digest;
	return 0;
}

int store_tag_check(struct store *store, const char *name, struct digest *ret, struct err *err)
{
	char want[NAME_MAX + 1];
	struct digest digest;
	const char *ref = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(TAG_TEXT_MAX);
	int r = file_slurp(store->dirs[STORE_DIR_TAGS], name, &text, err);
	if (r < 0 && r != -E2BIG && r != -EISDIR)
		return r;
	if (r < 0 || tag_parse(text.data, &digest, &ref) < 0 || tag_name(ref, want) < 0 ||
	    strcmp(want, name) != 0)
		return err_say(err, -EBADMSG, "does not say what a reference was");
	*ret = digest;
	return 0;
}

int store_tag_put(struct store *store, const char *ref_text, const struct digest *digest,
		  struct err *err)
{
	return store_tag_keep(store, ref_text, digest, COMMIT_REPLACE, err);
}

int store_tag_keep(struct store *store, const char *ref_text, const struct digest *digest,
		   enum commit_mode mode, struct err *err)
{
	char name[NAME_MAX + 1];
	struct digest_text text;
	AUTO_FINISH(buf) struct buf line = buf_make(TAG_TEXT_MAX);
	int r = tag_name(ref_text, name);
	if (r == 0)
		r = buf_printf(&line, "%s %s\n", digest_str(digest, text.s), ref_text);
	if (r < 0)
		return err_set(err, r, "note what %.200s is", ref_text);
	return file_commit(store->dirs[STORE_DIR_TAGS], name, line.data, line.len, mode, err);
}
