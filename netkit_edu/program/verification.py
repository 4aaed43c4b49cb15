"""What a verifier said of a program: its verdict, its log, and the C line it stopped at.

The log is that of kernel/bpf/verifier.c and kernel/bpf/log.c (Linux 6.12): C lines behind ``;``, instructions by their
slot, then what is wrong, and a last line that counts what was looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from netkit_edu.program.object import ProgramCode, SourceLine
from netkit_edu.uapi import errno_name

_INSTRUCTION = re.compile(r"(\d+): \([0-9a-f]{2}\) ")
_NAMED = re.compile(r"\b(?:insn|at insn|from insn) (\d+)")
_STATE = re.compile(r"\d+: [^(]|from \d+ to \d+|mark_precise:|func#\d+ @\d+|;|\s")
_PROCESSED = re.compile(r"processed (\d+) insns")
_AHEAD = re.compile(
    r"Live regs before insn|(Validating|Func#\d+|verification time|stack depth|BPF program is too large)"
)


@dataclass(frozen=True)
class Verification:
    """A verifier's verdict on one program.

    Attributes:
        program: the program's name.
        ok: whether it may be loaded.
        kernel: who says so, for example "Linux 6.12.117 (vm)".
        log: everything it said.
        errno: what the load was refused with, 0 if it was not.
        message: what is wrong, in the verifier's words; "" if nothing is.
        insn: the slot of the instruction it stopped at, None if it names none.
        line: the C line that instruction comes from, None if that is not known.
        processed: how many instructions it looked at, on all paths together.
    """

    program: str
    ok: bool
    kernel: str
    log: str = ""
    errno: int = 0
    message: str = ""
    insn: int | None = None
    line: SourceLine | None = None
    processed: int = 0

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        if self.ok:
            return f"{self.kernel} accepts {self.program!r}: {self.processed} instructions looked at"
        out = [f"{self.kernel} refuses {self.program!r} ({errno_name(self.errno)})"]
        if self.message:
            out[0] += f": {self.message}"
        if self.line is not None:
            out.append(f"{self.line.line:>5} | {self.line.text.rstrip()}")
        if (text := _text_of(self.log, self.insn)) is not None:
            out.append(f"      {text}")
        return "\n".join(out)


def read_log(code: ProgramCode, kernel: str, log: str, errno: int = 0) -> Verification:
    """Make a verdict of a log.

    Args:
        code: the program that was to be loaded.
        kernel: whose log it is.
        errno: what the load was refused with, 0 if it was not.
    """
    lines = log.rstrip("\0\n").splitlines()
    processed = next((int(m[1]) for line in reversed(lines) if (m := _PROCESSED.match(line))), 0)
    said, insn = _complaint(lines) if errno else ([], None)
    line = None
    if insn is not None and insn < len(code.lines):
        line = code.lines[insn]
    return Verification(code.name, not errno, kernel, log, errno, "; ".join(said), insn, line, processed)


def _complaint(lines: list[str]) -> tuple[list[str], int | None]:
    """Return what is wrong, the lines behind the last instruction, and the slot they are about."""
    last = max((n for n, line in enumerate(lines) if _INSTRUCTION.match(line)), default=-1)
    said = [
        line.strip()
        for line in lines[last + 1 :]
        if line.strip() and not _PROCESSED.match(line) and not _STATE.match(line) and not _ahead(line)
    ]
    if last >= 0:
        return said, int(_INSTRUCTION.match(lines[last])[1])
    named = next((m for line in said if (m := _NAMED.search(line))), None)
    return said, int(named[1]) if named else None


def _ahead(line: str) -> bool:
    match = _AHEAD.match(line)
    return bool(match) and not line.startswith("BPF program is too large")


def _text_of(log: str, insn: int | None) -> str | None:
    found = re.findall(rf"^({insn}: \([0-9a-f]{{2}}\) [^;\n]*)", log, re.M) if insn is not None else []
    return found[-1].rstrip() if found else None
