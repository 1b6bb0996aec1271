/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/defaults.h"

#include <string.h>

/* As it stands in config.json, and is best read. */
static const char defaults[] = "{"
	"\"ociVersion\":\"1.0.2\","
	"\"root\":{\"path\":\"rootfs\"},"
	"\"process\":{"
		"\"cwd\":\"/\","
		"\"user\":{\"uid\":0,\"gid\":0},"
		"\"noNewPrivileges\":true,"
		"\"capabilities\":{"
#define CAPABILITIES "[" \
			"\"CAP_CHOWN\",\"CAP_DAC_OVERRIDE\",\"CAP_FSETID\",\"CAP_FOWNER\"," \
			"\"CAP_MKNOD\",\"CAP_NET_RAW\",\"CAP_SETGID\",\"CAP_SETUID\"," \
			"\"CAP_SETFCAP\",\"CAP_SETPCAP\",\"CAP_NET_BIND_SERVICE\"," \
			"\"CAP_SYS_CHROOT\",\"CAP_KILL\",\"CAP_AUDIT_WRITE\"]"
			"\"bounding\":" CAPABILITIES ","
			"\"effective\":" CAPABILITIES ","
			"\"permitted\":" CAPABILITIES ","
			"\"inheritable\":[]}},"
	"\"mounts\":["
		"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\","
		"\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
		"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
		"\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
		"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
		"\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\","
			"\"mode=0620\",\"gid=5\"]},"
		"{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
		"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=64m\"]},"
		"{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
		"\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
		"{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
		"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
		"{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
		"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}],"
	"\"linux\":{"
		"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"
			"{\"type\":\"mount\"},{\"type\":\"network\"},{\"type\":\"cgroup\"}],"
		"\"resources\":{\"devices\":["
#define DEVICE(major, minor) "{\"allow\":true,\"type\":\"c\",\"major\":" #major \
		",\"minor\":" #minor ",\"access\":\"rwm\"}"
			"{\"allow\":false,\"access\":\"rwm\"},"
			DEVICE(1, 3) "," DEVICE(1, 5) "," DEVICE(1, 7) "," DEVICE(1, 8) ","
			DEVICE(1, 9) "," DEVICE(5, 0) "," DEVICE(5, 1) "," DEVICE(5, 2) ","
			"{\"allow\":true,\"type\":\"c\",\"major\":136,\"access\":\"rwm\"}]},"
		"\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/interrupts\","
			"\"/proc/kcore\",\"/proc/keys\",\"/proc/latency_stats\","
			"\"/proc/sched_debug\",\"/proc/scsi\",\"/proc/timer_list\","
			"\"/proc/timer_stats\",\"/sys/firmware\","
			"\"/sys/devices/virtual/powercap\"],"
		"\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\","
			"\"/proc/sysrq-trigger\"]}}";

int defaults_create(struct oci_config **ret, struct err *err)
{
	int r = oci_config_parse(defaults, sizeof(defaults) - 1, ret, err);
	return r < 0 ? err_prefix(err, r, "make the default configuration") : 0;
}

const char *defaults_find_env(const struct oci_process *process, const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < process->n_env; i++)
		if (strncmp(process->env[i], name, n) == 0 && process->env[i][n] == '=')
			return process->env[i] + n + 1;
	return NULL;
}

static int need_env(struct oci_process *process, const char *name, const char *value)
{
	AUTO_FREE char *text = NULL;
	if (!value || defaults_find_env(process, name))
		return 0;
	if (asprintf(&text, "%s=%s", name, value) < 0)
		return -ENOMEM;
	return oci_process_add_env(process, text);
}

int defaults_env(struct oci_config *config, const char *home, struct err *err)
{
	struct oci_process *process = oci_config_need_process(config);
	int r = process ? need_env(process, "PATH", DEFAULTS_PATH) : -ENOMEM;
	if (r == 0)
		r = need_env(process, "TERM", process->terminal ? "xterm" : NULL);
	if (r == 0)
		r = need_env(process, "HOSTNAME", config->hostname);
	if (r == 0)
		r = need_env(process, "HOME", home);
	return r < 0 ? err_set(err, r, "make the default environment") : 0;
}
