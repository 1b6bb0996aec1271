# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a machine can check, as functions over a source tree.

Every rule takes the root of the tree and returns its violations as sentences that begin
with the file and the line; an empty list means that the rule holds.
"""
import ast
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
COMPILE_SECONDS_MAX = 60

FOLDERS = ("base", "fetcher", "fs", "exec", "pool", "tools", "tests")
# folder: the folders whose headers it may include
MAY_INCLUDE = {
    "base": {"base"},
    "fetcher": {"base", "fetcher"},
    "fs": {"base", "fetcher", "fs"},
    "exec": {"base", "exec"},
    "pool": {"base", "fetcher", "fs", "exec", "pool"},
    "tools": {"base", "fetcher", "fs", "exec", "pool", "tools"},
    "tests": set(FOLDERS),
}

# header that the build makes: the script that makes it, given the folder to write it to
GENERATED = {"exec/spec/oci.h": "exec/spec/generate.py"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
COMMENT_OR_LITERAL = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
ENVIRONMENT = re.compile(r"\b(?:secure_)?getenv\s*\(|\benviron\b")
BRACE_AT_END = re.compile(r"^[A-Za-z_].*\)\s*\{\s*$")


def sources(root, *suffixes):
    """The files of the project's folders with one of the suffixes, in a fixed order."""
    found = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
                found.append(path)
    return found


def where(root, path, line):
    return f"{path.relative_to(root)}:{line}"


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def blank(text):
    """C text with comments and literals blanked, every line kept in its place."""
    return COMMENT_OR_LITERAL.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def includes(root):
    """Includes go one way: base <- fetcher <- fs; base <- exec; both <- pool <- tools."""
    bad = []
    for path in sources(root, ".c", ".h"):
        folder = path.relative_to(root).parts[0]
        text = path.read_text()
        for match in INCLUDE.finditer(text):
            bracket, name = match.groups()
            at = where(root, path, line_of(text, match.start()))
            target = name.split("/")[0]
            if bracket == "<":
                if "/" in name and target in FOLDERS and (root / name).exists():
                    bad.append(f'{at}: write our own header as "{name}"')
            elif target not in FOLDERS or ".." in name or "/" not in name:
                bad.append(f'{at}: "{name}" is not a path from the root of the tree')
            elif target not in MAY_INCLUDE[folder]:
                bad.append(f"{at}: {folder}/ may not include {target}/ (\"{name}\")")
            elif not (root / GENERATED.get(name, name)).is_file():
                bad.append(f'{at}: there is no "{name}"')
            elif not name.endswith(".h") and folder != "tests":
                bad.append(f'{at}: "{name}" is not a header')
    return bad


def c_functions(text):
    """(first line, lines) of every function body, and the first lines of misplaced braces."""
    spans, misplaced, start = [], [], None
    for number, line in enumerate(blank(text).split("\n"), 1):
        if line.rstrip() == "{":
            start = number
        elif line.startswith("}") and start is not None:
            spans.append((start, number - start - 1))
            start = None
        elif start is None and BRACE_AT_END.match(line):
            misplaced.append(number)
    return spans, misplaced


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno


def lengths(root):
    """No function body over 70 lines, no file over 800."""
    bad = []
    for path in sources(root, ".c", ".h", ".py", ".bash", ""):
        text = path.read_text(errors="replace")
        lines = text.count("\n")
        if path.suffix == "" and not text.startswith("#!"):
            continue
        if lines > FILE_LINES_MAX:
            bad.append(f"{where(root, path, lines)}: {lines} lines, at most {FILE_LINES_MAX}")
        if path.suffix in (".c", ".h"):
            spans, misplaced = c_functions(text)
            bad += [f"{where(root, path, n)}: a function's brace opens a line of its own"
                    for n in misplaced]
        elif path.suffix == ".py":
            spans = python_functions(text)
        else:
            continue
        bad += [f"{where(root, path, first)}: function of {n} lines, at most {FUNCTION_LINES_MAX}"
                for first, n in spans if n > FUNCTION_LINES_MAX]
    return bad


def licence(root):
    """The SPDX line opens every source file (after #! where there is one)."""
    bad = []
    paths = sources(root, ".c", ".h", ".py", ".bash", ".build", "")
    paths += [p for p in (root / "meson.build", root / "meson_options.txt") if p.exists()]
    for path in paths:
        lines = path.read_text(errors="replace").split("\n", 2)
        if path.suffix == "" and not lines[0].startswith("#!"):
            continue
        line = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        if "SPDX-License-Identifier: Apache-2.0" not in line:
            bad.append(f"{where(root, path, 1)}: no SPDX line at the top")
    return bad


def environment(root):
    """The environment is read in tools/ only."""
    bad = []
    for path in sources(root, ".c", ".h"):
        if path.relative_to(root).parts[0] in ("tools", "tests"):
            continue
        text = blank(path.read_text())
        bad += [f"{where(root, path, line_of(text, m.start()))}: the environment is read in tools/"
                for m in ENVIRONMENT.finditer(text)]
    return bad


def package_flags():
    """Where Debian keeps the headers of the libraries that ours may include."""
    flags = subprocess.run(["pkg-config", "--cflags", "fuse3", "libcurl", "jansson", "libzstd",
                            "libseccomp"],
                           capture_output=True, text=True, timeout=COMPILE_SECONDS_MAX)
    return flags.stdout.split()


def headers(root, compiler):
    """Every header compiles alone, and twice."""
    if not shutil.which(compiler):
        return None
    with tempfile.TemporaryDirectory(prefix="sluice-lint-") as made:
        generated = generate(root, Path(made))
        return headers_alone(root, compiler, Path(made), generated)


def generate(root, out):
    """Makes the headers that the build would make; their names."""
    made = [name for name, script in GENERATED.items() if (root / script).is_file()]
    for name in made:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-B", root / GENERATED[name], (out / name).parent],
                       check=True, timeout=COMPILE_SECONDS_MAX)
    return made


def headers_alone(root, compiler, out, generated):
    flags = [compiler, "-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
             "-Wno-unused-function", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-DHAVE_ISAL=0",
             f"-I{root}", f"-I{out}", *package_flags(), "-x", "c", "-"]
    bad = []
    for name in [path.relative_to(root) for path in sources(root, ".h")] + generated:
        result = subprocess.run(flags, input=f'#include "{name}"\n#include "{name}"\n', text=True,
                                capture_output=True, timeout=COMPILE_SECONDS_MAX)
        if result.returncode:
            bad.append(f"{name}:1: does not compile alone: {result.stderr.strip()}")
    return bad


RULES = {
    "includes go one way": includes,
    "functions and files are short": lengths,
    "SPDX line on top": licence,
    "environment read in tools only": environment,
    "headers compile alone with gcc": lambda root: headers(root, "gcc"),
    "headers compile alone with clang": lambda root: headers(root, "clang"),
}


def tree_root():
    return Path(__file__).resolve().parents[2]
