/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/ctx.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "fetcher/origin_open.h"
#include "tools/progress.h"
#include "tools/rootless.h"

enum {
	CTX_TIMEOUT_MS = 60000,
	CTX_READ_TIMEOUT_MS = 30000,
	CTX_WARM_CONNECTIONS = 3, /* configuration, referrers, the fallback tag */
};

static const char *const default_hosts_dirs[] = {"/etc/containerd/certs.d", NULL};
static const char *const default_certs_dirs[] = {"/etc/containers/certs.d", "/etc/docker/certs.d",
						 NULL};

void ctx_options(struct ctx *c, struct opt *table, size_t n)
{
	const struct opt rows[] = {
		{"store", 0, OPT_TEXT, "DIR", "where images are kept (default: $SLUICE_STORE, /var/lib/sluice)",
		 &c->store_path},
		{"budget", 0, OPT_SIZE, "SIZE", "most layer data to keep (default: 20G or half of the free disk)",
		 &c->budget},
		{"platform", 0, OPT_TEXT, "OS/ARCH[/VARIANT]", "which image of an index (default: this machine's)",
		 &c->platform_text},
		{"plain-http", 0, OPT_FLAG, NULL, "speak http without TLS to the registry", &c->plain_http},
		{"offline", 0, OPT_FLAG, NULL, "fetch nothing; use what is in the store", &c->offline},
		{"no-index", 0, OPT_FLAG, NULL, "believe no index of the registry; read the layers", &c->no_index},
		{"authfile", 0, OPT_TEXT, "FILE", "credentials (default: podman's and docker's files)",
		 &c->auth_file},
		{"creds", 0, OPT_TEXT, "USER:PASSWORD", "credentials for the registry of IMAGE", &c->user},
		{"hosts-dir", 0, OPT_LIST, "DIR", "where hosts.toml files are (default: /etc/containerd/certs.d)",
		 &c->hosts_dirs},
		{"cert-dir", 0, OPT_LIST, "DIR", "certificates of registries (default: /etc/docker/certs.d)",
		 &c->certs_dirs},
		{"timeout", 0, OPT_DURATION, "TIME", "for each small request (default: 60s)", &c->timeout_ms},
		{"read-timeout", 0, OPT_DURATION, "TIME", "until a read of missing bytes is EIO (default: 30s)",
		 &c->read_timeout_ms},
		{"format", 0, OPT_TEXT, "json", "print for programs", &c->format},
		{"log-level", 0, OPT_TEXT, "LEVEL", "error, warn, info or debug (default: warn)", &c->log_level},
	};
	_Static_assert(sizeof(rows) / sizeof(rows[0]) == CTX_OPTIONS, "the table has this many rows");
	memset(table, 0, n * sizeof(*table));
	memcpy(table, rows, sizeof(rows));
}

int ctx_misuse(struct ctx *c, int r)
{
	c->misused = r == -EINVAL;
	return r;
}

int ctx_start(struct ctx *c, struct err *err)
{
	enum log_level level;
	if (c->log_level) {
		if (!log_level_parse(c->log_level, &level))
			return err_say(err, -EINVAL, "--log-level does not take '%s': it wants error, warn, info or debug",
				       c->log_level);
		log_set_level(level);
	}
	if (c->format && strcmp(c->format, "json") != 0 && strcmp(c->format, "text") != 0)
		return err_say(err, -EINVAL, "--format does not take '%s': it wants json or text",
			       c->format);
	c->json = c->format && strcmp(c->format, "json") == 0;
	if (c->timeout_ms == 0)
		c->timeout_ms = CTX_TIMEOUT_MS;
	if (c->read_timeout_ms == 0)
		c->read_timeout_ms = CTX_READ_TIMEOUT_MS;
	if (!c->net)
		c->net = &c->own_net;
	return platform_parse(c->platform_text, &c->platform, err);
}

void ctx_finish(struct ctx *c)
{
	fetch_pool_destroy(c->pool);
	tokens_destroy(c->tokens);
	http_engine_destroy(c->http);
	hosts_destroy(c->hosts);
	creds_destroy(c->creds);
	store_close(c->store);
	free(c->run_dir);
}

int ctx_say_full(const struct ctx *c, int r, struct err *err)
{
	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	return err_prefix(err, r, "the store%s%s is full, free some space or run 'sluice gc'",
			  c->store ? " " : "", c->store ? store_path(c->store) : "");
}

static int ctx_store_path(const struct ctx *c, char **ret, struct err *err)
{
	if (!c->store_path)
		return store_default_path(getenv("SLUICE_STORE"), getenv("XDG_DATA_HOME"),
					  getenv("HOME"), rootless_uid(), ret, err);
	*ret = strdup(c->store_path);
	return *ret ? 0 : err_set(err, -ENOMEM, "open the store");
}

int ctx_store(struct ctx *c, struct store **ret, struct err *err)
{
	if (!c->store) {
		AUTO_FREE char *path = NULL;
		int r = ctx_store_path(c, &path, err);
		if (r < 0)
			return r;
		struct store_config config = {.path = path, .budget_bytes = c->budget};
		r = store_open(&config, &c->store, err);
		if (r < 0)
			return ctx_say_full(c, r, err);
	}
	*ret = c->store;
	return 0;
}

int ctx_store_there(struct ctx *c, struct store **ret, struct err *err)
{
	AUTO_FREE char *version = NULL;
	if (c->store_path && asprintf(&version, "%s/version", c->store_path) < 0) {
		version = NULL;
		return err_set(err, -ENOMEM, "open the store");
	}
	if (version && access(version, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_say(err, -ENOENT, "there is no store at %s", c->store_path);
	return ctx_store(c, ret, err);
}

int ctx_pool(struct ctx *c, struct fetch_pool **ret, struct err *err)
{
	int r = c->pool ? 0 : fetch_pool_create(0, &c->pool, err);
	if (r == 0)
		*ret = c->pool;
	return r;
}

int ctx_run_dir(struct ctx *c, const char **ret, struct err *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	if (!c->run_dir) {
		int r;
		if (rootless_uid() == 0)
			r = asprintf(&c->run_dir, "/run/sluice");
		else if (runtime && runtime[0] == '/')
			r = asprintf(&c->run_dir, "%s/sluice", runtime);
		else
			r = asprintf(&c->run_dir, "/tmp/sluice-%u", (unsigned int)rootless_uid());
		if (r < 0) {
			c->run_dir = NULL;
			return err_set(err, -ENOMEM, "find the table of mounts");
		}
	}
	*ret = c->run_dir;
	return 0;
}

/* What helpers get of the environment: all but the password of another registry. */
static const char **helper_env(void)
{
	static const char secret[] = "SLUICE_CREDS=";
	size_t n = 0, kept = 0;
	while (environ[n])
		n++;
	const char **env = calloc(n + 1, sizeof(char *));
	for (size_t i = 0; env && i < n; i++)
		if (strncmp(environ[i], secret, strlen(secret)) != 0)
			env[kept++] = environ[i];
	return env;
}

static int ctx_creds(struct ctx *c, const struct ref *ref, struct err *err)
{
	char **files = NULL;
	AUTO_FREE const char **env = helper_env();
	AUTO_FREE char *user = NULL;
	char *password = NULL;
	if (c->creds)
		return 0;
	const char *given = c->user ? c->user : getenv("SLUICE_CREDS");
	if (given) {
		user = strdup(given);
		password = user ? strchr(user, ':') : NULL;
		if (!password)
			return ctx_misuse(c, err_say(err, -EINVAL, "--creds wants USER:PASSWORD"));
		*password++ = '\0';
	}
	struct creds_places places = {
		.xdg_runtime_dir = getenv("XDG_RUNTIME_DIR"),
		.xdg_config_home = getenv("XDG_CONFIG_HOME"),
		.home = getenv("HOME"),
		.docker_config = getenv("DOCKER_CONFIG"),
	};
	int r = env ? creds_default_files(&places, &files) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "find credential files");
	struct creds_config config = {
		.auth_file = c->auth_file ? c->auth_file : getenv("REGISTRY_AUTH_FILE"),
		.default_files = (const char *const *)files,
		.path_env = getenv("PATH"),
		.env = env,
		.username = user,
		.password = password,
		.host = ref->host,
	};
	r = creds_create(&config, &c->creds, err);
	creds_free_files(files);
	return r;
}

/* What all registry origins share. */
static int ctx_network(struct ctx *c, const struct ref *ref, struct err *err)
{
	int r = ctx_creds(c, ref, err);
	if (r == 0 && !c->hosts) {
		struct hosts_config config = {
			.hosts_dirs = c->hosts_dirs.count ? c->hosts_dirs.items : default_hosts_dirs,
			.certs_dirs = c->certs_dirs.count ? c->certs_dirs.items : default_certs_dirs,
			.plain_http = c->plain_http,
		};
		r = hosts_create(&config, &c->hosts, err);
	}
	if (r == 0 && !c->http) {
		struct http_config config = {.stats = c->net};
		r = http_engine_create(&config, &c->http, err);
	}
	if (r == 0 && !c->tokens) {
		struct tokens_config config = {.engine = c->http, .creds = c->creds};
		r = tokens_create(&config, &c->tokens, err);
	}
	return r;
}

static int ctx_origin(struct ctx *c, const struct ref *ref, struct origin **ret, struct err *err)
{
	*ret = NULL;
	if (c->offline)
		return 0;
	struct registry_config registry = {.spool_dirfd = -1};
	if (ref->kind == REF_REGISTRY) {
		int r = ctx_network(c, ref, err);
		if (r < 0)
			return r;
		registry.engine = c->http;
		registry.hosts = c->hosts;
		registry.tokens = c->tokens;
		registry.allow_downgrade = c->plain_http;
	}
	return origin_open(&registry, ref, ret, err);
}

/* A layout or archive is the same from every working directory. */
static int ctx_absolute_ref(struct ref *ref, struct err *err)
{
	if (!ref->path || ref->path[0] == '/')
		return 0;
	char *path = realpath(ref->path, NULL);
	if (!path)
		return err_set(err, -errno, "find %s", ref->path);
	free(ref->path);
	ref->path = path;
	return 0;
}

/* By what the store knows an image: which platform was asked for is part of that. */
static int ctx_image_key(const struct ctx *c, const struct ref *ref, char **ret_name, char **ret)
{
	AUTO_FREE char *name = NULL;
	int r = ref_text(ref, &name);
	if (r < 0 || asprintf(ret, "%s%s%s", name, c->platform_text ? " " : "",
			      c->platform_text ? c->platform_text : "") < 0)
		return -ENOMEM;
	if (ret_name)
		*ret_name = steal_ptr(&name);
	return 0;
}

/* Whether an image is new to the store, as nearly as can be said before that is open. */
static bool ctx_is_new(const struct ctx *c, const char *key)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *version = NULL;
	struct digest known;
	if (c->store)
		return store_tag_get(c->store, key, &known, NULL) < 0;
	if (ctx_store_path(c, &path, NULL) < 0 || asprintf(&version, "%s/version", path) < 0) {
		version = NULL;
		return false;
	}
	return access(version, F_OK) < 0;
}

int ctx_open(struct ctx *c, const struct ref *ref, unsigned int n_warm, struct origin **ret,
	     struct err *err)
{
	AUTO_FREE char *key = NULL;
	AUTO(origin) struct origin *origin = NULL;
	struct store *store = NULL;
	struct fetch_pool *pool = NULL;
	if (ctx_image_key(c, ref, NULL, &key) < 0) {
		key = NULL;
		return err_set(err, -ENOMEM, "name the image");
	}
	int r = ctx_origin(c, ref, &origin, err);
	if (r < 0)
		return r;
	/* A store that is made waits for the disk, and connections are made meanwhile. */
	bool warm = origin && n_warm > 0;
	bool early = warm && ctx_is_new(c, key);
	if (early)
		registry_warm(origin, n_warm);
	r = ctx_store(c, &store, err);
	if (r == 0)
		r = ctx_pool(c, &pool, err);
	if (r == 0 && origin)
		r = registry_spool_in(origin, store_dir_tmp(store), err);
	if (r < 0)
		return r;
	if (warm && !early && ctx_is_new(c, key))
		registry_warm(origin, n_warm);
	*ret = steal_ptr(&origin);
	return 0;
}

int ctx_prepare(struct ctx *c, const char *text, struct ref *ret_ref, struct origin **ret_origin,
		struct digest *ret_manifest, struct err *err)
{
	AUTO_FREE char *name = NULL;
	AUTO_FREE char *key = NULL;
	int r = ref_parse(text, ret_ref, err);
	if (r == 0)
		r = ctx_absolute_ref(ret_ref, err);
	if (r == 0)
		r = ctx_open(c, ret_ref, CTX_WARM_CONNECTIONS, ret_origin, err);
	if (r < 0)
		return r;
	if (ctx_image_key(c, ret_ref, &name, &key) < 0) {
		name = key = NULL;
		return err_set(err, -ENOMEM, "name the image");
	}
	AUTO(progress) struct progress *progress = NULL;
	r = progress_create(isatty(STDERR_FILENO) == 1, c->json, &progress, err);
	if (r < 0)
		return r;
	struct image_request request = {
		.store = c->store,
		.origin = *ret_origin,
		.pool = c->pool,
		.reference = key,
		.pinned = digest_is_none(&ret_ref->digest) ? NULL : &ret_ref->digest,
		.current = c->current,
		.platform = &c->platform,
		.platform_asked = c->platform_text != NULL,
		.late = c->late,
		.index_use = c->no_index ? IMAGE_INDEX_NONE : IMAGE_INDEX_ANY,
		.progress = c->quiet ? NULL : progress_image(progress),
		.timeout_ms = c->timeout_ms,
		.phases = c->phases,
	};
	r = image_prepare(&request, ret_manifest, err);
	if (r < 0)
		return err_prefix(err, ctx_say_full(c, r, err), "%s", name);
	return 0;
}
