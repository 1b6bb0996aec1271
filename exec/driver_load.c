/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/driver_load.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct driver_module {
	void *object; /* owned */
	const struct driver *driver;
};

static int check_file(const char *path, int fd, struct driver_error *error)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return driver_fail_set(error, -errno, "load the driver %s", path);
	if (!S_ISREG(st.st_mode))
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "load the driver %s: it is not a regular file", path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return driver_fail(error, DRIVER_DENIED, NULL,
				   "load the driver %s: others than root and you can write to it",
				   path);
	return 0;
}

/* The object and its driver; text of the loader's becomes the raw cause. */
static int open_object(const char *path, int fd, struct driver_module *module,
		       struct driver_error *error)
{
	/* The very file that was checked. */
	char opened[64];
	(void)snprintf(opened, sizeof(opened), "/proc/self/fd/%d", fd);
	module->object = dlopen(opened, RTLD_NOW | RTLD_LOCAL);
	if (!module->object)
		return driver_fail(
			error, DRIVER_INVALID,
			dlerror(), /* NOLINT(concurrency-mt-unsafe): a thread has its own */
			"load the driver %s: it is not a shared object of this machine's", path);
	union { /* ISO C knows no conversion between the two */
		void *object;
		const struct driver *(*get)(void);
	} symbol = {.object = dlsym(module->object, DRIVER_LOAD_SYMBOL)};
	if (!symbol.object)
		return driver_fail(error, DRIVER_UNSUPPORTED,
				   dlerror(), /* NOLINT(concurrency-mt-unsafe) */
				   "load the driver %s: it has no " DRIVER_LOAD_SYMBOL
				   ", so it is none or was made for another version",
				   path);
	const struct driver *driver = symbol.get();
	if (!driver || driver->version != DRIVER_VERSION)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "load the driver %s: it was made for version %u of the interface, and this is version %u",
				   path, driver ? driver->version : 0, DRIVER_VERSION);
	if (!driver->name || !driver->connect || !driver->close || !driver->info)
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "load the driver %s: it lacks a name, connect, close or info", path);
	module->driver = driver;
	return 0;
}

int driver_load(const char *path, struct driver_module **ret, struct driver_error *error)
{
	if (path[0] != '/')
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "load the driver %s: the path is not absolute", path);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return driver_fail_set(error, -errno, "load the driver %s", path);
	int r = check_file(path, fd, error);
	if (r < 0)
		return r;
	AUTO(driver_module) struct driver_module *module = calloc(1, sizeof(*module));
	if (!module)
		return driver_fail_set(error, -ENOMEM, "load the driver %s", path);
	r = open_object(path, fd, module, error);
	if (r < 0)
		return r;
	*ret = steal_ptr(&module);
	return 0;
}

const struct driver *driver_module_driver(const struct driver_module *module)
{
	return module->driver;
}

void driver_unload(struct driver_module *module)
{
	if (!module)
		return;
	if (module->object)
		(void)dlclose(module->object);
	free(module);
}
