"""The guest's kernel: one that is named, the machine's own, or the newest that apt can download.

Any Linux with netkit serves (6.7 and later). What is not built into it is loaded from its modules.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from netkit_edu.errors import BackendUnavailable

# In the order in which they can be loaded: a bridge needs the two before it. A kernel may have them built in.
MODULES = ("veth", "dummy", "llc", "stp", "bridge")
LEAST = (6, 7)  # where netkit begins
COURSE = (6, 12)
PACKAGES = ("linux-image-6", "linux-image-unsigned-", "linux-binary-", "linux-modules-")  # how their names begin
_DEBIAN = re.compile(r"linux-image-(?P<release>\d[\w.+~-]*-cloud-amd64)-unsigned")  # up to 6.18, with its modules
_DEBIAN_PARTS = re.compile(r"linux-binary-(unsigned-)?(?P<release>\d[\w.+~-]*-cloud-amd64)")
_UBUNTU = re.compile(r"linux-image-unsigned-(?P<release>\d[\w.+~-]*-generic)")
_BOOT_HEADER = 0x1F1  # Documentation/arch/x86/boot.rst
_XZ, _ZSTD = ".xz", ".zst"


@dataclass(frozen=True)
class Kernel:
    """A kernel that QEMU can boot.

    Args:
        path: its image, a bzImage.
        release: what ``uname -r`` will say.
        modules: those of `MODULES` that it has as files.
        source: where it came from, in words.
    """

    path: Path
    release: str
    modules: dict[str, Path] = field(default_factory=dict)
    source: str = ""

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of the image."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def release_of(path: Path) -> str:
    """Return the release that a bzImage names in its header, "" where it is none.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as image:
        head = image.read(0x8000)
    if head[_BOOT_HEADER + 0x11 : _BOOT_HEADER + 0x15] != b"HdrS":
        return ""
    start = struct.unpack_from("<H", head, 0x20E)[0] + 0x200
    return head[start : start + 128].split(b"\0")[0].split(b" ")[0].decode("ascii", "replace")


def find_modules(*places: Path) -> dict[str, Path]:
    """Return the files of `MODULES` below the first of these folders that has any."""
    for place in places:
        found = {}
        for path in place.glob("kernel/**/*.ko*") if (place / "kernel").is_dir() else place.glob("**/*.ko*"):
            name = path.name.split(".")[0]
            if name in MODULES:
                found[name] = path
        if found:
            return {name: found[name] for name in MODULES if name in found}
    return {}


def unpacked(path: Path) -> bytes:
    """Return a module's bytes as the kernel loads them.

    Raises:
        BackendUnavailable: it is packed with zstd, and nothing here can unpack that.
    """
    data = path.read_bytes()
    if path.suffix == _XZ:
        import lzma

        return lzma.decompress(data)
    if path.suffix != _ZSTD:
        return data
    try:
        from compression import zstd  # Python 3.14

        return zstd.decompress(data)
    except ImportError:
        pass
    if (tool := shutil.which("zstd")) is None:
        raise BackendUnavailable(f"{path.name} is packed with zstd: apt-get install zstd")
    return subprocess.run([tool, "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout


def named() -> Kernel | None:
    """Return the kernel that ``NETKIT_EDU_KERNEL`` names, None if it names none.

    Its modules lie below ``NETKIT_EDU_MODULES``, in its own folder, in ``lib/modules`` or ``usr/lib/modules`` beside
    that, or in ``/lib/modules``: so it may lie in an installed system, or in a package that was only unpacked.

    Raises:
        BackendUnavailable: it cannot be read, or is no bzImage.
    """
    if not (chosen := os.environ.get("NETKIT_EDU_KERNEL")):
        return None
    path = Path(chosen)
    try:
        release = release_of(path)
    except OSError as error:
        raise BackendUnavailable(f"NETKIT_EDU_KERNEL names {path}: {error.strerror}") from None
    if not release:
        raise BackendUnavailable(f"NETKIT_EDU_KERNEL names {path}, which is no x86 bzImage (a vmlinuz)")
    if place := os.environ.get("NETKIT_EDU_MODULES"):
        modules = find_modules(Path(place))
        if not modules:
            raise BackendUnavailable(f"NETKIT_EDU_MODULES names {place}, which has no veth module")
    else:
        own, above = path.parent, path.parent.parent
        holds = (own / "kernel").is_dir() or any(own.glob("*.ko*"))
        beside = [root / "lib/modules" / release for root in (above, above / "usr", Path("/"))]
        modules = find_modules(*[own] * holds, *beside)
    return Kernel(path, release, modules, "NETKIT_EDU_KERNEL")


def own(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Kernel | None:
    """Return a readable kernel with netkit that this machine has in ``/boot``, the running one first."""
    running = os.uname().release
    paths = sorted(boot.glob("vmlinuz-*"), key=lambda path: (path.name == f"vmlinuz-{running}", _version(path.name)))
    for path in reversed(paths):
        release = path.name.removeprefix("vmlinuz-")
        try:
            if b"\nCONFIG_NETKIT=y" not in (boot / f"config-{release}").read_bytes():
                continue
            if release_of(path) == release:
                return Kernel(path, release, find_modules(modules / release), f"this machine's {path}")
        except OSError:
            continue
    return None


def fetched(place: Path) -> Kernel | None:
    """Return the newest kernel among those that were downloaded before into ``place/kernels``."""
    found = sorted((place / "kernels").glob("*/vmlinuz"), key=lambda path: _version(path.parent.name))
    for path in reversed(found):
        release = path.parent.name
        if release_of(path) == release:
            return Kernel(path, release, find_modules(path.parent), "downloaded by apt")
    return None


def choose(names: list[str]) -> tuple[str, ...]:
    """Return the packages to download, the kernel first, for the best kernel among these package names; () for none.

    The best is the newest of 6.12, the course's own, or of the series that follows it most closely; else the newest.
    """
    found = []
    for name in names:
        match = _DEBIAN.fullmatch(name) or _DEBIAN_PARTS.fullmatch(name) or _UBUNTU.fullmatch(name)
        if match is None or (series := (version := _version(match["release"]))[:2]) < LEAST:
            continue
        rank = (1, *(-n for n in series), version) if series >= COURSE else (0, *series, version)
        if match.re is _DEBIAN:
            found.append((rank, (name,)))
        elif (modules := f"linux-modules-{match['release']}") in names:
            found.append((rank, (name, modules)))
    return max(found, default=((), ()))[1]


def _version(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))
