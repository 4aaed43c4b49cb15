"""Instructions per packet in the virtual machine, and how far they lie apart over 3 restores. Bar: 0.2 % for UDP.

Every restore is a fresh lab in a fresh machine. Counts do not depend on how busy this computer is.
"""

from __future__ import annotations

import sys

import netkit_edu as nk
from netkit_edu.course.ch00 import always
from netkit_edu.course.fate import calling
from netkit_edu.vm.image import unavailable

RESTORES, BAR = 3, 0.002
CARD, FAR = "198.51.100.2", "203.0.113.2"
NEXT = -1


def datagram(dst: str) -> nk.IP:
    """64 bytes of payload over UDP."""
    return nk.IP(dst=dst) / nk.UDP(dport=53) / bytes(64)


def past(pod, program):
    """Attach a redirecting program where the pod's kind of pair has room for one."""
    if pod.pair.primary.kind == "netkit":
        return pod.pair.attach(program, at="peer")
    return pod.pair.primary.attach_tcx(program, "ingress")


def to_card(lab) -> nk.Costs:
    """One UDP packet to a card that swallows it, by every path."""
    card = lab.dummy("card")
    card.addr("198.51.100.1/24").up()
    lab.host.neigh(CARD, "02:00:00:00:00:02", dev=card)
    packet = datagram(CARD)
    costs = {"host process": lab.measure(lab.host, packet)}
    for kind in ("netkit", "veth"):
        pod = lab.pod(kind, device=kind)
        for helper in ("redirect", "redirect_neigh"):
            with past(pod, calling(helper, card.ifindex)):
                costs[f"{kind}, {helper}"] = lab.measure(pod, packet)
        costs[f"{kind}, routed by the host"] = lab.measure(pod, packet)
    with pod.pair.primary.attach_tcx(always(2), "ingress"):
        costs["veth, dropped by tcx"] = lab.measure(pod, packet)
    pod = lab.nodes["netkit"]
    with pod.pair.attach(always(2), at="peer"):
        costs["netkit, dropped by a program"] = lab.measure(pod, packet)
        for _ in range(16):
            pod.pair.attach(lab.load(always(NEXT)), at="peer", before=nk.ANY)
        costs["the same behind 16 × NEXT"] = lab.measure(pod, packet)
    return nk.Costs(costs, base="host process", title="UDP, one way")


def to_far(lab, measure, title: str, unit: str) -> nk.Costs:
    """Something between a node and another machine, by every path that leads both ways."""
    far = lab.node("far")
    cable = lab.pair("cable", primary_in=lab.host, peer_in=far, kind="veth")
    here, there = cable.primary.addr("203.0.113.1/24").up(), cable.peer.addr(f"{FAR}/24").up()
    lab.host.neigh(FAR, there.mac, dev=here)
    far.neigh("203.0.113.1", here.mac, dev=there)
    far.route("default", via="203.0.113.1")
    costs = {"host process": measure(lab.host, far), "loopback": measure(lab.host, lab.host)}
    for kind in ("netkit", "veth"):
        pod = lab.pod(kind, device=kind)
        back = calling("redirect_peer", pod.pair.ifindex)
        with past(pod, calling("redirect_neigh", here.ifindex)), here.attach_tcx(back, "ingress"):
            costs[f"{kind}, redirected both ways"] = measure(pod, far)
        costs[f"{kind}, routed by the host"] = measure(pod, far)
    return nk.Costs(costs, unit, "host process", title)


def reply(lab) -> nk.Costs:
    """A UDP request and its reply."""

    def ask(node, other):
        return lab.measure(node, datagram("127.0.0.1" if node is other else FAR), replies=True)

    return to_far(lab, ask, "UDP, request and reply", "instructions per request with its reply")


def stream(gso: bool):
    """A MiB of TCP."""
    title = "TCP, segments of up to 64 KiB" if gso else "TCP, each packet by itself"

    def run(lab) -> nk.Costs:
        return to_far(lab, lambda node, other: lab.measure_stream(node, other, gso=gso), title, "instructions per MiB")

    return run


def main() -> int:
    """Measure each table in fresh machines; print medians, and how far they lie apart."""
    if why := unavailable():
        print(f"  not here: {why}")
        return 0
    too_far = False
    for table in (to_card, reply, stream(gso=True), stream(gso=False)):
        tables = []
        for _ in range(RESTORES):
            with nk.Lab("vm") as lab:
                kernel = lab.kernel
                tables.append(table(lab))
        found = nk.Costs.across(tables)
        udp = found.title.startswith("UDP")
        too_far |= udp and found.spread > BAR
        print("\n".join(f"  {line}" for line in repr(found).splitlines()))
        bar = f", bar {BAR:.1%}" if udp else ""
        print(f"  largest spread over {RESTORES} restores {found.spread:.2%}{bar}   (Linux {kernel})\n")
    return int(too_far)


if __name__ == "__main__":
    sys.exit(main())
