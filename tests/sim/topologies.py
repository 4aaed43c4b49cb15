"""The smallest machines the tests of the simulator need, built through the backend's own calls."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from netkit_edu.backend import SendRequest
from netkit_edu.program.isa import assemble
from netkit_edu.program.object import Insn, ProgramCode
from netkit_edu.sim.backend import SimBackend
from netkit_edu.uapi import Context

NIC_IP, BEYOND = "192.0.2.1", "192.0.2.9"
HOST_IP, POD_IP = "10.0.1.1", "10.0.1.2"


class Machine(NamedTuple):
    """A host with a dummy device for a card, as in the recordings, and a container on a pair."""

    sim: SimBackend
    host: int
    pod: int
    nic: int
    primary: int
    peer: int

    def send(self, ns: int, dst: str, **options):
        """Send a datagram of 100 bytes to port 9, or what ``packet`` says."""
        packet = options.pop("packet", None) or udp(dst)
        return self.sim.send(ns, SendRequest(packet, **options))


def udp(dst: str, payload: bytes = b"x" * 100, *, src: str = "0.0.0.0", sport: int = 4000, dport: int = 9,
        ttl: int = 64, tos: int = 0, frag_off: int = 0x4000) -> bytes:  # fmt: skip
    """Return a datagram from its IP header; the checksums are left to the sender's stack."""
    body = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        tos,
        20 + len(body),
        0,
        frag_off,
        ttl,
        17,
        0,
        socket.inet_aton(src),
        socket.inet_aton(dst),
    )
    return head + body


def echo(dst: str, *, src: str = "0.0.0.0", ident: int = 7, payload: bytes = b"ping") -> bytes:
    """Return an ICMP echo request from its IP header, checksums left open."""
    body = struct.pack("!BBHHH", 8, 0, 0, ident, 1) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0, socket.inet_aton(src), socket.inet_aton(dst)
    )
    return head + body


def machine(kind: str = "veth", *, backlog: int = 1000, info: dict | None = None, listen: bool = True) -> Machine:
    """Build the host and its container, everything up, routes and neighbours set, port 9 open on both."""
    sim = SimBackend(backlog=backlog)
    host, pod = sim.netns_add("host"), sim.netns_add("pod")
    sim.sysctl(host, "net.ipv4.ip_forward", 1)
    nic = sim.link_add(host, "dummy", "dummy0", attrs={"qdisc": "pfifo"})
    primary = sim.link_add(host, kind, "pod", peer_ns=pod, peer={"name": "eth0"}, info=info)
    peer = sim.link_get(host, primary).peer
    for ns, ifindex, address in ((host, nic, NIC_IP), (host, primary, HOST_IP), (pod, peer, POD_IP)):
        sim.link_set(ns, ifindex, up=True)
        sim.addr_add(ns, ifindex, f"{address}/24")
    sim.route_add(pod, "default", via=HOST_IP)
    if kind == "veth" or info and info.get("mode") == 0:
        sim.neigh_add(pod, peer, HOST_IP, sim.link_get(host, primary).mac)
        sim.neigh_add(host, primary, POD_IP, sim.link_get(pod, peer).mac)
    if listen:
        sim.listen(host, udp=9)
        sim.listen(pod, udp=9)
    return Machine(sim, host, pod, nic, primary, peer)


def returning(sim: SimBackend, code: int, name: str = "prog") -> int:
    """Load a program of two instructions that returns ``code``; return its id."""
    insns = (Insn(0xB7, 0, 0, 0, code), Insn(0x95, 0, 0, 0, 0))
    return sim.prog_load(ProgramCode(name, "tc", insns), {})


CALLS = {  # what a program does that asks for a redirect, and returns what the helper says
    "redirect": "r1 = {}\nr2 = {}\ncall bpf_redirect#23\nexit",
    "redirect_peer": "r1 = {}\nr2 = {}\ncall bpf_redirect_peer#155\nexit",
    "redirect_neigh": "r1 = {}\nr4 = {}\nr2 = 0\nr3 = 0\ncall bpf_redirect_neigh#152\nexit",
    "clone_redirect": "r2 = {}\nr3 = {}\ncall bpf_clone_redirect#13\nr0 = 0\nexit",
}


def redirecting(sim: SimBackend, call: str, ifindex: int, flags: int = 0) -> int:
    """Load a program that makes one of `CALLS`; return its id."""
    insns = assemble(CALLS[call].format(ifindex, flags))
    return sim.prog_load(ProgramCode(call, "tc", insns), {})


def faulting(sim: SimBackend) -> int:
    """Load a program that reads from address 0."""
    insns = (Insn(0xB7, 1, 0, 0, 0), Insn(0x61, 0, 1, 0, 0), Insn(0x95, 0, 0, 0, 0))
    return sim.prog_load(ProgramCode("faulting", "tc", insns), {})


def stats(sim: SimBackend) -> dict[str, dict[str, int]]:
    """Every device's counters by "node/device"."""
    return {
        dev.path: dict(dev.stats) for net in sim._kernel.namespaces.values() for dev in net.devices.values()
    }  # fmt: skip


def at_rest(sim: SimBackend) -> bool:
    """True if no packet waits anywhere and no CPU is in the middle of anything."""
    kernel = sim._kernel
    return (
        all(cpu.idle and cpu.context is Context.PROCESS and not cpu.xmit_recursion for cpu in kernel.cpus)
        and not kernel.interrupts
        and not any(net.fragments or net.ping_idents for net in kernel.namespaces.values())
    )
