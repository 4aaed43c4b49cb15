"""The settings of a namespace, and of the machine, that there are here.

Mirrors parts of net/ipv4/sysctl_net_ipv4.c, net/ipv4/route.c and net/core/sysctl_net_core.c, Linux 6.12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from netkit_edu.errors import KernelError
from netkit_edu.sim.inet import IPV4_MIN_MTU

_SEND_REDIRECTS = re.compile(r"net\.ipv4\.conf\.(.+)\.send_redirects")
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

    Of net.ipv4.conf.*.send_redirects there is one for "all", one for each device, and "default", with which devices
    begin that come later. What is written to net.ipv4.route.flush makes routes forget what they have learnt.
    """
    if key == "net.ipv4.ip_forward":
        net.ip_forward = bool(value)
    elif key == "net.core.netdev_max_backlog":
        net.kernel.netdev_max_backlog = value
    elif (conf := _SEND_REDIRECTS.fullmatch(key)) and conf[1] in ("all", "default"):
        setattr(net, "send_redirects" if conf[1] == "all" else "send_redirects_default", bool(value))
    elif conf and (dev := next((dev for dev in net.devices.values() if dev.name == conf[1]), None)):
        dev.send_redirects = bool(value)
    elif key == "net.ipv4.route.flush":
        for route in net.fib:
            route.exceptions.clear()
    elif key in _PMTU:
        if key.endswith("min_pmtu") and value < IPV4_MIN_MTU or "ip_" in key and not 0 <= value <= 0xFF:
            raise KernelError("EINVAL")
        setattr(net.pmtu, _PMTU[key], value * _SECOND if key.endswith("expires") else value)
    else:
        raise KernelError("ENOENT", hint=f"the simulator has no sysctl {key!r}")
