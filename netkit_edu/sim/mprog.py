"""The ordered list of programs at one hook.

Mirrors kernel/bpf/mprog.c, Linux 6.12. An entry belongs to the link that made it, or to the list (``link`` None). The
revision counts successful changes; it is not reset when the list gets empty, though a query of an empty list says 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from netkit_edu.backend import Chain, Entry
from netkit_edu.errors import KernelError
from netkit_edu.uapi import (
    BPF_F_AFTER,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_MPROG_MAX,
)

BPF_F_MPROG = BPF_F_REPLACE | BPF_F_BEFORE | BPF_F_AFTER | BPF_F_ID | BPF_F_LINK


class MprogEntry(NamedTuple):
    """A program and the link that owns the entry, if one does."""

    prog: Any
    link: Any = None


Relative = Callable[[], MprogEntry | None] | None


class Mprog:
    """One hook's list (``struct bpf_mprog_bundle``)."""

    __slots__ = ("progs", "revision")

    def __init__(self):
        self.progs: list[MprogEntry] = []
        self.revision = 1

    def attach(self, entry: MprogEntry, *, flags: int = 0, relative: Relative = None,
               replace: Any = None, expected_revision: int = 0) -> None:  # fmt: skip
        """Add a program, or put it in the place of ``replace`` (bpf_mprog_attach).

        Args:
            flags: BPF_F_REPLACE, BPF_F_BEFORE, BPF_F_AFTER, BPF_F_ID, BPF_F_LINK.
            relative: finds the entry that BEFORE and AFTER refer to, or None for either end of the list; it is asked
                only once the revision and the new program are in order.
            replace: the program to replace.
            expected_revision: refuse with ESTALE if the list is at another one; 0 for any.
        """
        self._check_revision(expected_revision)
        if self._position(entry.prog) is not None:
            raise KernelError("EEXIST")
        near = relative() if relative is not None else None
        index = None
        if flags & BPF_F_REPLACE:
            index = self._replaced(replace, entry.link)
        elif len(self.progs) >= BPF_MPROG_MAX:
            raise KernelError("ERANGE")
        index = self._relative_index(index, flags, near)
        if index is None:
            if flags or near is not None:
                raise KernelError("EINVAL")
            index = len(self.progs)
        if flags & BPF_F_REPLACE:
            self.progs[index] = entry
        else:
            self.progs.insert(index + 1 if flags & BPF_F_BEFORE else index, entry)
        self.revision += 1

    def detach(self, prog: Any = None, *, link: Any = None, flags: int = 0, relative: Relative = None,
               expected_revision: int = 0) -> None:  # fmt: skip
        """Remove a program; without one, what ``flags`` and ``relative`` point at, or the last (bpf_mprog_detach).

        With BEFORE or AFTER and no neighbour on that side, the relative entry itself is removed.
        """
        if flags & BPF_F_REPLACE:
            raise KernelError("EINVAL")
        self._check_revision(expected_revision)
        if not self.progs:
            raise KernelError("ENOENT")
        near = relative() if relative is not None else None
        index = None
        if prog is not None:
            index = self._position(prog)
            if index is None:
                raise KernelError("ENOENT")
            if self.progs[index].link is not link:
                raise KernelError("EBUSY")
        index = self._relative_index(index, flags, near)
        if index is None:
            if flags or near is not None:
                raise KernelError("EINVAL")
            index = len(self.progs)
        index = min(max(index, 0), len(self.progs) - 1)
        if self.progs[index].link is not link:
            raise KernelError("EBUSY")
        del self.progs[index]
        self.revision += 1

    def query(self) -> Chain:
        """Return the revision and the entries in order (bpf_mprog_query)."""
        if not self.progs:
            return Chain(1, ())
        entries = tuple(Entry(e.prog.id, e.prog.name, e.link.id if e.link is not None else 0) for e in self.progs)
        return Chain(self.revision, entries)

    def _check_revision(self, expected: int) -> None:
        if expected and expected != self.revision:
            raise KernelError("ESTALE")

    def _position(self, prog: Any) -> int | None:
        return next((i for i, entry in enumerate(self.progs) if entry.prog is prog), None)

    def _replaced(self, replace: Any, link: Any) -> int:
        index = self._position(replace)
        if index is None:
            raise KernelError("ENOENT")
        if self.progs[index].link is not link:
            raise KernelError("EBUSY")
        return index

    def _relative_index(self, index: int | None, flags: int, relative: MprogEntry | None) -> int | None:
        """Where BEFORE and AFTER point (bpf_mprog_pos_before, _after); both must agree with ``index``."""
        for flag, step, end in ((BPF_F_BEFORE, -1, -1), (BPF_F_AFTER, 1, len(self.progs))):
            if not flags & flag:
                continue
            place = end if relative is None else self._index_of(relative) + step
            if index is not None and place != index:
                raise KernelError("ERANGE")
            index = place
        return index

    def _index_of(self, relative: MprogEntry) -> int:
        """A relative program matches whoever owns its entry; a relative link must own it."""
        index = self._position(relative.prog)
        if index is None or (relative.link is not None and self.progs[index].link is not relative.link):
            raise KernelError("ENOENT")
        return index
