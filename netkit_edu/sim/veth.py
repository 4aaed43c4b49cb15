"""veth: a pair of devices; what one transmits, the other receives.

Mirrors drivers/net/veth.c, Linux 6.12, without NAPI and XDP.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.sim import dev as core
from netkit_edu.sim.ethtool import GSO_MAX_SIZE, NUM_QUEUES_MAX, VETH_FEATURES
from netkit_edu.sim.netdevice import ETH_MAX_MTU, ETH_MIN_MTU, NetDevice, NetDeviceOps, eth_mac_addr
from netkit_edu.sim.rtnetlink import (
    LinkAttrs,
    register_netdevice,
    rtnl_create_link,
    rtnl_link_get_net,
    unregister_netdevice,
    validate_address,
)
from netkit_edu.sim.skbuff import kfree_skb_reason
from netkit_edu.uapi import ETH_HLEN, NetXmit


class VethPriv:
    """The driver's data: the other end."""

    __slots__ = ("peer",)

    def __init__(self):
        self.peer: NetDevice | None = None


def veth_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Hand the packet to the other end; its receive counters are this end's transmit counters."""
    rcv = dev.priv.peer
    length = len(skb)
    if rcv is None or length < ETH_HLEN:
        kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "no other end" if rcv is None else "shorter than its header")
    elif veth_forward_skb(rcv, skb) == core.NET_RX_SUCCESS:
        core.dev_sw_netstats_tx_add(skb, dev, length)
        core.dev_sw_netstats_rx_add(skb, rcv, length)
        return NetXmit.SUCCESS
    core.dev_core_stats_tx_dropped_inc(skb, dev)
    return NetXmit.DROP


def veth_forward_skb(dev: NetDevice, skb: SkBuff) -> int:
    """Make the packet one that ``dev`` received, and queue it there."""
    rc = core.__dev_forward_skb(dev, skb)
    return rc if rc != core.NET_RX_SUCCESS else core.__netif_rx(skb)


def veth_open(dev: NetDevice) -> None:
    """Both ends get their carrier when both are up."""
    peer = dev.priv.peer
    if peer is None:
        raise KernelError("ENOTCONN")
    if peer.up:
        core.netif_carrier_on(dev)
        core.netif_carrier_on(peer)


def veth_close(dev: NetDevice) -> None:
    """An end that goes down takes the carrier from both."""
    core.netif_carrier_off(dev)
    if dev.priv.peer is not None:
        core.netif_carrier_off(dev.priv.peer)


def veth_peer_dev(dev: NetDevice) -> NetDevice | None:
    """Return the other end."""
    return dev.priv.peer


VETH_OPS = NetDeviceOps(
    ndo_start_xmit=veth_xmit,
    ndo_open=veth_open,
    ndo_stop=veth_close,
    ndo_set_mac_address=eth_mac_addr,
    ndo_get_peer_dev=veth_peer_dev,
)


def veth_setup(kernel) -> NetDevice:
    """Make one end, without carrier, with an address of its own."""
    dev = NetDevice(VETH_OPS, kind="veth", dev_addr=kernel.eth_random_addr(), priv=VethPriv())
    dev.carrier, dev.tracks_carrier = False, True
    dev.features, dev.tso_max_size = VETH_FEATURES, GSO_MAX_SIZE
    dev.num_tx_queues = dev.num_rx_queues = min(len(kernel.cpus), NUM_QUEUES_MAX)  # veth_get_num_queues
    return dev


def veth_validate(tb: LinkAttrs) -> None:
    """An address and an MTU that a veth device can have; of the MTU it says no more than EINVAL."""
    validate_address(tb)
    if tb.mtu is not None and not ETH_MIN_MTU <= tb.mtu <= ETH_MAX_MTU:
        raise KernelError("EINVAL")


def veth_newlink(kernel, tb: LinkAttrs, peer_tb: LinkAttrs | None, data) -> NetDevice:
    """Create a pair; the other end is registered first."""
    tbp = peer_tb or tb.inherited()
    veth_validate(tb)
    veth_validate(tbp)
    peer_net = rtnl_link_get_net(tbp)
    peer, dev = veth_setup(kernel), veth_setup(kernel)
    rtnl_create_link(dev, tb)
    rtnl_create_link(peer, tbp)
    register_netdevice(peer, peer_net, tbp.name or "veth%d", tbp.ifindex if tb.ifindex else 0)
    try:
        register_netdevice(dev, tb.net, tb.name or "veth%d", tb.ifindex)
    except KernelError:
        unregister_netdevice(peer)
        raise
    dev.priv.peer = dev.peer = peer
    peer.priv.peer = peer.peer = dev
    return dev


def veth_dellink(dev: NetDevice) -> None:
    """Delete the pair, whichever end was named."""
    peer, dev.priv.peer = dev.priv.peer, None
    unregister_netdevice(dev)
    if peer is not None:
        peer.priv.peer = None
        unregister_netdevice(peer)
