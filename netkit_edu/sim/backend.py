"""``SimBackend``: the small Linux of this room behind the Protocol that every backend fulfils."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netkit_edu.backend import Ethtool, LinkInfo, LinkStats, Received, SendRequest, SoftnetStat
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.journey import Journey
from netkit_edu.sim import dev as core
from netkit_edu.sim import netkit
from netkit_edu.sim.devinet import inet_insert_ifa
from netkit_edu.sim.driver import NetDevice as DriverDevice
from netkit_edu.sim.driver import driver_dellink, driver_kind, driver_newlink
from netkit_edu.sim.inet import ntoa
from netkit_edu.sim.kernel import Kernel
from netkit_edu.sim.message import rtnl_newlink
from netkit_edu.sim.netdevice import NetDevice
from netkit_edu.sim.netns import Netns
from netkit_edu.sim.newlink import DELLINK, NEWLINK, VALIDATE
from netkit_edu.sim.rtnetlink import (
    LinkAttrs,
    check_newlink,
    do_setlink,
    parse_mac,
    unregister_netdevice,
    validate_address,
)
from netkit_edu.sim.syscall import BpfCalls
from netkit_edu.sim.sysctl import set_sysctl
from netkit_edu.uapi import (
    IF_OPER_DOWN,
    IF_OPER_LOWERLAYERDOWN,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_LOWER_UP,
    IFF_RUNNING,
)

_NETKIT_INFO = frozenset({"mode", "policy", "peer_policy", "scrub", "peer_scrub", "primary", "peer_info"})
_LINK_ATTRS = ("name", "mtu", "mac", "ifindex", "qdisc", "num_tx_queues", "num_rx_queues")
_NETKIT_NEWER = frozenset({"headroom", "tailroom", "pairing"})  # Linux 6.12 ignores attributes it does not know


class SimBackend(BpfCalls):
    """A simulated Linux 6.12 of ``cpus`` CPUs, with room for ``backlog`` packets in the backlog of each."""

    name = "sim"
    kernel = "6.12"

    def __init__(self, cpus: int = 1, backlog: int = 1000):
        if cpus < 1 or backlog < 0:
            raise UsageError("a machine has at least one CPU, and a backlog is a number of packets")
        super().__init__()
        self._kernel = Kernel(cpus, backlog)
        self._drivers: dict[str, type] = {}
        self._taps: dict[int, tuple[NetDevice, list]] = {}

    def close(self) -> None:
        """Forget everything; a second call does nothing."""
        for table in (self._kernel.namespaces, self._maps, self._progs, self._links, self._taps):
            table.clear()

    # namespaces -------------------------------------------------------------------------------------------------------

    def netns_add(self, name: str) -> int:
        """Create a namespace with its loopback device up; return its number."""
        return self._kernel.new_netns(name).number

    def netns_del(self, ns: int) -> None:
        """Remove a namespace and its devices; of a pair, both ends."""
        net = self._net(ns)
        for dev in list(net.devices.values()):
            if dev.ifindex in net.devices:
                _dellink(dev)
        del self._kernel.namespaces[ns]

    def sysctl(self, ns: int, key: str, value: int) -> None:
        """Set a sysctl of the namespace, or one that the machine has once; ENOENT for one that is not here."""
        set_sysctl(self._net(ns), key, value)

    def snmp(self, ns: int) -> Mapping[str, int]:
        """Return a copy of the namespace's counters."""
        return dict(self._net(ns).mib)

    def softnet_stat(self) -> Sequence[SoftnetStat]:
        """Return each CPU's counters."""
        return [SoftnetStat(cpu.processed, cpu.dropped) for cpu in self._kernel.cpus]

    # rtnetlink --------------------------------------------------------------------------------------------------------

    def link_add(self, ns: int, kind: str, name: str, *, peer_ns: int | None = None, peer: Mapping | None = None,
                 attrs: Mapping | None = None, info: Mapping | None = None) -> int:  # fmt: skip
        """Create a device or a pair; return its ifindex, the primary's for a pair."""
        net = self._net(ns)
        tb = _link_attrs(net, {"name": name, **(attrs or {})})
        peer_tb = None
        if peer is not None or peer_ns is not None:
            peer_tb = _link_attrs(net if peer_ns is None else self._net(peer_ns), peer or {})
        if kind not in NEWLINK and kind not in self._drivers:
            raise KernelError("EOPNOTSUPP", "Unknown device type")
        data = _info(kind, info)
        if kind == "netkit":
            netkit.netkit_validate(data)
        check_newlink(net, tb, VALIDATE.get(kind, validate_address))
        if kind in self._drivers:
            return driver_newlink(self._drivers[kind], self._kernel, tb, peer_tb).ifindex
        return NEWLINK[kind](self._kernel, tb, peer_tb, data).ifindex

    def driver_add(self, cls: type) -> str:
        """Take a learner's driver in (rtnl_link_register); return the kind under which `link_add` makes its pairs."""
        kind = driver_kind(cls)
        if kind in NEWLINK:
            raise UsageError(f"there is a driver {kind!r} already: call the class something else")
        self._drivers[kind] = cls
        return kind

    def link_set(self, ns: int, ifindex: int, *, up: bool | None = None, mtu: int | None = None,
                 mac: str | None = None, info: Mapping | None = None, name: str = "",
                 netns: int | None = None, master: int | None = None) -> None:  # fmt: skip
        """Change a device: first the attributes of its kind, then namespace, address, MTU, name, bridge and state."""
        dev = self._dev(ns, ifindex)
        if info is not None:
            if dev.kind != "netkit":
                raise KernelError("EOPNOTSUPP")
            netkit.netkit_change_link(dev, _info(dev.kind, info))
        net = dev.net if netns is None else self._net(netns)
        do_setlink(dev, LinkAttrs(net, name, mtu, None if mac is None else parse_mac(mac), master=master))
        if up is not None:
            (core.dev_open if up else core.dev_close)(dev)

    def link_del(self, ns: int, ifindex: int) -> None:
        """Delete a device; a pair goes whole."""
        dev = self._dev(ns, ifindex)
        if dev is dev.net.loopback:
            raise KernelError("EOPNOTSUPP")
        _dellink(dev)

    def link_get(self, ns: int, ifindex: int) -> LinkInfo:
        """Return what the kernel says of a device."""
        dev = self._dev(ns, ifindex)
        flags = dev.flags | ((IFF_RUNNING | IFF_LOWER_UP) if dev.up and dev.carrier else 0)
        peer = dev.peer
        return LinkInfo(
            ifindex=dev.ifindex,
            name=dev.name,
            kind=dev.kind,
            flags=flags,
            mtu=dev.mtu,
            mac=dev.dev_addr.hex(":"),
            operstate=_operstate(dev),
            carrier=dev.carrier,
            qdisc=dev.root_qdisc.id,
            peer=peer.ifindex if peer is not None else 0,
            peer_netns=peer.net.number if peer is not None and peer.net is not dev.net else -1,
            info=netkit.netkit_fill_info(dev) if dev.kind == "netkit" else {},
            addresses=tuple(f"{ntoa(address)}/{plen}" for address, plen in dev.addresses),
            stats=LinkStats(**dev.stats),
            min_mtu=dev.min_mtu,
            max_mtu=dev.max_mtu,
            num_tx_queues=dev.num_tx_queues,
            num_rx_queues=dev.num_rx_queues,
            tso_max_size=dev.tso_max_size,
            master=dev.master.ifindex if dev.master is not None else 0,
        )

    def links(self, ns: int) -> Sequence[LinkInfo]:
        """Return every device of a namespace in the order of ifindexes."""
        return [self.link_get(ns, ifindex) for ifindex in sorted(self._net(ns).devices)]

    def ethtool(self, ns: int, ifindex: int) -> Ethtool:
        """Return the driver's name and features."""
        dev = self._dev(ns, ifindex)
        return Ethtool(dev.kind, dev.features)

    def raw_newlink(self, ns: int, kind: str, *, create: bool, ifindex: int = 0, attrs: Mapping[int, bytes],
                    data: Mapping[int, bytes] | None, capable: bool = True) -> int:  # fmt: skip
        """Read a message's attributes as they are, and create or change a netkit device."""
        if not capable:
            raise KernelError("EPERM")  # rtnetlink_rcv_msg, before the message is read
        net = self._net(ns)
        return rtnl_newlink(
            self._kernel, net, kind, create=create, ifindex=ifindex, attrs=attrs, data=data
        ).ifindex  # fmt: skip

    def addr_add(self, ns: int, ifindex: int, address: str) -> None:
        """Give a device an IPv4 address with its prefix length."""
        inet_insert_ifa(self._dev(ns, ifindex), address)

    def route_add(self, ns: int, prefix: str, *, ifindex: int = 0, via: str = "") -> None:
        """Add a route; ``prefix`` may be "default"."""
        self._net(ns).route_add(prefix, self._dev(ns, ifindex) if ifindex else None, via)

    def neigh_add(self, ns: int, ifindex: int, address: str, mac: str) -> None:
        """Add a permanent neighbour."""
        self._net(ns).neigh_add(self._dev(ns, ifindex), address, parse_mac(mac))

    # sockets ----------------------------------------------------------------------------------------------------------

    def listen(self, ns: int, *, udp: int) -> None:
        """Open a UDP socket on this port; EADDRINUSE if there is one. Port 0 takes what comes for any port (a sink)."""
        net = self._net(ns)
        if not 0 <= udp <= 0xFFFF:
            raise UsageError(f"{udp} is not a port: 1 to 65535, or 0 for all")
        if udp in net.udp_ports or (udp == 0 and net.udp_sink):
            raise KernelError("EADDRINUSE")
        if udp:
            net.udp_ports.add(udp)
        else:
            net.udp_sink = True

    def received(self, ns: int) -> list[Received]:
        """Return what the namespace's sockets have received so far, in order (the last 65536)."""
        return list(self._net(ns).received)

    def send(self, ns: int, request: SendRequest) -> Journey:
        """Send one packet and return what happened to it."""
        return self._kernel.send(self._net(ns), request)[0].journey(self.name)

    def send_many(self, ns: int, request: SendRequest, n: int) -> Sequence[Journey]:
        """Send ``n`` packets before any softirq runs: a burst, as from a sender that itself runs in softirq."""
        return [trace.journey(self.name) for trace in self._kernel.send(self._net(ns), request, n)]

    def capture_start(self, ns: int, ifindex: int) -> int:
        """Listen on a device as tcpdump does; return a number for `captured` and `capture_stop`."""
        dev = self._dev(ns, ifindex)
        frames: list[core.Captured] = []
        dev.taps += (frames,)
        return self._keep(self._taps, (dev, frames))

    def captured(self, number: int) -> list[core.Captured]:
        """Return the frames seen so far: (direction, bytes from the Ethernet header). EBADF after `capture_stop`."""
        return list(self._get(self._taps, number)[1])

    def capture_stop(self, number: int) -> None:
        """Stop listening."""
        dev, frames = self._get(self._taps, number)
        dev.taps = tuple(tap for tap in dev.taps if tap is not frames)
        del self._taps[number]

    # numbers ----------------------------------------------------------------------------------------------------------

    def _net(self, ns: int) -> Netns:
        return self._get(self._kernel.namespaces, ns)

    def _dev(self, ns: int, ifindex: int) -> NetDevice:
        return self._net(ns).dev_get_by_index(ifindex)

    def _get(self, table: dict, number: int):
        if number not in table:
            raise KernelError("EBADF")
        return table[number]


def _link_attrs(net: Netns, given: Mapping) -> LinkAttrs:
    unknown = given.keys() - set(_LINK_ATTRS)
    if unknown:
        raise UsageError(f"no link attribute {', '.join(sorted(unknown))}; there are {', '.join(_LINK_ATTRS)}")
    mac = given.get("mac")
    return LinkAttrs(
        net=net,
        name=given.get("name") or "",
        mtu=given.get("mtu"),
        mac=parse_mac(mac) if mac else None,
        ifindex=given.get("ifindex") or 0,
        qdisc=given.get("qdisc") or "",
        num_tx_queues=given.get("num_tx_queues"),
        num_rx_queues=given.get("num_rx_queues"),
    )


def _info(kind: str, info: Mapping | None) -> dict[str, int]:
    given = dict(info or {})
    known = _NETKIT_INFO if kind == "netkit" else frozenset()
    unknown = given.keys() - known - (_NETKIT_NEWER if kind == "netkit" else frozenset())
    if unknown:
        raise UsageError(f"a {kind} device has no attribute {', '.join(sorted(unknown))}")
    return {key: value for key, value in given.items() if key in known}


def _dellink(dev: NetDevice) -> None:
    if isinstance(dev, DriverDevice):
        return driver_dellink(dev)
    DELLINK.get(dev.kind, unregister_netdevice)(dev)


def _operstate(dev: NetDevice) -> int:
    """What default_operstate finds (net/core/link_watch.c): it looks for the other end by its number, but at home."""
    if not dev.up:
        return IF_OPER_DOWN
    if not dev.tracks_carrier:
        return IF_OPER_UNKNOWN
    if dev.carrier:
        return IF_OPER_UP
    found = dev.net.devices.get(dev.peer.ifindex) if dev.peer is not None else None
    return IF_OPER_DOWN if found is None or found is dev or found.carrier else IF_OPER_LOWERLAYERDOWN
