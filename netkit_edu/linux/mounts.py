"""Namespaces of the door's own, so that the machine's devices and mounts are neither seen by accident nor changed."""

from __future__ import annotations

from netkit_edu.linux.door import Door
from netkit_edu.linux.syscalls import CLONE_NEWNET, CLONE_NEWNS

TRACEFS = "/sys/kernel/tracing"
_MS_NOSUID_NODEV_NOEXEC = 0xE
_MS_REC_PRIVATE = 0x4000 | 0x40000


def leave_the_machine(door: Door) -> None:
    """Move a door into an empty network namespace, and give it mounts that nobody else sees, tracefs among them.

    A call that forgets to say in which namespace it acts finds nothing there but a loopback that is down.

    Raises:
        KernelError: EPERM, it lacks CAP_SYS_ADMIN.
    """
    batch = door.batch()
    batch.call("unshare", CLONE_NEWNET | CLONE_NEWNS)
    batch.call("mount", 0, b"/\0", 0, _MS_REC_PRIVATE, 0)
    where, kind = f"{TRACEFS}\0".encode(), b"tracefs\0"
    batch.call("mount", kind, where, kind, _MS_NOSUID_NODEV_NOEXEC, 0, must=False)  # EBUSY: it is there; or has none
    batch.run()
