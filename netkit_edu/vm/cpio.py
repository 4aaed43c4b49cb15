"""A writer of cpio archives in the "newc" form, as the kernel unpacks them (Documentation/driver-api/early-userspace).

The owner is root and a device is two numbers in a header, so that making one needs no privileges; times are 0, so that
equal contents make equal bytes.
"""

from __future__ import annotations

import stat
from typing import NamedTuple

_TRAILER = "TRAILER!!!"


class Member(NamedTuple):
    """One name of an archive: its mode with the file type, its content, and of a device its major and minor number."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(name: str, permissions: int = 0o755) -> Member:
    """Return a directory."""
    return Member(name, stat.S_IFDIR | permissions)


def file(name: str, data: bytes, permissions: int = 0o644) -> Member:
    """Return a regular file."""
    return Member(name, stat.S_IFREG | permissions, data)


def character(name: str, major: int, minor: int, permissions: int = 0o600) -> Member:
    """Return a character device."""
    return Member(name, stat.S_IFCHR | permissions, b"", (major, minor))


def archive(members: list[Member]) -> bytes:
    """Return the archive of these members, in their order: a directory comes before what lies in it.

    Raises:
        ValueError: a name is absolute, empty, or named twice.
    """
    names = [member.name for member in members]
    if len(set(names)) != len(names) or any(not name or name.startswith("/") for name in names):
        raise ValueError("names are relative, and each is there once")
    parts = [_entry(number, member) for number, member in enumerate(members, 1)]
    return b"".join([*parts, _entry(0, Member(_TRAILER, 0))])


def _entry(inode: int, member: Member) -> bytes:
    name = member.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (inode, member.mode, 0, 0, links, 0, len(member.data), 0, 0, *member.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return head + bytes(-len(head) % 4) + member.data + bytes(-len(member.data) % 4)
