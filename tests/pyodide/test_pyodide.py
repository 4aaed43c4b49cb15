"""The core in Pyodide under node: the wheel as a browser gets it, no compiler, no third party but pyelftools."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requires import PYODIDE, ROOT

HERE = Path(__file__).parent


@pytest.fixture
def archives(tmp_path):
    """The course's own wheel, and the installed pyelftools as a zip."""
    elftools = pytest.importorskip("elftools", reason="pyelftools is a dependency of the package")
    folder = Path(elftools.__file__).parent
    elf = shutil.make_archive(str(tmp_path / "pyelftools"), "zip", folder.parent, folder.name)
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return [next(tmp_path.glob("netkit_edu-*.whl")), Path(elf)]


@pytest.fixture
def prebuilt(tmp_path):
    """An object compiled here, for a place where nothing can be compiled."""
    from netkit_edu.program.compiler import compile_c

    path = tmp_path / "prebuilt.o"
    path.write_bytes(compile_c((HERE / "prebuilt.c").read_text(encoding="utf-8")).elf)
    return path


@pytest.mark.pyodide
def test_the_core_imports_and_runs_a_prebuilt_object_in_the_browsers_python(archives, prebuilt):
    words = ["node", str(HERE / "run.mjs"), str(PYODIDE), str(HERE / "core.py"), *map(str, archives), str(prebuilt)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    *said, label, fate = done.stdout.splitlines()
    assert said == [
        "verdict 2", "counted 1", "steps True",
        "vm nk.Lab('vm') needs a machine that runs Linux: here there is nk.Lab('sim')",
        "host nk.Lab('host') needs a machine that runs Linux: here there is nk.Lab('sim')",
    ]  # fmt: skip
    assert label.startswith("recorded recorded on Linux 6.12.") and label.endswith("here there is nk.Lab('sim')")
    assert fate == "fate delivered"
