/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/defaults.h"

#include "base/num.h"
#include "tests/unit/unit.h"

static void check_list(char *const *list, size_t n, const char *const *want, size_t n_want)
{
	assert_int_equal(n, n_want);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(list[i], want[i]);
}

static const char *const caps[] = {
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
	"CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
	"CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
};

static void test_process(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(defaults_create(&config, &err), &err);
	const struct oci_process *process = config->process;
	const struct oci_process_capabilities *sets = process->capabilities;
	check_list(sets->bounding, sets->n_bounding, caps, ARRAY_LEN(caps));
	check_list(sets->effective, sets->n_effective, caps, ARRAY_LEN(caps));
	check_list(sets->permitted, sets->n_permitted, caps, ARRAY_LEN(caps));
	assert_int_equal(sets->n_inheritable, 0);
	assert_null(sets->ambient);
	assert_true(process->has_no_new_privileges && process->no_new_privileges);
	assert_true(process->user->has_uid && process->user->uid == 0);
	assert_true(process->user->has_gid && process->user->gid == 0);
	assert_string_equal(process->cwd, "/");
	assert_null(process->args);
	assert_string_equal(config->root->path, "rootfs");
	assert_string_equal(config->oci_version, "1.0.2");
	assert_null(config->residual);
}

static void test_mounts(void **state)
{
	(void)state;
	static const struct {
		const char *destination, *type, *options;
	} want[] = {
		{"/proc", "proc", "nosuid,noexec,nodev"},
		{"/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
		{"/dev/pts", "devpts",
		 "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=64m"},
		{"/dev/mqueue", "mqueue", "nosuid,noexec,nodev"},
		{"/sys", "sysfs", "nosuid,noexec,nodev,ro"},
		{"/sys/fs/cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"},
	};
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(defaults_create(&config, &err), &err);
	assert_int_equal(config->n_mounts, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		AUTO_FINISH(buf) struct buf options = buf_make(256);
		const struct oci_mount *mount = config->mounts[i];
		for (size_t k = 0; k < mount->n_options; k++)
			assert_int_equal(buf_printf(&options, "%s%s", k ? "," : "",
						    mount->options[k]), 0);
		assert_string_equal(mount->destination, want[i].destination);
		assert_string_equal(mount->type, want[i].type);
		assert_string_equal(buf_str(&options), want[i].options);
	}
}

static void test_linux(void **state)
{
	(void)state;
	static const char *const namespaces[] = {"pid", "ipc", "uts", "mount", "network", "cgroup"};
	static const char *const masked[] = {
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
	};
	static const char *const fixed[] = {
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
	};
	static const int devices[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8},   {1, 9},
					 {5, 0}, {5, 1}, {5, 2}, {136, -1}};
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(defaults_create(&config, &err), &err);
	const struct oci_linux *l = config->linux;
	check_list(l->masked_paths, l->n_masked_paths, masked, ARRAY_LEN(masked));
	check_list(l->readonly_paths, l->n_readonly_paths, fixed, ARRAY_LEN(fixed));
	assert_int_equal(l->n_namespaces, ARRAY_LEN(namespaces));
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
		assert_string_equal(l->namespaces[i]->type, namespaces[i]);
	const struct oci_linux_resources *resources = l->resources;
	assert_int_equal(resources->n_devices, ARRAY_LEN(devices) + 1);
	assert_false(resources->devices[0]->allow);
	assert_null(resources->devices[0]->type);
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		const struct oci_linux_device_cgroup *device = resources->devices[i + 1];
		assert_true(device->allow);
		assert_string_equal(device->type, "c");
		assert_string_equal(device->access, "rwm");
		assert_int_equal(device->major, devices[i][0]);
		assert_int_equal(device->has_minor ? device->minor : -1, devices[i][1]);
	}
}

static void test_env(void **state)
{
	(void)state;
	static const char *const want[] = {
		("PATH=" DEFAULTS_PATH), "TERM=xterm", "HOSTNAME=box", "HOME=/root",
	};
	static const char *const own[] = {"HOMES=x", "TERM=", "PATH=/x", "HOSTNAME=box", "HOME=/h"};
	AUTO(oci_config) struct oci_config *config = NULL;
	AUTO(oci_config) struct oci_config *plain = NULL;
	struct err err = {0};
	assert_ok(defaults_create(&config, &err), &err);
	assert_ok(defaults_create(&plain, &err), &err);
	assert_ok(defaults_env(plain, NULL, &err), &err);
	check_list(plain->process->env, plain->process->n_env, want, 1);
	assert_int_equal(oci_config_set_hostname(config, "box"), 0);
	oci_process_set_terminal(config->process, true);
	assert_ok(defaults_env(config, "/root", &err), &err);
	check_list(config->process->env, config->process->n_env, want, ARRAY_LEN(want));
	oci_process_clear_env(config->process);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(oci_process_add_env(config->process, own[i]), 0);
	assert_ok(defaults_env(config, "/h", &err), &err);
	check_list(config->process->env, config->process->n_env, own, ARRAY_LEN(own));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_mounts),
		cmocka_unit_test(test_linux),
		cmocka_unit_test(test_env),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
