"""Exercises of chapter 09: whose time a packet takes, who freed it, and a program that the verifier refuses."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from netkit_edu.course.carriers import WhoseTime
from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised, collect
from netkit_edu.course.repair import Repair
from netkit_edu.course.slips import Slip, begin_with, explain

TASKS = ("init", "<idle>", "curl", "kworker/u4:2-events", "ksoftirqd/1", "irq/27-eth0", "Web Content", "node-7")
PLACES = (
    ("netkit_xmit", "", "NOT_SPECIFIED"), ("skb_do_redirect", "", "NOT_SPECIFIED"), ("ip_rcv_core", "", "OTHERHOST"),
    ("ip_forward", "", "IP_INHDR"), ("ip_forward", "", "PKT_TOO_BIG"), ("__udp4_lib_rcv", "", "NO_SOCKET"),
    ("ip_error", "", "IP_INADDRERRORS"), ("veth_xmit", "veth", "NOT_SPECIFIED"), ("nf_hook_slow", "", "NETFILTER_DROP"),
    ("enqueue_to_backlog", "", "CPU_BACKLOG"), ("tcf_chain0.part.0", "sch_ingress", "TC_INGRESS"),
    ("__netif_receive_skb_core.constprop.0", "", "TC_INGRESS"),
)  # fmt: skip
DROP, CONSUME, CALL, OLD = "drop", "consume", "call", "old"


@dataclass(frozen=True)
class Event:
    """A line of a trace: a packet thrown away (as this kernel or an older one writes it), one consumed, or a call."""

    kind: str
    function: str
    module: str
    reason: str
    head: str
    offset: str

    @property
    def place(self) -> str:
        """The place in the code, as the kernel writes it."""
        return f"{self.function}+{self.offset}" + (f" [{self.module}]" if self.module else "")

    @property
    def text(self) -> str:
        """The line."""
        if self.kind == CALL:
            return f"{self.head}: kfree_skb_reason <-{self.function}"
        if self.kind == CONSUME:
            return f"{self.head}: consume_skb: skbaddr=00000000d1be8fbe location={self.place}"
        socket = "" if self.kind == OLD else "rx_sk=0000000000000000 "
        fields = f"skbaddr=000000001be8fbe4 {socket}protocol=2048 location={self.place} reason: {self.reason}"
        return f"{self.head}: kfree_skb: {fields}"


class WhoFreed(FunctionExercise):
    """Who threw packets away, from the text of a trace."""

    id = "09.who-freed"
    arguments = ("text",)
    slips = (
        Slip("consumed", "`consume_skb` is not a loss: that packet had done its work, and was freed like any other."),
        Slip("calls", "A line with `<-` is a function's call. Only the *event* `kfree_skb:` has place and reason."),
        Slip("offset", "The name ends at the `+`: what follows is how far into the function it happened."),
        Slip("module", "In brackets stands the module the function is part of; it belongs neither to name nor reason."),
        Slip("by_place", "Older kernels write fewer fields: go by `location=` and `reason:`, not by counting words."),
        Slip("unspecified", "NOT_SPECIFIED is a reason like others: the packet is gone, and the place says where."),
        Slip("no_module", "Where a module's name stands between place and reason, your entry is missing."),
        Slip("no_dots", "A compiler's `.part.0` belongs to a name: where one has dots in it, your entry is missing."),
        Slip("first_only", "That is the first one. The text may have any number of lines: return all, in order."),
        Slip("once", "The same place may throw away many packets: one entry for each, in the order of the text."),
        Slip(
            "no_suffix",
            "Keep the whole name up to the `+`: the `.part.0` and `.constprop.0` of a compiler belong to it.",
        ),
    )
    solution = """\
def who_freed(text):
    freed = []
    for line in text.splitlines():
        if " kfree_skb: " not in line:
            continue
        place = line.partition("location=")[2]
        freed.append((place.partition("+")[0], line.partition("reason: ")[2].strip()))
    return freed
"""

    def cases(self, rng: random.Random) -> Iterable[tuple[Event, ...]]:
        """Yield traces: empty, with one loss, with several of one place, and with other lines between them."""
        made: list[tuple[Event, ...]] = [()]
        for n in range(CASES - 1):
            kinds = [DROP] * (n % 4) + [OLD] * (n % 3 == 1) + [CONSUME] * (n % 3) + [CALL] * (n % 2)
            rng.shuffle(kinds)
            events = [_event(rng, kind) for kind in kinds]
            if n % 5 == 0:
                events += events[-1:]
            made.append(tuple(events))
        rng.shuffle(made)
        return made

    def expected(self, case: tuple[Event, ...]) -> list:
        """Return place and reason of each loss."""
        return _who_freed(case)

    def got(self, answer: object, case: tuple[Event, ...]) -> object:
        """Ask the learner's function."""
        said = answer("\n".join(event.text for event in case))
        if isinstance(said, list | tuple):
            return [tuple(one) if isinstance(one, list) else one for one in said]
        return said

    def show(self, case: tuple[Event, ...]) -> str:
        """Return the text, as printed."""
        return "who_freed of:\n" + ("\n".join(event.text.strip() for event in case) or "(no line)")

    def diagnose(self, misses: Misses) -> str:
        """Name the misunderstandings that give every result."""
        given = [miss.got for miss in misses if not isinstance(miss.got, Raised)]
        if any(not isinstance(one, list) for one in given):
            return "Return a list, of a pair (function, reason) for each packet; an empty list where none was lost."
        if any(not isinstance(pair, tuple) or len(pair) != 2 for one in given for pair in one):
            return "Each entry is a pair: (function, reason)."
        if isinstance(misses[0].got, Raised):
            return "It stops at a line of another kind: ask first whether a line is the event that you want."
        if any(name.partition("+")[0] not in _NAMES for one in given for name, _ in one if name):
            return next(slip.words for slip in self.slips if slip.flag == "by_place")
        return explain(misses, self.slips, _who_freed) or begin_with(misses, self.slips, _who_freed)


_NAMES = {part for name, _, _ in PLACES for part in (name, name.partition(".")[0])}


def _event(rng: random.Random, kind: str) -> Event:
    function, module, reason = rng.choice(PLACES)
    head = f"{rng.choice(TASKS):>16}-{rng.randrange(1, 900):<7} [000] {rng.choice(('b....', '..s1.'))}"
    offset = f"0x{rng.randrange(64, 900):x}/0x{rng.randrange(900, 4000):x}"
    return Event(kind, function, module, reason, f"{head} {rng.uniform(3, 90):12.6f}", offset)


def _who_freed(case: tuple[Event, ...], *, consumed=False, calls=False, offset=False, module=False, by_place=False,
               unspecified=False, first_only=False, once=False, no_module=False, no_dots=False,
               no_suffix=False) -> list:  # fmt: skip
    """Return what someone with these misunderstandings reads; without any, what is right."""
    found = []
    for event in case:
        if (no_module and event.module) or (no_dots and "." in event.function):
            continue
        name = event.function.partition(".")[0] if no_suffix else event.function
        name = f"{name}+{event.offset}" if offset else name
        if event.kind in (DROP, OLD):
            reason = f"[{event.module}] {event.reason}" if module and event.module else event.reason
            if by_place and event.kind == OLD:
                name, reason = "reason:", ""
            found.append((name, reason))
        elif (event.kind == CONSUME and consumed) or (event.kind == CALL and calls):
            found.append((name if event.kind == CONSUME else "", ""))
    if unspecified:
        found = [pair for pair in found if pair[1] != "NOT_SPECIFIED"]
    if once:
        found = list(dict.fromkeys(found))
    return found[:1] if first_only else found


EXERCISES = collect(WhoseTime, WhoFreed, Repair)
