"""Attributes of RTM_NEWLINK as a learner wrote them: a namespace's number becomes the descriptor behind it."""

from __future__ import annotations

from collections.abc import Mapping

from netkit_edu.linux.netlink import IFINFOMSG_LEN, NLA_TYPE_MASK, number, u32, walk
from netkit_edu.uapi import Ifla, IflaNetkit

NO_FD = 0x7FFF_FFFF  # a descriptor that is never open


def descriptors_for_numbers(attrs: Mapping[int, bytes], data: Mapping[int, bytes] | None,
                            fds: Mapping[int, int]) -> tuple[dict[int, bytes], dict[int, bytes] | None]:  # fmt: skip
    """Return both with IFLA_NET_NS_FD's numbers replaced, in ``attrs`` and in IFLA_NETKIT_PEER_INFO of ``data``.

    Args:
        fds: descriptors by our numbers; one that is not there becomes a descriptor that is not open.
    """
    attrs = {key: _descriptor(value, fds) if key == Ifla.NET_NS_FD else value for key, value in attrs.items()}
    if data is None or IflaNetkit.PEER_INFO not in data:
        return attrs, None if data is None else dict(data)
    info = bytearray(data[IflaNetkit.PEER_INFO])
    for key, start, end in walk(bytes(info[IFINFOMSG_LEN:])):
        if key & NLA_TYPE_MASK == Ifla.NET_NS_FD:
            at = slice(IFINFOMSG_LEN + start, IFINFOMSG_LEN + end)
            info[at] = _descriptor(bytes(info[at]), fds)
    return attrs, dict(data) | {IflaNetkit.PEER_INFO: bytes(info)}


def _descriptor(value: bytes, fds: Mapping[int, int]) -> bytes:
    return value if len(value) < 4 else u32(fds.get(number(value[:4]), NO_FD)) + value[4:]
