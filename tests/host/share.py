"""A pytest plugin that runs one of ``NETKIT_EDU_HOST_SHARE`` tests, and of each file one at least; all without it.

They are chosen by name, so that the same tests run each time, and a new test moves no other one in or out.
"""

from __future__ import annotations

import os
import zlib


def chosen(names: list[str], of: int) -> list[str]:
    """Return the share of these tests ("file::test[parameters]"), in their order."""
    marks = {name: zlib.crc32(name.encode()) for name in names}
    least = {}
    for name in names:
        least.setdefault(name.partition("::")[0], []).append(name)
    first = {min(those, key=marks.__getitem__) for those in least.values()}
    return [name for name in names if marks[name] % of == 0 or name in first]


def pytest_collection_modifyitems(config, items) -> None:
    """Leave the others out."""
    keep = set(chosen([item.nodeid for item in items], int(os.environ.get("NETKIT_EDU_HOST_SHARE") or 1)))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in keep])
    items[:] = [item for item in items if item.nodeid in keep]
