"""A network namespace: devices, addresses, routes and sockets of its own.

Mirrors ``struct net`` (include/net/net_namespace.h) and, for routes and neighbours, net/ipv4/fib_frontend.c and
net/core/neighbour.c, Linux 6.12.
"""

from __future__ import annotations

from collections import deque

from netkit_edu.errors import KernelError
from netkit_edu.sim import dev as core
from netkit_edu.sim.devinet import inet_insert_ifa
from netkit_edu.sim.inet import aton, mask, ntoa, parse_prefix
from netkit_edu.sim.inetpeer import InetPeer
from netkit_edu.sim.neighbour import Neighbour, neigh_update
from netkit_edu.sim.netdevice import NetDevice, loopback_setup
from netkit_edu.sim.route import RTN_LOCAL, RTN_UNICAST, Fib, FibInfo
from netkit_edu.sim.rtnetlink import register_netdevice
from netkit_edu.sim.snmp import snmp_mib
from netkit_edu.sim.sock import Sock
from netkit_edu.sim.sysctl import Pmtu

RECEIVED_MAX = 65536  # datagrams kept for received(); older ones go


class Netns:
    """One namespace. ``node`` labels its hops; ``kernel`` is the machine it belongs to."""

    label = ""  # a namespace is a place without a device

    def __init__(self, kernel, number: int, node: str):
        self.kernel = kernel
        self.number = number
        self.node = node
        self.devices: dict[int, NetDevice] = {}
        self.last_ifindex = 0
        self.local_addresses: set[int] = set()
        self.fib = Fib(self)
        self.ip_forward = False
        self.send_redirects = self.send_redirects_default = True
        self.pmtu = Pmtu()
        self.fragments: dict = {}
        self.udp_ports: set[int] = set()
        self.udp_sink = False
        self.ping_idents: dict[int, int] = {}  # of sockets that send just now, and their devices as below
        self.udp_senders: dict[int, int] = {}  # port -> the device the socket is bound to, or 0
        self.received: deque = deque(maxlen=RECEIVED_MAX)
        self.icmp_sk = Sock(self)
        self.mib = snmp_mib()
        self.peers: dict[int, InetPeer] = {}
        self._ip_id = 0
        self.loopback = loopback_setup()
        register_netdevice(self.loopback, self, "lo")
        core.dev_open(self.loopback)
        inet_insert_ifa(self.loopback, "127.0.0.1/8")

    def dev_new_index(self) -> int:
        """Return the next free ifindex; numbers are not used again."""
        self.last_ifindex += 1
        while self.last_ifindex in self.devices:
            self.last_ifindex += 1
        return self.last_ifindex

    def dev_get_by_index(self, ifindex: int) -> NetDevice:
        """Return a device; ENODEV if this namespace has none of that number."""
        dev = self.devices.get(ifindex)
        if dev is None:
            raise KernelError("ENODEV")
        return dev

    def is_local(self, address: int) -> bool:
        """True for an address of this namespace."""
        return address in self.local_addresses or address >> 24 == 127

    def next_ip_id(self) -> int:
        """Return an identification for the IP header, never 0."""
        self._ip_id = self._ip_id % 0xFFFF + 1
        return self._ip_id

    def route_add(self, text: str, dev: NetDevice | None, via: str) -> None:
        """Add a route; a gateway must be on the link of a device that is up (fib_check_nh)."""
        prefix, plen = parse_prefix(text)
        if prefix & ~mask(plen):
            raise KernelError("EINVAL", "Invalid prefix for given prefix length")
        gateway = aton(via) if via else 0
        if gateway:
            hop = self.fib.find(gateway, dev.ifindex if dev is not None else 0)
            if hop is None or hop.type not in (RTN_UNICAST, RTN_LOCAL) or hop.gateway:
                raise KernelError("ENETUNREACH", "Nexthop has invalid gateway")
            dev = hop.dev
        if dev is None:
            raise KernelError("ENODEV", "Device does not exist")
        if not dev.in_dev:
            raise KernelError("ENODEV")
        if not dev.up:
            raise KernelError("ENETDOWN", "Device for nexthop is not up")
        if any(r.prefix == prefix and r.plen == plen and r.type is RTN_UNICAST for r in self.fib):
            raise KernelError("EEXIST")
        where = "default" if plen == 0 else f"{ntoa(prefix)}/{plen}"
        how = f"{where} via {via} dev {dev.name}" if gateway else f"{where} dev {dev.name}"
        self.fib.insert(FibInfo(prefix, plen, RTN_UNICAST, dev, gateway, 0, how))

    def neigh_add(self, dev: NetDevice, text: str, ha: bytes) -> None:
        """Add a permanent neighbour, or change its hardware address."""
        if len(ha) != 6:
            raise KernelError("EINVAL", "Invalid link address")
        if not dev.in_dev:  # arp_constructor
            raise KernelError("EINVAL")
        neigh = dev.neighbours.setdefault(aton(text), Neighbour(None, dev=dev, address=aton(text)))
        neigh_update(neigh, ha, self.kernel.cpus[0], permanent=True)
