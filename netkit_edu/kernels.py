"""What other kernels do otherwise than the course's 6.12: one table, which the contract tests read as well.

A row says what is asked for, and the answer of one kernel after the other: each `Step` holds from its series on. A step
was measured, by the contract tests on the kernels of `MEASURED`, or it was only read in the source, which it says then.
What no row names is the same on all of them. ``KERNELS.md`` is this table for readers (``python -m netkit_edu.kernels``
writes it).
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

COURSE = "6.12.117"  # Debian's; what the simulator does, and what the recordings were made on
MEASURED = (COURSE, "6.16.12", "7.0.13", "7.3.4")  # all contract tests ran on these
# The rows were measured on these: Ubuntu's where a number follows a hyphen, else Debian's
RUN = ("6.8.0-31", "6.8.0-151", "6.11.0-29", "6.12.107", COURSE, "6.14.0-37", "6.16.12", "6.17.13", "6.18.15",
       "6.19.14", "7.0.13", "7.1.13", "7.2.12", "7.3.4")  # fmt: skip
_FIRST = "6.7"  # where netkit begins
_STAND_IN = ".".join(COURSE.split(".")[:2])  # what the simulator calls itself


class Step(NamedTuple):
    """What is so from a series of kernels on: its number, for example "6.14", and the value.

    ``source`` says where it is told since when, and, with ``read``, that no such kernel was run.
    """

    since: str
    value: Any
    source: str = ""
    read: bool = False


class Row(NamedTuple):
    """One thing that kernels do in different ways.

    Attributes:
        key: its name, for tests.
        what: what is asked for, or looked at.
        section: where the specification of netkit's behaviour on 6.12 has it, "" where it has not.
        where: the function of the kernel that decides, or its file, "" where that was not looked for.
        steps: from the oldest to the newest; one of them holds on the course's kernel.
    """

    key: str
    what: str
    section: str
    where: str
    steps: tuple[Step, ...]

    def step(self, release: str) -> Step:
        """Return what holds on a kernel: the last step that it has reached, the first one before any."""
        now = version(COURSE if release == _STAND_IN else release)
        return next((step for step in reversed(self.steps) if version(step.since) <= now), self.steps[0])

    def on(self, release: str) -> Any:
        """Return the value on a kernel, given as `Lab.kernel` says it."""
        return self.step(release).value


def version(release: str) -> tuple[int, ...]:
    """Return a release as numbers that can be compared: (6, 8, 0, 151) of "6.8.0-151-generic"."""
    found = re.match(r"\d+([.-]\d+)*", release)
    return tuple(map(int, re.findall(r"\d+", found[0]))) if found else ()


def said(value: Any) -> str:
    """Return a row's value in words: an errno with what the kernel says to it, None as what it accepts."""
    if not isinstance(value, tuple):
        return "accepted" if value is None else str(value)
    return ", ".join(part for part in value if part)


class Differences(tuple):
    """Rows in which a kernel differs from the course's; it shows itself as a line for each."""

    def __new__(cls, rows: tuple[Row, ...], release: str, unseen: tuple[str, ...] = ()):
        """Take the rows, the kernel's release, and which of its functions journeys do not show."""
        made = super().__new__(cls, rows)
        made.release, made.unseen = release, unseen
        return made

    def __repr__(self) -> str:
        if not self and not self.unseen:
            return f"Linux {self.release} does what the course's {COURSE} does, as far as it was measured."
        lines = [f"  {r.what}: {said(r.on(self.release))}; on {COURSE}: {said(r.on(COURSE))}" for r in self]
        newest = max(MEASURED, key=version)
        if version(self.release)[:2] > version(newest)[:2]:
            lines.append(f"  newer than any that was measured ({newest}): more may differ")
        if self.unseen:
            lines.append(f"  functions that journeys do not show: {', '.join(self.unseen)}")
        return "\n".join([f"Linux {self.release} differs from the course's {COURSE}:", *lines])


def kernel_differences(lab) -> Differences:
    """Return what a lab's kernel does otherwise than the course's, row by row; shown as lines of text.

    Args:
        lab: a `Lab`, or a kernel's release as `Lab.kernel` says it.
    """
    release = lab if isinstance(lab, str) else lab.kernel
    unseen = () if isinstance(lab, str) else getattr(lab.kernel_calls, "unseen", ())
    return Differences(tuple(row for row in ROWS.values() if row.on(release) != row.on(COURSE)), release, unseen)


def note(release: str) -> str:
    """Return what is to be said of a kernel in one line, "" of one like the course's."""
    found = kernel_differences(release)
    return f"differs from the course's {COURSE} in {len(found)} known ways: nk.kernel_differences(lab)" if found else ""


# the page for readers -------------------------------------------------------------------------------------------------


def table() -> str:
    """Return the table of ``KERNELS.md``: a line for each value that is not the course's."""
    head = ["what", "§", f"on {COURSE}", "elsewhere", "where", "how it is known", "what decides"]
    lines = [head, ["---"] * len(head)]
    for row in ROWS.values():
        others = dict.fromkeys(step.value for step in row.steps if step.value != row.on(COURSE))
        for value in others:
            seen = [said(row.on(COURSE)), said(value), *_known(row, value), row.where and f"`{row.where}`"]
            lines.append([row.what, row.section, *seen])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _known(row: Row, value: Any) -> tuple[str, str]:
    """Return on which kernels a value is so, and who says it."""
    where: list[list[str]] = []
    for before, release in pairwise(("", *RUN)):
        if row.on(release) == value:
            if where and where[-1][-1] == before:
                where[-1].append(release)
            else:
                where.append([release])
    places = [f"{some[0]} to {some[-1]}" if some[1:] else some[0] for some in where]
    known = ["measured"] if where else []
    for n, step in enumerate(row.steps):
        if step.value == value and step.read:
            places.append(f"{step.since} to before {row.steps[n + 1].since}")
            known.append(f"read in the source, not run: {step.source}")
        elif step.value == value and step.source:
            when = "before" if step is row.steps[0] else f"since {step.since} by the source:"
            known.append(f"{when} {step.source}")
    return ", ".join(places), "; ".join(dict.fromkeys(known))


def _fixed(what: str) -> tuple[str, str]:
    return "EACCES", f"netkit {what} cannot be changed after device creation"


_ROOM = "netkit: Allow for configuring needed_{head,tail}room, of December 2024"
_RANGE = "netkit: Simplify netkit mode over to use NLA_POLICY_MAX, of October 2024"
_PEER_TYPE = "fefd5d082172, of November 2024"
_SCRUB = "netkit: Add option for scrubbing skb meta data, of October 2024: in 6.13 and 6.12.y"
_MAC = "d6fe532b7499, of May 2024, in 6.9.y too"
_PASS = "3998d184267d, of May 2024, in 6.9.y too"
_CONTEXT = "bpf_net_context: before, the target lay in a variable of the CPU"
_NEGATIVE = ("EINVAL", "ifindex can't be negative")
_NO_MAC = ("EOPNOTSUPP", "Setting Ethernet address is not supported")
_SHORT = ("ERANGE", "Attribute failed policy validation")
_TAGS = "6.8.0-151 6.12.107 6.12.117 7.1.13 7.2.12 7.3.4"
_MODE, _RANGED = ("EINVAL", "Provided device mode can only be L2 or L3"), ("ERANGE", "integer out of range")
_PAIR = ("mode", "peer_policy", "peer_scrub", "policy", "primary", "scrub")
_WITH_ROOMS = ("headroom", *_PAIR, "tailroom")


def _scrub(before: Any, after: Any) -> tuple[Step, ...]:
    """Return the steps of what came with the scrub attributes, which distributions took over early."""
    old = [Step(since, before, _SCRUB, read=since != _FIRST) for since in (_FIRST, "6.9", "6.12")]
    new = [Step(since, after) for since in ("6.8.0-151", "6.11.0-29", "6.12.4")]
    return tuple(step for pair in zip(old, new, strict=True) for step in pair)


def _where(releases: str, value: Any, otherwise: Any) -> tuple[Step, ...]:
    """Return the steps of what was mended in every series at a time of its own: which of `RUN` have it, and which not.

    Args:
        releases: those that have ``value``, with blanks between them.
    """
    values = [(release, value if release in releases.split() else otherwise) for release in RUN]
    first = Step(_FIRST, values[0][1])
    return first, *(Step(*now) for before, now in pairwise(values) if before[1] != now[1])


_ROWS = (
    Row("mode", "MODE 2 at creation", "1.6.1", "drivers/net/netkit.c:netkit_policy",
        (Step("6.7", _MODE), Step("6.13", _RANGED, _RANGE))),
    Row("mode-or-mac", "MODE 2 and a multicast address at creation: which of them is told", "1.6.1",
        "net/core/rtnetlink.c:__rtnl_newlink",
        (Step("6.7", _NO_MAC, _MAC), Step("6.8.0-151", ("EADDRNOTAVAIL", "")), Step("6.13", _RANGED, _RANGE))),
    Row("mtu-or-peer", "an MTU of 65536 and a peer's name of no bytes: which is told", "1.6.1",
        "net/core/rtnetlink.c:rtnl_newlink",
        (Step("6.7", ("EINVAL", "mtu greater than device maximum")),
         Step("6.13", _SHORT, _PEER_TYPE))),
    Row("mac-or-namespace", "a peer's address in L3 and a namespace for it that is none: which is told", "1.6.1",
        "net/core/rtnetlink.c:rtnl_newlink",
        (Step("6.7", _NO_MAC, _MAC), Step("6.8.0-151", ("EOPNOTSUPP", "")), Step("6.13", ("EBADF", ""), _PEER_TYPE))),
    Row("change-peer-info", "PEER_INFO in a change", "1.6.2", "drivers/net/netkit.c:netkit_change_link",
        (Step("6.7", ("EINVAL", _fixed("peer info")[1])), Step("6.14", _fixed("link peer info"), _ROOM))),
    Row("change-scrub", "SCRUB in a change", "1.6.2", "drivers/net/netkit.c:netkit_change_link",
        (*_scrub(None, _fixed("scrubbing")), Step("6.14", _fixed("link scrubbing"), _ROOM))),
    Row("change-peer-scrub", "PEER_SCRUB in a change", "1.6.2", "drivers/net/netkit.c:netkit_change_link",
        (*_scrub(None, _fixed("scrubbing")), Step("6.14", _fixed("link peer scrubbing"), _ROOM))),
    Row("change-headroom", "HEADROOM in a change", "1.6.2", "drivers/net/netkit.c:netkit_change_link",
        (Step("6.7", None), Step("6.14", _fixed("link headroom"), _ROOM))),
    Row("change-tailroom", "TAILROOM in a change", "1.6.2", "drivers/net/netkit.c:netkit_change_link",
        (Step("6.7", None), Step("6.14", _fixed("link tailroom"), _ROOM))),
    Row("change-pairing", "PAIRING in a change", "1.6.2", "drivers/net/netkit.c:netkit_change_link",
        (Step("6.7", None), Step("7.1", _fixed("link pairing")))),
    Row("attributes", "the attributes that a device tells of itself", "1.2", "drivers/net/netkit.c:netkit_fill_info",
        (*_scrub(tuple(n for n in _PAIR if "scrub" not in n), _PAIR), Step("6.14", _WITH_ROOMS, _ROOM),
         Step("7.1", tuple(sorted((*_WITH_ROOMS, "pairing")))))),
    Row("pairing", "what PAIRING 1 (single) makes", "8.1", "drivers/net/netkit.c:netkit_new_link",
        (Step("6.7", "a pair: the attribute is not known"), Step("7.1", "one device that has no other end"))),
    Row("single-attach", "a program attached to a single device", "1.6.3", "drivers/net/netkit.c:netkit_dev_fetch",
        (Step("6.7", None), Step("7.1", ("EOPNOTSUPP", "")))),
    Row("single-policy", "POLICY of a single device, at its creation or in a change", "1.6.2",
        "drivers/net/netkit.c:netkit_change_link", (Step("6.7", None), Step("7.1", ("EOPNOTSUPP", "")))),
    Row("tx-queues", "more than one queue to send from (num_tx_queues)", "1.3", "drivers/net/netkit.c:netkit_new_link",
        (Step("6.7", None), Step("7.1", ("EOPNOTSUPP", "")))),
    Row("rx-queues", "more than 1024 queues to receive on (num_rx_queues)", "1.3",
        "drivers/net/netkit.c:netkit_new_link", (Step("6.7", None), Step("7.1", ("EOPNOTSUPP", "")))),
    Row("link-create-bytes", "bytes behind uprobe_multi.pid that BPF_LINK_CREATE takes", "1.6.7",
        "kernel/bpf/syscall.c:link_create", (Step("6.7", 0), Step("7.2", 4))),
    Row("redirect-peer-egress", "bpf_redirect_peer(BPF_F_EGRESS) in a program", "3.1, 3.5",
        "net/core/filter.c:bpf_redirect_peer",
        (Step("6.7", "refused: the program is told to drop"),
         Step("7.3", "the packet leaves by the other end, whose programs run"))),
    Row("negative-or-short", "a negative ifindex and a SCRUB of no bytes at creation: which is told", "1.6.1",
        "net/core/rtnetlink.c:rtnl_newlink",
        (Step("6.7", _NEGATIVE), Step("6.14", _SHORT))),
    Row("negative-or-mac", "a negative ifindex and an address of zeros at creation: which is told", "1.6.1",
        "net/core/rtnetlink.c:rtnl_newlink",
        (Step("6.7", _NEGATIVE), Step("6.14", ("EADDRNOTAVAIL", "")))),
    Row("detach-unasked", "BPF_PROG_DETACH of the only program, without CAP_NET_ADMIN and without naming it", "1.6.5",
        "kernel/bpf/syscall.c:bpf_prog_detach",
        _where("6.8.0-151 6.12.117 6.18.15 6.19.14 7.0.13 7.1.13 7.2.12 7.3.4", "EPERM", "done")),
    Row("neigh-down", "tx_dropped of a device that is down, after bpf_redirect_neigh() to it", "3.4",
        "net/core/filter.c:__bpf_redirect_neigh_v4",
        _where("6.8.0-151 6.12.107 6.12.117 6.18.15 6.19.14 7.0.13 7.1.13 7.2.12 7.3.4", 1, 0)),
    Row("frag-needed", "an ICMP error that says fragmentation needed, about a UDP packet that no socket has sent", "",
        "net/ipv4/udp.c", _where("6.8.0-151 6.12.117 7.2.12 7.3.4", "believed", "not believed")),
    Row("cut-tag", "what bpf_skb_change_tail() must leave of a packet socket's frame with a VLAN tag, in bytes", "",
        "net/packet/af_packet.c:packet_parse_headers", _where(_TAGS, 38, 18)),
    Row("cut-tags", "what it must leave with two tags", "", "net/packet/af_packet.c:packet_parse_headers",
        _where(_TAGS, 42, 22)),
    Row("cut-datagram", "what it must leave of a UDP socket's packet", "", "net/core/filter.c:__bpf_skb_min_len",
        _where("6.8.0-151 6.12.117 7.2.12 7.3.4", 34, 42)),
    Row("short-tcp-header", "a GSO packet whose TCP header says that it has 16 bytes: what its sender hears", "",
        "",
        _where("6.8.0-151 6.12.117 7.0.13 7.1.13 7.2.12 7.3.4", "EINVAL", "ENOMEM")),
    Row("ping-counts", "IcmpOutEchos of a ping socket's one request", "", "net/ipv4/ping.c",
        _where("6.8.0-151 6.12.107 6.12.117 6.18.15 6.19.14 7.0.13 7.1.13 7.2.12 7.3.4", 1, 2)),
    Row("martian-reason", "the kernel's reason for dropping a packet from 224.1.2.3; other martians have theirs", "",
        "net/ipv4/route.c:ip_route_input_slow", (Step("6.7", "NOT_SPECIFIED"), Step("6.14", "IP_INVALID_SOURCE"))),
    Row("gso-segs", "gso_segs of a packet socket's GSO packet of three segments, at tcx egress", "", "net/core/dev.c",
        (Step("6.7", 0), Step("6.19", 3))),
    Row("verify-array", "a value of an array found by a constant key, used without a look whether it is NULL", "7, 8b",
        "kernel/bpf/verifier.c:check_helper_call",
        (Step("6.7", "refused"), Step("6.14", "accepted"))),
    Row("verify-stack", "what the verifier says of a helper's buffer that ends beyond the stack", "7, 19",
        "kernel/bpf/verifier.c:check_stack_range_initialized",
        (Step("6.7", "invalid indirect access to stack"), Step("6.14", "invalid write to stack"))),
    Row("verify-packet", "what the verifier adds of a read beyond the packet's proven end", "7, 1",
        "kernel/bpf/verifier.c:check_packet_access",
        (Step("6.7", "offset is outside of the packet"),
         Step("7.1", "min value is outside of the allowed memory range"))),
    Row("verify-suggestion", "advice at the end of the verifier's log", "7", "kernel/bpf/verifier.c",
        (Step("6.7", "none"), Step("7.3", "what went wrong, and a suggestion"))),
    # older than the course's
    Row("mac", "an address for a device in L2 mode, at creation", "8.1", "drivers/net/netkit.c:netkit_validate",
        (Step("6.7", _NO_MAC, _MAC), Step("6.8.0-151", None))),
    Row("priority", "skb->priority between two ends in one namespace", "2.3",
        "drivers/net/netkit.c:netkit_prep_forward",
        _scrub("0", "kept")),
    Row("pass-relabels", "protocol and pkt_type when a program passes a packet", "8.1",
        "drivers/net/netkit.c:netkit_xmit",
        (Step("6.7", "found out anew from the Ethernet header", _PASS),
         Step("6.8.0-151", "as the program left them"))),
    Row("redirect-forgotten", "a redirect of a packet that then passes", "2.5", "net/core/filter.c:bpf_redirect",
        (Step("6.7", "is remembered for the next packet on that CPU"), Step("6.11", "is forgotten", _CONTEXT))),
)  # fmt: skip
ROWS = {row.key: row for row in _ROWS}


if __name__ == "__main__":
    print(table())
