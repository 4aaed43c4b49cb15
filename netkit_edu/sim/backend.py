"""``SimBackend``: the small Linux of this room behind the Protocol that every backend fulfils."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netkit_edu.backend import Chain, LinkInfo, LinkStats, Received, SendRequest
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.journey import Journey
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.sim import dev as core
from netkit_edu.sim import netkit
from netkit_edu.sim.filter import BpfProg
from netkit_edu.sim.inet import ntoa
from netkit_edu.sim.kernel import Kernel
from netkit_edu.sim.mprog import BPF_F_MPROG, MprogEntry
from netkit_edu.sim.netdevice import NetDevice, dummy_setup, nic_connect, nic_setup
from netkit_edu.sim.netns import Netns
from netkit_edu.sim.rtnetlink import (
    LinkAttrs,
    dev_validate_mtu,
    parse_mac,
    register_netdevice,
    rtnl_create_link,
    unregister_netdevice,
    validate_address,
)
from netkit_edu.sim.veth import veth_dellink, veth_newlink
from netkit_edu.uapi import (
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_NETKIT_PEER,
    BPF_NETKIT_PRIMARY,
    BPF_TCX_EGRESS,
    BPF_TCX_INGRESS,
    IF_OPER_DOWN,
    IF_OPER_LOWERLAYERDOWN,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_LOWER_UP,
    IFF_RUNNING,
)

_NETKIT_INFO = frozenset({"mode", "policy", "peer_policy", "scrub", "peer_scrub", "primary", "peer_info"})
_NETKIT_NEWER = frozenset({"headroom", "tailroom", "pairing"})  # Linux 6.12 ignores attributes it does not know


class SimBackend:
    """A simulated Linux 6.12 of ``cpus`` CPUs, with room for ``backlog`` packets in the backlog of each."""

    name = "sim"
    kernel = "6.12"

    def __init__(self, cpus: int = 1, backlog: int = 1000):
        if cpus < 1 or backlog < 0:
            raise UsageError("a machine has at least one CPU, and a backlog is a number of packets")
        self._kernel = Kernel(cpus, backlog)
        self._maps: dict[int, object] = {}
        self._progs: dict[int, BpfProg] = {}
        self._taps: dict[int, tuple[NetDevice, list]] = {}
        self._last_id = 0

    def close(self) -> None:
        """Forget everything; a second call does nothing."""
        for table in (self._kernel.namespaces, self._maps, self._progs, self._taps):
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
        """Set net.ipv4.ip_forward or net.core.netdev_max_backlog; ENOENT for any other."""
        net = self._net(ns)
        if key == "net.ipv4.ip_forward":
            net.ip_forward = bool(value)
        elif key == "net.core.netdev_max_backlog":
            self._kernel.netdev_max_backlog = value
        else:
            raise KernelError("ENOENT", hint=f"the simulator has no sysctl {key!r}")

    # rtnetlink --------------------------------------------------------------------------------------------------------

    def link_add(self, ns: int, kind: str, name: str, *, peer_ns: int | None = None, peer: Mapping | None = None,
                 attrs: Mapping | None = None, info: Mapping | None = None) -> int:  # fmt: skip
        """Create a device or a pair; return its ifindex, the primary's for a pair."""
        net = self._net(ns)
        tb = _link_attrs(net, {"name": name, **(attrs or {})})
        peer_tb = None
        if peer is not None or peer_ns is not None:
            peer_tb = _link_attrs(net if peer_ns is None else self._net(peer_ns), peer or {})
        make = {"veth": veth_newlink, "netkit": netkit.netkit_new_link, "dummy": _dummy_newlink, "nic": _nic_newlink}
        if kind not in make:
            raise KernelError("EOPNOTSUPP", "Unknown device type")
        if tb.ifindex in net.devices:
            raise KernelError("EEXIST")
        return make[kind](self._kernel, tb, peer_tb, _info(kind, info)).ifindex

    def link_set(self, ns: int, ifindex: int, *, up: bool | None = None, mtu: int | None = None,
                 mac: str | None = None, info: Mapping | None = None) -> None:  # fmt: skip
        """Change a device: first the attributes of its kind, then address, MTU and state."""
        dev = self._dev(ns, ifindex)
        if info is not None:
            if dev.kind != "netkit":
                raise KernelError("EOPNOTSUPP")
            netkit.netkit_change_link(dev, _info(dev.kind, info))
        if mac is not None:
            _set_mac_address(dev, parse_mac(mac))
        if mtu is not None:
            dev_validate_mtu(dev, mtu)
            dev.mtu = mtu
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
        )

    def links(self, ns: int) -> Sequence[LinkInfo]:
        """Return every device of a namespace in the order of ifindexes."""
        return [self.link_get(ns, ifindex) for ifindex in sorted(self._net(ns).devices)]

    def addr_add(self, ns: int, ifindex: int, address: str) -> None:
        """Give a device an IPv4 address with its prefix length."""
        self._net(ns).addr_add(self._dev(ns, ifindex), address)

    def route_add(self, ns: int, prefix: str, *, ifindex: int = 0, via: str = "") -> None:
        """Add a route; ``prefix`` may be "default"."""
        self._net(ns).route_add(prefix, self._dev(ns, ifindex) if ifindex else None, via)

    def neigh_add(self, ns: int, ifindex: int, address: str, mac: str) -> None:
        """Add a permanent neighbour."""
        self._net(ns).neigh_add(self._dev(ns, ifindex), address, parse_mac(mac))

    # bpf(2) -----------------------------------------------------------------------------------------------------------

    def map_create(self, spec: MapSpec) -> int:
        """Create a map; return its number."""
        from netkit_edu.engine import maps

        return self._keep(self._maps, maps.create(spec))

    def map_lookup(self, number: int, key: bytes) -> bytes | None:
        """Return a copy of the value, None if the key is absent."""
        return self._map(number).lookup(key)

    def map_update(self, number: int, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value."""
        self._map(number).update(key, value, flags)

    def map_delete(self, number: int, key: bytes) -> None:
        """Delete an entry."""
        self._map(number).delete(key)

    def map_keys(self, number: int) -> list[bytes]:
        """Return all keys."""
        return list(self._map(number).keys())

    def prog_load(self, code: ProgramCode, maps: Mapping[str, int]) -> int:
        """Load a program with the maps its relocations name; return its id."""
        from netkit_edu.engine import interpreter

        executable = interpreter.load(code, {name: self._map(number) for name, number in maps.items()})
        number = self._keep(self._progs, None)
        self._progs[number] = BpfProg(number, code.name, executable)
        return number

    def prog_attach(self, ns: int, ifindex: int, attach_type: int, prog_id: int, *, flags: int = 0, replace: int = 0,
                    relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Attach a program, acting from namespace ``ns``; ``replace`` and ``relative`` are ids."""
        _check_attach(attach_type, flags)
        prog = self._prog(prog_id)
        net = self._net(ns)
        netkit.netkit_dev_fetch(net, ifindex, attach_type)
        netkit.netkit_prog_attach(
            net, ifindex, attach_type, MprogEntry(prog), flags=flags,
            relative=lambda: self._relative(flags, relative),
            replace=self._prog(replace) if flags & BPF_F_REPLACE else None,
            expected_revision=expected_revision,
        )  # fmt: skip

    def prog_detach(self, ns: int, ifindex: int, attach_type: int, prog_id: int = 0, *, flags: int = 0,
                    relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Detach a program; without ``prog_id`` the one that ``flags`` and ``relative`` point at, or the last."""
        _check_attach(attach_type, flags)
        netkit.netkit_prog_detach(
            self._net(ns), ifindex, attach_type, self._prog(prog_id) if prog_id else None, flags=flags,
            relative=lambda: self._relative(flags, relative), expected_revision=expected_revision,
        )  # fmt: skip

    def prog_query(self, ns: int, ifindex: int, attach_type: int) -> Chain:
        """Return a hook's revision and programs."""
        _check_attach(attach_type, 0)
        return netkit.netkit_prog_query(self._net(ns), ifindex, attach_type)

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

    def _map(self, number: int):
        return self._get(self._maps, number)

    def _prog(self, number: int) -> BpfProg:
        return self._get(self._progs, number)

    def _get(self, table: dict, number: int):
        if number not in table:
            raise KernelError("EBADF")
        return table[number]

    def _keep(self, table: dict, thing) -> int:
        self._last_id += 1
        table[self._last_id] = thing
        return self._last_id

    def _relative(self, flags: int, number: int) -> MprogEntry | None:
        """Find what BEFORE and AFTER refer to (bpf_mprog_tuple_relative); there are no links to refer to."""
        if flags & BPF_F_LINK:
            raise KernelError("ENOENT" if flags & BPF_F_ID else "EBADF" if number else "EINVAL")
        if flags & BPF_F_ID:
            if number not in self._progs:
                raise KernelError("ENOENT")
        elif not number:
            return None
        return MprogEntry(self._prog(number))


def _check_attach(attach_type: int, flags: int) -> None:
    if attach_type in (BPF_TCX_INGRESS, BPF_TCX_EGRESS):
        raise KernelError("EOPNOTSUPP", hint="the simulator has no tcx hooks")
    if attach_type not in (BPF_NETKIT_PRIMARY, BPF_NETKIT_PEER):
        raise KernelError("EINVAL")
    if flags & ~BPF_F_MPROG:
        raise KernelError("EINVAL")


def _link_attrs(net: Netns, given: Mapping) -> LinkAttrs:
    unknown = given.keys() - {"name", "mtu", "mac", "ifindex", "qdisc"}
    if unknown:
        raise UsageError(f"no link attribute {', '.join(sorted(unknown))}; there are name, mtu, mac, ifindex, qdisc")
    mac = given.get("mac")
    return LinkAttrs(
        net=net,
        name=given.get("name") or "",
        mtu=given.get("mtu"),
        mac=parse_mac(mac) if mac else None,
        ifindex=given.get("ifindex") or 0,
        qdisc=given.get("qdisc") or "",
    )


def _info(kind: str, info: Mapping | None) -> dict[str, int]:
    given = dict(info or {})
    known = _NETKIT_INFO if kind == "netkit" else frozenset()
    unknown = given.keys() - known - (_NETKIT_NEWER if kind == "netkit" else frozenset())
    if unknown:
        raise UsageError(f"a {kind} device has no attribute {', '.join(sorted(unknown))}")
    return {key: value for key, value in given.items() if key in known}


def _dummy_newlink(kernel: Kernel, tb: LinkAttrs, peer_tb, data) -> NetDevice:
    validate_address(tb)
    dev = dummy_setup(kernel.eth_random_addr())
    rtnl_create_link(dev, tb)
    register_netdevice(dev, tb.net, tb.name or "dummy%d", tb.ifindex)
    return dev


def _nic_newlink(kernel: Kernel, tb: LinkAttrs, peer_tb: LinkAttrs | None, data) -> NetDevice:
    """One card, or two with a wire between them."""
    ends = []
    try:
        for attrs in (tb, peer_tb):
            if attrs is not None:
                validate_address(attrs)
                dev = nic_setup(kernel.eth_random_addr())
                rtnl_create_link(dev, attrs)
                register_netdevice(dev, attrs.net, attrs.name or "eth%d", attrs.ifindex)
                ends.append(dev)
    except (KernelError, UsageError):
        for dev in ends:
            unregister_netdevice(dev)
        raise
    if peer_tb is not None:
        nic_connect(*ends)
    return ends[0]


def _dellink(dev: NetDevice) -> None:
    {"veth": veth_dellink, "netkit": netkit.netkit_del_link}.get(dev.kind, unregister_netdevice)(dev)


def _set_mac_address(dev: NetDevice, address: bytes) -> None:
    """Change the address (dev_set_mac_address); headers made with the old one are forgotten."""
    if dev.netdev_ops.ndo_set_mac_address is None:
        raise KernelError("EOPNOTSUPP")
    if len(address) != 6:
        raise KernelError("EINVAL")
    dev.netdev_ops.ndo_set_mac_address(dev, address)
    dev.neighbours = {ip: neigh for ip, neigh in dev.neighbours.items() if neigh.permanent}
    for neigh in dev.neighbours.values():
        neigh.hh = None


def _operstate(dev: NetDevice) -> int:
    if not dev.up:
        return IF_OPER_DOWN
    if not dev.tracks_carrier:
        return IF_OPER_UNKNOWN
    if dev.carrier:
        return IF_OPER_UP
    return IF_OPER_LOWERLAYERDOWN if dev.peer is not None else IF_OPER_DOWN
