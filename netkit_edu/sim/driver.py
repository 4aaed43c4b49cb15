"""``NetDevice`` for drivers of one's own: a class with an ``ndo_start_xmit`` is a driver, and a pair of it a veth.

The contract is that of include/linux/netdevice.h, Linux 6.12: the core gives the driver a packet, and with it the duty
to hand it on or to free it, and to say NETDEV_TX_OK. What a driver does wrong ends the sending with a `DriverFault`;
the machine is at rest afterwards and goes on.

    class Wire(nk.NetDevice):
        def ndo_start_xmit(self, skb):
            skb.dev = self.peer
            self.netif_rx(skb)
            return nk.NETDEV_TX_OK

    pod = lab.pod("toy", device=Wire)

In C a driver is functions and a table that names them. That can be said too, with the kernel's own arguments:

    def wire_xmit(skb, dev): ...

    class Wire(nk.NetDevice):
        net_device_ops = nk.net_device_ops(ndo_start_xmit=wire_xmit)
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import DriverFault, KernelError, ProgramFault, UsageError
from netkit_edu.journey import FateKind
from netkit_edu.sim import dev as core
from netkit_edu.sim import netdevice
from netkit_edu.sim.dev import __dev_queue_xmit as dev_queue_xmit
from netkit_edu.sim.netdevice import NetDeviceOps, eth_mac_addr
from netkit_edu.sim.rtnetlink import register_netdevice, rtnl_create_link, unregister_netdevice, validate_address
from netkit_edu.sim.skbuff import consume_skb, eth_type_trans, kfree_skb_reason, skb_scrub_packet
from netkit_edu.uapi import ETH_HLEN, NETDEV_TX_BUSY, NETDEV_TX_OK, NetXmit

OPS = ("ndo_init", "ndo_open", "ndo_stop", "ndo_start_xmit")


def net_device_ops(**functions: Callable) -> Table:
    """Return a driver's table of functions, for the class attribute ``net_device_ops``.

    Args:
        functions: ``ndo_start_xmit(skb, dev)``, and as far as the driver has them ``ndo_init(dev)``, ``ndo_open(dev)``
            and ``ndo_stop(dev)``; what is left out is `NetDevice`'s own.

    Raises:
        UsageError: no such entry, or no function.
    """
    for name, function in functions.items():
        if name not in OPS:
            raise UsageError(f"a driver's table has {', '.join(OPS)}, and no {name}")
        if not callable(function):
            raise UsageError(f"{name} is to be a function, not {function!r}")
    return Table(functions)


class Table(dict):
    """What `net_device_ops` made: functions by the names of their entries."""

    def __repr__(self) -> str:
        return "".join(f".{name} = {function.__name__},\n" for name, function in self.items()).rstrip()


class NetDevice(netdevice.NetDevice):
    """A device whose driver is the methods of a subclass; ``peer`` is the other end, of the same class.

    A subclass defines ``ndo_start_xmit(self, skb)``, and may define ``ndo_open(self)`` and ``ndo_stop(self)``, which by
    default give and take the carrier as veth does, and ``ndo_init(self)``, for what it keeps in ``self``. Or it names
    functions of that kind in a table of its own, ``net_device_ops``.
    """

    def __init_subclass__(cls, **how) -> None:
        super().__init_subclass__(**how)
        table = cls.__dict__.get("net_device_ops")
        if table is None:
            return
        if not isinstance(table, Table):
            raise UsageError(f"{cls.__name__}.net_device_ops is made with nk.net_device_ops(ndo_start_xmit=...)")
        for name, function in table.items():
            if name in cls.__dict__:
                raise UsageError(f"{cls.__name__} has {name} twice: in its table, and as a method")
            setattr(cls, name, _packet_first(function) if name == "ndo_start_xmit" else function)

    def __init__(self, kernel):
        ops = NetDeviceOps(
            ndo_start_xmit=_checked_xmit(type(self)),
            ndo_open=type(self).ndo_open,
            ndo_stop=type(self).ndo_stop,
            ndo_set_mac_address=eth_mac_addr,
        )
        super().__init__(ops, kind=type(self).__name__, dev_addr=kernel.eth_random_addr())
        self.carrier, self.tracks_carrier = False, True
        self._handed: dict[int, SkBuff] = {}
        self.ndo_init()

    def ndo_init(self) -> None:
        """Nothing to prepare."""

    def ndo_open(self) -> None:
        """Both ends get their carrier when both are up."""
        if self.peer is None:
            raise KernelError("ENOTCONN")
        if self.peer.up:
            core.netif_carrier_on(self)
            core.netif_carrier_on(self.peer)

    def ndo_stop(self) -> None:
        """An end that goes down takes the carrier from both."""
        core.netif_carrier_off(self)
        if self.peer is not None:
            core.netif_carrier_off(self.peer)

    # what a driver calls ----------------------------------------------------------------------------------------------

    def netif_rx(self, skb: SkBuff) -> int:
        """Hand a packet on, as received by ``skb.dev``; return 0, or 1 if it was dropped because the backlog is full.

        What still has its Ethernet header is made ready for the receiver first (`__dev_forward_skb` without its
        checks): what must not follow it is taken off, and then its header, which says what it is and for whom.
        """
        self._hand_on(skb)
        receiver = skb.dev
        if not isinstance(receiver, netdevice.NetDevice):
            raise DriverFault(f"{self.kind}: skb.dev is {receiver!r}: before netif_rx it is to be the receiving device")
        if skb.data == skb.mac_header:
            skb_scrub_packet(skb, receiver.net is not self.net)
            skb.priority = 0
            skb.protocol = eth_type_trans(skb, receiver)
        return core.netif_rx(skb)

    def skb_scrub_packet(self, skb: SkBuff, xnet: bool) -> None:
        """Take off what must not follow a packet to another device; with ``xnet``, to another namespace.

        The route it had, for one; with ``xnet`` also its mark.
        """
        skb_scrub_packet(self._own(skb), xnet)

    def eth_type_trans(self, skb: SkBuff, dev: NetDevice) -> int:
        """Take the Ethernet header off a frame that ``dev`` receives, which becomes ``skb.dev``; return its ethertype.

        Whether it is meant for ``dev`` is noted in ``skb.pkt_type``; the ethertype is for ``skb.protocol``.
        """
        if not isinstance(dev, netdevice.NetDevice):
            raise DriverFault(f"{self.kind}: eth_type_trans is told which device receives, self.peer, not {dev!r}")
        if len(self._own(skb)) < ETH_HLEN:
            raise DriverFault(
                f"{self.kind}: eth_type_trans needs the Ethernet header on, and {len(skb)} bytes are left"
            )
        return eth_type_trans(skb, dev)

    def dev_queue_xmit(self, skb: SkBuff) -> int:
        """Hand a packet on to be transmitted by ``skb.dev``, which is another device."""
        self._hand_on(skb)
        return dev_queue_xmit(skb)

    def kfree_skb(self, skb: SkBuff, words: str = "the driver dropped it") -> None:
        """Free a packet that goes no further; ``words`` say why in its journey."""
        self._hand_on(skb)
        kfree_skb_reason(skb, "NOT_SPECIFIED", self, words)

    def consume_skb(self, skb: SkBuff) -> None:
        """Free a packet that has done its work: what was to be sent is sent."""
        self._hand_on(skb)
        skb.trace.end(FateKind.TRANSMITTED, self)
        consume_skb(skb, self)

    def dev_sw_netstats_tx_add(self, skb: SkBuff, length: int) -> None:
        """Count a packet of ``length`` bytes that this device transmitted."""
        core.dev_sw_netstats_tx_add(skb, self, length)

    def dev_sw_netstats_rx_add(self, skb: SkBuff, length: int) -> None:
        """Count a packet of ``length`` bytes that this device received."""
        core.dev_sw_netstats_rx_add(skb, self, length)

    def dev_core_stats_tx_dropped_inc(self, skb: SkBuff) -> None:
        """Count a packet that this device could not transmit."""
        core.dev_core_stats_tx_dropped_inc(skb, self)

    def _own(self, skb: SkBuff) -> SkBuff:
        if not isinstance(skb, SkBuff):
            raise DriverFault(f"{self.kind}: a packet is meant, the skb that ndo_start_xmit was given, not {skb!r}")
        return skb

    def _hand_on(self, skb: SkBuff) -> None:
        self._own(skb)
        if id(skb) in self._handed:
            raise DriverFault(f"{self.kind}: one packet was handed on or freed twice: it is not the driver's any more")
        self._handed[id(skb)] = skb


def _packet_first(function: Callable) -> Callable:
    """Return a function with the kernel's arguments, the packet first, as a method."""

    @functools.wraps(function)
    def method(self, skb):
        return function(skb, self)

    return method


def _checked_xmit(cls: type[NetDevice]):
    """Return the driver's transmit function as the core calls it, under its own name, its contract checked."""
    function = cls.__dict__.get("ndo_start_xmit") or getattr(cls, "ndo_start_xmit", None)
    name = function.__qualname__.rpartition("<locals>.")[2]

    def xmit(skb: SkBuff, dev: NetDevice) -> int:
        outer, dev._handed = dev._handed, {}
        kernel = dev.net.kernel
        kernel.driver_budget -= 1
        try:
            if kernel.driver_budget < 0:
                raise DriverFault(f"{name} was called again and again for one packet: does it answer itself?")
            rc = _run(function, name, dev, skb)
            _check_result(rc, name, id(skb) in dev._handed)
        finally:
            dev._handed = outer
        return rc

    xmit.__name__ = name
    return xmit


def _run(function, name: str, dev: NetDevice, skb: SkBuff):
    """Call the driver; its own exceptions become a `DriverFault` that names its line."""
    try:
        return function(dev, skb)
    except (DriverFault, ProgramFault):
        raise
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        where = f" (line {line.lineno}: {line.line})" if line.line else ""
        raise DriverFault(f"{name} raised {type(error).__name__}: {error}{where}") from error


def _check_result(rc, name: str, handed: bool) -> None:
    if rc is None:
        raise DriverFault(f"{name} returned None: say return NETDEV_TX_OK")
    if isinstance(rc, bool) or not isinstance(rc, int) or rc not in (NETDEV_TX_OK, *NetXmit, NETDEV_TX_BUSY):
        raise DriverFault(f"{name} returned {rc!r}: a driver says NETDEV_TX_OK, or NET_XMIT_DROP for what it freed")
    if rc == NETDEV_TX_BUSY:
        raise DriverFault(f"{name} returned NETDEV_TX_BUSY: this device has no queue that could try again")
    if not handed:
        raise DriverFault(f"{name} left its packet lying: hand it on with netif_rx, or free it with kfree_skb")


def driver_kind(cls) -> str:
    """Return what rtnetlink is to call a learner's driver; `UsageError` unless it is one."""
    if not isinstance(cls, type) or not issubclass(cls, NetDevice):
        raise UsageError(f"a driver is a class made with class MyDriver(nk.NetDevice), not {cls!r}")
    if not callable(getattr(cls, "ndo_start_xmit", None)):
        raise UsageError(f"{cls.__name__} has no ndo_start_xmit(self, skb): without it a device sends nothing")
    return cls.__name__


def driver_newlink(cls: type[NetDevice], kernel, tb, peer_tb) -> NetDevice:
    """Create a pair of a learner's devices, all or nothing; the other end is registered first."""
    tbp = peer_tb or tb.inherited()
    validate_address(tb)
    validate_address(tbp)
    peer, dev = cls(kernel), cls(kernel)
    rtnl_create_link(dev, tb)
    rtnl_create_link(peer, tbp)
    register_netdevice(peer, tbp.net, tbp.name or "toy%d", tbp.ifindex if tb.ifindex else 0)
    try:
        register_netdevice(dev, tb.net, tb.name or "toy%d", tb.ifindex)
    except KernelError:
        unregister_netdevice(peer)
        raise
    dev.peer, peer.peer = peer, dev
    return dev


def driver_dellink(dev: NetDevice) -> None:
    """Delete the pair, whichever end was named."""
    peer, dev.peer = dev.peer, None
    unregister_netdevice(dev)
    if peer is not None:
        peer.peer = None
        unregister_netdevice(peer)
