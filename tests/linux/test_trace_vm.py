"""The journey of packets on real Linux against the recording of its function tracer, and against the simulator's.

The ten paths of ``ftrace-paths.txt``: the same functions in the same order and context by all three judges.
"""

from __future__ import annotations

import pytest

from netkit_edu.backend import SendRequest
from netkit_edu.sim.backend import SimBackend
from netkit_edu.uapi import BPF_NETKIT_PEER, BPF_TCX_INGRESS
from tests.requires import SHARED_DATA, require
from tests.sim import topologies as topo
from tests.sim.test_ftrace import RECORDING, recording, traced

NEAR, FAR, BOX_IP = "host", "pod", "10.0.2.2"
PATHS = {  # title: kind of the pair, who sends to whom, and the program at which hook of the primary
    "HOST process -> phys(dummy0)": ("veth", NEAR, topo.BEYOND, None),
    "HOST loopback": ("veth", NEAR, "127.0.0.1", None),
    "veth, plain routing: container -> host fwd -> dummy0": ("veth", FAR, topo.BEYOND, None),
    "netkit, no prog, plain routing": ("netkit", FAR, topo.BEYOND, None),
    "netkit PEER prog redirect -> dummy0": ("netkit", FAR, topo.BEYOND, (BPF_NETKIT_PEER, "redirect")),
    "netkit PEER prog redirect_neigh -> dummy0": ("netkit", FAR, topo.BEYOND, (BPF_NETKIT_PEER, "redirect_neigh")),
    "veth + tcx ingress redirect": ("veth", FAR, topo.BEYOND, (BPF_TCX_INGRESS, "redirect")),
    "veth + tcx ingress redirect_neigh": ("veth", FAR, topo.BEYOND, (BPF_TCX_INGRESS, "redirect_neigh")),
    "veth rx -> tcx redirect_peer(kh) -> netkit container": ("box", FAR, BOX_IP, (BPF_TCX_INGRESS, "redirect_peer")),
    "veth rx -> tcx redirect(kh,0) -> netkit container": ("box", FAR, BOX_IP, (BPF_TCX_INGRESS, "redirect")),
}  # fmt: skip


@pytest.fixture
def linux():
    """A Linux in a virtual machine."""
    require("vm")
    from netkit_edu.linux.backend import LinuxBackend
    from netkit_edu.vm.machine import open_vm

    with open_vm() as machine:
        yield LinuxBackend(machine.door, name="vm", kernel=machine.kernel, close=machine.close)


def build(calls, kind: str) -> topo.Machine:
    """Build the host with a dummy for a card and a container on a pair; "box" has a second one, on netkit."""
    host, pod = calls.netns_add("host"), calls.netns_add("pod")
    calls.sysctl(host, "net.ipv4.ip_forward", 1)
    nic = calls.link_add(host, "dummy", "dummy0", attrs={"qdisc": "pfifo"})
    pair = "veth" if kind == "box" else kind
    primary = calls.link_add(host, pair, "pod", peer_ns=pod, peer={"name": "eth0"})
    peer = calls.link_get(host, primary).peer
    _set_up(calls, (host, nic, topo.NIC_IP), (host, primary, topo.HOST_IP), (pod, peer, topo.POD_IP))
    calls.route_add(pod, "default", via=topo.HOST_IP)
    if pair == "veth":
        calls.neigh_add(pod, peer, topo.HOST_IP, calls.link_get(host, primary).mac)
    if kind == "box":
        box = calls.netns_add("box")
        nic = calls.link_add(host, "netkit", "kh", peer_ns=box, peer={"name": "kc"})
        kc = calls.link_get(host, nic).peer
        _set_up(calls, (host, nic, "10.0.2.1"), (box, kc, BOX_IP))
        calls.route_add(box, "default", via="10.0.2.1")
        calls.listen(box, udp=9)
    calls.listen(host, udp=9)
    return topo.Machine(calls, host, pod, nic, primary, peer)


def _set_up(calls, *devices) -> None:
    for ns, ifindex, address in devices:
        calls.link_set(ns, ifindex, up=True)
        calls.addr_add(ns, ifindex, f"{address}/24")


def journey(calls, title: str):
    """Send along one of the paths; the second packet, unless the first one to a neighbour was recorded."""
    kind, sender, dst, program = PATHS[title]
    machine = build(calls, kind)
    if program is not None:
        hook, call = program
        calls.prog_attach(machine.host, machine.primary, hook, topo.redirecting(calls, call, machine.nic))
    ns = getattr(machine, sender)
    request = SendRequest(topo.udp(dst))
    if title != "HOST loopback":
        calls.send(ns, request)
    return calls.send(ns, request)


@pytest.mark.vm
@pytest.mark.parametrize("title", PATHS)
def test_the_journey_is_what_the_function_tracer_recorded_and_the_simulator_tells(title, linux):
    if not RECORDING.is_file():
        pytest.skip(f"no recording at {SHARED_DATA}")
    real, told = journey(linux, title), journey(SimBackend(), title)
    assert real.functions(traced()) == recording()[title] == told.functions(traced())
    assert (real.fate, real.sender_error, real.counters) == (told.fate, told.sender_error, told.counters)
    assert [(run.program, run.verdict) for run in real.verdicts] == [
        (run.program, run.verdict) for run in told.verdicts
    ]


@pytest.mark.vm
@pytest.mark.parametrize("title", PATHS)
def test_all_that_linux_shows_the_simulator_shows_at_the_same_place(title, linux):
    real, told = journey(linux, title), journey(SimBackend(), title)
    seen = [(h.function, h.kind, h.context, h.node, h.device, h.detail) for h in real.hops]
    assert seen == [(h.function, h.kind, h.context, h.node, h.device, h.detail) for h in told.hops if h.observable]


@pytest.mark.vm
def test_a_silent_tracer_listens_again_at_the_next_send(linux):
    machine = build(linux, "netkit")
    number = topo.returning(linux, -1, "next")
    linux.prog_attach(machine.host, machine.primary, BPF_NETKIT_PEER, number)
    machine.send(machine.pod, topo.BEYOND)
    before = machine.send(machine.pod, topo.BEYOND)
    linux._tracer.silence()
    after = machine.send(machine.pod, topo.BEYOND)
    assert after.hops == before.hops and [run.program for run in after.verdicts] == ["next"]
