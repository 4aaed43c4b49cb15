"""What a notebook's output holds for each record: HTML, plain text, and the bare drawing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import netkit_edu
from netkit_edu import errors as kinds
from netkit_edu.backend import Chain, Entry
from netkit_edu.journey import compare
from netkit_edu.node import Summary
from netkit_edu.program.object import SourceLine
from netkit_edu.program.verification import Verification
from netkit_edu.ui import errors, show
from tests.draw import samples
from tests.draw.test_drawings import view
from tests.ui.conftest import KNOB


def test_journey_shows_as_html_svg_and_text(shell):
    data = shell.formatted(samples.veth())
    assert "<svg" in data["text/html"] and "udp_sendmsg" in data["text/plain"]
    ElementTree.fromstring(data["image/svg+xml"])


def test_comparison_and_pair_show_as_drawings(shell):
    for obj in (compare(samples.veth(), samples.netkit(("d", 2))), view("drop_dns")):
        data = shell.formatted(obj)
        assert "<svg" in data["text/html"] and data["image/svg+xml"].startswith("<svg") and data["text/plain"]


def test_two_outputs_of_one_journey_share_no_id(shell):
    j = samples.veth()
    a, b = (ElementTree.fromstring(shell.formatted(j)["image/svg+xml"]).get("id") for _ in range(2))
    assert a != b


def test_chain_and_summary_show_as_tables(shell):
    html = shell.formatted(Chain(3, (Entry(7, "count"), Entry(9, "drop_dns"))))["text/html"]
    assert html.index("count") < html.index("drop_dns") and "revision 3" in html
    html = shell.formatted(Summary((samples.veth(), samples.netkit(("d", 2), error="ENOBUFS"))))["text/html"]
    assert "2 packets" in html and "ENOBUFS" in html and "<svg" in html


def test_reasons_of_a_summary_say_which_end_they_belong_to(shell):
    lost = samples.netkit(("d", 2))
    html = shell.formatted(Summary((samples.veth(), lost, lost)))["text/html"]
    rows = [re.sub("<[^>]*>", " ", row).split() for row in html.partition("<details")[0].split("<tr")]
    said = [" ".join(row).partition("> ")[2] for row in rows]
    assert "2 dropped" in said and f"2 dropped: {lost.fate.reason}" in said, said


def test_program_and_object_show_c_lines_and_instructions(shell):
    import netkit_edu as nk

    compiled = nk.compile(KNOB)
    for obj in (compiled, compiled["knob"]):
        html = shell.formatted(obj)["text/html"]
        assert "10 instructions" in html and "bpf_map_lookup_elem(&amp;verdict" in html and "exit" in html


def test_a_verifiers_verdict_names_kernel_line_and_words(shell):
    line = SourceLine("cell", 6, 9, "  return *v < 3;")
    said = Verification("f", False, "Linux 6.12 (vm)", "0: <log>", 13, "R0 invalid mem access", 2, line, 7)
    html = shell.formatted(said)["text/html"]
    assert "Linux 6.12 (vm) refuses (EACCES)" in html and "line 6, instruction 2" in html
    assert "return *v &lt; 3;" in html and "0: &lt;log&gt;" in html and 'class="nk box bad"' in html
    good = show.as_html(Verification("f", True, "Linux 6.12 (vm)", processed=9))
    assert "accepts" in good and "9 instructions looked at" in good and "details" not in good.split("</style>")[-1]


def test_run_result_shows_verdict_and_packet(shell):
    import netkit_edu as nk

    result = nk.compile(KNOB)["knob"].run(samples.UDP)
    html = shell.formatted(result)["text/html"]
    assert "PASS" in html and "UDP 41000 &gt; 53" in html and "<details" in html


def test_hexdump_sets_changed_bytes_off():
    html = show.hexdump(b"\x01\x02\x03", b"\x01\xff\x03")
    assert '<b class="on">02</b>' in html and html.count("<b") == 1


def test_kernel_error_as_a_value_shows_errno_and_hint(shell):
    data = shell.formatted(kinds.KernelError("EACCES", "netkit link settings", "use the primary"))
    for said in (data["text/html"], data["text/plain"]):
        assert "EACCES" in said and "netkit link settings" in said and "se the primary" in said
    assert 'role="alert"' in data["text/html"]


def test_refusal_of_what_is_there_already_says_what_to_do():
    said = errors.as_text(kinds.KernelError("EEXIST"))
    assert "att.detach()" in said and "lab.load(prog)" in said


def test_every_refusal_this_package_makes_says_more_than_its_errno():
    texts = [path.read_text() for path in Path(netkit_edu.__file__).parent.rglob("*.py")]
    bare = {name for text in texts for name in re.findall(r'KernelError\("(E\w+)"\)', text)}
    assert len(bare) > 9 and not [name for name in bare if len(kinds.KernelError(name).hint) < 25]


def test_compile_error_shows_line_caret_and_plain_sentence():
    d = kinds.Diagnostic("error", "expected ';'", 3, 5, "\tx = 1", "A semicolon ends the line above.")
    error = kinds.CompileError("cell does not compile", (d,))
    text = errors.as_text(error)
    quoted, caret = text.splitlines()[2:4]
    assert quoted == "   3 |     x = 1" and caret.index("^") == quoted.index("= 1") + 1
    assert "line 3, column 5: expected ';'" in text and "A semicolon ends" in text
    assert "A semicolon ends" in errors.as_html(error)


def test_program_fault_shows_its_c_line_and_address():
    line = SourceLine("cell", 7, 1, "\treturn *p;")
    fault = kinds.ProgramFault("read beyond the packet", pc=4, source=line, address=0x1234, region="packet")
    for said in (errors.as_text(fault), errors.as_html(fault)):
        assert "return *p;" in said and "0x1234" in said and "instruction 4" in said


def test_uncaught_error_of_this_package_has_a_short_traceback_and_stays_an_error(shell):
    result = shell.run("import netkit_edu as nk\nx = 1\nnk.Lab('mars')")
    assert isinstance(result.error_in_exec, kinds.UsageError)
    (lines,) = shell.tracebacks
    assert len(lines) <= 4 and "mars" in lines[0] and "Lab" not in "".join(lines[3:])


def test_other_errors_keep_their_traceback(shell):
    shell.run("1/0")
    assert "ZeroDivisionError" in "\n".join(shell.tracebacks[0]) and len(shell.tracebacks[0]) > 1


def test_hostile_text_stays_text(shell):
    from tests.draw.test_drawings import NASTY, nasty

    for obj in (nasty(), kinds.KernelError("EACCES", NASTY, NASTY), Chain(1, (Entry(1, NASTY),))):
        assert "<script>" not in shell.formatted(obj)["text/html"]


def test_expected_refusal_is_shown_without_alarm(shell):
    shell.run("import netkit_edu as nk\nwith nk.refused('EEXIST'):\n    raise nk.KernelError('EEXIST')")
    shown = [shell.formatted(data) if not isinstance(data, dict) else data for data in shell.shown]
    html = "".join(d.get("text/html", "") for d in shown)
    assert "as expected" in html and "EEXIST" in html and "alert" not in html
