"""Snapshots by the hash of everything that made them, in the user's cache folder; the oldest go when it is full.

A file gets its name only when it is whole: until then it has none at all where the file system can do that (O_TMPFILE),
so that a killed build leaves nothing. Who builds holds a lock that the kernel releases with its process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from netkit_edu.errors import BackendUnavailable, NetkitEduError
from netkit_edu.program.cache import cache_folder, write_whole

MOST = 1 << 30  # bytes of snapshots; NETKIT_EDU_VM_CACHE_MB says otherwise
ROOM = 300  # MB that the first snapshot and what it is made from take, with what lies about meanwhile
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
_UNFINISHED = ".new-"


class Entry(NamedTuple):
    """A snapshot that is there: its key, its file, and what is told about it (kernel release, sizes, …)."""

    key: str
    path: Path
    facts: dict


def folder() -> Path:
    """Return the folder of everything that belongs to virtual machines; it may not exist yet.

    ``NETKIT_EDU_VM_CACHE``, or ``vm`` in the package's cache folder.

    Raises:
        BackendUnavailable: this user has neither.
    """
    if chosen := os.environ.get("NETKIT_EDU_VM_CACHE"):
        return Path(chosen)
    if (base := cache_folder()) is None:
        raise BackendUnavailable("a virtual machine needs a folder for its snapshot: set NETKIT_EDU_CACHE to one")
    return base / "vm"


def most_bytes() -> int:
    """Return how much snapshots may take, in bytes."""
    megabytes = os.environ.get("NETKIT_EDU_VM_CACHE_MB", "")
    return int(megabytes) << 20 if megabytes.isdigit() else MOST


def lookup(key: str) -> Entry | None:
    """Return the snapshot kept under ``key``, and note that it was used; None if there is none.

    What is touched is the small file beside it: in a container's image a touched file is copied. A cache that cannot be
    written to serves as well.
    """
    path = folder() / f"{key}.snapshot"
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        path.stat()
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path.with_suffix(".json"))
    return Entry(key, path, facts)


def write_facts(path: Path, facts: dict) -> None:
    """Write what is told about a snapshot beside it."""
    write_whole(path.with_suffix(".json"), json.dumps(facts, indent=1).encode(), mode=0o644)


def entries() -> list[Entry]:
    """Return every snapshot, the one used longest ago first."""
    found = []
    for path in folder().glob("*.snapshot"):
        with contextlib.suppress(OSError, ValueError):
            beside = path.with_suffix(".json")
            facts = json.loads(beside.read_bytes())
            found.append((beside.stat().st_mtime_ns, Entry(path.stem, path, facts)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def forget(key: str) -> None:
    """Remove a snapshot, if that can be; whoever has it open keeps it until then."""
    for suffix in (".snapshot", ".json"):
        with contextlib.suppress(OSError):
            (folder() / f"{key}{suffix}").unlink()


def keep_only(keys: set[str]) -> int:
    """Remove every snapshot but these and what was rehearsed on them; return how many went."""
    gone = [entry.key for entry in entries() if entry.key.partition("-")[0] not in keys]
    for other in gone:
        forget(other)
    return len(gone)


def evict(keep: str) -> list[str]:
    """Remove the snapshots used longest ago until the rest fits, never the one named; return the keys that went."""
    left = entries()
    total, gone = sum(occupied(entry.path) for entry in left), []
    for entry in left:
        if total <= most_bytes():
            break
        if entry.key != keep:
            total -= occupied(entry.path)
            forget(entry.key)
            gone.append(entry.key)
    return gone


def occupied(path: Path) -> int:
    """Return the bytes that a file takes on the disk: its holes take none."""
    status = path.stat()
    return min(status.st_size, status.st_blocks * 512)


def clean() -> int:
    """Remove all of it, kernels included; return the bytes that this freed."""
    place = folder()
    freed = sum(occupied(path) for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(place, ignore_errors=True)
    return freed


@contextlib.contextmanager
def locked(waiting: Callable[[], None] | None) -> Iterator[Path]:
    """Be the only process that builds; gives the folder, freed of what a killed build has left.

    Args:
        waiting: called once if another process holds the lock; None to wait for nobody.

    Raises:
        BackendUnavailable: the folder cannot be made or written to, now or while something is built there, or another
            process builds and we do not wait.
    """
    place, handle = folder(), -1
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise BackendUnavailable("another process is building") from None
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        sweep(place)
        yield place
    except OSError as error:
        if isinstance(error, NetkitEduError):
            raise
        raise BackendUnavailable(trouble(place, error)) from None
    finally:
        if handle >= 0:
            os.close(handle)


def trouble(place: Path, error: OSError) -> str:
    """Return in one line why something could not be made in a folder of ours, and what to do."""
    if error.errno in _FULL:
        return f"no room in {place} (a virtual machine's files take {ROOM} MB): free some, or set NETKIT_EDU_CACHE"
    if error.errno in _CLOSED:
        return f"{place} cannot be written to ({error.strerror}): set NETKIT_EDU_CACHE to a folder that can"
    return f"no virtual machine can be made here: {error.strerror or error}"


def lacking() -> str:
    """Return in one line why no snapshot can be made in the folder; "" where nothing is to be seen against it.

    Raises:
        BackendUnavailable: this user has no such folder.
    """
    place = there = folder()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        number = errno.EACCES if there.is_dir() else errno.ENOTDIR
        return trouble(place, OSError(number, os.strerror(number)))
    free = os.statvfs(there)
    return trouble(place, OSError(errno.ENOSPC, "")) if free.f_bavail * free.f_frsize < ROOM * 10**6 else ""


def tidy() -> None:
    """Remove what a killed build has left, unless a build is going on."""
    place = folder()
    if next(place.glob(f"{_UNFINISHED}*"), None) is None:
        return
    with contextlib.suppress(OSError):
        handle = os.open(place / "lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sweep(place)
        finally:
            os.close(handle)


def sweep(place: Path) -> None:
    """Remove what a killed build has left; only the holder of the lock may."""
    for path in place.glob(f"{_UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def work_folder(place: Path) -> Iterator[Path]:
    """Give an empty folder for files of a build, and remove it afterwards; `sweep` does if this process cannot."""
    path = place / f"{_UNFINISHED}{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class NewFile:
    """A file that has no name until `keep`: ``fd`` is its descriptor, open for reading and writing."""

    def __init__(self, place: Path):
        self._path: Path | None = None
        try:
            self.fd = os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except (AttributeError, OSError):
            self._path = place / f"{_UNFINISHED}file-{os.getpid()}"
            self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def keep(self, path: Path) -> None:
        """Give the file its name, in place of what has it."""
        if self._path is None:
            path.unlink(missing_ok=True)
            # The descriptor as a folder means nothing beside an absolute path; without one Python would call link(2).
            os.link(f"/proc/self/fd/{self.fd}", path, src_dir_fd=self.fd, follow_symlinks=True)
        else:
            os.replace(self._path, path)
        self.close()

    def close(self) -> None:
        """Give up the descriptor, and the file if it was not kept."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            if self._path is not None:
                self._path.unlink(missing_ok=True)
