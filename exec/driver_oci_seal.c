/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "exec/driver_oci_priv.h"

enum {
	SEAL_PROGRAM_MAX = 16 << 20,  /* bytes of a program that is copied */
	SEAL_PROFILES_MAX = 4 << 20, /* bytes of AppArmor's list of profiles */
};

/* Whether what a process may do depends on the path that it was started by. */
static bool path_matters(const char *path)
{
	AUTO_FINISH(buf) struct buf profiles = buf_make(SEAL_PROFILES_MAX);
	if (access("/sys/fs/selinux/enforce", F_OK) == 0)
		return true;
	if (access("/sys/kernel/security/apparmor", F_OK) < 0)
		return access("/sys/module/apparmor/parameters/enabled", F_OK) == 0;
	/* "NAME (MODE)" in each line; a name need not be the path that it stands for. */
	if (file_slurp(AT_FDCWD, "/sys/kernel/security/apparmor/profiles", &profiles, NULL) < 0)
		return true;
	const char *name = strrchr(path, '/');
	return strstr(buf_str(&profiles), name ? name + 1 : path) != NULL;
}

/* Whether the program is nothing but its bytes. */
static bool is_plain(int fd, const struct stat *st)
{
	char magic[SELFMAG];
	if (!S_ISREG(st->st_mode) || (st->st_mode & (S_ISUID | S_ISGID)) || st->st_size <= 0 ||
	    st->st_size > SEAL_PROGRAM_MAX)
		return false;
	if (file_pread(fd, magic, sizeof(magic), 0) != (ssize_t)sizeof(magic) ||
	    memcmp(magic, ELFMAG, SELFMAG) != 0)
		return false;
	return fgetxattr(fd, "security.capability", NULL, 0) < 0;
}

static int copy_all(int from, int to, size_t n)
{
	while (n > 0) {
		ssize_t moved = sendfile(to, from, NULL, n);
		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return moved < 0 ? -errno : -EIO;
		n -= (size_t)moved;
	}
	return 0;
}

int oci_seal(const char *path, int *ret_fd)
{
	AUTO_CLOSE int program = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	*ret_fd = -1;
	if (program < 0 || fstat(program, &st) < 0)
		return -errno;
	if (!is_plain(program, &st) || path_matters(path))
		return 0;
	AUTO_CLOSE int copy = memfd_create("runtime", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy < 0)
		return -errno;
	int r = copy_all(program, copy, (size_t)st.st_size);
	if (r < 0)
		return r;
	if (fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	*ret_fd = steal_fd(&copy);
	return 0;
}
