"""Generated IPv4 packets for checks: plain fields, from which both the bytes and the oracle's answer are made.

No scapy here: a check builds many packets, also in a browser. The layouts are RFC 791, RFC 768, RFC 792 and RFC 9293.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from netkit_edu import uapi

NAMES = {uapi.IPPROTO_ICMP: "ICMP", uapi.IPPROTO_TCP: "TCP", uapi.IPPROTO_UDP: "UDP"}


@dataclass(frozen=True)
class Datagram:
    """One packet by its fields. ``options`` are bytes of IP options (a multiple of 4), ``ethertype`` may be another's.

    Ports count for UDP and TCP only; ICMP is an echo request.
    """

    src: str = "10.0.1.2"
    dst: str = "192.0.2.2"
    protocol: int = uapi.IPPROTO_UDP
    sport: int = 40000
    dport: int = 53
    ttl: int = 64
    payload: bytes = b""
    options: bytes = b""
    ethertype: int = uapi.ETH_P_IP

    @property
    def ip(self) -> bytes:
        """The bytes from the IP header on."""
        body = self._transport()
        header_length = 20 + len(self.options)
        head = struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | header_length // 4, 0, header_length + len(body), 0, 0, self.ttl, self.protocol, 0,
            IPv4Address(self.src).packed, IPv4Address(self.dst).packed,
        )  # fmt: skip
        head += self.options
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body

    @property
    def bytes(self) -> bytes:
        """The bytes from the Ethernet header on, with all-zero addresses as on a netkit device in L3 mode."""
        return bytes(12) + struct.pack("!H", self.ethertype) + self.ip

    def _transport(self) -> bytes:
        length = len(self.payload)
        if self.protocol == uapi.IPPROTO_UDP:
            return struct.pack("!HHHH", self.sport, self.dport, 8 + length, 0) + self.payload  # checksum 0: none
        if self.protocol == uapi.IPPROTO_TCP:
            return struct.pack("!HHIIBBHHH", self.sport, self.dport, 1, 0, 0x50, 2, 65535, 0, 0) + self.payload
        if self.protocol == uapi.IPPROTO_ICMP:
            echo = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + self.payload
            return echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
        return self.payload

    def __str__(self) -> str:
        name = NAMES.get(self.protocol, f"protocol {self.protocol}")
        has_ports = self.protocol in (uapi.IPPROTO_UDP, uapi.IPPROTO_TCP)
        ports = f" port {self.sport} to {self.dport}" if has_ports else ""
        extras = [f"ttl {self.ttl}", f"{len(self.payload)} bytes"]
        if self.options:
            extras.append(f"{len(self.options)} bytes of IP options")
        if self.ethertype != uapi.ETH_P_IP:
            extras.append(f"ethertype {self.ethertype:#06x}")
        return f"{name} {self.src} > {self.dst}{ports}, {', '.join(extras)}"


def checksum(data: bytes) -> int:
    """Return the Internet checksum of the bytes (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def random_datagram(rng: random.Random, **fields) -> Datagram:
    """Return a packet whose fields are random unless given, so that no two checks see the same."""
    values = {
        "src": f"10.0.{rng.randrange(1, 255)}.2",
        "protocol": rng.choice([uapi.IPPROTO_UDP, uapi.IPPROTO_UDP, uapi.IPPROTO_TCP, uapi.IPPROTO_ICMP]),
        "sport": rng.randrange(1024, 65536),
        "dport": rng.randrange(1, 65536),
        "ttl": rng.randrange(2, 256),
        "payload": rng.randbytes(rng.randrange(0, 200)),
    }
    return Datagram(**{**values, **fields})
