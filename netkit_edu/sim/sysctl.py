"""The settings of a namespace, and of the machine, that there are here.

Mirrors parts of net/ipv4/sysctl_net_ipv4.c, net/ipv4/route.c and net/core/sysctl_net_core.c, Linux 6.12.
"""

from __future__ import annotations

from dataclasses import dataclass

from netkit_edu.errors import KernelError
from netkit_edu.sim.inet import IPV4_MIN_MTU

SEND_REDIRECTS = frozenset(f"net.ipv4.conf.{which}.send_redirects" for which in ("all", "default"))
_SECOND = 1_000_000_000  # ns
_PMTU = {
    "net.ipv4.ip_no_pmtu_disc": "no_pmtu_disc",
    "net.ipv4.ip_forward_use_pmtu": "forward_use_pmtu",
    "net.ipv4.route.min_pmtu": "min_pmtu",
    "net.ipv4.route.mtu_expires": "mtu_expires",
}


@dataclass
class Pmtu:
    """How the MTU of paths is learnt: ``min_pmtu`` in bytes, ``mtu_expires`` in ns (ip-sysctl.rst)."""

    no_pmtu_disc: int = 0
    forward_use_pmtu: int = 0
    min_pmtu: int = 552
    mtu_expires: int = 600 * _SECOND


def set_sysctl(net, key: str, value: int) -> None:
    """Set a sysctl of a namespace, or one that the machine has once; ENOENT for what is not here, EINVAL for no value.

    Of send_redirects there are net.ipv4.conf.all.send_redirects and that of "default", which devices made later have;
    here all devices have it. What is written to net.ipv4.route.flush makes routes forget what they have learnt.
    """
    if key == "net.ipv4.ip_forward":
        net.ip_forward = bool(value)
    elif key == "net.core.netdev_max_backlog":
        net.kernel.netdev_max_backlog = value
    elif key in SEND_REDIRECTS:
        net.send_redirects = net.send_redirects - {key} | ({key} if value else set())
    elif key == "net.ipv4.route.flush":
        for route in net.fib:
            route.exceptions.clear()
    elif key in _PMTU:
        if key.endswith("min_pmtu") and value < IPV4_MIN_MTU or "ip_" in key and not 0 <= value <= 0xFF:
            raise KernelError("EINVAL")
        setattr(net.pmtu, _PMTU[key], value * _SECOND if key.endswith("expires") else value)
    else:
        raise KernelError("ENOENT", hint=f"the simulator has no sysctl {key!r}")
