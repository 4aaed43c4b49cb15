"""Making, finding and deleting devices.

Mirrors net/core/rtnetlink.c and the registration part of net/core/dev.c, Linux 6.12.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from netkit_edu.arguments import IFNAMSIZ, mac_address
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.sim import dev as core
from netkit_edu.sim.ethtool import NUM_QUEUES_MAX
from netkit_edu.sim.fnhe import fib_sync_mtu
from netkit_edu.sim.netdevice import NetDevice, is_valid_ether_addr
from netkit_edu.sim.tcx import dev_tcx_uninstall

ETH_ALEN = 6


@dataclass(frozen=True)
class LinkAttrs:
    """The ordinary attributes of one new device (IFLA_*); None or 0 or "" where the message has none.

    ``net`` is the namespace that the device is to be in; a text is the errno of one that cannot be found.
    """

    net: object
    name: str = ""
    mtu: int | None = None
    mac: bytes | None = None
    ifindex: int = 0
    qdisc: str = ""
    num_tx_queues: int | None = None
    num_rx_queues: int | None = None
    master: int | None = None

    def inherited(self) -> LinkAttrs:
        """What the other end takes over where the message does not mention it: all but name, number and address."""
        return replace(self, name="", ifindex=0, mac=None)


def parse_mac(text: str) -> bytes:
    """Return the bytes of "02:00:00:00:00:01"; UsageError unless it is hexadecimal bytes with colons."""
    return bytes(int(part, 16) for part in mac_address(text).split(":"))


def validate_address(tb: LinkAttrs) -> None:
    """What a driver checks of a MAC address before creating a device with it."""
    if tb.mac is None:
        return
    if len(tb.mac) != ETH_ALEN:
        raise KernelError("EINVAL")
    if not is_valid_ether_addr(tb.mac):
        raise KernelError("EADDRNOTAVAIL")


def check_ifindex(ifindex: int) -> None:
    """What `__rtnl_newlink` says of a device's number once it has read the ordinary attributes."""
    if ifindex < 0:
        raise KernelError("EINVAL", "ifindex can't be negative")


def check_newlink(net, tb: LinkAttrs, validate: Callable[[LinkAttrs], None]) -> None:
    """What rtnetlink looks at before it makes a device: what its kind says of the message, then whether it is there.

    A device is looked for in ``net``, the caller's namespace, by its number if one is given, else by its name.

    Args:
        validate: the kind's own (``rtnl_link_ops.validate``).
    """
    check_ifindex(tb.ifindex)
    validate(tb)
    if tb.ifindex in net.devices or (not tb.ifindex and any(dev.name == tb.name for dev in net.devices.values())):
        raise KernelError("EEXIST")


def rtnl_link_get_net(tb: LinkAttrs):
    """Return the namespace that a message names: EBADF for a bad descriptor, ESRCH for a process that is not there."""
    if isinstance(tb.net, str):
        raise KernelError(tb.net)
    return tb.net


def rtnl_create_link(dev: NetDevice, tb: LinkAttrs) -> None:
    """Give a new device what the message asks for; it has no name and no place yet."""
    for way, given in (("transmit", tb.num_tx_queues), ("receive", tb.num_rx_queues)):
        if given is not None and not 1 <= given <= NUM_QUEUES_MAX:
            raise KernelError("EINVAL", f"Invalid number of {way} queues")
    dev.num_tx_queues, dev.num_rx_queues = tb.num_tx_queues or dev.num_tx_queues, tb.num_rx_queues or dev.num_rx_queues
    if tb.mtu is not None:
        dev_validate_mtu(dev, tb.mtu)
        dev.mtu = tb.mtu
    if tb.mac is not None:
        dev.dev_addr = tb.mac
    if tb.qdisc:
        if tb.qdisc not in core.QDISCS:
            raise UsageError(f"no qdisc {tb.qdisc!r}; there are {', '.join(core.QDISCS)}")
        dev.default_qdisc = tb.qdisc


def dev_validate_mtu(dev: NetDevice, mtu: int) -> None:
    """An MTU within the device's limits, in bytes."""
    if mtu < 0 or mtu < dev.min_mtu:
        raise KernelError("EINVAL", "mtu less than device minimum")
    if dev.max_mtu and mtu > dev.max_mtu:
        raise KernelError("EINVAL", "mtu greater than device maximum")


def dev_valid_name(name: str) -> bool:
    """True for a name Linux takes: 1 to 15 bytes, no slash, colon or white space, neither "." nor ".."."""
    return (
        0 < len(name.encode()) < IFNAMSIZ
        and name not in (".", "..")
        and not any(c in "/:" or c.isspace() for c in name)
    )


def dev_get_valid_name(net, name: str) -> str:
    """Return the name a new device gets; a pattern such as "nk%d" takes the first number that is free."""
    if len(name.encode()) >= IFNAMSIZ:
        raise KernelError("ERANGE", "Attribute failed policy validation", f"{name!r} is longer than 15 bytes")
    if not dev_valid_name(name) or "%" in name and (name.count("%") > 1 or "%d" not in name):
        raise KernelError("EINVAL", hint=f"{name!r} is no name for a device")
    taken = {dev.name for dev in net.devices.values()}
    if "%d" in name:
        return next(n for i in range(len(taken) + 1) if (n := name.replace("%d", str(i), 1)) not in taken)
    if name in taken:
        raise KernelError("EEXIST")
    return name


def register_netdevice(dev: NetDevice, net, name: str, ifindex: int = 0) -> None:
    """Give the device a name and a number in ``net``; EEXIST for a name, EBUSY for a number that is taken."""
    name = dev_get_valid_name(net, name)
    if ifindex < 0:
        raise KernelError("EINVAL")
    if ifindex in net.devices:
        raise KernelError("EBUSY")
    dev.ifindex = ifindex or net.dev_new_index()
    net.devices[dev.ifindex] = dev
    dev.rename(net, name)
    core.call_netdevice_notifiers("REGISTER", dev)


def unregister_netdevice(dev: NetDevice) -> None:
    """Take a device out of its namespace, with its addresses and routes."""
    core.dev_close(dev)
    core.call_netdevice_notifiers("UNREGISTER", dev)
    dev.net.devices.pop(dev.ifindex, None)
    dev_tcx_uninstall(dev)
    if dev.netdev_ops.ndo_uninit is not None:
        dev.netdev_ops.ndo_uninit(dev)


def dev_change_net_namespace(dev: NetDevice, net, pat: str = "") -> None:
    """Move a device to another namespace; it goes down and loses its addresses, but keeps programs and counters.

    It keeps its number, too, unless that is taken there.

    Args:
        pat: the name it is to have there; by default its own.

    Raises:
        KernelError: EINVAL for the loopback or a bridge, EEXIST if the name is taken there.
    """
    if dev.netns_immutable:
        raise KernelError("EINVAL", "The interface netns is immutable")
    if net is dev.net:
        return
    name = dev_get_valid_name(net, pat or dev.name)
    core.dev_close(dev)
    core.call_netdevice_notifiers("UNREGISTER", dev)
    dev.net.devices.pop(dev.ifindex, None)
    dev.taps = ()
    if dev.ifindex in net.devices:
        dev.ifindex = net.dev_new_index()
    net.devices[dev.ifindex] = dev
    dev.rename(net, name)
    core.call_netdevice_notifiers("REGISTER", dev)


def dev_change_name(dev: NetDevice, name: str) -> None:
    """Give a device another name, up or down; EEXIST if it is taken."""
    if name == dev.name:
        return
    old, name = dev.name, dev_get_valid_name(dev.net, name)
    dev.rename(dev.net, name)
    dev.net.fib.renamed(dev, old)


def dev_set_mac_address(dev: NetDevice, address: bytes) -> None:
    """Change the address; all neighbours are forgotten (neigh_changeaddr)."""
    if dev.netdev_ops.ndo_set_mac_address is None:
        raise KernelError("EOPNOTSUPP")
    if len(address) != ETH_ALEN:
        raise KernelError("EINVAL")
    if address != dev.dev_addr:
        dev.netdev_ops.ndo_set_mac_address(dev, address)
    dev.neighbours.clear()
    core.call_netdevice_notifiers("CHANGEADDR", dev)


def dev_set_mtu(dev: NetDevice, mtu: int) -> None:
    """Change the MTU, in bytes."""
    if mtu == dev.mtu:
        return
    dev_validate_mtu(dev, mtu)
    orig = dev.mtu
    if dev.netdev_ops.ndo_change_mtu is not None:
        dev.netdev_ops.ndo_change_mtu(dev, mtu)
    dev.mtu = mtu
    fib_sync_mtu(dev.net.fib, dev, orig)
    core.call_netdevice_notifiers("CHANGEMTU", dev)


def do_set_master(dev: NetDevice, ifindex: int) -> None:
    """Make the device a port of that bridge, and of none before; 0 for of none.

    Raises:
        KernelError: EINVAL if there is no such device, EOPNOTSUPP if it is no bridge, or as the bridge refuses it; the
            device is then a port no more.
    """
    if dev.master is not None:
        if dev.master.ifindex == ifindex:
            return
        dev.master.netdev_ops.ndo_del_slave(dev.master, dev)
    if not ifindex:
        return
    upper = dev.net.devices.get(ifindex)
    if upper is None:
        raise KernelError("EINVAL")
    if upper.netdev_ops.ndo_add_slave is None:
        raise KernelError("EOPNOTSUPP")
    upper.netdev_ops.ndo_add_slave(upper, dev)


def do_setlink(dev: NetDevice, tb: LinkAttrs) -> None:
    """Change what the message mentions: namespace, address, MTU, name, bridge, in this order, up to a refusal."""
    net = rtnl_link_get_net(tb)
    if net is not dev.net:
        dev_change_net_namespace(dev, net, tb.name)
    if tb.mac is not None:
        dev_set_mac_address(dev, tb.mac)
    if tb.mtu is not None:
        dev_set_mtu(dev, tb.mtu)
    if tb.name:
        dev_change_name(dev, tb.name)
    if tb.master is not None:
        do_set_master(dev, tb.master)
