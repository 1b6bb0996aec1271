/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/le.h"
#include "base/log.h"
#include "exec/seccomp_bpf.h"
#include "exec/seccomp_compile.h"

/*
 * magic, version, bytes of the program (32 bits each), the release of the kernel that
 * took it, filled up with zeros; then the SHA-256 of this header, the name and the
 * program; then the program.
 */
enum {
	CACHE_VERSION = 1,
	KEY_MAX = 2048,
	RELEASE_BYTES = sizeof(((struct utsname *)0)->release),
	AT_VERSION = 8,
	AT_LENGTH = 12,
	AT_RELEASE = 16,
	AT_DIGEST = AT_RELEASE + RELEASE_BYTES,
	HEADER_BYTES = AT_DIGEST + SHA256_BYTES,
	NAME_LEN = 2 * SHA256_BYTES,
	LISTED_MAX = 4 * SECCOMP_CACHE_FILES_MAX,
	FILE_MAX = HEADER_BYTES + SECCOMP_BPF_BYTES_MAX,
};

static const char magic[AT_VERSION + 1] = "SLUICEBP";

struct entry {
	char name[DIGEST_STR_MAX]; /* of the file: the hex of the key */
	char release[RELEASE_BYTES];
};

static int name_entry(const struct seccomp_filter *filter, const struct seccomp_target *target,
		      struct entry *ret)
{
	AUTO_FINISH(buf) struct buf key = buf_make(KEY_MAX);
	char version[SECCOMP_VERSION_TEXT_MAX];
	struct digest_text text;
	struct digest digest;
	struct utsname uts = {0};
	if (uname(&uts) < 0)
		return -errno;
	memcpy(ret->release, uts.release, sizeof(ret->release));
	int r = buf_printf(&key, "%d profile %s caps %" PRIx64 " libseccomp %s", CACHE_VERSION,
			   digest_str(&filter->profile->digest, text.s), target->caps,
			   seccomp_library_version(version));
	for (size_t i = 0; i < filter->n_arches && r == 0; i++)
		r = buf_printf(&key, " %s", seccomp_arch_name(filter->arches[i]));
	if (r == 0 && filter->profile->has_kernel_rules)
		r = buf_printf(&key, " kernel %u.%u", target->kernel.major, target->kernel.minor);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, key.data, key.len, &digest);
	if (r == 0)
		(void)digest_hex(&digest, ret->name);
	return r;
}

static int sum_entry(const char *header, const struct entry *entry, const void *code, size_t n,
		     uint8_t ret[static SHA256_BYTES])
{
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	struct digest digest;
	int r = digest_ctx_create(DIGEST_SHA256, &ctx);
	if (r == 0)
		r = digest_ctx_update(ctx, header, AT_DIGEST);
	if (r == 0)
		r = digest_ctx_update(ctx, entry->name, strlen(entry->name));
	if (r == 0)
		r = digest_ctx_update(ctx, code, n);
	if (r == 0)
		r = digest_ctx_final(ctx, &digest);
	if (r == 0)
		memcpy(ret, digest.bytes, SHA256_BYTES);
	return r;
}

/* Whether the file is whole and its program was taken by the kernel that runs now. */
static bool is_good(const struct buf *file, const struct entry *entry, bool big_endian)
{
	uint8_t sum[SHA256_BYTES];
	if (file->len < HEADER_BYTES || memcmp(file->data, magic, AT_VERSION) != 0 ||
	    le32_get(file->data + AT_VERSION) != CACHE_VERSION ||
	    le32_get(file->data + AT_LENGTH) != file->len - HEADER_BYTES)
		return false;
	struct seccomp_bpf bpf = {.code = file->data + HEADER_BYTES,
				  .n = file->len - HEADER_BYTES,
				  .big_endian = big_endian};
	return sum_entry(file->data, entry, bpf.code, bpf.n, sum) == 0 &&
	       memcmp(sum, file->data + AT_DIGEST, SHA256_BYTES) == 0 &&
	       memcmp(file->data + AT_RELEASE, entry->release, RELEASE_BYTES) == 0 &&
	       seccomp_bpf_check(&bpf, NULL) == 0;
}

struct kept {
	char name[DIGEST_STR_MAX];
	struct timespec made;
};

static int by_age(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;
	if (x->made.tv_sec != y->made.tv_sec)
		return x->made.tv_sec < y->made.tv_sec ? -1 : 1;
	return (x->made.tv_nsec > y->made.tv_nsec) - (x->made.tv_nsec < y->made.tv_nsec);
}

static size_t list_kept(DIR *dir, struct kept *list, size_t max)
{
	size_t n = 0;
	const struct dirent *entry = NULL;
	while (n < max && (entry = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): our own stream
		struct stat st;
		size_t len = strlen(entry->d_name);
		if (len != NAME_LEN || strspn(entry->d_name, "0123456789abcdef") != len ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		memcpy(list[n].name, entry->d_name, len + 1);
		list[n++].made = st.st_mtim;
	}
	return n;
}

/* Of too many files, the older half goes: each can be made again. Best effort. */
static void make_room(int dirfd)
{
	AUTO_FREE struct kept *list = calloc(LISTED_MAX, sizeof(*list));
	DIR *dir = NULL;
	size_t n = dir_stream(dirfd, &dir) == 0 && list ? list_kept(dir, list, LISTED_MAX) : 0;
	if (dir)
		(void)closedir(dir);
	if (n < SECCOMP_CACHE_FILES_MAX)
		return;
	qsort(list, n, sizeof(*list), by_age);
	for (size_t i = 0; i < n / 2; i++)
		(void)unlinkat(dirfd, list[i].name, 0);
}

static int keep(int dirfd, const struct entry *entry, const struct buf *code, struct err *err)
{
	AUTO_FINISH(buf) struct buf file = buf_make(FILE_MAX);
	char header[HEADER_BYTES] = {0};
	memcpy(header, magic, AT_VERSION);
	le32_put(header + AT_VERSION, CACHE_VERSION);
	le32_put(header + AT_LENGTH, (uint32_t)code->len);
	memcpy(header + AT_RELEASE, entry->release, RELEASE_BYTES);
	int r = sum_entry(header, entry, code->data, code->len, (uint8_t *)header + AT_DIGEST);
	if (r == 0)
		r = buf_append(&file, header, sizeof(header));
	if (r == 0)
		r = buf_append(&file, code->data, code->len);
	if (r < 0)
		return err_set(err, r, "keep a compiled seccomp filter");
	make_room(dirfd);
	return file_commit(dirfd, entry->name, file.data, file.len, COMMIT_REPLACE, err);
}

static int compile_and_try(const struct seccomp_filter *filter, struct buf *code, struct err *err)
{
	enum seccomp_arch host;
	int r = seccomp_compile(filter, code, err);
	if (r == 0 && seccomp_arch_of_host(&host) == 0 && host == filter->native)
		r = seccomp_try_load(code->data, code->len, err);
	return r;
}

int seccomp_cache_get(int dirfd, const struct seccomp_profile *profile,
		      const struct seccomp_target *target, struct buf *out, bool *ret_hit,
		      struct err *err)
{
	AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
	AUTO_FINISH(buf)
	struct buf file = buf_make(FILE_MAX), code = buf_make(SECCOMP_BPF_BYTES_MAX);
	struct entry entry = {0};
	struct err why = {0};
	int r = seccomp_resolve(profile, target, &filter, err);
	if (r == 0 && (r = name_entry(filter, target, &entry)) < 0)
		return err_set(err, r, "name a compiled seccomp filter");
	if (r < 0)
		return r;
	bool hit = dirfd >= 0 && file_slurp(dirfd, entry.name, &file, NULL) == 0 &&
		   is_good(&file, &entry, seccomp_arch_big_endian(target->native));
	if (!hit)
		r = compile_and_try(filter, &code, err);
	if (r == 0 && !hit && dirfd >= 0 && keep(dirfd, &entry, &code, &why) < 0)
		log_debug("seccomp: %s", err_text(&why));
	if (r == 0)
		r = hit ? buf_append(out, file.data + HEADER_BYTES, file.len - HEADER_BYTES)
			: buf_append(out, code.data, code.len);
	else
		return r;
	if (r < 0)
		return err_set(err, r, "keep a compiled seccomp filter");
	if (ret_hit)
		*ret_hit = hit;
	return 0;
}
