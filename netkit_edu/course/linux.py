"""``nk.on_linux``: a piece of a lesson on a real kernel, live where that is possible, else as it was recorded."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netkit_edu.course import recordings
from netkit_edu.course.dependence import code_of
from netkit_edu.errors import BackendUnavailable, CourseError, UsageError
from netkit_edu.lab import Lab
from netkit_edu.opening import why_no_netkit_here

CHOICES = ("vm", "host", "recorded")
RECORDED = "recordings are asked for"
KEPT = ".kept"  # what a notebook's run leaves, while it is recorded, for each piece that cannot run here


class OnLinux:
    """What a real kernel answered: ``value``, and where it comes from.

    Attributes:
        key, value, kernel, backend, date: as in `recordings.Recording`.
        live: whether it ran just now, here.
        label: one line that says so.
    """

    def __init__(self, recording: recordings.Recording, live: bool, why: str = ""):
        self.key, self.value = recording.key, recording.value
        self.kernel, self.backend, self.date = recording.kernel, recording.backend, recording.date
        self.live = live
        if live:
            self.label = f"Linux {self.kernel}, just now ({self.backend})"
        else:
            self.label = f"recorded on Linux {self.kernel}, {self.date}, by {recording.command}. Not live: {why}"

    def __repr__(self) -> str:
        return f"{self.value!r}\n[{self.label}]"


def on_linux(
    key: str, fn: Callable[[Lab], Any], *, backend: str | None = None, bcc: bool = False, **lab_options
) -> OnLinux:
    """Run ``fn(lab)`` on a real Linux and return what it returned; where there is none, what was recorded.

    Args:
        key: the name of the recording, "<chapter>.<words>", for example "09.beside".
        fn: takes a fresh `Lab`, returns plain data or journeys.
        backend: "vm", "host", or "recorded"; by default what ``NETKIT_EDU_LINUX`` or ``NETKIT_EDU_BACKEND`` says,
            else the virtual machine if its image is there or can be made from what this machine has, else the host.
        bcc: it uses BCC, which works on this machine's own kernel only: wherever other pieces run, this one runs on
            the host, or was recorded there. The kernel need not have netkit, as long as the pods are veth.
        lab_options: as for `Lab`.

    Raises:
        CourseError: it cannot run here, and there is no recording.
        UsageError: there is no such backend.
    """
    why = ""
    places = _places(backend, bcc)
    for name in places:
        if name == "recorded":
            why = RECORDED
            break
        try:
            if lacking := _lacking(name, bcc, len(places) == 1):
                raise BackendUnavailable(lacking)
            with Lab(name, **lab_options) as lab:
                return _live(key, lab, fn(lab), bcc)
        except BackendUnavailable as error:
            why = why or str(error)
    if (found := recordings.load(key)) is None:
        raise CourseError(f"{key!r} was never recorded, and cannot run here: {why}")
    if folder := os.environ.get("NETKIT_EDU_RECORD_FOLDER"):
        Path(folder, key + KEPT).write_text(why, encoding="utf-8")
    return OnLinux(found, False, why)


def _places(backend: str | None, bcc: bool) -> tuple[str, ...]:
    """Return the backends to try, in order."""
    wanted = backend or os.environ.get("NETKIT_EDU_LINUX") or ""
    if wanted and wanted not in CHOICES:
        raise UsageError(f"backend is one of {', '.join(map(repr, CHOICES))}, not {wanted!r}")
    if bcc:
        return (wanted,) if wanted == "recorded" else ("host",)
    if not wanted and os.environ.get("NETKIT_EDU_BACKEND") in ("vm", "host"):
        wanted = os.environ["NETKIT_EDU_BACKEND"]
    return (wanted,) if wanted else ("vm", "host")


def _lacking(name: str, bcc: bool, chosen: bool) -> str:
    """Return what a backend does not have that the piece needs; a host that somebody chose may be without netkit."""
    if bcc:
        from netkit_edu.linux.bcc import why_not

        return why_not()
    return why_no_netkit_here() if name == "host" and not chosen else ""


def _live(key: str, lab: Lab, value, bcc: bool) -> OnLinux:
    notebook = os.environ.get("NETKIT_EDU_RECORD_NOTEBOOK", "")
    made = recordings.Recording(
        key=key,
        kernel=lab.kernel,
        backend=lab.backend,
        date=datetime.date.today().isoformat(),
        command=f"python -m netkit_edu record {key[:2]}" + (" (as root, with BCC)" if bcc else ""),
        code=code_of(Path(notebook), key) if notebook else "",
        value=value,
    )
    if notebook:
        folder = Path(os.environ["NETKIT_EDU_RECORD_FOLDER"])
        folder.joinpath(f"{key}.json").write_text(made.to_json(), encoding="utf-8")
    return OnLinux(made, True)
