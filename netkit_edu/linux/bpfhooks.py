"""bpf(2), hooks: attach, detach and query programs, by themselves and by links, acting from a namespace."""

from __future__ import annotations

import struct

from netkit_edu.backend import BpfLinkInfo, Chain, Entry
from netkit_edu.errors import KernelError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.door import Batch
from netkit_edu.uapi import BPF_F_ID, BPF_F_LINK, BPF_F_REPLACE, BPF_MPROG_MAX, BpfCmd

_NAME_AT, _NAME_END = 64, 80  # in struct bpf_prog_info


class HookCalls:
    """The calls for hooks. What a backend must have beside `ProgCalls`: ``_net``, which finds a namespace."""

    def __init__(self):
        self._links: dict[int, int] = {}  # id -> descriptor
        self._closed_links: set[int] = set()

    def prog_attach(self, ns: int, ifindex: int, attach_type: int, prog_id: int, *, flags: int = 0, replace: int = 0,
                    relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Attach a program (BPF_PROG_ATTACH), acting from namespace ``ns``; ``replace`` and ``relative`` are ids."""
        self._from(ns, BpfCmd.PROG_ATTACH, {
            "target_ifindex": ifindex, "attach_bpf_fd": self._fd_of(prog_id, "program"), "attach_type": attach_type,
            "attach_flags": flags, "replace_bpf_fd": self._fd_of(replace, "program") if flags & BPF_F_REPLACE else 0,
            "relative_fd": self._relative(flags, relative), "expected_revision": expected_revision,
        })  # fmt: skip

    def prog_detach(self, ns: int, ifindex: int, attach_type: int, prog_id: int = 0, *, flags: int = 0,
                    relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Detach a program (BPF_PROG_DETACH); without ``prog_id`` what ``flags`` and ``relative`` point at."""
        self._from(ns, BpfCmd.PROG_DETACH, {
            "target_ifindex": ifindex, "attach_bpf_fd": self._fd_of(prog_id, "program"), "attach_type": attach_type,
            "attach_flags": flags, "relative_fd": self._relative(flags, relative),
            "expected_revision": expected_revision,
        })  # fmt: skip

    def prog_query(self, ns: int, ifindex: int, attach_type: int) -> Chain:
        """Return a hook's revision and programs (BPF_PROG_QUERY)."""
        batch, most = self._acting(ns), BPF_MPROG_MAX
        progs, links = batch.room(4 * most), batch.room(4 * most)
        attr = batch.put(a.pack(BpfCmd.PROG_QUERY, {
            "target_ifindex": ifindex, "attach_type": attach_type, "count": most, "prog_ids": progs, "link_ids": links,
        }))  # fmt: skip
        a.bpf(batch, BpfCmd.PROG_QUERY, attr, a.LAYOUTS[BpfCmd.PROG_QUERY].end)
        told, ids = batch.read(attr, 64), [batch.read(progs, 4 * most), batch.read(links, 4 * most)]
        batch.run()
        count = a.unpack(BpfCmd.PROG_QUERY, told.value, "count")
        progs, links = (struct.unpack_from(f"<{count}I", data.value) for data in ids)
        names = self._names(progs)
        entries = tuple(Entry(prog, names[prog], link) for prog, link in zip(progs, links, strict=True))
        return Chain(a.unpack(BpfCmd.PROG_QUERY, told.value, "revision"), entries)

    def bpf_link_create(self, ns: int, ifindex: int, attach_type: int, prog_id: int, *, flags: int = 0,
                        relative: int = 0, expected_revision: int = 0) -> int:  # fmt: skip
        """Attach a program by a link (BPF_LINK_CREATE), acting from ``ns``; return the link's id."""
        batch = self._acting(ns)
        made = a.bpf(batch, BpfCmd.LINK_CREATE, a.pack(BpfCmd.LINK_CREATE, {
            "prog_fd": self._fd_of(prog_id, "program"), "target_ifindex": ifindex, "attach_type": attach_type,
            "flags": flags, "relative_fd": self._relative(flags, relative), "expected_revision": expected_revision,
        }))  # fmt: skip
        told = a.info(batch, made, 24)
        batch.run()
        return self._keep_link(made.value, told.value)

    def bpf_link_update(self, number: int, prog_id: int, *, flags: int = 0, old: int = 0) -> None:
        """Put another program in a link's place (BPF_LINK_UPDATE), with BPF_F_REPLACE only if it is ``old`` now."""
        self._from(None, BpfCmd.LINK_UPDATE, {
            "link_fd": self._fd_of(number, "link"), "new_prog_fd": self._fd_of(prog_id, "program"), "flags": flags,
            "old_prog_fd": self._fd_of(old, "program"),
        })  # fmt: skip

    def bpf_link_detach(self, number: int) -> None:
        """Take a link's program off its hook (BPF_LINK_DETACH); the link stays, as a link to nothing."""
        self._from(None, BpfCmd.LINK_DETACH, {"link_fd": self._fd_of(number, "link")})

    def bpf_link_close(self, number: int) -> None:
        """Close the only descriptor of a link: its program comes off, and the link is gone."""
        self._close(self._link(number))
        del self._links[number]
        self._closed_links.add(number)

    def bpf_link_info(self, number: int) -> BpfLinkInfo:
        """Return what the kernel says of a link (BPF_OBJ_GET_INFO_BY_FD)."""
        batch = self.door.batch()
        told = a.info(batch, self._link(number), 24)
        batch.run()
        return link_info(told.value)

    # numbers and descriptors ------------------------------------------------------------------------------------------

    def _fd_of(self, number: int, kind: str) -> int:
        """Return the descriptor behind a number: of this kind if there is one, else of another, else one of nothing.

        0 stays 0: no descriptor where none is needed, and where one is, that of something which is not bpf(2)'s. The
        kernel counts programs and links apart: the number of a link that was closed is nobody's, even if a program's.
        """
        if number == 0:
            return 0
        if kind == "link" and number in self._closed_links:
            return a.NO_FD
        tables = {
            "program": lambda: self._progs[number].fd if number in self._progs else None,
            "link": lambda: self._links.get(number),
            "map": lambda: self._maps[number].fd if number in self._maps else None,
        }
        for name in (kind, *tables):
            if (fd := tables[name]()) is not None:
                return fd
        return a.NO_FD

    def _relative(self, flags: int, number: int) -> int:
        """Return what tells a place: with BPF_F_ID an id, else a descriptor."""
        if flags & BPF_F_ID:
            return number
        return self._fd_of(number, "link" if flags & BPF_F_LINK else "program")

    def _link(self, number: int) -> int:
        if number not in self._links:
            raise KernelError("EINVAL" if self._fd_of(number, "link") != a.NO_FD else "EBADF")
        return self._links[number]

    def _keep_link(self, fd: int, told: bytes = b"") -> int:
        """Keep a new link's descriptor by the link's id, which its struct bpf_link_info tells; return the id."""
        if not told:
            batch = self.door.batch()
            data = a.info(batch, fd, 24)
            batch.run()
            told = data.value
        number = link_info(told).id
        self._links[number] = fd
        return number

    def _names(self, ids) -> dict[int, str]:
        """Return programs' names by id, asking the kernel for those that were not loaded here."""
        names = {number: self._progs[number].name for number in ids if number in self._progs}
        for number in set(ids) - names.keys():
            batch = self.door.batch()
            fd = a.bpf(batch, a.PROG_GET_FD_BY_ID, struct.pack("<III", number, 0, 0))
            told = a.info(batch, fd)
            batch.call("close", fd)
            batch.run()
            names[number] = told.value[_NAME_AT:_NAME_END].split(b"\0")[0].decode(errors="replace")
        return names

    def _acting(self, ns: int | None) -> Batch:
        """Return a batch that acts from a namespace, if one is given."""
        batch = self.door.batch()
        if ns is not None:
            batch.setns(self._net(ns).fd)
        return batch

    def _from(self, ns: int | None, cmd: int, fields: dict[str, int]) -> None:
        batch = self._acting(ns)
        a.bpf(batch, cmd, a.pack(cmd, fields))
        batch.run()


def link_info(data: bytes) -> BpfLinkInfo:
    """Read struct bpf_link_info of a tcx or netkit link."""
    kind, number, prog, ifindex, attach_type = struct.unpack_from("<III4xII", data)
    return BpfLinkInfo(number, kind, prog, ifindex, attach_type)
