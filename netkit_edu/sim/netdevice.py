"""``NetDevice``: a device is its state and a table of function pointers, its ``net_device_ops``.

Mirrors include/linux/netdevice.h, drivers/net/dummy.c and drivers/net/loopback.c, Linux 6.12. A driver of your own is a
function that makes a `NetDevice` with a table of your own; the core (`dev.py`) calls it through that table and knows
nothing else of it. What ``ndo_start_xmit(skb, dev)`` does with the packet is the driver.

`Nic` stands for a physical card. Behind its wire lies another machine: the frame arrives there as an interrupt, after
everything here has come to rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.journey import FateKind, HopKind
from netkit_edu.sim import dev as core
from netkit_edu.sim.cpu import Cpu, Napi, napi_complete, napi_schedule
from netkit_edu.sim.ethtool import DUMMY_FEATURES, GSO_MAX_SIZE, TSO_LEGACY_MAX_SIZE
from netkit_edu.sim.skbuff import (
    CHECKSUM_NONE,
    alloc_skb,
    consume_skb,
    eth_type_trans,
    skb_checksum_help,
    skb_orphan,
)
from netkit_edu.sim.tcx import TcxEntry
from netkit_edu.uapi import IFF_BROADCAST, IFF_LOOPBACK, IFF_MULTICAST, IFF_NOARP, IFF_UP, NetXmit

ETH_MIN_MTU, ETH_MAX_MTU = 68, 65535  # bytes
ETHER_FLAGS = IFF_BROADCAST | IFF_MULTICAST


@dataclass(frozen=True)
class NetDeviceOps:
    """The driver's table of functions (``struct net_device_ops``); only the first is mandatory.

    ``ndo_start_xmit(skb, dev)`` returns a `NetXmit`; ``ndo_open(dev)`` and ``ndo_stop(dev)`` run when the device goes
    up and down; ``ndo_set_mac_address(dev, address)`` changes the address or raises; ``ndo_uninit(dev)`` runs when it
    is deleted; ``ndo_get_peer_dev(dev)`` returns the other end, for bpf_redirect_peer; ``ndo_change_mtu(dev, mtu)``
    hears of an MTU; ``ndo_add_slave(dev, port)`` and ``ndo_del_slave(dev, port)`` are those of a bridge.
    """

    ndo_start_xmit: Callable[[SkBuff, NetDevice], int]
    ndo_open: Callable[[NetDevice], None] | None = None
    ndo_stop: Callable[[NetDevice], None] | None = None
    ndo_set_mac_address: Callable[[NetDevice, bytes], None] | None = None
    ndo_uninit: Callable[[NetDevice], None] | None = None
    ndo_get_peer_dev: Callable[[NetDevice], NetDevice | None] | None = None
    ndo_change_mtu: Callable[[NetDevice, int], None] | None = None
    ndo_add_slave: Callable[[NetDevice, NetDevice], None] | None = None
    ndo_del_slave: Callable[[NetDevice, NetDevice], None] | None = None


class NetDevice:
    """One network device.

    Args:
        netdev_ops: the driver's functions.
        kind: what rtnetlink calls it ("veth").
        flags: IFF_* besides IFF_UP.
        dev_addr: 6 bytes.
        mtu, min_mtu, max_mtu: bytes; a max_mtu of 0 is no limit.
        qdisc: the queueing discipline it gets when it goes up; "noqueue" for devices that need none.
        priv: the driver's own data (netdev_priv).

    ``peer`` is what IFLA_LINK names: the other end of a pair, or None; ``master`` the bridge whose port it is.
    ``qdisc`` is the one packets meet, noop while there is no carrier; ``root_qdisc`` the one that rtnetlink shows,
    which stays. ``features`` are ethtool's names of what its driver has switched on, as far as they are known here.
    """

    def __init__(self, netdev_ops: NetDeviceOps, *, kind: str, flags: int = ETHER_FLAGS, dev_addr: bytes = bytes(6),
                 mtu: int = 1500, min_mtu: int = ETH_MIN_MTU, max_mtu: int = ETH_MAX_MTU, qdisc: str = "noqueue",
                 priv=None):  # fmt: skip
        self.netdev_ops = netdev_ops
        self.kind = kind
        self.flags = flags
        self.dev_addr = dev_addr
        self.mtu, self.min_mtu, self.max_mtu = mtu, min_mtu, max_mtu
        self.default_qdisc = qdisc
        self.qdisc = self.root_qdisc = core.NOOP
        self.priv = priv
        self.peer: NetDevice | None = None
        self.master: NetDevice | None = None
        self.rx_handler: Callable[[SkBuff], None] | None = None
        self.netns_immutable = False
        self.carrier = True
        self.tracks_carrier = False
        self.vlan_offload = True  # it takes VLAN tags beside the bytes (NETIF_F_HW_VLAN_CTAG_TX, _STAG_TX)
        self.gso = True  # it takes GSO packets whole (NETIF_F_GSO_SOFTWARE)
        self.features: frozenset[str] = frozenset()
        self.tso_max_size = TSO_LEGACY_MAX_SIZE
        self.num_tx_queues = self.num_rx_queues = 1
        self.net = None
        self.ifindex = 0
        self.node = self.label = self.path = ""
        self.in_dev = False  # it speaks IPv4
        self.send_redirects = True
        self.addresses: list = []
        self.neighbours: dict = {}
        self.taps: tuple = ()
        self.tcx_ingress, self.tcx_egress = TcxEntry(), TcxEntry()
        self.stats = dict.fromkeys(
            ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_dropped", "tx_dropped"), 0
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The device's name in its namespace."""
        return self.label

    def rename(self, net, name: str) -> None:
        """Give the device its namespace and name; hops and counters are labelled with both."""
        self.net, self.node, self.label = net, net.node, name
        self.path = f"{net.node}/{name}"

    @property
    def up(self) -> bool:
        """Administratively up (IFF_UP)."""
        return bool(self.flags & IFF_UP)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.path} ifindex {self.ifindex}>"


def dev_lstats_add(skb: SkBuff, dev: NetDevice, length: int) -> None:
    """Count a transmitted packet of ``length`` bytes."""
    core.dev_sw_netstats_tx_add(skb, dev, length)


# drivers/net/dummy.c ------------------------------------------------------------------------------------------------


def dummy_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Count the packet and free it: a device with nothing behind it."""
    dev_lstats_add(skb, dev, len(skb))
    skb.trace.end(FateKind.TRANSMITTED, dev)
    consume_skb(skb, dev)
    return NetXmit.SUCCESS


def eth_mac_addr(dev: NetDevice, address: bytes) -> None:
    """Set the device's address; EADDRNOTAVAIL for one that no interface may have (net/ethernet/eth.c)."""
    if not is_valid_ether_addr(address):
        raise KernelError("EADDRNOTAVAIL")
    dev.dev_addr = address


def is_valid_ether_addr(address: bytes) -> bool:
    """True for an address of one interface: not multicast, not all zero."""
    return not address[0] & 1 and any(address)


DUMMY_OPS = NetDeviceOps(ndo_start_xmit=dummy_xmit, ndo_set_mac_address=eth_mac_addr)


def dummy_setup(dev_addr: bytes) -> NetDevice:
    """Make a dummy device."""
    flags = IFF_BROADCAST | IFF_NOARP
    dev = NetDevice(DUMMY_OPS, kind="dummy", flags=flags, dev_addr=dev_addr, min_mtu=0, max_mtu=0)
    dev.features, dev.vlan_offload = DUMMY_FEATURES, False
    return dev


# drivers/net/loopback.c ---------------------------------------------------------------------------------------------


def loopback_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Turn a packet that leaves into one that arrives: orphan it, keep its route, queue it to the backlog."""
    skb.tstamp = 0
    skb_orphan(skb, dev)
    skb.protocol = eth_type_trans(skb, dev)
    length = len(skb)  # without the Ethernet header, unlike every other device
    if core.__netif_rx(skb) == core.NET_RX_SUCCESS:
        core.dev_sw_netstats_tx_add(skb, dev, length)
        core.dev_sw_netstats_rx_add(skb, dev, length)
    return NetXmit.SUCCESS


LOOPBACK_OPS = NetDeviceOps(ndo_start_xmit=loopback_xmit, ndo_set_mac_address=eth_mac_addr)


def loopback_setup() -> NetDevice:
    """Make the loopback device of a namespace."""
    dev = NetDevice(LOOPBACK_OPS, kind="loopback", flags=IFF_LOOPBACK, mtu=65536, min_mtu=0, max_mtu=0)
    dev.tso_max_size, dev.netns_immutable, dev.vlan_offload = GSO_MAX_SIZE, True, False
    return dev


# a card with a wire -------------------------------------------------------------------------------------------------


class NicPriv:
    """A card's own data: the card at the other end of its wire, if any, and the frames it has received."""

    def __init__(self, dev: NetDevice):
        self.wire: NetDevice | None = None
        self.ring: deque = deque()
        self.napi = Napi(partial(nic_poll, dev))


def nic_poll(dev: NetDevice, cpu: Cpu, quota: int) -> int:
    """Take up to ``quota`` frames off the receive ring and hand them to the stack, in softirq."""
    ring, work = dev.priv.ring, 0
    while ring and work < quota:
        skb = alloc_skb(*ring.popleft())
        skb.dev = dev
        cpu.take(skb)
        skb.trace.hop("nic_poll", dev)
        core.dev_sw_netstats_rx_add(skb, dev, len(skb))
        skb.protocol = eth_type_trans(skb, dev)
        skb.trace.hop("napi_gro_receive", dev)
        core.__netif_receive_skb(skb)
        work += 1
    if not ring:
        napi_complete(dev.priv.napi)
    return work


def nic_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Put the frame on the wire; the card fills in a checksum that was left to it."""
    trace, priv = skb.trace, dev.priv
    if skb.ip_summed != CHECKSUM_NONE:
        skb_checksum_help(skb)
    length = len(skb)
    core.dev_sw_netstats_tx_add(skb, dev, length)
    frame = skb.bytes
    if priv.wire is None:
        trace.end(FateKind.TRANSMITTED, dev)
    consume_skb(skb, dev)
    if priv.wire is not None:
        trace.hop("wire", dev, HopKind.WIRE, f"to {priv.wire.path}", {"length": length})
        priv.wire.priv.ring.append((trace, frame))
        dev.net.kernel.interrupts.append(priv.wire)
    return NetXmit.SUCCESS


def nic_interrupt(cpu: Cpu, dev: NetDevice) -> None:
    """A frame has arrived: the card asks to be polled."""
    napi_schedule(cpu, dev.priv.napi)


def nic_open(dev: NetDevice) -> None:
    """The carrier is there when the card at the other end is up too; a card without a wire always has it."""
    wire = dev.priv.wire
    if wire is None or wire.up:
        core.netif_carrier_on(dev)
    if wire is not None and wire.up:
        core.netif_carrier_on(wire)


def nic_stop(dev: NetDevice) -> None:
    """A card that goes down takes the carrier from both."""
    core.netif_carrier_off(dev)
    if dev.priv.wire is not None:
        core.netif_carrier_off(dev.priv.wire)


def nic_uninit(dev: NetDevice) -> None:
    """Cut the wire; the other card stays."""
    if dev.priv.wire is not None:
        dev.priv.wire.priv.wire = None
        dev.priv.wire = None


NIC_OPS = NetDeviceOps(
    ndo_start_xmit=nic_xmit,
    ndo_open=nic_open,
    ndo_stop=nic_stop,
    ndo_set_mac_address=eth_mac_addr,
    ndo_uninit=nic_uninit,
)


def nic_setup(dev_addr: bytes) -> NetDevice:
    """Make a card without a wire."""
    dev = NetDevice(NIC_OPS, kind="nic", dev_addr=dev_addr, qdisc="pfifo_fast")
    dev.gso = False
    dev.priv = NicPriv(dev)
    dev.carrier, dev.tracks_carrier = False, True
    return dev


def nic_connect(one: NetDevice, other: NetDevice) -> None:
    """Lay a wire between two cards."""
    one.priv.wire, other.priv.wire = other, one
