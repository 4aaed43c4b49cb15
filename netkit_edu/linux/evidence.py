"""Journeys without hops, for a Linux on which nothing can be recorded: what sockets and counters show of a packet.

`Evidence` does what `trace.Tracer` does, as far as raw sockets (raw(7)) in every namespace, the neighbour tables and
the sender's errno can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netkit_edu.backend import SendRequest
from netkit_edu.journey import Fate, FateKind, Journey
from netkit_edu.linux import netns
from netkit_edu.linux.door import Batch, Data
from netkit_edu.linux.netns import IPPROTO_ICMP, IPPROTO_UDP, SOCK_RAW, Namespace
from netkit_edu.linux.talk import MSG_DONTWAIT
from netkit_edu.packet import IP_HLEN, checksum
from netkit_edu.uapi import ETH_HLEN, IPPROTO_TCP, errno_name

_PACKET = 1 << 16  # bytes
_READS = 3  # of one raw socket: the packet, a copy, and the end
_CHECKSUMS = {IPPROTO_TCP: 16, IPPROTO_UDP: 6}  # where in its header each has it
_NO_ADDRESS = "0x0"  # flags of a line of /proc/net/arp whose address nobody has told


class Evidence:
    """What can be told of the packets of one backend without looking into the kernel."""

    def __init__(self, backend):
        self._backend = backend
        self._raw: dict[int, dict[int, int]] = {}
        self._arp: dict[int, int] = {}

    def start(self, batch: Batch) -> None:
        """Open what is missing, and throw away what is old."""
        for net in self._backend._ns.values():
            if net.number not in self._raw:
                self._open(net)
        self._drain()

    def stop(self, batch: Batch) -> Data:
        """Append operations: read what has arrived, and the neighbour tables."""
        data = Data()
        buffer = batch.room(_PACKET)
        data.arrived = [
            (net, protocol, batch.read(buffer, batch.call(
                "recvfrom", self._raw[net.number][protocol], buffer, _PACKET, MSG_DONTWAIT, 0, 0, must=False), _PACKET))
            for net in self._backend._ns.values() for protocol in self._raw[net.number] for _ in range(_READS)
        ]  # fmt: skip
        data.arp = []
        for net in self._backend._ns.values():
            got = batch.call("pread64", self._arp[net.number], buffer, _PACKET, 0)
            data.arp.append(batch.read(buffer, got, _PACKET))
        return data

    def resume(self, batch: Batch) -> None:
        """Nothing to do: sockets receive in any case."""

    def waiting(self, traced: Data) -> bool:
        """Return whether the address of a neighbour is still being asked for."""
        lines = [line.split() for part in traced.arp for line in part.value.decode().splitlines()[1:]]
        return any(line[2] == _NO_ADDRESS for line in lines) and self._incomplete()

    def unread(self, traced: Data) -> bool:
        """Return False: what becomes of a datagram when somebody reads is not seen."""
        return False

    def journeys(self, traced: Data, request: SendRequest, sent: Sequence[int] = (0,),
                 counters: Mapping[str, Mapping[str, int]] | None = None) -> list[Journey]:  # fmt: skip
        """Return a journey for each packet sent: of several the first gets all the counters."""
        counters = counters or {}
        found = [(net, part.value) for net, _, part in traced.arrived if part.value]
        packet = request.packet[ETH_HLEN:] if request.via == "packet" else request.packet
        ours = [(net, data) for net, data in found if data[16:20] == packet[16:20] and _taken(net, data, packet)]
        out = []
        for n, errno in enumerate(sent):
            if ours and not errno:
                net, data = ours[-1]
                fate, arrived = Fate(FateKind.DELIVERED, net.name), filled(data)
            else:
                fate, arrived = _fate(errno, counters), b""
            out.append(self._journey(request, fate, errno, counters if n == 0 else {}, arrived))
        return out

    def _journey(self, request, fate, errno, counters, arrived) -> Journey:
        return Journey(
            packet=request.packet, hops=(), fate=fate, sender_error=errno_name(errno) if errno else None,
            counters=counters, arrived=arrived, backend=f"Linux {self._backend.kernel}", label=request.label,
        )  # fmt: skip

    def _open(self, net: Namespace) -> None:
        batch = self._backend.door.batch()
        batch.setns(net.fd)
        raw = {protocol: netns.socket(batch, SOCK_RAW, protocol) for protocol in (IPPROTO_UDP, IPPROTO_ICMP)}
        arp = netns.open_file(batch, "/proc/thread-self/net/arp")
        batch.run()
        self._raw[net.number] = {protocol: sock.value for protocol, sock in raw.items()}
        self._arp[net.number] = arp.value
        net.held += [*self._raw[net.number].values(), arp.value]

    def _drain(self) -> None:
        while True:
            batch = self._backend.door.batch()
            seen = self.stop(batch)
            batch.run()
            if not any(part.value for _, _, part in seen.arrived):
                return

    def _incomplete(self) -> bool:
        """A line without an address may also be that of a neighbour that has been given up."""
        return self._backend._asked_for()


def _taken(net: Namespace, data: bytes, packet: bytes) -> bool:
    """Return whether what has arrived is this packet, and somebody there takes it."""
    ihl = (data[0] & 15) * 4
    port = int.from_bytes(data[ihl + 2 : ihl + 4], "big")
    return data[9:10] == packet[9:10] and (data[9] != IPPROTO_UDP or bool(net.ports.keys() & {0, port}))


def refused(kernel: str, request: SendRequest, errno: int) -> Journey:
    """Return the journey of a packet for which the sender did not even get its socket."""
    name = errno_name(errno)
    return Journey(
        packet=request.packet, hops=(), fate=Fate(FateKind.NOT_SENT, reason=name), sender_error=name,
        backend=f"Linux {kernel}", label=request.label,
    )  # fmt: skip


def filled(packet: bytes) -> bytes:
    """Return an IPv4 packet with the checksum that a card would have filled in, if it was left undone.

    Left undone means that the field holds the sum of the pseudo header alone (CHECKSUM_PARTIAL).
    """
    ihl = (packet[0] & 15) * 4 if packet else 0
    offset = _CHECKSUMS.get(packet[9]) if len(packet) >= IP_HLEN else None
    if offset is None or len(packet) < ihl + offset + 2:
        return packet
    at = ihl + offset
    pseudo = packet[12:20] + bytes((0, packet[9])) + (len(packet) - ihl).to_bytes(2, "big")
    if int.from_bytes(packet[at : at + 2], "big") != ~checksum(pseudo) & 0xFFFF:
        return packet
    done = checksum(pseudo + packet[ihl:at] + b"\0\0" + packet[at + 2 :]) or 0xFFFF
    return packet[:at] + done.to_bytes(2, "big") + packet[at + 2 :]


def _fate(errno: int, counters: Mapping[str, Mapping[str, int]]) -> Fate:
    """Return how a packet ended that did not arrive, as far as the counters say."""
    for device, moved in counters.items():
        if moved.keys() & {"tx_dropped", "rx_dropped"}:
            node, _, name = device.partition("/")
            return Fate(FateKind.DROPPED, node, name)
    if errno and not counters:
        return Fate(FateKind.NOT_SENT, reason=errno_name(errno))
    got = [device for device, moved in counters.items() if "rx_packets" in moved]
    if got or not counters:
        node, _, name = got[-1].partition("/") if got else ("", "", "")
        return Fate(FateKind.DROPPED, node, name)
    node, _, name = list(counters)[-1].partition("/")
    return Fate(FateKind.LOST, node, name)
