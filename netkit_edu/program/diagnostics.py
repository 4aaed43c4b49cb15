"""The compiler's messages as `Diagnostic` records about the learner's own lines, and its failures as `CompileError`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from netkit_edu.errors import CompileError, Diagnostic
from netkit_edu.program.explain import explain
from netkit_edu.program.lineinfo import CELL
from netkit_edu.program.sandbox import Outcome

_MESSAGE = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):(?P<column>\d+): (?:fatal )?(?P<severity>error|warning): (?P<text>.*?)"
    r"(?: \[-W[\w=,+-]+\])?$",
    re.M,
)
_BACKEND = re.compile(r"^Error at line (?P<line>\d+): (?P<text>.*)$", re.M)
_TRAP = (
    "Somewhere behind this line C gives the program no meaning: a value is read that was never stored, a division is "
    "by 0, or a loop without an end does nothing."
)
_NOISE = re.compile(r" for DAG: .*| to 0x[0-9a-f]+: .*|0x[0-9a-f]+: \w+ = Constant<\d+> ")  # of LLVM's inside


def parse(messages: str, text: str) -> list[Diagnostic]:
    """Return the compiler's errors about ``text`` and those warnings that `explain` has a sentence for, each once.

    They stand in the compiler's order. An error in one of our headers keeps its words and has line 0.
    """
    lines = text.splitlines()
    found: dict[Diagnostic, None] = {}
    for match in _MESSAGE.finditer(messages):
        own = match["file"] == CELL
        line = int(match["line"]) if own else 0
        words = match["text"] if own else f"{match['file'].rpartition('/')[2]}: {match['text']}"
        one = _diagnostic(match["severity"], words, line, int(match["column"]), lines)
        if one.severity == "error" or (own and one.explanation):
            found[one] = None
    for match in _BACKEND.finditer(messages):
        found[_diagnostic("error", match["text"], int(match["line"]), 0, lines)] = None
    return list(found)


def failure(outcome: Outcome, found: Sequence[Diagnostic], name: str) -> CompileError:
    """Return the error for a compiler run that did not succeed."""
    errors = [one for one in found if one.severity == "error"]
    if errors:
        head = next((one for one in errors if one.explanation), errors[0])
        more = len(errors) - 1
        tail = f"\n({more} more error{'s' if more > 1 else ''})" if more else ""
        return CompileError(render(head, name) + tail, tuple(found))
    if outcome.status < 0 or outcome.status >= 128 or "PLEASE submit a bug report" in outcome.messages:
        return CompileError(f"{name}: the compiler broke down over this text (status {outcome.status})", tuple(found))
    said = next((line for line in outcome.messages.splitlines() if "error" in line), "it said nothing")
    return CompileError(f"{name}: the compiler refused this text: {said[:300]}", tuple(found))


def render(diagnostic: Diagnostic, name: str) -> str:
    """Return a diagnostic as text: place and message, the line with a caret below the column, the explanation."""
    place = f"{name}, line {diagnostic.line}" if diagnostic.line else name
    if diagnostic.line and diagnostic.column:
        place += f", column {diagnostic.column}"
    out = [f"{place}: {diagnostic.message}"]
    if diagnostic.source.strip():
        number = str(diagnostic.line)
        out.append(f"  {number} | {diagnostic.source}")
        if diagnostic.column:
            indent = re.sub(r"[^\t]", " ", diagnostic.source[: diagnostic.column - 1].ljust(diagnostic.column - 1))
            out.append(f"  {' ' * len(number)} | {indent}^")
    if diagnostic.explanation:
        out.append(diagnostic.explanation)
    return "\n".join(out)


def refuse(message: str, line: int, text: str, name: str, explanation: str = "", column: int = 0) -> CompileError:
    """Return the error for something the compiler took and no kernel would, about one line of ``text``."""
    lines = text.splitlines()
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    one = Diagnostic("error", message, line, column, source, explanation)
    return CompileError(render(one, name), (one,))


def unusable(message: str, warnings: Sequence[Diagnostic], text: str, name: str) -> CompileError:
    """Return the error for an object that came out and cannot be read, with the warnings that may tell why."""
    used = re.search(r"used in line (\d+)", message)
    line = int(used[1]) if used else 0
    if "__bpf_trap" not in message:  # what LLVM 20 and newer put where a program's meaning ends
        return refuse(message, line, text, name)
    error = no_meaning(line, text, name)
    return CompileError(str(error), (*error.diagnostics, *warnings))


def no_meaning(line: int, text: str, name: str) -> CompileError:
    """Return the error for a program whose way, from a line on, C gives no meaning."""
    return refuse("the compiler sees that this cannot go on", line, text, name, _TRAP)


def _diagnostic(severity: str, words: str, line: int, column: int, lines: Sequence[str]) -> Diagnostic:
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    before = source.encode()[: max(0, column - 1)].decode("utf-8", "replace")
    words = _NOISE.sub("", words).replace(f"{CELL}:", "line ").strip()
    character = len(before) + 1 if line and column else 0
    return Diagnostic(severity, words, line, character, source, explain(words, source, character))
