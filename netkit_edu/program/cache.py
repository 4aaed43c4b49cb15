"""Compiled objects by the hash of what made them: in memory, on the disk, and shipped beside the package.

The key holds the text, our headers and the flags, but no compiler and no path: whichever compiler made an object, and
on whichever machine, it means the same. So objects built beforehand serve machines without a compiler.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from netkit_edu.program.files import prebuilt_folder

MOST_IN_MEMORY = 256  # objects
_memory: dict[str, bytes] = {}


def cache_folder() -> Path | None:
    """Return where objects are kept between runs: ``NETKIT_EDU_CACHE``, or the platform's cache folder for this user.

    None where a user has no home. The folder may not exist, or not be writable: then nothing is kept.
    """
    if chosen := os.environ.get("NETKIT_EDU_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        base = Path("~/Library/Caches")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        return base.expanduser() / "netkit-edu"
    except RuntimeError:
        return None


def lookup(key: str) -> bytes | None:
    """Return the object kept under ``key``, from memory, the package, or the disk."""
    if key in _memory:
        return _memory[key]
    for path in (prebuilt_folder() / f"{key}.o", _on_disk(key)):
        if path is not None:
            with contextlib.suppress(OSError):
                return path.read_bytes()
    return None


def store(key: str, data: bytes, *, on_disk: bool = True) -> None:
    """Keep an object; a disk that cannot be written to is no error."""
    while len(_memory) >= MOST_IN_MEMORY:
        del _memory[next(iter(_memory))]
    _memory[key] = data
    path = _on_disk(key) if on_disk else None
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)


def forget(key: str) -> None:
    """Drop an object that turned out to be broken, from memory and from the disk."""
    _memory.pop(key, None)
    path = _on_disk(key)
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _on_disk(key: str) -> Path | None:
    folder = cache_folder()
    return folder / "objects" / f"{key}.o" if folder is not None else None
