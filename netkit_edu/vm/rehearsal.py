"""A lab begins with the same calls each time. A rehearsed machine has done them before its snapshot was taken.

The calls are not repeated then, only compared: as long as the client asks byte for byte what was rehearsed, it is given
the answers that the guest gave. With the first other question the guest is ahead of its client: a plain machine takes
its place, and what was asked so far is asked there in earnest. So the rooms above need not know, and nothing can go
stale: a change of what they ask makes another rehearsal.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from netkit_edu.errors import DoorError
from netkit_edu.linux.door import Door
from netkit_edu.vm import cache, prepare, stage
from netkit_edu.vm.guest import Guest

MOST_MISSES = 5  # in a row: then the calls differ each time, and rehearsing them is in vain
_SUFFIX = "-lab"


class Exchange(NamedTuple):
    """One question to a door: the frame's body, the timeout in seconds, the flags."""

    body: bytes
    timeout: float
    flags: int


class Step(NamedTuple):
    """One rehearsed exchange: the hash of the question, and the answer."""

    question: str
    status: int
    at: int
    answer: bytes


class RehearsedDoor(Door):
    """A door whose guest may have answered already. Until `begin` it is like any other."""

    _steps: deque[Step] = deque()
    _asked: list[Exchange] | None = None
    _restart: Callable[[], Guest] | None = None
    missed = False

    def begin(self, steps: list[Step], restart: Callable[[], Guest]) -> None:
        """Write down what is asked from now on, and answer from these steps as long as it is what was rehearsed.

        Args:
            steps: what the guest has done.
            restart: gives a plain machine, which has done nothing of it.
        """
        self._steps, self._asked, self._restart = deque(steps), [], restart

    def end(self) -> list[Exchange]:
        """Return all that was asked since `begin`; from now on every question goes to the guest."""
        with self._lock:
            if self._steps:
                self._ask_in_earnest()
            asked, self._asked, self._restart = self._asked or [], None, None
            return asked

    def exchange(self, body: bytes, timeout: float, flags: int = 0) -> tuple[int, int, bytes]:
        """As a door does; what was rehearsed is answered from there."""
        with self._lock:
            if self.closed:
                raise self._translate(DoorError("it is closed"))
            if self._asked is None:
                return super().exchange(body, timeout, flags)
            if self._steps and self._steps[0].question != _hash(body, flags):
                self._ask_in_earnest()
            self._asked.append(Exchange(bytes(body), timeout, flags))
            if self._steps:
                step = self._steps.popleft()
                return step.status, step.at, step.answer
            return super().exchange(body, timeout, flags)

    def _ask_in_earnest(self) -> None:
        self.missed, self._steps = True, deque()
        asked, self._asked = self._asked, None
        guest = self._restart()
        self._stream, self._translate = guest.stream, guest.failure
        self._before, self._after = guest.go, guest.halt
        self._buffer.clear()
        prepare.set_clock(self)
        for question in asked:
            super().exchange(*question)
        self._asked = asked


def lookup(plain: cache.Entry) -> tuple[cache.Entry, list[Step]] | None:
    """Return the rehearsed snapshot that belongs to a plain one, and what was rehearsed; None if there is none."""
    if (entry := cache.lookup(plain.key + _SUFFIX)) is None:
        return None
    try:
        steps = [Step(said[0], said[1], said[2], base64.b64decode(said[3])) for said in entry.facts["steps"]]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return (entry, steps) if entry.facts.get("misses", 0) < MOST_MISSES else None


def settle(plain: cache.Entry, asked: list[Exchange], rehearsed: bool, missed: bool) -> None:
    """Make a rehearsal of what a lab has asked, if there is none that served it.

    Args:
        plain: the snapshot without.
        rehearsed: the lab had a rehearsed machine.
        missed: but asked something else.
    """
    entry = cache.lookup(plain.key + _SUFFIX)
    misses = entry.facts.get("misses", 0) if entry else 0
    if rehearsed and not missed:
        if entry and misses:
            cache.write_facts(entry.path, entry.facts | {"misses": 0})
        return
    if asked and misses < MOST_MISSES:
        rehearse(plain, asked, misses + missed)


def rehearse(plain: cache.Entry, asked: list[Exchange], misses: int = 0) -> cache.Entry:
    """Ask all of it of a machine of its own, and keep that machine and its answers.

    Raises:
        VMError: the machine does not survive it.
        BackendUnavailable: the cache cannot be written to, or another process is building.
    """

    def ask(door: Door) -> dict:
        steps = [Step(_hash(one.body, one.flags), *door.exchange(*one)) for one in asked]
        said = [[step.question, step.status, step.at, base64.b64encode(step.answer).decode()] for step in steps]
        return {"misses": misses, "steps": said}

    with cache.locked(None) as place:
        return stage.carry_on(plain, plain.key + _SUFFIX, place, ask)


def _hash(body: bytes, flags: int) -> str:
    return hashlib.sha256(b"%d " % flags + bytes(body)).hexdigest()
