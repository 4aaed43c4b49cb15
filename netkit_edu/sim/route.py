"""Routes: the forwarding table and the two questions the stack asks of it.

Mirrors net/ipv4/fib_trie.c, fib_frontend.c and route.c, Linux 6.12. As in a Linux without policy rules, the local table
and the main table are one, so that one question is one `fib_table_lookup`. Longest prefix wins; the trie is a
dictionary for each prefix length.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from netkit_edu.errors import KernelError
from netkit_edu.journey import HopKind
from netkit_edu.sim.fnhe import FibNhException, find_exception
from netkit_edu.sim.inet import in_multicast, mask, ntoa

RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, RTN_UNREACHABLE = (
    "unicast", "local", "broadcast", "multicast", "unreachable",
)  # fmt: skip
INADDR_BROADCAST = 0xFFFFFFFF


@dataclass(frozen=True, eq=False)
class FibInfo:
    """One route: ``prefix``/``plen`` through ``dev``, by way of ``gateway`` (0: the destination is on the link).

    ``exceptions`` is what it has learnt of single destinations, by address.
    """

    prefix: int
    plen: int
    type: str
    dev: object
    gateway: int = 0
    prefsrc: int = 0
    text: str = ""
    exceptions: dict[int, FibNhException] = field(default_factory=dict)


class Rt:
    """A route decided for one packet (``struct rtable``, ``skb->dst``); ``saddr`` is the address to send from.

    ``iif`` is the device, by number, that has the address of this host which it leads to; 0 if it came in by one.
    ``doredirect`` says that its sender knows a shorter one (IPSKB_DOREDIRECT of the packet); ``pmtu``, ``mtu_locked``
    and ``expires`` are those of the exception that the route has for the destination.
    """

    __slots__ = ("dev", "type", "gateway", "saddr", "error", "iif", "doredirect", "pmtu", "mtu_locked", "expires")

    def __init__(self, dev, type, gateway=0, saddr=0, error=""):
        self.dev = dev
        self.type = type
        self.gateway = gateway
        self.saddr = saddr
        self.error = error
        self.iif, self.doredirect = 0, False
        self.pmtu, self.mtu_locked, self.expires = 0, False, 0

    def bind_exception(self, res: FibInfo, daddr: int) -> Rt:
        """Take over what the route is known to allow to this destination (rt_bind_exception); return itself."""
        fnhe = find_exception(res, daddr, res.dev.net.kernel.world.now) if res.exceptions else None
        if fnhe is not None:
            self.pmtu, self.mtu_locked, self.expires = fnhe.pmtu, fnhe.mtu_locked, fnhe.expires
        return self


class Fib:
    """The routes of one namespace."""

    def __init__(self, net):
        self.net = net
        self._tables: dict[int, dict[int, list[FibInfo]]] = {}
        self._lengths: list[tuple[int, int]] = []  # (prefix length, mask), longest first

    def __iter__(self):
        for table in self._tables.values():
            for routes in table.values():
                yield from routes

    def insert(self, route: FibInfo) -> None:
        """Add a route; EEXIST if there is one of the same type to the same prefix through the same device."""
        if route.plen not in self._tables:
            self._tables[route.plen] = {}
            self._lengths = [(n, mask(n)) for n in sorted(self._tables, reverse=True)]
        routes = self._tables[route.plen].setdefault(route.prefix, [])
        if any(r.type == route.type and r.dev is route.dev and r.gateway == route.gateway for r in routes):
            raise KernelError("EEXIST")
        routes.append(route)

    def remove(self, unwanted) -> None:
        """Remove every route for which ``unwanted(route)`` is true."""
        for table in self._tables.values():
            for prefix in list(table):
                kept = [route for route in table[prefix] if not unwanted(route)]
                if kept:
                    table[prefix] = kept
                else:
                    del table[prefix]

    def renamed(self, dev, old: str) -> None:
        """A device has another name now: its routes are shown with it."""
        for table in self._tables.values():
            for prefix, routes in table.items():
                table[prefix] = [
                    replace(r, text=r.text.replace(f"dev {old}", f"dev {dev.name}")) if r.dev is dev else r
                    for r in routes
                ]

    def find(self, daddr: int, oif: int = 0) -> FibInfo | None:
        """Return the route for ``daddr`` with the longest prefix, through device number ``oif`` if that is given."""
        for plen, netmask in self._lengths:
            routes = self._tables[plen].get(daddr & netmask)
            if routes:
                for route in routes:
                    if not oif or route.dev.ifindex == oif:
                        return route
        return None

    def add_ifaddr(self, dev, address: int, plen: int) -> None:
        """The routes that come with an address: itself, and while the device is up its subnet (fib_add_ifaddr)."""
        self._keep(FibInfo(address, 32, RTN_LOCAL, dev, prefsrc=address, text=f"local {ntoa(address)} dev {dev.name}"))
        if dev.up:
            self._connected(dev, address, plen)

    def device_up(self, dev) -> None:
        """The subnets of the device's addresses can be reached again; routes by way of a gateway do not come back."""
        for address, plen in dev.addresses:
            self._connected(dev, address, plen)

    def device_down(self, dev) -> None:
        """Routes through the device go, but its own addresses still answer (fib_disable_ip)."""
        self.remove(lambda route: route.dev is dev and route.type != RTN_LOCAL)

    def _connected(self, dev, address: int, plen: int) -> None:
        subnet = address & mask(plen)
        if plen < 31:
            last = subnet | ~mask(plen) & 0xFFFFFFFF
            self._keep(FibInfo(last, 32, RTN_BROADCAST, dev, 0, address, f"broadcast {ntoa(last)} dev {dev.name}"))
        if plen == 32:
            return
        kind = RTN_LOCAL if dev is self.net.loopback else RTN_UNICAST
        self._keep(FibInfo(subnet, plen, kind, dev, 0, address, f"{ntoa(subnet)}/{plen} dev {dev.name}"))

    def _keep(self, route: FibInfo) -> None:
        try:
            self.insert(route)
        except KernelError:
            pass  # two addresses of one subnet share its route


def fib_table_lookup(trace, net, daddr: int, where, oif: int = 0) -> FibInfo | None:
    """One look into the forwarding table."""
    route = net.fib.find(daddr, oif)
    trace.hop("fib_table_lookup", where, HopKind.LOOKUP, "no route" if route is None else route.text)
    return route


def inet_select_addr(net, dev, dst: int) -> int:
    """Return the address of ``dev`` to send from: that of the subnet of ``dst``, or its first, or any of the netns."""
    for address, plen in dev.addresses:
        if not dst or (address ^ dst) & mask(plen) == 0:
            return address
    if dev.addresses:
        return dev.addresses[0][0]
    return next((address for other in net.devices.values() for address, _ in other.addresses if other.up), 0)


def inet_addr_type(net, address: int) -> str:
    """Return what kind of address it is to this host, whichever device it belongs to: the local table says."""
    if address in (0, INADDR_BROADCAST):
        return RTN_BROADCAST
    if in_multicast(address):
        return RTN_MULTICAST
    route = net.fib.find(address)
    return route.type if route is not None and route.type in (RTN_LOCAL, RTN_BROADCAST) else RTN_UNICAST


def __ip_dev_find(net, address: int):
    """Return the device that has an address, up or down; None if there is none."""
    return next((dev for dev in net.devices.values() if any(address == own for own, _ in dev.addresses)), None)


def ip_route_output_flow(trace, net, daddr: int, saddr: int = 0, *, oif: int = 0, anysrc: bool = False) -> Rt:
    """Decide the way of a packet that starts here.

    Args:
        daddr, saddr: addresses as numbers; a ``saddr`` of 0 asks for one.
        oif: the device the socket is bound to, 0 for none.
        anysrc: the sender may use an address that is not its own.

    Raises:
        KernelError: ENETUNREACH without a route or from a foreign source address, EINVAL from one that is no host's,
            ENODEV for an unknown ``oif``.
    """
    trace.hop("ip_route_output_flow", net)
    return ip_route_output_key_hash(trace, net, daddr, saddr, oif=oif, anysrc=anysrc)


def ip_route_output_key_hash(trace, net, daddr: int, saddr: int = 0, *, oif: int = 0, anysrc: bool = False) -> Rt:
    """The decision itself, as `ip_route_output_flow`; errors the kernel sends back ask for it directly."""
    if saddr and (in_multicast(saddr) or saddr == INADDR_BROADCAST):
        raise KernelError("EINVAL")
    if saddr and not anysrc and not net.is_local(saddr):
        raise KernelError("ENETUNREACH")
    bound = None
    if oif:
        bound = net.dev_get_by_index(oif)
        if not (bound.up and bound.in_dev):
            raise KernelError("ENETUNREACH")
    daddr = daddr or saddr or 0x7F000001
    if saddr and bound is None and (daddr == INADDR_BROADCAST or in_multicast(daddr)):
        bound = __ip_dev_find(net, saddr)  # "user can direct multicasts and limited broadcast via necessary interface"
        if bound is None:
            raise KernelError("ENETUNREACH")
    if bound is not None and (daddr == INADDR_BROADCAST or in_multicast(daddr)):
        kind = RTN_BROADCAST if daddr == INADDR_BROADCAST else RTN_MULTICAST
        return Rt(bound, kind, 0, saddr or inet_select_addr(net, bound, 0))
    res = fib_table_lookup(trace, net, daddr, net, oif)
    if res is None:
        if bound is None:
            raise KernelError("ENETUNREACH")
        return Rt(bound, RTN_UNICAST, 0, saddr or inet_select_addr(net, bound, 0))
    if res.type is RTN_LOCAL:
        rt = Rt(net.loopback, RTN_LOCAL, 0, saddr or res.prefsrc or daddr)
        rt.iif = res.dev.ifindex
        return rt.bind_exception(res, daddr)
    if not res.dev.in_dev:  # __mkroute_output
        raise KernelError("EINVAL")
    kind = RTN_BROADCAST if daddr == INADDR_BROADCAST else RTN_MULTICAST if in_multicast(daddr) else res.type
    direct = daddr == INADDR_BROADCAST or (kind is RTN_MULTICAST and res.plen < 4)
    rt = Rt(res.dev, kind, 0 if direct else res.gateway)
    rt.saddr = saddr or res.prefsrc or inet_select_addr(net, res.dev, res.gateway)
    return rt if direct else rt.bind_exception(res, daddr)
