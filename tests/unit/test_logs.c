/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/num.h"
#include "exec/logs.h"
#include "exec/monitor_priv.h"
#include "tests/unit/unit.h"

struct place {
	char path[64];
	int dir;
};

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	assert_non_null(place);
	(void)snprintf(place->path, sizeof(place->path), "/tmp/sluice-logs.XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->dir = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(place->dir >= 0);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;
	struct err err = {0};
	(void)close(place->dir);
	assert_ok(tree_remove(AT_FDCWD, place->path, &err), &err);
	free(place);
	return 0;
}

static struct logs *make(const struct place *place, uint64_t max, unsigned int files)
{
	struct logs *logs = NULL;
	struct err err = {0};
	assert_ok(logs_create(place->dir, "log", max, files, &logs, &err), &err);
	return logs;
}

static void say(struct logs *logs, enum driver_stream stream, const char *text)
{
	struct err err = {0};
	assert_ok(logs_write(logs, stream, text, strlen(text), &err), &err);
}

/* Output as "1:text" and "2:text". */
static int collect(void *data, enum driver_stream stream, int64_t time_ns, const void *bytes,
		   size_t n)
{
	assert_true(time_ns > 0);
	return buf_printf(data, "%d:%.*s|", (int)stream, (int)n, (const char *)bytes);
}

static void expect(const struct place *place, struct driver_logs want, const char *text)
{
	AUTO_FINISH(buf) struct buf all = buf_make(1 << 20);
	struct err err = {0};
	want.line = collect;
	want.data = &all;
	assert_ok(logs_read(place->dir, "log", &want, -1, NULL, &err), &err);
	assert_string_equal(buf_str(&all), text);
}

static const struct driver_logs ALL = {.tail = DRIVER_UNKNOWN};

static void test_lines(void **state)
{
	struct place *place = *state;
	AUTO(logs) struct logs *logs = make(place, 1 << 20, 2);
	expect(place, ALL, "");
	say(logs, DRIVER_STDOUT, "one\ntwo");
	say(logs, DRIVER_STDERR, "bad\n\n");
	say(logs, DRIVER_STDOUT, " more\nlast");
	expect(place, ALL, "1:one\n|1:two|2:bad\n|2:\n|1: more\n|1:last|");
	expect(place, (struct driver_logs){.tail = 0}, "1:last|");
	expect(place, (struct driver_logs){.tail = 2}, "2:\n|1: more\n|1:last|");
	expect(place, (struct driver_logs){.tail = 99}, "1:one\n|1:two|2:bad\n|2:\n|1: more\n|1:last|");
	expect(place, (struct driver_logs){.tail = DRIVER_UNKNOWN, .since_ns = INT64_MAX}, "");
	/* As the kubelet reads it. */
	AUTO_FINISH(buf) struct buf text = buf_make(4096);
	struct err err = {0};
	assert_ok(file_slurp(place->dir, "log", &text, &err), &err);
	assert_non_null(strstr(text.data, "Z stdout F one\n"));
	assert_non_null(strstr(text.data, "Z stdout P two\n"));
	assert_int_equal(text.data[4] == '-' && text.data[10] == 'T' && text.data[19] == '.' &&
			 text.data[29] == 'Z', 1);
}

static void test_long_line(void **state)
{
	struct place *place = *state;
	AUTO(logs) struct logs *logs = make(place, 64 << 20, 2);
	enum { N = 100000 };
	AUTO_FREE char *line = malloc(N + 1);
	assert_non_null(line);
	memset(line, 'x', N);
	line[N - 1] = '\n';
	line[N] = '\0';
	say(logs, DRIVER_STDOUT, line);
	AUTO_FINISH(buf) struct buf all = buf_make(1 << 20);
	struct driver_logs want = {.tail = DRIVER_UNKNOWN, .line = collect, .data = &all};
	struct err err = {0};
	assert_ok(logs_read(place->dir, "log", &want, -1, NULL, &err), &err);
	/* In pieces, of which only the last ends the line; nothing lost. */
	size_t pieces = (N + LOGS_PIECE_MAX - 1) / LOGS_PIECE_MAX;
	assert_int_equal(all.len, N + 3 * pieces);
	assert_ptr_equal(strchr(all.data, '\n'), all.data + all.len - 2);
}

static void test_rotation(void **state)
{
	struct place *place = *state;
	AUTO(logs) struct logs *logs = make(place, 100, 3);
	for (int i = 0; i < 9; i++) {
		char line[32];
		(void)snprintf(line, sizeof(line), "line %d\n", i);
		say(logs, DRIVER_STDOUT, line);
	}
	/* Two entries of 45 bytes fit a file: 8 | 6 7 | 4 5; what was before is gone. */
	expect(place, ALL, "1:line 4\n|1:line 5\n|1:line 6\n|1:line 7\n|1:line 8\n|");
	expect(place, (struct driver_logs){.tail = 4},
	       "1:line 5\n|1:line 6\n|1:line 7\n|1:line 8\n|");
	assert_int_equal(faccessat(place->dir, "log.2", F_OK, 0), 0);
	assert_int_equal(faccessat(place->dir, "log.3", F_OK, 0), -1);
	/* Opened again, it goes on where it was. */
	logs_destroy(steal_ptr(&logs));
	logs = make(place, 100, 3);
	say(logs, DRIVER_STDOUT, "line 9\n");
	expect(place, (struct driver_logs){.tail = 2}, "1:line 8\n|1:line 9\n|");
}

static void test_hostile(void **state)
{
	struct place *place = *state;
	AUTO_FINISH(buf) struct buf text = buf_make(1 << 20);
	assert_int_equal(buf_puts(&text, "\n\nnot a log\n2026-01-02T03:04:05.1Z stdout F short\n"
				  "2026-01-02T03:04:05.123456789Z stdin F what\n"
				  "2026-01-02T03:04:05.123456789Z stdout\n"
				  "2026-01-02T03:04:05.123456789Z stdout F\n"), 0);
	for (int i = 0; i < 30000; i++)
		assert_int_equal(buf_puts(&text, "x"), 0);
	assert_int_equal(buf_puts(&text, "\n2026-01-02T03:04:05.123456789Z stderr F good\n"
				  "2026-01-02T03:04:05.123456789Z stdout F cut of"), 0);
	struct err err = {0};
	assert_ok(file_commit(place->dir, "log", text.data, text.len, COMMIT_REPLACE, &err), &err);
	expect(place, ALL, "2:good\n|");
	assert_int_equal(unlinkat(place->dir, "log", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", place->dir, "log"), 0);
	struct driver_logs want = {.tail = DRIVER_UNKNOWN, .line = collect, .data = &text};
	assert_err(logs_read(place->dir, "log", &want, -1, NULL, &err), -ELOOP, &err, "read the log");
}

struct writer {
	const struct place *place;
	int over; /* an eventfd */
};

enum { FOLLOWED = 2000 };

static void *write_many(void *data)
{
	struct writer *writer = data;
	struct logs *logs = make(writer->place, 20000, LOGS_FILES_MAX);
	for (int i = 0; i < FOLLOWED; i++) {
		char line[32];
		(void)snprintf(line, sizeof(line), "%d\n", i);
		say(logs, DRIVER_STDOUT, line);
	}
	logs_destroy(logs);
	assert_int_equal(eventfd_write(writer->over, 1), 0);
	return NULL;
}

static int count_up(void *data, enum driver_stream stream, int64_t time_ns, const void *bytes,
		    size_t n)
{
	int *next = data;
	char want[32];
	(void)stream;
	(void)time_ns;
	(void)snprintf(want, sizeof(want), "%d\n", *next);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(bytes, want, n);
	++*next;
	return 0;
}

/* Nothing is missed and nothing comes twice, though the file changes its name on the way. */
static void test_follow(void **state)
{
	struct writer writer = {.place = *state, .over = eventfd(0, EFD_CLOEXEC)};
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, write_many, &writer), 0);
	int next = 0;
	struct driver_logs want = {.tail = DRIVER_UNKNOWN, .follow = true, .line = count_up,
				   .data = &next};
	struct driver_call call = {.deadline = deadline_in_ms(60000)};
	struct err err = {0};
	assert_ok(logs_read(writer.place->dir, "log", &want, writer.over, &call, &err), &err);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(next, FOLLOWED);
	call.deadline = deadline_in_ms(20);
	next = 0;
	assert_err(logs_read(writer.place->dir, "log", &want, -1, &call, &err), -ETIMEDOUT, &err,
		   "read the log");
	(void)close(writer.over);
}

/* What a client has got so far. */
static size_t read_client(int fd, uint64_t *lost, bool *over)
{
	struct attach_message *message = malloc(sizeof(*message));
	assert_non_null(message);
	size_t n = 0;
	while (attach_receive(fd, message, clock_now_ns()) == 0) {
		n += message->word == ATTACH_STDOUT ? message->n : 0;
		*lost += message->word == ATTACH_LOST ? attach_lost(message) : 0;
		*over = *over || message->word == ATTACH_EXIT;
	}
	free(message);
	return n;
}

/* One that never reads holds up the others so long, and then only itself. */
static void test_slow_client(void **state)
{
	(void)state;
	struct clients clients = {.listening = -1};
	list_init(&clients.list);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	struct client *client = clients_add(&clients, pair[0]);
	client->output = true;
	AUTO_FREE char *bytes = calloc(1, ATTACH_DATA_MAX);
	assert_non_null(bytes);
	deadline_t until = 0;
	uint64_t sent = 0;
	for (; !clients_full(&clients, &until); sent += ATTACH_DATA_MAX)
		clients_output(&clients, ATTACH_STDOUT, bytes, ATTACH_DATA_MAX);
	assert_true(sent >= ATTACH_QUEUE_MAX && sent < 8 * (uint64_t)ATTACH_QUEUE_MAX);
	assert_true(until > clock_now_ns());
	/* Its time is over. */
	client->patience = 1;
	assert_false(clients_full(&clients, &until));
	for (int i = 0; i < 100; i++)
		clients_output(&clients, ATTACH_STDOUT, bytes, ATTACH_DATA_MAX);
	assert_true(client->queue.len <= ATTACH_QUEUE_MAX + 2 * ATTACH_DATA_MAX);
	/* It wakes up: first what was queued, then how much it missed, then what is new. */
	uint64_t lost = 0, got = 0;
	bool over = false;
	while (client->queue.len > 0 || client->lost > 0) {
		got += read_client(pair[1], &lost, &over);
		client_flush(client);
	}
	clients_output(&clients, ATTACH_STDOUT, bytes, 10);
	clients_tell(&clients, ATTACH_EXIT, bytes, 4);
	clients_farewell(&clients, 1000);
	got += read_client(pair[1], &lost, &over);
	assert_int_equal(lost, 100 * (uint64_t)ATTACH_DATA_MAX);
	assert_int_equal(got, sent + 10);
	assert_true(over);
	/* One that went away is forgotten. */
	(void)close(pair[1]);
	clients_output(&clients, ATTACH_STDOUT, bytes, 10);
	clients_sweep(&clients);
	assert_int_equal(clients.n, 0);
	clients_finish(&clients, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
		cmocka_unit_test(test_slow_client),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
