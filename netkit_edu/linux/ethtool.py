"""ethtool(8)'s ioctl: what a device says of its driver and its features, and the making of cards out of veth devices.

A card is given packets that fit its wire, with their checksums filled in: what a virtual device may leave undone, since
nobody looks, is done before the packet leaves (ethtool -K tx off, which takes segmentation along; net/core/dev.c,
netdev_fix_features, and include/uapi/linux/ethtool.h, Linux 6.12).
"""

from __future__ import annotations

import struct

from netkit_edu.backend import Ethtool
from netkit_edu.linux.door import Batch, Door, Result
from netkit_edu.linux.netns import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM

SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO, ETHTOOL_STXCSUM, ETHTOOL_GSTRINGS, ETHTOOL_GFEATURES = 0x03, 0x17, 0x1B, 0x3A
ETH_SS_FEATURES = 4
ETH_GSTRING_LEN = 32  # bytes
_WORDS = 4  # of 32 features each; Linux 6.12 has two
_DRVINFO_LEN = 196  # bytes of struct ethtool_drvinfo


def make_card(batch: Batch, ns_fd: int, name: str) -> None:
    """Append the making of a card out of the device of that name in the namespace behind ``ns_fd``."""
    _ask(batch, ns_fd, name, struct.pack("=II", ETHTOOL_STXCSUM, 0))


def read_ethtool(door: Door, ns_fd: int, name: str) -> Ethtool:
    """Return the driver of a device, and the features that are on."""
    batch = door.batch()
    driver = _ask(batch, ns_fd, name, struct.pack("=I", ETHTOOL_GDRVINFO) + bytes(_DRVINFO_LEN))
    head = struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, 0)
    names = _ask(batch, ns_fd, name, head + bytes(32 * _WORDS * ETH_GSTRING_LEN))
    states = _ask(batch, ns_fd, name, struct.pack("=II", ETHTOOL_GFEATURES, _WORDS) + bytes(16 * _WORDS))
    batch.run()
    count = struct.unpack_from("=I", names.value, 8)[0]
    active = [struct.unpack_from("=I", states.value, 8 + 16 * word + 8)[0] for word in range(_WORDS)]
    found = (_string(names.value, 12 + n * ETH_GSTRING_LEN) for n in range(count) if active[n // 32] >> n % 32 & 1)
    return Ethtool(_string(driver.value, 4), frozenset(found))


def _ask(batch: Batch, ns_fd: int, name: str, question: bytes):
    """Append one ioctl; return the bytes into which the kernel writes its answer."""
    batch.setns(ns_fd)
    sock: Result = batch.call("socket", AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    at = batch.put(question)
    batch.call("ioctl", sock, SIOCETHTOOL, batch.put(struct.pack("=16sQ16x", name.encode(), at)))
    batch.call("close", sock)
    return batch.read(at, len(question))


def _string(data: bytes, at: int) -> str:
    return data[at : at + ETH_GSTRING_LEN].split(b"\0", 1)[0].decode()
