"""Nodes: machines and containers, each a network namespace that sends, receives and answers.

A `Node` acts on its own devices only. What it sends goes through the sockets that Linux has for it; the answer is a
`Journey`.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from netkit_edu import packet as wire
from netkit_edu.arguments import ipv4_address, ipv4_prefix, mac_address, whole_number
from netkit_edu.backend import Received, SendRequest
from netkit_edu.device import Device, Pair
from netkit_edu.errors import UsageError
from netkit_edu.journey import Journey
from netkit_edu.packet import Wire
from netkit_edu.sys import Sys
from netkit_edu.uapi import ETH_P_IP, ETH_P_IPV6, IPPROTO_ICMP, IPPROTO_UDP

OUTSIDE_IP = "192.0.2.2"
MAX_REPEAT = 1_000_000
VIA = ("auto", "udp", "icmp", "raw", "packet")


@dataclass(frozen=True)
class Summary:
    """What became of many packets sent back to back; ``journeys`` in the order they were sent."""

    journeys: tuple[Journey, ...]

    @property
    def sent(self) -> int:
        """How many packets."""
        return len(self.journeys)

    @property
    def fates(self) -> Mapping[str, int]:
        """How many ended how: {"delivered": 990, "dropped": 10}."""
        return dict(Counter(str(j.fate.kind) for j in self.journeys))

    @property
    def reasons(self) -> Mapping[str, int]:
        """How many of those that were not delivered ended for which reason."""
        return dict(Counter(j.fate.reason for j in self.journeys if not j.fate.delivered))

    @property
    def sender_errors(self) -> Mapping[str, int]:
        """How many sending calls returned which errno."""
        return dict(Counter(j.sender_error for j in self.journeys if j.sender_error))

    @property
    def example(self) -> Journey:
        """The first packet's journey."""
        return self.journeys[0]

    def __repr__(self) -> str:
        fates = ", ".join(f"{n} {kind}{self._why(kind)}" for kind, n in self.fates.items())
        return f"{self.sent} packet{'s' if self.sent != 1 else ''}: {fates}"

    def _why(self, kind: str) -> str:
        """Return the reasons of those that ended so, in brackets; "" if they were delivered or nobody gave one."""
        fates = (j.fate for j in self.journeys if not j.fate.delivered)
        why = Counter(fate.reason for fate in fates if str(fate.kind) == kind)
        if not any(why):
            return ""
        said = (f"{n} × {reason or 'no reason given'}" for reason, n in why.items())
        return f" ({'; '.join(said) if len(why) > 1 else next(iter(why))})"


class Node:
    """One machine or container: a network namespace with its devices, routes and sockets."""

    def __init__(self, lab, name: str):
        self.lab = lab
        self.name = name
        self.deleted = False
        self._ns = lab.kernel_calls.netns_add(name)

    @property
    def ns(self) -> int:
        """The backend's number of its namespace.

        Raises:
            UsageError: the node was deleted.
        """
        if self.deleted:
            raise UsageError(f"{self.name!r} was deleted: what it had is gone")
        return self._ns

    @property
    def sys(self) -> Sys:
        """Its system calls as they are, attribute by attribute, for what the rest of this API would not say."""
        return Sys(self)

    @property
    def links(self) -> tuple[Device, ...]:
        """Its devices in the order of their ifindexes, the loopback first."""
        return tuple(self.lab.device(self, info.ifindex) for info in self.lab.kernel_calls.links(self.ns))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its IPv4 addresses with prefix lengths, without the loopback's."""
        found = [a for info in self.lab.kernel_calls.links(self.ns) for a in info.addresses]
        return tuple(a for a in found if not a.startswith("127."))

    @property
    def ip(self) -> str:
        """Its first IPv4 address, without prefix length.

        Raises:
            UsageError: it has none yet.
        """
        if not self.addresses:
            raise UsageError(f"{self.name} has no address yet: {self.name}.addr(device, '10.0.9.2/24')")
        return self.addresses[0].partition("/")[0]

    def sysctl(self, key: str, value: int) -> None:
        """Set one of its kernel's settings, for example `node.sysctl("net.ipv4.ip_forward", 1)`.

        What begins with "net.core" is the whole machine's.

        Raises:
            KernelError: ENOENT if there is none of that name, or not here.
            UsageError: no name, or a value that is no number.
        """
        if not isinstance(key, str):
            raise UsageError(f"a sysctl goes by a name such as 'net.ipv4.ip_forward', not {key!r}")
        self.lab.kernel_calls.sysctl(self.ns, key, whole_number(value, "value"))

    @property
    def snmp(self) -> Mapping[str, int]:
        """What its stack has counted so far (/proc/net/snmp and netstat), by the names that nstat prints.

        For example {"IpOutRequests": 3, "UdpInDatagrams": 2, …}: sections Ip, Icmp, Udp and IpExt, zeros included.
        """
        return self.lab.kernel_calls.snmp(self.ns)

    def addr(self, dev: Device, address: str) -> None:
        """Give one of its devices an IPv4 address with prefix length, for example "10.0.9.2/24".

        Raises:
            KernelError: EEXIST if the device has it.
            UsageError: no such address, or not a device of this node.
        """
        self.lab.kernel_calls.addr_add(self.ns, self._own(dev).ifindex, ipv4_prefix(address))

    def route(self, prefix: str, *, dev: Device | None = None, via: str = "") -> None:
        """Add a route: to "10.0.9.0/24" or "default", through a device, a gateway (``via``), or both.

        Raises:
            KernelError: as the kernel refuses it: ENETUNREACH for a gateway it cannot reach, EEXIST if there is one to
                that prefix, EINVAL for a prefix with bits set behind its length.
            UsageError: no such prefix or address, or not a device of this node.
        """
        if dev is None and not via:
            raise UsageError("a route needs dev=, via=, or both")
        ifindex = 0 if dev is None else self._own(dev).ifindex
        prefix = prefix if prefix == "default" else ipv4_prefix(prefix)
        self.lab.kernel_calls.route_add(self.ns, prefix, ifindex=ifindex, via=ipv4_address(via) if via else "")

    def neigh(self, address: str, mac: str, *, dev: Device) -> None:
        """Add a permanent neighbour: the MAC address behind an IPv4 address on a device."""
        self.lab.kernel_calls.neigh_add(self.ns, self._own(dev).ifindex, ipv4_address(address), mac_address(mac))

    def listen(self, *, udp: int) -> None:
        """Open a UDP socket on this port, which keeps what arrives in `received`.

        Raises:
            KernelError: EADDRINUSE if there is one.
        """
        self.lab.kernel_calls.listen(self.ns, udp=whole_number(udp, "udp", 1, 65535))

    @property
    def received(self) -> list[Received]:
        """What its sockets took so far, in order."""
        return list(self.lab.kernel_calls.received(self.ns))

    def send(self, packet, *, via: str = "auto", dev: Device | None = None, mark: int = 0, priority: int = 0,
             recverr: bool = False, cpu: int = 0, gso_size: int = 0, repeat: int | None = None,
             label: str = "") -> Journey | Summary:  # fmt: skip
        """Send a packet from here, let everything it sets off come to rest, and return what happened to it.

        Args:
            packet: a scapy packet, whose missing fields are filled as this node's stack would, or bytes.
            via: "udp" or "icmp" (that kind of socket), "raw" (the IP header as given), "packet" (AF_PACKET: a frame on
                ``dev``). "auto" takes AF_PACKET for a frame, a UDP or ping socket where one can say it, else raw.
            dev: bind the socket to this device; for a frame the device it leaves by.
            mark, priority: the socket's SO_MARK and SO_PRIORITY.
            recverr: IP_RECVERR: report a drop on the way out to the sender, as `Journey.sender_error` "ENOBUFS".
            cpu: the CPU on which the sender runs.
            gso_size: payload bytes of each segment of a GSO super-packet, TCP or UDP; 0 for an ordinary packet. It may
                be longer than the MTU, and crosses every device whole but a card.
            repeat: send that many times back to back, before any softirq runs; the answer is a `Summary`.
            label: what drawings call the journey; by default one line on the packet.

        Raises:
            PacketError: not a packet.
            UsageError: an option's value is not possible.
        """
        if via not in VIA:
            raise UsageError(f"via is one of {', '.join(map(repr, VIA))}, not {via!r}")
        for what, value in (("mark", mark), ("priority", priority), ("cpu", cpu), ("gso_size", gso_size)):
            whole_number(value, what)
        if repeat is not None:
            whole_number(repeat, "repeat", 1, MAX_REPEAT)
        data = wire.to_bytes(packet)
        if via == "auto":
            via = self._socket_for(data)
            if gso_size and via == "raw":  # no raw socket sends GSO packets, a packet socket does (PACKET_VNET_HDR)
                via = "packet"
        if via == "packet":
            dev = self._frame_device() if dev is None else dev
            data = self._as_frame(packet, dev)
        elif data.ethernet:
            raise UsageError(f"a frame leaves through via='packet', not {via!r}: that socket starts at IP")
        elif via == "raw":
            data = wire.to_bytes(packet, src=self._source_for(data))
        request = SendRequest(
            data.data, via, 0 if dev is None else self._own(dev).ifindex, mark, priority, recverr, cpu, gso_size,
            label or self._label(data),
        )  # fmt: skip
        if repeat is None:
            return self.lab.kernel_calls.send(self.ns, request)
        return Summary(tuple(self.lab.kernel_calls.send_many(self.ns, request, repeat)))

    def ping(self, other: Node | str, *, payload: bytes = bytes(56), **options) -> Journey:
        """Send one ICMP echo request to a node or an address; the answer's journey is in ``replies``.

        ``options`` are those of `send`.

        Raises:
            PacketError: no IPv4 address.
            UsageError: neither a node nor an address, or an option's value is not possible.
        """
        if not isinstance(other, Node | str):
            raise UsageError(f"ping takes a node or an address such as '192.0.2.2', not {other!r}")
        to = other if isinstance(other, str) else other.ip
        name = other if isinstance(other, str) else other.name
        options.setdefault("label", f"ping {name}")
        return self.send(wire.icmp_echo(to, payload=payload), **options)

    def delete(self) -> None:
        """Remove the namespace and its devices; a pair goes whole.

        Raises:
            UsageError: it is the host or the outside, or it was deleted before.
        """
        self.lab.forget(self)

    def _own(self, dev: Device) -> Device:
        if isinstance(dev, Pair):
            dev = dev.primary
        if not isinstance(dev, Device):
            raise UsageError(f"a device is meant, such as lab.nic or {self.name}.links[-1], not {dev!r}")
        if dev.node is not self:
            raise UsageError(f"that device is in {dev.node.name}, not in {self.name}: a node acts on its own devices")
        return dev

    def _socket_for(self, data: Wire) -> str:
        if data.ethernet:
            return "packet"
        head = wire.ipv4(data)
        own = ("0.0.0.0", *(a.partition("/")[0] for a in self.addresses))
        if head is None or head.header != wire.IP_HLEN or head.offset or head.more_fragments or head.src not in own:
            return "raw"
        if head.protocol == IPPROTO_ICMP and head.icmp_type == wire.ICMP_ECHO:
            return "icmp"
        return "udp" if head.protocol == IPPROTO_UDP else "raw"

    def _source_for(self, data: Wire) -> str:
        """The address a stack would put into a packet that names none: the one nearest to the destination."""
        head = wire.ipv4(data)
        if head is None or not self.addresses:
            return "0.0.0.0"
        near = [a for a in self.addresses if ipaddress.ip_address(head.dst) in ipaddress.ip_interface(a).network]
        return (near or self.addresses)[0].partition("/")[0]

    def _label(self, data: Wire) -> str:
        line = wire.summary(data)
        return line.replace("0.0.0.0", self._source_for(data), 1) if line.startswith("IP 0.0.0.0 ") else line

    def _frame_device(self) -> Device:
        devices = self.links[1:]
        if len(devices) != 1:
            names = ", ".join(d.name for d in devices) or "none"
            raise UsageError(f"say on which device the frame leaves: dev=...; {self.name} has: {names}")
        return devices[0]

    def _as_frame(self, packet, dev: Device) -> Wire:
        own = self._own(dev).mac
        other = dev.other.mac if dev.other is not None else "ff:ff:ff:ff:ff:ff"
        data = wire.to_bytes(packet, mac=own, dst_mac=other, src=self._source_for(wire.to_bytes(packet)))
        if data.ethernet:
            return data
        ethertype = ETH_P_IPV6 if data.data[0] >> 4 == 6 else ETH_P_IP
        macs = bytes.fromhex((other + own).replace(":", ""))
        return wire.to_bytes(macs + ethertype.to_bytes(2, "big") + data.data, ethernet=True)

    def __repr__(self) -> str:
        if self.deleted or self.lab.closed:
            state = "deleted" if self.deleted else "its lab is closed"
        else:
            state = ", ".join(self.addresses) or "no address"
        return f"<{type(self).__name__.lower()} {self.name}, {state}>"


class Outside(Node):
    """The machine beyond the host's cable: a sink, on which every UDP port is open."""

    def __init__(self, lab, name: str):
        super().__init__(lab, name)
        lab.kernel_calls.listen(self.ns, udp=0)

    def listen(self, *, udp: int) -> None:
        """Nothing to do: every port is open."""
        whole_number(udp, "udp", 1, 65535)


class Pod(Node):
    """A container: a node joined to the host by a pair; ``device`` is its own end, named eth0 inside."""

    pair: Pair

    @property
    def device(self) -> Device:
        """The pod's end of its pair."""
        return self.pair.peer

    @property
    def gateway(self) -> str:
        """The host's address on this pair, where the pod's default route leads."""
        return self.lab.gateway(self)

    def up(self) -> Pod:
        """Bring it up: both ends, the default route, and unless it is netkit permanent neighbours; return it.

        A netkit pair in L2 mode finds its neighbours by ARP, one in L3 mode needs none.
        """
        host_end, pod_end = self.pair.primary.up(), self.pair.peer.up()
        if pod_end.kind != "netkit":
            host_end.node.neigh(self.ip, pod_end.mac, dev=host_end)
            self.neigh(self.gateway, host_end.mac, dev=pod_end)
        self.route("default", via=self.gateway)
        return self
