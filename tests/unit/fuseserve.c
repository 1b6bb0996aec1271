/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A mount without a registry, for tests/system/test_fuse_recovery.py: serves an
 * EROFS image whose devices are plain files, through the real holder and server.
 *
 *   fuseserve [OPTION]... mount IMAGE DIR [DEVICE]...   holds, in the foreground
 *   fuseserve [OPTION]... adopt PID IMAGE DIR [DEVICE]...  a new holder for server PID
 *   fuseserve [OPTION]... server IMAGE [DEVICE]...      what the holder starts
 *
 *   -c N     deaths of the server that are too many
 *   -d MS    what is not local takes this long
 *   -l N     one read in N is not local (0: none is)
 *   -t MS    read deadline
 *   -f FILE  while it exists, reads that are not local fail
 *   -s FILE  while it exists, reads that are not local are not answered
 *   -o LIST  mount options
 *   -x FILE  while it exists, a server aborts as soon as it serves
 */

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/holder.h"

enum { DEVICES_MAX = 16, ARGS_MAX = 64, POLL_MS = 1 };

struct options {
	uint64_t crashes, delay_ms, miss, timeout_ms;
	const char *fail, *stall, *crash, *mount;
	bool adopt;
};

/* A device that is a file, with a thread that answers reads when they are due. */
struct file_source {
	struct source source;
	int fd;
	uint64_t size;
	const struct options *options;
	pthread_mutex_t lock;
	struct list waiting; /* struct source_read; left: when it is due */
	atomic_uint n_peeks;
};

static bool exists(const char *path)
{
	return path && access(path, F_OK) == 0;
}

static uint64_t file_source_size(const struct source *source)
{
	return container_of(source, const struct file_source, source)->size;
}

static ssize_t file_source_peek(struct source *source, void *data, size_t len, uint64_t off)
{
	struct file_source *s = container_of(source, struct file_source, source);
	unsigned int n = atomic_fetch_add(&s->n_peeks, 1);
	if (s->options->miss != 0 && n % s->options->miss == 0)
		return -EAGAIN;
	return file_pread(s->fd, data, len, off);
}

static void file_source_submit(struct source *source, struct source_read *read)
{
	struct file_source *s = container_of(source, struct file_source, source);
	read->left = clock_now_ns() + s->options->delay_ms * NS_PER_MS;
	(void)pthread_mutex_lock(&s->lock);
	list_append(&s->waiting, &read->link);
	(void)pthread_mutex_unlock(&s->lock);
}

static bool file_source_cancel(struct source *source, struct source_read *read)
{
	(void)source;
	(void)read;
	return false;
}

static void file_source_advise(struct source *source, uint64_t off, uint64_t len)
{
	(void)source;
	(void)off;
	(void)len;
}

static void file_source_destroy(struct source *source)
{
	(void)source; /* lives as long as its process */
}

static const struct source_ops file_source_ops = {
	.size = file_source_size,
	.peek = file_source_peek,
	.submit = file_source_submit,
	.cancel = file_source_cancel,
	.advise = file_source_advise,
	.destroy = file_source_destroy,
};

static void answer(struct file_source *s, struct source_read *read)
{
	struct err err = {0};
	int r = 0;
	if (deadline_passed(read->deadline))
		r = err_say(&err, -ETIMEDOUT, "the test's device is slow");
	else if (exists(s->options->fail))
		r = err_say(&err, -EHOSTUNREACH, "the test's device is away");
	else if (file_pread(s->fd, read->data, read->len, read->off) != (ssize_t)read->len)
		r = err_say(&err, -EIO, "the test's device is short");
	read->done(read, r, &err);
}

static void *file_source_thread(void *data)
{
	struct file_source *s = data;
	for (;;) {
		bool stalled = exists(s->options->stall);
		struct source_read *due = NULL, *read;
		(void)pthread_mutex_lock(&s->lock);
		list_for_each(read, &s->waiting, link) {
			if (deadline_passed(read->deadline) ||
			    (!stalled && read->left <= clock_now_ns())) {
				due = read;
				list_remove(&read->link);
				break;
			}
		}
		(void)pthread_mutex_unlock(&s->lock);
		if (due)
			answer(s, due);
		else
			clock_sleep_ms(POLL_MS, 0);
	}
	return NULL;
}

static int file_source_open(struct file_source *s, const char *path,
			    const struct options *options, struct err *err)
{
	*s = (struct file_source){.source.ops = &file_source_ops, .options = options};
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0)
		return err_set(err, -errno, "open %s", path);
	int r = file_size(s->fd, &s->size);
	if (r < 0)
		return err_set(err, r, "stat %s", path);
	(void)pthread_mutex_init(&s->lock, NULL);
	list_init(&s->waiting);
	pthread_t thread;
	r = pthread_create(&thread, NULL, file_source_thread, s);
	if (r != 0)
		return err_set(err, -r, "start a thread");
	return -pthread_detach(thread);
}

static void *crash_thread(void *data)
{
	const char *path = data;
	while (!exists(path))
		clock_sleep_ms(POLL_MS, 0);
	abort();
}

static int serve(const struct options *options, char **args, int n, struct err *err)
{
	static struct file_source sources[DEVICES_MAX];
	static struct source *devices[DEVICES_MAX];
	int r = holder_serve_prepare(err);
	if (r < 0)
		return r;
	if (n < 1 || n > DEVICES_MAX + 1)
		return err_say(err, -EINVAL, "server: give an image and its devices");
	AUTO_CLOSE int fd = open(args[0], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open %s", args[0]);
	AUTO(erofs) struct erofs *image = NULL;
	r = erofs_open(fd, &image, err);
	for (int i = 1; i < n && r == 0; i++) {
		r = file_source_open(&sources[i - 1], args[i], options, err);
		devices[i - 1] = &sources[i - 1].source;
	}
	pthread_t thread;
	char *crash = options->crash ? strdup(options->crash) : NULL;
	if (r == 0 && crash && pthread_create(&thread, NULL, crash_thread, crash) != 0)
		r = err_say(err, -EAGAIN, "start a thread");
	if (r < 0)
		return r;
	struct server_config config = {
		.image = image, .devices = devices, .n_devices = (uint32_t)(n - 1),
		.read_timeout_ms = options->timeout_ms,
	};
	return holder_serve(&config, NULL, err);
}

static int say_serving(void *data, pid_t server, struct err *err)
{
	(void)data;
	(void)err;
	(void)printf("serving %d\n", server);
	(void)fflush(stdout);
	return 0;
}

static int hold(const struct options *options, char **all, char **args, int n, struct err *err)
{
	if (n < (options->adopt ? 3 : 2))
		return err_say(err, -EINVAL, "give an image and a directory");
	pid_t pid = options->adopt ? (pid_t)strtol(args[0], NULL, 10) : 0;
	args += options->adopt;
	n -= options->adopt;

	/* The server's arguments: the same options, its verb, the image, the devices. */
	char verb[] = "server";
	char *server[ARGS_MAX] = {0};
	int used = 0;
	for (; all[used] != args[-1 - options->adopt]; used++)
		server[used] = all[used];
	server[used++] = verb;
	server[used++] = args[0];
	for (int i = 2; i < n && used < ARGS_MAX - 1; i++)
		server[used++] = args[i];

	struct mount_options mount;
	mount_options_init(&mount);
	int r = options->mount ? mount_options_parse(&mount, options->mount, err) : 0;
	if (r == 0 && !options->adopt)
		r = mount_check(args[1], err);
	if (r < 0)
		return r;
	struct holder_config config = {
		.dir = args[1], .source = args[0], .options = &mount, .program = all[0],
		.argv = server, .envp = environ, .crashes_max = (unsigned int)options->crashes,
		.status_fd = -1, .serving = say_serving,
	};
	return options->adopt ? holder_adopt(&config, pid, err) : holder_run(&config, err);
}

static int parse(int argc, char **argv, struct options *ret)
{
	int c;
	while ((c = getopt(argc, argv, "+c:d:l:t:f:o:s:x:")) >= 0) { // NOLINT(concurrency-mt-unsafe)
		int r = 0;
		switch (c) {
		case 'c': r = u64_parse(optarg, 1000000, &ret->crashes); break;
		case 'd': r = u64_parse(optarg, 1000000, &ret->delay_ms); break;
		case 'l': r = u64_parse(optarg, 1000000, &ret->miss); break;
		case 't': r = u64_parse(optarg, 1000000, &ret->timeout_ms); break;
		case 'f': ret->fail = optarg; break;
		case 'o': ret->mount = optarg; break;
		case 's': ret->stall = optarg; break;
		case 'x': ret->crash = optarg; break;
		default: r = -EINVAL;
		}
		if (r < 0)
			return r;
	}
	return argc - optind < 2 ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	struct options options = {0};
	struct err err = {0};
	int r = parse(argc, argv, &options);
	if (r < 0) {
		(void)fprintf(stderr, "usage: fuseserve [OPTION]... mount|adopt|server ...\n");
		return 2;
	}
	log_set_level(LOG_LEVEL_INFO);
	char **args = argv + optind + 1;
	int n = argc - optind - 1;
	options.adopt = strcmp(argv[optind], "adopt") == 0;
	if (strcmp(argv[optind], "server") == 0) {
		r = serve(&options, args, n, &err);
		if (r < 0)
			holder_serve_failed(&err);
	} else {
		r = hold(&options, argv, args, n, &err);
	}
	if (r < 0)
		log_error("%s", err_text(&err));
	return r < 0 ? 1 : 0;
}
