"""What is left of a notebook where no kernel and no widget runs: an export that stands alone."""

from __future__ import annotations

import re

import nbformat
import pytest

from tests.ui.conftest import KNOB

pytestmark = [pytest.mark.notebook, pytest.mark.slow]

CELLS = [
    "%load_ext netkit_edu\nimport netkit_edu as nk\nlab = nk.Lab()\ndb = lab.pod('db', device='netkit')",
    "%%bpf knob\n" + KNOB,
    "att = db.pair.attach(knob, at='peer')\npacket = nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b'hi'",
    "k = nk.VerdictKnob(att, send=lambda: db.send(packet))\nk",
    "k.value = nk.Verdict.DROP",
    "nk.PolicySwitch(db.pair, send=lambda: db.send(packet))",
    "nk.predict('Does it arrive?', ['delivered', 'dropped'], run=lambda: db.send(packet))",
    "nk.stepper(knob, packet)",
]


@pytest.fixture(scope="module")
def exported() -> str:
    """The notebook of CELLS, run, its widgets' state forgotten, as a page of HTML."""
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    NotebookClient(book, timeout=60, store_widget_state=False).execute()
    assert not [o for cell in book.cells for o in cell.outputs if o.output_type == "error"]
    return HTMLExporter().from_notebook_node(book)[0]


def test_last_position_of_a_knob_stands_in_the_export(exported):
    assert re.search(r"the program returns.{0,1500}DROP", exported, re.S)
    assert 'aria-label="IP 10.0.1.2 &gt; 192.0.2.2 UDP 40000 &gt; 53, 2 bytes: dropped' in exported


def test_question_and_options_stand_in_the_export(exported):
    assert "Does it arrive?" in exported and "delivered · dropped" in exported


def test_policies_and_steps_stand_in_the_export(exported):
    assert "peer_policy" in exported and "all steps as a table" in exported and "10 instructions ran" in exported


def test_drawings_stand_in_the_export_with_their_text_alternative(exported):
    drawings = re.findall(r'<svg[^>]*class="nk"[^>]*role="img"', exported)
    assert len(drawings) == exported.count("<desc") >= 2
