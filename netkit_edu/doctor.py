"""What this machine can do for the course, and the one command that brings what it lacks.

Every probe is harmless: it reads files, asks programs for their version, and loads one two-instruction eBPF program
that is freed at once. What a lab on this kernel needs is tried out in namespaces that die with the question
(linux/probe.py). Nothing of the machine's own is created, attached or changed. A probe takes a `Machine`, the only way
to the outside, so that a test can hand in another one.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from netkit_edu.errors import NetkitEduError
from netkit_edu.kernels import note
from netkit_edu.vm.kernel import LEAST as LEAST_NETKIT_KERNEL
from netkit_edu.vm.kernel import PACKAGES, choose

NETKIT_REMEDY = "boot a kernel with CONFIG_NETKIT=y, such as Debian's from 6.12 up"
SYSTEM_PYTHON = "/usr/lib/python3/dist-packages"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

NO_BPF_SYSCALL = "this kernel has no bpf(2)"
BPF_FORBIDDEN = "loading is not permitted: it takes root, or CAP_BPF and CAP_NET_ADMIN"


class Finding(NamedTuple):
    """One capability: is it there, what exactly, and what brings it (one command; "" where nothing is missing)."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


class Machine:
    """What the probes may ask: files below ``root``, programs on PATH, Python packages, one bpf(2) call."""

    def __init__(self, root: str | Path = "/"):
        self.root = Path(root)

    @property
    def release(self) -> str:
        """The running kernel's release, for example ``6.12.30-amd64``; "" where there is no Linux."""
        return os.uname().release if sys.platform == "linux" else ""

    @property
    def is_root(self) -> bool:
        """True for the superuser."""
        return hasattr(os, "geteuid") and os.geteuid() == 0

    def file(self, path: str) -> bytes | None:
        """The content of an absolute path, or None where it is absent or may not be read."""
        try:
            return (self.root / path.lstrip("/")).read_bytes()
        except OSError:
            return None

    def readable(self, path: str) -> bool:
        """True if the file is there and may be read."""
        return os.access(self.root / path.lstrip("/"), os.R_OK)

    def names(self, folder: str, pattern: str) -> list[str]:
        """Sorted names in a folder that match a glob pattern."""
        return sorted(p.name for p in (self.root / folder.lstrip("/")).glob(pattern))

    def which(self, program: str) -> str | None:
        """Where a program is; /usr/sbin is looked at too, since it is not on every user's PATH."""
        return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")

    def output(self, *command: str) -> str:
        """What a command prints within half a minute, as a busy machine may take for apt's lists; "" where it fails."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout

    def environ(self, name: str) -> str:
        """An environment variable, or ""."""
        return os.environ.get(name, "")

    def package(self, name: str) -> str | None:
        """The version of an installed Python distribution, or None."""
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def module_folder(self, name: str) -> Path | None:
        """Where ``import name`` would find a package, without importing it."""
        spec = importlib.util.find_spec(name)
        return Path(spec.origin).parent if spec is not None and spec.origin else None

    def compiler(self):
        """The compiler that `compile` would use (program/compiler.py), or None."""
        from netkit_edu.program.compiler import find_compiler

        return find_compiler()

    def snapshot(self):
        """What is told about the snapshot that a virtual machine would start from (vm/image.py), None without one."""
        try:
            from netkit_edu.vm import image

            return image.present()
        except (ImportError, NetkitEduError):
            return None

    def no_room(self) -> str:
        """Why a snapshot could not be kept on this machine, or ""."""
        try:
            from netkit_edu.vm import cache

            return cache.lacking()
        except ImportError:
            return ""
        except NetkitEduError as error:
            return str(error)

    def fetched_kernel(self) -> str:
        """The release of a guest's kernel that was downloaded before, or ""."""
        try:
            from netkit_edu.vm import cache, kernel

            found = kernel.fetched(cache.folder())
        except (ImportError, NetkitEduError):
            return ""
        return found.release if found else ""

    def host(self):
        """What a lab on this machine's own kernel finds (linux/probe.py)."""
        from netkit_edu.linux.probe import probe_host

        return probe_host()

    def kernel_headers(self):
        """Where BCC finds kernel headers, or None."""
        from netkit_edu.linux.bcc import kernel_headers

        return kernel_headers()

    def load_bpf(self) -> int | None:
        """Load ``r0 = 0; exit`` as a classifier and free it: 0, or the errno; None where there is no such call."""
        return _load_two_instructions()


def _load_two_instructions() -> int | None:
    """bpf(BPF_PROG_LOAD) of an empty BPF_PROG_TYPE_SCHED_CLS program (include/uapi/linux/bpf.h)."""
    number = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return None
    import ctypes
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0), 16)
    text = ctypes.create_string_buffer(b"GPL")
    sched_cls, size = 3, 48
    attr = struct.pack("=IIQQIIQI", sched_cls, 2, ctypes.addressof(code), ctypes.addressof(text), 0, 0, 0, 0)
    fd = libc.syscall(number, 5, ctypes.create_string_buffer(attr.ljust(size, b"\0"), size), size)
    if fd < 0:
        return ctypes.get_errno()
    os.close(fd)
    return 0


def apt_install(machine: Machine, package: str) -> str:
    """The command that brings a Debian or Ubuntu package on this machine."""
    if machine.which("apt-get") is None:
        return f"install {package} with this system's package manager"
    return f"{'' if machine.is_root else 'sudo '}apt-get install {package}"


def probe_python(machine: Machine | None = None) -> Finding:
    """The interpreter, and the simulator that needs nothing else."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("simulator", True, f"always there, in pure Python (this is {version})")


def probe_jupyter(machine: Machine | None = None) -> Finding:
    """JupyterLab and the widgets, in this very environment."""
    machine = machine or Machine()
    lab, widgets = machine.package("jupyterlab"), machine.package("ipywidgets")
    if lab and widgets:
        return Finding("jupyter", True, f"JupyterLab {lab}, ipywidgets {widgets}")
    absent = " and ".join(name for name, there in (("jupyterlab", lab), ("ipywidgets", widgets)) if not there)
    return Finding(
        "jupyter", False, f"no {absent} in this Python", f"python -m pip install {absent.replace(' and', '')}"
    )


def probe_compiler(machine: Machine | None = None) -> Finding:
    """A C compiler that writes eBPF: a system clang, or the one inside the ziglang wheel."""
    machine = machine or Machine()
    found = machine.compiler()
    if found is None:
        return Finding("compiler", False, "no clang with a BPF target", "python -m pip install ziglang")
    inside = " of the ziglang wheel" if found.kind == "zig" else ""
    return Finding("compiler", True, f"clang {found.version}{inside}, {found.path}")


def probe_bpf(machine: Machine | None = None) -> Finding:
    """May this process load eBPF programs into the running kernel?"""
    machine = machine or Machine()
    error = machine.load_bpf()
    if error == 0:
        return Finding("bpf", True, f"Linux {machine.release} takes programs from this process")
    if error in (None, errno.ENOSYS):
        return Finding("bpf", False, NO_BPF_SYSCALL)
    if error in (errno.EPERM, errno.EACCES):
        return Finding("bpf", False, BPF_FORBIDDEN, "" if machine.is_root else "sudo make lab")
    return Finding("bpf", False, f"bpf(2) answers {os.strerror(error)}")


def probe_netkit(machine: Machine | None = None) -> Finding:
    """Has the running kernel the netkit driver (CONFIG_NETKIT, Linux 6.7 and later)?"""
    machine = machine or Machine()
    release = machine.release
    if not release:
        return Finding("netkit", False, "this is not Linux")
    version = tuple(int(n) for n in re.findall(r"\d+", release)[:2])
    if version < LEAST_NETKIT_KERNEL:
        return Finding("netkit", False, f"Linux {release} is older than 6.7, where netkit begins", NETKIT_REMEDY)
    built = _netkit_built(machine, release)
    if built is None:
        return Finding("netkit", False, f"Linux {release} does not show its configuration")
    if built:
        return Finding("netkit", True, f"in Linux {release}")
    return Finding("netkit", False, f"Linux {release} is built without CONFIG_NETKIT", NETKIT_REMEDY)


def _netkit_built(machine: Machine, release: str) -> bool | None:
    """Is netkit in this kernel, by its configuration or its symbols; None where neither can be read."""
    if packed := machine.file("/proc/config.gz"):
        import gzip

        return b"\nCONFIG_NETKIT=y" in gzip.decompress(packed)
    for path in (f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        if (config := machine.file(path)) is not None:
            return b"\nCONFIG_NETKIT=y" in config
    symbols = machine.file("/proc/kallsyms")
    return b" netkit_xmit" in symbols if symbols else None


def probe_host_lab(machine: Machine | None = None) -> Finding:
    """Does ``nk.Lab("host")`` work, by trial: a door with the privileges, namespaces, devices, programs?"""
    machine = machine or Machine()
    found = machine.host()
    lacking = [answer for answer in found.answers if answer.needed and not answer.ok]
    if lacking:
        return Finding("host lab", False, "; ".join(a.detail for a in lacking), lacking[0].remedy)
    if not (netkit := found["netkit"]).ok:
        return Finding("host lab", False, f'nk.Lab("host") has veth only: {netkit.detail}', netkit.remedy)
    if not (journeys := found["journeys"]).ok:
        return Finding("host lab", False, journeys.detail, journeys.remedy)
    return Finding("host lab", True, f'nk.Lab("host") has netkit of Linux {_with_note(found.release)}')


def _with_note(release: str) -> str:
    """A kernel's release, and that it differs from the course's where it does."""
    said = note(release)
    return f"{release} ({said})" if said else release


def probe_qemu(machine: Machine | None = None) -> Finding:
    """The emulator that runs real Linux without root."""
    machine = machine or Machine()
    path = machine.which("qemu-system-x86_64")
    if path is None:
        return Finding("qemu", False, "no qemu-system-x86_64", apt_install(machine, "qemu-system-x86"))
    version = re.search(r"version (\S+)", machine.output(path, "--version"))
    return Finding("qemu", True, f"QEMU {version[1] if version else '?'}, {path}")


def probe_guest_kernel(machine: Machine | None = None) -> Finding:
    """A kernel with netkit that QEMU could boot: named, the machine's own, or one that apt can download."""
    machine = machine or Machine()
    if named := machine.environ("NETKIT_EDU_KERNEL"):
        if machine.readable(named):
            return Finding("guest kernel", True, f"{named} (NETKIT_EDU_KERNEL)")
        return Finding("guest kernel", False, f"NETKIT_EDU_KERNEL names {named}, which cannot be read")
    for name in machine.names("/boot", "vmlinuz-*"):
        release = name.removeprefix("vmlinuz-")
        config = machine.file(f"/boot/config-{release}") or b""
        if machine.readable(f"/boot/{name}") and b"\nCONFIG_NETKIT=y" in config:
            return Finding("guest kernel", True, f"/boot/{name}")
    if release := machine.fetched_kernel():
        return Finding("guest kernel", True, f"Linux {release}, downloaded by apt")
    if package := _newest_kernel_package(machine):
        return Finding("guest kernel", True, f"apt can download {package}")
    if machine.which("apt-cache") is None:
        return Finding("guest kernel", False, "no kernel with netkit at hand", "set NETKIT_EDU_KERNEL to one")
    update = f"{'' if machine.is_root else 'sudo '}apt-get update"
    return Finding("guest kernel", False, "apt knows no kernel with netkit", update)


def _newest_kernel_package(machine: Machine) -> str:
    """The package that would be downloaded of those apt knows by name, or ""."""
    names = machine.output("apt-cache", "pkgnames", os.path.commonprefix(PACKAGES)).split()
    return next(iter(choose([name for name in names if name.startswith(PACKAGES)])), "")


def probe_snapshot(machine: Machine | None = None) -> Finding:
    """The booted guest that every virtual machine starts from."""
    machine = machine or Machine()
    if (facts := machine.snapshot()) is not None:
        size = f"{facts['bytes'] / 1e6:.0f} MB"
        return Finding("vm snapshot", True, f"Linux {_with_note(facts['kernel'])}, {size}")
    if machine.which("qemu-system-x86_64") is None:
        return Finding("vm snapshot", False, "none: it takes QEMU")
    if why := machine.no_room():
        detail, _, remedy = why.rpartition(": ")
        return Finding("vm snapshot", False, detail, remedy)
    return Finding("vm snapshot", False, 'not made yet: the first Lab("vm") makes it', "python -m netkit_edu vm build")


def probe_bcc(machine: Machine | None = None) -> Finding:
    """The BPF Compiler Collection of the system's Python, which is not the PyPI package that is also called bcc."""
    machine = machine or Machine()
    if machine.readable(f"{SYSTEM_PYTHON}/bcc/libbcc.py"):
        version = re.search(
            rb'__version__\s*=\s*[\'"]([^\'"]+)', machine.file(f"{SYSTEM_PYTHON}/bcc/version.py") or b""
        )
        found = f"BCC {version[1].decode() if version else ''} of the system's Python".replace("  ", " ")
        headers = machine.kernel_headers()
        if headers is None:
            ubuntu = b"\nID=ubuntu" in b"\n" + (machine.file("/etc/os-release") or b"")
            remedy = apt_install(machine, f"linux-headers-{'generic' if ubuntu else 'amd64'}")
            return Finding("bcc", False, f"{found}, but no kernel headers to compile against", remedy)
        return Finding("bcc", True, f"{found}, headers in {headers}")
    remedy = apt_install(machine, "python3-bpfcc")
    folder = machine.module_folder("bcc")
    if folder is None:
        return Finding("bcc", False, "not installed", remedy)
    if (folder / "libbcc.py").is_file():
        return Finding("bcc", True, f"BCC in {folder}")
    return Finding("bcc", False, f"{folder} is another project of the same name, not BCC", remedy)


def probe_browser(machine: Machine | None = None) -> Finding:
    """A Chromium that the interface's own tests can drive; to read the course any browser does."""
    machine = machine or Machine()
    for name in BROWSERS:
        if path := machine.which(name):
            # Ubuntu's package is a script that asks for a snap.
            if b"requires the chromium snap" in (machine.file(path) or b"") and not machine.which("/snap/bin/chromium"):
                return Finding("browser", False, f"{path} is only a word for a snap", "snap install chromium")
            return Finding("browser", True, path)
    remedy = apt_install(machine, "chromium")
    return Finding(
        "browser", False, "no Chromium here (only the tests need it; open the printed address anywhere)", remedy
    )


PROBES: tuple[Callable[[Machine | None], Finding], ...] = (
    probe_python,
    probe_jupyter,
    probe_compiler,
    probe_bpf,
    probe_netkit,
    probe_host_lab,
    probe_qemu,
    probe_guest_kernel,
    probe_snapshot,
    probe_bcc,
    probe_browser,
)


def examine(machine: Machine | None = None) -> list[Finding]:
    """Ask every probe; none of them raises for something that is merely absent."""
    machine = machine or Machine()
    return [probe(machine) for probe in PROBES]


class Report(NamedTuple):
    """What every probe found; prints as the doctor's lines."""

    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return report(list(self.findings))


def this_machine() -> Report:
    """Return what this machine can do for the course, and what brings the rest."""
    return Report(tuple(examine()))


def report(findings: list[Finding]) -> str:
    """The findings as plain text: one line each, the remedy on the next, and what it all means at the end."""
    width = max(len(f.name) for f in findings)
    lines = []
    for finding in findings:
        lines.append(f"  {'ok' if finding.ok else 'missing':<8} {finding.name:<{width}}  {finding.detail}")
        if finding.remedy and not finding.ok:
            lines.append(f"  {'':<8} {'':<{width}}  -> {finding.remedy}")
    lines.append("")
    absent = {f.name for f in findings if not f.ok}
    if "compiler" in absent:
        lines.append("Without a compiler the programs of the course run prebuilt; your own C needs one.")
    if "jupyter" in absent:
        lines.append("The notebooks need Jupyter: make lab sets it up.")
    if absent:
        lines.append(
            "What is missing is optional; the simulator runs the course without it. All of it at once: make system"
        )
    else:
        lines.append("Nothing is missing.")
    return "\n".join(lines)
