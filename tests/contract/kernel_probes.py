"""How each row of the table of kernels is measured: ``PROBES[key](lab)`` returns the value on that lab's kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import netkit_edu as nk
from netkit_edu.backend import SendRequest
from netkit_edu.errors import KernelError
from netkit_edu.sys import ifinfomsg, u32
from netkit_edu.uapi import BPF_NETKIT_PEER, BpfCmd, Ifla, IflaNetkit, Mode, Policy
from tests.contract.test_frames import CUT
from tests.contract.test_gso import WIDE

GROUP, MAC = bytes.fromhex("010000000001"), bytes.fromhex("020000000001")
NO_NAMESPACE = {Ifla.NET_NS_FD: u32(9999)}
SINGLE = {IflaNetkit.PAIRING: u32(1)}
PROGRAMS = """
#include "netkit_edu.h"
volatile const int TARGET;

SEC("tc") int next(struct __sk_buff *skb) { return NETKIT_NEXT; }
SEC("tc") int plain(struct __sk_buff *skb) { return NETKIT_REDIRECT; }
SEC("tc") int forget(struct __sk_buff *skb) { bpf_redirect(TARGET, BPF_F_INGRESS); return NETKIT_PASS; }
SEC("tc") int egress(struct __sk_buff *skb) { return bpf_redirect_peer(TARGET, 2); } /* BPF_F_EGRESS */
SEC("tc") int neigh(struct __sk_buff *skb) { return bpf_redirect_neigh(TARGET, NULL, 0, 0); }
SEC("tc") int priority(struct __sk_buff *skb) { return skb->priority == 5 ? NETKIT_PASS : NETKIT_DROP; }

SEC("tc") int relabel(struct __sk_buff *skb)
{
    __u16 *ethertype = (void *)(long)skb->data + 12;

    if ((void *)(ethertype + 1) > (void *)(long)skb->data_end)
        return NETKIT_DROP;
    *ethertype = bpf_htons(0x86dd);
    return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"""
ARRAY = """
#include "netkit_edu.h"
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
    values SEC(".maps");

SEC("tc") int prog(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __u64 *value = bpf_map_lookup_elem(&values, &zero);

    return *value ? NETKIT_DROP : NETKIT_PASS;
}
"""
BEYOND = """
#include "netkit_edu.h"
SEC("tc") int prog(struct __sk_buff *skb)
{
    char bytes[8];

    return bpf_skb_load_bytes(skb, 0, bytes, 16) ? NETKIT_DROP : NETKIT_PASS;
}
"""
PACKET = """
#include "netkit_edu.h"
SEC("tc") int prog(struct __sk_buff *skb)
{
    return *(__u8 *)(long)skb->data ? NETKIT_DROP : NETKIT_PASS;
}
"""


def refusal(call: Callable[[], object]) -> tuple[str, str] | None:
    """Return errno and words of what the kernel refuses, None of what it accepts."""
    try:
        call()
    except KernelError as refused:
        return refused.name, refused.extack
    return None


def creation(attrs: dict, data: dict) -> Callable:
    """Return the probe of what a creation is answered."""
    return lambda lab: refusal(lambda: lab.host.sys.link_create(attrs=attrs, data=data))


def change(data: dict) -> Callable:
    """Return the probe of what a change through the primary is answered."""

    def ask(lab):
        pair = lab.pair("probed").primary
        return refusal(lambda: lab.host.sys.link_change(pair, data=data))

    return ask


def peer(*attrs: dict) -> dict:
    """Return PEER_INFO with these attributes."""
    return {IflaNetkit.PEER_INFO: ifinfomsg({name: value for some in attrs for name, value in some.items()})}


def single(lab):
    """Return what PAIRING 1 makes, by its number of devices."""
    return lab.host.sys.link_create(attrs={Ifla.IFNAME: b"one"}, data=SINGLE)


def pairing(lab) -> str:
    before = len(lab.host.links)
    single(lab)
    made = len(lab.host.links) - before
    return {1: "one device that has no other end", 2: "a pair: the attribute is not known"}[made]


def single_attach(lab):
    one, program = single(lab), nk.compile(PROGRAMS)["next"]
    return refusal(lambda: one.attach(program, at="primary"))


def single_policy(lab):
    one = single(lab)
    created = creation({}, SINGLE | {IflaNetkit.POLICY: u32(Policy.DROP)})(lab)
    changed = refusal(lambda: lab.host.sys.link_change(one, data={IflaNetkit.POLICY: u32(Policy.DROP)}))
    assert created == changed
    return created


def link_create_bytes(lab) -> int:
    hst, program = lab.pair("probed").primary, lab.load(nk.compile(PROGRAMS)["next"])
    fields = {"prog_fd": program.id, "target_ifindex": 9999, "attach_type": BPF_NETKIT_PEER}
    assert hst.kind == "netkit"
    for behind in range(16):
        told = refusal(lambda n=behind: lab.host.sys.bpf(BpfCmd.LINK_CREATE, tail=bytes(n) + b"\1", **fields))
        if told[0] == "EINVAL":
            return behind
    raise AssertionError("a kernel that never ends")


def sent(lab, program: str, *, from_host: bool = False, **how):
    """Send a packet through a program between two ends in two namespaces, or in one; return its journey."""
    pod = lab.pod("probed", device="netkit")
    pod.listen(udp=7)
    lab.host.listen(udp=7)
    programs = nk.compile(PROGRAMS)
    with pod.pair.attach(programs[program].bind(TARGET=pod.pair.primary.ifindex), at="peer"):
        return pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"probe", **how)


def redirect_peer_egress(lab) -> str:
    ran = len(sent(lab, "egress").verdicts)
    return {1: "refused: the program is told to drop", 5: "the packet leaves by the other end, whose programs run"}[ran]


def pass_relabels(lab) -> str:
    delivered = sent(lab, "relabel").fate.delivered
    return "as the program left them" if delivered else "found out anew from the Ethernet header"


def redirect_forgotten(lab) -> str:
    assert sent(lab, "forget").fate.delivered
    pod = lab.nodes["probed"]
    with pod.pair.attach(nk.compile(PROGRAMS)["plain"], at="peer"):
        again = pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"probe").fate.delivered
    return "is remembered for the next packet on that CPU" if again else "is forgotten"


def priority(lab) -> str:
    pair = lab.pair("probed", peer_name="other")
    pair.primary.addr("10.0.9.1/24").up()
    pair.peer.up()
    with pair.attach(nk.compile(PROGRAMS)["priority"], at="primary"):
        journey = lab.host.send(nk.IP(dst="10.0.9.2") / nk.UDP(dport=7) / b"probe", priority=5)
    return "kept" if journey.verdicts[0].verdict == nk.Verdict.PASS else "0"


def learnt(lab) -> str:
    """Send a pod what a router would say of a packet that no socket of it has sent; does it believe it?"""
    pod, far = lab.pod("probed"), lab.pod("far")
    quote = nk.IP(src=pod.ip, dst=far.ip) / nk.UDP(sport=4000, dport=7, len=1008)
    error = nk.IP(src="10.66.6.6", dst=pod.ip) / nk.ICMP(type=3, code=4, nexthopmtu=800) / quote
    assert lab.host.send(error, via="raw").fate.delivered
    pod.send(nk.IP(dst=far.ip, flags="DF") / nk.UDP(dport=7) / bytes(1200))
    return "believed" if pod.snmp["IpFragCreates"] else "not believed"


def shortest(lab, send: Callable) -> int:
    """Return to how many bytes a program may cut what ``send`` sends through the host's end of a pair."""
    pod = lab.pod("probed", device="netkit")
    numbers = pod.pair.primary.attach(nk.compile(CUT)["cut"]).maps["numbers"]
    for length in range(14, 80):
        numbers[0] = length
        send(lab, pod)
        if not numbers[1]:
            return length
    raise AssertionError("nothing may be cut")


def tagged(ethertype: int, tags: bytes) -> Callable:
    """Return the probe of how far a frame with these tags may be cut."""
    packet = bytes(nk.IP(src="10.0.1.1", dst="10.0.1.2") / nk.UDP(dport=7) / bytes(60))
    frame = bytes(12) + ethertype.to_bytes(2, "big") + tags + packet

    def send(lab, pod) -> None:
        lab.kernel_calls.send(lab.host.ns, SendRequest(frame, "packet", pod.pair.primary.ifindex))

    return lambda lab: shortest(lab, send)


def datagram(lab, pod) -> None:
    """Send a pod a datagram of a socket, which leaves its checksum to the device."""
    lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=7) / bytes(60), via="udp")


def header_too_short(lab) -> str:
    pod = lab.pod("probed", device="netkit")
    packet = nk.IP(dst="10.0.1.77") / nk.TCP(dport=7, dataofs=4) / bytes(3000)
    return lab.host.send(packet, dev=pod.pair.primary, gso_size=1000).sender_error


def segments_at_tcx(lab) -> int:
    hst = lab.pod("probed", device="netkit").pair.primary
    first = hst.attach_tcx(nk.compile(WIDE)["wide"], "egress")
    lab.host.send(nk.IP(dst="10.0.1.77") / nk.TCP(dport=7) / bytes(4000), dev=hst, gso_size=1448)
    return first.maps["seen"][0]["gso_segs"]


def negative(attrs: dict, data: dict) -> Callable:
    """Return the probe of what a creation with a negative number is answered."""
    return lambda lab: refusal(lambda: lab.host.sys.link_create(attrs=attrs, data=data, ifindex=-1))


def detach_unasked(lab) -> str:
    hst, program = lab.pair("probed").primary, nk.compile(PROGRAMS)["next"]
    hst.attach(program, at="peer")
    fields = {"target_ifindex": hst.ifindex, "attach_type": BPF_NETKIT_PEER}
    told = refusal(lambda: lab.host.sys.bpf(BpfCmd.PROG_DETACH, capable=False, **fields))
    return told[0] if told else "done"


def neighbour_down(lab) -> int:
    pod, dummy = lab.pod("probed", device="netkit"), lab.dummy("d0")
    with pod.pair.attach(nk.compile(PROGRAMS)["neigh"].bind(TARGET=dummy.ifindex), at="peer"):
        pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"probe")
    return dummy.stats.tx_dropped


def pings_counted(lab) -> int:
    before = lab.host.snmp["IcmpOutEchos"]
    lab.host.ping(lab.pod("probed"))
    return lab.host.snmp["IcmpOutEchos"] - before


def verdict(text: str):
    """Return the verifier's verdict on a program, and its log."""
    program = nk.compile(text + 'char LICENSE[] SEC("license") = "GPL";\n')["prog"]
    return lambda lab: program.verify(lab)


def martian_reason(lab) -> str:
    pod = lab.pod("probed", device="netkit")
    frame = bytes(12) + b"\x08\0" + bytes(nk.IP(src="224.1.2.3", dst=pod.gateway) / nk.UDP(dport=7) / b"probe")
    return pod.send(frame, dev=pod.device).hops[-1].data["reason"]


def verify_array(lab) -> str:
    return "accepted" if verdict(ARRAY)(lab) else "refused"


def verify_stack(lab) -> str:
    words = ("invalid indirect access to stack", "invalid write to stack")
    return next(some for some in words if some in verdict(BEYOND)(lab).log)


def verify_packet(lab) -> str:
    words = ("offset is outside of the packet", "min value is outside of the allowed memory range")
    return next(some for some in words if some in verdict(PACKET)(lab).log)


def verify_suggestion(lab) -> str:
    return "what went wrong, and a suggestion" if "\nSuggestion:" in verdict(PACKET)(lab).log else "none"


PROBES: dict[str, Callable[[Any], Any]] = {
    "mode": creation({}, {IflaNetkit.MODE: u32(2)}),
    "mode-or-mac": creation({Ifla.ADDRESS: GROUP}, {IflaNetkit.MODE: u32(2)}),
    "mtu-or-peer": creation({Ifla.MTU: u32(65536)}, peer({Ifla.IFNAME: b""})),
    "mac-or-namespace": creation({}, peer({Ifla.ADDRESS: MAC}, NO_NAMESPACE)),
    "change-peer-info": change(peer()),
    "change-scrub": change({IflaNetkit.SCRUB: u32(1)}),
    "change-peer-scrub": change({IflaNetkit.PEER_SCRUB: u32(1)}),
    "change-headroom": change({IflaNetkit.HEADROOM: b"\40\0"}),
    "change-tailroom": change({IflaNetkit.TAILROOM: b"\40\0"}),
    "change-pairing": change({IflaNetkit.PAIRING: u32(0)}),
    "attributes": lambda lab: tuple(sorted(lab.pair("probed").primary.info.info)),
    "pairing": pairing,
    "single-attach": single_attach,
    "single-policy": single_policy,
    "tx-queues": lambda lab: refusal(lambda: lab.pair("probed", attrs={"num_tx_queues": 2})),
    "rx-queues": lambda lab: refusal(lambda: lab.pair("probed", attrs={"num_rx_queues": 1025})),
    "link-create-bytes": link_create_bytes,
    "redirect-peer-egress": redirect_peer_egress,
    "negative-or-short": negative({}, {IflaNetkit.SCRUB: b""}),
    "negative-or-mac": negative({Ifla.ADDRESS: bytes(6)}, {}),
    "detach-unasked": detach_unasked,
    "neigh-down": neighbour_down,
    "frag-needed": learnt,
    "cut-tag": tagged(0x8100, b"\0\1\x08\0"),
    "cut-tags": tagged(0x88A8, b"\0\1\x81\0\0\1\x08\0"),
    "cut-datagram": lambda lab: shortest(lab, datagram),
    "short-tcp-header": header_too_short,
    "ping-counts": pings_counted,
    "gso-segs": segments_at_tcx,
    "mac": creation({Ifla.ADDRESS: MAC}, {IflaNetkit.MODE: u32(Mode.L2)}),
    "priority": priority,
    "pass-relabels": pass_relabels,
    "redirect-forgotten": redirect_forgotten,
}
# What only a kernel has: its verifier, and its reasons.
ON_LINUX: dict[str, Callable[[Any], Any]] = {
    "martian-reason": martian_reason,
    "verify-array": verify_array,
    "verify-stack": verify_stack,
    "verify-packet": verify_packet,
    "verify-suggestion": verify_suggestion,
}
