/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/server_priv.h"

enum {
	BLOCK_SIZE = 4096,	   /* what STATFS and st_blksize say */
	SECTOR_SIZE = 512,	   /* the unit of st_blocks */
	READDIR_MAX = 128 * 1024,  /* bytes of one READDIR answer */
	XATTR_NAMES_MAX = 65536,   /* XATTR_LIST_MAX of Linux */
	FILECAP_V2_SIZE = 20,	   /* XATTR_CAPS_SZ_2 and _3 of linux/capability.h */
	FILECAP_V3_SIZE = 24,
};

#define FILECAP_NAME	 "security.capability"
#define FILECAP_REVISION UINT32_C(0xff000000)
#define FILECAP_V2	 UINT32_C(0x02000000)
#define FILECAP_V3	 UINT32_C(0x03000000)

/* Thirty years: nothing in an image ever changes. */
#define FOREVER 1e9

int server_errno(struct server *server, int r)
{
	if (r != -EBADMSG)
		return -r;
	if (!atomic_exchange(&server->said_broken, true))
		log_error("the image's metadata is broken: affected files answer EIO");
	return EIO;
}

static uint64_t nid_of(const struct server *server, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? erofs_root(server->config.image) : ino;
}

static fuse_ino_t ino_of(const struct server *server, uint64_t nid)
{
	return nid == erofs_root(server->config.image) ? FUSE_ROOT_ID : nid;
}

int server_inode(struct server *server, fuse_ino_t ino, struct erofs_inode *ret)
{
	int r = erofs_inode(server->config.image, nid_of(server, ino), ret);
	return r < 0 ? server_errno(server, r) : 0;
}

static struct server *server_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static void fill_stat(const struct server *server, const struct erofs_inode *inode,
		      struct stat *ret)
{
	*ret = (struct stat){
		.st_ino = ino_of(server, inode->nid),
		.st_mode = inode->mode,
		.st_nlink = inode->nlink,
		.st_uid = id_maps_uid(server->config.maps, inode->uid),
		.st_gid = id_maps_gid(server->config.maps, inode->gid),
		.st_rdev = makedev(inode->major, inode->minor),
		.st_size = (off_t)u64_min(inode->size, INT64_MAX),
		.st_blksize = BLOCK_SIZE,
		.st_blocks = (blkcnt_t)(u64_min(inode->size, INT64_MAX) / SECTOR_SIZE +
					(inode->size % SECTOR_SIZE != 0)),
		.st_mtim = {.tv_sec = inode->mtime_sec, .tv_nsec = inode->mtime_nsec},
	};
	ret->st_atim = ret->st_ctim = ret->st_mtim;
}

/* 0, or the positive errno to reply with. */
static int fill_entry(struct server *server, uint64_t nid, struct fuse_entry_param *ret)
{
	struct erofs_inode inode;
	int r = erofs_inode(server->config.image, nid, &inode);
	if (r < 0)
		return server_errno(server, r);
	*ret = (struct fuse_entry_param){
		.ino = ino_of(server, nid),
		.attr_timeout = FOREVER,
		.entry_timeout = FOREVER,
	};
	fill_stat(server, &inode, &ret->attr);
	return 0;
}

static void op_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	/*
	 * A successor must ask for exactly what the first server got, since the
	 * kernel negotiates only once: this list depends on nothing but the kernel.
	 * FUSE_CAP_ASYNC_DIO is not in it: an O_DIRECT reader then waits where
	 * no signal, SIGKILL included, ends its wait.
	 */
	static const unsigned int wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_EXPORT_SUPPORT |
					   FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
					   FUSE_CAP_NO_OPEN_SUPPORT |
					   FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_PARALLEL_DIROPS |
					   FUSE_CAP_CACHE_SYMLINKS;
	conn->want = conn->capable & wanted;
	conn->max_background = SERVER_BACKGROUND_MAX;
	conn->congestion_threshold = SERVER_BACKGROUND_MAX * 3 / 4;
	conn->time_gran = 1;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct server *server = server_of(req);
	counter_add(&server->counters->lookups, 1);
	struct erofs_inode dir;
	int r = server_inode(server, parent, &dir);
	if (r != 0) {
		(void)fuse_reply_err(req, r);
		return;
	}
	/* An NFS client comes back with a node id and nothing else. */
	uint64_t nid = dir.nid;
	if (strcmp(name, ".") != 0)
		r = erofs_lookup(server->config.image, &dir, name, strlen(name), &nid);
	struct fuse_entry_param entry = {.entry_timeout = FOREVER};
	if (r == -ENOENT) { /* node id 0: the kernel remembers that there is nothing */
		(void)fuse_reply_entry(req, &entry);
		return;
	}
	r = r < 0 ? server_errno(server, r) : fill_entry(server, nid, &entry);
	if (r != 0)
		(void)fuse_reply_err(req, r);
	else
		(void)fuse_reply_entry(req, &entry);
}

/* The inode that a request is about. False: there is none, and the request has been answered. */
static bool take_inode(fuse_req_t req, fuse_ino_t ino, struct erofs_inode *ret)
{
	int r = server_inode(server_of(req), ino, ret);
	if (r != 0)
		(void)fuse_reply_err(req, r);
	return r == 0;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	struct server *server = server_of(req);
	struct erofs_inode inode;
	if (!take_inode(req, ino, &inode))
		return;
	struct stat st;
	fill_stat(server, &inode, &st);
	(void)fuse_reply_attr(req, &st, FOREVER);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct server *server = server_of(req);
	struct erofs_inode inode;
	if (!take_inode(req, ino, &inode))
		return;
	const char *target = NULL;
	ssize_t n = erofs_readlink(server->config.image, &inode, &target);
	if (n >= PATH_MAX)
		n = -ENAMETOOLONG;
	if (n < 0) {
		(void)fuse_reply_err(req, server_errno(server, (int)n));
		return;
	}
	char text[PATH_MAX];
	memcpy(text, target, (size_t)n);
	text[n] = '\0';
	(void)fuse_reply_readlink(req, text);
}

/* Not worth a request an open: there is nothing to open (and see FUSE_NO_OPEN_SUPPORT). */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	(void)fuse_reply_err(req, ENOSYS);
}

/* One entry into an answer: the bytes it takes, or more than room when it does not fit. */
static size_t add_entry(struct server *server, fuse_req_t req, bool plus,
			const struct erofs_dirent *from, char *at, size_t room)
{
	char name[NAME_MAX + 1];
	memcpy(name, from->name, from->name_len);
	name[from->name_len] = '\0';
	bool dot = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;

	/* The kernel takes node id 0 as "not looked up", and looks up itself when somebody asks. */
	struct fuse_entry_param entry = {0};
	if (!plus || dot || fill_entry(server, from->nid, &entry) != 0) {
		entry = (struct fuse_entry_param){
			.attr.st_ino = ino_of(server, from->nid),
			.attr.st_mode = DTTOIF((mode_t)from->type),
		};
	}
	if (plus)
		return fuse_add_direntry_plus(req, at, room, name, &entry, (off_t)from->cookie);
	return fuse_add_direntry(req, at, room, name, &entry.attr, (off_t)from->cookie);
}

static void list_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct server *server = server_of(req);
	size = size < READDIR_MAX ? size : READDIR_MAX;
	AUTO_FREE char *out = malloc(size);
	struct erofs_inode dir;
	int r = out ? server_inode(server, ino, &dir) : ENOMEM;
	if (r == 0 && off < 0)
		r = EINVAL;

	size_t used = 0;
	uint64_t cookie = (uint64_t)off;
	while (r == 0) {
		struct erofs_dirent entry;
		int got = erofs_readdir(server->config.image, &dir, cookie, &entry);
		if (got == 0)
			break;
		if (got > 0 && (entry.name_len > NAME_MAX || entry.cookie > INT64_MAX))
			got = -EBADMSG;
		if (got < 0) {
			r = server_errno(server, got);
			break;
		}
		size_t n = add_entry(server, req, plus, &entry, out + used, size - used);
		if (n > size - used)
			break;
		used += n;
		cookie = entry.cookie;
	}
	if (r != 0 && used == 0)
		(void)fuse_reply_err(req, r);
	else
		(void)fuse_reply_buf(req, out, used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	list_directory(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)fi;
	list_directory(req, ino, size, off, true);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	(void)ino;
	struct server *server = server_of(req);
	struct erofs_stats stats;
	erofs_stats(server->config.image, &stats);
	uint64_t bytes = server->device_bytes + stats.bytes;
	struct statvfs out = {
		.f_bsize = BLOCK_SIZE,
		.f_frsize = BLOCK_SIZE,
		.f_blocks = bytes / BLOCK_SIZE + (bytes % BLOCK_SIZE != 0),
		.f_files = stats.inodes,
		.f_namemax = NAME_MAX,
	};
	(void)fuse_reply_statfs(req, &out);
}

/* The answer to GETXATTR and LISTXATTR: size 0 asks how large it would be. */
static void reply_xattr(fuse_req_t req, const void *data, size_t n, size_t size)
{
	if (size == 0)
		(void)fuse_reply_xattr(req, n);
	else if (n > size)
		(void)fuse_reply_err(req, ERANGE);
	else
		(void)fuse_reply_buf(req, data, n);
}

/*
 * Capabilities of a file count in a user namespace whose root they name (revision 3 of
 * linux/capability.h); an image's (revision 2) are the machine's own.
 */
static void reply_filecap(fuse_req_t req, const struct server *server, const void *value, size_t n,
			  size_t size)
{
	unsigned char cap[FILECAP_V3_SIZE];
	if (n != FILECAP_V2_SIZE || (le32_get(value) & FILECAP_REVISION) != FILECAP_V2) {
		reply_xattr(req, value, n, size);
		return;
	}
	memcpy(cap, value, n);
	le32_put(cap, (le32_get(value) & ~FILECAP_REVISION) | FILECAP_V3);
	le32_put(cap + FILECAP_V2_SIZE, id_maps_uid(server->config.maps, 0));
	reply_xattr(req, cap, sizeof(cap), size);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct server *server = server_of(req);
	struct erofs_inode inode;
	if (!take_inode(req, ino, &inode))
		return;
	const void *value = NULL;
	ssize_t n = erofs_getxattr(server->config.image, &inode, name, &value);
	if (n < 0)
		(void)fuse_reply_err(req, server_errno(server, (int)n));
	else if (server->config.maps && strcmp(name, FILECAP_NAME) == 0)
		reply_filecap(req, server, value, (size_t)n, size);
	else
		reply_xattr(req, value, (size_t)n, size);
}

static int collect_name(void *data, const char *name, const void *value, size_t len)
{
	(void)value;
	(void)len;
	return buf_append(data, name, strlen(name) + 1);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct server *server = server_of(req);
	struct erofs_inode inode;
	int r = server_inode(server, ino, &inode);
	AUTO_FINISH(buf) struct buf names = buf_make(XATTR_NAMES_MAX);
	if (r == 0) {
		r = erofs_listxattr(server->config.image, &inode, collect_name, &names);
		r = r < 0 ? server_errno(server, r) : 0;
	}
	if (r != 0)
		(void)fuse_reply_err(req, r);
	else
		reply_xattr(req, buf_str(&names), names.len, size);
}

/* The end of what is alike (data or hole) from off on; 0 or the positive errno. */
static int seek_next(struct server *server, const struct erofs_inode *inode, bool want_hole,
		     uint64_t off, uint64_t *ret)
{
	while (off < inode->size) {
		struct erofs_extent extent;
		int r = erofs_map(server->config.image, inode, off, &extent);
		if (r == 0 && (extent.len == 0 || extent.off > off ||
			       extent.len <= off - extent.off))
			r = -EBADMSG;
		if (r < 0)
			return server_errno(server, r);
		if (extent.hole == want_hole) {
			*ret = off;
			return 0;
		}
		off = extent.off + extent.len;
	}
	if (!want_hole)
		return ENXIO;
	*ret = inode->size; /* every file ends in a hole */
	return 0;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	(void)fi;
	struct server *server = server_of(req);
	struct erofs_inode inode;
	int r = server_inode(server, ino, &inode);
	if (r == 0 && whence != SEEK_DATA && whence != SEEK_HOLE)
		r = EINVAL;
	if (r == 0 && (off < 0 || (uint64_t)off >= inode.size))
		r = ENXIO;
	uint64_t to = 0;
	if (r == 0)
		r = seek_next(server, &inode, whence == SEEK_HOLE, (uint64_t)off, &to);
	if (r != 0)
		(void)fuse_reply_err(req, r);
	else
		(void)fuse_reply_lseek(req, (off_t)to);
}

/*
 * The kernel refuses changes to a read-only mount itself; these answers are
 * for one that was remounted. What has no answer here is ENOSYS.
 */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int which,
		       struct fuse_file_info *fi)
{
	(void)ino, (void)attr, (void)which, (void)fi;
	(void)fuse_reply_err(req, EROFS);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	(void)parent, (void)name, (void)mode, (void)dev;
	(void)fuse_reply_err(req, EROFS);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent, (void)name, (void)mode;
	(void)fuse_reply_err(req, EROFS);
}

static void op_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent, (void)name;
	(void)fuse_reply_err(req, EROFS);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target, (void)parent, (void)name;
	(void)fuse_reply_err(req, EROFS);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to,
		      const char *to_name, unsigned int flags)
{
	(void)parent, (void)name, (void)to, (void)to_name, (void)flags;
	(void)fuse_reply_err(req, EROFS);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino, (void)parent, (void)name;
	(void)fuse_reply_err(req, EROFS);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	(void)ino, (void)data, (void)size, (void)off, (void)fi;
	(void)fuse_reply_err(req, EROFS);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	(void)ino, (void)name, (void)value, (void)size, (void)flags;
	(void)fuse_reply_err(req, EROFS);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	(void)parent, (void)name, (void)mode, (void)fi;
	(void)fuse_reply_err(req, EROFS);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	(void)ino, (void)mode, (void)off, (void)len, (void)fi;
	(void)fuse_reply_err(req, EROFS);
}

const struct fuse_lowlevel_ops server_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.opendir = op_open,
	.read = server_read,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.lseek = op_lseek,
	.setattr = op_setattr,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_remove,
	.rmdir = op_remove,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.write = op_write,
	.setxattr = op_setxattr,
	.removexattr = op_remove,
	.create = op_create,
	.fallocate = op_fallocate,
};
