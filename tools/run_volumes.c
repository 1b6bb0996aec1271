/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "exec/rootfs.h"
#include "tools/volumes.h"

static bool is_volume(const struct run_mount *m)
{
	return strcmp(m->type, "volume") == 0;
}

char *run_volumes_dir(const struct container *container)
{
	char *dir = NULL;
	return asprintf(&dir, "%s/volumes", container_path(container)) < 0 ? NULL : dir;
}

int run_volumes_note(const struct run_options *o, struct run_record *record, struct err *err)
{
	for (size_t i = 0; i < o->n_mounts; i++)
		if (is_volume(&o->mounts[i]) && o->mounts[i].source &&
		    words_add(&record->volumes, o->mounts[i].source) < 0)
			return err_set(err, -ENOMEM, "note the volumes");
	return 0;
}

int run_volumes_place(struct ctx *ctx, struct run_options *o, const struct container *container,
		      struct err *err)
{
	AUTO_FREE char *dir = run_volumes_dir(container);
	int r = dir ? 0 : err_set(err, -ENOMEM, "find the volumes");
	for (size_t i = 0; i < o->n_mounts && r == 0; i++) {
		struct run_mount *m = &o->mounts[i];
		char *path = NULL;
		if (!is_volume(m))
			continue;
		if (m->source) {
			r = volumes_path(ctx, m->source, true, &path, err);
		} else if (asprintf(&path, "%s/v%zu", dir, i) < 0) {
			path = NULL;
			r = err_set(err, -ENOMEM, "find the volumes");
		} else {
			r = dir_make(path, 0755, err);
		}
		if (path) {
			free(m->source);
			m->source = path;
		}
	}
	return r;
}

/* Whether a mount shows one of the container's own. */
static bool is_own(const struct oci_mount *mount, const char *dir)
{
	return mount->source && rootfs_is_below(mount->source, dir);
}

static int make_own(const char *path, const struct id_maps *maps, struct err *err)
{
	int r = dir_make(path, 0755, err);
	if (r < 0 || !maps)
		return r;
	return lchown(path, id_maps_uid(maps, 0), id_maps_gid(maps, 0)) < 0 ?
		       err_set(err, -errno, "give %s to the container's root", path) : 0;
}

int run_volumes_make(const struct container *container, const struct oci_config *config,
		     const struct id_maps *maps, struct err *err)
{
	AUTO_FREE char *dir = run_volumes_dir(container);
	int r = dir ? 0 : err_set(err, -ENOMEM, "find the volumes");
	for (size_t i = 0; i < config->n_mounts && r == 0; i++)
		if (is_own(config->mounts[i], dir))
			r = make_own(config->mounts[i]->source, maps, err);
	return r;
}

/* What the command line says of it; NULL: it is the image's, or no volume at all. */
static const struct run_mount *asked_for(const struct run_options *o, const struct oci_mount *mount)
{
	for (size_t i = 0; i < o->n_mounts && mount->source; i++)
		if (is_volume(&o->mounts[i]) && strcmp(o->mounts[i].source, mount->source) == 0)
			return &o->mounts[i];
	return NULL;
}

/* Whether another mount will be where this one is mounted: then the image has nothing there. */
static bool is_hidden(const struct oci_config *config, size_t at)
{
	const char *place = config->mounts[at]->destination;
	for (size_t i = 0; i < config->n_mounts; i++)
		if (i != at && rootfs_is_below(place, config->mounts[i]->destination))
			return true;
	return false;
}

int run_volumes_fill(int root, const struct container *container, const struct run_options *o,
		     const struct oci_config *config, struct err *err)
{
	AUTO_FREE char *dir = run_volumes_dir(container);
	int r = dir ? 0 : err_set(err, -ENOMEM, "find the volumes");
	for (size_t i = 0; i < config->n_mounts && r == 0; i++) {
		const struct oci_mount *mount = config->mounts[i];
		const struct run_mount *asked = asked_for(o, mount);
		bool own = is_own(mount, dir);
		bool copies = !(asked && asked->nocopy) && !is_hidden(config, i);
		if (!asked && !own)
			continue;
		AUTO_CLOSE int from = !copies ? -1 : rootfs_open(root, mount->destination,
								  O_RDONLY | O_DIRECTORY);
		r = copies && from < 0 ?
			    err_set(err, from, "open the image's %.200s", mount->destination) :
			    volumes_fill(mount->source, !own, from, err);
	}
	return r;
}
