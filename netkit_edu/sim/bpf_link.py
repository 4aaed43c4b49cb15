"""A BPF link: what keeps one program at one hook, until it is detached or closed.

Mirrors ``struct bpf_link`` (include/linux/bpf.h) and its users in kernel/bpf/syscall.c, Linux 6.12. The link owns its
entry in the hook's list: nobody else can replace or remove it. It outlives its device, as a link to nothing.
"""

from __future__ import annotations

from netkit_edu.backend import BpfLinkInfo
from netkit_edu.errors import KernelError
from netkit_edu.sim.mprog import Mprog, MprogEntry, Relative
from netkit_edu.uapi import BPF_F_REPLACE


class BpfLink:
    """One link.

    Args:
        type: BPF_LINK_TYPE_*.
        attach_type: the hook.
        prog: the program it keeps there.
        dev: the device the program sits on; None once the link is detached or the device is gone.
        active: the hook's list.

    ``id`` is 0 until the link is there for everyone (bpf_link_settle).
    """

    __slots__ = ("id", "type", "attach_type", "prog", "dev", "active")

    def __init__(self, type: int, attach_type: int, prog, dev, active: Mprog):
        self.id = 0
        self.type = type
        self.attach_type = attach_type
        self.prog = prog
        self.dev = dev
        self.active = active

    def attach(self, *, flags: int, relative: Relative, expected_revision: int) -> None:
        """Put the program into the list. There is nothing a new link could replace: with BPF_F_REPLACE it is ENOENT."""
        self.active.attach(
            MprogEntry(self.prog, self), flags=flags, relative=relative, expected_revision=expected_revision
        )

    def update(self, new, old=None) -> None:
        """Put another program into the same place (update_prog).

        Raises:
            KernelError: ENOLINK without a device, EPERM if the link's program is not ``old``, EEXIST if the new one is
                at this hook already, EINVAL for a program of another type.
        """
        if self.dev is None:
            raise KernelError("ENOLINK")
        if old is not None and old is not self.prog:
            raise KernelError("EPERM")
        if new is self.prog:
            return
        self.active.attach(
            MprogEntry(new, self), flags=BPF_F_REPLACE, replace=self.prog, relative=lambda: self._of_type(new.type)
        )
        self.prog = new

    def _of_type(self, type: int) -> None:
        if type != self.prog.type:
            raise KernelError("EINVAL")

    def release(self) -> None:
        """Take the program out of the list; a second time, or without a device, there is nothing to do."""
        if self.dev is not None:
            self.active.detach(self.prog, link=self)
            self.dev = None

    def fill_link_info(self) -> BpfLinkInfo:
        """Return what BPF_OBJ_GET_INFO_BY_FD says of it; ifindex 0 without a device."""
        ifindex = 0 if self.dev is None else self.dev.ifindex
        return BpfLinkInfo(self.id, self.type, self.prog.id, ifindex, self.attach_type)


def release_all(active: Mprog) -> None:
    """The device of this hook goes: its programs are released, its links stay as links to nothing."""
    for entry in active.progs:
        if entry.link is not None:
            entry.link.dev = None
    active.progs.clear()
