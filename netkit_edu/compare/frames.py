"""The packets that scenarios send, made here so that both machines get the same bytes."""

from __future__ import annotations

from netkit_edu.compare.scenario import PLACES, PORT, Scenario
from netkit_edu.packet import checksum
from netkit_edu.uapi import ETH_P_IP, IPPROTO_ICMP, IPPROTO_UDP

SOURCE_PORT = 40000
TAGS = (0x8100, 0x88A8)
ADDRESSES = {
    "stranger": "10.77.1.9", "broadcast": "10.77.1.255", "everyone": "255.255.255.255", "multicast": "224.0.0.5",
    "outside": "192.0.2.2", "nic": "192.0.2.1", "elsewhere": "10.99.0.1",
    "nobody": "10.77.4.9",
}  # fmt: skip
MACS = {"broadcast": "ffffffffffff", "multicast": "01005e000005", "foreign": "020000000099", "zero": "000000000000"}


def address(scenario: Scenario, name: str) -> bytes:
    """Return the four bytes of an IPv4 address that goes by a name or by a device."""
    text = ADDRESSES.get(name) or scenario.place(name).address
    return bytes(map(int, text.split(".")))


def other_end(device: str) -> str:
    """Return the other end of a pair; "nobody" for a device without one."""
    pair, _, end = device.partition(".")
    return pair if end else "nobody" if pair.startswith("d") else f"{pair}.peer"


def packet_of(scenario: Scenario, device: str, *, to: str = "other", port: int = PORT, size: int = 100, ttl: int = 64,
              df: bool = True, via: str = "raw", **_) -> bytes:  # fmt: skip
    """Return an IPv4 packet with a UDP datagram, or an ICMP echo request if ``via`` is "icmp".

    Args:
        device: whose address it comes from.
        to: "other" for the other end, a device, or one of `ADDRESSES`.
        size: payload in bytes.
    """
    src = address(scenario, device)
    dst = address(scenario, other_end(device) if to == "other" else to)
    payload = bytes(n & 0xFF for n in range(size))
    if via == "icmp":
        body, protocol = b"\x08\0\0\0" + b"\x12\x34\0\1" + payload, IPPROTO_ICMP
        body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    else:
        length = 8 + size
        body = SOURCE_PORT.to_bytes(2, "big") + port.to_bytes(2, "big") + length.to_bytes(2, "big") + b"\0\0" + payload
        protocol = IPPROTO_UDP
        pseudo = src + dst + b"\0" + bytes([protocol]) + length.to_bytes(2, "big")
        body = body[:6] + (checksum(pseudo + body) or 0xFFFF).to_bytes(2, "big") + body[8:]
    head = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + b"\x12\x34" + (0x4000 if df else 0).to_bytes(2, "big")
    head += bytes([ttl, protocol]) + b"\0\0" + src + dst
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def frame_of(scenario: Scenario, device: str, *, mac: str = "its", ethertype: int = ETH_P_IP, tag: int = 0,
             cut: int | None = None, **packet) -> bytes:  # fmt: skip
    """Return the packet in a frame.

    Args:
        mac: "its" for the other end's address, or one of `MACS`.
        tag: the VLAN tag behind an ethertype that announces one.
        cut: keep that many bytes of the frame.
    """
    own = _mac(scenario, device)
    other = other_end(device)
    to = MACS.get(mac) or (MACS["foreign"] if other == "nobody" else _mac(scenario, other))
    frame = bytes.fromhex(to) + bytes.fromhex(own) + ethertype.to_bytes(2, "big")
    if ethertype in TAGS:
        frame += tag.to_bytes(2, "big") + ETH_P_IP.to_bytes(2, "big")
    frame += packet_of(scenario, device, **packet | {"via": "raw"})
    return frame[:cut]


def _mac(scenario: Scenario, device: str) -> str:
    pair = device.partition(".")[0]
    is_l3 = pair in ("a", "b") and scenario.topology.get(pair, {}).get("mode", 1) == 1
    return MACS["zero"] if is_l3 else PLACES[device].mac.replace(":", "")
