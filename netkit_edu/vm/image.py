"""From a kernel and the door to a snapshot: found in the cache, or booted once and kept there.

The key of a snapshot holds all that made it: QEMU, its command line, the kernel, the modules, the door, and the text of
what prepares the guest.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netkit_edu.errors import BackendUnavailable, DoorError, UsageError, VMError
from netkit_edu.linux.build import build_door
from netkit_edu.linux.door import Door
from netkit_edu.vm import apt, cache, cpio, form, identity, kernel, launcher, prepare, qemu, shortage, stage
from netkit_edu.vm.guest import Guest

BOOT_TIMEOUT = 90.0  # seconds; 8 on an idle machine, and some machines are not idle
Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class Recipe:
    """All that makes a snapshot; ``key`` is its name."""

    program: str
    version: str
    cpus: int
    kernel: kernel.Kernel
    door: Path

    @property
    def booted(self) -> str:
        """The name of the machine that has booted: the hash of everything in it."""
        parts = [self.version, *qemu.machine_words(self.cpus), *qemu.connections(0, 0), *qemu.boot_words("", 0, 0)]
        files = [self.kernel.path, *self.kernel.modules.values(), self.door, Path(__file__)]
        files += [Path(module.__file__) for module in (form, prepare)]
        parts += [*self.kernel.modules, self.kernel.release, *map(identity.sha256, files)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    @property
    def key(self) -> str:
        """The name of the machine in which each room has what it needs."""
        parts = [self.booted, *map(identity.sha256, prepare.sources())]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def ignore(step: str, detail: str) -> None:
    """Tell nobody."""


def find_kernel(place: Path) -> kernel.Kernel | None:
    """Return the kernel to boot, if one is there without a download."""
    return kernel.named() or kernel.own() or kernel.fetched(place)


def snapshot(cpus: int = 1, progress: Progress = ignore) -> cache.Entry:
    """Return the snapshot of a machine with ``cpus`` processors; the first time it is made, which takes seconds.

    Args:
        cpus: 1 to `qemu.MOST_CPUS`.
        progress: told each step and its size or time.

    Raises:
        UsageError: no such number of processors.
        BackendUnavailable: QEMU, a kernel or a compiler is missing, or memory, or a folder to write to.
        VMError: the machine does not boot.
    """
    if not isinstance(cpus, int) or not 1 <= cpus <= qemu.MOST_CPUS:
        raise UsageError(f"a virtual machine has 1 to {qemu.MOST_CPUS} processors, not {cpus!r}")
    program = qemu.find()
    place = cache.folder()
    cache.tidy()
    if (found := find_kernel(place)) is not None:
        recipe = Recipe(program, identity.version(program), cpus, found, build_door())
        if entry := cache.lookup(recipe.key):
            return entry
    with cache.locked(lambda: progress("wait", "another process is building")) as place:
        if (found := find_kernel(place)) is None:
            found = apt.fetch(place, progress)
        recipe = Recipe(program, identity.version(program), cpus, found, build_door())
        if entry := cache.lookup(recipe.key):
            return entry
        entry = _furnished(place, recipe, progress)
        progress("snapshot", f"{_size(entry.facts['bytes'])}, {entry.facts['seconds']:.1f} s in all")
        return entry


def unavailable() -> str:
    """Return why there can be no virtual machine here and what brings it, in one line; "" if there can be one."""
    try:
        qemu.find()
        if find_kernel(cache.folder()) is None and not apt.offered():
            return "no kernel with netkit: apt-get update, or set NETKIT_EDU_KERNEL to a vmlinuz of 6.7 or later"
        build_door()
    except BackendUnavailable as error:
        return str(error)
    return ""


def present(cpus: int = 1) -> dict | None:
    """Return what is told about the snapshot that `snapshot` would return at once; None if it would have to make it.

    Raises:
        BackendUnavailable: QEMU or a compiler is missing.
    """
    program = qemu.find()
    if (found := find_kernel(cache.folder())) is None:
        return None
    entry = cache.lookup(Recipe(program, identity.version(program), cpus, found, build_door()).key)
    return entry.facts if entry else None


def initramfs(recipe: Recipe) -> bytes:
    """Return the archive that the kernel unpacks into its root: the door as ``/init``, and the modules."""
    members = [cpio.folder(name) for name in prepare.FOLDERS]
    members += [cpio.character("dev/console", 5, 1), cpio.file("init", recipe.door.read_bytes(), 0o755)]
    for name, path in recipe.kernel.modules.items():
        members.append(cpio.file(f"modules/{name}", kernel.unpacked(path)))
    return cpio.archive(members)


def _furnished(place: Path, recipe: Recipe, progress: Progress) -> cache.Entry:
    """Take the booted machine to where each room has what it needs; if the one that was kept is broken, boot anew."""

    def furnish(door: Door) -> dict:
        prepare.furnish(door, progress)
        return {}

    if booted := cache.lookup(recipe.booted):
        try:
            return stage.carry_on(booted, recipe.key, place, furnish)
        except VMError as error:
            if shortage.is_short(error):
                raise BackendUnavailable(shortage.why(error)) from None
            progress("booted", f"made anew: {str(error).splitlines()[0]}")
            cache.forget(recipe.booted)
    try:
        return stage.carry_on(_build(place, recipe, progress), recipe.key, place, furnish)
    except VMError as error:
        if shortage.is_short(error):
            raise BackendUnavailable(shortage.why(error)) from None
        raise


def _build(place: Path, recipe: Recipe, progress: Progress) -> cache.Entry:
    begun = time.monotonic()
    progress("qemu", recipe.version)
    progress(
        "kernel", f"Linux {recipe.kernel.release}, {_size(recipe.kernel.path.stat().st_size)}, {recipe.kernel.source}"
    )
    data = initramfs(recipe)
    inside = ", ".join(["the door", *recipe.kernel.modules])
    progress("initramfs", f"{_size(len(data))}: {inside}")
    with cache.work_folder(place) as work:
        launcher.build(place, work)
    memory = os.memfd_create("memory", os.MFD_CLOEXEC)
    try:
        os.ftruncate(memory, form.MEMORY)
        guest, door = _boot(recipe, data, memory, progress)
        try:
            prepare.prepare(door, list(recipe.kernel.modules))
            progress("settle", "the boot's last work, and free memory emptied")
            prepare.settle(door)
            guest.halt()
            facts = {
                "kernel": recipe.kernel.release,
                "sha256": identity.sha256(recipe.kernel.path),
                "qemu": recipe.version,
                "cpus": recipe.cpus,
                "seconds": round(time.monotonic() - begun, 1),
            }
            return stage.keep(guest, memory, recipe.booted, place, facts)
        except DoorError as error:
            raise (error if isinstance(error, VMError) else guest.failure(error)) from None
        finally:
            guest.close()
    finally:
        os.close(memory)


def _boot(recipe: Recipe, data: bytes, memory: int, progress: Progress) -> tuple[Guest, Door]:
    """Boot the machine until its door answers, and once more if it does not: busy hosts lose a timer now and then."""
    for attempt in (1, 2):
        begun = time.monotonic()
        handle = os.memfd_create("initramfs", os.MFD_CLOEXEC)
        try:
            os.write(handle, data)
            words = qemu.boot_words(str(recipe.kernel.path), handle, memory)
            guest = Guest(recipe.program, recipe.cpus, words, (handle, memory), launcher=launcher.path())
        finally:
            os.close(handle)
        try:
            guest.monitor.greet()
            door = Door(guest.stream, translate=guest.failure).hello(BOOT_TIMEOUT)
            progress("boot", f"{time.monotonic() - begun:.1f} s until the door answered")
            return guest, door
        except DoorError as error:
            failure = error if isinstance(error, VMError) else guest.failure(error)
            guest.close()
            if attempt == 2:
                raise failure from None
            progress("boot", f"once more: {str(failure).splitlines()[0]}")
    raise AssertionError("unreachable")


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB"
