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

DIFFERENT: dict[str, str] = {}  # cell -> why its packets fare otherwise on Linux


def noted(cells: list[dict]) -> dict[str, list[dict]]:
    """Return what each cell's labs, packets and predictions were noted to be."""
    return {
        cell["id"]: output["data"][observe.KIND]
        for cell in cells
        for output in cell.get("outputs", [])
        if observe.KIND in output.get("data", {})
    }


def run(name: str, backend: str, folder, monkeypatch) -> dict[str, list[dict]]:
    """Run a chapter, solved and strictly; return what its cells met, without the checks, whose cases are random."""
    folder.mkdir()
    monkeypatch.setenv("NETKIT_EDU_BACKEND", backend)
    cells = execute(name, folder, monkeypatch, strict=True, solved=True, first=observe.START)
    assert failed(cells) == {}
    checks = {cell["id"] for cell in cells if "nk.check(" in cell["source"]}
    found = noted(cells)
    assert {note["lab"] for check in checks & found.keys() for note in found[check] if "lab" in note} <= {"sim"}
    met = {cell: [note for note in notes if "lab" not in note] for cell, notes in found.items() if cell not in checks}
    return {cell: notes for cell, notes in met.items() if notes}


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
