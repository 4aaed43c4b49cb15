"""Exercises of chapter 01: fate by route and TTL, where a packet loses its socket, what a path costs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netkit_edu.course.datagrams import Datagram, random_datagram
from netkit_edu.course.exercise import CASES, FunctionExercise, Miss, Raised, collect
from netkit_edu.journey import Journey
from netkit_edu.lab import Lab
from netkit_edu.uapi import IPPROTO_UDP

WEB, DB, OUTSIDE = "10.0.1.2", "10.0.2.2", "192.0.2.2"
HOST = ("10.0.1.1", "10.0.2.1", "192.0.2.1")
PORT = 7


class Sent(NamedTuple):
    """One packet of the pod ``web``."""

    dst: str
    ttl: int

    def __str__(self) -> str:
        return f"dst={self.dst!r}, ttl={self.ttl}"


class Fate(FunctionExercise):
    """Delivered or dropped, from the destination and the TTL."""

    id = "01.fate"
    arguments = ("dst", "ttl")
    solution = """\
def fate(dst, ttl):
    if dst in ("10.0.1.2", "10.0.1.1", "10.0.2.1", "192.0.2.1"):
        return "delivered"  # nobody forwards it: the TTL is not touched
    if dst in ("10.0.2.2", "192.0.2.2") and ttl >= 2:
        return "delivered"
    return "dropped"
"""

    def cases(self, rng: random.Random) -> Iterable[Sent]:
        """Yield every address with a TTL of 1 and more, and networks that lie nowhere."""
        known = [WEB, DB, OUTSIDE, *HOST]
        made = [Sent(dst, ttl) for dst in known for ttl in (1, 2, rng.randrange(3, 256))]
        while len(made) < CASES:
            nowhere = [f"10.0.{rng.randrange(3, 200)}.2", f"198.51.100.{rng.randrange(1, 255)}"]
            made.append(Sent(rng.choice([*known, *nowhere]), rng.choice([1, 2, 64, rng.randrange(1, 256)])))
        rng.shuffle(made)
        return made

    def expected(self, case: Sent) -> str:
        """Count the routers on the way: each needs a TTL above 1."""
        if case.dst in (WEB, *HOST):
            return "delivered"
        return "delivered" if case.dst in (DB, OUTSIDE) and case.ttl > 1 else "dropped"

    def got(self, answer: object, case: Sent) -> object:
        """Ask for the fate."""
        return answer(case.dst, case.ttl)

    def diagnose(self, misses: Sequence[Miss]) -> str:
        """Name what the first miss is about."""
        first = misses[0]
        if isinstance(first.got, Raised):
            return ""
        routed = first.case.dst in (DB, OUTSIDE)
        if first.got not in ("delivered", "dropped"):
            return 'Return the word, "delivered" or "dropped".'
        if first.case.dst in (WEB, *HOST):
            return "Only a router looks at the TTL. What is for web or the host itself is not forwarded."
        if routed and first.case.ttl == 1:
            return "How many routers lie between web and this address? Each of them needs a TTL above 1."
        if routed:
            return "A router takes one off and sends on what is left; 2 becomes 1, and 1 is enough to arrive."
        return "Nobody has that address. The host's default route sends it outside, and there it ends."


class Way(NamedTuple):
    """A packet between two nodes of a lab with a pod on veth, one on netkit, the host and the outside."""

    sender: str
    receiver: str
    payload: bytes

    def __str__(self) -> str:
        return f"journey from {self.sender} to {self.receiver}, UDP, {len(self.payload)} bytes"


class Orphaned(FunctionExercise):
    """Which devices transmit a packet after it has lost its socket."""

    id = "01.orphaned"
    arguments = ("journey",)
    nodes = ("host", "outside", "web", "db")
    solution = """\
def orphaned(journey):
    functions = [hop.function for hop in journey.hops]
    later = journey.hops[functions.index("sock_wfree") :]
    return [(hop.node, hop.device) for hop in later if hop.kind == "driver"]
"""

    def cases(self, rng: random.Random) -> Iterable[Way]:
        """Yield every pair of nodes, itself included."""
        ways = [(a, b) for a in self.nodes for b in self.nodes]
        ways += rng.choices(ways, k=CASES - len(ways))
        rng.shuffle(ways)
        return [Way(a, b, rng.randbytes(rng.randrange(200))) for a, b in ways]

    def expected(self, case: Way) -> list[tuple[str, str]]:
        """The tie is cut by the first device or the stack behind it: what a packet of another node's is to cross."""
        if case.sender == case.receiver or "host" in (case.sender, case.receiver):
            return []
        return [("host", "eth0" if case.receiver == "outside" else case.receiver)]

    def prepare(self, answer: object) -> object:
        """Make one lab for all packets."""
        lab = Lab("sim")
        lab.pod("web", device="veth")
        lab.pod("db", device="netkit")
        for node in lab.nodes.values():
            node.listen(udp=PORT)
        return lab, answer

    def got(self, answer: object, case: Way) -> object:
        """Send the packet and ask about its journey."""
        lab, function = answer
        devices = function(self.journey(lab, case))
        if not isinstance(devices, list | tuple):
            return devices
        return [tuple(map(str, d)) if isinstance(d, list | tuple) else d for d in devices]

    def journey(self, lab: Lab, case: Way) -> Journey:
        """Return the journey of one packet."""
        sender, receiver = lab.nodes[case.sender], lab.nodes[case.receiver]
        datagram = random_datagram(
            random.Random(0), src=sender.ip, dst=receiver.ip, protocol=IPPROTO_UDP, dport=PORT, payload=case.payload
        )
        return sender.send(datagram.ip)

    def diagnose(self, misses: Sequence[Miss]) -> str:
        """Name an answer of another form, one that was written for one journey, or one that counts too much."""
        if any(isinstance(m.got, Raised) for m in misses):
            return "Each hop has `function`, `node`, `device`, `context`, `kind` and `detail`."
        pairs = [m.got for m in misses]
        if not all(isinstance(got, list) and all(isinstance(d, tuple) and len(d) == 2 for d in got) for got in pairs):
            return "Return a list of pairs, (node, device); an empty list where no device is left."
        if all(got == [("host", "eth0")] for got in pairs):
            return "That is right for a pod that sends outside. Look it up in the journey instead."
        if all(len(m.got) > len(m.expected) for m in misses):
            return "Some of these transmit while the socket still accounts for the packet, or do not transmit at all."
        return ""


class Path(NamedTuple):
    """The devices that transmit a packet, from the sending application's to the last."""

    devices: tuple[str, ...]

    def __str__(self) -> str:
        return f"devices={list(self.devices)}"


class Cost(FunctionExercise):
    """Lookups and backlogs of a path."""

    id = "01.cost"
    arguments = ("devices",)
    solution = """\
def cost(devices):
    if devices == ["lo"]:
        return 1, 1  # one stack: the packet keeps the route that it was sent with
    pairs = [device for device in devices if device in ("veth", "netkit")]
    return len(devices) + 1, len(pairs)
"""

    def cases(self, rng: random.Random) -> Iterable[Path]:
        """Yield the paths of the chapter, and longer ones through namespaces that route."""
        made = [Path(p) for p in (("lo",), ("nic",), ("veth",), ("veth", "nic"), ("veth", "veth"), ("nic", "veth"))]
        while len(made) < CASES:
            pairs = rng.choices(["veth", "netkit"], k=rng.randrange(1, 6))
            made.append(Path((*pairs, *rng.choice([(), ("nic",)]))))
        rng.shuffle(made)
        return made

    def expected(self, case: Path) -> tuple[int, int]:
        """Every stack asks its routes once; every pair queues once; the loopback leads back into the same stack."""
        if case.devices == ("lo",):
            return 1, 1
        return len(case.devices) + 1, sum(device in ("veth", "netkit") for device in case.devices)

    def got(self, answer: object, case: Path) -> object:
        """Ask for the cost."""
        cost = answer(list(case.devices))
        return tuple(cost) if isinstance(cost, list) else cost

    def diagnose(self, misses: Sequence[Miss]) -> str:
        """Name what the misses have in common, the loopback last."""
        if any(isinstance(m.got, Raised) for m in misses):
            return ""
        if not all(isinstance(m.got, tuple) and len(m.got) == 2 for m in misses):
            return "Return a pair: (route lookups, times in a backlog)."
        if not (misses := [m for m in misses if m.case.devices != ("lo",)]):
            return "The loopback is special: send to `web.ip` from web and count."
        if all(m.got == m.expected[::-1] for m in misses):
            return "Your two numbers have changed places: the route lookups come first."
        if all(m.case.devices[-1] == "nic" and m.got[1] == m.expected[1] + 1 for m in misses):
            return "A network card has a queue of its own, the qdisc; the backlog is for virtual devices."
        if all(m.got[0] == m.expected[0] - 1 for m in misses):
            return "The last stack asks too: is this packet for me?"
        if all("netkit" in m.case.devices for m in misses):
            return "Without a program, netkit hands over as veth does."
        return ""


def datagram(case: Sent) -> Datagram:
    """Return the packet that `Fate` speaks of."""
    return Datagram(src=WEB, dst=case.dst, ttl=case.ttl, dport=PORT, protocol=IPPROTO_UDP, payload=b"?")


EXERCISES = collect(Fate, Orphaned, Cost)
