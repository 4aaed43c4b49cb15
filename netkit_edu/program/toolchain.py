"""Which C compiler this machine has for BPF: the system's clang, or zig from the ``ziglang`` wheel.

Both are clang inside and make the same instructions. ``NETKIT_EDU_CC`` chooses: "clang", "zig", or a path.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OLDEST_CLANG = 14
NEWEST_CLANG = 24  # names tried; a newer one is found as plain "clang"


@dataclass(frozen=True)
class Compiler:
    """A compiler with a BPF target: ``kind`` is "clang" or "zig", ``version`` that of the clang inside."""

    kind: str
    path: str
    version: str

    @property
    def command(self) -> list[str]:
        """The words a command line starts with."""
        return [self.path, "clang"] if self.kind == "zig" else [self.path]


def find_compiler() -> Compiler | None:
    """Return the compiler that `compile_c` uses, or None if this machine has none.

    Order: ``NETKIT_EDU_CC`` if set; clang 14 or newer on the PATH that knows BPF; zig of the ``ziglang`` wheel.
    """
    return _find(os.environ.get("NETKIT_EDU_CC", ""), os.environ.get("PATH", os.defpath))


def all_compilers() -> list[Compiler]:
    """Return each kind of compiler that this machine has, the preferred one first."""
    path = os.environ.get("PATH", os.defpath)
    return [found for kind in ("clang", "zig") if (found := _find(kind, path))]


@functools.lru_cache(maxsize=16)
def _find(choice: str, path: str) -> Compiler | None:
    if choice not in ("", "clang", "zig"):
        return _probe("zig" if Path(choice).name.startswith("zig") else "clang", shutil.which(choice, path=path))
    if choice in ("", "clang"):
        for name in ("clang", *(f"clang-{n}" for n in range(NEWEST_CLANG, OLDEST_CLANG - 1, -1))):
            if found := _probe("clang", shutil.which(name, path=path)):
                return found
    return _probe("zig", _zig_binary()) if choice in ("", "zig") else None


def _zig_binary() -> str | None:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        return None
    binary = Path(spec.submodule_search_locations[0]) / ("zig.exe" if os.name == "nt" else "zig")
    return str(binary) if binary.is_file() else None


def _probe(kind: str, path: str | None) -> Compiler | None:
    """Return the compiler at ``path`` if it runs, is new enough and has the BPF target."""
    if path is None:
        return None
    compiler = Compiler(kind, path, "")
    version = re.search(r"clang version (\d+)(\.[\d.]+)?", _ask(compiler, "--version"))
    if version is None or int(version[1]) < OLDEST_CLANG:
        return None
    # zig's clang is built with all targets and lists them under another name
    if kind == "clang" and not re.search(r"^\s*bpf\s", _ask(compiler, "--print-targets"), re.M):
        return None
    return Compiler(kind, path, version[1] + (version[2] or ""))


def _ask(compiler: Compiler, question: str) -> str:
    try:
        done = subprocess.run(
            [*compiler.command, question],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
