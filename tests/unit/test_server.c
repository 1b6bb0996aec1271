/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/server.h"

#include <linux/fuse.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/file.h"
#include "tests/unit/treekit.h"

/* The kernel's side of a connection, which a pair of sockets stands in for. */

enum { ANSWER_SECONDS_MAX = 20, MESSAGE_MAX = 8192, PAST = 1000, NEVER_ASKED = 4711 };

static const char *const lines[] = {"d a", NULL};

struct kit {
	struct tree *tree;
	struct erofs *image;
	struct server *server;
	int fd, init_fd, kernel_fd;
};

static void tell(const struct kit *kit, uint32_t opcode, uint64_t unique, const void *body, size_t n)
{
	struct {
		struct fuse_in_header head;
		char body[MESSAGE_MAX];
	} message = {.head = {.len = (uint32_t)(sizeof(message.head) + n),
			      .opcode = opcode,
			      .unique = unique,
			      .nodeid = FUSE_ROOT_ID}};
	memcpy(message.body, body, n);
	assert_int_equal(send(kit->kernel_fd, &message, message.head.len, 0), message.head.len);
}

/* The errno of the next answer, which is to be the one to that request. */
static int told(const struct kit *kit, uint64_t unique)
{
	char message[MESSAGE_MAX];
	ssize_t n = recv(kit->kernel_fd, message, sizeof(message), 0);
	assert_true(n >= (ssize_t)sizeof(struct fuse_out_header));
	struct fuse_out_header head;
	memcpy(&head, message, sizeof(head));
	assert_int_equal(head.unique, unique);
	return -head.error;
}

static int setup(void **state)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	assert_non_null(kit);
	assert_int_equal(tree_create(&kit->tree), 0);
	kit_add_all(kit->tree, lines);
	kit->fd = kit_write(kit->tree, 0);
	kit->image = kit_open(kit->fd);
	kit->init_fd = memfd_create("init", MFD_CLOEXEC);
	assert_true(kit->init_fd >= 0);
	struct server_config config = {.image = kit->image, .threads = 1};
	struct err err = {0};
	assert_int_equal(server_create(&config, &kit->server, &err), 0);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	struct timeval wait = {.tv_sec = ANSWER_SECONDS_MAX};
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	kit->kernel_fd = pair[0];
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
	tell(kit, FUSE_INIT, 1, &init, sizeof(init));
	assert_int_equal(server_start(kit->server, pair[1], kit->init_fd, &err), 0);
	*state = kit;
	return 0;
}

static int teardown(void **state)
{
	struct kit *kit = *state;
	server_destroy(kit->server);
	erofs_close(kit->image);
	tree_destroy(kit->tree);
	(void)close(kit->fd);
	(void)close(kit->init_fd);
	(void)close(kit->kernel_fd);
	free(kit);
	return 0;
}

/* The first thing said is a wish to hear again what a dead predecessor left unanswered. */
static void skip_greeting(const struct kit *kit)
{
	char message[MESSAGE_MAX];
	assert_true(recv(kit->kernel_fd, message, sizeof(message), 0) > 0);
	assert_int_equal(told(kit, 1), 0);
}

/* It may come when its request is answered already, and nothing else after it. */
static void test_late_interrupts_are_not_kept(void **state)
{
	struct kit *kit = *state;
	skip_greeting(kit);
	struct fuse_interrupt_in late = {.unique = NEVER_ASKED};
	tell(kit, FUSE_INTERRUPT, PAST, &late, sizeof(late));
	late.unique++;
	tell(kit, FUSE_INTERRUPT, PAST + 1, &late, sizeof(late));
	struct fuse_getattr_in get = {0};
	tell(kit, FUSE_GETATTR, 2, &get, sizeof(get));
	/* What comes after an interrupt has the kernel send it again, one each … */
	assert_int_equal(told(kit, PAST), EAGAIN);
	assert_int_equal(told(kit, 2), 0);
	/* … and the end does it for what is left, which frees it. */
	server_destroy(kit->server);
	kit->server = NULL;
	assert_int_equal(told(kit, PAST + 1), EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_late_interrupts_are_not_kept, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
