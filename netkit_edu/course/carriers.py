"""Exercise 09.whose-time: from the moments of packets, as BCC saw them, to who used whose time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised
from netkit_edu.course.slips import Slip, begin_with, explain
from netkit_edu.linux.carried import Carried
from netkit_edu.uapi import Context

SENDERS = ("curl", "node-7", "netkit-edu", "resolver")
OTHERS = ("bystander", "ksoftirqd/1", "swapper/1", "postgres")
RECEIVE = "netif_receive_skb"


@dataclass(frozen=True)
class Packet:
    """One packet: ``sender`` sends it ("" for one that a card brought), ``carrier`` receives it ``times`` times.

    ``skb`` is its address in the kernel; ``late``: the sender's CPU sees the end of its transmission last.
    """

    sender: str
    carrier: str
    times: int
    skb: int
    late: bool = False

    def moments(self) -> Iterator[Carried]:
        """Yield what a tracer sees of it, in order."""
        here, there = 0, int(self.carrier != self.sender)
        handed = [self._at("netif_rx", "web", here), self._at("net_dev_xmit", "eth0", here)] if self.sender else []
        yield from handed[: 1 if self.late else 2]
        yield self._at("softirq_entry", "", there, skb=0)
        for n in range(self.times):
            if n:
                yield self._at("netif_rx", "eth0", there, inside=True)
                yield self._at("net_dev_xmit", "eth0", there, inside=True)
            yield self._at(RECEIVE, "eth0" if n else "web", there)
        yield from handed[1:] if self.late else []

    def _at(self, what: str, device: str, cpu: int, *, inside: bool = False, skb: int | None = None) -> Carried:
        inside = inside or what in (RECEIVE, "softirq_entry")
        task = self.carrier if inside else self.sender
        return Carried(
            0, what, Context.SOFTIRQ if inside else Context.PROCESS, "NET_RX" if inside else "", task,
            (*SENDERS, *OTHERS).index(task), cpu, device, 46 if device else 0, self.skb if skb is None else skb,
        )  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """Packets, and their moments as they came, one packet's between another's."""

    packets: tuple[Packet, ...]
    moments: tuple[Carried, ...]

    def __str__(self) -> str:
        lines = [f"cpu {m.cpu}  skb {m.skb:#7x}  {m}" for m in self.moments]
        return "whose_time of:\n" + "\n".join(lines or ["(no moment)"])


class WhoseTime(FunctionExercise):
    """Who sent the packets, and on whose time they were received."""

    id = "09.whose-time"
    arguments = ("moments",)
    slips = (
        Slip(
            "no_join",
            "In softirq context, `task` is who was running there, and need not know the packet. Its sender is the task "
            "of the moments in process context with the same `skb`.",
        ),
        Slip(
            "by_xmit",
            "A task that transmits is not always the sender: the host's card transmits what it forwards in the "
            "softirq, on borrowed time. Only what happens in process context is the sender's own doing.",
        ),
        Slip(
            "first_sender",
            "The kernel uses a packet's address again for the next one: the latest moment in process context counts.",
        ),
        Slip("every", f"Count receptions only: moments called `{RECEIVE}`."),
        Slip(
            "foreign",
            "A packet without a moment in process context came from a card: no task here has sent it, so leave it out.",
        ),
        Slip("once", "Each reception costs time: a packet that is received twice, by host and outside, counts twice."),
        Slip("others", "A sender that receives on its own time counts as well: sender and carrier are then the same."),
        Slip("turned", "The sender comes first in the pair, then the one on whose time the packet was received."),
    )
    solution = """\
def whose_time(moments):
    senders, bill = {}, {}
    for moment in moments:
        if moment.context == "process":
            senders[moment.skb] = moment.task
        elif moment.what == "netif_receive_skb" and moment.skb in senders:
            pair = senders[moment.skb], moment.task
            bill[pair] = bill.get(pair, 0) + 1
    return bill
"""

    def cases(self, rng: random.Random) -> Iterable[Trace]:
        """Yield traces: none, short ones first, with packets of a card's, used-again addresses, and several senders."""
        return [_trace(rng, n * 10 // CASES) for n in range(CASES)]

    def expected(self, case: Trace) -> dict:
        """Return the receptions by sender and carrier."""
        bill: Counter = Counter()
        for packet in case.packets:
            if packet.sender:
                bill[packet.sender, packet.carrier] += packet.times
        return dict(bill)

    def got(self, answer: object, case: Trace) -> object:
        """Ask the learner's function."""
        said = answer(list(case.moments))
        return {pair: n for pair, n in said.items() if n} if isinstance(said, dict) else said

    def diagnose(self, misses: Misses) -> str:
        """Name the misunderstandings that give every result."""
        given = [miss.got for miss in misses if not isinstance(miss.got, Raised)]
        if any(not isinstance(one, dict) for one in given):
            return "Return a dictionary: pairs (sender, carrier), and how many packets for each."
        pairs = [pair for one in given for pair in one]
        if any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs):
            return "Each key is a pair of names: (sender, carrier)."
        if isinstance(misses[0].got, Raised) and isinstance(misses[0].got.error, KeyError):
            return next(slip.words for slip in self.slips if slip.flag == "foreign")
        if known := explain(misses, self.slips, model) or begin_with(misses, self.slips, model):
            return known
        return (
            next(slip.words for slip in self.slips if slip.flag == "foreign") if any(None in p for p in pairs) else ""
        )


def model(case: Trace, *, no_join=False, by_xmit=False, first_sender=False, every=False, foreign=False, once=False,
          others=False, turned=False) -> dict:  # fmt: skip
    """Return what someone with these misunderstandings makes of the moments; without any, what is right."""
    senders: dict[int, str] = {}
    paid: set[int] = set()
    bill: Counter = Counter()
    for m in case.moments:
        sends = m.what == "net_dev_xmit" if by_xmit else m.context is Context.PROCESS
        if sends:
            if not first_sender or m.skb not in senders:
                senders[m.skb] = m.task
            paid.discard(m.skb)
        if m.what != RECEIVE and not (every and m.skb and m.context is Context.SOFTIRQ):
            continue
        sender = m.task if no_join else senders.get(m.skb)
        if (sender is None and not foreign) or (once and m.skb in paid) or (others and sender == m.task):
            continue
        paid.add(m.skb)
        bill[(m.task, sender) if turned else (sender, m.task)] += 1
    return dict(bill)


def _trace(rng: random.Random, size: int) -> Trace:
    """Return a trace of packets; in flight at once are never two at the same address."""
    lanes: list[list[Packet]] = [[], [], []]
    for n in range(size):
        lane = n % len(lanes)
        sender = rng.choice((*SENDERS, SENDERS[0], "")) if n else rng.choice(SENDERS)
        carrier = rng.choice((sender, *OTHERS)) if sender else rng.choice(OTHERS)
        skb = 0x1000 + lane * 0x100 if sender else 0x8000 + n * 0x100
        lanes[lane].append(
            Packet(sender, carrier, rng.choice((1, 2, 2)), skb, carrier != sender and rng.random() < 0.3)
        )
    queues = [[moment for packet in lane for moment in packet.moments()] for lane in lanes]
    return Trace(tuple(packet for lane in lanes for packet in lane), tuple(_merged(rng, queues)))


def _merged(rng: random.Random, queues: Sequence[list[Carried]]) -> Iterator[Carried]:
    """Take moments from the queues in any order, each queue's own kept; the clock goes on."""
    ns, left = 23_560_345_000_000, [list(queue) for queue in queues if queue]
    while left:
        queue = rng.choice(left)
        ns += rng.randrange(4_000, 40_000)
        yield queue.pop(0)._replace(ns=ns)
        left = [queue for queue in left if queue]
