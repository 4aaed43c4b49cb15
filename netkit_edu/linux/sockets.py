"""Sockets in a lab's namespaces: those that listen, and one send with everything that it sets off."""

from __future__ import annotations

import socket as names
import struct
from collections.abc import Mapping, Sequence

from netkit_edu.backend import Received, SendRequest
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.journey import Journey
from netkit_edu.linux import evidence, netns, sink
from netkit_edu.linux.door import Batch, Data, Result
from netkit_edu.linux.netlink import u32
from netkit_edu.linux.netns import AF_INET, IPPROTO_UDP, RECEIVE_BUFFER, SOCK_DGRAM, Namespace
from netkit_edu.linux.rtnetlink import ARP_RETRY
from netkit_edu.linux.sender import ICMP_HLEN, IP_PKTINFO, SOL_IP, Sender, source_port
from netkit_edu.linux.talk import MSG_DONTWAIT
from netkit_edu.uapi import Errno

IP_RECVORIGDSTADDR = IP_ORIGDSTADDR = 20
SINK_PORT = 9  # the port that a sink is bound to; what is for others is led to it
DATAGRAM = 1 << 16  # bytes
_CONTROL = 64  # bytes of a datagram's control messages that are looked at
_HEAD = 56 + 16 + 16 + _CONTROL  # bytes: struct msghdr, one struct iovec, the sender's address, control messages
DEVICES_A_READ = 24  # lines of /proc/net/dev that one read() gives back, at least
FEW = 16  # packets of which each is sent in a round trip of its own
BURST = 200  # packets sent in one round trip at most, or fragments: what happens to them must fit the recording
FRAGMENT = 1000  # bytes of a datagram that go into one packet, at least
OVERHEAD = 1024  # bytes that a packet costs beside its own
KEPT = RECEIVE_BUFFER // 4  # bytes sent before what has been received is fetched, or in one round trip
A_FEW, AT_ONCE = 4, 32  # datagrams fetched in one round trip: they must fit one answer
TRIES = 40
_COUNTERS = {"rx_bytes": 0, "rx_packets": 1, "rx_dropped": 3, "tx_bytes": 8, "tx_packets": 9, "tx_dropped": 11}


class SocketCalls:
    """The part of a backend that listens and sends; it needs ``door``, ``cpus``, ``_ns``, ``_net`` and ``_tracer``."""

    def __init__(self):
        self._leftover: list[tuple[Namespace, int, bool]] = []  # sockets to be closed; whether an answer may be on one
        self._sent_since = 0

    # listening --------------------------------------------------------------------------------------------------------

    def listen(self, ns: int, *, udp: int) -> None:
        """Open a UDP socket on this port, or with port 0 one that takes what comes for any; EADDRINUSE if there is."""
        net = self._net(ns)
        if not 0 <= udp <= 0xFFFF:
            raise UsageError(f"{udp} is not a port: 1 to 65535, or 0 for all")
        if udp in net.ports:
            raise KernelError("EADDRINUSE")
        self._sweep()
        batch = self.door.batch()
        batch.setns(net.fd)
        sock = netns.socket(batch, SOCK_DGRAM, IPPROTO_UDP)
        batch.call("setsockopt", sock, SOL_IP, IP_RECVORIGDSTADDR, u32(1), 4)
        bound = batch.call("bind", sock, struct.pack("=H", AF_INET) + struct.pack(">H12x", udp or SINK_PORT), 16)
        try:
            batch.run()
        except KernelError:
            if bound.errno:
                self.door.call("close", sock.value)
            raise
        net.ports[udp] = sock.value
        if not udp:
            net.held += sink.install(self.door, net.fd, sock.value)

    def received(self, ns: int) -> list[Received]:
        """Return what the namespace's sockets have received so far, in order (the last 65536)."""
        net = self._net(ns)
        self._sweep()
        self._take_datagrams([(net, sock) for sock in net.ports.values()])
        return list(net.received)

    def _take_datagrams(self, wanted: list[tuple[Namespace, int]], echo: bool = False, at_once: int = A_FEW) -> None:
        """Take everything that waits on these sockets; ``echo``: ping sockets, whose datagrams are ICMP."""
        while wanted:
            batch = self.door.batch()
            buffer = batch.room(DATAGRAM)
            parts = [(net, sock, [_receive(batch, sock, buffer) for _ in range(at_once)]) for net, sock in wanted]
            batch.run()
            wanted = []
            for net, sock, got in parts:
                net.received.extend(_datagram(head.value, data.value, echo) for n, head, data in got if not n.errno)
                if got[-1][0].errno != Errno.EAGAIN:
                    wanted.append((net, sock))
            at_once = AT_ONCE

    def _sweep(self, batch: Batch | None = None) -> None:
        """Close the sockets that have sent, in this batch or at once; what came back to one of them is kept."""
        left, self._leftover = self._leftover, []
        self._take_datagrams([(net, sock) for net, sock, echo in left if echo], echo=True, at_once=2)
        closing = self.door.batch() if batch is None else batch
        for _, sock, _ in left:
            closing.call("close", sock, must=False)
        if left and batch is None:
            closing.run()

    # sending ----------------------------------------------------------------------------------------------------------

    def send(self, ns: int, request: SendRequest) -> Journey:
        """Send one packet and return what happened to it."""
        return self._send(ns, request, 1)[0]

    def send_many(self, ns: int, request: SendRequest, n: int) -> Sequence[Journey]:
        """Send ``n`` packets back to back. Linux runs the softirq of each before the sender goes on.

        What counters gained is told of each of a few packets, of many as the sum of a round trip's, with its first.
        """
        if n <= FEW:
            return [self.send(ns, request) for _ in range(n)]
        journeys: list[Journey] = []
        length = len(request.packet)
        while len(journeys) < n:
            fits = min(BURST // (1 + length // FRAGMENT), KEPT // (length + OVERHEAD))
            journeys += self._send(ns, request, min(max(1, fits), n - len(journeys)))
        return journeys

    def _send(self, ns: int, request: SendRequest, n: int) -> list[Journey]:
        net = self._net(ns)
        if not 0 <= request.cpu < len(self.cpus):
            raise UsageError(f"no CPU {request.cpu}: this machine has {len(self.cpus)}, counted from 0")
        port = source_port(request)
        listening = net.ports.get(port or -1) or (net.ports.get(0) if port == SINK_PORT else None)
        sender = Sender(request, listening)
        batch = self.door.batch()
        self._sweep(batch)
        text = batch.room(netns.TEXT)
        before = self._read_counters(batch, text)
        if self.cpus != (0,):
            mask = (1 << self.cpus[request.cpu]).to_bytes(128, "little")
            batch.call("sched_setaffinity", 0, len(mask), mask)
        batch.setns(net.fd)
        sock = sender.open(batch)
        self._tracer.start(batch)
        sent = sender.send(batch, sock, n)
        traced = self._tracer.stop(batch)
        sender.done(batch, sock)
        after = self._read_counters(batch, text)
        fragments = self._read_fragments(batch, text)
        try:
            batch.run()
        except KernelError as refused:  # the socket could not be made as it should be
            if not isinstance(sock, Result) or not sock.done or sock.errno:
                raise
            self._leftover.append((net, sock.value, False))
            return [evidence.refused(self.kernel, request, refused.errno)] * n
        finally:
            if sender.temporary and isinstance(sock, Result) and sock.done and not sock.errno and sent[0].done:
                self._leftover.append((net, sock.value, request.via == "icmp"))
        traced, after = self._at_rest(traced, after, fragments)
        self._sent_since += n * (len(request.packet) + OVERHEAD)
        if self._sent_since > KEPT:
            self._sent_since = 0
            self._take_datagrams([(other, held) for other in self._ns.values() for held in other.ports.values()])
        errnos = [result.errno for result in sent]
        return self._tracer.journeys(traced, request, errnos, _moved(before, after))

    def _at_rest(self, traced: Data, after: list, fragments: list[Data]) -> tuple[Data, list]:
        """Wait as long as a packet does: for the address of a neighbour, for its other fragments, or for who reads."""
        for _ in range(TRIES):
            if not (self._tracer.waiting(traced) or any(b"FRAG: inuse 0 " not in read.value for read in fragments)):
                break
            traced, after, fragments = self._a_while_later()
        return self._read_in_sight() if self._tracer.unread(traced) else traced, after

    def _a_while_later(self) -> tuple[Data, list, list[Data]]:
        """Let the kernel's timers run; return the recording as it is then, the counters, and who holds fragments."""
        batch = self.door.batch()
        self._tracer.resume(batch)
        batch.call("nanosleep", struct.pack("=qq", 0, (ARP_RETRY + 5) * 10**6), 0)
        traced = self._tracer.stop(batch)
        text = batch.room(netns.TEXT)
        after, fragments = self._read_counters(batch, text), self._read_fragments(batch, text)
        batch.run()
        return traced, after, fragments

    def _read_in_sight(self) -> Data:
        """Take what waits on the sockets that listen while it is recorded; return the recording as it is then."""
        listening = [(net, sock) for net in self._ns.values() for sock in net.ports.values()]
        while True:
            batch = self.door.batch()
            self._tracer.resume(batch)
            buffer = batch.room(DATAGRAM)
            read = [(net, _receive(batch, sock, buffer)) for net, sock in listening for _ in range(A_FEW)]
            traced = self._tracer.stop(batch)
            batch.run()
            taken = [(net, head.value, data.value) for net, (got, head, data) in read if not got.errno]
            for net, head, data in taken:
                net.received.append(_datagram(head, data, False))
            if not taken:
                return traced

    def _read_fragments(self, batch: Batch, text: int) -> list[Data]:
        """Append the reading of every namespace's /proc/net/sockstat, which says how many packets are incomplete."""
        return [netns.read_again(batch, net, net.sockstat, text)[0] for net in self._ns.values()]

    def _read_counters(self, batch: Batch, text: int) -> list[tuple[Namespace, list[Data]]]:
        """Append the reading of every namespace's /proc/net/dev."""
        return [
            (net, netns.read_again(batch, net, net.dev, text, 1 + net.devices // DEVICES_A_READ))
            for net in self._ns.values()
        ]


def _receive(batch: Batch, sock: int, buffer: int) -> tuple[Result, Data, Data]:
    """Append one recvmsg(2); return its result, its header with addresses, and the datagram."""
    head = batch.put(bytes(_HEAD))
    name, control = head + 72, head + 88
    iov = batch.put(struct.pack("=QQ", buffer, DATAGRAM))
    head = batch.put(struct.pack("=QIIQQQQii", name, 16, 0, iov, 1, control, _CONTROL, 0, 0))
    got = batch.call("recvmsg", sock, head, MSG_DONTWAIT, must=False)
    return got, batch.read(name, 16 + _CONTROL), batch.read(buffer, got, DATAGRAM)


def _datagram(head: bytes, data: bytes, echo: bool) -> Received:
    """Read a datagram: its sender's address, the one it was for from its control message, and its payload."""
    sport, src = struct.unpack_from(">2xH4s", head)
    level, kind = struct.unpack_from("=8xii", head, 16)
    dport, dst = 0, bytes(4)
    if (level, kind) == (SOL_IP, IP_ORIGDSTADDR):
        dport, dst = struct.unpack_from(">2xH4s", head, 32)
    elif (level, kind) == (SOL_IP, IP_PKTINFO):
        dst = head[40:44]
    text = names.inet_ntoa
    return Received(text(src), 0 if echo else sport, text(dst), dport, data[ICMP_HLEN:] if echo else data)


def _counters(read: list[tuple[Namespace, list[Data]]]) -> dict[str, list[int]]:
    """Return the numbers of /proc/net/dev by "node/device"."""
    found = {}
    for net, parts in read:
        for line in b"".join(part.value for part in parts).decode().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            found[f"{net.name}/{name.strip()}"] = [int(number) for number in numbers.split()]
    return found


def _moved(before: list, after: list) -> Mapping[str, Mapping[str, int]]:
    """Return by how much each device's counters have grown, without those that have not."""
    then, moved = _counters(before), {}
    for device, now in _counters(after).items():
        was = then.get(device, [0] * 16)
        grown = {name: now[at] - was[at] for name, at in _COUNTERS.items() if now[at] != was[at]}
        if grown:
            moved[device] = grown
    return moved
