"""A program's instructions under the C lines they come from, as rows and as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netkit_edu.program.object import ProgramCode, SourceLine
from netkit_edu.uapi import errno_name
from netkit_edu.ui import page

MAP_TYPES = {1: "hash", 2: "array"}


class Part(NamedTuple):
    """One C line (None where none is known) and the instructions from it that follow each other, as (slot, text)."""

    line: SourceLine | None
    insns: list[tuple[int, str]]


def texts(code: ProgramCode) -> list[str]:
    """Return each slot's instruction as text, maps by their names; "" for the second slot of a wide load."""
    from netkit_edu.program import isa

    out = list(isa.disassemble(code.insns))
    for r in code.relocations:
        place = r.map if r.offset is None else f"{r.map}+{r.offset}"
        out[r.insn] = f"r{code.insns[r.insn].dst} = map[{place}]"
    return out


def parts(code: ProgramCode) -> Iterator[Part]:
    """Yield the program in order, instructions grouped under their C lines."""
    lines = code.lines or (None,) * len(code.insns)
    part: Part | None = None
    for slot, text in enumerate(texts(code)):
        if not text:
            continue
        line = lines[slot]
        if part is None or (line is not None and (part.line is None or line[:2] != part.line[:2])):
            if part is not None:
                yield part
            part = Part(line, [])
        part.insns.append((slot, text))
    if part is not None:
        yield part


def listing(code: ProgramCode) -> str:
    """Return the C lines and their instructions as an HTML table."""
    rows, classes = [], []
    for part in parts(code):
        if part.line is not None:
            rows.append([page.esc(part.line.line), page.code(part.line.text.strip() or " ")])
            classes.append("c")
        for slot, text in part.insns:
            start = f"{code.functions[slot]}: " if slot in code.functions and slot else ""
            rows.append(["", f'<code><span class="dim">{slot:>4}:</span> {page.esc(start + text)}</code>'])
            classes.append("")
    return page.table(["line", "C, and the instructions made of it"], rows, classes)


def map_words(spec) -> str:
    """Return a map in words: its name, type and size."""
    kind = MAP_TYPES.get(spec.type, f"type {spec.type}")
    return f"{spec.name} ({kind}, {spec.max_entries} × {spec.value_size} bytes)"


def program_words(program) -> str:
    """Return what a compiled program is, in one sentence's end: instructions and maps."""
    count = program.code.instructions
    maps = [map_words(s) for name, s in program.map_specs.items() if not name.startswith(".")]
    said = f"{count} instruction{'s' if count != 1 else ''}"
    return f"{said}, map{'s' if len(maps) != 1 else ''} {', '.join(maps)}" if maps else f"{said}, no maps"


def program_html(program) -> str:
    """Return one program: what it is, and its listing behind a click."""
    where = f" for {page.code(program.section)}" if program.section else ""
    bound = "".join(f", {name} = {value}" for name, value in program.bound.items())
    head = (
        f"<p><span class='word'>{page.esc(program.name)}</span>{where}: {page.esc(program_words(program) + bound)}</p>"
    )
    return head + page.details("C lines and instructions", listing(program.code))


def program_text(program) -> str:
    """Return one program as plain text: what it is, and its listing."""
    return f"{program.name}: {program_words(program)}\n{program.disassemble()}"


def verification_html(said) -> str:
    """Return a verifier's verdict: who gave it, what is wrong with which C line, and the log behind a click."""
    verb = "accepts" if said.ok else f"refuses ({errno_name(said.errno)})"
    head = f"<p>{page.esc(said.kernel)} {verb} <span class='word'>{page.esc(said.program)}</span>"
    parts = [f"{head}: {said.processed} instructions looked at</p>" if said.ok else f"{head}</p>"]
    if said.message:
        parts.append(f"<p>{page.code(said.message)}</p>")
    if said.line is not None:
        where = f"line {said.line.line}" + (f", instruction {said.insn}" if said.insn is not None else "")
        parts.append(f"<pre>{page.esc(said.line.text.rstrip())}</pre><p class='dim'>{where}</p>")
    log = said.log.rstrip()
    return "".join(parts) + (page.details("the verifier's log", f"<pre>{page.esc(log)}</pre>") if log else "")
