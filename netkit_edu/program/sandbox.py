"""Runs the compiler on a learner's text so that it can read that text and our headers, and nothing else.

Reading: the compiler sees a file system of our own making (``-ivfsoverlay`` without fall-through) that holds only the
headers, and takes the text from a pipe. So ``#include``, ``#include_next``, ``#import``, ``#embed``, ``__has_include``
and ``#pragma GCC dependency`` find no other file, however the name is made. The debug information takes source lines
from the text itself (``-gembed-source``); without that, clang's BPF back end would open whatever ``#line`` names.
The assembler is the one part that opens files by itself (``.incbin``): inline assembler is switched off, and where a
text uses it, it is preprocessed first, and refused if any assembler string could hold a directive.

Writing: the object comes through a pipe, and the process may write no file (RLIMIT_FSIZE 0). Time, memory and the size
of what comes back are limited; the whole process group is killed afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from netkit_edu.errors import CompileError

try:
    import resource
except ImportError:  # not a Unix, or Pyodide: nothing to limit, nothing to run
    resource = None

ROOT = "/netkit-edu"  # where the compiler sees our headers: no path of this machine enters an object
MEMORY_LIMIT = 4 << 30  # bytes of address space; zig maps its 180 MB binary
MESSAGES_LIMIT = 1 << 20  # bytes of diagnostics


@dataclass(frozen=True)
class Outcome:
    """What a compiler run left: exit status (negative: a signal), standard output, messages."""

    status: int
    output: bytes
    messages: str


def overlay(headers: Mapping[str, Path]) -> bytes:
    """Return the description of a file system that holds ``headers`` (name -> file) below `ROOT`, and nothing else."""
    folders: dict[str, list[dict]] = {}
    for name, path in headers.items():
        folder, _, leaf = f"{ROOT}/{name}".rpartition("/")
        folders.setdefault(folder, []).append({"type": "file", "name": leaf, "external-contents": str(path)})
    return json.dumps(
        {
            "version": 0,
            "case-sensitive": "true",
            "use-external-names": "false",
            "fallthrough": "false",
            "roots": [{"type": "directory", "name": name, "contents": files} for name, files in folders.items()],
        }
    ).encode()


def run(command: list[str], text: bytes, filesystem: bytes, *, timeout: float, output_limit: int) -> Outcome:
    """Run a compiler with ``text`` as its input and ``filesystem`` as all the files it can include.

    Args:
        command: the command line; the description of the file system is added to it.
        text: what the compiler reads on standard input.
        filesystem: as `overlay` makes it.
        timeout: seconds of wall clock.
        output_limit: bytes of standard output.

    Raises:
        CompileError: time or size limit passed, or the compiler cannot be started.
    """
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [*command, "-ivfsoverlay", f"/dev/fd/{reader}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            pass_fds=(reader,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(writer)
        raise CompileError(f"the compiler {command[0]} cannot be started: {error.strerror}") from None
    finally:
        os.close(reader)
    with process:
        try:
            _limit(process.pid, timeout)
            return _converse(
                process, {process.stdin: text, os.fdopen(writer, "wb", 0): filesystem}, timeout, output_limit
            )
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _limit(pid: int, timeout: float) -> None:
    if resource is None or not hasattr(resource, "prlimit"):
        return
    limits = {
        resource.RLIMIT_AS: MEMORY_LIMIT,
        resource.RLIMIT_CPU: int(timeout) + 1,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for kind, most in limits.items():
            resource.prlimit(pid, kind, (most, most))


def _converse(process: subprocess.Popen, inputs: dict, timeout: float, output_limit: int) -> Outcome:
    """Feed the inputs and collect both outputs until they end, within the limits."""
    deadline = time.monotonic() + timeout
    outputs = {process.stdout: bytearray(), process.stderr: bytearray()}
    pending = {stream: memoryview(data) for stream, data in inputs.items()}
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as streams:
        for stream in inputs:
            streams.callback(_close, stream)
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_WRITE)
        for stream in outputs:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                raise CompileError(f"the compiler did not finish within {timeout:g} s; it was stopped")
            for key, _ in ready:
                stream = key.fileobj
                if stream in pending:
                    _feed(stream, pending, selector)
                    continue
                chunk = os.read(stream.fileno(), 1 << 16)
                outputs[stream] += chunk
                if not chunk:
                    selector.unregister(stream)
            if len(outputs[process.stdout]) > output_limit:
                raise CompileError(f"the object is larger than {output_limit >> 20} MB; the compiler was stopped")
            if len(outputs[process.stderr]) > MESSAGES_LIMIT:
                raise CompileError("the compiler printed more than 1 MB of messages; it was stopped")
    try:
        status = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise CompileError(f"the compiler did not finish within {timeout:g} s; it was stopped") from None
    return Outcome(status, bytes(outputs[process.stdout]), outputs[process.stderr].decode("utf-8", "replace"))


def _feed(stream, pending: dict, selector: selectors.BaseSelector) -> None:
    try:
        pending[stream] = pending[stream][os.write(stream.fileno(), pending[stream][: 1 << 16]) :]
    except BrokenPipeError:  # the compiler stopped reading: its messages say why
        pending[stream] = memoryview(b"")
    if not pending[stream]:
        selector.unregister(stream)
        _close(stream)


def _close(stream) -> None:
    with contextlib.suppress(OSError):
        stream.close()


_TOKEN = re.compile(
    r"""(?P<directive>^\s*\#[^\n]*)
      | (?P<prefix>\w*)"(?P<string>(?:[^"\\\n]|\\.)*)"
      | \w*'(?:[^'\\\n]|\\.)*'
      | (?P<name>[A-Za-z_$][\w$]*)
      | \d[\w.]*
      | (?P<other>\S)""",
    re.X | re.M,
)
_HARMLESS_DIRECTIVE = re.compile(r"\s*#\s*(\d+ |pragma\s+(unroll|nounroll|clang\s+loop|GCC\s+diagnostic)\b)")
_RAW_STRING = re.compile(r"\b(?:u8|[uUL])?R\"")
_ASM = {"asm", "__asm", "__asm__"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_REFUSAL = "inline assembler in a cell cannot be checked"


def check_assembler(preprocessed: str) -> None:
    """Refuse inline assembler that could hold an assembler directive: ``.incbin`` reads files.

    Every directive begins with a full stop and no symbol of C does, so a string in asm(...) may not hold one. What
    would make the strings ambiguous (raw strings, odd quotes, unusual pragmas) is refused along with it.

    Args:
        preprocessed: the text with macros expanded, as ``clang -E`` prints it.

    Raises:
        CompileError: the text uses inline assembler in a way that is not allowed here.
    """
    if _RAW_STRING.search(preprocessed):
        raise CompileError(f"{_REFUSAL} beside a raw string")
    inside, depth = False, 0
    for match in _TOKEN.finditer(preprocessed):
        other = match["other"]
        if match["directive"] and not _HARMLESS_DIRECTIVE.match(match["directive"]):
            raise CompileError(f"{_REFUSAL} beside {match['directive'].strip()}")
        if other in ('"', "'"):
            raise CompileError(f"{_REFUSAL} beside an open quote")
        if match["name"] in _ASM:
            inside, depth = True, 0
        elif inside and match["string"] is not None:
            if match["prefix"] or "." in _ESCAPE.sub(_unescape, match["string"]):
                raise CompileError("inline assembler in a cell is for instructions: no assembler directive, no '.'")
        elif inside and other in ("(", ")"):
            depth += 1 if other == "(" else -1
            inside = depth > 0


def _unescape(match: re.Match) -> str:
    hexadecimal, octal, short, long, plain = match.groups()
    if octal:
        return chr(int(octal, 8))
    digits = hexadecimal or short or long
    return chr(min(int(digits, 16) & 0x1FFFFF, 0x10FFFF)) if digits else plain
