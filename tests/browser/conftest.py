"""One JupyterLab and one browser for all tests here, and the notebook they work on."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.ui.conftest import KNOB

SETUP = """%load_ext netkit_edu
import netkit_edu as nk

lab = nk.Lab()
db = lab.pod("db", device="netkit")
packet = nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b"hi"
db.send(packet)"""
CELLS = {
    "setup": SETUP,
    "program": "%%bpf knob\n" + KNOB,
    "attach": 'att = db.pair.attach(knob, at="peer")\natt.maps["verdict"][0] = nk.Verdict.PASS',
    "knob": "nk.VerdictKnob(att, send=lambda: db.send(packet))",
    "mistake": "%%bpf broken\n" + KNOB.replace("__u32 key = 0;", "__u32 key = nonsense;"),
    "switch": 'new = lab.pod("new", device="netkit")\nnk.PolicySwitch(new.pair, send=lambda: new.send(packet))',
    "predict": 'nk.predict("Does it arrive?", ["delivered", "dropped"], run=lambda: db.send(packet))',
    "stepper": "nk.stepper(knob, packet)",
    "use": "broken.run(packet)",
}


def write_notebook(path: Path) -> None:
    """Write the notebook of CELLS."""
    cells = [nbformat.v4.new_markdown_cell("# Test"), *map(nbformat.v4.new_code_cell, CELLS.values())]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), path)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    from tests import requires
    from tests.browser.cdp import Browser

    requires.require("browser")
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory, browser):
    """JupyterLab on a copy of a folder that holds the notebook of CELLS."""
    from tests.browser.lab import LabServer

    folder = tmp_path_factory.mktemp("notebooks")
    write_notebook(folder / "cells.ipynb")
    with LabServer(folder) as server:
        yield server


@pytest.fixture(scope="module")
def notebook(lab_server, browser):
    """The notebook of CELLS, all cells run, in a window tall enough to hold every cell."""
    notebook = lab_server.open(browser, "cells.ipynb")
    notebook.run_all()
    notebook.full_height()
    yield notebook
    notebook.page.close()
