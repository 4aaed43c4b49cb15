"""`launch.c`, built by the compiler that builds the door, into the cache."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

from netkit_edu.linux import build as door
from netkit_edu.program.toolchain import all_compilers
from netkit_edu.vm import cache

SOURCE = Path(__file__).with_name("launch.c")


def path() -> Path | None:
    """Return the program, if it was built and may be run: some homes are mounted so that nothing there may."""
    found = cache.folder() / _name()
    return found if os.access(found, os.X_OK) else None


def build(place: Path, work: Path) -> None:
    """Build it into ``place`` if it is not there; nothing happens where it cannot be built or would not run.

    Args:
        work: a folder for what lies about meanwhile.
    """
    if (place / _name()).is_file() or sys.platform != "linux" or platform.machine() != "x86_64":
        return
    made = work / "launch"
    for compiler in all_compilers():
        target, command = door.TARGETS[compiler.kind], door.COMMANDS[compiler.kind]
        words = [compiler.path, *command, *target, *door.FLAGS, "-o", str(made), str(SOURCE)]
        environment = os.environ | {"TMPDIR": str(work)}
        if subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, env=environment).returncode == 0:
            made.chmod(0o755)
            made.replace(place / _name())
            return


@functools.cache
def _name() -> str:
    parts = SOURCE.read_bytes() + repr((door.FLAGS, door.TARGETS)).encode()
    return f"launch-{hashlib.sha256(parts).hexdigest()[:16]}"
