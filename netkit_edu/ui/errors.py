"""Errors as a learner reads them: what was wrong, where, and what to do; no traceback of this package's own frames."""

from __future__ import annotations

import linecache
from collections.abc import Sequence

from netkit_edu.errors import CompileError, Diagnostic, KernelError, NetkitEduError, ProgramFault
from netkit_edu.ui import page

TITLES = {
    "KernelError": "The kernel refuses",
    "CompileError": "This does not compile",
    "ObjectError": "Not a usable eBPF object",
    "AssemblyError": "This is no eBPF assembler",
    "PacketError": "Not a packet",
    "ProgramFault": "The interpreter stopped the program",
    "UsageError": "This call cannot work",
    "BackendUnavailable": "Not possible on this machine",
}


def title(error: BaseException) -> str:
    """Return what kind of error it is, in words."""
    return TITLES.get(type(error).__name__, type(error).__name__)


def caret(d: Diagnostic, text: str = "") -> list[str]:
    """Return the learner's line with a caret under the column, as text lines; nothing where no place is known."""
    source = d.source or _line(text, d.line)
    if not d.line or not source:
        return []
    number = f"{d.line:>4} | "
    out = [number + source.replace("\t", "    ")]
    if d.column:
        before = source[: d.column - 1].replace("\t", "    ")
        out.append(" " * (len(number) + len(before)) + "^")
    return out


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ""


def _place(d: Diagnostic) -> str:
    return f"line {d.line}" + (f", column {d.column}" if d.column else "") if d.line else ""


def as_text(error: BaseException, source: str = "") -> str:
    """Return an error as plain text; ``source`` is the C text for errors that name a line of it."""
    lines = [f"{title(error)}: {_said(error)}"]
    if isinstance(error, CompileError):
        lines += _diagnostic_lines(error.diagnostics, source)
    if isinstance(error, ProgramFault):
        lines += _fault_lines(error)
    return "\n".join(lines)


def warnings_text(warnings: Sequence[Diagnostic], source: str = "") -> str:
    """Return as plain text what compiles but hardly means what it says; ``source`` is the C text."""
    return "\n".join([f"{_doubt(warnings)}:", *_diagnostic_lines(warnings, source)])


def warnings_html(warnings: Sequence[Diagnostic], source: str = "") -> str:
    """Return the same as a box that a screen reader reads out when it comes to it."""
    head = f"<p><span class='word'>⚠ {_doubt(warnings)}.</span></p>"
    return page.box(head + _diagnostics_html(warnings, source), "warn", "status")


def _doubt(warnings: Sequence[Diagnostic]) -> str:
    looks = "one line looks" if len({d.line for d in warnings}) == 1 else "some lines look"
    return f"It compiles, but {looks} like a mistake"


def _diagnostic_lines(diagnostics: Sequence[Diagnostic], source: str) -> list[str]:
    lines = []
    for d in diagnostics:
        lines += [": ".join([*_heading(d), d.message]), *caret(d, source)]
        lines += [f"     → {d.explanation}"] if d.explanation else []
    return lines


def _diagnostics_html(diagnostics: Sequence[Diagnostic], source: str) -> str:
    body = []
    for d in diagnostics:
        heading = "".join(f"<strong>{words}:</strong> " for words in _heading(d))
        body.append(f"<p>{heading}{page.esc(d.message)}</p>")
        if quoted := caret(d, source):
            body.append(f"<pre>{page.esc(quoted[0])}")
            body.append(f"\n<span class='wrong'>{page.esc(quoted[1])}</span></pre>" if quoted[1:] else "</pre>")
        if d.explanation:
            body.append(f"<p>→ {page.inline(d.explanation)}</p>")
    return "".join(body)


def _heading(d: Diagnostic) -> list[str]:
    return ([_place(d)] if d.line else []) + (["warning"] if d.severity == "warning" else [])


def _said(error: BaseException) -> str:
    if isinstance(error, KernelError):
        return f"{error.name}. {error.extack + '. ' if error.extack else ''}{_sentence(error.hint)}"
    if isinstance(error, ProgramFault):
        return _sentence(error.reason)
    if isinstance(error, CompileError) and error.diagnostics:
        wrong = sum(d.severity != "warning" for d in error.diagnostics) or 1
        return f"{wrong} error{'s' if wrong != 1 else ''}."
    return _sentence(str(error))


def _sentence(text: str) -> str:
    text = text.strip()
    return (text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ")")) else ".")) if text else ""


def _fault_lines(error: ProgramFault) -> list[str]:
    out = [f"at instruction {error.pc}"]
    if error.source is not None:
        out.append(f"{error.source.line:>4} | {error.source.text.strip()}")
    if error.address is not None:
        out.append(f"address {error.address:#x}" + (f", {error.region}" if error.region else ""))
    return out


def as_html(error: BaseException, source: str = "") -> str:
    """Return an error as a box that a screen reader announces."""
    body = [f"<p><span class='word'>✗ {page.esc(title(error))}.</span> {page.esc(_said(error))}</p>"]
    if isinstance(error, CompileError):
        body.append(_diagnostics_html(error.diagnostics, source))
    if isinstance(error, ProgramFault):
        body.append(f"<pre>{page.esc(chr(10).join(_fault_lines(error)))}</pre>")
    return page.box("".join(body), "bad", "alert")


def short_traceback(error: BaseException, tb) -> list[str]:
    """Return the lines to show for an exception that left a cell: the message, and the cell's own line."""
    bold, off = "\x1b[1m", "\x1b[0m"
    first, *rest = as_text(error).splitlines()
    lines = [f"{bold}{first}{off}", *rest]
    while tb is not None:
        name, number = tb.tb_frame.f_code.co_filename, tb.tb_lineno
        if "ipykernel" in name or name.startswith("<ipython-input"):
            lines.append(f"in this cell, line {number}: {linecache.getline(name, number).strip()}")
        tb = tb.tb_next
    return lines


def install(ip) -> None:
    """Show this package's exceptions by `short_traceback`; every other keeps IPython's own traceback."""

    def handler(shell, kind, error, tb, tb_offset=None):
        lines = short_traceback(error, tb)
        shell._showtraceback(kind, error, lines)
        return lines

    ip.set_custom_exc((NetkitEduError,), handler)
