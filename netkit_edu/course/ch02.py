"""Exercises of chapter 02: drivers of the learner's own, put into a lab and held against what should have happened.

The answer is a class. A check makes a subclass of it, which notes what goes through `netif_rx`, and sends packets.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from netkit_edu.course.datagrams import Datagram
from netkit_edu.course.exercise import CASES, Exercise, Misses, Raised, collect
from netkit_edu.device import Device
from netkit_edu.lab import Lab
from netkit_edu.sim.driver import NetDevice
from netkit_edu.uapi import Verdict

PORT, HOST_IP, POD_IP = 7, "10.0.1.1", "10.0.1.2"
ETHERNET, HEADERS = 14, 28  # bytes: the Ethernet header; an IPv4 and a UDP header
BACKLOG = 2  # one more than that fits
NEXT, PASS, DROP = (int(v) for v in (Verdict.NEXT, Verdict.PASS, Verdict.DROP))
DELIVERED, DROPPED = "delivered", "dropped"


class Bench(NamedTuple):
    """A lab with one pod on the learner's driver, and what the driver handed on."""

    lab: Lab
    driver: type
    handed: list

    def ends(self, upward: bool) -> tuple[Device, Device]:
        """The sending end and the receiving one; ``upward`` is from the pod to the host."""
        pair = self.lab.nodes["toy"].pair
        return (pair.peer, pair.primary) if upward else (pair.primary, pair.peer)

    def send(self, upward: bool, payload: int, **how):
        """Send a datagram with ``payload`` bytes; ``how`` as in `Node.send`."""
        src, dst = (POD_IP, HOST_IP) if upward else (HOST_IP, POD_IP)
        self.handed.clear()
        sender = self.lab.nodes["toy" if upward else "host"]
        return sender.send(Datagram(src=src, dst=dst, dport=PORT, payload=bytes(payload)).ip, **how)


def bench(answer: type, backlog: int = 1000) -> Bench:
    """Make a lab whose pod ``toy`` is joined by a pair of the learner's driver."""
    handed = []

    def netif_rx(self, skb):
        handed.append(skb)
        return answer.netif_rx(self, skb)

    driver = type(answer.__name__, (answer,), {"netif_rx": netif_rx})
    lab = Lab("sim", backlog=backlog)
    for node in (lab.host, lab.pod("toy", device=driver)):
        node.listen(udp=PORT)
    return Bench(lab, driver, handed)


class DriverExercise(Exercise):
    """An exercise answered by a driver."""

    backlog = 1000

    def wants(self, answer: object) -> str:
        """Refuse what is no driver."""
        if not isinstance(answer, type) or not issubclass(answer, NetDevice):
            return f"give the class itself, made with class MyDriver(nk.NetDevice), not {answer!r}"
        if not callable(getattr(answer, "ndo_start_xmit", None)):
            return f"{answer.__name__} needs an ndo_start_xmit(self, skb)"
        return ""

    def prepare(self, answer: type) -> Bench:
        """Put the driver into a lab."""
        return bench(answer, self.backlog)


# 02.pair --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Burst:
    """Packets sent back to back, before the receiver's softirq has its turn."""

    upward: bool
    packets: int
    payload: int
    mark: int

    def __str__(self) -> str:
        way = "pod to host" if self.upward else "host to pod"
        return f"{way}: {self.packets} × {self.payload} bytes of payload, mark {self.mark}, backlog {BACKLOG}"


class Books(NamedTuple):
    """What a burst did to the two ends' counters; ``marks`` are those of the packets that were delivered."""

    delivered: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int
    rx_packets: int
    rx_bytes: int
    marks: tuple[int, ...]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


class PairOfOnesOwn(DriverExercise):
    """A pair that hands over, counts right even when the backlog is full, and takes the mark off."""

    id = "02.pair"
    backlog = BACKLOG
    solution = """\
class Pair(nk.NetDevice):
    def ndo_start_xmit(self, skb):
        length = len(skb)  # now: behind netif_rx the packet is somebody else's
        skb.dev = self.peer
        if self.netif_rx(skb):
            self.dev_core_stats_tx_dropped_inc(skb)
            return nk.NETDEV_TX_OK
        self.dev_sw_netstats_tx_add(skb, length)
        self.peer.dev_sw_netstats_rx_add(skb, length)
        return nk.NETDEV_TX_OK
"""

    def cases(self, rng: random.Random) -> Iterable[Burst]:
        """Yield bursts both ways, some longer than the backlog."""
        made = [Burst(up, n, rng.randrange(1000), rng.randrange(1, 1 << 16)) for up in (True, False) for n in (1, 5)]
        while len(made) < CASES:
            mark = rng.choice([0, rng.randrange(1, 1 << 32)])
            made.append(Burst(rng.random() < 0.5, rng.randrange(1, 7), rng.randrange(1000), mark))
        rng.shuffle(made)
        return made

    def expected(self, case: Burst) -> Books:
        """One more than the limit fits; the mark stays in its namespace."""
        fit = min(case.packets, BACKLOG + 1)
        length = fit * (ETHERNET + HEADERS + case.payload)
        return Books(fit, fit, length, case.packets - fit, fit, length, (0,) * fit)

    def got(self, answer: Bench, case: Burst) -> Books:
        """Send the burst, and see what the counters gained."""
        sender, receiver = answer.ends(case.upward)
        tx, rx = sender.stats, receiver.stats
        summary = answer.send(case.upward, case.payload, repeat=case.packets, mark=case.mark)
        tx_now, rx_now = sender.stats, receiver.stats
        delivered = summary.fates.get(DELIVERED, 0)
        return Books(
            delivered,
            tx_now.tx_packets - tx.tx_packets,
            tx_now.tx_bytes - tx.tx_bytes,
            tx_now.tx_dropped - tx.tx_dropped,
            rx_now.rx_packets - rx.rx_packets,
            rx_now.rx_bytes - rx.rx_bytes,
            tuple(skb.mark for skb in answer.handed[:delivered]),
        )

    def diagnose(self, misses: Misses) -> str:
        """Name what goes wrong first: crossing, the mark, then the books."""
        if any(isinstance(m.got, Raised) for m in misses):
            return ""
        if not any(m.got.delivered for m in misses):
            return "Nothing arrives. Which device is to receive the packet, and is the sender's route still on it?"
        if any(any(m.got.marks) for m in misses):
            return "The sender's mark shows in the other namespace: who takes the header off by hand scrubs by hand."
        if not any(m.got.tx_packets or m.got.rx_packets for m in misses):
            return "The packets cross, but sender's tx and receiver's rx stay 0: count for self, and for self.peer."
        return _wrong_books(misses)


def _wrong_books(misses: Misses) -> str:
    """Name the mistake in counters that are there."""
    if all(m.case.packets > BACKLOG + 1 for m in misses):
        return "Only where the backlog is full it is wrong: netif_rx returns 1 for a packet that did not fit."
    short = [m for m in misses if m.case.packets <= BACKLOG + 1]
    if all(m.got.tx_packets == m.got.rx_packets == m.expected.rx_packets for m in short):
        if all(m.expected.rx_bytes - m.got.rx_bytes == ETHERNET * m.got.rx_packets for m in short):
            return "14 bytes are missing of each packet. Count the whole frame: len(skb), before netif_rx shortens it."
        return "The packets are right, the bytes are not: each counts with its whole frame, len(skb) before netif_rx."
    if not any(m.got.rx_packets for m in short):
        return "What this end transmits, the other end has received: self.peer is a device that counts too."
    if not any(m.got.tx_packets for m in short):
        return "The end that runs ndo_start_xmit is the one that transmits: tx is for self, rx for self.peer."
    return ""


# 02.limiter -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sized:
    """One packet of so many bytes, IP header included, and a limit."""

    upward: bool
    length: int
    limit: int

    def __str__(self) -> str:
        way = "pod to host" if self.upward else "host to pod"
        return f"{way}: an IP packet of {self.length} bytes, limit {self.limit}"


class Limited(NamedTuple):
    """What became of it, and the sending end's tx_dropped."""

    fate: str
    tx_dropped: int

    def __str__(self) -> str:
        return f"{self.fate}, tx_dropped {self.tx_dropped}"


class Limiter(DriverExercise):
    """A driver that lets no packet through that is longer than its limit."""

    id = "02.limiter"
    solution = """\
class Limiter(nk.NetDevice):
    limit = 200

    def ndo_start_xmit(self, skb):
        if len(skb) - 14 > self.limit:  # without the Ethernet header
            self.dev_core_stats_tx_dropped_inc(skb)
            self.kfree_skb(skb, "longer than the limit")
            return nk.NETDEV_TX_OK
        skb.dev = self.peer
        self.netif_rx(skb)
        return nk.NETDEV_TX_OK
"""

    def cases(self, rng: random.Random) -> Iterable[Sized]:
        """Yield lengths about the limit: one less, equal, one more, and as much as a header more."""
        near = (-100, -15, -14, -1, 0, 1, 13, 14, 15, 300)
        made = [Sized(rng.random() < 0.5, limit + d, limit) for d in near for limit in rng.sample(range(150, 1000), 4)]
        rng.shuffle(made)
        return made[:CASES]

    def expected(self, case: Sized) -> Limited:
        """Longer is dropped."""
        return Limited(DROPPED, 1) if case.length > case.limit else Limited(DELIVERED, 0)

    def got(self, answer: Bench, case: Sized) -> Limited:
        """Set the limit and send the packet."""
        answer.driver.limit = case.limit
        sender, _ = answer.ends(case.upward)
        before = sender.stats.tx_dropped
        journey = answer.send(case.upward, case.length - HEADERS)
        return Limited(str(journey.fate.kind), sender.stats.tx_dropped - before)

    def diagnose(self, misses: Misses) -> str:
        """Name the border that was missed, or the counter."""
        if any(isinstance(m.got, Raised) for m in misses):
            return ""
        wrong = [m for m in misses if m.got.fate != m.expected.fate]
        if not wrong:
            return "The right ones are dropped. Now count each in tx_dropped of the end that would have sent it."
        if not any(m.got.fate == DROPPED for m in misses.every if not isinstance(m.got, Raised)):
            return "Nothing is dropped yet: compare the length with self.limit."
        over = [m.case.length - m.case.limit for m in wrong]
        if all(-ETHERNET <= d <= 0 for d in over):
            if set(over) == {0}:
                return "A packet that is exactly as long as the limit is not longer."
            return "Here len(skb) counts the 14 bytes of the Ethernet header; the limit is for the IP packet."
        if all(m.got.fate == DELIVERED for m in wrong):
            return "Something too long gets through: is the limit read from self.limit? Each check sets others."
        if all(m.got.fate == DROPPED for m in misses.every if not isinstance(m.got, Raised)):
            return "Nothing gets through: what is short enough goes to the peer, as in a pair."
        return "The limit is not always 200: read self.limit."


# 02.policy ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """Programs by the code that each returns, and the default policy."""

    upward: bool
    codes: tuple[int, ...]
    policy: int

    @property
    def decider(self) -> int | None:
        """The first code that is not NEXT; None if there is none."""
        return next((code for code in self.codes if code != NEXT), None)

    def __str__(self) -> str:
        return f"programs that return [{', '.join(map(_code, self.codes))}], policy {_code(self.policy)}"


class Decided(NamedTuple):
    """What became of a packet, how many programs ran, and whether they saw it on the receiving device."""

    fate: str
    ran: int
    tx_dropped: int
    dev_is_peer: bool = True

    def __str__(self) -> str:
        where = "" if self.dev_is_peer else ", which saw skb.dev before it was the peer"
        return f"{self.fate}, programs run: {self.ran}{where}, tx_dropped {self.tx_dropped}"


class MiniNetkit(DriverExercise):
    """A driver that asks Python functions for a verdict."""

    id = "02.policy"
    solution = """\
class MiniNetkit(nk.NetDevice):
    programs = []
    policy = nk.Verdict.PASS

    def ndo_start_xmit(self, skb):
        skb.dev = self.peer
        verdict = self.policy
        for program in self.programs:
            verdict = program(skb)
            if verdict != nk.Verdict.NEXT:
                break
        if verdict in (nk.Verdict.NEXT, nk.Verdict.PASS):
            self.netif_rx(skb)
            return nk.NETDEV_TX_OK
        self.dev_core_stats_tx_dropped_inc(skb)
        self.kfree_skb(skb, "the verdict")
        return nk.NETDEV_TX_OK
"""

    def cases(self, rng: random.Random) -> Iterable[Chain]:
        """Yield chains that end in every way, an unknown code among them, under both policies."""
        chains = [(), (NEXT,), (PASS,), (DROP,), (NEXT, NEXT), (NEXT, DROP), (PASS, DROP), (1,), (NEXT, 3)]
        made = [Chain(rng.random() < 0.5, codes, policy) for codes in chains for policy in (PASS, DROP)]
        while len(made) < CASES:
            codes = tuple(rng.choices([NEXT, NEXT, PASS, DROP, rng.randrange(8, 100)], k=rng.randrange(5)))
            made.append(Chain(rng.random() < 0.5, codes, rng.choice([PASS, DROP])))
        rng.shuffle(made)
        return made

    def expected(self, case: Chain) -> Decided:
        """The first code that is not NEXT; behind the last NEXT a PASS; without programs the policy."""
        if not case.codes:
            fate, ran = case.policy, 0
        elif case.decider is None:
            fate, ran = PASS, len(case.codes)
        else:
            fate, ran = case.decider, case.codes.index(case.decider) + 1
        return Decided(DELIVERED, ran, 0) if fate == PASS else Decided(DROPPED, ran, 1)

    def got(self, answer: Bench, case: Chain) -> Decided:
        """Attach functions with these codes, and send."""
        sender, _ = answer.ends(case.upward)
        peers = []

        def program(code):
            def run(skb):
                peers.append((skb.dev.node == "toy") != case.upward)
                return Verdict(code) if code in (NEXT, PASS, DROP) else code

            return run

        answer.driver.programs, answer.driver.policy = [program(code) for code in case.codes], Verdict(case.policy)
        before = sender.stats.tx_dropped
        journey = answer.send(case.upward, 10)
        return Decided(str(journey.fate.kind), len(peers), sender.stats.tx_dropped - before, all(peers))

    def diagnose(self, misses: Misses) -> str:
        """Name the rule that was broken."""
        if any(isinstance(m.got, Raised) for m in misses):
            return ""
        if any(not m.got.dev_is_peer for m in misses):
            return "netkit gives the packet to its programs when skb.dev is the other end already."
        if not any(m.got.ran for m in misses.every):
            return "No program was asked: call each function of self.programs with the skb."
        if all(not m.case.codes for m in misses):
            return "Without a program, the policy decides."
        if all(set(m.case.codes) == {NEXT} and m.case.policy == DROP for m in misses):
            return "Behind the last NEXT comes PASS: the policy is for an end without programs, not for a chain's end."
        if all(m.got.ran > m.expected.ran for m in misses):
            return "Whatever is not NEXT ends the chain: no further program runs."
        if all(m.got.ran < m.expected.ran for m in misses):
            return "NEXT means: ask the next program. Each has its turn until one decides."
        if all(m.got._replace(tx_dropped=1) == m.expected for m in misses):
            return "The right packets are dropped. Count each in tx_dropped."
        if all(m.case.decider not in (None, PASS, DROP) for m in misses):
            return "A code that netkit does not know drops the packet: nothing gets out by mistake."
        return ""


def _code(code: int) -> str:
    names = {NEXT: "NEXT", PASS: "PASS", DROP: "DROP"}
    return names.get(code, str(code))


EXERCISES = collect(PairOfOnesOwn, Limiter, MiniNetkit)
