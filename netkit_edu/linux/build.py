"""Building the door: `door.c` with whatever compiler builds BPF, into the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from netkit_edu.errors import BackendUnavailable
from netkit_edu.program.cache import cache_folder, write_whole
from netkit_edu.program.toolchain import Compiler, all_compilers

FLAGS = ("-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-fno-pie",
         "-mno-sse", "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror")  # fmt: skip
TARGETS = {"clang": ("--target=x86_64-linux-gnu",), "zig": ("-target", "x86_64-linux-none", "-s")}
COMMANDS = {"clang": (), "zig": ("cc",)}
_WORK, _OLD = ".door-", 600  # seconds
SOURCE = Path(__file__).with_name("door.c")


def build_door() -> Path:
    """Return the path of the door, built if the cache does not hold it yet.

    Raises:
        BackendUnavailable: no compiler here can build it, or it cannot be kept; the message says what to do.
    """
    source = SOURCE.read_bytes()
    key = hashlib.sha256(source + repr((FLAGS, TARGETS)).encode()).hexdigest()[:16]
    folder = cache_folder() or Path(tempfile.gettempdir()) / f"netkit-edu-{os.getuid()}"
    path = folder / f"door-{key}"
    if path.is_file():
        return path
    try:
        return _build(folder, path)
    except OSError as error:
        raise BackendUnavailable(f"{folder} cannot be written to ({error.strerror}): set NETKIT_EDU_CACHE") from None


def _build(folder: Path, path: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_WORK}*"):  # by a build that was killed
        if time.time() - left.stat().st_mtime > _OLD:
            shutil.rmtree(left, ignore_errors=True)
    said = "no compiler"
    for compiler in all_compilers():
        with tempfile.TemporaryDirectory(prefix=_WORK, dir=folder) as work:
            made = Path(work) / "door"
            if not (said := compile_door(compiler, made)):
                write_whole(path, made.read_bytes(), mode=0o755)
                return path
    raise BackendUnavailable(
        f"the door to a Linux kernel could not be built ({said}): apt-get install clang, or pip install ziglang"
    )


def compile_door(compiler: Compiler, to: Path) -> str:
    """Build the door with one compiler; return "" or the last line that it complained with."""
    words = [compiler.path, *COMMANDS[compiler.kind], *TARGETS[compiler.kind], *FLAGS, "-o", str(to), str(SOURCE)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[-1]
