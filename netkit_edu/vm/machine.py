"""A virtual machine that is there in about a tenth of a second: `open_vm`."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from netkit_edu.errors import BackendUnavailable, DoorError, VMError
from netkit_edu.vm import cache, form, image, launcher, prepare, qemu, rehearsal, shortage
from netkit_edu.vm.guest import Guest

RESTORE_TIMEOUT = 20.0  # seconds
_SHUT = (errno.EACCES, errno.EPERM, errno.EROFS)


class Machine:
    """A restored guest. It is stopped whenever nobody waits for its door; it dies with `close` and with this process.

    ``door`` is its syscall door; ``kernel`` the release of its Linux; ``cpus`` how many processors it has.

    Args:
        plain: the snapshot of a guest that is prepared and has done nothing yet.
        rehearsed: the snapshot to restore instead, and what its guest has done; None for the plain one.
        rehearsing: what is asked up to `settled` is to be rehearsed.

    Raises:
        VMError: the machine does not start.
    """

    def __init__(self, plain: cache.Entry, rehearsed: tuple[cache.Entry, list] | None = None, rehearsing: bool = False):
        self._plain, self._rehearsed = plain, rehearsed is not None
        self.kernel: str = plain.facts["kernel"]
        self.cpus: int = plain.facts["cpus"]
        entry, steps = rehearsed or (plain, [])
        self.guest = _restore(entry)
        try:
            self.door = rehearsal.RehearsedDoor(
                self.guest.stream, before=self.guest.go, after=self.guest.halt, translate=self.guest.failure
            ).hello()
            prepare.set_clock(self.door)
        except BaseException:
            self.guest.close()
            raise
        if rehearsing:
            self.door.begin(steps, self._restart)

    def settled(self) -> None:
        """Say that every lab begins as this one did so far: the next finds it done."""
        asked = self.door.end()
        with contextlib.suppress(VMError, BackendUnavailable, OSError):  # it was a convenience
            rehearsal.settle(self._plain, asked, self._rehearsed, self.door.missed)

    def close(self) -> None:
        """End the machine; a second call does nothing."""
        self.door.close()
        self.guest.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _restart(self) -> Guest:
        self.guest.close()
        self.guest = _restore(self._plain)
        return self.guest


def open_vm(cpus: int = 1, progress: image.Progress | None = None, *, rehearsing: bool = False) -> Machine:
    """Return a machine, restored from its snapshot. The first time the snapshot is made, which takes some ten seconds.

    Args:
        cpus: how many processors, 1 to 8.
        progress: called with a step and a detail while the snapshot is made; by default they are printed where a
            person reads them, in a terminal or a notebook.
        rehearsing: the caller begins with the same calls each time, and says with `Machine.settled` where they end.

    Raises:
        UsageError: no such number of processors.
        BackendUnavailable: QEMU, a kernel or a compiler is missing, or this machine has too little for another QEMU;
            the message says what to do.
    """
    progress = progress or _say
    try:
        return _open_vm(cpus, progress, rehearsing)
    except (VMError, OSError) as error:
        raise BackendUnavailable(shortage.why(error)) from None


def _open_vm(cpus: int, progress: image.Progress, rehearsing: bool) -> Machine:
    plain = image.snapshot(cpus, progress)
    found = rehearsal.lookup(plain) if rehearsing else None
    if found is not None:
        try:
            return Machine(plain, found, rehearsing)
        except (VMError, OSError) as error:
            if shortage.is_short(error):
                raise
            cache.forget(found[0].key)
    try:
        return Machine(plain, None, rehearsing)
    except (VMError, OSError) as error:
        if shortage.is_short(error):
            raise
        progress("snapshot", f"made anew: {str(error).splitlines()[0]}")
        cache.forget(plain.key)
        return Machine(image.snapshot(cpus, progress), None, rehearsing)


def _say(step: str, detail: str) -> None:
    if sys.stdout.isatty() or "ipykernel" in sys.modules:
        print(f"virtual machine, {step}: {detail}", flush=True)


def _restore(entry: cache.Entry) -> Guest:
    with contextlib.ExitStack() as stack:
        reads_only = qemu.reads_only(entry.facts["qemu"])
        snapshot, memory = _opened(entry.path, reads_only)
        for handle in {snapshot, memory}:
            stack.callback(os.close, handle)
        words = qemu.wait_words(memory, reads_only=reads_only)
        guest = Guest(qemu.find(), entry.facts["cpus"], words, (memory,), launcher=launcher.path())
        try:
            guest.monitor.greet(RESTORE_TIMEOUT)
            form.restore(guest.monitor, snapshot)
        except DoorError as error:
            raise guest.failure(error) from None
        except BaseException:
            guest.close()
            raise
    return guest


def _opened(path: Path, reads_only: bool) -> tuple[int, int]:
    """Return descriptors of a snapshot and of the memory in it: a copy, where QEMU wants to write and we may not."""
    try:
        handle = os.open(path, (os.O_RDONLY if reads_only else os.O_RDWR) | os.O_CLOEXEC)
        return handle, handle
    except OSError as error:
        if reads_only or error.errno not in _SHUT:
            raise
    snapshot = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    memory = -1
    try:
        memory = os.memfd_create("memory", os.MFD_CLOEXEC)
        form.copy_memory(snapshot, memory)
    except BaseException:
        for handle in (snapshot, memory):
            if handle >= 0:
                os.close(handle)
        raise
    return snapshot, memory
