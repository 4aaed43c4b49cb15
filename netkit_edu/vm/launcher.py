"""`launch.c`, built by the compiler that builds the door, into the cache."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from netkit_edu.linux import build
from netkit_edu.program.cache import write_whole
from netkit_edu.program.toolchain import all_compilers
from netkit_edu.vm import cache

SOURCE = Path(__file__).with_name("launch.c")


@functools.lru_cache(maxsize=8)
def _built(place: Path) -> Path | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    key = hashlib.sha256(SOURCE.read_bytes() + repr((build.FLAGS, build._TARGETS)).encode()).hexdigest()[:16]
    path = place / f"launch-{key}"
    if path.is_file():
        return path
    for compiler in all_compilers():
        with tempfile.TemporaryDirectory(prefix="netkit-edu-") as work:
            made = Path(work) / "launch"
            target, command = build._TARGETS[compiler.kind], build._COMMANDS[compiler.kind]
            words = [compiler.path, *command, *target, *build.FLAGS, "-o", str(made), str(SOURCE)]
            if subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0:
                place.mkdir(parents=True, exist_ok=True)
                write_whole(path, made.read_bytes(), mode=0o755)
                return path
    return None


def path() -> Path | None:
    """Return the program, built if the cache does not hold it yet; None where it cannot be built."""
    found = _built(cache.folder())
    if found is not None and not found.is_file():  # the cache was cleaned meanwhile
        _built.cache_clear()
        found = _built(cache.folder())
    return found
