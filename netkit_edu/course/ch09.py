"""Exercises of chapter 09: a line of the function tracer, who freed a packet, and what the verifier complains of."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised, collect
from netkit_edu.course.refusals import SAID
from netkit_edu.course.slips import Slip, begin_with, explain

CALLS = (
    ("udp_sendmsg", "__sys_sendto"), ("netkit_xmit", "dev_hard_start_xmit"), ("veth_xmit", "dev_hard_start_xmit"),
    ("enqueue_to_backlog", "netif_rx_internal"), ("net_rx_action", "handle_softirqs"), ("ip_forward", "ip_rcv_finish"),
    ("ip_rcv", "__netif_receive_skb_one_core"), ("sock_wfree", "ip_rcv_core"), ("tcp_v4_rcv", "ip_local_deliver"),
)  # fmt: skip

# read-line ----------------------------------------------------------------------------------------------------------

TASKS = ("init", "<idle>", "curl", "kworker/u4:2-events", "kworker/0:1H-kblockd", "ksoftirqd/1", "irq/27-eth0",
         "Web Content", "containerd-shim", "node-7", "systemd-resolve")  # fmt: skip
CONTEXTS = {".": "process", "s": "softirq", "h": "hardirq", "H": "hardirq"}


@dataclass(frozen=True)
class Line:
    """A line of the function tracer, by its parts; ``flags`` are as many as the kernel has columns."""

    task: str
    pid: int
    cpu: int
    flags: str
    time: float
    function: str
    caller: str

    @property
    def text(self) -> str:
        """The line as the kernel writes it."""
        who = f"{self.task:>16}-{self.pid:<7}"
        return f"{who} [{self.cpu:03}] {self.flags} {self.time:12.6f}: {self.function} <-{self.caller}"


class ReadLine(FunctionExercise):
    """A line of the function tracer, taken apart."""

    id = "09.read-line"
    arguments = ("line",)
    slips = (
        Slip("first_dash", "A task's name may have dashes in it: the number stands behind the *last* one."),
        Slip("one_word", "A task's name may have a space in it: do not take what `split()` gives first for all of it."),
        Slip("padded", "The spaces in front of the name belong to the column, not to the name: `strip()`."),
        Slip("only_s", "Interrupts have contexts of their own: `h`, and `H` where a softirq was interrupted."),
        Slip("no_nested", "`H` is a hard interrupt too: one that came while a softirq was running."),
        Slip("any_flag", "Only the third flag tells the context. The first says what is switched off: `d`, `b`, `D`."),
        Slip("from_behind", "Count the flags from the left: newer kernels have a fifth at the end, older ones four."),
        Slip("depth", "The fourth flag counts how deep preemption is disabled, which process context may do as well."),
        Slip("caller", "Behind `<-` stands who called. The function itself stands in front of it."),
    )
    solution = """\
def read_line(line):
    who, _, rest = line.partition(" [")
    task, _, pid = who.strip().rpartition("-")
    cpu, flags, _, function = rest.split()[:4]
    context = {"s": "softirq", "h": "hardirq", "H": "hardirq"}.get(flags[2], "process")
    return task, int(pid), int(cpu.rstrip("]")), context, function
"""

    def cases(self, rng: random.Random) -> Iterable[Line]:
        """Yield lines of every task, in every context, with four flags and with five."""
        made = []
        for n in range(CASES):
            function, caller = rng.choice(CALLS)
            depth = rng.choice((".", "1", "2", "3"))
            flags = (
                rng.choice("dbD..") + rng.choice("Nnp..") + "..ssshH"[n % 7] + depth + ("", rng.choice(".12"))[n % 2]
            )
            task = TASKS[n % len(TASKS)]
            pid = {"init": 1, "<idle>": 0}.get(task, rng.randrange(2, 99_999))
            made.append(Line(task, pid, rng.randrange(16), flags, rng.uniform(3, 90_000), function, caller))
        rng.shuffle(made)
        return made

    def expected(self, case: Line) -> tuple:
        """Return the five parts."""
        return _read_line(case)

    def got(self, answer: object, case: Line) -> object:
        """Ask the learner's function."""
        said = answer(case.text)
        return tuple(said) if isinstance(said, list) else said

    def show(self, case: Line) -> str:
        """Return the call."""
        return f"read_line({case.text!r})"

    def diagnose(self, misses: Misses) -> str:
        """Name the misunderstandings that give every result."""
        given = [miss.got for miss in misses if not isinstance(miss.got, Raised)]
        if any(not isinstance(one, tuple) or len(one) != 5 for one in given):
            return "Return five things: task, pid, cpu, context, function."
        if any(not isinstance(one[1], int) or not isinstance(one[2], int) for one in given):
            return "The process id and the CPU are numbers: `int(...)`, without the brackets."
        if any(one[3] not in CONTEXTS.values() for one in given):
            return 'The context is one of three words: "process", "softirq", "hardirq".'
        if any(str(one[4]).endswith(":") or "<-" in str(one[4]) for one in given):
            return "The function's name only, as it stands between the time and the `<-`."
        if all(miss.case.flags[2] == "H" for miss in misses):
            return next(slip.words for slip in self.slips if slip.flag == "no_nested")
        return explain(misses, self.slips, _read_line) or begin_with(misses, self.slips, _read_line)


def _read_line(case: Line, *, first_dash=False, one_word=False, padded=False, only_s=False, no_nested=False,
               any_flag=False, from_behind=False, depth=False, caller=False) -> tuple:  # fmt: skip
    """Return what someone with these misunderstandings reads; without any, what is right."""
    task = case.task.partition("-")[0] if first_dash else case.task
    task = task.split()[0] if one_word else task.rjust(16) if padded else task
    flag = case.flags[-3] if from_behind else case.flags[2]
    context = CONTEXTS.get(flag, "process")
    if only_s or (no_nested and flag == "H"):
        context = "softirq" if flag == "s" else "process"
    if any_flag and context == "process" and case.flags[0] in "dD":
        context = "hardirq"
    if depth:
        context = "softirq" if case.flags[3] != "." else "process"
    return task, case.pid, case.cpu, context, case.caller if caller else case.function


# who-freed ----------------------------------------------------------------------------------------------------------

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


# complaint ----------------------------------------------------------------------------------------------------------

_INSTRUCTION = re.compile(r"(\d+): \([0-9a-f]{2}\) ")
_C_LINE = re.compile(r"^(; .*) @ cell:(\d+)$", re.M)


@dataclass(frozen=True)
class Log:
    """The log of one of `SAID`, as of a file of this name with so many more lines in front."""

    program: str
    file: str
    further: int

    @property
    def text(self) -> str:
        """The log."""
        return _C_LINE.sub(lambda m: f"{m[1]} @ {self.file}:{int(m[2]) + self.further}", SAID[self.program].log)


class Complaint(FunctionExercise):
    """The point of a verifier's log: the C line, and what is wrong with it."""

    id = "09.complaint"
    arguments = ("log",)
    slips = (
        Slip("accepted", "That program was accepted: its log has no C line and no complaint. Return `None`."),
        Slip("last", "That is the last sentence. The first one behind the last instruction says what was wrong."),
        Slip("first_line", "That is the first C line of the log. The verifier stopped at the last one."),
        Slip("slot", "That is the instruction's number. The C line's stands behind the `@`, after the colon."),
        Slip("whole", "One sentence: the first line behind the last instruction, not all of them."),
        Slip("instruction", "That is the last instruction. What is wrong with it stands on the line below."),
    )
    solution = """\
def complaint(log):
    number, words = None, None
    for line in log.splitlines():
        if line.startswith(";"):
            number, words = int(line.rpartition(":")[2]), None
        elif line.partition(": (")[0].isdigit():
            words = None
        elif number is not None and words is None:
            words = line
    return None if number is None else (number, words)
"""

    def cases(self, rng: random.Random) -> Iterable[Log]:
        """Yield every log several times, under other names and with other line numbers."""
        programs = [name for _ in range(3) for name in SAID][:CASES]
        made = [Log(name, rng.choice(("cell", "guard", "my_prog")), rng.choice((0, 0, 7, 120))) for name in programs]
        rng.shuffle(made)
        return made

    def expected(self, case: Log) -> tuple[int, str] | None:
        """Return the C line and the sentence."""
        return _complaint(case)

    def got(self, answer: object, case: Log) -> object:
        """Ask the learner's function."""
        said = answer(case.text)
        if isinstance(said, list | tuple):
            return tuple(one.strip() if isinstance(one, str) else one for one in said)
        return said

    def show(self, case: Log) -> str:
        """Return the end of the log: what is above does not help."""
        lines = case.text.splitlines()
        start = max((n for n, line in enumerate(lines) if line.startswith(";")), default=0)
        return "complaint of a log that ends with:\n" + "\n".join(lines[max(start - 2, 0) :])

    def diagnose(self, misses: Misses) -> str:
        """Name the misunderstandings that give every result."""
        given = [miss.got for miss in misses if not isinstance(miss.got, Raised)]
        if any(one is not None and not (isinstance(one, tuple) and len(one) == 2) for one in given):
            return "Return a pair, the C line's number and a sentence; or None."
        if any(one is not None and isinstance(one[0], str) for one in given):
            return "The C line's number is a number: `int(...)` of what stands behind the last colon."
        if not SAID[misses[0].case.program].words:
            return self.slips[0].words
        if all(miss.case.file != "cell" for miss in misses):
            return "In front of the line's number stands the name of the program's text, which differs."
        if all(isinstance(m.got, tuple) and m.expected and _goes_on(m.got[1], m.expected[1]) for m in misses):
            return next(slip.words for slip in self.slips if slip.flag == "whole")
        return explain(misses, self.slips, _complaint) or begin_with(misses, self.slips, _complaint)


def _goes_on(words: object, sentence: str) -> bool:
    return str(words).startswith(sentence) and words != sentence


def _complaint(case: Log, *, accepted=False, last=False, first_line=False, slot=False, whole=False,
               instruction=False):  # fmt: skip
    """Return what someone with these misunderstandings reads; without any, what is right."""
    said, lines = SAID[case.program], case.text.splitlines()
    if not said.words:
        return (None, lines[0]) if accepted else None
    at = max(n for n, line in enumerate(lines) if _INSTRUCTION.match(line))
    sentences = lines[at + 1 : -1]
    words = sentences[-1] if last else " ".join(sentences) if whole else lines[at] if instruction else said.words
    number = said.line + case.further
    if first_line:
        number = int(next(line for line in lines if line.startswith(";")).rpartition(":")[2])
    return int(_INSTRUCTION.match(lines[at])[1]) if slot else number, words


EXERCISES = collect(ReadLine, WhoFreed, Complaint)
