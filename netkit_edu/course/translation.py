"""UDP packets with their checksums, and what a program that translates addresses makes of them, right or wrong.

For the checks of chapter 07. Checksums are judged by adding everything up anew (RFC 1071, RFC 768); `translate`, which
plays programs with known slips, mends them by differences (RFC 1624), as the kernel's helpers do.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from netkit_edu import uapi
from netkit_edu.course.ch03 import Frame
from netkit_edu.engine.interpreter import Executable
from netkit_edu.engine.memory import STALE_POINTER
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.errors import ProgramFault
from netkit_edu.uapi import Verdict

ICMP, TCP, UDP = uapi.IPPROTO_ICMP, uapi.IPPROTO_TCP, uapi.IPPROTO_UDP
WHOLE, HALF, NONE = "whole", "half done", "none"
STALE = "uses an old pointer into the packet: Linux does not load it"


def ones_sum(data: bytes) -> int:
    """Return the ones' complement sum of the 16-bit words of some bytes, the last one padded with zero (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Sealed(Frame):
    """A packet with its UDP checksum: whole, left to the device ("half done"), or none (0)."""

    udp: str = WHOLE

    @property
    def bytes(self) -> bytes:
        """The frame's bytes."""
        data = bytearray(self.datagram.bytes)
        at = 34 + len(self.datagram.options)
        if self.datagram.protocol == UDP and self.udp != NONE:
            half = ones_sum(pseudo_header(data, at))
            whole = ~ones_sum(pseudo_header(data, at) + data[at:]) & 0xFFFF or 0xFFFF
            data[at + 6 : at + 8] = (half if self.udp == HALF else whole).to_bytes(2, "big")
        return bytes(data[: self.keep])

    def __str__(self) -> str:
        if self.datagram.protocol != UDP:
            return super().__str__()
        words = {
            WHOLE: "UDP checksum whole",
            HALF: "UDP checksum half done, as a socket leaves it",
            NONE: "no UDP checksum",
        }
        return f"{super().__str__()}, {words[self.udp]}"


def pseudo_header(frame: bytes, at: int) -> bytes:
    return bytes(frame[26:34]) + struct.pack("!BBH", 0, frame[23], len(frame) - at)


class Rule(NamedTuple):
    """What is to be translated: an address and port into others, at this place of the IP and the UDP header."""

    address_at: int
    port_at: int
    address: str
    port: int
    new_address: str
    new_port: int
    pings: bool


def outcome(case: Sealed, code: int, after: bytes) -> str:
    """Return what a program did to a packet, in words: the same for all that a receiver cannot tell apart."""
    verdict = {Verdict.NEXT: "passes", Verdict.PASS: "passes", Verdict.DROP: "drops"}.get(code, f"returns {code}")
    before = case.bytes
    if after == before:
        return f"{verdict}, unchanged"
    if len(after) != len(before) or not case.has(34):
        return f"{verdict}, changed"
    protocol, at = case.datagram.protocol, 34 + len(case.datagram.options)
    allowed = {*range(24, 34)}
    ports, sums = ("", ""), [f"IP checksum {_state(after, 24, ones_sum(after[14:at]) == 0xFFFF)}"]
    if protocol in (UDP, TCP) and case.has(at + 8):
        ports = tuple(f":{port}" for port in struct.unpack_from("!HH", after, at))
    if protocol == UDP and case.has(at + 8):
        allowed |= {*range(at, at + 4), at + 6, at + 7}
        sums.append(f"UDP checksum {_udp_state(case, after, at)}")
    elif protocol == ICMP:
        allowed |= {at + 2, at + 3}
        sums.append(f"ICMP checksum {_state(after, at + 2, ones_sum(after[at:]) == 0xFFFF)}")
    source, to = (IPv4Address(after[n : n + 4]) for n in (26, 30))
    said = [verdict, f"{source}{ports[0]} > {to}{ports[1]}", *sums]
    if any(after[n] != before[n] for n in range(len(before)) if n not in allowed):
        said.append("and other bytes changed")
    return ", ".join(said)


def run(program: Executable, skb: SkBuff) -> int | str:
    """Run a program; return its code, or `STALE` where it uses a pointer that a helper has made invalid."""
    try:
        return program.run(skb, World())
    except ProgramFault as fault:
        if STALE_POINTER in fault.reason:
            return STALE
        raise


def _state(after: bytes, at: int, right: bool) -> str:
    return "right" if right else f"wrong (0x{after[at : at + 2].hex()})"


def _udp_state(case: Sealed, after: bytes, at: int) -> str:
    field = int.from_bytes(after[at + 6 : at + 8], "big")
    if case.udp == HALF:
        return _state(after, at + 6, field % 0xFFFF == ones_sum(pseudo_header(after, at)) % 0xFFFF)
    return _state(after, at + 6, ones_sum(pseudo_header(after, at) + after[at:]) == 0xFFFF) if field else "none"


def translate(case: Sealed, rule: Rule, slips: Collection[str]) -> bytes:
    """Return the packet after a program that has these slips; the kernel's helpers in 16-bit steps (RFC 1624)."""
    data = bytearray(case.bytes)
    if not case.has(34) or not (case.is_ip or "any_ethertype" in slips):
        return bytes(data)
    protocol, at = data[23], 34 if "fixed_header" in slips else 14 + (data[14] & 15) * 4
    ping = rule.pings and protocol == ICMP and "no_pings" not in slips
    address, port = slice(14 + rule.address_at, 18 + rule.address_at), slice(at + rule.port_at, at + rule.port_at + 2)
    old = bytes(data[address]), bytes(data[port])
    new = IPv4Address(rule.new_address).packed, rule.new_port.to_bytes(2, "big")
    turned = "host_order_address" in slips, "host_order_port" in slips
    new = tuple(field[::-1] if turn else field for field, turn in zip(new, turned, strict=True))
    if old[0] != IPv4Address(rule.address).packed and "any_address" not in slips:
        return bytes(data)
    if not ping:
        if not (protocol == UDP or "any_protocol" in slips) or len(data) < at + 8:
            return bytes(data)
        if old[1] != rule.port.to_bytes(2, "big") and "any_port" not in slips:
            return bytes(data)
        new = new[0], old[1] if "port_kept" in slips else new[1]
        data[port] = new[1]
    data[address] = new[0]
    if "no_l3" not in slips:
        _mend(data, 24, old[0], new[0])
    if not ping:
        _mend_udp(data, 34 if "fixed_l4" in slips else at, old, new, case.udp == HALF and protocol == UDP, slips)
    return bytes(data)


def _mend_udp(data: bytearray, at: int, old, new, half: bool, slips: Collection[str]) -> None:
    """Mend the UDP checksum as bpf_l4_csum_replace does, for the address and then for the port."""
    field = slice(at + 6, at + 8)
    if "no_l4" in slips or len(data) < at + 8:
        return
    for n, which in enumerate(("address", "port")):
        if f"no_l4_{which}" in slips or (which == "port" and "port_kept" in slips):
            continue
        zero_is_none = "no_mangled" not in slips
        if zero_is_none and data[field] == b"\0\0":
            continue
        in_pseudo = "no_pseudo" not in slips if which == "address" else "pseudo_on_port" in slips
        if half and in_pseudo:
            complement = bytes(~byte & 0xFF for byte in old[n])
            data[field] = ones_sum(bytes(data[field]) + complement + new[n]).to_bytes(2, "big")
        elif not half:
            _mend(data, field.start, old[n], new[n])
        if zero_is_none and data[field] == b"\0\0":
            data[field] = b"\xff\xff"


def _mend(data: bytearray, at: int, old: bytes, new: bytes) -> None:
    """Mend a checksum after some words changed (RFC 1624, equation 3)."""
    negated = bytes(~byte & 0xFF for byte in bytes(data[at : at + 2]) + old)
    data[at : at + 2] = (~ones_sum(negated + new) & 0xFFFF).to_bytes(2, "big")
