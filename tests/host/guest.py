"""A machine whose kernel has netkit, kprobes and headers, for tests that want to be root there: a virtme-ng guest.

    python -m tests.host.guest [pytest's words]     boots the guest, as make test-host does
    python -m tests.host.guest headers              prints where the kernel's headers are, for NETKIT_EDU_HEADERS

It boots Debian's generic 6.12 kernel once, without root and without KVM, runs the tests of `SUITE` inside as root with
``NETKIT_EDU_TEST_BACKENDS=host``, and prints what came of each. The kernel is downloaded by apt and unpacked into the
cache; nothing is installed. The guest's files are this machine's, over 9p, which is slow: what Python reads is in one
image and one archive instead, and what tests compile is compiled out here beforehand.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CPUS = "1"  # one is faster here: the emulated processors wait for each other
TIMEOUT_S = 1500  # seconds; a guest that hangs is ended
SUITE = (  # what runs inside; the whole of tests/contract takes some twenty minutes more
    "tests/host/test_probe.py",
    "tests/host/test_host.py",
    "tests/host/test_kills.py",
    "tests/host/test_bcc.py",
    "tests/contract/test_authority.py",
    "tests/contract/test_context.py",
    "tests/contract/test_sender_errors.py",
    "tests/contract/test_verdicts.py",
)
PROGRAMS = {"vng": "pip install -e '.[guest]'", "qemu-system-x86_64": "apt-get install qemu-system-x86",
            "busybox": "apt-get install busybox-static", "script": "apt-get install bsdutils",
            "depmod": "apt-get install kmod", "mke2fs": "apt-get install e2fsprogs",
            "dpkg-deb": "a Debian or Ubuntu"}  # fmt: skip
SITE = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "hypothesis", "_hypothesis_globals.py",
        "_hypothesis_ftz_detector.py", "_hypothesis_pytestplugin.py", "sortedcontainers", "scapy", "elftools", "py.py",
        "pyroute2")  # fmt: skip
UNUSED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "pydoc_data"}

INSIDE = """#!/bin/sh
exec >{lane}/console 2>&1
PS4='+ $(cut -d" " -f1 /proc/uptime) '
set -x
modprobe -a loop ext4 veth dummy bridge
mkdir -p /run/base /run/lane && cd /run/lane
mount -o loop,ro {base} /run/base
tar -xf {lane}/repo.tar
mount --bind {kernel}/usr/src /usr/src
mkdir home tmp
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 HOME=$PWD/home TMPDIR=$PWD/tmp
export PYTHONHOME=/run/base PYTHONPATH=/run/base/site:$PWD/repo
export NETKIT_EDU_CACHE=$PWD/cache NETKIT_EDU_TEST_CACHE=$PWD/cache NETKIT_EDU_REQUIRE={require}
export NETKIT_EDU_TEST_BACKENDS=host NETKIT_EDU_KILLS=1
cd repo
{python} -m pytest -p no:cacheprovider --assert=plain --junitxml=../junit.xml {words}
echo "pytest: $?"
cp ../junit.xml {lane}/junit.part && mv {lane}/junit.part {lane}/junit.xml
"""


class Case(NamedTuple):
    """What came of one test: "passed", "failed", "skipped" or "error", how many seconds it took, and what it said."""

    file: str
    name: str
    outcome: str
    seconds: float
    said: str


def missing() -> str:
    """Return what this machine lacks to boot the guest, "" if nothing."""
    for program, remedy in PROGRAMS.items():
        if find(program) is None:
            return f"no {program}: {remedy}"
    try:
        return "" if _unpacked() or newest_packages() else "apt knows no linux-image-6.12*-amd64: apt-get update"
    except OSError as error:
        return f"apt-cache does not start ({error.strerror})"


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


def _unpacked() -> Path | None:
    found = sorted(kernels().glob("*/lib/modules/*/modules.dep"), key=lambda path: path.stat().st_mtime)
    return found[-1].parents[3] if found else None


def kernel() -> Path:
    """Return the folder that holds a kernel with its modules and headers, downloaded at the first use."""
    if (there := _unpacked()) is not None:
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


def run(words: list[str], require: str = "door,host,kernel") -> list[Case]:
    """Boot the guest, run pytest inside with these words, and return what came of each test.

    Raises:
        RuntimeError: nothing came out; the message ends with what the guest said last.
    """
    tree, base = kernel(), base_image()
    release = next((tree / "lib/modules").iterdir()).name
    with tempfile.TemporaryDirectory(prefix="netkit-edu-guest-") as work:
        lane = Path(work)
        (lane / "cache").mkdir()
        compile_beforehand(lane / "cache", words)
        repo_archive(lane / "repo.tar", lane / "cache")
        script = lane / "inside"
        python = Path(sys.executable).resolve()
        script.write_text(
            INSIDE.format(lane=lane, base=base, kernel=tree, python=python, require=require, words=" ".join(words))
        )
        script.chmod(0o755)
        command = [find("vng"), "--disable-kvm", "--run", str(tree / f"boot/vmlinuz-{release}"), "--memory", "2G",
                   "--cpus", CPUS, "--user", "root", "--rwdir", str(lane), "--", str(script)]  # fmt: skip
        environ = os.environ | {"PATH": f"{Path(find('vng')).parent}:{os.environ['PATH']}:/usr/sbin"}
        with (lane / "vng").open("w") as said:
            guest = subprocess.Popen(
                ["script", "-qec", " ".join(command), "/dev/null"], env=environ, cwd=lane,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
            try:
                guest.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pass
            finally:
                guest.terminate()  # script(1) then hangs up on what it started
                guest.wait()
        text = "".join(p.read_text(errors="replace") for p in (lane / "vng", lane / "console") if p.exists())
        if keep := os.environ.get("NETKIT_EDU_GUEST_LOG"):
            Path(keep).write_text(text)
        if not (lane / "junit.xml").exists():
            raise RuntimeError(f"the guest gave no result; it said last:\n{text[-3000:]}")
        return cases(lane / "junit.xml")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def cases(path: Path) -> list[Case]:
    """Read what pytest wrote as junit's XML."""
    found = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        outcome, said = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = {"failure": "failed"}.get(child.tag, child.tag)
                said = (child.text or child.get("message") or "").strip()
        file = case.get("classname", "").replace(".", "/") + ".py"
        found.append(Case(file, case.get("name", ""), outcome, float(case.get("time", 0)), said))
    return found


def main(words: list[str]) -> int:
    """Run the guest and print what came of it; return 1 if anything failed or was skipped."""
    if reason := missing():
        print(f"the guest cannot be booted here: {reason}", file=sys.stderr)
        return 1
    if words == ["headers"]:
        print(kernel() / "usr/src")
        return 0
    found = run(words or list(SUITE))
    for case in found:
        if case.outcome != "passed":
            print(f"{case.outcome.upper()} {case.file}::{case.name}\n{case.said}\n")
    for file in dict.fromkeys(case.file for case in found):
        its = [case for case in found if case.file == file]
        bad = sum(case.outcome != "passed" for case in its)
        print(f"{file}: {len(its) - bad} passed, {bad} not, {sum(case.seconds for case in its):.1f} s")
    bad = sum(case.outcome != "passed" for case in found)
    print(f"{len(found) - bad} of {len(found)} tests passed in the guest")
    return 1 if bad or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
