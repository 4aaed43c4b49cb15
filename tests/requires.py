"""What a test may need beyond Python: each kind, how to see that it is there, and what to say when it is not.

A test that needs a kind carries its marker (``@pytest.mark.kernel``), or calls ``require("kernel")`` itself. On a
learner's machine it then skips with the reason; where ``NETKIT_EDU_REQUIRE`` names the kind (a comma list), it fails.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
BINDER_PYTHON = ROOT / ".venv-binder" / "bin" / "python"
PYODIDE = ROOT / "node_modules" / "pyodide"


def _kernel() -> str:
    from netkit_edu.doctor import probe_bpf

    finding = probe_bpf()
    return "" if finding.ok else finding.detail


def _browser() -> str:
    from netkit_edu.doctor import probe_browser

    if importlib.util.find_spec("websocket") is None:
        return "websocket-client is not installed: pip install -e '.[test]'"
    finding = probe_browser()
    return "" if finding.ok else f"{finding.detail}: {finding.remedy}"


def _pyodide() -> str:
    if shutil.which("node") is None:
        return "node is not installed: apt-get install nodejs"
    return "" if (PYODIDE / "pyodide.mjs").is_file() else "the npm package pyodide is not there: make test-tools"


def _vectors() -> str:
    return "" if (SHARED_DATA / "bpf_conformance").is_dir() else f"no vectors at {SHARED_DATA}"


def _compilers() -> str:
    from netkit_edu.program.toolchain import all_compilers

    brings = {"clang": "clang, 14 or newer, with a BPF target (apt)", "zig": "ziglang (pip install -e '.[compiler]')"}
    absent = brings.keys() - {found.kind for found in all_compilers()}
    return f"missing {' and '.join(brings[kind] for kind in sorted(absent))}" if absent else ""


def _notebook() -> str:
    missing = [name for name in ("nbclient", "ipykernel", "ipywidgets") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}; pip install -e '.[test]'" if missing else ""


def _binder() -> str:
    return "" if BINDER_PYTHON.is_file() else "repo2docker and py-rattler are not there: make test-tools"


def _door() -> str:
    from netkit_edu.linux.probe import probe_host

    return "; ".join(probe_host().why.splitlines())


def _host() -> str:
    from netkit_edu.linux.probe import probe_host

    report = probe_host()
    return "; ".join(report.why.splitlines()) or ("" if report["netkit"].ok else str(report["netkit"]))


def _vm() -> str:
    try:
        from netkit_edu.vm.image import unavailable
    except ImportError as error:
        return f"no virtual machines on this system ({error})"
    return unavailable()


def _bcc() -> str:
    from netkit_edu.linux.bcc import why_not

    return why_not() or _door()


def _guest() -> str:
    from tests.host.guest import missing as lacking

    if "guest" not in os.environ.get("NETKIT_EDU_REQUIRE", ""):
        return "it takes minutes, and is asked for by name: make test-host"
    return lacking()


KINDS: dict[str, Callable[[], str]] = {
    "kernel": _kernel,
    "door": _door,
    "host": _host,
    "bcc": _bcc,
    "guest": _guest,
    "browser": _browser,
    "pyodide": _pyodide,
    "vectors": _vectors,
    "compilers": _compilers,
    "notebook": _notebook,
    "binder": _binder,
    "vm": _vm,
}


@functools.cache
def missing(kind: str) -> str:
    """Return why this machine cannot run tests of ``kind``, or "" if it can; asked once a run."""
    return KINDS[kind]()


def required() -> set[str]:
    """The kinds that ``NETKIT_EDU_REQUIRE`` names: their tests fail where they cannot run."""
    names = {name.strip() for name in os.environ.get("NETKIT_EDU_REQUIRE", "").split(",") if name.strip()}
    if unknown := names - KINDS.keys():
        raise pytest.UsageError(f"NETKIT_EDU_REQUIRE names {sorted(unknown)}; the kinds are {sorted(KINDS)}")
    return names


def require(kind: str) -> None:
    """Skip the calling test with the reason if ``kind`` is missing here, or fail it where the kind is required."""
    reason = missing(kind)
    if not reason:
        return
    if kind in required():
        pytest.fail(f"required kind {kind!r} is missing: {reason}", pytrace=False)
    pytest.skip(f"{kind}: {reason}")


def a_compiler() -> pytest.MarkDecorator:
    """Return the mark of tests that compile C: skipped where no compiler is, but not where compilers are required."""
    from netkit_edu.program.compiler import find_compiler

    absent = find_compiler() is None and "compilers" not in required()
    return pytest.mark.skipif(absent, reason="no C compiler for BPF here")
