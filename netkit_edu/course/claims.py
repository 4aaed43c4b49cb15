"""The article's claims, and where each of them runs: what ``python -m netkit_edu claims`` prints."""

from __future__ import annotations

import textwrap

from netkit_edu.course.catalogue import Catalogue, Claim, load


def report(catalogue: Catalogue | None = None, *, width: int = 100) -> str:
    """Return the claims as text: each with its chapters, cells and tests, and what it still lacks.

    Args:
        catalogue: the course's own if None.
        width: columns of the text.
    """
    catalogue = catalogue or load()
    claims = catalogue.claims.values()
    still_open = [claim for claim in claims if claim.missing]
    parts = [_entry(claim, width) for claim in claims]
    parts.append(f"{len(claims)} claims, {len(claims) - len(still_open)} complete, {len(still_open)} open.")
    return "\n\n".join(parts)


def _entry(claim: Claim, width: int) -> str:
    state = f"open: no {', no '.join(_WORDS[m] for m in claim.missing)}" if claim.missing else "complete"
    lines = [f"{claim.id}  chapter {', '.join(claim.chapters)}  ({state})"]
    lines += _wrapped(claim.text, width)
    if claim.finer:
        lines += _wrapped(f"finer: {claim.finer}", width)
    met = {place[:2] for place in claim.cells}
    if met and (later := [number for number in claim.chapters if number not in met]):
        lines.append(f"    to come   chapter {', '.join(later)}")
    for word, places in (("cell", claim.cells), ("simulator", claim.simulator), ("Linux", claim.linux)):
        lines += [f"    {word:<9} {place}" for place in places]
    return "\n".join(lines)


_WORDS = {"cell": "cell yet", "simulator": "simulator test yet", "linux": "Linux test yet"}


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")
