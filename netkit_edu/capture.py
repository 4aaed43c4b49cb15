"""Captures: the frames that pass a device, as tcpdump would see them there."""

from __future__ import annotations

from typing import NamedTuple

from netkit_edu import packet


class Frame(NamedTuple):
    """One frame that was seen: ``direction`` is "out" or "in", ``bytes`` start at the Ethernet header."""

    direction: str
    bytes: bytes

    def __str__(self) -> str:
        return f"{self.direction:3} {packet.summary(self.bytes, ethernet=True)}"


class Capture:
    """Frames that leave and reach one device, in order. A context manager: leaving the block stops it.

    What a tap sees leaving is what the driver was given: netkit's programs have not run yet.
    """

    def __init__(self, device):
        self._calls = device.node.lab.kernel_calls
        self._number = self._calls.capture_start(device.node.ns, device.ifindex)
        self._seen: list[Frame] | None = None

    @property
    def frames(self) -> list[Frame]:
        """What was seen so far, or until it was stopped."""
        if self._seen is not None:
            return list(self._seen)
        return [Frame(*one) for one in self._calls.captured(self._number)]

    def stop(self) -> None:
        """Stop listening; what was seen stays here. A second call does nothing."""
        if self._seen is None:
            self._seen = self.frames
            self._calls.capture_stop(self._number)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *exc) -> None:
        self.stop()

    def __repr__(self) -> str:
        return "\n".join(map(str, self.frames)) or "no frames"
