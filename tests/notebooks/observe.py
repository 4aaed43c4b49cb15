"""Inside a notebook's kernel: note for each cell what its packets met and what its predictions answered.

Not the hops, which Linux shows in part only, and not what changes from run to run.
"""

from __future__ import annotations

KIND = "application/x.netkit-edu.observed+json"
START = "from tests.notebooks import observe\nobserve.start()"


def start() -> None:
    """From the next cell on, add to the outputs of a cell that makes a lab, sends or predicts a list of `KIND`."""
    from IPython import get_ipython
    from IPython.display import display

    from netkit_edu.course.predict import Prediction
    from netkit_edu.lab import Lab
    from netkit_edu.node import Node

    seen: list[object] = []

    def show(_result) -> None:
        if seen:
            display({KIND: list(seen)}, raw=True)
            seen.clear()

    _note(Lab, "__init__", seen, lambda lab, _none: {"lab": lab.backend})
    _note(Node, "send", seen, lambda _node, sent: _met(sent))
    _note(Prediction, "happen", seen, lambda _prediction, happened: {"predicted": happened[0]})
    get_ipython().events.register("post_run_cell", show)


def _note(owner: type, name: str, seen: list, words) -> None:
    """Let the method ``name`` also append to ``seen`` what ``words`` makes of its object and each of its results."""
    method = getattr(owner, name)

    def noted(self, *args, **kwargs):
        result = method(self, *args, **kwargs)
        seen.append(words(self, result))
        return result

    setattr(owner, name, noted)


def _met(sent) -> dict:
    """Return what a journey, or a burst of them, met, as plain data that is the same on every backend."""
    if hasattr(sent, "journeys"):
        return {"burst": sorted(str(journey.fate.kind) for journey in sent.journeys)}
    counts = sent.counts
    return {
        "fate": [str(sent.fate.kind), sent.fate.node, sent.fate.device],
        "told": sent.sender_error,
        "verdicts": [[ran.program, int(ran.verdict)] for ran in sent.verdicts],
        "lookups": counts.lookups,
        "queues": [counts.queues, counts.backlogs],
        "drivers": counts.drivers,
        "counters": {device: dict(moved) for device, moved in sent.counters.items()},
        "replies": [str(reply.fate.kind) for reply in sent.replies],
    }
