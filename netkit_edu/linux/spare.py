"""A door that a lab has left, kept a moment for the next lab of this process.

Starting a door and setting up its recording is most of what it takes until a lab stands; a door that was used has both.
Before it waits it lets go of all that its lab held (every descriptor but those of the recording), moves from the lab's
namespaces back to the empty one that it was given first, and is on all CPUs again. A door in which something was done
that this does not undo (`Door.reusable`) is not kept. After `SECONDS`, or when Python ends, the one that waits goes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import threading
from typing import NamedTuple

from netkit_edu.errors import DoorError, KernelError
from netkit_edu.linux.door import Door
from netkit_edu.linux.netns import OWN_NET, open_file
from netkit_edu.linux.syscalls import O_CLOEXEC
from netkit_edu.linux.trace_setup import FIRST, LINKS

SECONDS = 3.0  # how long it waits
EXIT_S = 2.0  # seconds for a door to exit once its stream is closed
_STREAMS = 3  # descriptors that it was started with
_HOME = LINKS.stop  # the descriptor of its first namespace
_ALL = 0xFFFF_FFFF
_MASK = 128  # bytes of a set of CPUs


class _Spare(NamedTuple):
    pid: int
    key: object
    door: Door
    timer: threading.Timer


_lock = threading.RLock()
_waiting: _Spare | None = None
_ending = False


def end(door: Door) -> None:
    """Have a door exit, and wait until it has; a second call does nothing."""
    door.close()
    try:
        door.child.wait(EXIT_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(PermissionError):  # not ours to kill where sudo started it; it exits by itself
            door.child.kill()
            door.child.wait()


def settle(door: Door) -> None:
    """Have a door remember where it is now, an empty network namespace, as the place where it will wait."""
    batch = door.batch()
    here = open_file(batch, OWN_NET)
    batch.call("dup3", here, _HOME, O_CLOEXEC)
    batch.call("close", here)
    batch.run()


def keep(door: Door, key: object, cpus: tuple[int, ...]) -> bool:
    """Take a door that its lab has left; return False if it cannot be kept: it is still open then.

    Args:
        door: it is closed afterwards for whoever has it.
        key: what the next lab must ask for to be given it.
        cpus: numbers of the CPUs that it may run on.
    """
    if door.closed or not door.reusable or _ending:
        return False
    try:
        _wipe(door, cpus)
        other = door.hand_over()
    except (DoorError, KernelError, OSError):
        return False
    timer = threading.Timer(SECONDS, _expire, (other,))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # Python ends
        end(other)
        return True
    _swap(_Spare(os.getpid(), key, other, timer))
    return True


def take(key: object) -> Door | None:
    """Return the door that waits, None if none does, or only one that does not fit."""
    spare = _swap(None)
    if spare is None or spare.pid != os.getpid():
        return None
    spare.timer.cancel()
    with contextlib.suppress(DoorError):
        if spare.key == key:
            return spare.door.hello()
    end(spare.door)
    return None


def _swap(new: _Spare | None) -> _Spare | None:
    """Have another one wait; what waited before goes, unless it is returned."""
    global _waiting
    with _lock:
        old, _waiting = _waiting, new
    if new is None or old is None:
        return old
    old.timer.cancel()
    if old.pid == new.pid:
        end(old.door)
    return None


def _expire(door: Door) -> None:
    global _waiting
    with _lock:
        if _waiting is None or _waiting.door is not door:
            return
        _waiting = None
    end(door)


def _wipe(door: Door, cpus: tuple[int, ...]) -> None:
    mask = sum(1 << cpu for cpu in cpus).to_bytes(_MASK, "little")
    batch = door.batch()
    batch.setns(_HOME)
    batch.call("sched_setaffinity", 0, _MASK, mask)
    batch.call("close_range", _STREAMS, FIRST - 1, 0)
    batch.call("close_range", _HOME + 1, _ALL, 0)
    batch.run()


@atexit.register
def _at_exit() -> None:
    global _ending
    _ending = True
    spare = _swap(None)
    if spare is not None and spare.pid == os.getpid():
        spare.timer.cancel()
        end(spare.door)
