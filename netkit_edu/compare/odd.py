"""Random messages that the kernel has to refuse, most of them; what is left of a scenario stays as it was."""

from __future__ import annotations

import random

from netkit_edu.uapi import BPF_NETKIT_PEER, BPF_NETKIT_PRIMARY, BPF_TCX_EGRESS, BPF_TCX_INGRESS, Ifla, IflaNetkit

U32 = ("00000000", "01000000", "02000000", "07000000", "ffffffff")
LENGTHS = ("", "01", "010000", "0100000000000000")
MACS = ("020000007701", "010000007701", "000000000000", "0200000077", "02000000770100")
MTUS = ("43000000", "44000000", "00050000", "ffff0000", "00000100", "ffffffff", "00")
NAMES = ("nk9", "eth0", "a", "x" * 15, "x" * 16, "a/b", "")
NUMBERS = (0, 0, 0, 201, 202, 101, -1)


def newlink(choose: random.Random) -> dict:
    """Return a step that creates a device."""
    step: dict = {"do": "newlink", "kind": choose.choice(("netkit", "netkit", "netkit", "netkit", "veth", "dummy"))}
    attrs = _ordinary(choose)
    if attrs:
        step["attrs"] = attrs
    if step["kind"] == "netkit" and choose.random() < 0.8:
        step["data"] = _netkit(choose)
    if step["kind"] != "dummy" and choose.random() < 0.5:
        step["peer"] = _ordinary(choose)
        if choose.random() < 0.3:
            step["peer_ifindex"] = choose.choice(NUMBERS)
    if choose.random() < 0.2:
        step["ifindex"] = choose.choice(NUMBERS)
    return step


def changelink(choose: random.Random) -> dict:
    """Return a step that changes one end of the pair under test."""
    step: dict = {"do": "changelink", "device": choose.choice(("a", "a", "a", "a.peer"))}
    if choose.random() < 0.9:
        step["data"] = _netkit(choose)
    if choose.random() < 0.2:
        step["attrs"] = [[int(Ifla.MTU), choose.choice(MTUS)]]
    if choose.random() < 0.1:
        step["data"], step["peer"] = step.get("data", []), []
    return step


def _netkit(choose: random.Random) -> list:
    data = []
    for number in choose.sample(list(IflaNetkit)[1:], choose.choice((0, 1, 1, 2, 3))):
        usual = ("00000000", "02000000") if number in (IflaNetkit.POLICY, IflaNetkit.PEER_POLICY) else U32[:2]
        kinds = (usual, usual, usual, usual, U32, LENGTHS)
        data.append([int(number), choose.choice(choose.choice(kinds))])
    return sorted(data)


def _ordinary(choose: random.Random) -> list:
    attrs = []
    for number, share, values in (
        (Ifla.ADDRESS, 0.25, MACS), (Ifla.MTU, 0.25, MTUS), (Ifla.IFNAME, 0.4, [n.encode().hex() for n in NAMES]),
    ):  # fmt: skip
        if choose.random() < share:
            attrs.append([int(number), choose.choice(values)])
    return attrs


def bpf(choose: random.Random, programs: list[str], links: int, devices: list[str]) -> dict:
    """Return a step that calls bpf(2)."""
    pick = choose.choice
    cmd = pick(("PROG_ATTACH", "PROG_DETACH", "PROG_QUERY", "PROG_QUERY", "LINK_CREATE", "LINK_UPDATE", "LINK_DETACH"))
    link = f"l{choose.randrange(links)}" if links else "nowhere"
    things = (*programs, *programs, *programs, "", "nowhere", link)
    step: dict = {"do": "bpf", "cmd": cmd}
    if not cmd.startswith("LINK_U") and cmd != "LINK_DETACH":
        step["target_ifindex"] = pick(("a", "a", "a", "a", *devices, "zero", "missing", "lo", "nic"))
        step["attach_type"] = pick(
            (BPF_NETKIT_PRIMARY, BPF_NETKIT_PEER) * 3 + (BPF_TCX_INGRESS, BPF_TCX_EGRESS, 99, 1000)
        )
    if cmd == "PROG_QUERY":
        step |= {"count": pick((0, 1, 2, 64)), "prog_ids": pick((0, 1, 1, 1, -1))}
        for name, share, values in (
            ("query_flags", 0.2, (1, 2, 3)), ("attach_flags", 0.15, (1, 8)), ("link_ids", 0.4, (1, 1, -1)),
            ("prog_attach_flags", 0.2, (1, 1, -1)), ("link_attach_flags", 0.2, (1,)),
        ):  # fmt: skip
            if choose.random() < share:
                step[name] = pick(values)
    elif cmd == "LINK_UPDATE":
        step |= {
            "link_fd": pick((link, link, link, pick(things))),
            "new_prog_fd": pick(things),
            "flags": pick((0, 0, 4, 4, 8, 1)),
        }
        if choose.random() < 0.5:
            step["old_prog_fd"] = pick(things)
    elif cmd == "LINK_DETACH":
        step["link_fd"] = pick((link, link, pick(things)))
    else:
        step["prog_fd" if cmd == "LINK_CREATE" else "attach_bpf_fd"] = pick(things)
        if choose.random() < 0.5:
            step["flags" if cmd == "LINK_CREATE" else "attach_flags"] = pick(
                (0, 8, 16, 24, 4, 1, 2, 0x40, 0x100, 0x108)
            )
        if cmd == "PROG_ATTACH" and choose.random() < 0.3:
            step["replace_bpf_fd"] = pick(things)
        if choose.random() < 0.15:
            step["expected_revision"] = pick((1, 2, 77, 1 << 63))
    if choose.random() < 0.08:
        step["tail"] = pick(("00", "01", "0000000000000001"))
    if choose.random() < 0.08:
        step["capable"] = False
    if choose.random() < 0.05:
        step["node"] = "c1"
    return step
