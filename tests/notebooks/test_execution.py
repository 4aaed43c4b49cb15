"""Each notebook executed whole in a kernel of its own: as shipped, strictly unsolved, strictly solved."""

from __future__ import annotations

import copy

import nbformat
import pytest

from netkit_edu.course.exercise import find
from tests.notebooks import reader

pytestmark = pytest.mark.notebook
NAMES = [chapter.name for chapter in reader.CHAPTERS]
TIMEOUT = 120  # seconds for one cell; a cell that takes longer hangs


def execute(name: str, folder, monkeypatch, *, strict: bool, solved: bool, first: str = "") -> list[dict]:
    """Run a notebook in a fresh kernel with fresh state, the code ``first`` before it; return its executed cells."""
    from nbclient import NotebookClient

    for variable, value in {
        "NETKIT_EDU_STATE": folder / "state",
        "IPYTHONDIR": folder / "ipython",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "NETKIT_EDU_STRICT": "1" if strict else "0",
        "PYTHONPATH": reader.ROOT,
    }.items():
        monkeypatch.setenv(variable, str(value))
    notebook = nbformat.from_dict(copy.deepcopy(reader.read(name)))
    for cell in notebook.cells:
        cell.source = reader.source(cell)
        if solved and reader.exercise_of(cell):
            cell.source = find(reader.exercise_of(cell)).solution.strip("\n")
    if first:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    client = NotebookClient(
        notebook, timeout=TIMEOUT, allow_errors=True, resources={"metadata": {"path": str(reader.FOLDER)}}
    )
    client.execute()
    return notebook.cells[bool(first) :]


def failed(cells: list[dict]) -> dict[str, str]:
    """Return the ids of the cells that raised, with what they said."""
    return {
        cell["id"]: f"{output['ename']}: {output['evalue']}"
        for cell in cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "error"
    }


@pytest.mark.parametrize("name", NAMES)
def test_runs_top_to_bottom_as_shipped(name, tmp_path, monkeypatch):
    cells = execute(name, tmp_path, monkeypatch, strict=False, solved=False)
    assert failed(cells) == {}


@pytest.mark.parametrize("name", NAMES)
def test_each_exercise_fails_unsolved(name, tmp_path, monkeypatch):
    cells = execute(name, tmp_path, monkeypatch, strict=True, solved=False)
    ids = [cell["id"] for cell in cells]
    checks = {ids[n + 1] for n, cell in enumerate(cells) if reader.exercise_of(cell)}
    errors = failed(cells)
    assert set(errors) == checks, errors
    assert all(said.startswith("NotSolved") for said in errors.values()), errors


@pytest.mark.parametrize("name", NAMES)
def test_each_exercise_passes_solved(name, tmp_path, monkeypatch):
    cells = execute(name, tmp_path, monkeypatch, strict=True, solved=True)
    assert failed(cells) == {}
