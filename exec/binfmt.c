/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/binfmt.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"

enum { ENTRY_MAX = 4096, ENTRIES_MAX = 1024 };

/* The bytes of a line "name 7f454c46…"; their number, 0 where there is no such line. */
static size_t hex_line(const char *text, const char *name, unsigned char out[BINFMT_HEAD_MAX])
{
	static const char digits[] = "0123456789abcdef";
	const char *p = strstr(text, name);
	size_t n = 0;
	if (!p || (p != text && p[-1] != '\n'))
		return 0;
	for (p += strlen(name); n < BINFMT_HEAD_MAX && p[0] && p[1]; p += 2, n++) {
		const char *high = strchr(digits, p[0]);
		const char *low = strchr(digits, p[1]);
		if (!high || !low)
			break;
		out[n] = (unsigned char)((high - digits) << 4 | (low - digits));
	}
	return n;
}

static bool entry_matches(const char *text, const unsigned char *head, size_t n)
{
	unsigned char magic[BINFMT_HEAD_MAX], mask[BINFMT_HEAD_MAX];
	char number[24];
	uint64_t off = 0;
	const char *p = strstr(text, "\noffset ");
	if (strncmp(text, "enabled\n", 8) != 0 || !p)
		return false;
	p += strlen("\noffset ");
	(void)snprintf(number, sizeof(number), "%.*s", (int)strcspn(p, "\n"), p);
	size_t len = hex_line(text, "magic ", magic);
	size_t masked = hex_line(text, "mask ", mask);
	if (len == 0 || u64_parse(number, n, &off) < 0 || !range_within(off, len, n))
		return false;
	for (size_t i = 0; i < len; i++)
		if ((head[off + i] ^ magic[i]) & (i < masked ? mask[i] : 0xff))
			return false;
	return true;
}

bool binfmt_matches(int dirfd, const void *head, size_t n)
{
	int fd = openat(dirfd < 0 ? AT_FDCWD : dirfd, dirfd < 0 ? "/proc/sys/fs/binfmt_misc" : ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		cleanup_close(&fd);
		return false;
	}
	bool found = false;
	struct dirent *entry;
	for (int i = 0; !found && i < ENTRIES_MAX && (entry = readdir(dir)); i++) { // NOLINT(concurrency-mt-unsafe)
		AUTO_FINISH(buf) struct buf text = buf_make(ENTRY_MAX);
		if (entry->d_name[0] == '.' || file_slurp(fd, entry->d_name, &text, NULL) < 0)
			continue;
		found = entry_matches(buf_str(&text), head, n);
	}
	(void)closedir(dir);
	return found;
}
