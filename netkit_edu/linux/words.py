"""What is said of a step beside its function: of a route, a delivery, a drop; in the words of the simulator."""

from __future__ import annotations

import bisect
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from netkit_edu.journey import FateKind, Hop, HopKind
from netkit_edu.linux.records import Record
from netkit_edu.linux.way import Way, Where
from netkit_edu.packet import IP_HLEN
from netkit_edu.uapi import ETH_HLEN, ETH_P_IP, ETH_P_IPV6, IFF_UP, Verdict

XMIT_RECURSION_LIMIT = 8  # net/core/dev.h
HOOK_POINTS = ("PREROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POSTROUTING")
_LOCAL, _BROADCAST, _UNREACHABLE = 2, 3, 7  # RTN_* (include/uapi/linux/rtnetlink.h)
_QDISCS = {"pfifo_fa": "pfifo_fast"}  # the record holds eight letters
_NOT_SPECIFIED = "NOT_SPECIFIED"
_LLC = 0x0400  # ETH_P_802_2 as it lies in memory
_EVERYONE = b"\xff" * 4
_BPF_F_NEIGH, _BPF_F_PEER = 1 << 16, 1 << 17
_PAIRS = ("netkit", "veth", "nic")  # a lab's card is an end of a pair, too
_REDIRECTING = ("skb_do_redirect", "bpf_out_neigh_v4")


class Asked(NamedTuple):
    """What a redirect was to do.

    ``length``: the packet's bytes as it began; ``ifindex``, ``flags``: what the program's helper was given and stands
    for, 0 without one; ``node``: in whose namespace; ``target``: the device, None if there is none of that number;
    ``ingress``: whether the program is at tcx ingress.
    """

    length: int = 0
    ifindex: int = 0
    flags: int = 0
    node: str = ""
    target: Where | None = None
    ingress: bool = False


class Places:
    """Which function an address of the kernel lies in.

    Args:
        rows: start, end and name of the functions that matter.
    """

    def __init__(self, rows: Sequence[Sequence]):
        self.rows = sorted(tuple(row) for row in rows)
        self._starts = [row[0] for row in self.rows]

    def name(self, address: int) -> str:
        """Return the function's name, "" for any other."""
        at = bisect.bisect_right(self._starts, address) - 1
        return self.rows[at][2] if at >= 0 and address <= self.rows[at][1] else ""


def address(number: int) -> str:
    """Return an IPv4 address that was read as a little-endian number."""
    return socket.inet_ntoa(struct.pack("<I", number & 0xFFFFFFFF))


def route(record: Record, device: str) -> str:
    """Return what a lookup found, as `ip route` writes it."""
    if record.second >> 32:
        return "no route"
    prefix, length, kind = address(record.also), record.also >> 32 & 0xFF, record.also >> 40 & 0xFF
    gateway = record.second & 0xFFFFFFFF
    if kind == _BROADCAST:
        return f"broadcast {prefix} dev {device}"
    if kind == _LOCAL and length == 32:
        return f"local {prefix} dev {device}"
    if kind == _UNREACHABLE:
        return f"unreachable {prefix}/{length}"
    where = "default" if length == 0 else f"{prefix}/{length}"
    return f"{where} via {address(gateway)} dev {device}" if gateway else f"{where} dev {device}"


def detail(function: str, record: Record) -> str:
    """Return the short phrase beside a step, "" where there is none to say."""
    if function == "nf_hook_slow":
        return HOOK_POINTS[record.also & 0xFF] if record.also & 0xFF < len(HOOK_POINTS) else ""
    if function == "__neigh_event_send":
        return f"waits for the address of {address(record.also)}"
    if function == "skb_gso_segment":
        counted = record.also >> 16 & 0xFFFF
        return f"{counted} segments of".removeprefix("0 ") + f" {record.also & 0xFFFF} bytes at most"
    if function == "sch_direct_xmit":
        name = struct.pack("<Q", record.also).rstrip(b"\0").decode(errors="replace").partition("\0")[0]
        return _QDISCS.get(name, name)
    return {"enqueue_to_backlog": "per-CPU backlog", "noop_enqueue": "noop"}.get(function, "")


def delivery(function: str, packet: bytes) -> str:
    """Return what took a packet, given from its IP header."""
    ihl = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < ihl + 4:
        return ""
    if function == "udp_queue_rcv_one_skb":
        return f"udp port {int.from_bytes(packet[ihl + 2 : ihl + 4], 'big')}"
    if function == "icmp_unreach":
        return f"type {packet[ihl]} code {packet[ihl + 1]}"
    return {"icmp_echo": "echo request", "ping_queue_rcv_skb": "echo reply"}.get(function, f"type {packet[ihl]}")


def arp(packet: bytes, ours: bool, asked: bool) -> tuple[bool, str]:
    """Return whether an ARP packet was taken, and what it said; ``ours``: its target is, ``asked``: it is an answer."""
    if len(packet) < 28:
        return False, "not ARP for Ethernet and IPv4"
    op, sha, sip, tip = int.from_bytes(packet[6:8], "big"), packet[8:14], packet[14:18], packet[24:28]
    if op == 1:
        text = socket.inet_ntoa(tip)
        return (True, f"ARP: who has {text}") if ours else (False, f"{text} is not ours")
    if asked:
        return True, f"ARP: {socket.inet_ntoa(sip)} is at {sha.hex(':')}"
    return False, "an answer nobody asked for"


def drop(
    reason: str, place: str, record: Record, way: Way, ran: Sequence[tuple[str, int]], asked: Asked | None = None
) -> tuple[FateKind, str]:
    """Return how a packet ended that was freed, and what to say of it.

    Args:
        reason: the kernel's, without its prefix.
        place: the function that freed it.
        ran: name and code of the programs that ran since the driver, or the hook, was entered.
        asked: where to it was last to be redirected.
    """
    up = bool(record.flags & IFF_UP)
    if reason == "QDISC_DROP" and way.last == "noop_enqueue":
        return FateKind.DROPPED, f"{reason}: the device {'has no carrier' if up else 'is down'}"
    if reason == "IP_INHDR" and way.last in ("ip_forward", "__icmp_send"):
        return FateKind.DROPPED, f"{reason}: TTL exceeded"
    if reason != _NOT_SPECIFIED:
        return FateKind.DROPPED, reason
    if way.last == "skb_gso_segment":
        return FateKind.DROPPED, "a GSO packet of one segment, or with impossible headers"
    if way.last in ("__netif_receive_skb_core", "bpf_prog_run") and record.ethertype == _LLC:
        return FateKind.DROPPED, "802.2, which nobody here listens to"
    if place == "netkit_xmit":
        return FateKind.DROPPED, _netkit(record, way, ran)
    if place in ("skb_do_redirect", "__bpf_redirect", "bpf_clone_redirect", "__bpf_tx_skb", "bpf_out_neigh_v4"):
        return _redirect(place, record, way, asked or Asked())
    if place == "__dev_queue_xmit":
        return FateKind.DROPPED, "recursion limit reached" if up else "the device is down"
    if place in ("__dev_forward_skb2", "veth_xmit"):
        return FateKind.DROPPED, _forward(way)
    said = {
        "ip_forward": "not addressed to this router",
        "ip_fragment": "longer than the path's MTU, and not to be cut",
        "ip_do_fragment": "a fragment could not be sent",
    }
    return FateKind.DROPPED, said.get(place) or _unrouted(way) or _NOT_SPECIFIED


def _unrouted(way: Way) -> str:
    """Return why a packet that came in goes no way: how far the decision had come tells, and the packet's addresses."""
    functions = [hop.function for hop in way.hops]
    if "arp_process" in functions:
        return ""
    looked = 0
    while functions and functions[-1] == "fib_table_lookup":
        functions.pop()
        looked += 1
    last = functions[-1] if functions else ""
    if last == "ip_route_input_slow":
        return ("", "martian source: one of our own addresses", "martian source")[min(looked, 2)] or _martian(way)
    return {
        "ip_rcv_finish_core": "came back by the loopback though its route leads elsewhere",
        "ip_route_input_noref": "multicast group not joined",
    }.get(last, "")


def _martian(way: Way) -> str:
    """Return what is wrong with addresses for which no route is even looked up, "" if nothing is."""
    packet = way.packet if way.packet[:1] and way.packet[0] >> 4 == 4 else way.packet[ETH_HLEN:]
    if len(packet) < IP_HLEN:
        return ""
    saddr, daddr = packet[12:16], packet[16:20]
    if saddr[0] >> 4 == 14 or saddr == _EVERYONE:
        return "martian source"
    if daddr == _EVERYONE:
        return "martian source: one of our own addresses"
    if not (any(saddr) and any(daddr)):
        return "martian: the address 0.0.0.0"
    return "martian: a loopback address on the wire" if 127 in (saddr[0], daddr[0]) else ""


def _netkit(record: Record, way: Way, ran: Sequence[tuple[str, int]]) -> str:
    if ran:
        name, code = ran[-1]
        return f"program {name} returned {'DROP' if code == Verdict.DROP else f'unknown code {code}'}"
    if way.last == "netkit_xmit":
        return "the other end is not up" if record.length >= 14 else "shorter than its header"
    return "policy DROP"


def _forward(way: Way) -> str:
    functions = [hop.function for hop in way.hops[-3:]]
    return "receiver is down" if "dev_forward_skb_nomtu" in functions else "longer than the receiver's MTU"


def _redirect(place: str, record: Record, way: Way, asked: Asked) -> tuple[FateKind, str]:
    """A redirect that leads nowhere tells nobody; one to a neighbour counts as dropped by its device.

    The latter takes the Ethernet header off before it looks for a neighbour, which the packet's length shows.
    """
    functions = [hop.function for hop in way.hops]
    if place in _REDIRECTING and functions.count("skb_do_redirect") > XMIT_RECURSION_LIMIT:
        return FateKind.DROPPED, "recursion limit reached on datapath, buggy bpf program?"
    if place in _REDIRECTING and asked.length - record.length == ETH_HLEN:
        return _no_neighbour(record, way.hops[len(functions) - functions[::-1].index("skb_do_redirect") :])
    if functions.count("__bpf_redirect") > 4:
        return FateKind.LOST, "recursion limit reached on datapath, buggy bpf program?"
    if place == "__bpf_redirect":
        return FateKind.LOST, "no Ethernet header to send it with"
    return FateKind.LOST, _nowhere(asked)


def _nowhere(asked: Asked) -> str:
    """Return why a redirect went no further than skb_do_redirect; of another end's state nothing is seen."""
    target = asked.target
    if target is None:
        named = f": {asked.node} has no device {asked.ifindex}" if asked.ifindex else ""
        return f"redirect to no device{named}"
    if asked.flags & _BPF_F_PEER:
        if not asked.ingress:
            return "redirect_peer works at tcx ingress only"
        if target.kind not in _PAIRS:
            return f"redirect_peer: {target.device} has no other end"
        return f"redirect_peer: the other end of {target.device} is down or in the same namespace"
    if asked.flags & _BPF_F_NEIGH:
        return "redirect_neigh: a frame to a group has no next hop"
    return "redirect to no device"


def _no_neighbour(record: Record, since: Sequence[Hop]) -> tuple[FateKind, str]:
    """What is not IP has no neighbours; else there was no route, or the program named a next hop of another family."""
    ethertype = int.from_bytes(record.ethertype.to_bytes(2, "little"), "big")
    if ethertype == ETH_P_IPV6:
        return FateKind.DROPPED, "redirect_neigh: no route for IPv6"
    if ethertype != ETH_P_IP:
        return FateKind.LOST, "redirect_neigh: neither IPv4 nor IPv6"
    if all(hop.function != "ip_route_output_flow" for hop in since):
        return FateKind.DROPPED, "redirect_neigh: the next hop is not an IPv4 address"
    found = next((hop.detail for hop in since if hop.kind is HopKind.LOOKUP), "no route")
    if found.startswith("broadcast"):
        return FateKind.DROPPED, "redirect_neigh: a broadcast route has no next hop"
    return FateKind.DROPPED, f"redirect_neigh: no route{' (ENETUNREACH)' if found == 'no route' else ''}"


def verdict(code: int, names: Mapping[int, str]) -> str:
    """Return a program's code by name, or as a number."""
    return names.get(code, str(code))
