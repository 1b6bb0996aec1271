/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>

#include "fs/elf_needs.h"
#include "fs/expect.h"
#include "tests/unit/treekit.h"

enum { UNIT = 4096, DEVICE = 16 << 20, ELF_BYTES = 2048 };

/* ---- ELF files ---- */

struct maker {
	uint8_t bytes[ELF_BYTES];
	size_t strings; /* where the next one goes */
	Elf64_Dyn dyn[32];
	size_t n_dyn;
};

enum { AT_STRINGS = 512, AT_DYNAMIC = 1024, VADDR = 0x400000 };

static uint64_t add_string(struct maker *m, const char *text)
{
	size_t at = m->strings;
	assert_true(at + strlen(text) < AT_DYNAMIC);
	memcpy(m->bytes + at, text, strlen(text) + 1);
	m->strings += strlen(text) + 1;
	return at - AT_STRINGS;
}

static void add_dyn(struct maker *m, int64_t tag, uint64_t value)
{
	m->dyn[m->n_dyn].d_tag = tag;
	m->dyn[m->n_dyn++].d_un.d_val = value;
}

/* needed: names up to NULL; the others may be NULL. */
static void make_elf(struct maker *m, const char *interpreter, const char *runpath,
		     const char *const *needed)
{
	*m = (struct maker){.strings = AT_STRINGS + 1};
	Elf64_Ehdr head = {.e_type = ET_DYN, .e_machine = EM_X86_64, .e_phoff = sizeof(head),
			   .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3};
	memcpy(head.e_ident, ELFMAG, SELFMAG);
	head.e_ident[EI_CLASS] = ELFCLASS64;
	head.e_ident[EI_DATA] = ELFDATA2LSB;
	uint64_t interp = interpreter ? add_string(m, interpreter) : 0;
	for (; needed && *needed; needed++)
		add_dyn(m, DT_NEEDED, add_string(m, *needed));
	if (runpath)
		add_dyn(m, DT_RUNPATH, add_string(m, runpath));
	add_dyn(m, DT_STRTAB, VADDR + AT_STRINGS);
	add_dyn(m, DT_STRSZ, m->strings - AT_STRINGS);
	add_dyn(m, DT_NULL, 0);
	Elf64_Phdr segments[3] = {
		{.p_type = PT_LOAD, .p_vaddr = VADDR, .p_filesz = ELF_BYTES},
		{.p_type = PT_DYNAMIC, .p_offset = AT_DYNAMIC, .p_filesz = m->n_dyn * sizeof(Elf64_Dyn)},
		{.p_type = interpreter ? PT_INTERP : PT_NULL, .p_offset = AT_STRINGS + interp,
		 .p_filesz = interpreter ? strlen(interpreter) + 1 : 0}};
	memcpy(m->bytes, &head, sizeof(head));
	memcpy(m->bytes + sizeof(head), segments, sizeof(segments));
	memcpy(m->bytes + AT_DYNAMIC, m->dyn, m->n_dyn * sizeof(Elf64_Dyn));
}

struct bytes {
	const uint8_t *data;
	size_t n;
};

static ssize_t read_bytes(void *data, void *ret, size_t len, uint64_t off)
{
	const struct bytes *b = data;
	if (off >= b->n)
		return 0;
	size_t n = (size_t)u64_min(len, b->n - off);
	memcpy(ret, b->data + off, n);
	return (ssize_t)n;
}

static int parse(const struct maker *m, size_t n, struct elf_needs *ret, struct err *err)
{
	struct bytes bytes = {m->bytes, n};
	return elf_needs_parse(read_bytes, &bytes, ret, err);
}

static void test_elf(void **state)
{
	(void)state;
	static const char *const needed[] = {"libc.so.6", "libm.so.6", NULL};
	struct maker m;
	struct elf_needs needs;
	struct err err = {0};
	make_elf(&m, "/lib64/ld.so", "$ORIGIN/../lib:/opt", needed);
	assert_ok(parse(&m, ELF_BYTES, &needs, &err), &err);
	assert_string_equal(needs.interpreter, "/lib64/ld.so");
	assert_string_equal(needs.runpath, "$ORIGIN/../lib:/opt");
	assert_int_equal(needs.n_needed, 2);
	assert_string_equal(needs.needed[1], "libm.so.6");
	make_elf(&m, NULL, NULL, NULL);
	assert_ok(parse(&m, ELF_BYTES, &needs, &err), &err);
	assert_int_equal(needs.n_needed, 0);
	assert_string_equal(needs.interpreter, "");
	/* This very program, as some linker made it. */
	AUTO_FINISH(buf) struct buf self = buf_make(64 << 20);
	assert_ok(file_slurp(AT_FDCWD, "/proc/self/exe", &self, &err), &err);
	struct bytes bytes = {(const uint8_t *)self.data, self.len};
	assert_ok(elf_needs_parse(read_bytes, &bytes, &needs, &err), &err);
	assert_true(needs.interpreter[0] == '/' && needs.n_needed > 0);
}

static void test_broken_elf(void **state)
{
	(void)state;
	static const char *const needed[] = {"libc.so.6", NULL};
	static const struct {
		size_t at, n;
		uint64_t value;
		int r;
		const char *words;
	} cases[] = {
		{0, 1, 0, -ENOEXEC, "not a little-endian ELF"},
		{EI_DATA, 1, ELFDATA2MSB, -ENOEXEC, "not a little-endian ELF"},
		{EI_CLASS, 1, 7, -EBADMSG, "class"},
		{offsetof(Elf64_Ehdr, e_phoff), 8, UINT64_MAX - 60, -EBADMSG, "ends too early"},
		{offsetof(Elf64_Ehdr, e_phoff), 8, 1 << 30, -EBADMSG, "ends too early"},
		{offsetof(Elf64_Ehdr, e_phentsize), 2, 8, -EBADMSG, "too short"},
		{AT_DYNAMIC + 8, 8, 1 << 20, -EBADMSG, "name of it is nowhere"},
		{sizeof(Elf64_Ehdr) + offsetof(Elf64_Phdr, p_vaddr), 8, 1 << 30, -EBADMSG,
		 "name of it is nowhere"},
		{sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, p_offset), 8,
		 UINT64_MAX - 3, -EBADMSG, "ends too early"},
	};
	struct maker m;
	struct elf_needs needs;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		make_elf(&m, "/ld", NULL, needed);
		memcpy(m.bytes + cases[i].at, &cases[i].value, cases[i].n);
		assert_err(parse(&m, ELF_BYTES, &needs, &err), cases[i].r, &err, cases[i].words);
	}
	/* Cut anywhere: refused, or what is left is enough. */
	make_elf(&m, "/ld", NULL, needed);
	for (size_t n = 0; n < ELF_BYTES; n++) {
		struct err err = {0};
		int r = parse(&m, n, &needs, &err);
		assert_true(r == 0 || r == -EBADMSG || r == -ENOEXEC);
		assert_true(r < 0 || n >= AT_DYNAMIC);
	}
}

/* ---- an image ---- */

struct image {
	struct source device; /* in memory; units of UNIT bytes, none of them local */
	struct source *devices[1];
	uint8_t *bytes;
	uint64_t used;
	struct tree *tree;
	struct erofs *erofs;
	int fd;
	size_t n_units;
};

static uint64_t device_size(const struct source *source)
{
	(void)source;
	return DEVICE;
}

static ssize_t device_peek(struct source *source, void *data, size_t len, uint64_t off)
{
	memcpy(data, container_of(source, struct image, device)->bytes + off, len);
	return (ssize_t)len;
}

static bool device_unit(const struct source *source, uint64_t off, struct source_unit *ret)
{
	(void)source;
	if (off >= DEVICE)
		return false;
	uint64_t at = off / UNIT * UNIT;
	*ret = (struct source_unit){.off = at, .len = UNIT, .in_off = at, .in_len = UNIT};
	return true;
}

static const struct source_ops device_ops = {
	.size = device_size, .peek = device_peek, .unit = device_unit};

/* Each file begins a unit. */
static void add_file(struct image *image, const char *path, const void *data, size_t n)
{
	struct err err = {0};
	struct entry_extent extent = {.len = n, .dev_off = image->used};
	struct entry e = kit_entry(ENTRY_REG, path, NULL);
	e.size = n;
	e.extents = &extent;
	e.n_extents = 1;
	assert_ok(tree_add(image->tree, &e, &err), &err);
	memcpy(image->bytes + image->used, data, n);
	image->used += u64_align(n, UNIT);
	assert_true(image->used <= DEVICE);
}

static void add_text(struct image *image, const char *path, const char *text)
{
	add_file(image, path, text, strlen(text));
}

static void add_elf(struct image *image, const char *path, const char *interpreter,
		    const char *runpath, const char *const *needed)
{
	struct maker m;
	make_elf(&m, interpreter, runpath, needed);
	add_file(image, path, m.bytes, ELF_BYTES);
}

static void image_begin(struct image *image)
{
	*image = (struct image){.device.ops = &device_ops, .bytes = calloc(1, DEVICE), .fd = -1};
	image->devices[0] = &image->device;
	assert_non_null(image->bytes);
	assert_int_equal(tree_create(&image->tree), 0);
}

static void image_end(struct image *image)
{
	image->fd = kit_write(image->tree, 1);
	image->erofs = kit_open(image->fd);
}

static void image_free(struct image *image)
{
	erofs_close(image->erofs);
	tree_destroy(image->tree);
	(void)close(image->fd);
	free(image->bytes);
}

/* Whether the plans of all steps together have the file, and which step was it. 0: none. */
static unsigned int step_of(struct image *image, const char *config, const char *path)
{
	struct err err = {0};
	struct erofs_extent x;
	struct expect *expect = NULL;
	struct erofs_inode inode = kit_find(image->erofs, path);
	assert_int_equal(erofs_map(image->erofs, &inode, 0, &x), 0);
	struct expect_config c = {.image = image->erofs, .sources = image->devices, .n_sources = 1,
				  .config = config, .config_len = strlen(config)};
	assert_ok(expect_create(&c, &expect, &err), &err);
	unsigned int found = 0, step = 0;
	int r = 1;
	while (r == 1) {
		AUTO(plan) struct plan *plan = NULL;
		step++;
		assert_int_equal(plan_create(image->devices, 1, &plan), 0);
		r = expect_next(expect, plan, &err);
		assert_true(r >= 0);
		assert_int_equal(plan_cut(plan), 0);
		for (size_t i = 0; i < plan_count(plan); i++) {
			const struct plan_run *run = plan_run(plan, i);
			for (size_t k = 0; k < run->n_ranges; k++)
				if (x.dev_off >= run->ranges[k].off &&
				    x.dev_off - run->ranges[k].off < run->ranges[k].len)
					found = found ? found : step;
		}
		assert_in_range(step, 1, EXPECT_DEPTH_MAX);
	}
	expect_destroy(expect);
	return found;
}

static void image_of_all(struct image *image)
{
	static const char *const app[] = {"libone.so", "libhere.so", "libnowhere.so", NULL};
	static const char *const one[] = {"libtwo.so", "libone.so", NULL};
	static const char *const entries[] = {"d usr", "d usr/bin", "d usr/lib", "d opt", "d opt/app",
					      "d opt/app/bin", "d opt/app/lib", "d lib64", "d etc",
					      "d usr/lib/x86_64-linux-gnu", "l bin>usr/bin",
					      "l usr/bin/tool>../../opt/app/bin/app", "d work", NULL};
	image_begin(image);
	kit_add_all(image->tree, entries);
	add_elf(image, "opt/app/bin/app", "/lib64/ld.so", "$ORIGIN/../lib", app);
	add_elf(image, "usr/lib/x86_64-linux-gnu/libone.so", NULL, NULL, one);
	add_elf(image, "usr/lib/libtwo.so", NULL, NULL, NULL);
	add_elf(image, "opt/app/lib/libhere.so", NULL, NULL, NULL);
	add_elf(image, "lib64/ld.so", NULL, NULL, NULL);
	add_text(image, "etc/ld.so.cache", "a cache");
	add_text(image, "etc/other", "other");
	add_text(image, "work/script", "#! /usr/bin/env  tool\nmore\n");
	add_text(image, "work/loop", "#!/work/loop\n");
	add_text(image, "work/plain", "no program\n");
	image_end(image);
}

static void test_program(void **state)
{
	(void)state;
	static const char *const configs[] = {
		"{\"architecture\": \"amd64\", \"config\": {\"Entrypoint\": [\"/opt/app/bin/app\"]}}",
		"{\"architecture\": \"amd64\", \"config\": {\"Cmd\": [\"tool\", \"x\"]}}",
		"{\"architecture\": \"amd64\", \"config\": {\"Entrypoint\": [\"bin/app\"], "
		"\"WorkingDir\": \"/opt/app\"}}",
		"{\"architecture\": \"amd64\", \"config\": {\"Cmd\": [\"app\"], "
		"\"Env\": [\"A=b\", \"PATH=/nowhere:/opt/app/bin\"]}}",
		"{\"architecture\": \"amd64\", \"config\": {\"Entrypoint\": [\"/work/plain\"], "
		"\"Cmd\": [\"/opt/app/bin/app\"]}}",
	};
	struct image image;
	image_of_all(&image);
	for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
		/* In the order in which they are found: the program, what it needs, what that needs. */
		assert_int_equal(step_of(&image, configs[i], "opt/app/bin/app"), 1);
		assert_int_equal(step_of(&image, configs[i], "lib64/ld.so"), 2);
		assert_int_equal(step_of(&image, configs[i], "etc/ld.so.cache"), 2);
		assert_int_equal(step_of(&image, configs[i], "opt/app/lib/libhere.so"), 2);
		assert_int_equal(
			step_of(&image, configs[i], "usr/lib/x86_64-linux-gnu/libone.so"), 2);
		assert_int_equal(step_of(&image, configs[i], "usr/lib/libtwo.so"), 3);
		assert_int_equal(step_of(&image, configs[i], "etc/other"), 0);
	}
	image_free(&image);
}

static void test_script(void **state)
{
	(void)state;
	static const char config[] = "{\"architecture\": \"amd64\", \"config\": {"
				     "\"Entrypoint\": [\"/work/script\"]}}";
	static const char env[] = "ELF or not";
	struct image image;
	image_begin(&image);
	static const char *const entries[] = {"d usr", "d usr/bin", "d work", NULL};
	kit_add_all(image.tree, entries);
	add_text(&image, "work/script", "#! /usr/bin/env  tool\nmore\n");
	add_text(&image, "usr/bin/env", env);
	add_text(&image, "usr/bin/tool", "#!/work/loop");
	add_text(&image, "work/loop", "#!/work/loop\n");
	image_end(&image);
	assert_int_equal(step_of(&image, config, "work/script"), 1);
	assert_int_equal(step_of(&image, config, "usr/bin/env"), 2);
	assert_int_equal(step_of(&image, config, "usr/bin/tool"), 2);
	assert_int_equal(step_of(&image, config, "work/loop"), 3);
	image_free(&image);
}

/* Configurations that name nothing, or nothing of use, lead nowhere. */
static void test_nothing(void **state)
{
	(void)state;
	static const char *const configs[] = {
		"{}",
		"{\"config\": {}}",
		"{\"config\": 5}",
		"{\"config\": {\"Entrypoint\": [], \"Cmd\": [\"\"]}}",
		"{\"config\": {\"Entrypoint\": \"/opt/app/bin/app\", \"Env\": [7, \"PATH=\"]}}",
		"{\"config\": {\"Entrypoint\": [\"nowhere\"], \"Cmd\": [\"/nowhere\"]}}",
		"{\"config\": {\"Entrypoint\": [\"/opt\"], \"WorkingDir\": 4}}",
	};
	struct image image;
	struct err err = {0};
	struct expect *expect = NULL;
	image_of_all(&image);
	for (size_t i = 0; i < ARRAY_LEN(configs); i++)
		assert_int_equal(step_of(&image, configs[i], "opt/app/bin/app"), 0);
	struct expect_config c = {.image = image.erofs, .sources = image.devices, .n_sources = 1,
				  .config = "[]", .config_len = 2};
	assert_err(expect_create(&c, &expect, &err), -EINVAL, &err, "the image's configuration");
	image_free(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_broken_elf),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_script),
		cmocka_unit_test(test_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
