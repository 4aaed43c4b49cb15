"""A virtual machine that is there in about a tenth of a second: `open_vm`."""

from __future__ import annotations

import os

from netkit_edu.errors import DoorError, VMError
from netkit_edu.linux.door import Door
from netkit_edu.vm import cache, form, image, launcher, prepare, qemu
from netkit_edu.vm.guest import Guest

RESTORE_TIMEOUT = 20.0  # seconds


class Machine:
    """A restored guest. It is stopped whenever nobody waits for its door; it dies with `close` and with this process.

    ``door`` is its syscall door; ``kernel`` the release of its Linux; ``cpus`` how many processors it has.
    """

    def __init__(self, guest: Guest, door: Door, entry: cache.Entry):
        self.guest = guest
        self.door = door
        self.kernel: str = entry.facts["kernel"]
        self.cpus: int = entry.facts["cpus"]

    def close(self) -> None:
        """End the machine; a second call does nothing."""
        self.door.close()
        self.guest.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def open_vm(cpus: int = 1, progress: image.Progress | None = None) -> Machine:
    """Return a machine, restored from its snapshot. The first time the snapshot is made, which takes some ten seconds.

    Args:
        cpus: how many processors, 1 to 8.
        progress: called with a step and a detail while the snapshot is made.

    Raises:
        UsageError: no such number of processors.
        BackendUnavailable: QEMU, a kernel or a compiler is missing; the message says what to install.
        VMError: the machine does not start.
    """
    progress = progress or image.ignore
    entry = image.snapshot(cpus, progress)
    try:
        return _restore(entry)
    except (VMError, OSError) as error:
        progress("snapshot", f"made anew: {str(error).splitlines()[0]}")
        cache.forget(entry.key)
        return _restore(image.snapshot(cpus, progress))


def _restore(entry: cache.Entry) -> Machine:
    handle = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        guest = Guest(qemu.find(), entry.facts["cpus"], qemu.restore_words(handle), (handle,), launcher=launcher.path())
        try:
            guest.monitor.greet(RESTORE_TIMEOUT)
            form.restore(guest.monitor, handle)
            door = Door(guest.stream, before=guest.go, after=guest.halt, translate=guest.failure).hello()
            prepare.set_clock(door)
        except DoorError as error:
            raise (error if isinstance(error, VMError) else guest.failure(error)) from None
        except BaseException:
            guest.close()
            raise
    finally:
        os.close(handle)
    return Machine(guest, door, entry)
