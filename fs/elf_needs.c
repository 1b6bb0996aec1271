/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/elf_needs.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/le.h"
#include "base/num.h"

/* A program header, of either class. */
struct segment {
	uint32_t type;
	uint64_t off, vaddr, filesz;
};

struct parser {
	elf_read_fn read;
	void *data;
	bool wide; /* ELFCLASS64 */
	struct segment segments[ELF_NEEDS_SEGMENTS_MAX];
	size_t n_segments;
	uint64_t strtab, strsz; /* of the dynamic linker's names, in memory */
	uint64_t needed[ELF_NEEDS_LIBS_MAX];
	size_t n_needed;
	uint64_t rpath, runpath; /* offsets of names; UINT64_MAX: none */
};

static int broken(struct err *err, const char *what)
{
	return err_say(err, -EBADMSG, "read an ELF file: %s", what);
}

/* All of it, or -EBADMSG. */
static int read_all(struct parser *p, void *ret, size_t len, uint64_t off, struct err *err)
{
	ssize_t n = off > INT64_MAX ? 0 : p->read(p->data, ret, len, off);
	if (n < 0)
		return err_set(err, (int)n, "read an ELF file");
	return (size_t)n == len ? 0 : broken(err, "it ends too early");
}

static uint64_t word(const struct parser *p, const uint8_t *at)
{
	return p->wide ? le64_get(at) : le32_get(at);
}

static int read_segments(struct parser *p, uint64_t off, size_t size, size_t n, struct err *err)
{
	uint8_t raw[sizeof(Elf64_Phdr)];
	size_t want = p->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	if (size < want)
		return broken(err, "its program headers are too short");
	for (size_t i = 0; i < n && i < ELF_NEEDS_SEGMENTS_MAX; i++) {
		uint64_t at = off + i * size;
		int r = at < off ? broken(err, "its program headers are nowhere") :
				   read_all(p, raw, want, at, err);
		if (r < 0)
			return r;
		struct segment *s = &p->segments[p->n_segments++];
		s->type = le32_get(raw);
		s->off = word(p, raw + (p->wide ? offsetof(Elf64_Phdr, p_offset) :
						  offsetof(Elf32_Phdr, p_offset)));
		s->vaddr = word(p, raw + (p->wide ? offsetof(Elf64_Phdr, p_vaddr) :
						    offsetof(Elf32_Phdr, p_vaddr)));
		s->filesz = word(p, raw + (p->wide ? offsetof(Elf64_Phdr, p_filesz) :
						     offsetof(Elf32_Phdr, p_filesz)));
	}
	return 0;
}

static int read_head(struct parser *p, struct err *err)
{
	uint8_t raw[sizeof(Elf64_Ehdr)];
	ssize_t n = p->read(p->data, raw, sizeof(raw), 0);
	if (n < 0)
		return err_set(err, (int)n, "read an ELF file");
	if ((size_t)n < sizeof(Elf32_Ehdr) || memcmp(raw, ELFMAG, SELFMAG) != 0 ||
	    raw[EI_DATA] != ELFDATA2LSB)
		return err_say(err, -ENOEXEC, "not a little-endian ELF file");
	p->wide = raw[EI_CLASS] == ELFCLASS64;
	if (!p->wide && raw[EI_CLASS] != ELFCLASS32)
		return broken(err, "its class is unknown");
	if (p->wide && (size_t)n < sizeof(Elf64_Ehdr))
		return broken(err, "it ends too early");
	if (p->wide)
		return read_segments(p, le64_get(raw + offsetof(Elf64_Ehdr, e_phoff)),
				     le16_get(raw + offsetof(Elf64_Ehdr, e_phentsize)),
				     le16_get(raw + offsetof(Elf64_Ehdr, e_phnum)), err);
	return read_segments(p, le32_get(raw + offsetof(Elf32_Ehdr, e_phoff)),
			     le16_get(raw + offsetof(Elf32_Ehdr, e_phentsize)),
			     le16_get(raw + offsetof(Elf32_Ehdr, e_phnum)), err);
}

static void take_entry(struct parser *p, uint64_t tag, uint64_t value)
{
	switch (tag) {
	case DT_NEEDED:
		if (p->n_needed < ELF_NEEDS_LIBS_MAX)
			p->needed[p->n_needed++] = value;
		break;
	case DT_STRTAB:
		p->strtab = value;
		break;
	case DT_STRSZ:
		p->strsz = value;
		break;
	case DT_RPATH:
		p->rpath = value;
		break;
	case DT_RUNPATH:
		p->runpath = value;
		break;
	default:
		break;
	}
}

static int read_dynamic(struct parser *p, const struct segment *s, struct err *err)
{
	uint8_t raw[sizeof(Elf64_Dyn) * 32];
	size_t size = p->wide ? sizeof(Elf64_Dyn) : sizeof(Elf32_Dyn);
	uint64_t end = u64_min(s->filesz / size, ELF_NEEDS_DYNAMIC_MAX);
	for (uint64_t i = 0; i < end;) {
		size_t n = (size_t)u64_min(end - i, sizeof(raw) / size);
		uint64_t at = s->off + i * size;
		int r = at < s->off ? broken(err, "its dynamic section is nowhere") :
				      read_all(p, raw, n * size, at, err);
		if (r < 0)
			return r;
		for (size_t k = 0; k < n; k++) {
			const uint8_t *entry = raw + k * size;
			uint64_t tag = word(p, entry);
			if (tag == DT_NULL)
				return 0;
			take_entry(p, tag, word(p, entry + size / 2));
		}
		i += n;
	}
	return 0;
}

/* Where in the file what will be at an address is. False: nowhere. */
static bool file_offset(const struct parser *p, uint64_t vaddr, uint64_t *ret)
{
	for (size_t i = 0; i < p->n_segments; i++) {
		const struct segment *s = &p->segments[i];
		if (s->type != PT_LOAD || vaddr < s->vaddr || vaddr - s->vaddr >= s->filesz ||
		    s->off > INT64_MAX)
			continue;
		*ret = s->off + (vaddr - s->vaddr);
		return *ret >= s->off;
	}
	return false;
}

/* A text that ends with a NUL within n bytes; empty when it is too long for us. */
static int read_text(struct parser *p, uint64_t off, uint64_t n, char ret[static ELF_NEEDS_NAME_MAX],
		     struct err *err)
{
	char text[ELF_NEEDS_NAME_MAX];
	size_t most = (size_t)u64_min(n, sizeof(text));
	ssize_t got = off > INT64_MAX ? 0 : p->read(p->data, text, most, off);
	if (got < 0)
		return err_set(err, (int)got, "read an ELF file");
	const char *end = memchr(text, '\0', (size_t)got);
	if (!end && (size_t)got < sizeof(text))
		return broken(err, "a name of it does not end");
	(void)memcpy(ret, end ? text : "", end ? (size_t)(end - text) + 1 : 1);
	return 0;
}

static int read_name(struct parser *p, uint64_t name, char ret[static ELF_NEEDS_NAME_MAX],
		     struct err *err)
{
	uint64_t off;
	if (name >= p->strsz || p->strtab > UINT64_MAX - name ||
	    !file_offset(p, p->strtab + name, &off))
		return broken(err, "a name of it is nowhere");
	return read_text(p, off, p->strsz - name, ret, err);
}

static int read_names(struct parser *p, struct elf_needs *ret, struct err *err)
{
	int r = 0;
	for (size_t i = 0; i < p->n_needed && r == 0; i++) {
		r = read_name(p, p->needed[i], ret->needed[ret->n_needed], err);
		ret->n_needed += r == 0 && ret->needed[ret->n_needed][0] != '\0';
	}
	uint64_t path = p->runpath != UINT64_MAX ? p->runpath : p->rpath;
	return r == 0 && path != UINT64_MAX ? read_name(p, path, ret->runpath, err) : r;
}

int elf_needs_parse(elf_read_fn read, void *data, struct elf_needs *ret, struct err *err)
{
	struct parser p = {.read = read, .data = data, .rpath = UINT64_MAX, .runpath = UINT64_MAX};
	int r = read_head(&p, err);
	if (r < 0)
		return r;
	ret->interpreter[0] = ret->runpath[0] = '\0';
	ret->n_needed = 0;
	for (size_t i = 0; i < p.n_segments && r == 0; i++) {
		const struct segment *s = &p.segments[i];
		if (s->type == PT_INTERP && s->filesz > 0)
			r = read_text(&p, s->off, s->filesz, ret->interpreter, err);
		else if (s->type == PT_DYNAMIC)
			r = read_dynamic(&p, s, err);
	}
	return r == 0 ? read_names(&p, ret, err) : r;
}
