"""``%%bcc``: a cell of C in BCC's dialect that is compiled by BCC, and binds a Python name.

    %%bcc [name]

With one program for packets in the cell (``int f(struct __sk_buff *skb)``), ``name``, by default the function's, is the
program: ``pair.attach(name.load(lab), at="peer")``. With none or several, ``name`` is the object with its tables, and
without a name each program is bound by its own. TRACEPOINT_PROBE and kprobe__ functions run as soon as the cell does,
until it is run again. A cell that fails says why, and binds programs that raise when used; with NETKIT_EDU_STRICT=1 it
raises. BCC needs root, kernel headers and python3-bpfcc: where they are not, or NETKIT_EDU_LINUX=recorded asks for what
was recorded, the cell says so instead of compiling, which is no failure of the cell's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from netkit_edu.errors import BackendUnavailable, NetkitEduError, UsageError
from netkit_edu.ui import errors, page

_FUNCTION = re.compile(r"\bint\s+(\w+)\s*\(\s*struct\s+__sk_buff\s*\*")


def compile_cell(line: str, text: str) -> dict[str, object]:
    """Compile a cell; return what it binds.

    Args:
        line: what stands behind ``%%bcc``.
        text: the cell, with as many empty lines before it as JupyterLab counts above it.

    Raises:
        NetkitEduError: the text or the line is wrong, or BCC does not work here.
    """
    from netkit_edu.dialect import BccObject

    name, optimize = _arguments(line)
    if os.environ.get("NETKIT_EDU_LINUX") == "recorded":
        raise BackendUnavailable("what Linux answered is shown as it was recorded (NETKIT_EDU_LINUX)")
    if optimize:
        raise UsageError(f"no option {optimize}: %%bcc takes a name")
    if not text.strip():
        raise UsageError("the cell is empty: write a C function under the %%bcc line")
    obj = BccObject(text)
    if name:
        return {name: next(iter(obj.programs.values())) if len(obj.programs) == 1 else obj}
    if not obj.programs:
        obj.close()
        raise UsageError("this cell has no program for packets: give it a name to reach its tables, %%bcc seen")
    return dict(obj.programs)


def _arguments(line: str) -> tuple[str, str]:
    words = line.split("#")[0].split()
    option = next((word for word in words if word.startswith("-")), "")
    if len(words) > 1 + bool(option) or any(not w.isidentifier() for w in words if w != option):
        raise UsageError(f"one Python name is enough: %%bcc {re.sub(r'[^A-Za-z_]', '_', words[0])}")
    return next((word for word in words if word != option), ""), option


def names_of(line: str, text: str) -> list[str]:
    """Return the names that a cell would bind, as far as its text tells."""
    try:
        name, _ = _arguments(line)
    except UsageError:
        name = ""
    return [name] if name else list(dict.fromkeys(_FUNCTION.findall(text)))


def said(bound: Mapping[str, object]) -> str:
    """Return what a cell that compiled says."""
    from netkit_edu.dialect import BccProgram

    words = []
    for name, value in bound.items():
        if isinstance(value, BccProgram):
            words.append(f"{name}: compiled by BCC, attach it with {name}.load(lab)")
            continue
        parts = {"programs": value.programs, "tables": value.tables}
        listed = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
        words.append(f"{name}: compiled by BCC, tracers run from now on" + (f"; {listed}" if listed else ""))
    return "\n".join(words)


def run_cell(ip, line: str, cell: str) -> None:
    """Compile a cell, bind its names in the shell and say what came of it; what the cell made before is freed."""
    from IPython.display import display

    from netkit_edu.course.present import is_strict
    from netkit_edu.programs import BrokenProgram
    from netkit_edu.ui.magics import skipped_lines

    _free(ip, names_of(line, cell))
    raw = ip.history_manager.input_hist_raw[-1] if ip.history_manager else ""
    text = "\n" * (skipped_lines(raw, "%%bcc") + 1) + cell
    try:
        bound = compile_cell(line, text)
    except BackendUnavailable as error:
        ip.user_ns.update({name: BrokenProgram(name, error) for name in names_of(line, cell)})
        _display(f"not compiled here: {error}", "…", "plain")
        return
    except NetkitEduError as error:
        ip.user_ns.update({name: BrokenProgram(name, error) for name in names_of(line, cell)})
        if is_strict():
            raise
        display({"text/html": errors.as_html(error, text), "text/plain": errors.as_text(error, text)}, raw=True)
        return
    ip.user_ns.update(bound)
    _display(said(bound), "✓", "good")


def _free(ip, names: list[str]) -> None:
    """Free what earlier runs of a cell bound these names to, and with it their tracers."""
    from netkit_edu.dialect import BccObject, BccProgram

    for name in names:
        before = ip.user_ns.get(name)
        if isinstance(before, BccObject | BccProgram):
            getattr(before, "object", before).close()


def _display(text: str, mark: str, kind: str) -> None:
    from IPython.display import display

    lines = [f"<p><span class='word'>{mark}</span> {page.esc(one)}</p>" for one in text.splitlines()]
    display({"text/html": page.box("".join(lines), kind), "text/plain": f"{mark} {text}"}, raw=True)


def load(ip) -> None:
    """Register ``%%bcc`` in an IPython shell."""

    def bcc(line: str, cell: str) -> None:
        run_cell(ip, line, cell)

    bcc.__doc__ = __doc__
    ip.register_magic_function(bcc, magic_kind="cell", magic_name="bcc")
