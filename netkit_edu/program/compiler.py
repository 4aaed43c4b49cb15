"""C text -> `Object`: compiles a cell for BPF with whichever clang this machine has, and explains what went wrong.

Neither paths nor names of the machine enter the result, so that objects can be kept and shipped by the hash of their
text. Two compilers may choose different instructions for the same meaning; lines, maps and variables are the same.
What the compiler may read and write is the business of `sandbox`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from netkit_edu.errors import CompileError, Diagnostic, ObjectError
from netkit_edu.program import cache, diagnostics, sandbox
from netkit_edu.program.check import check
from netkit_edu.program.elf import MAX_OBJECT, read_object
from netkit_edu.program.files import header_files
from netkit_edu.program.object import Object
from netkit_edu.program.toolchain import Compiler, all_compilers, find_compiler

__all__ = ["Compiler", "all_compilers", "cache_key", "compile_c", "compile_with_warnings", "find_compiler", "prebuild"]

MAX_SOURCE = 256 << 10  # bytes
TIMEOUT = 5.0  # seconds

_TARGET = ("--target=bpf", "-mcpu=v3", "-std=gnu11")
_SEEING = ("-nostdinc", f"-isystem{sandbox.ROOT}", f"-isystem{sandbox.ROOT}/include")
_LINES = ("-gdwarf-5", "-gembed-source", "-fdebug-compilation-dir=/")
_SAYING = (
    "-fno-caret-diagnostics",
    "-fno-color-diagnostics",
    "-fno-crash-diagnostics",
    "-ferror-limit=20",
    "-Wall",
    "-Wno-unused-function",
    "-Wno-unknown-attributes",
    "-Werror=implicit-function-declaration",
    "-Werror=implicit-int",
    "-Werror=int-conversion",
    "-Werror=return-type",
    "-Werror=uninitialized",
    "-Wno-unknown-warning-option",
    "-Wno-error=sometimes-uninitialized",
    "-Wno-error=uninitialized-const-pointer",
    "-Wno-error=incompatible-pointer-types",
)
FLAGS = (*_TARGET, *_SEEING, *_LINES, *_SAYING)

_INCLUDE = re.compile(rb"^[ \t]*(?:#|%:)[ \t]*include\b", re.M)
_NO_ASM = "-fno-gnu-inline-asm"
_ASM_IS_OFF = "GNU-style inline assembly is disabled"

_warnings: dict[str, tuple[Diagnostic, ...]] = {}


def compile_c(
    text: str, *, name: str = "cell", optimize: str = "-O2", headers: Mapping[str, str] | None = None
) -> Object:
    """Compile one C text for BPF and read what came out.

    Args:
        text: the C text, at most 256 kB. If it includes nothing, ``netkit_edu.h`` is included for it.
        name: what messages and line information call the text.
        optimize: clang's optimisation level, "-O1", "-O2", "-Os" or "-Og" ("-O0" makes code that BPF cannot run).
        headers: further headers the text may include: name -> text.

    Returns:
        The programs, maps and variables, with the line each instruction comes from.

    Raises:
        CompileError: the text does not compile, or no kernel would take the result; `diagnostics` quotes the lines.
            Also if there is no compiler here and the object was not compiled beforehand.
    """
    return compile_with_warnings(text, name=name, optimize=optimize, headers=headers)[0]


def compile_with_warnings(
    text: str, *, name: str = "cell", optimize: str = "-O2", headers: Mapping[str, str] | None = None
) -> tuple[Object, tuple[Diagnostic, ...]]:
    """Like `compile_c`; return as well what compiles but hardly means what it says, each explained."""
    key = cache_key(text, optimize=optimize, headers=headers)
    data = cache.lookup(key)
    if data is not None:
        try:
            return _finish(data, text, name), _warnings.get(key, ())
        except ObjectError:
            cache.forget(key)
    data, warnings = _compile(text, name, optimize, headers or {})
    try:
        obj = _finish(data, text, name)
    except ObjectError as error:
        raise diagnostics.unusable(str(error), warnings, text, name) from None
    _warnings[key] = warnings
    cache.store(key, data, on_disk=not warnings)
    return obj, warnings


def cache_key(text: str, *, optimize: str = "-O2", headers: Mapping[str, str] | None = None) -> str:
    """Return the name under which the object of ``text`` is kept: a hash of the text, the headers and the flags."""
    _check_arguments(text, optimize)
    digest = hashlib.sha256(_headers_hash())
    for part in (optimize, *(part for pair in sorted((headers or {}).items()) for part in pair), text):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(raw) + raw)
    return digest.hexdigest()


def prebuild(texts: Iterable[str], folder: Path) -> list[Path]:
    """Compile ``texts`` and put the objects where a machine without a compiler finds them.

    Args:
        texts: C texts as `compile_c` takes them.
        folder: usually `files.prebuilt_folder`; made if it does not exist.

    Returns:
        The file of each text. Raises `CompileError` as `compile_c` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for text in texts:
        paths.append(folder / f"{cache_key(text)}.o")
        cache.write_whole(paths[-1], compile_c(text).elf)
    return paths


@functools.cache
def _headers_hash() -> bytes:
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for name, path in header_files().items():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.digest()


def _check_arguments(text: str, optimize: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SOURCE:
        raise CompileError(f"the C text has {size} bytes, the limit is {MAX_SOURCE >> 10} kB")
    if optimize not in ("-O1", "-O2", "-O3", "-Os", "-Oz", "-Og"):
        raise CompileError(f"optimize is {optimize!r}; it can be -O1, -O2, -O3, -Os, -Oz or -Og")


def _finish(data: bytes, text: str, name: str) -> Object:
    obj = read_object(data, text, name=name)
    check(obj, name)
    return obj


def _compile(text: str, name: str, optimize: str, headers: Mapping[str, str]) -> tuple[bytes, tuple[Diagnostic, ...]]:
    compiler = find_compiler()
    if compiler is None:
        raise CompileError(
            "there is no C compiler for BPF on this machine, and this text was not compiled beforehand: "
            "apt-get install clang, or pip install ziglang"
        )
    try:
        source = text.encode()
    except UnicodeEncodeError:
        raise CompileError(f"{name}: the text holds characters that are no Unicode text (lone surrogates)") from None
    with contextlib.ExitStack() as stack:
        files = header_files()
        if headers:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="netkit-edu-"))
            files = files | _own_headers(headers, Path(folder))
        outcome = _run(compiler, source, sandbox.overlay(files), optimize)
    found = diagnostics.parse(outcome.messages, text)
    if outcome.status != 0:
        raise diagnostics.failure(outcome, found, name)
    return outcome.output, tuple(found)


def _run(compiler: Compiler, source: bytes, filesystem: bytes, optimize: str) -> sandbox.Outcome:
    include = () if _INCLUDE.search(source) else ("-include", "netkit_edu.h")
    command = [*compiler.command, *FLAGS, optimize]

    def call(*more: str, text: bytes = source) -> sandbox.Outcome:
        return sandbox.run([*command, *more], text, filesystem, timeout=TIMEOUT, output_limit=MAX_OBJECT)

    outcome = call(_NO_ASM, *include, "-x", "c", "-c", "-o", "-", "-")
    if outcome.status == 0 or _ASM_IS_OFF not in outcome.messages:
        return outcome
    expanded = call(_NO_ASM, *include, "-x", "c", "-E", "-o", "-", "-")
    if expanded.status != 0:
        return expanded
    sandbox.check_assembler(expanded.output.decode("utf-8", "replace"))
    return call("-x", "cpp-output", "-c", "-o", "-", "-", text=expanded.output)


def _own_headers(headers: Mapping[str, str], folder: Path) -> dict[str, Path]:
    files = {}
    for number, (name, text) in enumerate(headers.items()):
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*(/[\w-]+(\.[\w-]+)*)*", name):
            raise CompileError(f"{name!r} is no name for a header")
        files[name] = folder / f"{number}.h"
        files[name].write_text(text)
    return files
