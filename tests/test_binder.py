"""Binder's scripts, run as repo2docker runs them: postBuild when the image is made, start in each container of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.requires import ROOT

PYTHON = """#!/bin/sh
echo "$@" >> "$NB_PYTHON_PREFIX/asked"
case "$*" in
"-m netkit_edu vm build"*)
    umask 077; mkdir -p "$NETKIT_EDU_CACHE/vm"; : > "$NETKIT_EDU_CACHE/vm/k.snapshot"; exit $BUILD;;
esac
"""


@pytest.fixture
def prefix(tmp_path) -> Path:
    """Where conda's environment is, with a python that only writes down what it is asked."""
    place = tmp_path / "envs" / "notebook"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").write_text(PYTHON)
    (place / "bin" / "python").chmod(0o755)
    return place


def run(script: str, *words: str, prefix: Path | None, **environment: str) -> str:
    given = {name: os.environ[name] for name in ("HOME",) if name in os.environ} | environment
    if prefix:
        given["NB_PYTHON_PREFIX"] = str(prefix)
    given["PATH"] = f"{prefix / 'bin'}:{os.defpath}" if prefix else os.defpath
    done = subprocess.run(
        [str(ROOT / "binder" / script), *words], cwd=ROOT, env=given, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("built", ["0", "1"], ids=["built", "not built"])
def test_image_is_made_whether_or_not_it_can_have_a_virtual_machine(prefix, built):
    said = run("postBuild", prefix=prefix, BUILD=built)
    asked = (prefix / "asked").read_text().splitlines()
    assert asked[0] == "-m pip install --no-deps -e ." and asked[-1] == "-m netkit_edu doctor"
    assert any(line.startswith("-m netkit_edu vm build") and "--lean" in line for line in asked)
    assert ("No virtual machine" in said) is (built == "1")


def test_image_holds_the_machines_that_the_notebooks_ask_for(prefix):
    run("postBuild", prefix=prefix, BUILD="0")
    build = next(line for line in (prefix / "asked").read_text().splitlines() if "vm build" in line).split()
    made = {int(word) for word in build[build.index("--cpus") + 1 :] if word.isdigit()}
    asked = {1}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for call in path.read_text(encoding="utf-8").split("on_linux(")[1:]:
            call = call.split(")")[0]
            if "cpus=" in call and "bcc=True" not in call:
                asked.add(int(call.split("cpus=")[1][0]))
    assert asked <= made


def test_container_finds_what_the_image_has_whoever_it_runs_as(prefix):
    run("postBuild", prefix=prefix, BUILD="0")
    said = dict(line.split("=", 1) for line in run("start", "env", prefix=prefix, HOME="/elsewhere").splitlines())
    assert said["NETKIT_EDU_BACKEND"] == "sim"
    kept = Path(said["NETKIT_EDU_CACHE"]) / "vm" / "k.snapshot"
    assert kept.stat().st_mode & 0o066 == 0o066 and kept.parent.stat().st_mode & 0o077 == 0o077


def test_container_of_another_image_starts_all_the_same(tmp_path):
    for prefix in (None, tmp_path):
        said = run("start", "env", prefix=prefix)
        assert "NETKIT_EDU_BACKEND=sim" in said and "NETKIT_EDU_CACHE=" not in said
