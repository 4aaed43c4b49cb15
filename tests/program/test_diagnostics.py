"""Each of the commonest mistakes: the learner's own line and column, the compiler's words, a plain sentence."""

from __future__ import annotations

import pytest

from netkit_edu.errors import CompileError
from netkit_edu.program.check import SECTIONS
from netkit_edu.program.compiler import compile_c, compile_with_warnings
from netkit_edu.program.diagnostics import parse
from tests.program.compiled import COURSE, SAMPLES, each_compiler, need_compiler, only, program

GPL = 'char _license[] SEC("license") = "GPL";\n'
LIBBPF = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
A_MAP = 'struct { __uint(type, 2); __type(key, int); __type(value, int); } m SEC(".maps");\n'


def in_section(section: str) -> str:
    """A program that is right but for its section."""
    return f'\nSEC("{section}")\nint f(struct __sk_buff *skb)\n{{\n\treturn 0;\n}}\n'


MISTAKES = {
    "missing semicolon": (program("\tint x = 5\n\tx++;"), 3, 11, "expected ';'", "ends with a semicolon"),
    "missing semicolon after return": (
        'SEC("netkit/peer") int f(struct __sk_buff *skb)\n{\n\treturn NETKIT_PASS\n}\n',
        3,
        20,
        "expected ';'",
        "ends with a semicolon",
    ),
    "missing semicolon after struct": (
        "struct k { int a; }\n" + program(""),
        2,
        19,
        "expected ';' after struct",
        "after the closing brace",
    ),
    "undeclared name": (
        program("\tif (skb->len > limit)\n\t\treturn 2;"),
        3,
        17,
        "undeclared identifier 'limit'",
        "Nothing called limit is declared",
    ),
    "misspelt verdict": (program("\treturn NETKIT_DORP;"), 3, 9, "NETKIT_DORP", "Did you mean NETKIT_DROP?"),
    "verdict that tcx does not have": (program("\treturn TCX_SHOT;"), 3, 9, "TCX_SHOT", "Did you mean TCX_DROP?"),
    "verdict that netkit does not have": (
        program("\treturn NETKIT_TX;"),
        3,
        9,
        "NETKIT_TX",
        "there are NETKIT_NEXT, NETKIT_PASS, NETKIT_DROP, NETKIT_REDIRECT. Did you mean NETKIT_REDIRECT?",
    ),
    "verdict that nobody has": (program("\treturn TCX_WHATEVER;"), 3, 9, "TCX_WHATEVER", "there are TCX_NEXT"),
    "kernel-internal type": (program("\tu32 x = 5;"), 3, 2, "undeclared identifier 'u32'", "called __u32"),
    "missing SEC": (
        "\n__u32 g;\nint f(struct __sk_buff *skb)\n{\n\treturn 0;\n}\n",
        3,
        0,
        "has no SEC",
        'write SEC("netkit/peer")',
    ),
    "XDP context": (
        'SEC("netkit/peer")\nint f(struct xdp_md *ctx)\n{\n\treturn ctx->data;\n}\n',
        4,
        12,
        "struct xdp_md",
        "the context of an XDP program",
    ),
    "XDP context, never looked at": (
        'SEC("netkit/peer")\nint f(struct xdp_md *ctx)\n{\n\treturn 0;\n}\n',
        2,
        0,
        "program f takes struct xdp_md *",
        "takes struct __sk_buff *",
    ),
    "kernel's own context": (
        'SEC("tc") int f(struct sk_buff *skb)\n{\n\treturn skb->len;\n}\n',
        3,
        12,
        "struct sk_buff",
        "takes struct __sk_buff *",
    ),
    "missing include of SEC": (
        "#include <linux/bpf.h>\n" + program(""),
        2,
        5,
        "expected",
        "add #include <bpf/bpf_helpers.h>",
    ),
    "missing include of a struct": (
        LIBBPF + program("\tstruct iphdr *ip = 0;\n\treturn ip->ttl;"),
        6,
        11,
        "struct iphdr",
        "add #include <linux/ip.h>",
    ),
    "missing include of a constant": (LIBBPF + program(""), 6, 9, "NETKIT_PASS", "add #include <linux/if_link.h>"),
    "missing include of a function": (
        "#include <linux/bpf.h>\n#define SEC(x) __attribute__((section(x), used))\n" + program("\tbpf_ktime_get_ns();"),
        5,
        2,
        "bpf_ktime_get_ns",
        "bpf/bpf_helpers.h",
    ),
    "header that is not there": (
        "#include <linux/if_eth.h>\n" + program(""),
        1,
        10,
        "file not found",
        "Did you mean <linux/if_ether.h>?",
    ),
    "implicit function": (program("\tcount_it(skb);"), 3, 2, "count_it", "there is no C library"),
    "printf": (program('\tprintf("x");'), 3, 2, "printf", "use bpf_printk()"),
    "misspelt helper": (
        program("\tbpf_map_lokup_elem(0, 0);"),
        3,
        2,
        "bpf_map_lokup_elem",
        "Did you mean bpf_map_lookup_elem()?",
    ),
    "helper that is not for cells": (
        program("\tbpf_probe_write_user(0, 0, 0);"),
        3,
        2,
        "bpf_probe_write_user",
        "number 36",
    ),
    "too much stack": (
        program("\tchar b[600];\n\tbpf_skb_load_bytes(skb, 0, b, sizeof(b));\n\treturn b[skb->len & 511];"),
        None,
        None,
        "stack limit",
        "512 bytes of stack",
    ),
    "floating point": (
        program("\tdouble x = skb->len * 1.5;\n\tif (x > 100.0)\n\t\treturn 2;"),
        3,
        13,
        "__floatunsidf",
        "no floating point",
    ),
    "GPL helper without a license": (
        program('\tskb->mark = 1;\n\tbpf_printk("len %d", skb->len);'),
        4,
        0,
        "cannot call GPL-restricted function from non-GPL compatible program",
        'char _license[] SEC("license") = "GPL";',
    ),
    "GPL helper with another license": (
        program('\tbpf_printk("x");', 'char _license[] SEC("license") = "MIT";\n'),
        4,
        0,
        "cannot call GPL-restricted function",
        'SEC("license")',
    ),
    "number as a pointer": (
        program("\tvoid *data = skb->data;"),
        3,
        8,
        "integer to pointer",
        "(void *)(long)skb->data",
    ),
    "misspelt member": (program("\treturn skb->lenght;"), 3, 14, "no member named 'lenght'", "Did you mean len?"),
    "dot for arrow": (program("\treturn skb.len;"), 3, 12, "is a pointer", "with ->"),
    "missing bracket": (program("\tif (skb->len > 5 return 0;"), 3, 19, "expected ')'", "a ) is missing"),
    "missing brace": (
        'SEC("tc") int f(struct __sk_buff *skb)\n{\n\tif (skb->len) {\n\treturn 0;\n}\n',
        5,
        2,
        "expected '}'",
        "a } is missing",
    ),
    "map without &": (
        program(
            "\tint k = 0;\n\treturn bpf_map_lookup_elem(m, &k) != 0;",
            'struct { __uint(type, 2); __type(key, int); __type(value, int); } m SEC(".maps");\n',
        ),
        5,
        29,
        "passing 'struct",
        "write & before its name",
    ),
    "memcpy of any length": (
        program("\tchar a[64];\n\t__builtin_memcpy(a, (void *)(long)skb->data, skb->len);\n\treturn a[3];"),
        4,
        2,
        "'memcpy'",
        "a loop with a fixed bound",
    ),
    "signed division": (
        program("\treturn (long long)skb->tstamp / (int)skb->len;"),
        3,
        None,
        "division",
        "unsigned numbers",
    ),
    "number for an address": (
        program("\t__u32 port = 53;\n\treturn bpf_map_lookup_elem(&m, port) != 0;", A_MAP),
        5,
        33,
        "integer to pointer conversion passing",
        "This wants an address: write &port.",
    ),
    "constant for an address": (
        program("\treturn bpf_map_lookup_elem(&m, 53) != 0;", A_MAP),
        4,
        33,
        "integer to pointer conversion passing",
        "put the number into a variable, and write &",
    ),
    "address for a number": (
        program("\t__u32 k = 0;\n\tskb->mark = bpf_map_lookup_elem(&m, &k);", A_MAP),
        5,
        12,
        "pointer to integer conversion",
        "*p is the number",
    ),
    "no return": (
        'SEC("tc") int f(struct __sk_buff *skb)\n{\n\tskb->mark = 1;\n}\n',
        4,
        1,
        "does not return a value",
        "let every way through it end with a return",
    ),
    "no return on one way": (
        'SEC("tc") int f(struct __sk_buff *skb)\n{\n\tif (skb->mark)\n\t\treturn 0;\n}\n',
        5,
        1,
        "does not return a value in all control paths",
        "let every way through it end with a return",
    ),
    "variable without a value": (
        program("\t__u32 x;\n\tif (x)\n\t\treturn 2;"),
        4,
        6,
        "uninitialized",
        "give it a value where it is declared",
    ),
    "misspelt hook": (in_section("netkit/pear"), 2, 6, "netkit/pear", "write netkit/peer or netkit/primary"),
    "misspelt kind of hook": (in_section("netkitt/peer"), 2, 6, "netkitt/peer", "Did you mean netkit/peer?"),
    "half a hook": (in_section("tcx"), 2, 6, "tcx", "write tcx/ingress or tcx/egress"),
    "section of an XDP program": (in_section("xdp"), 2, 6, "xdp", "A program here is a SCHED_CLS program"),
    "section of a socket filter": (in_section("socket"), 2, 6, "socket", "of another type (socket)"),
    "section of a tracing program": (in_section("kprobe/ip_rcv"), 2, 6, "kprobe", "of another type (kprobe)"),
    "section of a tracepoint": (in_section("tracepoint/net/x"), 2, 6, "tracepoint", "of another type (tracepoint)"),
    "too many arguments": (
        program('\tbpf_printk("%d %d %d %d", 1, 2, 3, skb->len);', GPL),
        4,
        2,
        "too many",
        "three values",
    ),
}


@each_compiler
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_shown_at_its_line_and_explained(mistake, kind):
    text, line, column, message, explanation = MISTAKES[mistake]
    with only(kind), pytest.raises(CompileError) as error:
        compile_c(text)
    said = str(error.value)
    found = next(one for one in error.value.diagnostics if one.explanation and one.severity == "error")
    assert message in found.message
    assert explanation in found.explanation
    if line is not None:
        assert found.line == line
        assert found.source == text.splitlines()[line - 1]
        assert f"cell, line {line}" in said and found.source in said
    if column:
        assert found.column == column
        caret = said.splitlines()[2]
        assert caret.replace("\t", " ").index("^") - len(f"  {line} | ") == column - 1
    assert message in said and explanation in said
    assert "0x" not in said and "<stdin>" not in said


@each_compiler
def test_an_assignment_as_a_condition_is_a_warning_that_is_explained(kind):
    text = program("\tif (skb->mark = 5)\n\t\treturn NETKIT_DROP;")
    with only(kind):
        obj, (warning,) = compile_with_warnings(text)
    assert list(obj.programs) == ["f"]
    assert (warning.severity, warning.line, warning.column) == ("warning", 3, 16)
    assert "= stores, == compares" in warning.explanation


SUSPICIOUS = {
    "skb->mark == 5;": "To store, write =",
    "skb->mark + 5;": "thrown away",
    "if (skb->len > 5);": "The ; ends the statement",
    "if (skb->len & 1 == 0) return 2;": "brackets",
    "if (skb->mark == 5 || 6) return 2;": "a == 5 || a == 6",
    "if (!skb->len == 5) return 2;": "a != b",
    "__u16 port = skb->len; if (port > 70000) return 2;": "never changes",
    "__u8 a = 300; skb->mark = a;": "does not fit",
    "__u32 x; if (skb->len > 5) x = 1; skb->mark = x;": "holds anything",
    "__u32 a[2] = {}; skb->mark = a[2];": "0 to n - 1",
    "__u32 x = 0, *p = &x; if (p > 5) return 2;": "*p is the number",
    "__u32 x = 0; __u64 *p = &x; skb->mark = *p;": "different types",
}


@each_compiler
@pytest.mark.parametrize("line", SUSPICIOUS)
def test_what_hardly_means_what_it_says_is_a_warning_with_a_sentence(line, kind):
    with only(kind):
        _, warnings = compile_with_warnings(program(f"\t{line}"))
    assert warnings and all(one.line == 3 and one.column and one.severity == "warning" for one in warnings)
    assert SUSPICIOUS[line] in warnings[0].explanation


@each_compiler
@pytest.mark.parametrize(
    "line", ["__u32 unused;", "int x = 0; x = 5;", "bpf_skb_pull_data(skb, 0);", "(void)skb->len;"]
)
def test_what_may_be_meant_is_no_warning(line, kind):
    with only(kind):
        assert compile_with_warnings(program(f"\t{line}"))[1] == ()


@each_compiler
@pytest.mark.parametrize("beside", ["", '\nSEC("netkit/peer") int g(struct __sk_buff *skb) { return NETKIT_PASS; }\n'])
def test_way_to_which_c_gives_no_meaning_is_not_called_by_the_compilers_inner_name(kind, beside):
    """LLVM 20 and newer end such a way in a call of __bpf_trap, LLVM 19 leaves nothing; older ones invent a value."""
    with only(kind):
        try:
            assert "f" in compile_c(program("\t__u32 a[2];\n\tif (a[1])\n\t\treturn 2;") + beside).programs
        except CompileError as error:
            assert "__bpf_trap" not in str(error) and "a value is read that was never stored" in str(error)


@pytest.mark.parametrize("path", SAMPLES + COURSE, ids=lambda path: path.name.split(".")[0])
def test_programs_of_the_course_compile_without_a_warning(path):
    need_compiler()
    with only(""):
        assert compile_with_warnings(path.read_text())[1] == ()


@pytest.mark.parametrize("section", [*SECTIONS, "?netkit/peer"])
def test_libbpfs_sections_for_packet_programs_are_taken(section):
    need_compiler()
    assert compile_c(in_section(section)).programs["f"].section == section.removeprefix("?")


def test_warnings_are_said_again_when_the_cell_is_run_again():
    text = program("\tif (skb->mark = 6)\n\t\treturn NETKIT_DROP;")
    with only(""):
        _, first = compile_with_warnings(text)
        _, second = compile_with_warnings(text)
    assert first == second != ()


def test_columns_count_characters_not_bytes():
    text = program("\t/* größer als ∞ */ return limit;")
    with only(""), pytest.raises(CompileError) as error:
        compile_c(text)
    assert error.value.diagnostics[0].column == text.splitlines()[2].index("limit") + 1


def test_a_text_with_a_name_is_called_by_it():
    with pytest.raises(CompileError, match=r"^drop_dns, line 3, column 9: "):
        compile_c(program("\treturn x;"), name="drop_dns")


@pytest.mark.parametrize("text", ["", "\n\n", "__u32 x;", "static int f(void) { return 1; }"])
def test_a_text_without_a_program_says_so(text):
    with pytest.raises(CompileError, match="holds no program"):
        compile_c(text)


def test_a_breakdown_of_the_compiler_is_one_sentence():
    with pytest.raises(CompileError, match="broke down|refused this text") as error:
        compile_c("#pragma clang __debug crash\n" + program(""))
    assert len(str(error.value).splitlines()) == 1


def test_messages_about_our_headers_keep_their_words_without_a_line():
    (found,) = parse("/netkit-edu/linux/ip.h:9:3: error: expected ';' after struct\n", "x\n" * 20)
    assert (found.line, found.column, found.source) == (0, 0, "")
    assert found.message == "ip.h: expected ';' after struct"
