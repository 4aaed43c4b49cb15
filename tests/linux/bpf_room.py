"""A room of one's own for bpf(2): a door as a child, namespaces with nothing in them but a loopback, and no backend."""

from __future__ import annotations

import platform
from types import SimpleNamespace

from netkit_edu.errors import KernelError
from netkit_edu.linux.bpf import BpfCalls
from netkit_edu.linux.child import open_child
from netkit_edu.linux.syscalls import AT_FDCWD, CLONE_NEWNET, O_CLOEXEC
from netkit_edu.program import isa
from netkit_edu.program.object import ProgramCode
from netkit_edu.uapi import BPF_PROG_TYPE_SCHED_CLS

LO = 1  # the loopback's ifindex in any namespace


class Room(BpfCalls):
    """The calls of bpf(2) as a backend has them."""

    name = "room"

    def __init__(self, door=None, kernel: str = ""):
        super().__init__()
        self.door = door or open_child()
        self.kernel = kernel or platform.release()
        self._namespaces: dict[int, SimpleNamespace] = {}

    def new_netns(self) -> int:
        batch = self.door.batch()
        batch.call("unshare", CLONE_NEWNET)
        fd = batch.call("openat", AT_FDCWD, b"/proc/thread-self/ns/net\0", O_CLOEXEC, 0)
        batch.run()
        number = 1 + len(self._namespaces)
        self._namespaces[number] = SimpleNamespace(fd=fd.value)
        return number

    def _net(self, ns: int):
        if ns not in self._namespaces:
            raise KernelError("EBADF")
        return self._namespaces[ns]

    def close(self) -> None:
        self.door.close()


def load(
    calls, text: str = "r0 = -1\nexit", name: str = "made", *, maps=None, prog_type=BPF_PROG_TYPE_SCHED_CLS
) -> int:
    """Load an assembled program into a backend."""
    code = ProgramCode(name, "tc", isa.assemble(text), license="GPL")
    return calls.prog_load(code, maps or {}, prog_type=prog_type)
