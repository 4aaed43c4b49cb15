"""Where the package's own C headers, programs and prebuilt objects lie, in the repository or in an installed wheel."""

from __future__ import annotations

import functools
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


@functools.cache
def bpf_folder() -> Path:
    """Return the folder with ``netkit_edu.h`` and the course's programs: ``bpf/`` of the repository or of the wheel.

    Raises `FileNotFoundError` if the installation lacks it.
    """
    for folder in (PACKAGE / "bpf", PACKAGE.parent / "bpf"):
        if (folder / "netkit_edu.h").is_file():
            return folder
    raise FileNotFoundError(f"netkit_edu.h is neither in {PACKAGE / 'bpf'} nor in {PACKAGE.parent / 'bpf'}")


def prebuilt_folder() -> Path:
    """Return the folder of objects compiled beforehand, for machines without a compiler; it need not exist."""
    return PACKAGE / "prebuilt"


@functools.cache
def header_files() -> dict[str, Path]:
    """Return every header a cell may include: the name as written in ``#include`` -> the file."""
    folder = bpf_folder()
    found = {path.relative_to(folder / "include").as_posix(): path for path in (folder / "include").rglob("*.h")}
    found["netkit_edu.h"] = folder / "netkit_edu.h"
    return dict(sorted(found.items()))
