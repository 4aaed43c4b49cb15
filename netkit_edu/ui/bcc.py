"""``%%bcc``: a cell of C in BCC's dialect that is compiled by BCC, and binds a Python name.

    %%bcc [name]

With one program for packets in the cell (``int f(struct __sk_buff *skb)``), ``name``, by default the function's, is the
program: ``pair.attach(name.load(lab), at="peer")``. With none or several, ``name`` is the object with its tables, and
without a name each program is bound by its own. TRACEPOINT_PROBE and kprobe__ functions run as soon as the cell does,
until it is run again. BCC needs root, kernel headers and python3-bpfcc; where it is not, the cell says why, and binds
programs that raise when used; with NETKIT_EDU_STRICT=1 it raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from netkit_edu.errors import NetkitEduError, UsageError
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

    words = [
        f"{name}: compiled by BCC"
        + (f", attach it with {name}.load(lab)" if isinstance(value, BccProgram) else f", {value!r}")
        for name, value in bound.items()
    ]
    return "\n".join(words)


def run_cell(ip, line: str, cell: str) -> None:
    """Compile a cell, bind its names in the shell and say what came of it; what the cell made before is freed."""
    from IPython.display import display

    from netkit_edu.course.present import is_strict
    from netkit_edu.dialect import BccObject, BccProgram
    from netkit_edu.programs import BrokenProgram
    from netkit_edu.ui.magics import skipped_lines

    raw = ip.history_manager.input_hist_raw[-1] if ip.history_manager else ""
    text = "\n" * (skipped_lines(raw, "%%bcc") + 1) + cell
    for name in names_of(line, cell):
        before = ip.user_ns.get(name)
        if isinstance(before, BccObject | BccProgram):
            getattr(before, "object", before).close()
    try:
        bound = compile_cell(line, text)
    except NetkitEduError as error:
        ip.user_ns.update({name: BrokenProgram(name, error) for name in names_of(line, cell)})
        if is_strict():
            raise
        display({"text/html": errors.as_html(error, text), "text/plain": errors.as_text(error, text)}, raw=True)
        return
    ip.user_ns.update(bound)
    lines = said(bound).splitlines()
    html = page.box("".join(f"<p><span class='word'>✓</span> {page.esc(one)}</p>" for one in lines), "good")
    display({"text/html": html, "text/plain": "\n".join(lines)}, raw=True)


def load(ip) -> None:
    """Register ``%%bcc`` in an IPython shell."""

    def bcc(line: str, cell: str) -> None:
        run_cell(ip, line, cell)

    bcc.__doc__ = __doc__
    ip.register_magic_function(bcc, magic_kind="cell", magic_name="bcc")
