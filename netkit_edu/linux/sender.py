"""Sending one packet through the socket that Linux has for it: UDP, ping, raw IP, packet socket.

Options as in socket(7), ip(7), udp(7), raw(7) and packet(7), Linux 6.12. What a socket writes itself, such as lengths,
checksums and the identification, is its to write; all else is taken from the packet that was asked for.
"""

from __future__ import annotations

import struct

from netkit_edu.backend import SendRequest
from netkit_edu.errors import PacketError, UsageError
from netkit_edu.linux.door import Batch, Result
from netkit_edu.linux.netlink import u32
from netkit_edu.linux.netns import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET
from netkit_edu.packet import IP_HLEN, checksum
from netkit_edu.uapi import ETH_HLEN, ETH_P_IP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP

AF_PACKET, IPPROTO_RAW = 17, 255
SO_PRIORITY, SO_SNDBUFFORCE, SO_MARK, SO_BINDTOIFINDEX = 12, 32, 36, 62
SOL_IP, IP_TOS, IP_TTL, IP_OPTIONS, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR = 0, 1, 2, 4, 8, 10, 11
IP_PMTUDISC_DONT, IP_PMTUDISC_WANT, IP_PMTUDISC_DO = 0, 1, 2
SOL_UDP, UDP_SEGMENT, SOL_PACKET, PACKET_VNET_HDR = 17, 103, 263, 15
GSO_TCPV4, GSO_UDP_L4, NEEDS_CSUM = 1, 5, 1  # struct virtio_net_hdr (include/uapi/linux/virtio_net.h)
SEND_BUFFER = 16 << 20  # bytes that may be on their way
ICMP_HLEN = UDP_HLEN = 8
TCP_HLEN = 20
IP_DF = 0x4000
VIA = ("udp", "icmp", "raw", "packet")


class Sender:
    """A socket that sends one request's packet, as often as wished.

    Args:
        request: what to send; checked here.
        listening: a socket of the namespace that has the packet's source port already, if any: it sends then itself.

    Raises:
        UsageError: no such socket, or one that cannot send that.
        PacketError: no packet that this kind of socket takes.
    """

    def __init__(self, request: SendRequest, listening: int | None = None):
        if request.via not in VIA:
            raise UsageError(f"no socket called {request.via!r}; there are {', '.join(VIA)}")
        if request.gso_size and request.via not in ("udp", "packet"):
            raise UsageError("a GSO packet leaves through a UDP socket, or as a frame: via='udp' or via='packet'")
        if request.via == "raw" and request.packet[:1] and request.packet[0] >> 4 == 6:
            raise UsageError("a lab's stack is IPv4; as a frame IPv6 crosses devices: Ether()/IPv6(), dev=...")
        self.request = request
        self.listening = listening
        self._neutral: list[tuple[int, int, bytes]] = []
        self._kind, self._protocol = {
            "udp": (SOCK_DGRAM, IPPROTO_UDP), "icmp": (SOCK_DGRAM, IPPROTO_ICMP), "raw": (SOCK_RAW, IPPROTO_RAW),
            "packet": (SOCK_RAW, 0),
        }[request.via]  # fmt: skip
        if request.via in ("udp", "icmp"):
            self._read_datagram(IPPROTO_UDP if request.via == "udp" else IPPROTO_ICMP)

    @property
    def temporary(self) -> bool:
        """Whether the socket is this request's alone, and to be closed."""
        return self.listening is None

    def open(self, batch: Batch) -> Result | int:
        """Append the making of the socket in the door's namespace; return it. What is refused stops the batch."""
        request = self.request
        family = AF_PACKET if request.via == "packet" else AF_INET
        sock = self.listening
        if sock is None:
            sock = batch.call("socket", family, self._kind | SOCK_CLOEXEC | SOCK_NONBLOCK, self._protocol)
        for level, option, value, neutral in self._options():
            batch.call("setsockopt", sock, level, option, value, len(value))
            if self.listening is not None:
                self._neutral.append((level, option, neutral))
        if request.via in ("udp", "icmp") and self.temporary:
            batch.call("bind", sock, _sockaddr(self.saddr, self.sport), 16)
        return sock

    def send(self, batch: Batch, sock: Result | int, n: int) -> list[Result]:
        """Append the sending of the packet, ``n`` times."""
        data, to = self._data_and_address()
        data_at, to_at = batch.put(data), batch.put(to)
        return [batch.call("sendto", sock, data_at, len(data), 0, to_at, len(to), must=False) for _ in range(n)]

    def _data_and_address(self) -> tuple[bytes, bytes]:
        request = self.request
        if request.via == "packet":
            frame = _gso_frame(request.packet, request.gso_size) if request.gso_size else request.packet
            ethertype = request.packet[12:14].ljust(2, b"\0")
            return frame, struct.pack("=H2sI12x", AF_PACKET, ethertype, request.ifindex)
        if request.via == "raw":
            return request.packet, _sockaddr(request.packet[16:20].ljust(4, b"\0"), 0)
        return self.payload, _sockaddr(self.daddr, self.dport)

    def done(self, batch: Batch, sock: Result | int) -> None:
        """Append the putting back of a listening socket's options; a socket of our own needs nothing."""
        for level, option, value in self._neutral:
            batch.call("setsockopt", sock, level, option, value, len(value), must=False)

    def _options(self) -> list[tuple[int, int, bytes, bytes]]:
        """Return level, option, value, and the value that it has by default."""
        request, zero = self.request, u32(0)
        given = [(SOL_SOCKET, SO_SNDBUFFORCE, u32(SEND_BUFFER), u32(SEND_BUFFER))]
        if request.mark:
            given.append((SOL_SOCKET, SO_MARK, u32(request.mark), zero))
        if request.priority:
            given.append((SOL_SOCKET, SO_PRIORITY, u32(request.priority), zero))
        if request.via == "packet":
            return [*given, *([(SOL_PACKET, PACKET_VNET_HDR, u32(1), zero)] if request.gso_size else [])]
        if request.ifindex:
            given.append((SOL_SOCKET, SO_BINDTOIFINDEX, u32(request.ifindex), zero))
        if request.recverr:
            given.append((SOL_IP, IP_RECVERR, u32(1), zero))
        if request.via == "raw":
            return given
        given.append((SOL_IP, IP_MTU_DISCOVER, u32(self._fragmenting()), u32(IP_PMTUDISC_WANT)))
        if self.tos:
            given.append((SOL_IP, IP_TOS, u32(self.tos), zero))
        if self.ttl:
            given.append((SOL_IP, IP_TTL, u32(self.ttl), u32(-1)))
        if self.ip_options:
            given.append((SOL_IP, IP_OPTIONS, self.ip_options, b""))
        if request.gso_size:
            given.append((SOL_UDP, UDP_SEGMENT, u32(request.gso_size), zero))
        if request.via == "icmp":
            given.append((SOL_IP, IP_PKTINFO, u32(1), zero))
        return given

    def _fragmenting(self) -> int:
        """Return the socket's word for the packet's DF flag.

        By default the kernel leaves the flag out of what does not fit, which it cuts; a GSO packet is never cut.
        """
        if not self.dont_fragment:
            return IP_PMTUDISC_DONT
        return IP_PMTUDISC_DO if self.request.gso_size else IP_PMTUDISC_WANT

    def _read_datagram(self, protocol: int) -> None:
        """Take the packet apart: what of it a socket is told in its own words."""
        packet, name = self.request.packet, "UDP" if protocol == IPPROTO_UDP else "ping"
        if len(packet) < IP_HLEN or packet[0] >> 4 != 4:
            raise PacketError(
                f"a {name} socket sends IPv4 packets; these {len(packet)} bytes do not start with such a header"
            )
        ihl = (packet[0] & 15) * 4
        if ihl < IP_HLEN or len(packet) < ihl + UDP_HLEN:
            raise PacketError(f"{len(packet)} bytes are too short for an IPv4 header and a {name} header")
        if packet[9] != protocol:
            raise PacketError(f"a {name} socket cannot send IP protocol {packet[9]}: send it with via='raw'")
        self.tos, self.ttl = packet[1], packet[8]
        self.dont_fragment = bool(int.from_bytes(packet[6:8], "big") & IP_DF)
        self.saddr, self.daddr, self.ip_options = packet[12:16], packet[16:20], packet[IP_HLEN:ihl]
        if protocol == IPPROTO_UDP:
            self.sport, self.dport = struct.unpack_from(">HH", packet, ihl)
            self.payload = packet[ihl + UDP_HLEN :]
        else:
            self.sport, self.dport = int.from_bytes(packet[ihl + 4 : ihl + 6], "big"), 0
            self.payload = packet[ihl:]


def source_port(request: SendRequest) -> int:
    """Return the port from which a UDP request wants to be sent, 0 for any, or if it is none."""
    ihl = (request.packet[0] & 15) * 4 if request.packet else 0
    return int.from_bytes(request.packet[ihl : ihl + 2], "big") if request.via == "udp" else 0


def _sockaddr(address: bytes, port: int) -> bytes:
    return struct.pack("=H", AF_INET) + struct.pack(">H4s8x", port, address)


def _gso_frame(frame: bytes, gso_size: int) -> bytes:
    """Return a struct virtio_net_hdr and the frame: where its headers end, and a checksum that is still to do.

    Of that there is the pseudo header's part. What is neither TCP nor UDP is announced as TCP, for the kernel to find
    out.
    """
    ihl = (frame[ETH_HLEN] & 15) * 4 if len(frame) > ETH_HLEN else 0
    start = ETH_HLEN + ihl
    is_ip = int.from_bytes(frame[12:14], "big") == ETH_P_IP and len(frame) >= start + UDP_HLEN
    protocol = frame[ETH_HLEN + 9] if is_ip else 0
    if protocol == IPPROTO_TCP and len(frame) >= start + TCP_HLEN:
        header, offset, kind = start + (frame[start + 12] >> 4) * 4, 16, GSO_TCPV4
    elif protocol == IPPROTO_UDP:
        header, offset, kind = start + UDP_HLEN, 6, GSO_UDP_L4
    else:
        return struct.pack("=BBHHHH", 0, GSO_TCPV4, ETH_HLEN, gso_size, 0, 0) + frame
    at = start + offset
    pseudo = frame[ETH_HLEN + 12 : ETH_HLEN + 20] + struct.pack(">HH", protocol, (len(frame) - start) & 0xFFFF)
    part = (~checksum(pseudo) & 0xFFFF).to_bytes(2, "big")
    described = struct.pack("=BBHHHH", NEEDS_CSUM, kind, header, gso_size, start, offset)
    return described + frame[:at] + part + frame[at + 2 :]
