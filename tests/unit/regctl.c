/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The registry origin on the command line, for the system tests: one call a
 * line of arguments, bytes on standard output, and on standard error one line
 * of JSON with result, error text and counters.
 *
 *   regctl [options] REF manifest [DIGEST]
 *   regctl [options] REF blob|stream DIGEST SIZE [URL]
 *   regctl [options] REF range DIGEST SIZE OFF LEN [OFF LEN …]
 *   regctl [options] REF parallel N DIGEST SIZE OFF LEN
 *   regctl [options] REF referrers DIGEST [TYPE]
 *   regctl [options] REF push-blob FILE DIGEST
 *   regctl [options] REF push-manifest FILE TYPE DIGEST [SUBJECT]
 */

#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "fetcher/registry.h"

enum { REGCTL_BLOB_MAX = 64 << 20, REGCTL_THREADS_MAX = 64 };

struct setup {
	struct origin *origin;
	bool again; /* a range that failed is asked for once more */
	deadline_t deadline;
	struct err err;
};

static int out_write(void *data, const void *bytes, size_t n)
{
	(void)data;
	return file_write(STDOUT_FILENO, bytes, n);
}

static const struct byte_sink out_sink = {.write = out_write};

static int drop_write(void *data, const void *bytes, size_t n)
{
	(void)bytes;
	*(uint64_t *)data += n;
	return 0;
}

static int need_digest(const char *text, struct digest *ret, struct err *err)
{
	if (!text)
		return err_say(err, -EINVAL, "a digest is missing");
	return digest_parse(text, ret, err);
}

static uint64_t number(const char *text)
{
	uint64_t v = 0;
	if (!text || u64_parse(text, INT64_MAX, &v) < 0) {
		(void)fprintf(stderr, "'%s' is not a number\n", text ? text : "");
		exit(2);
	}
	return v;
}

static int do_manifest(struct setup *s, char **args)
{
	AUTO_FINISH(buf) struct buf body = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	struct digest want;
	int r = args[0] ? digest_parse(args[0], &want, &s->err) : 0;
	if (r == 0)
		r = origin_manifest(s->origin, args[0] ? &want : NULL, &body, &desc, s->deadline,
				    &s->err);
	return r < 0 ? r : file_write(STDOUT_FILENO, buf_str(&body), body.len);
}

static int do_blob(struct setup *s, char **args)
{
	AUTO_FINISH(buf) struct buf body = buf_make(REGCTL_BLOB_MAX);
	struct descriptor desc = {0};
	int r = need_digest(args[0], &desc.digest, &s->err);
	if (r < 0)
		return r;
	desc.size = number(args[1]);
	r = origin_blob(s->origin, &desc, &body, s->deadline, &s->err);
	return r < 0 ? r : file_write(STDOUT_FILENO, buf_str(&body), body.len);
}

static int do_stream(struct setup *s, char **args)
{
	struct descriptor desc = {0};
	int r = need_digest(args[0], &desc.digest, &s->err);
	if (r < 0)
		return r;
	desc.size = number(args[1]);
	desc.urls = args[2] ? args + 2 : NULL;
	return origin_stream(s->origin, &desc, &out_sink, s->deadline, &s->err);
}

static int do_range(struct setup *s, char **args)
{
	struct descriptor desc = {0};
	int r = need_digest(args[0], &desc.digest, &s->err);
	desc.size = r < 0 ? 0 : number(args[1]);
	for (char **a = args + 2; r == 0 && *a && a[1]; a += 2)
		for (int tries = s->again ? 2 : 1; tries > 0; tries--) {
			r = origin_range(s->origin, &desc, number(a[0]), number(a[1]), &out_sink,
					 s->deadline, &s->err);
			if (r == 0)
				break;
		}
	return r;
}

struct reader {
	pthread_t thread;
	struct setup *setup;
	struct descriptor desc;
	uint64_t off, len, got;
	int result;
	struct err err;
};

static void *reader_main(void *data)
{
	struct reader *rd = data;
	const struct byte_sink sink = {.write = drop_write, .data = &rd->got};
	rd->result = origin_range(rd->setup->origin, &rd->desc, rd->off, rd->len, &sink,
				  rd->setup->deadline, &rd->err);
	return NULL;
}

static int do_parallel(struct setup *s, char **args)
{
	static struct reader readers[REGCTL_THREADS_MAX];
	struct descriptor desc = {0};
	uint64_t n = u64_min(number(args[0]), REGCTL_THREADS_MAX);
	int r = need_digest(args[1], &desc.digest, &s->err);
	if (r < 0)
		return r;
	desc.size = number(args[2]);
	for (uint64_t i = 0; i < n; i++) {
		readers[i] = (struct reader){
			.setup = s, .desc = desc, .off = number(args[3]), .len = number(args[4])};
		if (pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]) != 0)
			abort();
	}
	for (uint64_t i = 0; i < n; i++) {
		(void)pthread_join(readers[i].thread, NULL);
		if (readers[i].result == 0 && readers[i].got != readers[i].len)
			r = err_say(&s->err, -EIO, "reader %d got too little", (int)i);
		if (readers[i].result < 0)
			r = err_copy(&s->err, &readers[i].err);
	}
	return r;
}

static int do_referrers(struct setup *s, char **args)
{
	AUTO_FINISH(descriptors) struct descriptors list = {0};
	struct digest subject;
	struct digest_text text;
	int r = need_digest(args[0], &subject, &s->err);
	if (r == 0)
		r = origin_referrers(s->origin, &subject, args[1], &list, s->deadline, &s->err);
	for (size_t i = 0; r == 0 && i < list.count; i++)
		(void)printf("%s %s\n", digest_str(&list.items[i].digest, text.s),
			     list.items[i].artifact_type ? list.items[i].artifact_type : "-");
	return r;
}

static int do_push_blob(struct setup *s, char **args)
{
	AUTO_FINISH(buf) struct buf data = buf_make(REGCTL_BLOB_MAX);
	struct descriptor desc = {0};
	int r = need_digest(args[0] ? args[1] : NULL, &desc.digest, &s->err);
	if (r == 0)
		r = file_slurp(AT_FDCWD, args[0], &data, &s->err);
	if (r < 0)
		return r;
	desc.size = data.len;
	return origin_push_blob(s->origin, &desc, buf_str(&data), data.len, s->deadline, &s->err);
}

static int do_push_manifest(struct setup *s, char **args)
{
	AUTO_FINISH(buf) struct buf data = buf_make(ORIGIN_MANIFEST_MAX);
	struct descriptor desc = {0};
	struct digest subject;
	if (!args[0] || !args[1] || !args[2])
		return err_say(&s->err, -EINVAL, "FILE TYPE DIGEST");
	int r = file_slurp(AT_FDCWD, args[0], &data, &s->err);
	if (r == 0)
		r = digest_parse(args[2], &desc.digest, &s->err);
	if (r == 0 && args[3])
		r = digest_parse(args[3], &subject, &s->err);
	if (r < 0)
		return r;
	desc.media_type = args[1];
	desc.size = data.len;
	return origin_push_manifest(s->origin, &desc, buf_str(&data), data.len,
				    args[3] ? &subject : NULL, s->deadline, &s->err);
}

static const struct {
	const char *name;
	int (*run)(struct setup *s, char **args);
} verbs[] = {
	{"manifest", do_manifest},	 {"blob", do_blob},
	{"stream", do_stream},		 {"range", do_range},
	{"parallel", do_parallel},	 {"referrers", do_referrers},
	{"push-blob", do_push_blob},	 {"push-manifest", do_push_manifest},
};

struct options {
	const char *auth_file, *user, *password, *hosts_dir, *certs_dir, *spool, *from, *path;
	bool plain_http, insecure, private_realm, again;
	uint64_t deadline_ms, warm, stall_sec;
};

static int options_parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"auth-file", required_argument, NULL, 'a'}, {"user", required_argument, NULL, 'u'},
		{"password", required_argument, NULL, 'p'},  {"hosts", required_argument, NULL, 'h'},
		{"certs", required_argument, NULL, 'c'},     {"spool", required_argument, NULL, 's'},
		{"from", required_argument, NULL, 'f'},	     {"path", required_argument, NULL, 'P'},
		{"plain-http", no_argument, NULL, 't'},	     {"insecure", no_argument, NULL, 'i'},
		{"private-realm", no_argument, NULL, 'r'},   {"deadline", required_argument, NULL, 'd'},
		{"warm", required_argument, NULL, 'w'},	     {"stall", required_argument, NULL, 'S'},
		{"again", no_argument, NULL, 'A'},	     {NULL, 0, NULL, 0},
	};
	int c;
	*o = (struct options){.deadline_ms = 20000, .spool = "/tmp"};
	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		switch (c) {
		case 'a': o->auth_file = optarg; break;
		case 'u': o->user = optarg; break;
		case 'p': o->password = optarg; break;
		case 'h': o->hosts_dir = optarg; break;
		case 'c': o->certs_dir = optarg; break;
		case 's': o->spool = optarg; break;
		case 'f': o->from = optarg; break;
		case 'P': o->path = optarg; break;
		case 't': o->plain_http = true; break;
		case 'i': o->insecure = true; break;
		case 'r': o->private_realm = true; break;
		case 'd': o->deadline_ms = number(optarg); break;
		case 'w': o->warm = number(optarg); break;
		case 'A': o->again = true; break;
		case 'S': o->stall_sec = number(optarg); break;
		default: return -EINVAL;
		}
	}
	return argc - optind >= 2 ? 0 : -EINVAL;
}

static int run(const struct options *o, char **args, struct net_stats *stats, struct err *err)
{
	AUTO(http_engine) struct http_engine *engine = NULL;
	AUTO(creds) struct creds *creds = NULL;
	AUTO(hosts) struct hosts *hosts = NULL;
	AUTO(tokens) struct tokens *tokens = NULL;
	AUTO(origin) struct origin *origin = NULL;
	AUTO_FINISH(ref) struct ref ref = {0};
	AUTO_CLOSE int spool = open(o->spool, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	const char *const hosts_dirs[] = {o->hosts_dir, NULL};
	const char *const certs_dirs[] = {o->certs_dir, NULL};
	const struct creds_config creds_config = {
		.auth_file = o->auth_file, .username = o->user, .password = o->password,
		.path_env = o->path};
	const struct hosts_config hosts_config = {
		.hosts_dirs = hosts_dirs, .certs_dirs = certs_dirs, .plain_http = o->plain_http};
	const struct http_config http_config = {
		.stats = stats, .low_speed_sec = (unsigned int)o->stall_sec};
	int r = ref_parse(args[0], &ref, err);
	if (r == 0)
		r = http_engine_create(&http_config, &engine, err);
	if (r == 0)
		r = creds_create(&creds_config, &creds, err);
	if (r == 0)
		r = hosts_create(&hosts_config, &hosts, err);
	if (r < 0)
		return r;
	const struct tokens_config tokens_config = {
		.engine = engine, .creds = creds, .allow_private_realm = o->private_realm};
	r = tokens_create(&tokens_config, &tokens, err);
	const struct registry_config config = {
		.engine = engine, .hosts = hosts, .tokens = tokens, .spool_dirfd = spool,
		.allow_downgrade = o->insecure, .mount_from = o->from};
	if (r == 0)
		r = registry_open(&config, &ref, &origin, err);
	if (r < 0)
		return r;
	if (o->warm > 0)
		registry_warm(origin, (unsigned int)o->warm);
	struct setup setup = {.origin = origin, .again = o->again,
			      .deadline = deadline_in_ms(o->deadline_ms)};
	r = -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i].name, args[1]) == 0)
			r = verbs[i].run(&setup, args + 2);
	http_engine_stop(engine);
	(void)err_copy(err, &setup.err);
	return r;
}

int main(int argc, char **argv)
{
	static struct net_stats stats;
	struct options options;
	struct err err = {0};
	if (options_parse(argc, argv, &options) < 0) {
		(void)fprintf(stderr, "see the head of regctl.c\n");
		return 2;
	}
	int r = run(&options, argv + optind, &stats, &err);
	(void)fflush(stdout);
	AUTO_JSON json_t *report = json_pack(
		"{s:i, s:s, s:I, s:I, s:I, s:I, s:I}", "result", r, "error",
		r < 0 ? err_text(&err) : "", "requests", (json_int_t)stats.requests, "bytes",
		(json_int_t)stats.bytes, "retries", (json_int_t)stats.retries, "errors",
		(json_int_t)stats.errors, "tokens", (json_int_t)stats.token_refreshes);
	AUTO_FREE char *text = json_dumps(report, JSON_COMPACT);
	(void)fprintf(stderr, "%s\n", text ? text : "{}");
	return r < 0;
}
