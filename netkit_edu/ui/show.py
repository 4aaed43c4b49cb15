"""What a notebook shows for each record: HTML with the drawing in it, the bare drawing, and plain text.

`register` gives IPython a formatter for each type by name, so that nothing is imported before it is shown.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

from netkit_edu import draw
from netkit_edu.draw.shapes import verdict, verdict_class, verdict_name
from netkit_edu.uapi import Verdict
from netkit_edu.ui import errors, listing, page

_numbers = itertools.count(1)

Renderer = Callable[[object], str]


def drawing(obj, brief: bool = False) -> str | None:
    """Return the SVG of a journey, a comparison or a pair, with ids that no other output shares; None for others."""
    if brief and type(obj).__name__ == "Journey":
        return draw.journey(obj, brief=True, key=f"-{next(_numbers)}")
    for kind, draw_it in _DRAWN.items():
        if any(c.__name__ == kind and c.__module__.startswith("netkit_edu") for c in type(obj).__mro__):
            return draw_it(obj, key=f"-{next(_numbers)}")
    return None


_DRAWN = {
    "Journey": draw.journey, "Comparison": draw.comparison, "Pair": draw.pair, "PairView": draw.pair,
    "Costs": draw.bars,
}  # fmt: skip


def as_html(obj, brief: bool = False) -> str:
    """Return anything as HTML: its drawing (a journey's in brief if asked), its box, or its text."""
    svg = drawing(obj, brief)
    if svg is not None:
        return f'<div class="nk-drawing" style="overflow-x:auto">{svg}</div>'
    if isinstance(obj, BaseException):
        return errors.as_html(obj)
    for (module, kind), render in BOXES.items():
        if any(c.__name__ == kind and c.__module__ == module for c in type(obj).__mro__):
            return render(obj)
    if hasattr(obj, "_repr_html_"):
        return obj._repr_html_()
    return f"<pre>{page.esc(obj)}</pre>"


def as_text(obj) -> str:
    """Return anything as plain text."""
    kinds = {c.__name__ for c in type(obj).__mro__ if c.__module__.startswith("netkit_edu")}
    if "Journey" in kinds:
        return draw.text_journey(obj)
    if "Comparison" in kinds:
        return draw.text_comparison(obj)
    if kinds & {"Pair", "PairView"}:
        return draw.text_pair(obj)
    return errors.as_text(obj) if isinstance(obj, BaseException) else repr(obj)


def bundle(obj) -> dict[str, str]:
    """Return what a cell's output holds for an object: text/html, text/plain, and the bare drawing if there is one."""
    data = {"text/html": as_html(obj), "text/plain": as_text(obj)}
    svg = drawing(obj)
    return data | {"image/svg+xml": svg} if svg else data


def verdict_icon(code: int) -> str:
    """Return a verdict's shape as a small inline picture with its name beside it."""
    from netkit_edu.draw.canvas import Canvas

    c = Canvas(28)
    verdict(c, 14, 12, code)
    shape = (
        f'<svg class="nk" width="28" height="24" viewBox="0 0 28 24" aria-hidden="true" '
        f'style="vertical-align:-7px">{"".join(c.parts)}</svg>'
    )
    return f'{shape} <strong style="color:var(--nk-{verdict_class(code)})">{page.esc(verdict_name(code))}</strong>'


def _program(program) -> str:
    return page.box(listing.program_html(program))


def _object(obj) -> str:
    return page.box("".join(map(listing.program_html, obj.values())) or "<p>no programs</p>")


def _broken(program) -> str:
    return errors.as_html(program.error)


def _chain(chain) -> str:
    rows = [[str(i), page.code(e.name), f"program id {e.prog_id}"] for i, e in enumerate(chain.entries, 1)]
    body = page.table(["", "program", ""], rows) if rows else "<p>no program: the policy is asked</p>"
    return page.box(f"<p class='dim'>revision {chain.revision}</p>{body}")


def _summary(summary) -> str:
    rows = [[f"<strong>{n}</strong>", page.esc(kind)] for kind, n in summary.fates.items()]
    ends = Counter((str(j.fate.kind), j.fate.reason) for j in summary.journeys if not j.fate.delivered)
    rows += [[str(n), page.esc(f"{kind}: {reason or 'no reason given'}")] for (kind, reason), n in ends.items()]
    rows += [[str(n), f"sending calls returned {page.esc(e)}"] for e, n in summary.sender_errors.items()]
    example = page.details("the first packet's journey", as_html(summary.example))
    return page.box(f"<p><span class='word'>{summary.sent} packets</span></p>{page.table([], rows)}{example}")


def hexdump(data: bytes, before: bytes | None = None, marked: range | None = None) -> str:
    """Return bytes as HTML, sixteen a row, those that differ from ``before`` or lie in ``marked`` set off."""
    lines = []
    for start in range(0, len(data), 16):
        cells = []
        for i, byte in enumerate(data[start : start + 16], start):
            changed = before is not None and before[i : i + 1] != data[i : i + 1]
            here = marked is not None and i in marked
            cells.append(f'<b class="on">{byte:02x}</b>' if changed or here else f"{byte:02x}")
        lines.append(f'<span class="dim">{start:>4}</span>  {" ".join(cells)}')
    return f"<pre>{chr(10).join(lines)}</pre>"


def _run_result(result) -> str:
    from netkit_edu import packet

    before = result.before or None
    known = isinstance(result.verdict, Verdict)
    said = f"{verdict_icon(result.code)} ({result.code})" if known else f"<strong>{result.code}</strong>"
    rows = [["returned", said if known else f"{said} <span class='dim'>no netkit verdict: netkit would drop</span>"]]
    rows.append(["packet", page.esc(packet.summary(result.packet, ethernet=True))])
    rows += [[n, page.code(f"{v:#x}")] for n, v in (("mark", result.mark), ("priority", result.priority)) if v]
    if any(result.cb):
        rows.append(["cb", page.code(list(result.cb))])
    rows += [["printed", page.code(line)] for line in result.trace]
    if before is not None and before != result.packet:
        wrote = [i for i, (a, b) in enumerate(zip(before, result.packet, strict=False)) if a != b]
        size = f", {len(before)} → {len(result.packet)} bytes" if len(before) != len(result.packet) else ""
        rows.append(["changed", f"{len(wrote)} byte{'s' if len(wrote) != 1 else ''}{size}"])
    dump = hexdump(result.packet, before)
    return page.box(
        page.table([], rows) + page.details("the packet's bytes", dump, before not in (None, result.packet))
    )


def _refused(refusal) -> str:
    if refusal.error is None:
        return page.box(f"<p>{page.esc(refusal)}</p>")
    said = errors._said(refusal.error)
    return page.box(f"<p><span class='word'>Refused, as expected.</span> {page.esc(said)}</p>", "good")


class Drawing:
    """A drawing that stands by itself: shows as the picture in a notebook, as text elsewhere."""

    def __init__(self, svg: str, text: str):
        self.svg, self.text = svg, text

    def _repr_html_(self) -> str:
        return f'<div class="nk-drawing" style="overflow-x:auto">{self.svg}</div>'

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.text


def legend() -> Drawing:
    """Return the key to the drawings, to be shown as the last line of a cell."""
    return Drawing(draw.legend(key=f"-{next(_numbers)}"), draw.text_legend())


def show_chain(pair, at: str) -> Drawing:
    """Return the drawing of one hook of a netkit pair: its programs, where each verdict leads, and the policy.

    Args:
        pair: a netkit pair.
        at: "primary" or "peer".
    """
    return Drawing(draw.chain(pair, at, key=f"-{next(_numbers)}"), draw.text_chain(pair, at))


def show_moments(moments, title: str = "") -> Drawing:
    """Return the drawing of what a packet tracer saw: a lane for each CPU, headed by whose time it is.

    Args:
        moments: `nk.Carried`, in order.
        title: what stands above them.
    """
    return Drawing(draw.moments(moments, title=title, key=f"-{next(_numbers)}"), draw.text_moments(moments))


def _checked(found) -> str:
    return page.box(found._repr_html_(), "good" if found.passed else "bad" if found.rows else "plain")


def _boxed(obj) -> str:
    return page.box(obj._repr_html_())


def _verification(said) -> str:
    return page.box(listing.verification_html(said), "good" if said.ok else "bad")


def _on_linux(answer) -> str:
    """What a real kernel answered, under a line that says which, and whether just now."""
    return page.box(f"<p class='dim'>{page.esc(answer.label)}</p>", "good" if answer.live else "plain") + (
        "" if answer.value is None else as_html(answer.value)
    )


BOXES: dict[tuple[str, str], Renderer] = {
    ("netkit_edu.programs", "Program"): _program,
    ("netkit_edu.programs", "CompiledObject"): _object,
    ("netkit_edu.programs", "BrokenProgram"): _broken,
    ("netkit_edu.programs", "RunResult"): _run_result,
    ("netkit_edu.program.verification", "Verification"): _verification,
    ("netkit_edu.backend", "Chain"): _chain,
    ("netkit_edu.node", "Summary"): _summary,
    ("netkit_edu.course.refused", "refused"): _refused,
    ("netkit_edu.course.checks", "Checked"): _checked,
    ("netkit_edu.course.checks", "Text"): _boxed,
    ("netkit_edu.course.progress", "Progress"): _boxed,
    ("netkit_edu.course.linux", "OnLinux"): _on_linux,
    ("netkit_edu.errors", "NetkitEduError"): errors.as_html,
}
DRAWINGS = (
    ("netkit_edu.journey", "Journey"),
    ("netkit_edu.journey", "Comparison"),
    ("netkit_edu.device", "Pair"),
    ("netkit_edu.draw.pairs", "PairView"),
    ("netkit_edu.costs", "Costs"),
)


def register(ip) -> None:
    """Give an IPython shell the displays of this package."""
    formatters = ip.display_formatter.formatters
    for module, kind in [*DRAWINGS, *BOXES]:
        formatters["text/html"].for_type_by_name(module, kind, lambda obj: as_html(obj))
    for module, kind in DRAWINGS:
        formatters["image/svg+xml"].for_type_by_name(module, kind, lambda obj: drawing(obj))
        formatters["text/plain"].for_type_by_name(module, kind, lambda o, p, cycle: p.text(as_text(o)))
    formatters["text/plain"].for_type_by_name(
        "netkit_edu.errors", "NetkitEduError", lambda o, p, cycle: p.text(as_text(o))
    )
