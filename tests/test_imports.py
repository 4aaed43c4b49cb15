"""The house stands in floors: a room imports only from floors below it, and only the top one speaks to IPython."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requires import ROOT

PACKAGE = ROOT / "netkit_edu"

# From the ground up. Which rooms may not know each other at all is said in a test of its own.
FLOORS = (
    "uapi",
    "errors",
    "arguments",
    "kernels",
    "packet",
    "pcap",
    "journey",
    "program",
    "engine",
    "backend",
    "sim",
    "linux",
    "vm",
    "typedmap",
    "programs",
    "loaded",
    "attachment",
    "capture",
    "hooks",
    "device",
    "sys",
    "costs",
    "node",
    "measuring",
    "watching",
    "linkoptions",
    "opening",
    "lab",
    "dialect",
    "compare",
    "draw",
    "course",
    "doctor",
    "ui",
    "cli",
    "__init__",
    "__main__",
)
THIRD_PARTY_AT_THE_TOP = {"ui": {"IPython", "ipywidgets", "anywidget", "traitlets"}}
# What the face may not bring along: each of these is slow, or absent in a browser.
HEAVY = ("fcntl", "ctypes", "scapy", "IPython", "ipywidgets", "elftools", "llvmlite", "ziglang", "sqlite3", "asyncio")


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def dotted_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path):
    """Yield (line, imported dotted name, inside a function or TYPE_CHECKING block) for every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = set()
    for node in ast.walk(tree):
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if is_typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late |= set(map(id, ast.walk(node)))
    package = dotted_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in late
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}", id(node) in late


def files():
    return sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in files()}
    assert rooms <= set(FLOORS), f"give these a floor in tests/test_imports.py: {sorted(rooms - set(FLOORS))}"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_from_floors_below(path):
    room, wrong = room_of(path), []
    for line, name, _ in imports_of(path):
        parts = name.split(".")
        if parts[0] != "netkit_edu" or room in ("__init__", "__main__") or name == "netkit_edu.__version__":
            continue
        other = parts[1] if len(parts) > 1 and parts[1] in FLOORS else "__init__"
        if FLOORS.index(other) > FLOORS.index(room):
            wrong.append(f"{path.name}:{line} imports {name}")
    assert not wrong


def test_simulator_and_linux_do_not_know_each_other():
    apart = {"sim": {"linux", "vm"}, "linux": {"sim"}, "vm": {"sim"}}
    wrong = [
        f"{path}:{line} imports {name}"
        for path in files()
        for line, name, _ in imports_of(path)
        if name.split(".")[0] == "netkit_edu" and set(name.split(".")[1:2]) & apart.get(room_of(path), set())
    ]
    assert not wrong


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_third_parties_are_imported_late_and_ipython_by_ui_alone(path):
    room, wrong = room_of(path), []
    here = THIRD_PARTY_AT_THE_TOP.get(room, set())
    for line, name, late in imports_of(path):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top == "netkit_edu" or top in here:
            continue
        if top in {"IPython", "ipywidgets", "anywidget", "ipykernel"} or not late:
            wrong.append(f"{path.name}:{line} imports {name}")
    assert not wrong


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_importing_the_face_brings_nothing_heavy():
    brought = run_python("import sys, netkit_edu; print(*sys.modules)").split()
    assert not set(HEAVY) & {name.split(".")[0] for name in brought}


def test_importing_the_face_brings_no_third_party_module():
    code = "import sys; before = set(sys.modules); import netkit_edu; print(*(set(sys.modules) - before))"
    tops = {name.split(".")[0] for name in run_python(code).split()}
    assert tops - set(sys.stdlib_module_names) <= {"netkit_edu"}


def test_the_core_imports_where_packages_and_privileges_are_missing():
    """Every room but the ui imports with third parties blocked and ctypes, fcntl gone, as in a browser."""
    rooms = [dotted_name(path) for path in files() if room_of(path) not in {"ui", "linux", "vm", "__main__"}]
    blocked = "scapy IPython ipywidgets elftools ziglang llvmlite ctypes fcntl jupyterlab pyroute2 termios"
    code = f"""
import sys
for name in {blocked.split()}: sys.modules[name] = None
import importlib
for name in {rooms}: importlib.import_module(name)
print("imported")
"""
    assert run_python(code).strip() == "imported"
