"""``node.sys``: rtnetlink and bpf(2) as they are, attribute by attribute and field by field.

Everything else in a lab passes on only what makes sense; through here one can say what the kernel has to refuse. The
numbers are those of ``netkit_edu.uapi``: `Ifla`, `IflaNetkit`, `BpfCmd`. Descriptors are the numbers that the rest of
the API shows: ``LoadedProgram.id``, ``Attachment.link``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from netkit_edu.device import Device
from netkit_edu.errors import UsageError


def u32(value: int) -> bytes:
    """Return an attribute's number as 4 bytes in the machine's order; a negative one as its complement."""
    return struct.pack("=I", value & 0xFFFF_FFFF)


def nla(attrs: Mapping[int, bytes]) -> bytes:
    """Return attributes one behind the other, each with its header and padded to 4 bytes (struct nlattr)."""
    out = b""
    for number, value in attrs.items():
        out += struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    return out


def ifinfomsg(attrs: Mapping[int, bytes] | None = None, *, ifindex: int = 0) -> bytes:
    """Return what IFLA_NETKIT_PEER_INFO holds: a struct ifinfomsg, then ordinary attributes of the other end."""
    return struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + nla(attrs or {})


class Sys:
    """The system calls of one node's namespace."""

    def __init__(self, node):
        self.node = node

    def link_create(self, kind: str = "netkit", *, attrs: Mapping[int, bytes] | None = None,
                    data: Mapping[int, bytes] | None = None, ifindex: int = 0,
                    capable: bool = True) -> Device:  # fmt: skip
        """Send RTM_NEWLINK with NLM_F_CREATE and NLM_F_EXCL; return the device, the primary of a pair.

        Args:
            kind: IFLA_INFO_KIND.
            attrs: ordinary attributes by number, for example ``{Ifla.IFNAME: b"nk1"}``.
            data: the kind's own, for example ``{IflaNetkit.MODE: u32(0)}``.
            ifindex: ifi_index.
            capable: whether the caller has CAP_NET_ADMIN; without it the answer is EPERM.

        Raises:
            KernelError: the kernel's answer.
            UsageError: not attributes as bytes by number.
        """
        number = self._newlink(kind, True, ifindex, attrs, {} if data is None else data, capable)
        return self.node.lab.device(self.node, number)

    def link_change(self, dev: Device | int, kind: str = "netkit", *, attrs: Mapping[int, bytes] | None = None,
                    data: Mapping[int, bytes] | None = None, capable: bool = True) -> None:  # fmt: skip
        """Send RTM_NEWLINK without NLM_F_CREATE; ``data`` None leaves IFLA_INFO_DATA out. Arguments as `link_create`.

        The namespace, address, MTU and name in ``attrs`` are set after ``data``, as far as nothing is refused.

        Args:
            dev: the device, or a number that may be none.
        """
        self._newlink(kind, False, dev if isinstance(dev, int) else dev.ifindex, attrs, data, capable)

    def bpf(self, cmd: int, *, tail: bytes = b"", capable: bool = True, **fields: int) -> Mapping:
        """Call bpf(2); return what the kernel wrote into ``union bpf_attr``, by field.

        Args:
            cmd: a `BpfCmd`.
            tail: bytes behind the command's last field.
            capable: whether the caller has CAP_NET_ADMIN. Without it nobody queries (EPERM), or detaches a program
                of which they have no descriptor.
            fields: by their names in the kernel's header; those left out are 0. A pointer is 1 for a
                buffer, 0 for NULL, -1 for an address where nothing is.

        Raises:
            KernelError: the kernel's answer; of a query without enough room, ``answer`` is what fitted.
            UsageError: the command has no such field.
        """
        return self.node.lab.kernel_calls.raw_bpf(self.node.ns, cmd, fields, tail, capable=capable)

    def _newlink(self, kind, create, ifindex, attrs, data, capable) -> int:
        for given in (attrs, data):
            if not all(isinstance(n, int) and isinstance(v, bytes) for n, v in (given or {}).items()):
                raise UsageError("attributes are bytes by number, such as {IflaNetkit.MODE: u32(0)}")
        calls = self.node.lab.kernel_calls
        return calls.raw_newlink(
            self.node.ns, kind, create=create, ifindex=ifindex, attrs=attrs or {}, data=data, capable=capable
        )
