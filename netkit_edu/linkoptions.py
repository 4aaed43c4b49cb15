"""What a link may be told when it is made: netkit's own options, and ordinary attributes."""

from __future__ import annotations

from collections.abc import Mapping

from netkit_edu.arguments import choice, mac_address, whole_number
from netkit_edu.errors import UsageError
from netkit_edu.uapi import Mode, Policy, Scrub

QDISCS = ("noqueue", "pfifo", "pfifo_fast", "fq_codel", "fq")
_NETKIT_OPTIONS = {"mode": Mode, "policy": Policy, "peer_policy": Policy, "scrub": Scrub, "peer_scrub": Scrub}


def netkit_info(kind: str, options: Mapping) -> dict[str, int]:
    """Return the given options of a netkit device as numbers; the kernel's own defaults stand for the others."""
    if unknown := sorted(options.keys() - _NETKIT_OPTIONS.keys()):
        raise UsageError(f"no option {', '.join(unknown)}; there are: {', '.join(_NETKIT_OPTIONS)}")
    given = {name: value for name, value in options.items() if value is not None}
    if given and kind != "netkit":
        raise UsageError(f"{', '.join(given)}: only netkit devices have that, not {kind}")
    return {name: choice(_NETKIT_OPTIONS[name], value, name) for name, value in given.items()}


def link_attrs(given: Mapping | None, what: str) -> dict:
    """Return ordinary link attributes; `UsageError` for one that there is not, or that cannot have such a value."""
    checks = {
        "mtu": lambda v: whole_number(v, "mtu"), "mac": mac_address, "ifindex": _ifindex, "qdisc": _qdisc,
        **{key: lambda v, key=key: whole_number(v, key) for key in ("num_tx_queues", "num_rx_queues")},
    }  # fmt: skip
    if not isinstance(given or {}, Mapping) or (given or {}).keys() - checks.keys():
        raise UsageError(f"{what} is a dict with some of {', '.join(map(repr, checks))}, not {given!r}")
    return {name: checks[name](value) for name, value in (given or {}).items()}


def _qdisc(value) -> str:
    if not isinstance(value, str) or value not in QDISCS:
        raise UsageError(f"qdisc is one of {', '.join(map(repr, QDISCS))}, not {value!r}")
    return value


def _ifindex(value) -> int:
    return whole_number(value, "ifindex", 1, (1 << 31) - 1)
