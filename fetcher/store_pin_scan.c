/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/store_pin_priv.h"

#define PIN_MOUNTS "/sys/fs/erofs"

enum {
	PIN_TEXT_MAX = 256 << 10, /* bytes of a pin */
	PINNED_LAYERS_MAX = 1 << 20,
};

/* ---- the kernel's mounts ---- */

int pin_mounts_each(pin_mount_fn fn, void *data)
{
	DIR *dir = opendir(PIN_MOUNTS);
	if (!dir)
		return -errno;
	int r = 0;
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) // NOLINT(concurrency-mt-unsafe): our own stream
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "features") != 0)
			r = fn(data, entry->d_name);
	(void)closedir(dir);
	return r;
}

bool pin_mount_exists(const char *name)
{
	char path[NAME_MAX + sizeof(PIN_MOUNTS "/")];
	(void)snprintf(path, sizeof(path), PIN_MOUNTS "/%s", name);
	/* What cannot be looked at may be there. */
	return access(path, F_OK) == 0 || errno != ENOENT;
}

/* ---- what a pin says ---- */

/* One that is being read. */
struct pin_text {
	const struct store *store;
	struct pinned *into;
	bool complete;	  /* its last line was there: see store_pin_take() */
	bool this_boot;
	bool mounted;	  /* the kernel's names were noted */
	bool alive;	  /* and it knows one of them */
};

static int pinned_add_layer(struct pinned *pinned, const struct digest *digest, uint64_t bytes)
{
	if (pinned_has_layer(pinned, digest))
		return 0;
	if (pinned->n_layers == PINNED_LAYERS_MAX)
		return -E2BIG;
	struct pinned_layer *layers =
		reallocarray(pinned->layers, pinned->n_layers + 1, sizeof(*layers));
	if (!layers)
		return -ENOMEM;
	pinned->layers = layers;
	layers[pinned->n_layers++] = (struct pinned_layer){.digest = *digest, .bytes = bytes};
	return 0;
}

static int pinned_add_image(struct pinned *pinned, const struct digest *image)
{
	if (pinned_has_image(pinned, image))
		return 0;
	struct digest *images =
		reallocarray(pinned->images, pinned->n_images + 1, sizeof(*images));
	if (!images)
		return -ENOMEM;
	pinned->images = images;
	images[pinned->n_images++] = *image;
	return 0;
}

/* "layer sha256:… 4096" */
static int pin_line_layer(struct pinned *pinned, char *words)
{
	struct digest digest;
	uint64_t bytes;
	char *space = strchr(words, ' ');
	if (!space)
		return -EBADMSG;
	*space = '\0';
	if (digest_parse(words, &digest, NULL) < 0 || u64_parse(space + 1, INT64_MAX, &bytes) < 0)
		return -EBADMSG;
	return pinned_add_layer(pinned, &digest, bytes);
}

/* "mount erofs-7 erofs-8": ours is one of them. */
static int pin_line_mount(struct pin_text *pin, char *words)
{
	char *rest = NULL;
	pin->mounted = true;
	for (char *name = strtok_r(words, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
		pin->alive |= !strchr(name, '/') && strlen(name) <= NAME_MAX &&
			      pin_mount_exists(name);
	return 0;
}

static int pin_line(struct pin_text *pin, char *line)
{
	char *words = strchr(line, ' ');
	struct digest digest;
	if (strcmp(line, "end") == 0) {
		pin->complete = true;
		return 0;
	}
	if (!words)
		return -EBADMSG;
	*words++ = '\0';
	if (strcmp(line, "boot") == 0)
		pin->this_boot = strcmp(words, pin->store->boot) == 0;
	else if (strcmp(line, "layer") == 0)
		return pin_line_layer(pin->into, words);
	else if (strcmp(line, "mount") == 0)
		return pin_line_mount(pin, words);
	else if (strcmp(line, "image") == 0)
		return digest_parse(words, &digest, NULL) < 0 ? -EBADMSG :
								pinned_add_image(pin->into, &digest);
	return 0;
}

/* Whole lines; what stands behind the last newline was never finished. */
static int pin_parse(struct pin_text *pin, char *text)
{
	int r = 0;
	for (char *end; r == 0 && (end = strchr(text, '\n')); text = end + 1) {
		*end = '\0';
		r = pin_line(pin, text);
	}
	return r;
}

/* ---- all of them ---- */

struct scan {
	struct store *store;
	struct pinned *pinned;
};

/*
 * 1: it counts; 0: it does not; *ret_mine: nobody else makes it or looks at it, until fd is closed.
 * The lock is asked for before it is read, since its maker lets go when it has noted the mount.
 */
static int pin_read(const struct scan *scan, int fd, struct pinned *into, bool *ret_mine)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PIN_TEXT_MAX);
	struct pin_text pin = {.store = scan->store, .into = into};
	int r = ofd_lock(fd, F_WRLCK, 0, 0);
	if (r < 0 && r != -EAGAIN)
		return r;
	*ret_mine = r == 0;
	r = file_slurp_fd(fd, &text);
	if (r == 0 && text.len > 0 && memchr(text.data, '\0', text.len))
		r = -EBADMSG;
	if (r == 0 && text.len > 0)
		r = pin_parse(&pin, text.data);
	if (r < 0 && r != -EBADMSG)
		return r;
	if (r < 0 || !pin.complete)
		return 0;
	return *ret_mine ? pin.this_boot && pin.mounted && pin.alive : 1;
}

static int pinned_join(struct pinned *pinned, const struct pinned *one)
{
	int r = 0;
	for (size_t i = 0; i < one->n_layers && r == 0; i++)
		r = pinned_add_layer(pinned, &one->layers[i].digest, one->layers[i].bytes);
	for (size_t i = 0; i < one->n_images && r == 0; i++)
		r = pinned_add_image(pinned, &one->images[i]);
	return r;
}

static int pin_scan(void *data, int dirfd, const char *name, struct err *err)
{
	struct scan *scan = data;
	AUTO_FINISH(pinned) struct pinned one = {0};
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "open the pin %s", name);
	bool mine = false;
	int r = pin_read(scan, fd, &one, &mine);
	if (r > 0)
		r = pinned_join(scan->pinned, &one);
	else if (r == 0 && mine) {
		scan->pinned->dead++;
		if (!scan->pinned->keep_dead)
			(void)unlinkat(dirfd, name, 0);
	}
	return r < 0 ? err_set(err, r, "read the pin %s", name) : 0;
}

int pin_look(struct store *store, int dirfd, const char *name, struct err *err)
{
	AUTO_FINISH(pinned) struct pinned one = {0};
	struct scan scan = {.store = store, .pinned = &one};
	int r = pin_scan(&scan, dirfd, name, err);
	if (r < 0 || one.n_images == 0)
		return r;
	return err_say(err, -EBUSY, "the mount of the pin %s is still there", name);
}

int pins_open(struct store *store, bool make, int *ret_fd, struct err *err)
{
	int fd = openat(store->fd, "pins", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && make)
		return dir_make_at(store->fd, "pins", 0700, ret_fd, err);
	if (fd < 0)
		return err_set(err, -errno, "open %s/pins", store->path);
	*ret_fd = fd;
	return 0;
}

int pinned_read(struct store *store, struct pinned *pinned, struct err *err)
{
	struct scan scan = {.store = store, .pinned = pinned};
	AUTO_CLOSE int dir = -1;
	struct err why = {0};
	int r = pins_open(store, false, &dir, &why);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_copy(err, &why) : store_each(dir, pin_scan, &scan, err);
}

void pinned_finish(struct pinned *pinned)
{
	if (!pinned)
		return;
	free(pinned->layers);
	free(pinned->images);
	*pinned = (struct pinned){0};
}

bool pinned_has_layer(const struct pinned *pinned, const struct digest *layer)
{
	for (size_t i = 0; i < pinned->n_layers; i++)
		if (digest_equal(&pinned->layers[i].digest, layer))
			return true;
	return false;
}

bool pinned_has_image(const struct pinned *pinned, const struct digest *image)
{
	for (size_t i = 0; i < pinned->n_images; i++)
		if (digest_equal(&pinned->images[i], image))
			return true;
	return false;
}
