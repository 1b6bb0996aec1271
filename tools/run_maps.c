/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_maps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "tools/rootless.h"

static int add_all(const struct run_map *from, size_t n_from, struct id_range **to, size_t *n)
{
	int r = 0;
	for (size_t i = 0; i < n_from && r == 0; i++)
		r = id_ranges_add(to, n, (struct id_range){from[i].container, from[i].host,
							    from[i].size});
	return r;
}

/* An ordinary user's container is in a namespace already, by which the image is shown. */
static int check(const struct id_maps *maps, struct err *err)
{
	if (!id_maps_has_uid(maps, 0) || !id_maps_has_gid(maps, 0))
		return err_say(err, -EINVAL,
			       "--uidmap, --gidmap: nobody is the container's root: map 0, as in "
			       "0:100000:65536");
	if (rootless_is_inside() && (id_maps_uid(maps, 0) != 0 || id_maps_gid(maps, 0) != 0))
		return err_say(err, -EOPNOTSUPP,
			       "--uidmap, --gidmap: an ordinary user's containers are in a user namespace "
			       "already, in which 0 has to be mapped to 0, as in 0:0:1000");
	return 0;
}

int run_maps_make(const struct run_options *o, struct id_maps *ret, struct err *err)
{
	AUTO_FINISH(id_maps) struct id_maps maps = {0};
	bool uids = o->n_uid_maps > 0, gids = o->n_gid_maps > 0;
	if (!uids && !gids)
		return 0;
	int r = add_all(uids ? o->uid_maps : o->gid_maps, uids ? o->n_uid_maps : o->n_gid_maps,
			&maps.uids, &maps.n_uids);
	if (r == 0)
		r = add_all(gids ? o->gid_maps : o->uid_maps, gids ? o->n_gid_maps : o->n_uid_maps,
			    &maps.gids, &maps.n_gids);
	if (r == -E2BIG)
		return err_say(err, -EINVAL, "--uidmap, --gidmap: Linux takes %d ranges at most",
			       ID_RANGES_MAX);
	if (r < 0)
		return err_set(err, r, "map ids");
	r = check(&maps, err);
	if (r < 0)
		return r;
	*ret = maps;
	maps = (struct id_maps){0};
	return 0;
}

static int take(struct oci_id_mapping *const *mappings, size_t n_mappings, struct id_range **to, size_t *n)
{
	int r = 0;
	for (size_t i = 0; i < n_mappings && r == 0; i++)
		r = id_ranges_add(to, n, (struct id_range){mappings[i]->container_id,
							    mappings[i]->host_id, mappings[i]->size});
	return r;
}

int run_maps_of(const struct oci_linux *l, struct id_maps *ret)
{
	AUTO_FINISH(id_maps) struct id_maps maps = {0};
	if (!l)
		return 0;
	int r = take(l->uid_mappings, l->n_uid_mappings, &maps.uids, &maps.n_uids);
	if (r == 0)
		r = take(l->gid_mappings, l->n_gid_mappings, &maps.gids, &maps.n_gids);
	if (r < 0)
		return r;
	*ret = maps;
	maps = (struct id_maps){0};
	return 0;
}

int run_maps_user(const struct id_maps *maps, struct user *user, struct err *err)
{
	size_t kept = 0;
	bool uid = id_maps_has_uid(maps, user->uid);
	if (!uid || !id_maps_has_gid(maps, user->gid))
		return err_say(err, -EINVAL,
			       "the container would run as %s %u, which --uidmap and --gidmap leave out",
			       uid ? "group" : "user", (unsigned int)(uid ? user->gid : user->uid));
	for (size_t i = 0; i < user->n_gids; i++) {
		if (id_maps_has_gid(maps, user->gids[i]))
			user->gids[kept++] = user->gids[i];
		else
			log_debug("the container does without the group %u", (unsigned int)user->gids[i]);
	}
	user->n_gids = kept;
	return 0;
}

bool run_maps_are(const struct id_maps *maps)
{
	return maps->n_uids > 0;
}

typedef struct oci_id_mapping *(*add_map_fn)(struct oci_linux *l);

static int apply(const struct id_range *ranges, size_t n, struct oci_linux *l, add_map_fn add)
{
	for (size_t i = 0; i < n; i++) {
		struct oci_id_mapping *map = add(l);
		if (!map)
			return -ENOMEM;
		oci_id_mapping_set_container_id(map, ranges[i].inside);
		oci_id_mapping_set_host_id(map, ranges[i].outside);
		oci_id_mapping_set_size(map, ranges[i].count);
	}
	return 0;
}

int run_maps_apply(const struct id_maps *maps, struct oci_linux *l)
{
	int r = apply(maps->uids, maps->n_uids, l, oci_linux_add_uid_mappings);
	return r < 0 ? r : apply(maps->gids, maps->n_gids, l, oci_linux_add_gid_mappings);
}

int run_maps_give(const struct id_maps *maps, int dirfd, const char *name, struct err *err)
{
	if (!run_maps_are(maps))
		return 0;
	uid_t uid = id_maps_uid(maps, 0);
	gid_t gid = id_maps_gid(maps, 0);
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int r = err_set(err, -errno, "open %s", name);
		cleanup_close(&fd);
		return r;
	}
	int r = fchown(fd, uid, gid) < 0 ? -errno : 0;
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) /* NOLINT(concurrency-mt-unsafe) */
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    fchownat(fd, entry->d_name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
			r = -errno;
	(void)closedir(dir);
	return r < 0 ? err_set(err, r, "give %s to the container's root", name) : 0;
}
