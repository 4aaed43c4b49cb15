"""Kinds of devices: what makes one of each (``rtnl_link_ops``), and what takes it away again.

Mirrors the tables of net/core/rtnetlink.c and dummy_newlink's part of it, Linux 6.12. A card is no kind that rtnetlink
could make: here it stands for one that is plugged in.
"""

from __future__ import annotations

from netkit_edu.errors import KernelError, UsageError
from netkit_edu.sim.bridge import br_dev_delete, br_dev_newlink
from netkit_edu.sim.netdevice import NetDevice, dummy_setup, nic_connect, nic_setup
from netkit_edu.sim.netkit import netkit_del_link, netkit_new_link
from netkit_edu.sim.rtnetlink import (
    LinkAttrs,
    register_netdevice,
    rtnl_create_link,
    unregister_netdevice,
    validate_address,
)
from netkit_edu.sim.veth import veth_dellink, veth_newlink, veth_validate


def dummy_newlink(kernel, tb: LinkAttrs, peer_tb, data) -> NetDevice:
    """Create a dummy device."""
    validate_address(tb)
    dev = dummy_setup(kernel.eth_random_addr())
    rtnl_create_link(dev, tb)
    register_netdevice(dev, tb.net, tb.name or "dummy%d", tb.ifindex)
    return dev


def nic_newlink(kernel, tb: LinkAttrs, peer_tb: LinkAttrs | None, data) -> NetDevice:
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


NEWLINK = {
    "veth": veth_newlink, "netkit": netkit_new_link, "dummy": dummy_newlink, "bridge": br_dev_newlink,
    "nic": nic_newlink,
}  # fmt: skip
VALIDATE = {"veth": veth_validate}  # of the others it is `validate_address`
DELLINK = {"veth": veth_dellink, "netkit": netkit_del_link, "bridge": br_dev_delete}
