"""Chapter 09's pieces for BCC where BCC is: they run, on this machine's kernel, and say what was recorded."""

from __future__ import annotations

import nbformat
import pytest

from netkit_edu.course import recordings
from netkit_edu.course.dependence import needed
from tests.notebooks import reader

NAME = "09-real-kernel"
ASSERTED = """
assert counted.live and moments.live, (counted.label, moments.label)
assert "(host)" in counted.label and "just now" in counted.label
rows = counted.value
traces = {name: [(m.what, str(m.context), m.task) for m in trace if m.skb] for name, trace in moments.value.items()}
print(repr((rows, traces)))
"""


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """What the pieces returned just now: the table, and each pod's moments without clocks and addresses."""
    from nbclient import NotebookClient

    for variable in ("NETKIT_EDU_LINUX", "NETKIT_EDU_BACKEND", "NETKIT_EDU_RECORD_NOTEBOOK"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETKIT_EDU_STRICT", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(reader.ROOT))
    texts = [reader.source(cell) for cell in reader.cells(NAME, "code")]
    wanted = sorted({*needed(texts, "09.carriers"), *needed(texts, "09.moments")})
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in (*(texts[i] for i in wanted), ASSERTED)]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(reader.FOLDER)}}).execute()
    return eval(notebook.cells[-1].outputs[0]["text"])


@pytest.mark.notebook
@pytest.mark.bcc
def test_the_pieces_for_bcc_run_live_and_say_what_was_recorded(answered):
    """Who is there on the other CPU is the machine's affair; everything else is as in the recording."""

    def table(rows):
        counts = {}
        for device, received, softirq, task, times in rows:
            who = "somebody" if device == "far" and received and task != "netkit-edu" else task
            counts[device, received, softirq, who] = counts.get((device, received, softirq, who), 0) + times
        return counts

    def first(trace):
        return [(what, context, task if context == "process" else "") for what, context, task in trace[:6]]

    rows, traces = answered
    assert table(rows) == table(recordings.load("09.carriers").value)
    recorded = recordings.load("09.moments").value
    for pod, trace in traces.items():
        real = [(m.what, str(m.context), m.task) for m in recorded[pod] if m.skb]
        assert sorted(first(trace)) == sorted(first(real)), pod
    assert {task for _, context, task in traces["near"]} == {"netkit-edu"}
    assert {task for _, context, task in traces["far"] if context == "softirq"} & {"netkit-edu"} == set()
