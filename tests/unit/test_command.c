/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/command.h"

#include <elf.h>

#include "exec/binfmt.h"
#include "tests/unit/rootkit.h"

static const char usual_path[] = "/usr/local/bin:/usr/bin:/bin";

/* A program of this machine or another; loader NULL: static. */
static void put_elf(const struct rootkit *kit, const char *name, uint16_t machine, bool wide,
		    const char *loader)
{
	unsigned char file[512] = {0};
	Elf64_Ehdr e64 = {.e_type = ET_EXEC, .e_machine = machine, .e_phoff = 64,
			  .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2};
	Elf32_Ehdr e32 = {.e_type = ET_EXEC, .e_machine = machine, .e_phoff = 64,
			  .e_phentsize = sizeof(Elf32_Phdr), .e_phnum = 2};
	size_t n = loader ? strlen(loader) + 1 : 0;
	Elf64_Phdr p64[2] = {{.p_type = PT_LOAD},
			     {.p_type = loader ? PT_INTERP : PT_NULL, .p_offset = 256, .p_filesz = n}};
	Elf32_Phdr p32[2] = {{.p_type = PT_LOAD},
			     {.p_type = loader ? PT_INTERP : PT_NULL, .p_offset = 256,
			      .p_filesz = (Elf32_Word)n}};
	unsigned char ident[EI_NIDENT] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
					  wide ? ELFCLASS64 : ELFCLASS32, ELFDATA2LSB, EV_CURRENT};
	memcpy(file, wide ? (void *)&e64 : (void *)&e32, wide ? sizeof(e64) : sizeof(e32));
	memcpy(file, ident, sizeof(ident));
	memcpy(file + 64, wide ? (void *)p64 : (void *)p32, wide ? sizeof(p64) : sizeof(p32));
	memcpy(file + 256, loader ? loader : "", n);
	rootkit_file(kit, name, 0755, file, sizeof(file));
}

#if defined(__x86_64__)
enum { NATIVE = EM_X86_64, NATIVE_NARROW = EM_386, FOREIGN = EM_S390 };
#define NATIVE_NAME "amd64"
#elif defined(__aarch64__)
enum { NATIVE = EM_AARCH64, NATIVE_NARROW = EM_ARM, FOREIGN = EM_S390 };
#define NATIVE_NAME "arm64"
#endif

static int setup(void **state)
{
	(void)rootkit_make(state);
	const struct rootkit *kit = *state;
	put_elf(kit, "lib/ld.so", NATIVE, true, NULL);
	put_elf(kit, "usr/bin/tool", NATIVE, true, "/lib/ld.so");
	rootkit_link(kit, "bin", "usr/bin");
	rootkit_dir(kit, "work", 0755);
	return 0;
}

static struct command_search search_in(const struct rootkit *kit)
{
	return (struct command_search){.root = kit->fd, .path = usual_path, .cwd = "/work"};
}

static void check_found(const struct command_search *search, const char *name, const char *path)
{
	AUTO_FINISH(command) struct command command = {0};
	struct err err = {0};
	assert_ok(command_find(search, name, &command, &err), &err);
	assert_string_equal(command.path ? command.path : "-", path ? path : "-");
}

static void test_find(void **state)
{
	const struct rootkit *kit = *state;
	struct command_search search = search_in(kit);
	put_elf(kit, "work/own", NATIVE, true, NULL);
	rootkit_dir(kit, "usr/local/bin/tool", 0755); /* is passed over */
	rootkit_text(kit, "usr/local/bin/later", "not executable");
	put_elf(kit, "usr/bin/later", NATIVE, true, NULL);
	check_found(&search, "tool", "/usr/bin/tool");
	check_found(&search, "later", "/usr/bin/later");
	check_found(&search, "/bin/tool", "/bin/tool");
	check_found(&search, "./own", "/work/./own");
	check_found(&search, "../bin/tool", "/work/../bin/tool");
	search.path = "";
	check_found(&search, "own", "/work/own");
	search.path = "relative:/bin";
	check_found(&search, "tool", "/bin/tool");
}

static void check_refused(const struct command_search *search, const char *name, int r, int status,
			  const char *words)
{
	struct command command = {0};
	struct err err = {0};
	assert_err(command_find(search, name, &command, &err), r, &err, words);
	assert_int_equal(command_exit_status(r), status);
	assert_null(command.path);
}

static void test_not_found(void **state)
{
	const struct rootkit *kit = *state;
	struct command_search search = search_in(kit);
	char outside[ROOTKIT_PATH_MAX];
	(void)snprintf(outside, sizeof(outside), "%s/sh", kit->host);
	rootkit_link(kit, "usr/bin/out", "/../../bin/sh");
	check_refused(&search, "none", -ENOENT, 127,
		      "there is no command 'none' along the PATH "
		      "/usr/local/bin:/usr/bin:/bin of the image");
	check_refused(&search, "", -ENOENT, 127, "there is no command ''");
	check_refused(&search, "/none", -ENOENT, 127, "there is no command '/none' in the image");
	check_refused(&search, "./tool", -ENOENT, 127, "there is no command './tool' in the image");
	check_refused(&search, "/usr/bin/tool/x", -ENOENT, 127, "there is no command");
	check_refused(&search, outside, -ENOENT, 127, "there is no command");
	check_refused(&search, "out", -ENOENT, 127, "there is no command 'out'");
}

static void test_not_executable(void **state)
{
	const struct rootkit *kit = *state;
	struct command_search search = search_in(kit);
	char path[ROOTKIT_PATH_MAX];
	rootkit_text(kit, "usr/bin/data", "#!/lib/ld.so\n");
	rootkit_path(kit, "usr/bin/fifo", path);
	assert_int_equal(mkfifo(path, 0777), 0);
	rootkit_file(kit, "usr/bin/text", 0755, "echo hello\n", 11);
	rootkit_file(kit, "usr/bin/empty", 0755, "", 0);
	rootkit_link(kit, "usr/bin/loop", "loop");
	check_refused(&search, "data", -EACCES, 126, "the command 'data' is not executable");
	check_refused(&search, "/work", -EACCES, 126, "the command '/work' is a directory");
	check_refused(&search, "/bin/fifo", -EACCES, 126, "'/bin/fifo' is not executable");
	check_refused(&search, "text", -ENOEXEC, 126,
		      "'/usr/bin/text' is neither a program nor a script that names its interpreter");
	check_refused(&search, "empty", -ENOEXEC, 126, "neither a program nor a script");
	check_refused(&search, "/bin/loop", -ELOOP, 126, "find the command '/bin/loop'");
}

static void test_permission(void **state)
{
	const struct rootkit *kit = *state;
	uint32_t groups[] = {4, 100};
	struct user user = {.uid = 1000, .gid = 1000};
	struct command_search search = search_in(kit);
	char path[ROOTKIT_PATH_MAX];
	rootkit_path(kit, "usr/bin/tool", path);
	if (geteuid() != 0 || chown(path, 5, 100) < 0)
		skip();
	search.user = &user;
	assert_int_equal(chmod(path, 0710), 0);
	check_refused(&search, "tool", -EACCES, 126, "the command 'tool' is not executable");
	user.gids = groups;
	user.n_gids = ARRAY_LEN(groups);
	check_found(&search, "tool", "/usr/bin/tool");
	assert_int_equal(chmod(path, 0701), 0);
	check_refused(&search, "tool", -EACCES, 126, "not executable");
	user.uid = 5;
	check_found(&search, "tool", "/usr/bin/tool");
	assert_int_equal(chmod(path, 0011), 0);
	check_refused(&search, "tool", -EACCES, 126, "not executable");
	search.user = NULL;
	check_found(&search, "tool", "/usr/bin/tool");
}

static void put_script(const struct rootkit *kit, const char *name, const char *text)
{
	rootkit_file(kit, name, 0755, text, strlen(text));
}

static void test_scripts(void **state)
{
	const struct rootkit *kit = *state;
	struct command_search search = search_in(kit);
	char name[32], text[400];
	put_script(kit, "good", "#! \t/bin/tool -x\nrest");
	put_script(kit, "relative", "#!../bin/tool");
	put_script(kit, "bash", "#!/bin/bash\n");
	put_script(kit, "crlf", "#!/bin/tool\r\n");
	put_script(kit, "nothing", "#!  \n");
	put_script(kit, "directory", "#!/work\n");
	(void)snprintf(text, sizeof(text), "#!/%0300d\n", 0);
	put_script(kit, "long", text);
	check_found(&search, "/good", "/good");
	check_found(&search, "/relative", "/relative");
	check_refused(&search, "/bash", -ENOENT, 127,
		      "'/bash' needs the interpreter '/bin/bash', which is not in the image");
	check_refused(&search, "/crlf", -ENOENT, 127,
		      "'/crlf' needs the interpreter '/bin/tool\\r', which is not in the image: its "
		      "lines end with CRLF");
	check_refused(&search, "/nothing", -ENOEXEC, 126, "neither a program nor a script");
	check_refused(&search, "/long", -ENOEXEC, 126, "neither a program nor a script");
	check_refused(&search, "/directory", -EACCES, 126,
		      "'/directory' needs the interpreter '/work', which is not executable");
	put_script(kit, "s0", "#!/bin/tool\n");
	for (int i = 1; i <= COMMAND_SCRIPTS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "s%d", i);
		(void)snprintf(text, sizeof(text), "#!/s%d\n", i - 1);
		put_script(kit, name, text);
	}
	check_found(&search, "/s4", "/s4");
	check_refused(&search, "/s5", -ELOOP, 126,
		      "'/s5' is interpreted by scripts more than 5 deep");
}

static void test_elf(void **state)
{
	const struct rootkit *kit = *state;
	struct command_search search = search_in(kit);
	put_elf(kit, "foreign", FOREIGN, true, NULL);
	put_elf(kit, "exotic", 12345, true, NULL);
	put_elf(kit, "musl", NATIVE, true, "/lib/ld-musl.so.1");
	rootkit_file(kit, "stub", 0755, ELFMAG "\2\1\1", 7);
	check_refused(&search, "/foreign", -ENOEXEC, 126,
		      "'/foreign' is a program for machine 22, not for this machine (" NATIVE_NAME
		      "), and no emulator is set up for it");
	check_refused(&search, "/exotic", -ENOEXEC, 126, "a program for machine 12345");
	check_refused(&search, "/stub", -ENOEXEC, 126, "'/stub' is a broken ELF program");
	check_refused(&search, "/musl", -ENOENT, 127,
		      "'/musl' needs the loader '/lib/ld-musl.so.1', which is not in the image");
	put_elf(kit, "arm", NATIVE == EM_X86_64 ? EM_AARCH64 : EM_X86_64, true, NULL);
	check_refused(&search, "/arm", -ENOEXEC, 126,
		      NATIVE == EM_X86_64 ? "is a program for arm64" : "is a program for amd64");
}

static void test_narrow(void **state)
{
	const struct rootkit *kit = *state;
	struct command_search search = search_in(kit);
	AUTO_FINISH(command) struct command wide = {0};
	AUTO_FINISH(command) struct command narrow = {0};
	struct err err = {0};
	put_elf(kit, "narrow", NATIVE_NARROW, false, NULL);
	put_script(kit, "script", "#!/narrow\n");
	assert_ok(command_find(&search, "tool", &wide, &err), &err);
	assert_true(wide.seen);
	assert_false(wide.is_32bit);
	assert_false(command_has_32bit(kit->fd, &wide));
	assert_ok(command_find(&search, "/script", &narrow, &err), &err);
	assert_true(narrow.is_32bit);
	assert_true(command_has_32bit(kit->fd, &narrow));
	assert_true(command_has_32bit(kit->fd, &(struct command){0}));
	rootkit_text(kit, NATIVE == EM_X86_64 ? "lib/ld-linux.so.2" : "lib/ld-linux-armhf.so.3", "");
	assert_true(command_has_32bit(kit->fd, &wide));
}

/* What a volume brings is not in the image, and must not be refused for that. */
static void test_mounts(void **state)
{
	const struct rootkit *kit = *state;
	static const char *const mounts[] = {"/vol", "/usr/bin", NULL};
	struct command_search search = search_in(kit);
	AUTO_FINISH(command) struct command command = {0};
	struct err err = {0};
	put_script(kit, "script", "#!/usr/bin/shell\n");
	rootkit_link(kit, "link", "/vol/x");
	search.mounts = mounts;
	check_found(&search, "/vol/none", "/vol/none");
	check_found(&search, "/link/none", "/link/none");
	check_found(&search, "/script", "/script");
	check_found(&search, "none", NULL);
	check_refused(&search, "/volume", -ENOENT, 127, "there is no command");
	assert_ok(command_find(&search, "/vol/none", &command, &err), &err);
	assert_false(command.seen);
}

static void test_binfmt(void **state)
{
	const struct rootkit *kit = *state;
	char path[ROOTKIT_PATH_MAX];
	rootkit_text(kit, "b/off", "disabled\ninterpreter /x\nflags: \noffset 0\nmagic 4142\n");
	rootkit_text(kit, "b/status", "enabled\n");
	rootkit_text(kit, "b/ext", "enabled\ninterpreter /x\nflags: \nextension .py\n");
	rootkit_text(kit, "b/far", "enabled\ninterpreter /x\nflags: \noffset 4294967295\nmagic 41\n");
	rootkit_text(kit, "b/on",
		     "enabled\ninterpreter /x\nflags: F\noffset 1\nmagic 7f0a\nmask ff0f\n");
	rootkit_path(kit, "b", path);
	AUTO_CLOSE int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	assert_true(binfmt_matches(dir, "x\x7f\xfa", 3));
	assert_false(binfmt_matches(dir, "x\x7f\xfb", 3));
	assert_false(binfmt_matches(dir, "x\x7f", 2));
	assert_false(binfmt_matches(dir, "AB", 2));
	assert_false(binfmt_matches(dir, "", 0));
}

#define WITH_ROOT(name) cmocka_unit_test_setup_teardown(name, setup, rootkit_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(test_find),	  WITH_ROOT(test_not_found), WITH_ROOT(test_not_executable),
		WITH_ROOT(test_permission), WITH_ROOT(test_scripts), WITH_ROOT(test_elf),
		WITH_ROOT(test_narrow),	  WITH_ROOT(test_mounts),    WITH_ROOT(test_binfmt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
