"""A kernel from apt, without root: the package is downloaded and what is needed of it unpacked, nothing installed.

Debian's cloud kernel or Ubuntu's generic one; `kernel.choose` says which of them.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from netkit_edu.errors import BackendUnavailable
from netkit_edu.vm import cache, kernel

TIMEOUT = 600.0  # seconds
_NO_ROOM = os.strerror(errno.ENOSPC)


def offered(options: tuple[str, ...] = (), work: Path | None = None) -> tuple[str, ...]:
    """Return the packages that `kernel.choose` takes of those apt knows; () where there is no apt.

    Args:
        options: apt's.
        work: a folder for what it writes meanwhile; by default the system's.
    """
    if shutil.which("apt-cache") is None:
        return ()
    # Asked once for all: where apt keeps no cache of its lists it reads them anew for each question.
    words = ["apt-cache", *options, "pkgnames", os.path.commonprefix(kernel.PACKAGES)]
    done = subprocess.run(words, capture_output=True, text=True, env=_environment(work), check=False)
    return kernel.choose([name for name in done.stdout.split() if name.startswith(kernel.PACKAGES)])


def _environment(work: Path | None) -> dict[str, str]:
    """Have apt write where there is room, and speak as we read it."""
    return os.environ | {"LC_ALL": "C"} | ({"TMPDIR": str(work)} if work else {})


def fetch(place: Path, progress: Callable[[str, str], None]) -> kernel.Kernel:
    """Download a kernel with netkit and keep its image and modules in ``place/kernels``.

    Where apt knows none, its lists are read anew into a folder of this build: that takes no root either.

    Raises:
        BackendUnavailable: there is no apt, or it has no such kernel, or cannot download it.
        OSError: there is no room.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise BackendUnavailable(
            "no kernel with netkit here, and no apt to download one: set NETKIT_EDU_KERNEL to a vmlinuz of 6.7 or later"
        )
    with cache.work_folder(place) as work:
        options: tuple[str, ...] = ()
        if not (packages := offered(work=work)):
            progress("package lists", "apt knows no kernel with netkit yet: reading its lists anew")
            options = _own_lists(work)
            _apt(("apt-get", *options, "-qq", "update"), work, "read its package lists")
            packages = offered(options, work)
        if not packages:
            raise BackendUnavailable(
                "apt has no kernel with netkit: set NETKIT_EDU_KERNEL to a vmlinuz of 6.7 or later"
            )
        progress("download", " ".join(packages))
        _apt(("apt-get", *options, "-qq", "download", *packages), work, f"download {packages[0]}")
        ready = work / "kernel"
        ready.mkdir()
        for package in sorted(work.glob("*.deb")):
            _unpack(package, ready)
        release = kernel.release_of(ready / "vmlinuz") if (ready / "vmlinuz").is_file() else ""
        if not release:
            raise BackendUnavailable(f"{packages[0]} holds no kernel that QEMU can boot")
        target = place / "kernels" / release
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        ready.rename(target)
    return kernel.Kernel(target / "vmlinuz", release, kernel.find_modules(target), "downloaded by apt")


def _own_lists(work: Path) -> tuple[str, ...]:
    folders = {"Dir::State::lists": work / "lists", "Dir::Cache": work / "apt-cache"}
    for path in folders.values():
        (path / "partial").mkdir(parents=True)
        (path / "archives/partial").mkdir(parents=True)
    return tuple(word for name, path in folders.items() for word in ("-o", f"{name}={path}"))


def _apt(words: tuple[str, ...], work: Path, what: str) -> None:
    options = ("-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1")
    try:
        done = subprocess.run(
            [words[0], *options, *words[1:]],
            cwd=work,
            env=_environment(work),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BackendUnavailable(f"apt-get could not {what} within {TIMEOUT / 60:.0f} minutes") from None
    if done.returncode:
        if _NO_ROOM.lower() in done.stderr.lower():
            raise OSError(errno.ENOSPC, _NO_ROOM)
        said = (done.stderr.strip().splitlines() or ["it gives no reason"])[-1]
        raise BackendUnavailable(f"apt-get could not {what}: {said}")


def _unpack(package: Path, ready: Path) -> None:
    """Take the image and the modules out of a package, by way of a pipe: the rest is never written."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as tool:
        with tarfile.open(fileobj=tool.stdout, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                wanted = "vmlinuz" if name.startswith("vmlinuz") else name
                if member.isfile() and (wanted == "vmlinuz" or name.split(".")[0] in kernel.MODULES and ".ko" in name):
                    (ready / wanted).write_bytes(tar.extractfile(member).read())
