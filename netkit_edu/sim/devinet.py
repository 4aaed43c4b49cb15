"""IPv4 on a device: its addresses, and whether it speaks IPv4 at all (``struct in_device``).

Mirrors net/ipv4/devinet.c and fib_netdev_event of net/ipv4/fib_frontend.c, Linux 6.12. A device whose MTU falls below
68 bytes, which every IPv4 module must take whole (RFC 791), loses its addresses and speaks no IPv4 until it has risen.
"""

from __future__ import annotations

from netkit_edu.errors import KernelError
from netkit_edu.sim import dev as core
from netkit_edu.sim.inet import IPV4_MIN_MTU, parse_prefix
from netkit_edu.sim.netdevice import NetDevice


def inet_insert_ifa(dev: NetDevice, text: str) -> None:
    """Give a device an address; EEXIST if it has it, ENOBUFS while it speaks no IPv4 (rtm_to_ifaddr)."""
    address, plen = parse_prefix(text)
    if not dev.in_dev:
        raise KernelError("ENOBUFS", hint="a device with an MTU below 68 bytes has no IPv4: raise its MTU first")
    if (address, plen) in dev.addresses:
        raise KernelError("EEXIST", "ipv4: Address already assigned")
    dev.addresses.append((address, plen))
    dev.net.local_addresses.add(address)
    dev.net.fib.add_ifaddr(dev, address, plen)


def inetdev_init(dev: NetDevice) -> None:
    """It speaks IPv4, with the settings that new devices of its namespace begin with."""
    dev.in_dev, dev.send_redirects = True, dev.net.send_redirects_default


def inetdev_destroy(dev: NetDevice) -> None:
    """Its addresses go; with the last of them its routes, and its neighbours (arp_ifdown)."""
    net = dev.net
    if dev.addresses:
        net.fib.remove(lambda route: route.dev is dev)
    net.local_addresses -= {address for address, _ in dev.addresses}
    net.local_addresses |= {address for d in net.devices.values() if d is not dev for address, _ in d.addresses}
    dev.addresses.clear()
    dev.neighbours.clear()
    dev.in_dev = False


def inetdev_event(event: str, dev: NetDevice) -> None:
    """What happens to the device concerns its IPv4."""
    if event == "REGISTER":
        inetdev_init(dev)
    elif event == "UNREGISTER":
        inetdev_destroy(dev)
        dev.net.fib.remove(lambda route: route.dev is dev)
    elif event == "CHANGEMTU":
        if dev.in_dev and dev.mtu < IPV4_MIN_MTU:
            inetdev_destroy(dev)
        elif not dev.in_dev and dev.mtu >= IPV4_MIN_MTU:
            inetdev_init(dev)


core.NETDEV_CHAIN.append(inetdev_event)
