"""A scenario: a topology, programs and steps, as plain data that prints as a short program.

Devices go by short names. ``a`` is the primary of the pair under test, on the host, ``a.peer`` its other end in ``c1``
(or on the host too, if the pair is ``same``). ``b`` and ``b.peer`` are a second netkit pair to ``c2``, ``v`` and
``v.peer`` a veth pair to ``c3``, ``d`` a dummy on the host and ``d1`` one in ``c1``; ``nic`` and ``lo`` are the
host's. A hook is "primary" or "peer" of ``a``, "b primary", "b peer", or "in DEVICE" and "out DEVICE" for tcx.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from netkit_edu.uapi import BPF_F_AFTER, BPF_F_BEFORE, BPF_F_ID, BPF_F_LINK, BPF_F_REPLACE

PROGRAMS = tuple(f"p{n}" for n in range(10))
MISSING = 999  # an ifindex that no device has
PORT, CLOSED_PORT = 7, 9


class Place(NamedTuple):
    """Where a device lives: the node's name, its name and number there, its IPv4 address, its MAC if it has one."""

    node: str
    name: str
    ifindex: int
    address: str
    mac: str


PLACES = {
    "a": Place("host", "a", 101, "10.77.1.1", "02:00:00:00:0a:01"),
    "a.peer": Place("c1", "eth0", 102, "10.77.1.2", "02:00:00:00:0a:02"),
    "b": Place("host", "b", 103, "10.77.2.1", "02:00:00:00:0b:01"),
    "b.peer": Place("c2", "eth0", 104, "10.77.2.2", "02:00:00:00:0b:02"),
    "v": Place("host", "v", 105, "10.77.3.1", "02:00:00:00:0c:01"),
    "v.peer": Place("c3", "eth0", 106, "10.77.3.2", "02:00:00:00:0c:02"),
    "d": Place("host", "d", 107, "10.77.4.1", "02:00:00:00:0d:01"),
    "d1": Place("c1", "d1", 108, "10.77.5.1", "02:00:00:00:0d:02"),
}
SAME_PEER = Place("host", "ap", 102, "10.77.1.2", "02:00:00:00:0a:02")
FLAGS = {BPF_F_REPLACE: "REPLACE", BPF_F_BEFORE: "BEFORE", BPF_F_AFTER: "AFTER", BPF_F_ID: "ID", BPF_F_LINK: "LINK"}


@dataclass
class Scenario:
    """Everything that is to be done, and in which network.

    Attributes:
        topology: device -> its options. "a" and "b": mode, policy, peer_policy, scrub, peer_scrub (numbers as in
            `uapi`), mtu, peer_mtu (bytes), same (a only), neigh (L2: permanent neighbours instead of ARP). "v": mtu,
            peer_mtu. "d", "d1": up.
        programs: name -> what it does: verdict, mark, priority, type, store (place, bytes as hex), ethertype, length,
            cb, redirect (helper, target, flags), nexthop, says_answer.
        steps: what is done, one dict each; its ``do`` says what.
        name: where it comes from.
    """

    topology: dict[str, dict] = field(default_factory=lambda: {"a": {}})
    programs: dict[str, dict] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    name: str = ""

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(
            {"name": self.name, "topology": self.topology, "programs": self.programs, "steps": self.steps}
        )

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read what `to_json` wrote."""
        given = json.loads(text)
        return cls(given["topology"], given["programs"], given["steps"], given.get("name", ""))

    def copy(self) -> Scenario:
        """Return an independent copy."""
        return copy.deepcopy(self)

    def place(self, device: str) -> Place:
        """Return where a device lives in this scenario."""
        return SAME_PEER if device == "a.peer" and self.topology["a"].get("same") else PLACES[device]

    @property
    def devices(self) -> list[str]:
        """The devices that its topology makes, in the order in which they are made."""
        ends = {"a": ("a", "a.peer"), "b": ("b", "b.peer"), "v": ("v", "v.peer")}
        return [end for name in self.topology for end in ends.get(name, (name,))]

    @property
    def length(self) -> int:
        """How much there is to read: steps, programs, devices and what is said of each."""
        told = [*self.topology.values(), *self.programs.values(), *self.steps]
        return sum(1 + len(one) for one in told)

    def __str__(self) -> str:
        lines = [f"# {self.name}"] if self.name else []
        lines += [f"device {name}{_options(options)}" for name, options in self.topology.items()]
        lines += [f"program {name}{_options(does)}" for name, does in self.programs.items()]
        lines += [f"{n:2}  {describe(step)}" for n, step in enumerate(self.steps)]
        return "\n".join(lines)


def describe(step: dict) -> str:
    """Return one step as a line: what is done, then with what."""
    return step["do"] + _options({key: value for key, value in step.items() if key != "do"})


def _options(options: dict) -> str:
    return "".join(f" {key}={_value(key, value)}" for key, value in options.items())


def _value(key: str, value) -> str:
    if key == "flags" and isinstance(value, int) and value > 0:
        names = [name for bit, name in FLAGS.items() if value & bit]
        odd = value & ~sum(FLAGS)
        return "|".join(names + ([hex(odd)] if odd else []))
    if isinstance(value, list):
        return f"({','.join(map(str, value))})"
    return str(value)
