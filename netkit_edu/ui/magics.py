"""``%%bpf``: a cell of C that compiles, is checked, and binds a Python name.

    %%bpf [name] [-O0|-O1|-O2]

With one program in the cell, ``name`` (by default the C function's) is the `Program`; with several, ``name`` is the
`CompiledObject`, and without a name each program is bound by its own. Lines are counted as JupyterLab numbers them, the
``%%bpf`` line being 1. A cell that fails says why, and binds programs that raise when used, so that running all cells
goes on; with NETKIT_EDU_STRICT=1 it raises.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping

from netkit_edu.errors import Diagnostic, NetkitEduError, UsageError
from netkit_edu.ui import errors, listing, page

_FUNCTION = re.compile(r"""SEC\s*\(\s*"[^"]*"\s*\)\s*(?:__\w+\s+)*\w[\w\s\*]*?\b(\w+)\s*\(""")
OPTIMIZE = ("-O0", "-O1", "-O2", "-O3", "-Os")


def arguments(line: str) -> tuple[str, str]:
    """Read the words behind ``%%bpf``: the Python name ("" if none is given) and the compiler's optimization.

    Raises:
        UsageError: more than one name, a name Python cannot bind, or an unknown option; the message says what to write.
    """
    name, optimize = "", "-O2"
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise UsageError(f"cannot read {line!r}: {error}. Write %%bpf name") from error
    for word in words:
        if word in OPTIMIZE:
            optimize = word
        elif word.startswith("-"):
            raise UsageError(f"no option {word}: %%bpf takes a name and one of {', '.join(OPTIMIZE)}")
        elif name:
            raise UsageError(f"one name is enough: %%bpf {name}")
        elif not word.isidentifier() or keyword.iskeyword(word):
            raise UsageError(f"{word!r} is not a Python name: write %%bpf {re.sub(r'[^A-Za-z_]', '_', word) or 'prog'}")
        else:
            name = word
    return name, optimize


def compile_cell(line: str, body: str, *, skipped: int = 0) -> tuple[dict[str, object], tuple[Diagnostic, ...]]:
    """Compile a cell; return what to bind, name -> `Program` or `CompiledObject`, and what looks like a mistake.

    Args:
        line: the words behind ``%%bpf``.
        body: the C text below it.
        skipped: lines of the cell above the ``%%bpf`` line.

    Raises:
        NetkitEduError: CompileError, ObjectError or UsageError; nothing is bound then.
    """
    from netkit_edu.program.compiler import compile_with_warnings
    from netkit_edu.programs import CompiledObject

    name, optimize = arguments(line)
    if not body.strip():
        raise UsageError("the cell is empty: write a C function under the %%bpf line")
    obj, warnings = compile_with_warnings(_counted(body, skipped), name=name or "cell", optimize=optimize)
    compiled = CompiledObject(obj)
    if not compiled:
        raise UsageError('no program in this cell: put SEC("netkit/peer") before the function that is to run')
    if name:
        return {name: next(iter(compiled.values())) if len(compiled) == 1 else compiled}, warnings
    return dict(compiled), warnings


def _counted(body: str, skipped: int) -> str:
    """Put empty lines for ``%%bpf`` and what is above it, so that the compiler counts as JupyterLab does."""
    return "\n" * (skipped + 1) + body


def broken_names(line: str, body: str) -> list[str]:
    """Return the names a failing cell would have bound, as far as its text tells."""
    try:
        name, _ = arguments(line)
    except UsageError:
        name = ""
    return [name] if name else list(dict.fromkeys(_FUNCTION.findall(body)))


def success_html(bound: Mapping[str, object]) -> str:
    """Return what a cell that compiled says: names, instructions, maps, and the listing behind a click."""
    found = _programs(bound)
    head = [
        f"<p><span class='word'>✓ {page.esc(said)}</span>: compiled, {page.esc(listing.program_words(p))}."
        " <span class='dim'>Not verified yet.</span></p>"
        for said, p in found
    ]
    body = "".join(
        (f"<p><strong>{page.esc(said)}</strong></p>" if len(found) > 1 else "") + listing.listing(p.code)
        for said, p in found
    )
    return page.box("".join(head) + page.details("C lines and the instructions made of them", body), "good")


def success_text(bound: Mapping[str, object]) -> str:
    """Return the same as plain text."""
    said = "\n".join(f"{name}: compiled, {listing.program_words(p)}. Not verified yet." for name, p in _programs(bound))
    return said


def _programs(bound: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return each program with the words that name it in Python."""
    found = []
    for name, value in bound.items():
        if isinstance(value, Mapping):
            found += [(f'{name}["{inner}"]', p) for inner, p in value.items()]
        else:
            found.append((name, value))
    return found


def skipped_lines(raw: str, magic: str = "%%bpf") -> int:
    """Return how many lines of a raw cell stand above its ``%%bpf`` line; IPython drops them before the magic runs."""
    for i, line in enumerate(raw.splitlines()):
        if line.lstrip().startswith(magic):
            return i
    return 0


def load(ip) -> None:
    """Register ``%%bpf`` and ``%%bcc``, the displays and the errors' short form in an IPython shell."""
    from IPython.core.magic import register_cell_magic  # noqa: F401 - a clear failure outside of IPython

    from netkit_edu.course.present import set_presenter
    from netkit_edu.ui import bcc, live, predict, show

    def bpf(line: str, cell: str) -> None:
        run_cell(ip, line, cell)

    bpf.__doc__ = __doc__
    ip.register_magic_function(bpf, magic_kind="cell", magic_name="bpf")
    bcc.load(ip)
    show.register(ip)
    predict.register(ip)
    errors.install(ip)
    ip.events.register("post_run_cell", live.follow_all)
    set_presenter(_present)


def _present(obj: object) -> None:
    from IPython.display import display

    display(obj)


def run_cell(ip, line: str, cell: str) -> None:
    """Compile a cell, bind its names in the shell and say what came of it."""
    from IPython.display import display

    from netkit_edu.course.present import is_strict
    from netkit_edu.programs import BrokenProgram

    raw = ip.history_manager.input_hist_raw[-1] if ip.history_manager else ""
    skipped = skipped_lines(raw)
    text = _counted(cell, skipped)
    try:
        bound, warnings = compile_cell(line, cell, skipped=skipped)
    except NetkitEduError as error:
        ip.user_ns.update({name: BrokenProgram(name, error) for name in broken_names(line, cell)})
        if is_strict():
            raise
        display({"text/html": errors.as_html(error, text), "text/plain": errors.as_text(error, text)}, raw=True)
        return
    ip.user_ns.update(bound)
    said = {"text/html": success_html(bound), "text/plain": success_text(bound)}
    if warnings:
        said["text/html"] += errors.warnings_html(warnings, text)
        said["text/plain"] += "\n" + errors.warnings_text(warnings, text)
    display(said, raw=True)
