"""A plain wheel, unpacked into an empty folder and used from another: header, programs and course data travel along."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

from tests.requires import ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this very tree, built without a network."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install -e '.[test]'")
    target = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = target.glob("netkit_edu-*.whl")
    return path


@pytest.fixture
def outside(wheel, tmp_path):
    """A function that runs Python in an empty folder, with the unpacked wheel in front of every other netkit_edu."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()

    def run(code: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site), "NETKIT_EDU_CACHE": str(tmp_path / "cache")}
        probe = f"import netkit_edu; assert netkit_edu.__path__[0].startswith({str(site)!r}), netkit_edu.__path__\n"
        words = [sys.executable, "-c", probe + code]
        done = subprocess.run(words, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not list(empty.iterdir())
        return done.stdout

    return run


def test_wheel_holds_the_programs_and_the_course_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    here = {f"netkit_edu/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "bpf").rglob("*") if path.is_file()}
    assert here <= set(names)
    assert "netkit_edu/course/course.toml" in names
    assert {name.split("/")[0] for name in names} == {"netkit_edu", names[-1].split("/")[0]}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_wheel_names_its_licenses(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith("METADATA"))
        assert "License-Expression: MIT AND CC-BY-4.0" in archive.read(metadata).decode()


def test_header_is_found_and_a_cell_compiles_outside_of_the_repository(outside):
    if not _has_compiler():
        pytest.skip("no clang with a BPF target: make doctor")
    code = """
import netkit_edu as nk
obj = nk.compile('SEC("netkit/peer") int drop_all(struct __sk_buff *skb) { return NETKIT_DROP; }')
print(int(obj["drop_all"].run(bytes(14) + b"\\x45" + bytes(19)).verdict))
"""
    assert outside(code).strip() == "2"


def test_course_data_is_there_outside_of_the_repository(outside):
    code = "from netkit_edu.course import catalogue; print(len(catalogue.load().claims))"
    assert outside(code).strip() == "21"


def test_a_packet_crosses_a_netkit_pair_outside_of_the_repository(outside):
    code = """
import netkit_edu as nk
lab = nk.Lab("sim")
db = lab.pod("db", device="netkit")
packet = bytes.fromhex("4500001c00004000401100000a000102c00002021000003500080000")
print(db.send(packet).fate.kind)
"""
    assert outside(code).strip() == "delivered"


def _has_compiler() -> bool:
    from netkit_edu.program.compiler import find_compiler

    return find_compiler() is not None
