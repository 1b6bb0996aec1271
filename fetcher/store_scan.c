/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fetcher/store_layer_priv.h"

enum { WORK_AHEAD_MAX = 1 << 20 }; /* a maker counts a piece before it writes it */

int store_each(int dirfd, store_name_fn fn, void *data, struct err *err)
{
	DIR *dir = NULL;
	int r = dir_stream(dirfd, &dir);
	if (r < 0)
		return err_set(err, r, "list a directory of the store");
	while (r == 0) {
		errno = 0;
		const struct dirent *entry = readdir(dir); // NOLINT(concurrency-mt-unsafe)
		if (!entry) {
			if (errno != 0)
				r = err_set(err, -errno, "list a directory of the store");
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = fn(data, dirfd, entry->d_name, err);
	}
	(void)closedir(dir);
	return r;
}

struct recount {
	struct store *store;
	uint64_t bytes;
};

static int recount_layer(void *data, int dirfd, const char *name, struct err *err)
{
	struct recount *count = data;
	struct digest digest;
	AUTO(store_layer) struct store_layer *layer = NULL;
	(void)dirfd;
	(void)err;
	/* A damaged layer is found by whoever opens it, or by fsck. */
	if (store_entry_parse(name, &digest) &&
	    layer_load(count->store, name, &layer, NULL) == 0)
		count->bytes += layer_bytes(layer);
	return 0;
}

int store_count_layers(struct store *store, uint64_t *ret, struct err *err)
{
	struct recount count = {.store = store};
	int r = store_each(store->dirs[STORE_DIR_LAYERS], recount_layer, &count, err);
	if (r < 0)
		return r;
	*ret = count.bytes;
	return 0;
}

bool store_tmp_is_live(int dirfd, const char *name)
{
	char path[NAME_MAX + sizeof("/data")];
	(void)snprintf(path, sizeof(path), "%s/data", name);
	AUTO_CLOSE int fd = openat(dirfd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && ofd_lock(fd, F_WRLCK, 0, 0) == -EAGAIN;
}

static int count_work(void *data, int dirfd, const char *name, struct err *err)
{
	struct store_work *work = data;
	char path[NAME_MAX + sizeof("/data")];
	struct stat st;
	(void)err;
	if (strncmp(name, STORE_WORK_PREFIX, strlen(STORE_WORK_PREFIX)) != 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/data", name);
	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		work->bytes_max += (uint64_t)st.st_size + WORK_AHEAD_MAX;
	work->live += store_tmp_is_live(dirfd, name);
	return 0;
}

int store_count_work(struct store *store, struct store_work *ret, struct err *err)
{
	struct store_work work = {0};
	int r = store_each(store->dirs[STORE_DIR_TMP], count_work, &work, err);
	if (r < 0)
		return r;
	*ret = work;
	return 0;
}

int store_recount(struct store *store, struct err *err)
{
	uint64_t bytes;
	struct store_work work;
	/* The first look at a layer may drop what a reboot lost: only the second one counts. */
	int r = store_count_layers(store, &bytes, err);
	if (r < 0)
		return r;
	int64_t before = atomic_load(&store->counter->bytes);
	/* In this order: who begins from here on adds to what was before. */
	r = store_count_work(store, &work, err);
	if (r < 0 || work.live > 0)
		return r;
	r = store_count_layers(store, &bytes, err);
	if (r < 0)
		return r;
	/* What others added and took meanwhile stays in the counter. */
	(void)atomic_fetch_add(&store->counter->bytes, (int64_t)bytes - before);
	return 0;
}

struct usage_walk {
	struct store_usage *usage;
	uint64_t *counter; /* of the directory being walked */
	bool deep;	   /* entries are directories, of which `data` is counted elsewhere */
};

/* Adds what an entry takes on disk; the bytes of `data` are in the counter. */
static int usage_file(void *data, int dirfd, const char *name, struct err *err)
{
	struct usage_walk *walk = data;
	struct stat st;
	(void)err;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    strcmp(name, "data") != 0)
		walk->usage->other_bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

static int usage_entry(void *data, int dirfd, const char *name, struct err *err)
{
	struct usage_walk *walk = data;
	struct digest digest;
	if (!walk->deep) {
		++*walk->counter;
		return usage_file(data, dirfd, name, err);
	}
	if (!store_entry_parse(name, &digest))
		return 0;
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0; /* removed meanwhile */
	++*walk->counter;
	return store_each(fd, usage_file, data, err);
}

int store_usage(struct store *store, struct store_usage *ret, struct err *err)
{
	struct store_usage usage = {
		.data_bytes = store_usage_bytes(store),
		.budget_bytes = store->budget,
	};
	const struct {
		enum store_dir dir;
		uint64_t *counter;
		bool deep;
	} walks[] = {
		{STORE_DIR_SHA256, &usage.blobs, false},
		{STORE_DIR_SHA512, &usage.blobs, false},
		{STORE_DIR_LAYERS, &usage.layers, true},
		{STORE_DIR_IMAGES, &usage.images, true},
	};
	for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
		struct usage_walk walk = {&usage, walks[i].counter, walks[i].deep};
		int r = store_each(store->dirs[walks[i].dir], usage_entry, &walk, err);
		if (r < 0)
			return r;
	}
	*ret = usage;
	return 0;
}
