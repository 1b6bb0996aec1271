/* SPDX-License-Identifier: Apache-2.0 */

/* --volume, --mount, --tmpfs and --device: podman-run(1) says what their words mean. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "tools/run_parse.h"

void run_mount_finish(struct run_mount *m)
{
	if (!m)
		return;
	free(m->type);
	free(m->source);
	free(m->destination);
	words_finish(&m->options);
	*m = (struct run_mount){0};
}

static bool has_word(const struct words *words, const char *word)
{
	for (size_t i = 0; i < words->count; i++)
		if (strcmp(words->items[i], word) == 0)
			return true;
	return false;
}

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], word) == 0)
			return true;
	return false;
}

/* Where it goes: absolute, and not the root itself. */
static int set_destination(const char *flag, const char *text, struct run_mount *m,
			   struct err *err)
{
	if (text[0] != '/' || text[strspn(text, "/.")] == '\0')
		return err_say(err, -EINVAL,
			       "--%s: '%s' is no place to mount on: it wants an absolute path below /",
			       flag, text);
	free(m->destination);
	m->destination = strdup(text);
	/* "/x/" is "/x". */
	for (size_t n = m->destination ? strlen(text) : 0; n > 1 && text[n - 1] == '/'; n--)
		m->destination[n - 1] = '\0';
	return m->destination ? 0 : err_set(err, -ENOMEM, "take --%s", flag);
}

bool run_is_volume_name(const char *text)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t n = strlen(text);
	return n > 0 && n <= RUN_VOLUME_NAME_MAX && !strchr("_.-", text[0]) &&
	       strspn(text, letters) == n;
}

/* A word without a slash is a volume's. */
static bool is_path(const char *text)
{
	return strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0;
}

/* The name of a volume; NULL: one of the container's own. */
static int set_volume(const char *flag, const char *name, struct run_mount *m, struct err *err)
{
	if (name && !run_is_volume_name(name))
		return err_say(err, -EINVAL,
			       "--%s: '%s' is neither a path, with a slash in it, nor the name of a volume, "
			       "of letters, digits and _.-", flag, name);
	free(m->type);
	free(m->source);
	m->type = strdup("volume");
	m->source = name ? strdup(name) : NULL;
	return m->type && (m->source || !name) ? 0 : err_set(err, -ENOMEM, "take --%s", flag);
}

/* What of the host is shown. It has to be there. */
static int set_source(const char *flag, const char *text, struct run_mount *m, struct err *err)
{
	if (!is_path(text))
		return err_say(err, -EINVAL,
			       "--%s: '%s' is no path: write ./%s or an absolute one, or type=volume for a "
			       "volume of that name", flag, text, text);
	free(m->source);
	m->source = realpath(text, NULL);
	if (!m->source)
		return err_set(err, -errno, "--%s: find %s", flag, text);
	return 0;
}

/* The second of what cannot be had together. */
static int check_opposites(const char *flag, const struct run_mount *m, struct err *err)
{
	static const char *const opposites[][2] = {
		{"ro", "rw"}, {"suid", "nosuid"}, {"dev", "nodev"}, {"exec", "noexec"},
		{"bind", "rbind"}, {"atime", "noatime"}, {"sync", "async"},
	};
	for (size_t i = 0; i < ARRAY_LEN(opposites); i++)
		if (has_word(&m->options, opposites[i][0]) && has_word(&m->options, opposites[i][1]))
			return err_say(err, -EINVAL, "--%s: '%s' and '%s' exclude each other", flag,
				       opposites[i][0], opposites[i][1]);
	return 0;
}

/* An option of a bind mount, as mount(8) and podman have it. */
static int bind_option(const char *flag, const char *word, struct run_mount *m, struct err *err)
{
	static const char *const known[] = {
		"ro",	    "rw",      "bind",	  "rbind",  "private", "rprivate", "shared",
		"rshared",  "slave",   "rslave",  "nosuid", "suid",    "nodev",	   "dev",
		"noexec",   "exec",    "noatime", "atime",  "relatime", "unbindable", "runbindable",
		"nodiratime", "diratime", "strictatime", "sync", "async",
	};
	/* Labels of SELinux, and what Docker has for other systems: nothing here has them. */
	static const char *const ignored[] = {"z", "Z", "copy", "consistent", "cached", "delegated"};
	m->nocopy = m->nocopy || strcmp(word, "nocopy") == 0;
	if (is_one_of(word, ignored, ARRAY_LEN(ignored)) || strcmp(word, "nocopy") == 0)
		return 0;
	if (!is_one_of(word, known, ARRAY_LEN(known)))
		return err_say(err, -EINVAL, "--%s does not take the option '%s'", flag, word);
	return words_add(&m->options, word) < 0 ? err_set(err, -ENOMEM, "take --%s", flag) : 0;
}

static int bind_finish(const char *flag, struct run_mount *m, struct err *err)
{
	static const char *const propagations[] = {
		"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable",
		"runbindable",
	};
	size_t n = 0;
	for (size_t i = 0; i < m->options.count; i++)
		n += is_one_of(m->options.items[i], propagations, ARRAY_LEN(propagations));
	if (n > 1)
		return err_say(err, -EINVAL, "--%s takes one word about propagation, not %zu", flag, n);
	int r = check_opposites(flag, m, err);
	if (r < 0)
		return r;
	if (!has_word(&m->options, "bind") && !has_word(&m->options, "rbind"))
		r = words_add(&m->options, "rbind");
	if (r == 0 && n == 0)
		r = words_add(&m->options, "rprivate");
	if (r == 0 && !has_word(&m->options, "ro") && !has_word(&m->options, "rw"))
		r = words_add(&m->options, "rw");
	return r < 0 ? err_set(err, r, "take --%s", flag) : 0;
}

/* What is kept for containers is no place for devices and setuid programs unless that is said. */
static int volume_finish(const char *flag, struct run_mount *m, struct err *err)
{
	int r = bind_finish(flag, m, err);
	if (r == 0 && !has_word(&m->options, "suid") && !has_word(&m->options, "nosuid"))
		r = words_add(&m->options, "nosuid");
	if (r == 0 && !has_word(&m->options, "dev") && !has_word(&m->options, "nodev"))
		r = words_add(&m->options, "nodev");
	return r == -ENOMEM ? err_set(err, r, "take --%s", flag) : r;
}

int run_parse_volume(const char *text, struct run_mount *ret, struct err *err)
{
	AUTO_FINISH(run_mount) struct run_mount m = {.type = strdup("bind")};
	AUTO_FREE char *copy = strdup(text);
	if (!copy || !m.type)
		return err_set(err, -ENOMEM, "take --volume");
	char *source = NULL, *destination = copy;
	char *options = strchr(copy, ':');
	if (options) {
		*options++ = '\0';
		source = copy;
		destination = options;
		options = strchr(destination, ':');
		if (options)
			*options++ = '\0';
	}
	if (destination[0] == '\0' || (source && source[0] == '\0'))
		return err_say(err, -EINVAL,
			       "--volume does not take '%s': it wants [SOURCE:]DIR[:OPTIONS]", text);
	int r = set_destination("volume", destination, &m, err);
	bool volume = !source || !is_path(source);
	if (r == 0)
		r = volume ? set_volume("volume", source, &m, err) :
			     set_source("volume", source, &m, err);
	for (char *word; r == 0 && (word = strsep(&options, ",")) != NULL;)
		if (word[0] != '\0')
			r = bind_option("volume", word, &m, err);
	if (r == 0)
		r = volume ? volume_finish("volume", &m, err) : bind_finish("volume", &m, err);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct run_mount){0};
	return 0;
}

/* What the kernel takes for the value: "64m", "50%" for a size, "1777" for a mode. */
static bool is_tmpfs_value(const char *word, const char *value)
{
	bool mode = strncmp(word, "mode=", 5) == 0;
	bool id = strncmp(word, "uid=", 4) == 0 || strncmp(word, "gid=", 4) == 0;
	size_t n = strspn(value, mode ? "01234567" : "0123456789");
	if (n == 0 || n > 19)
		return false;
	if (value[n] == '\0')
		return true;
	const char *units = mode || id ? "" : strncmp(word, "size=", 5) == 0 ? "kKmMgG%" : "kKmMgG";
	return strchr(units, value[n]) && value[n + 1] == '\0';
}

/* An option of a tmpfs. */
static int tmpfs_option(const char *flag, const char *word, struct run_mount *m, struct err *err)
{
	static const char *const plain[] = {
		"ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime",
		"relatime", "private", "rprivate", "shared", "rshared", "slave", "rslave",
		"tmpcopyup", "notmpcopyup",
	};
	static const char *const valued[] = {"size=", "mode=", "uid=", "gid=", "nr_inodes="};
	bool known = is_one_of(word, plain, ARRAY_LEN(plain));
	for (size_t i = 0; i < ARRAY_LEN(valued) && !known; i++)
		known = strncmp(word, valued[i], strlen(valued[i])) == 0 &&
			is_tmpfs_value(word, word + strlen(valued[i]));
	if (!known)
		return err_say(err, -EINVAL, "--%s does not take the option '%s'", flag, word);
	if (strcmp(word, "notmpcopyup") == 0)
		return 0;
	return words_add(&m->options, word) < 0 ? err_set(err, -ENOMEM, "take --%s", flag) : 0;
}

/* What it has unless the options say otherwise. */
static int tmpfs_finish(const char *flag, struct run_mount *m, struct err *err)
{
	static const char *const defaults[][2] = {
		{"nosuid", "suid"}, {"nodev", "dev"}, {"noexec", "exec"}, {"rprivate", "private"},
	};
	int r = check_opposites(flag, m, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(defaults) && r == 0; i++)
		if (!has_word(&m->options, defaults[i][0]) && !has_word(&m->options, defaults[i][1]))
			r = words_add(&m->options, defaults[i][0]);
	return r < 0 ? err_set(err, r, "take --%s", flag) : 0;
}

int run_parse_tmpfs(const char *text, struct run_mount *ret, struct err *err)
{
	AUTO_FINISH(run_mount) struct run_mount m = {.type = strdup("tmpfs"),
						     .source = strdup("tmpfs")};
	AUTO_FREE char *copy = strdup(text);
	if (!copy || !m.type || !m.source)
		return err_set(err, -ENOMEM, "take --tmpfs");
	char *options = strchr(copy, ':');
	if (options)
		*options++ = '\0';
	int r = set_destination("tmpfs", copy, &m, err);
	for (char *word; r == 0 && (word = strsep(&options, ",")) != NULL;)
		if (word[0] != '\0')
			r = tmpfs_option("tmpfs", word, &m, err);
	if (r == 0)
		r = tmpfs_finish("tmpfs", &m, err);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct run_mount){0};
	return 0;
}

/* What --mount says, before it is known which type that is for. */
struct mount_words {
	const char *type, *source, *target;
	struct words options; /* owned */
};

static void mount_words_finish(struct mount_words *w)
{
	words_finish(&w->options);
}
DEFINE_FINISH(mount_words, mount_words_finish);

/* Whether a value of an option that is on or off says on. */
static bool is_true(const char *value)
{
	return !value || strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
}

static int mount_word(char *word, struct mount_words *w, struct err *err)
{
	AUTO_FREE char *text = NULL;
	char *value = strchr(word, '=');
	if (value)
		*value++ = '\0';
	static const char *const sources[] = {"source", "src"};
	static const char *const targets[] = {"target", "dst", "destination"};
	int r = 0;
	if (strcmp(word, "type") == 0)
		w->type = value;
	else if (is_one_of(word, sources, ARRAY_LEN(sources)))
		w->source = value;
	else if (is_one_of(word, targets, ARRAY_LEN(targets)))
		w->target = value;
	else if (strcmp(word, "readonly") == 0 || strcmp(word, "ro") == 0)
		r = words_add(&w->options, is_true(value) ? "ro" : "rw");
	else if (strcmp(word, "bind-propagation") == 0 && value)
		r = words_add(&w->options, value);
	else if (strcmp(word, "bind-nonrecursive") == 0)
		r = is_true(value) ? words_add(&w->options, "bind") : 0;
	else if (value && (strcmp(word, "tmpfs-size") == 0 || strcmp(word, "tmpfs-mode") == 0))
		r = asprintf(&text, "%s=%s", word + strlen("tmpfs-"), value) < 0 ?
			    -ENOMEM : words_add(&w->options, text);
	else if (value)
		r = asprintf(&text, "%s=%s", word, value) < 0 ? -ENOMEM :
								words_add(&w->options, text);
	else
		r = words_add(&w->options, word);
	return r < 0 ? err_set(err, r, "take --mount") : 0;
}

static int mount_make(const struct mount_words *w, struct run_mount *m, struct err *err)
{
	const char *type = w->type ? w->type : "bind";
	bool bind = strcmp(type, "bind") == 0;
	bool memory = strcmp(type, "tmpfs") == 0 || strcmp(type, "ramfs") == 0;
	bool volume = strcmp(type, "volume") == 0;
	if (!bind && !memory && !volume && strcmp(type, "devpts") != 0)
		return err_say(err, -EINVAL,
			       "--mount does not take type=%s: it wants bind, volume, tmpfs, ramfs or devpts",
			       type);
	if (!w->target || (bind && !w->source))
		return err_say(err, -EINVAL, "--mount type=%s lacks %s", type,
			       w->target ? "source=" : "target=");
	m->type = strdup(type);
	int r = m->type ? set_destination("mount", w->target, m, err) :
			  err_set(err, -ENOMEM, "take --mount");
	if (r == 0 && bind)
		r = set_source("mount", w->source, m, err);
	else if (r == 0 && volume)
		r = set_volume("mount", w->source, m, err);
	else if (r == 0 && !(m->source = strdup(type)))
		r = err_set(err, -ENOMEM, "take --mount");
	for (size_t i = 0; i < w->options.count && r == 0; i++)
		r = bind || volume ? bind_option("mount", w->options.items[i], m, err) :
				     tmpfs_option("mount", w->options.items[i], m, err);
	if (r < 0)
		return r;
	if (volume)
		return volume_finish("mount", m, err);
	return bind ? bind_finish("mount", m, err) : memory ? tmpfs_finish("mount", m, err) : 0;
}

int run_parse_mount(const char *text, struct run_mount *ret, struct err *err)
{
	AUTO_FINISH(run_mount) struct run_mount m = {0};
	AUTO_FINISH(mount_words) struct mount_words w = {0};
	AUTO_FREE char *copy = strdup(text);
	int r = copy ? 0 : err_set(err, -ENOMEM, "take --mount");
	char *rest = copy;
	for (char *word; r == 0 && (word = strsep(&rest, ",")) != NULL;)
		if (word[0] != '\0')
			r = mount_word(word, &w, err);
	if (r == 0)
		r = mount_make(&w, &m, err);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct run_mount){0};
	return 0;
}

bool run_is_cdi(const char *text)
{
	const char *equals = strchr(text, '=');
	return text[0] != '/' && equals && memchr(text, '/', (size_t)(equals - text));
}

int run_parse_device(const char *text, struct run_device *ret, struct err *err)
{
	AUTO_FREE char *copy = strdup(text);
	if (!copy)
		return err_set(err, -ENOMEM, "take --device");
	char *rest = copy;
	const char *path = strsep(&rest, ":");
	const char *second = strsep(&rest, ":");
	const char *access = rest;
	const char *destination = path;
	if (second && second[0] == '/')
		destination = second;
	else if (second && !access)
		access = second;
	else if (second)
		path = "";
	if (!access)
		access = "rwm";
	if (path[0] != '/' || access[0] == '\0' || strspn(access, "rwm") != strlen(access) ||
	    strlen(access) >= sizeof(ret->access))
		return err_say(err, -EINVAL,
			       "--device does not take '%s': it wants PATH[:PATH][:rwm] with absolute "
			       "paths, or a CDI name VENDOR/CLASS=NAME", text);
	struct stat st;
	if (stat(path, &st) < 0)
		return err_set(err, -errno, "--device: look at %s", path);
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_say(err, -EINVAL, "--device: %s is not a device", path);
	struct run_device device = {.path = strdup(path), .destination = strdup(destination)};
	(void)snprintf(device.access, sizeof(device.access), "%s", access);
	if (!device.path || !device.destination) {
		free(device.path);
		free(device.destination);
		return err_set(err, -ENOMEM, "take --device");
	}
	*ret = device;
	return 0;
}
