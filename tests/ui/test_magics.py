"""``%%bpf``: binding, lines as JupyterLab counts them, soft failure."""

from __future__ import annotations

import pytest

from netkit_edu.errors import CompileError, ObjectError, UsageError
from netkit_edu.programs import BrokenProgram, CompiledObject, Program
from netkit_edu.ui import magics
from tests.ui.conftest import KNOB

TWO = '#include "netkit_edu.h"\n' + "".join(
    f'SEC("netkit/peer") int {name}(struct __sk_buff *skb) {{ return {code}; }}\n'
    for name, code in (("one", "NETKIT_PASS"), ("two", "NETKIT_DROP"))
)


def test_cell_binds_its_program_under_the_given_name(shell):
    shell.run("%%bpf mine\n" + KNOB)
    assert isinstance(shell.ip.user_ns["mine"], Program)


def test_without_a_name_the_function_names_the_program(shell):
    shell.run("%%bpf\n" + KNOB)
    assert shell.ip.user_ns["knob"].name == "knob"


def test_several_programs_bind_an_object_under_the_name_or_each_by_its_own(shell):
    shell.run("%%bpf both\n" + TWO)
    assert isinstance(shell.ip.user_ns["both"], CompiledObject) and list(shell.ip.user_ns["both"]) == ["one", "two"]
    shell.run("%%bpf\n" + TWO)
    assert shell.ip.user_ns["one"].name == "one" and shell.ip.user_ns["two"].name == "two"


def test_cell_says_instructions_maps_and_that_nothing_is_verified_yet(shell):
    shell.run("%%bpf\n" + KNOB)
    for said in (shell.text(), shell.html()):
        assert "10 instructions" in said and "verdict (array" in said and "ot verified yet" in said
    assert "<details>" in shell.html() and "exit" in shell.html()


def test_lines_are_counted_as_jupyterlab_numbers_them(shell):
    shell.run("%%bpf\n" + KNOB)
    lines = {line.line: line.text.strip() for line in shell.ip.user_ns["knob"].code.lines if line}
    cell = ("%%bpf\n" + KNOB).splitlines()
    assert lines and all(cell[n - 1].strip() == text for n, text in lines.items())


@pytest.mark.parametrize("above", [0, 2])
def test_compile_error_names_the_cells_own_line(shell, above):
    cell = "\n" * above + "%%bpf\n" + KNOB.replace("__u32 key = 0;", "__u32 key = nonsense;")
    shell.run(cell)
    wrong = next(i for i, text in enumerate(cell.splitlines(), 1) if "nonsense" in text)
    error = shell.ip.user_ns["knob"].error
    assert isinstance(error, CompileError) and error.diagnostics[0].line == wrong
    assert f"line {wrong}" in shell.text() and "nonsense" in shell.html() and "^" in shell.text()


def test_line_that_hardly_means_what_it_says_is_shown_as_a_warning(shell):
    cell = "%%bpf knob\n" + KNOB.replace("return v", "if (skb->mark = 5)\n\t\treturn NETKIT_DROP;\n\treturn v")
    shell.run(cell)
    number = next(i for i, text in enumerate(cell.splitlines(), 1) if "skb->mark" in text)
    assert isinstance(shell.ip.user_ns["knob"], Program)
    for said in (shell.text(), shell.html()):
        assert "instructions" in said and "It compiles, but one line looks like a mistake" in said
        assert f"line {number}, column 16:" in said and "= stores, == compares" in said and "^" in said
    assert 'class="nk box warn"' in shell.html() and 'role="alert"' not in shell.html()
    shell.run(cell)
    assert "= stores, == compares" in shell.text()
    shell.run("%%bpf knob\n" + KNOB)
    assert "mistake" not in shell.text()


def test_warning_beside_an_error_is_called_one(shell):
    shell.run("%%bpf knob\n" + KNOB.replace("return v", "if (skb->mark = 5)\n\t\treturn NETKIT_DROP\n\treturn v"))
    assert "This does not compile: 1 error." in shell.text() and ": warning: using the result" in shell.text()


def test_failing_cell_fails_softly_and_its_program_raises_when_used(shell):
    result = shell.run("%%bpf\n" + KNOB.replace("return v", "retrn v"))
    assert result.success and 'role="alert"' in shell.html()
    assert isinstance(shell.ip.user_ns["knob"], BrokenProgram)
    result = shell.run("knob.run(b'')")
    assert isinstance(result.error_in_exec, UsageError)
    assert len(shell.tracebacks[0]) < 6 and any("in this cell" in line for line in shell.tracebacks[0])


def test_corrected_cell_replaces_the_broken_program(shell):
    shell.run("%%bpf\n" + KNOB.replace("return v", "retrn v"))
    shell.run("%%bpf\n" + KNOB)
    assert isinstance(shell.ip.user_ns["knob"], Program)


def test_strict_cell_raises(shell, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_STRICT", "1")
    assert isinstance(shell.run("%%bpf x\nnonsense").error_in_exec, (CompileError, ObjectError))


@pytest.mark.parametrize("cell,says", [
    ("%%bpf\n\n", "empty"),
    ("%%bpf a b\n" + KNOB, "one name is enough"),
    ("%%bpf my-prog\n" + KNOB, "%%bpf my_prog"),
    ("%%bpf class\n" + KNOB, "not a Python name"),
    ("%%bpf --fast x\n" + KNOB, "no option --fast"),
    ("%%bpf 'x\n" + KNOB, "cannot read"),
])  # fmt: skip
def test_wrong_use_says_what_to_write(shell, cell, says):
    assert shell.run(cell).success
    assert says.lower() in shell.text().lower()


def test_cell_without_a_program_says_that_sec_is_missing(shell):
    assert shell.run('%%bpf x\n#include "netkit_edu.h"\nint f(void) { return 0; }\n').success
    assert "SEC" in shell.text()
    assert isinstance(shell.ip.user_ns["x"], BrokenProgram)


def test_optimization_can_be_chosen():
    assert magics.arguments("prog -O1") == ("prog", "-O1") and magics.arguments("") == ("", "-O2")


def test_names_of_a_failing_cell_are_read_from_its_text():
    body = 'SEC("netkit/peer")\nint a(struct __sk_buff *skb) {}\nSEC("tc") __attribute__((x)) int b (void) {}'
    assert magics.broken_names("", body)[0] == "a"
    assert magics.broken_names("mine", body) == ["mine"]
