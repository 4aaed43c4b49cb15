"""Chapters 00 to 08 on real Linux by one word: nothing raises, and each packet fares as on the simulator."""

from __future__ import annotations

import re

import pytest

from tests.notebooks import observe, reader
from tests.notebooks.test_execution import execute, failed

pytestmark = [pytest.mark.notebook, pytest.mark.vm, pytest.mark.slow]
NAMES = [chapter.name for chapter in reader.CHAPTERS if chapter.number <= "08"]

SIMULATOR_ONLY = {
    "01#burst": "30 packets before the softirq's turn: on Linux it has its turn after each packet of one sender",
    "02#setup": "a driver written in Python, and so the whole of chapter 02",
    "00#one-word": "here the learner writes the other word",
}

_REDIRECT = "before an ICMP redirect the sender's address is looked up, which Linux's trace leaves out as no step"
DIFFERENT = {"04#arp-predict": _REDIRECT, "04#arp": _REDIRECT}


def observed(cells: list[dict]) -> dict[str, list]:
    """Return, for each cell that sends or predicts, what was noted; without the checks, whose cases are random."""
    return {
        cell["id"]: output["data"][observe.KIND]
        for cell in cells
        for output in cell.get("outputs", [])
        if observe.KIND in output.get("data", {}) and "nk.check(" not in cell["source"]
    }


def run(name: str, backend: str, folder, monkeypatch) -> dict[str, list]:
    folder.mkdir()
    monkeypatch.setenv("NETKIT_EDU_BACKEND", backend)
    cells = execute(name, folder, monkeypatch, strict=True, solved=True, first=observe.START)
    assert failed(cells) == {}
    return observed(cells)


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_runs_on_linux_and_its_packets_fare_as_on_the_simulator(name, tmp_path, monkeypatch):
    here = run(name, "sim", tmp_path / "sim", monkeypatch)
    there = run(name, "vm", tmp_path / "vm", monkeypatch)
    assert here.keys() == there.keys()
    assert here, "nothing was sent"
    unlike = {f"{name[:2]}#{cell}" for cell in here if here[cell] != there[cell]}
    assert unlike == {cell for cell in DIFFERENT if cell.startswith(name[:2])}


def test_the_other_cells_name_no_backend():
    """One word moves a chapter only where its cells do not say another."""
    named = {
        f"{name[:2]}#{cell['id']}"
        for name in NAMES
        for cell in reader.cells(name, "code")
        if re.search(r"nk\.Lab\(\s*[\"']", reader.source(cell))
    }
    assert named - {cell for cell in named if cell.startswith("02#")} == set(SIMULATOR_ONLY) - {"02#setup"}
    unnamed = {
        cell["id"] for cell in reader.cells(NAMES[2], "code") if re.search(r"nk\.Lab\((?![\"'])", reader.source(cell))
    }
    assert not unnamed, "a driver of one's own, and no word of where"
