"""From one snapshot to the next: restored, taken further, and kept under another name."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from netkit_edu.errors import DoorError
from netkit_edu.linux.door import Door
from netkit_edu.vm import cache, form, launcher, prepare, qemu
from netkit_edu.vm.guest import Guest


def carry_on(entry: cache.Entry, key: str, place: Path, do: Callable[[Door], dict]) -> cache.Entry:
    """Restore a snapshot in memory of its own, have something done there, and keep what became of it.

    Args:
        entry: the snapshot to begin with; it stays as it is.
        key: the name of the new one.
        place: the cache's folder, locked.
        do: what is done; what it returns is added to what is told about the snapshot.

    Raises:
        VMError: the machine does not survive it.
        OSError: the cache cannot be written to.
    """
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        handle = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, handle)
        memory = os.memfd_create("memory", os.MFD_CLOEXEC)
        stack.callback(os.close, memory)
        form.copy_memory(handle, memory)
        words = qemu.wait_words(memory, shared=True)
        guest = Guest(qemu.find(), entry.facts["cpus"], words, (memory,), launcher=launcher.path())
        stack.callback(guest.close)
        try:
            guest.monitor.greet()
            form.restore(guest.monitor, handle)
            door = Door(guest.stream, before=guest.go, after=guest.halt, translate=guest.failure).hello()
            prepare.set_clock(door)
            added = do(door)
            seconds = entry.facts["seconds"] + round(time.monotonic() - begun, 1)
            return keep(guest, memory, key, place, entry.facts | added | {"seconds": seconds})
        except DoorError as error:
            raise guest.failure(error) from None


def keep(guest: Guest, memory: int, key: str, place: Path, facts: dict) -> cache.Entry:
    """Write a stopped machine into the cache, and make room for it there.

    Args:
        memory: the descriptor of its memory, which it shares.
        facts: what is told about it; its size in bytes is added.

    Raises:
        DoorError: QEMU cannot write it.
        OSError: the cache cannot be written to.
    """
    path = place / f"{key}.snapshot"
    file = cache.NewFile(place)
    try:
        facts = facts | {"bytes": form.save(guest.monitor, memory, file.fd)}
        cache.write_facts(path, facts)
        file.keep(path)
    finally:
        file.close()
    cache.evict(key)
    return cache.Entry(key, path, facts)
