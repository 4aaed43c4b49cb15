"""A bridge: Ethernet devices joined into one network, which is a device of this host as well.

Mirrors net/bridge (br_if.c, br_device.c, br_input.c, br_forward.c, br_fdb.c, br_stp.c), Linux 6.12, as far as a bridge
without VLANs and without the spanning tree protocol goes, which is how Linux makes one.

Deviation: learnt addresses do not age, since packets take no time, and nobody snoops for multicast groups: such frames
go to every port, as in Linux while no querier is about.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.sim import dev as core
from netkit_edu.sim.fnhe import fib_sync_mtu
from netkit_edu.sim.netdevice import NetDevice, NetDeviceOps, is_valid_ether_addr
from netkit_edu.sim.rtnetlink import (
    LinkAttrs,
    register_netdevice,
    rtnl_create_link,
    unregister_netdevice,
    validate_address,
)
from netkit_edu.sim.skbuff import HOST, kfree_skb_reason, skb_clone
from netkit_edu.uapi import ETH_HLEN, IFF_LOOPBACK, NETDEV_TX_OK

ETH_DATA_LEN = 1500  # bytes
_GROUP = 1  # the bit in the first byte of an address that is not one station's


class NetBridge:
    """The driver's data (``struct net_bridge``).

    ``ports`` are in the order in which they came; ``forwarding`` are those that are up, with a carrier, on a bridge
    that is up; ``fdb`` says behind which port an address was seen last.
    """

    def __init__(self):
        self.ports: list[NetDevice] = []
        self.forwarding: list[NetDevice] = []
        self.fdb: dict[bytes, NetDevice] = {}
        self.addr_set = self.mtu_set = False


# frames from a port ---------------------------------------------------------------------------------------------------


def br_handle_frame(skb: SkBuff) -> None:
    """What a port receives is the bridge's: the function that takes it before any protocol does."""
    port = skb.dev
    bridge = port.master
    skb.trace.hop("br_handle_frame", port)
    source, dest = _addresses(skb)
    if not is_valid_ether_addr(source):
        return kfree_skb_reason(skb, "NOT_SPECIFIED", port, "no station has such a source address")
    if port not in bridge.priv.forwarding:
        return kfree_skb_reason(skb, "NOT_SPECIFIED", port, "the bridge is down")
    if dest == bridge.dev_addr:
        skb.pkt_type = HOST
    br_handle_frame_finish(skb, bridge, source, dest)


def br_handle_frame_finish(skb: SkBuff, bridge: NetDevice, source: bytes, dest: bytes) -> None:
    """Learn where the sender is; forward to where the receiver is, or everywhere, and up if this host is meant."""
    br = bridge.priv
    skb.trace.hop("br_handle_frame_finish", skb.dev)
    if not _is_local(bridge, source):
        br.fdb[source] = skb.dev
    if _is_local(bridge, dest):
        return br_pass_frame_up(skb, bridge)
    local_rcv = bool(dest[0] & _GROUP)
    if dest in br.fdb:
        return br_forward(br.fdb[dest], skb, bridge)
    br_flood(skb, bridge, local_rcv=local_rcv)
    if local_rcv:
        br_pass_frame_up(skb, bridge)


def br_pass_frame_up(skb: SkBuff, bridge: NetDevice) -> None:
    """The bridge itself receives the frame, as a device of this host."""
    skb.trace.hop("br_pass_frame_up", bridge)
    core.dev_sw_netstats_rx_add(skb, bridge, len(skb))
    skb.dev = bridge
    core.netif_receive_skb(skb)


def br_forward(to: NetDevice, skb: SkBuff, bridge: NetDevice) -> None:
    """Send out by one port, but not by the one it came from."""
    skb.trace.hop("br_forward", bridge)
    if _should_deliver(to, skb, bridge):
        return __br_forward(to, skb)
    kfree_skb_reason(skb, "NOT_SPECIFIED", bridge, f"nothing to forward: it is behind {to.name}")


def br_flood(skb: SkBuff, bridge: NetDevice, *, local_rcv: bool) -> None:
    """Send out by every port but its own; with ``local_rcv`` the packet itself stays for this host."""
    skb.trace.hop("br_flood", bridge)
    ports = [port for port in bridge.priv.ports if _should_deliver(port, skb, bridge)]
    for port in ports if local_rcv else ports[:-1]:
        __br_forward(port, skb_clone(skb))
    if ports and not local_rcv:
        return __br_forward(ports[-1], skb)
    if not local_rcv:
        kfree_skb_reason(skb, "NOT_SPECIFIED", bridge, "no port to send it to")


def __br_forward(to: NetDevice, skb: SkBuff) -> None:
    """The frame leaves by this port."""
    skb.trace.hop("__br_forward", to)
    skb.dev = to
    skb.tstamp = 0
    br_dev_queue_push_xmit(skb)


def br_dev_queue_push_xmit(skb: SkBuff) -> None:
    """Put the Ethernet header on again and transmit, unless it is longer than the port takes."""
    skb.push(ETH_HLEN)
    skb.trace.hop("br_dev_queue_push_xmit", skb.dev)
    if not core.is_skb_forwardable(skb.dev, skb):
        return kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "longer than the port's MTU")
    core.__dev_queue_xmit(skb)


# frames from this host ------------------------------------------------------------------------------------------------


def br_dev_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """This host sends through the bridge: by the port where the receiver is, or by all."""
    core.dev_sw_netstats_tx_add(skb, dev, len(skb))
    skb.mac_header = skb.data
    skb.pull(ETH_HLEN)
    _, dest = _addresses(skb)
    if dest in dev.priv.fdb and not dest[0] & _GROUP:
        br_forward(dev.priv.fdb[dest], skb, dev)
    else:
        br_flood(skb, dev, local_rcv=False)
    return NETDEV_TX_OK


# ports ----------------------------------------------------------------------------------------------------------------


def br_add_if(bridge: NetDevice, dev: NetDevice) -> None:
    """Make a device a port (IFLA_MASTER).

    Raises:
        KernelError: EINVAL for one without a station's address, such as netkit's in L3 mode; ELOOP for a bridge.
    """
    if dev.flags & IFF_LOOPBACK or not is_valid_ether_addr(dev.dev_addr):
        raise KernelError("EINVAL")
    if dev.netdev_ops is BRIDGE_OPS:
        raise KernelError("ELOOP", "Can not enslave a bridge to a bridge")
    dev.master, dev.rx_handler = bridge, br_handle_frame
    bridge.priv.ports.append(dev)
    br_stp_recalculate_bridge_id(bridge)
    br_port_carrier_check(dev)
    br_mtu_auto_adjust(bridge)


def br_del_if(bridge: NetDevice, dev: NetDevice) -> None:
    """A port is one no longer; what was learnt behind it is forgotten."""
    _disable(dev)
    bridge.priv.ports.remove(dev)
    dev.master = dev.rx_handler = None
    br_mtu_auto_adjust(bridge)
    br_stp_recalculate_bridge_id(bridge)


def br_port_carrier_check(dev: NetDevice) -> None:
    """A port takes part while it is up and has a carrier, and the bridge is up."""
    br = dev.master.priv
    if dev.up and dev.carrier and dev.master.up:
        if dev not in br.forwarding:
            br.forwarding.append(dev)
            br_port_state_selection(dev.master)
    elif dev in br.forwarding:
        _disable(dev)


def br_port_state_selection(bridge: NetDevice) -> None:
    """A bridge has a carrier while one of its ports takes part."""
    bridge.tracks_carrier = bridge.tracks_carrier or not bridge.priv.forwarding
    (core.netif_carrier_on if bridge.priv.forwarding else core.netif_carrier_off)(bridge)


def br_stp_recalculate_bridge_id(bridge: NetDevice) -> None:
    """Unless somebody chose one, a bridge has the lowest of its ports' addresses, and without ports none."""
    address = min((port.dev_addr for port in bridge.priv.ports), default=bytes(6))
    if not bridge.priv.addr_set and address != bridge.dev_addr:
        bridge.dev_addr = address
        bridge.neighbours.clear()
        br_port_state_selection(bridge)


def br_mtu_auto_adjust(bridge: NetDevice) -> None:
    """Unless somebody chose one, a bridge has the least of its ports' MTUs."""
    if not bridge.priv.mtu_set:
        orig, bridge.mtu = bridge.mtu, min((port.mtu for port in bridge.priv.ports), default=ETH_DATA_LEN)
        fib_sync_mtu(bridge.net.fib, bridge, orig)


def br_device_event(event: str, dev: NetDevice) -> None:
    """What happens to a port concerns its bridge; when a bridge comes up, so do its ports that are ready."""
    if dev.netdev_ops is BRIDGE_OPS and event == "UP":
        for port in dev.priv.ports:
            br_port_carrier_check(port)
    elif dev.master is None:
        return
    elif event in ("UP", "DOWN", "CHANGE"):
        br_port_carrier_check(dev)
    elif event == "CHANGEMTU":
        br_mtu_auto_adjust(dev.master)
    elif event == "CHANGEADDR":
        br_stp_recalculate_bridge_id(dev.master)
    elif event == "UNREGISTER":
        br_del_if(dev.master, dev)


# the bridge as a device -----------------------------------------------------------------------------------------------


def br_dev_stop(dev: NetDevice) -> None:
    """No port takes part any more."""
    for port in list(dev.priv.forwarding):
        _disable(port)


def br_set_mac_address(dev: NetDevice, address: bytes) -> None:
    """Choose the address, which the ports do not change from now on; EADDRNOTAVAIL for one that is no station's."""
    if not is_valid_ether_addr(address):
        raise KernelError("EADDRNOTAVAIL")
    dev.dev_addr, dev.priv.addr_set = address, True


def br_change_mtu(dev: NetDevice, mtu: int) -> None:
    """Choose the MTU, which the ports do not change from now on."""
    dev.mtu, dev.priv.mtu_set = mtu, True


BRIDGE_OPS = NetDeviceOps(
    ndo_start_xmit=br_dev_xmit,
    ndo_stop=br_dev_stop,
    ndo_set_mac_address=br_set_mac_address,
    ndo_change_mtu=br_change_mtu,
    ndo_add_slave=br_add_if,
    ndo_del_slave=br_del_if,
)


def br_dev_newlink(kernel, tb: LinkAttrs, peer_tb, data) -> NetDevice:
    """Create a bridge without ports."""
    validate_address(tb)
    dev = NetDevice(BRIDGE_OPS, kind="bridge", dev_addr=kernel.eth_random_addr(), priv=NetBridge())
    rtnl_create_link(dev, tb)
    dev.priv.addr_set, dev.netns_immutable = tb.mac is not None, True
    register_netdevice(dev, tb.net, tb.name or "bridge%d", tb.ifindex)
    return dev


def br_dev_delete(dev: NetDevice) -> None:
    """Delete the bridge; its ports are free again."""
    for port in list(dev.priv.ports):
        br_del_if(dev, port)
    unregister_netdevice(dev)


def _addresses(skb: SkBuff) -> tuple[bytes, bytes]:
    at = skb.mac_header
    return bytes(skb.buf[at + 6 : at + 12]), bytes(skb.buf[at : at + 6])


def _is_local(bridge: NetDevice, address: bytes) -> bool:
    """True for the address of the bridge or of a port (BR_FDB_LOCAL)."""
    return address == bridge.dev_addr or any(address == port.dev_addr for port in bridge.priv.ports)


def _should_deliver(to: NetDevice, skb: SkBuff, bridge: NetDevice) -> bool:
    return to is not skb.dev and to in bridge.priv.forwarding


def _disable(dev: NetDevice) -> None:
    br = dev.master.priv
    br.fdb = {address: port for address, port in br.fdb.items() if port is not dev}
    if dev in br.forwarding:
        br.forwarding.remove(dev)
        br_port_state_selection(dev.master)


core.NETDEV_CHAIN.append(br_device_event)
