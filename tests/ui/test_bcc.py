"""``%%bcc``: what it binds where BCC is, and what it says where it is not."""

from __future__ import annotations

import pytest

from netkit_edu.dialect import BccObject, BccProgram
from netkit_edu.errors import BackendUnavailable, CompileError, UsageError
from netkit_edu.programs import BrokenProgram
from netkit_edu.ui import bcc

KNOB = """BPF_ARRAY(verdict, int, 1);
int knob(struct __sk_buff *skb)
{
    int zero = 0, *code = verdict.lookup(&zero);

    return code ? *code : 2;
}
"""
SEEN = "BPF_ARRAY(n, u64, 1);\nTRACEPOINT_PROBE(irq, softirq_entry) { n.increment(0); return 0; }\n"


@pytest.fixture
def without_bcc(monkeypatch):
    monkeypatch.setattr("netkit_edu.linux.bcc.why_not", lambda *args: "BCC is not installed: apt-get install it")


def test_where_bcc_is_not_the_cell_says_why_and_binds_what_complains(shell, without_bcc):
    shell.run("%%bcc\n" + KNOB)
    assert isinstance(shell.ip.user_ns["knob"], BrokenProgram)
    assert isinstance(shell.ip.user_ns["knob"].error, BackendUnavailable)
    for said in (shell.text(), shell.html()):
        assert "BCC is not installed: apt-get install it" in said
    with pytest.raises(UsageError, match="its cell failed"):
        shell.ip.user_ns["knob"].load(None)


def test_where_bcc_is_not_a_strict_run_goes_on_since_nothing_is_wrong_with_the_cell(shell, without_bcc, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_STRICT", "1")
    shell.run("%%bcc\n" + KNOB)
    assert not shell.tracebacks and "not compiled here: BCC is not installed" in shell.text()


def test_where_recordings_are_asked_for_nothing_is_compiled(shell, monkeypatch):
    monkeypatch.setattr("netkit_edu.linux.bcc.compile_bcc", None)
    monkeypatch.setenv("NETKIT_EDU_LINUX", "recorded")
    shell.run("%%bcc seen\n" + SEEN)
    assert isinstance(shell.ip.user_ns["seen"], BrokenProgram) and "NETKIT_EDU_LINUX" in shell.text()


@pytest.mark.bcc
def test_strict_raises_what_is_wrong_with_the_cell(shell, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_STRICT", "1")
    shell.run("%%bcc\n" + KNOB.replace("*code : 2", "nonsense : 2"))
    assert "nonsense" in "".join(shell.tracebacks[0])


@pytest.mark.parametrize(
    ("line", "said"),
    [("two names", "one Python name is enough"), ("a-b", "one Python name is enough"), ("-O2 x", "no option -O2")],
)
def test_wrong_words_are_refused_before_anything_is_compiled(line, said):
    with pytest.raises(UsageError, match=said):
        bcc.compile_cell(line, KNOB)


def test_empty_cell_is_refused():
    with pytest.raises(UsageError, match="the cell is empty"):
        bcc.compile_cell("x", "\n\n")


@pytest.mark.bcc
def test_one_program_is_bound_under_its_own_or_the_given_name(shell):
    shell.run("%%bcc\n" + KNOB)
    assert isinstance(shell.ip.user_ns["knob"], BccProgram)
    assert "compiled by BCC" in shell.text() and "knob.load(lab)" in shell.html()
    shell.run("%%bcc mine\n" + KNOB)
    assert shell.ip.user_ns["mine"].name == "knob"
    for name in ("knob", "mine"):
        shell.ip.user_ns[name].object.close()


@pytest.mark.bcc
def test_tracers_need_a_name_and_end_when_the_cell_is_run_again(shell):
    shell.run("%%bcc\n" + SEEN)
    assert "give it a name" in shell.text()
    shell.run("%%bcc seen\n" + SEEN)
    assert "tracers run from now on; tables: n" in shell.text()
    first = shell.ip.user_ns["seen"]
    assert isinstance(first, BccObject) and not first.closed
    shell.run("%%bcc seen\n" + SEEN)
    assert first.closed and not shell.ip.user_ns["seen"].closed
    shell.ip.user_ns["seen"].close()


@pytest.mark.bcc
@pytest.mark.parametrize("above", [0, 2])
def test_errors_name_the_cells_own_line(shell, above):
    cell = "\n" * above + "%%bcc knob\n" + KNOB.replace("*code : 2", "nonsense : 2")
    shell.run(cell)
    wrong = next(i for i, text in enumerate(cell.splitlines(), 1) if "nonsense" in text)
    error = shell.ip.user_ns["knob"].error
    assert isinstance(error, CompileError) and error.diagnostics[0].line == wrong
    assert f"line {wrong}" in shell.text() and "nonsense" in shell.html()
