"""Capabilities of the door: without CAP_NET_ADMIN for as long as one call takes (capset(2), Linux 6.12)."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from netkit_edu.linux.door import Batch, Door

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
_VERSION_3 = 0x2008_0522
_HEADER = struct.pack("=Ii", _VERSION_3, 0)
_DATA = struct.Struct("=6I")  # effective, permitted, inheritable: the low 32 of each, then the high


def capabilities(door: Door) -> tuple[int, ...]:
    """Return the door's capabilities as capget(2) writes them."""
    batch = door.batch()
    buffer = batch.room(_DATA.size)
    batch.call("capget", _HEADER, buffer)
    read = batch.read(buffer, _DATA.size)
    batch.run()
    return _DATA.unpack(read.value)


@contextlib.contextmanager
def dropped(batch: Batch, caps: tuple[int, ...]) -> Iterator[None]:
    """Have the operations written in this block done without CAP_NET_ADMIN, and without CAP_SYS_ADMIN which implies it.

    None of them may be one on which others depend (``must``), so that what was taken away is given back.

    Args:
        caps: what `capabilities` returned.
    """
    less = (caps[0] & ~(1 << CAP_NET_ADMIN | 1 << CAP_SYS_ADMIN), *caps[1:])
    batch.call("capset", _HEADER, _DATA.pack(*less))
    yield
    batch.call("capset", _HEADER, _DATA.pack(*caps))
