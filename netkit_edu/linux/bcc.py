"""BCC, iovisor's BPF Compiler Collection, beside our own way into the kernel: its dialect of C, tables, tracers.

BCC is a system package (``python3-bpfcc``) that no virtual environment holds; it is pure Python over one shared
library, and is imported from where the system keeps it. What PyPI calls ``bcc`` is another project. BCC compiles
against kernel headers: those of the running kernel, or those of another release, which serve for everything but the
insides of structures that changed between the two. It works in this process, which therefore has to be root.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.machinery
import importlib.util
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from netkit_edu.errors import BackendUnavailable, CompileError, Diagnostic, KernelError
from netkit_edu.linux.mounts import TRACEFS

SYSTEM_PYTHON = "/usr/lib/python3/dist-packages"
INSTALL = "apt-get install python3-bpfcc"
HEADERS = "NETKIT_EDU_HEADERS"  # a folder like /usr/src, with linux-headers-* in it
_CLONE_NEWNS, _MS_NOSUID_NODEV_NOEXEC, _MS_REC_SLAVE = 0x0002_0000, 0xE, 0x4000 | 0x80000
_SAID = re.compile(r"^/virtual/main\.c:(?P<line>\d+):(?P<column>\d+): (?P<severity>\w+): (?P<message>.*)$", re.M)
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def load_bcc(places: tuple[str, ...] = (SYSTEM_PYTHON,)) -> ModuleType:
    """Return BCC's Python module, imported from the system's packages if this environment has none.

    Args:
        places: folders to look in before this environment's own.

    Raises:
        BackendUnavailable: it is not installed, or only another project of the same name is.
    """
    there = sys.modules.get("bcc")
    if there is not None and _is_iovisors(getattr(there, "__file__", None)):
        return there
    namesake = there
    for place in (list(places), None):
        spec = importlib.machinery.PathFinder.find_spec("bcc", place)
        if spec is None or not spec.origin:
            continue
        if _is_iovisors(spec.origin):
            return _import(spec)
        namesake = spec
    if namesake is not None:
        raise BackendUnavailable(
            f"the Python package bcc found here is another project of that name, not iovisor's BCC: {INSTALL}"
        )
    raise BackendUnavailable(f"BCC is not installed: {INSTALL}")


def _is_iovisors(origin: str | None) -> bool:
    return bool(origin) and (Path(origin).parent / "libbcc.py").is_file()


def _import(spec: importlib.machinery.ModuleSpec) -> ModuleType:
    before = sys.modules.get("bcc")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its docstrings hold escapes that newer Pythons warn of
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules["bcc"]
        if before is not None:
            sys.modules["bcc"] = before
        if isinstance(error, OSError):
            raise BackendUnavailable(f"BCC's library does not load ({error}): {INSTALL}") from None
        raise
    return module


def kernel_headers(release: str = "") -> Path | None:
    """Return the kernel headers that BCC compiles against: a whole tree, or the folder of Debian's split packages.

    Those of ``release``, by default the running kernel, come first; then those that ``NETKIT_EDU_HEADERS`` names, then
    the newest of any release. None if there are none.
    """
    release = release or os.uname().release
    build = Path(f"/lib/modules/{release}/build")
    if (build / "include").is_dir():
        return build
    places = [Path(os.environ[HEADERS])] if os.environ.get(HEADERS) else []
    places.append(Path("/usr/src"))
    found = [path for place in places for path in sorted(place.glob("linux-headers-*-amd64"), key=_by_version)[::-1]]
    return next((path for path in found if (path / "include/generated").is_dir()), None)


def _by_version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in "".join(c if c.isdigit() else " " for c in path.name).split())


def why_not(places: tuple[str, ...] = (SYSTEM_PYTHON,)) -> str:
    """Return why BCC does not work here, with what to do; "" if it does, as far as can be told without compiling."""
    if sys.platform != "linux":
        return "BCC runs on Linux only"
    try:
        load_bcc(places)
    except BackendUnavailable as error:
        return str(error)
    if os.geteuid() != 0:
        return "BCC works in this very process, which is not root: sudo make lab, on a machine of your own"
    if kernel_headers() is None:
        return f"BCC finds no kernel headers: apt-get install linux-headers-amd64, or name a folder in {HEADERS}"
    return ""


def compile_bcc(text: str, then: Callable[[object], None] | None = None, **options):
    """Compile a program in BCC's dialect; return the ``bcc.BPF`` object.

    Args:
        text: the C text.
        then: called with it where tracefs is there, to attach what needs it.
        options: for ``bcc.BPF``, such as ``cflags``.

    Raises:
        CompileError: it does not compile; the message is BCC's own.
        BackendUnavailable: BCC does not work here.
    """
    if reason := why_not():
        raise BackendUnavailable(reason)
    module = load_bcc()

    def work():
        with _headers_named(), caught_stderr() as said:
            try:
                made = module.BPF(text=text.encode(), **options)
            except Exception as error:
                raise CompileError(*_diagnosed(said() or str(error), text)) from None
        if then is not None:
            then(made)
        return made

    return _with_tracefs(work)


def table_names(bpf) -> list[str]:
    """Return the names of the maps of a ``bcc.BPF`` object."""
    lib = load_bcc().libbcc.lib
    count, name = lib.bpf_num_tables, lib.bpf_table_name
    count.restype, count.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_size_t]
    return [name(bpf.module, i).decode() for i in range(count(bpf.module))]


def _diagnosed(said: str, text: str) -> tuple[str, tuple[Diagnostic, ...]]:
    """Return the message and the diagnostics of what clang says inside BCC: of its lines those about the text."""
    lines = text.splitlines()
    found = []
    for match in _SAID.finditer(said):
        line = int(match["line"])
        quoted = lines[line - 1] if 0 < line <= len(lines) else ""
        found.append(Diagnostic(match["severity"], match["message"], line, int(match["column"]), quoted))
    errors = [one for one in found if one.severity == "error"]
    if not errors:
        return f"BCC does not compile it: {said[-2000:]}", ()
    return f"BCC does not compile it: line {errors[0].line}: {errors[0].message}", tuple(errors)


def load_classifier(bpf, name: str) -> int:
    """Load a function of a ``bcc.BPF`` object as a classifier (BPF_PROG_TYPE_SCHED_CLS); return its descriptor.

    Raises:
        KernelError: the kernel refuses; ``extack`` is what BCC printed, the verifier's words last.
    """
    with caught_stderr() as said:
        try:
            return bpf.load_func(name.encode(), bpf.SCHED_CLS).fd
        except Exception as error:
            raise KernelError(ctypes.get_errno() or "EINVAL", said() or str(error)) from None


@contextlib.contextmanager
def _headers_named() -> Iterator[None]:
    """Name headers of another release in BCC_KERNEL_SOURCE, as one tree, unless the kernel's own are there."""
    headers = kernel_headers()
    own = headers == Path(f"/lib/modules/{os.uname().release}/build")
    if own or "BCC_KERNEL_SOURCE" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="netkit-edu-headers-") as tree:
        merge_headers(headers, Path(tree))
        os.environ["BCC_KERNEL_SOURCE"] = tree
        try:
            yield
        finally:
            del os.environ["BCC_KERNEL_SOURCE"]


def merge_headers(generated: Path, tree: Path) -> None:
    """Make of Debian's two packages of headers one tree, out of symbolic links.

    Args:
        generated: linux-headers-…-amd64; linux-headers-…-common lies beside it.
        tree: an empty folder.
    """
    common = generated.with_name(generated.name.removesuffix("amd64") + "common")
    for folder in ("include", "arch/x86/include"):
        (tree / folder).mkdir(parents=True)
        for source in (common / folder, generated / folder):
            for path in source.iterdir() if source.is_dir() else ():
                with contextlib.suppress(FileExistsError):
                    (tree / folder / path.name).symlink_to(path)
    for name in ("Makefile", "scripts"):
        (tree / name).symlink_to((common if (common / name).exists() else generated) / name)


@contextlib.contextmanager
def caught_stderr() -> Iterator[Callable[[], str]]:
    """Catch what the compiler inside BCC's library writes to the process's standard error."""
    with tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(caught.fileno(), 2)

        def said() -> str:
            caught.seek(0)
            return caught.read().decode(errors="replace").strip()

        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _with_tracefs(work: Callable[[], object]):
    """Do something in a thread that sees tracefs; where the machine has it not mounted, the thread alone mounts it.

    The thread's mounts are its own, and gone with it.
    """
    if Path(TRACEFS, "events").is_dir():
        return work()
    result: list = []

    def run():
        try:
            for call in (
                lambda: _LIBC.unshare(_CLONE_NEWNS),
                lambda: _LIBC.mount(None, b"/", None, _MS_REC_SLAVE, None),
                lambda: _LIBC.mount(b"tracefs", TRACEFS.encode(), b"tracefs", _MS_NOSUID_NODEV_NOEXEC, None),
            ):
                if call() < 0:
                    number = ctypes.get_errno()
                    raise BackendUnavailable(f"tracefs cannot be mounted ({os.strerror(number)})")
            result.append((True, work()))
        except BaseException as error:  # it is raised again where the caller is
            result.append((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    done, value = result[0]
    if not done:
        raise value
    return value
