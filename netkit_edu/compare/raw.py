"""Steps that say what the kernel has to refuse: rtnetlink attributes and fields of bpf(2) as they are.

Attributes stand in a scenario as pairs of a number and hexadecimal bytes; programs, links and devices by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netkit_edu.compare.machine import Machine
from netkit_edu.compare.scenario import MISSING, PLACES, Scenario
from netkit_edu.errors import KernelError
from netkit_edu.sys import ifinfomsg
from netkit_edu.uapi import BpfCmd, IflaNetkit, VethInfo

Attributes = Sequence[Sequence]
_NAMED = ("attach_bpf_fd", "replace_bpf_fd", "prog_fd", "new_prog_fd", "old_prog_fd", "link_fd", "bpf_fd")
_LINKS = ("link_fd", "bpf_fd")


def attributes(given: Attributes) -> dict[int, bytes]:
    """Return attributes by number."""
    return {number: bytes.fromhex(value) for number, value in given}


def newlink(machine: Machine, kind: str, *, attrs: Attributes = (), data: Attributes = (),
            peer: Attributes | None = None, ifindex: int = 0, peer_ifindex: int = 0) -> dict:  # fmt: skip
    """Create a device on the host as this message asks, tell what came of it, and delete it again."""
    calls, ns = machine.calls, machine.nodes["host"].ns
    before = {link.ifindex for link in calls.links(ns)}
    info = _with_peer(kind, data, peer, peer_ifindex)
    try:
        number = calls.raw_newlink(ns, kind, create=True, ifindex=ifindex, attrs=attributes(attrs), data=info)
        made = [_told(link, attrs, peer) for link in calls.links(ns) if link.ifindex not in before]
        calls.link_del(ns, number)
        return {"made": made}
    except KernelError as refused:
        left = [link.name for link in calls.links(ns) if link.ifindex not in before]
        return {"error": refused.name, "extack": refused.extack, "left": left}


def changelink(machine: Machine, scenario: Scenario, device: str, *, kind: str = "netkit", attrs: Attributes = (),
               data: Attributes | None = None, peer: Attributes | None = None) -> dict:  # fmt: skip
    """Change a device as this message asks."""
    place = scenario.place(device)
    info = None if data is None else _with_peer(kind, data, peer, 0)
    machine.calls.raw_newlink(
        machine.nodes[place.node].ns, kind, create=False, ifindex=place.ifindex, attrs=attributes(attrs), data=info
    )
    return {}


def bpf(machine: Machine, number: Callable[[str], int], cmd: str, *, node: str = "host", tail: str = "",
        capable: bool = True, **fields: Any) -> dict:  # fmt: skip
    """Call bpf(2) with these fields; programs and links that it tells of by name."""
    known = {name: number(_kept(name, value)) if name in _NAMED else value for name, value in fields.items()}
    if isinstance(target := known.get("target_ifindex"), str):
        known["target_ifindex"] = PLACES[target].ifindex if target in PLACES else machine.ifindex(target)
    if "relative_id" in known:
        known["relative_id"] = number(known["relative_id"])
    ns = machine.nodes[node].ns
    names = {number: name for name, number in machine.links.items()}
    try:
        answer = machine.calls.raw_bpf(ns, BpfCmd[cmd], known, bytes.fromhex(tail), capable=capable)
    except KernelError as refused:
        told = {"answer": _named(machine, names, refused.answer)} if refused.name == "ENOSPC" else {}
        return {"error": refused.name, "extack": refused.extack} | told
    if "link_fd" in answer and cmd == "LINK_CREATE":
        machine.links[f"l raw {len(machine.links)}"] = answer["link_fd"]
        return {"made": "a link"}
    return {"answer": _named(machine, names, answer)}


def _kept(field: str, name: str) -> str:
    """A program where a link is meant, or the other way round, is told by a number that may be another's on Linux."""
    return name if not name or name == "nowhere" or (name[0] == "l") == (field in _LINKS) else "nowhere"


def _named(machine: Machine, links: Mapping[int, str], answer: Mapping) -> dict:
    told = dict(answer)
    for key in ("prog_ids", "prog_id"):
        if key in told:
            told[key] = [machine.name_of(n) for n in _list(told[key])]
    for key in ("link_ids", "id"):
        if key in told:
            told[key] = [links.get(n, "a link") if n else "" for n in _list(told[key])]
    for key in ("prog_attach_flags", "link_attach_flags"):
        if key in told:
            told[key] = list(told[key])
    return told


def _list(value) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def _with_peer(kind: str, data: Attributes, peer: Attributes | None, ifindex: int) -> dict[int, bytes]:
    info = attributes(data)
    if peer is not None:
        info[VethInfo.PEER if kind == "veth" else IflaNetkit.PEER_INFO] = ifinfomsg(attributes(peer), ifindex=ifindex)
    return info


def _told(link, attrs: Attributes, peer: Attributes | None) -> dict:
    """A device as it is, but for what the kernel chose: its number, its address if nobody gave one."""
    given = {value for number, value in (*attrs, *(peer or ())) if number == 1}
    mac = link.mac.replace(":", "")
    return {
        "name": link.name, "kind": link.kind, "flags": link.flags, "mtu": link.mtu, "qdisc": link.qdisc,
        "mac": mac if mac in given or not int(mac, 16) else "random", "info": dict(sorted(link.info.items())),
        "ifindex": link.ifindex if 200 <= link.ifindex < MISSING else "any",
    }  # fmt: skip
