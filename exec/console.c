/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/console.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fdpass.h"

#define CONSOLE_NAME "console"

enum { MESSAGE_MAX = 4096 }; /* bytes beside the descriptor: a name, which nobody needs */

struct console {
	int dirfd;     /* owned */
	int listening; /* owned */
	char path[64]; /* as another process of this user finds it: short, whatever the directory */
};

int console_create(const char *dir, struct console **ret, struct err *err)
{
	AUTO(console) struct console *console = malloc(sizeof(*console));
	if (!console)
		return err_set(err, -ENOMEM, "make a console socket");
	*console = (struct console){.dirfd = -1, .listening = -1};
	console->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (console->dirfd < 0)
		return err_set(err, -errno, "make a console socket in %s", dir);
	if (unlinkat(console->dirfd, CONSOLE_NAME, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "make a console socket in %s", dir);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" CONSOLE_NAME,
		       console->dirfd);
	(void)snprintf(console->path, sizeof(console->path), "/proc/%d/fd/%d/" CONSOLE_NAME,
		       (int)getpid(), console->dirfd);
	console->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (console->listening < 0 ||
	    bind(console->listening, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(console->listening, 1) < 0)
		return err_set(err, -errno, "make a console socket in %s", dir);
	*ret = steal_ptr(&console);
	return 0;
}

void console_destroy(struct console *console)
{
	if (!console)
		return;
	if (console->listening >= 0)
		(void)unlinkat(console->dirfd, CONSOLE_NAME, 0);
	cleanup_close(&console->listening);
	cleanup_close(&console->dirfd);
	free(console);
}

const char *console_path(const struct console *console)
{
	return console->path;
}

int console_accept(struct console *console, const struct driver_call *call, int *ret_fd,
		   struct err *err)
{
	int r = driver_poll(console->listening, POLLIN, call);
	if (r < 0)
		return err_set(err, r, "wait for the container's terminal");
	AUTO_CLOSE int sock = accept4(console->listening, NULL, NULL, SOCK_CLOEXEC);
	r = sock < 0 ? -errno : driver_poll(sock, POLLIN, call);
	AUTO_CLOSE int master = -1;
	char name[MESSAGE_MAX];
	ssize_t n = r < 0 ? r : fdpass_receive(sock, name, sizeof(name), MSG_DONTWAIT, &master);
	if (n < 0)
		return err_set(err, (int)n, "receive the container's terminal");
	if (master < 0 || !isatty(master))
		return err_say(err, -EPROTO,
			       "receive the container's terminal: what the runtime sent is none");
	if (fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_set(err, -errno, "receive the container's terminal");
	*ret_fd = steal_fd(&master);
	return 0;
}

int console_resize(int fd, uint16_t rows, uint16_t columns)
{
	struct winsize size = {.ws_row = rows, .ws_col = columns};
	return ioctl(fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
