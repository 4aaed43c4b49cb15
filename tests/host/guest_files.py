"""What the guest is made of: a kernel with its headers, Python's library as one image, this tree as one archive.

The guest's files are this machine's, over 9p, which is slow: what Python reads is in one image and one archive instead,
and what tests compile is compiled out here beforehand. The kernel is downloaded by apt and unpacked into the cache;
nothing is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.requires import ROOT

SITE = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "hypothesis", "_hypothesis_globals.py",
        "_hypothesis_ftz_detector.py", "_hypothesis_pytestplugin.py", "sortedcontainers", "scapy", "elftools", "py.py",
        "pyroute2")  # fmt: skip
UNUSED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "pydoc_data"}


def find(program: str) -> str | None:
    """Return where a program is: beside this Python, on PATH, or where the administrator's are."""
    return shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def newest_packages() -> list[str]:
    """Return the packages of the newest generic 6.12 kernel that apt knows, and of its headers; [] without one."""
    names, found = package_names(), {}
    for name in names:
        if match := re.fullmatch(r"linux-image-(6\.12\.(\d+)[\w.+~]*)-amd64(-unsigned)?", name):
            headers = [f"linux-headers-{match[1]}-amd64", f"linux-headers-{match[1]}-common"]
            if set(headers) <= set(names):
                found[int(match[2]), name] = [name, *headers]
    return max(found.items(), default=((), []))[1]


def package_names() -> list[str]:
    """Return the names of the packages that apt knows of kernels."""
    done = subprocess.run(["apt-cache", "pkgnames", "linux-"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def kernels() -> Path:
    """Return the folder in which downloaded kernels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "netkit-edu" / "guest"


def unpacked() -> Path | None:
    """Return the folder of the kernel that was downloaded last, None without one."""
    found = sorted(kernels().glob("*/lib/modules/*/modules.dep"), key=lambda path: path.stat().st_mtime)
    return found[-1].parents[3] if found else None


def kernel() -> Path:
    """Return the folder that holds a kernel with its modules and headers, downloaded at the first use."""
    if (there := unpacked()) is not None:
        return there
    packages = newest_packages()
    kernels().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kernels()) as work:
        print(f"downloading {' '.join(packages)}", file=sys.stderr, flush=True)
        subprocess.run(["apt-get", "download", "-qq", *packages], cwd=work, check=True, stderr=subprocess.DEVNULL)
        made = Path(work) / "root"
        for package in Path(work).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, made], check=True)
        release = next((made / "lib/modules").iterdir()).name
        subprocess.run([find("depmod"), "-b", made, release], check=True)
        made.rename(kernels() / release)
    return kernels() / release


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    def wanted(info: tarfile.TarInfo):
        path = Path(info.name)
        unused = (
            path.parts[1:3] == ("scapy", "contrib")
            or path.parts[0] == "lib"
            and set(path.parts[2:3]) & UNUSED
            or ".opt-" in path.name
        )
        return None if unused or path.name.startswith("config-3") or path.suffix in (".a", ".exe") else info

    if path.exists():
        archive.add(path, name, filter=wanted)


def base_image() -> Path:
    """Return a file system of what Python is made of in the guest: its library, and the packages that tests use.

    An image is mounted at once and read as far as it is needed, where an archive of 4000 files takes long to unpack.
    """
    library = Path(os.__file__).parent
    site = Path(importlib.util.find_spec("pytest").origin).parents[1]
    members = [(library, f"lib/{library.name}")]
    members += [(site / name, f"site/{name}") for name in SITE]
    members += [(path, f"site/{path.name}") for name in SITE for path in site.glob(f"{name}-*.dist-info")]
    stamp = repr([(str(path), path.stat().st_mtime_ns) for path, _ in members if path.exists()])
    made = kernels() / f"python-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.ext4"
    if not made.exists():
        for old in kernels().glob("python-*"):
            old.unlink()
        with tempfile.TemporaryDirectory(dir=kernels()) as work:
            with tarfile.open(Path(work) / "tar", "w") as archive:
                for path, name in members:
                    _add(archive, path, name)
            with tarfile.open(Path(work) / "tar") as archive:
                archive.extractall(Path(work) / "root", filter="fully_trusted")
            size = f"{(Path(work) / 'tar').stat().st_size // 2**20 * 3 // 2 + 32}M"
            part = Path(work) / "image"
            subprocess.run(
                [find("mke2fs"), "-q", "-t", "ext4", "-O", "^has_journal", "-N", "20000", "-d", Path(work) / "root",
                 part, size], check=True,
            )  # fmt: skip
            part.rename(made)
    return made


def repo_archive(path: Path, cache: Path) -> None:
    """Write an archive of the working tree, compiled, and of the objects in ``cache``."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "netkit_edu", "tests"], cwd=ROOT, check=True)
    with tarfile.open(path, "w") as archive:
        for name in ("netkit_edu", "bpf", "tests", "contrib", "pyproject.toml"):
            _add(archive, ROOT / name, f"repo/{name}")
        _add(archive, cache, "cache")


def compile_beforehand(cache: Path, words: list[str]) -> None:
    """Fill ``cache`` with the door and every object that the tests will ask for: run them on the simulator."""
    from netkit_edu.linux.build import build_door

    environ = os.environ | {"NETKIT_EDU_TEST_BACKENDS": "sim", "NETKIT_EDU_REQUIRE": ""}
    environ |= {"NETKIT_EDU_TEST_CACHE": str(cache), "NETKIT_EDU_CACHE": str(cache)}
    texts = "import netkit_edu as nk; from tests.host import texts; [nk.compile(text) for text in texts.ALL]"
    subprocess.run([sys.executable, "-c", texts], cwd=ROOT, env=environ, check=True)
    if contract := [word for word in words if "contract" in word]:
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *contract],
            cwd=ROOT, env=environ, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    (cache / build_door().name).write_bytes(build_door().read_bytes())
    (cache / build_door().name).chmod(0o755)
