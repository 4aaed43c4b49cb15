"""What is read from an object: programs, subprograms, maps, variables, lines; and what is refused."""

from __future__ import annotations

import io
import re

import pytest

from netkit_edu.errors import CompileError, ObjectError
from netkit_edu.program import elffile
from netkit_edu.program import opcodes as op
from netkit_edu.program.compiler import compile_c
from netkit_edu.program.elf import MAX_OBJECT, read_object
from netkit_edu.program.elffile import ElfFile
from netkit_edu.program.isa import disassemble
from netkit_edu.program.object import Relocation
from tests.program.compiled import compiled, each_compiler, need_compiler, program, sample

POLICY = sample("policy")


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


@each_compiler
class TestPolicy:
    """One libbpf-style source with several programs, subprograms, maps and every kind of global variable."""

    @pytest.fixture
    def obj(self, kind):
        return compiled(POLICY, kind)

    def test_every_function_with_a_section_is_a_program(self, obj):
        assert {name: code.section for name, code in obj.programs.items()} == {
            "policy": "netkit/peer",
            "count": "netkit/primary",
        }
        assert obj.license == "Dual BSD/GPL"
        assert all(code.license == "Dual BSD/GPL" for code in obj.programs.values())

    def test_called_subprograms_follow_the_program_and_calls_reach_them(self, obj):
        assert list(obj.programs["policy"].functions.values()) == ["policy", "judge", "weigh"]
        assert list(obj.programs["count"].functions.values()) == ["count", "weigh"]
        for code in obj.programs.values():
            reached = {
                slot + insn.imm + 1
                for slot, insn in enumerate(code.insns)
                if insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_LOCAL
            }
            assert reached | {0} == set(code.functions)

    def test_maps_are_read_from_their_btf_definition(self, obj):
        flows, totals = obj.maps["flows"], obj.maps["totals"]
        assert (flows.type, flows.key_size, flows.value_size, flows.max_entries, flows.flags) == (1, 8, 16, 64, 1)
        assert (totals.type, totals.key_size, totals.value_size, totals.max_entries) == (2, 4, 8, 4)
        assert obj.btf.spell(flows.key_type) == "struct key"
        assert obj.btf.decode(flows.value_type, bytes([5]) + bytes(7) + bytes([9]) + bytes(7)) == {
            "packets": 5,
            "bytes": 9,
        }
        assert (totals.key_type, totals.value_type) == (0, 0)

    def test_global_variables_become_maps_of_one_entry(self, obj):
        data, rodata, bss = (obj.maps[name] for name in (".data", ".rodata", ".bss"))
        assert all((spec.type, spec.key_size, spec.max_entries) == (2, 4, 1) for spec in (data, rodata, bss))
        assert (data.readonly, rodata.readonly, bss.readonly) == (False, True, False)
        assert bss.initial == bytes(bss.value_size)
        assert obj.btf.decode(data.value_type, data.initial) == {"weights": [10, 20, 30]}
        values = obj.btf.decode(rodata.value_type, rodata.initial)
        assert (values["NIC"], values["PORTS"], values["threshold"]) == (7, [1, 2, 0, 0], -3)

    def test_variables_say_where_they_are_and_whether_bind_may_fill_them(self, obj):
        seen = {name: (v.map, v.size, v.const) for name, v in obj.variables.items() if "." not in name}
        assert seen == {
            "NIC": (".rodata", 4, True),
            "PORTS": (".rodata", 4, True),
            "threshold": (".rodata", 4, True),
            "seen": (".bss", 8, False),
            "last_mark": (".bss", 4, False),
            "weights": (".data", 12, False),
        }
        format_text = next(v for name, v in obj.variables.items() if "____fmt" in name)
        assert not format_text.const

    def test_relocations_name_the_map_and_the_offset(self, obj):
        code = obj.programs["policy"]
        by_map = {}
        for relocation in code.relocations:
            by_map.setdefault(relocation.map, set()).add(relocation.offset)
            first, second = code.insns[relocation.insn : relocation.insn + 2]
            assert first.opcode == op.LDDW and first.imm == 0
            assert first.src == (op.LDDW_MAP_FD if relocation.offset is None else op.LDDW_MAP_VALUE)
            assert second.imm == (relocation.offset or 0)
        variables = obj.variables
        assert by_map["flows"] == {None}
        assert variables["NIC"].offset in by_map[".rodata"]
        assert {variables["seen"].offset, variables["last_mark"].offset} <= by_map[".bss"]

    def test_every_instruction_has_its_line_in_the_text(self, obj):
        lines = POLICY.splitlines()
        for code in obj.programs.values():
            assert len(code.lines) == len(code.insns)
            for line in code.lines:
                assert line.file == "cell"
                assert line.text == lines[line.line - 1]
        called = {
            line.line
            for insn, line in zip(obj.programs["policy"].insns, obj.programs["policy"].lines, strict=True)
            if insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_HELPER
        }
        assert called == {
            line_of(POLICY, "bpf_map_lookup_elem(&flows"),
            line_of(POLICY, "bpf_map_update_elem(&flows"),
            line_of(POLICY, "bpf_printk"),
        }


@each_compiler
def test_a_cell_without_includes_compiles(kind):
    obj = compiled(sample("cell"), kind)
    assert list(obj.programs) == ["drop_dns"]
    assert not obj.maps and not obj.variables and obj.license == ""


@each_compiler
def test_inline_assembler_of_instructions_compiles_with_its_own_lines(kind):
    code = compiled(sample("assembler"), kind).programs["masked"]
    at = next(n for n, text in enumerate(disassemble(code.insns)) if re.fullmatch(r"r\d &= 3", text))
    assert code.lines[at].line == line_of(sample("assembler"), "&= 3")


@each_compiler
def test_the_address_of_a_subprogram_is_resolved(kind):
    text = program(
        "\tbpf_loop(3, step, skb, 0);",
        "static long (*const bpf_loop)(__u32, void *, void *, __u64) = (void *)181;\n"
        "static int step(__u32 i, void *ctx) { return i > 1; }\n",
    )
    code = compiled(text, kind).programs["f"]
    (slot,) = (n for n, insn in enumerate(code.insns) if insn.opcode == op.LDDW)
    assert code.insns[slot].src == op.LDDW_CODE
    assert code.functions[slot + code.insns[slot].imm + 1] == "step"
    assert code.relocations == ()


@each_compiler
def test_strings_lie_in_a_map_called_like_their_section(kind):
    obj = compiled(program('\tbpf_trace_printk("hello", 6);', 'char _license[] SEC("license") = "GPL";\n'), kind)
    assert obj.maps[".rodata.str1.1"].initial == b"hello\0"
    assert Relocation(0, ".rodata.str1.1", 0)._replace(insn=0).map in {r.map for r in obj.programs["f"].relocations}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('struct bpf_map_def { int type; };\nstruct bpf_map_def SEC("maps") m = { 1 };\n' + program(""), "bpf_map_def"),
        (
            program("\treturn other(skb->len);", "extern int other(int);\n"),
            r"other is declared but defined nowhere \(used in line 4\)",
        ),
        (program("\treturn limit;", "extern int limit;\n"), "limit is declared but defined nowhere"),
        (program("\tskb->mark = *names[skb->len & 1];", 'const char *names[] = { "a", "b" };\n'), "holds addresses"),
        ('static SEC("netkit/peer") __attribute__((used)) int f(struct __sk_buff *skb) { return 0; }', "is static"),
        (
            program(
                "\treturn g(skb);", 'SEC("netkit/peer") __noinline int g(struct __sk_buff *skb) { return skb->len; }\n'
            ),
            "invalid destination|program of its own",
        ),
        (
            program("\treturn 0;", 'struct { __uint(type, 2); __type(key, struct nothing); } m SEC(".maps");\n'),
            "struct nothing has no size",
        ),
        (
            program("\treturn 0;", 'struct { int type; } m SEC(".maps");\n'),
            r"declared with __uint\(type, ...\)",
        ),
        (
            program(
                "\tstruct core *c = (void *)(long)skb->mark;\n\tskb->mark = c->field;",
                "struct core { int pad; int field; } __attribute__((preserve_access_index));\n",
            ),
            "CO-RE",
        ),
    ],
)
def test_what_is_not_supported_gets_one_clear_sentence(text, why):
    need_compiler()
    with pytest.raises(CompileError, match=why):
        compile_c(text)


def good() -> bytes:
    need_compiler()
    return compile_c(POLICY).elf


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"", "no ELF file"),
        (lambda data: b"\x7fELF", "ends within its header"),
        (lambda data: b"PK" + data[2:], "no ELF file"),
        (lambda data: data[:4] + b"\x01" + data[5:], "not 64-bit little-endian"),
        (lambda data: data[:5] + b"\x02" + data[6:], "not 64-bit little-endian"),
        (lambda data: data[:18] + b"\x3e\x00" + data[20:], "no eBPF object"),
        (lambda data: data[: len(data) // 2], "outside of it|cut off"),
        (lambda data: data + bytes(MAX_OBJECT), "the limit is 4 MB"),
        (lambda data: data.replace(b"\x9f\xeb", b"\x9f\xec"), "no type information"),
        (lambda data: data.replace(b"\x95" + bytes(7), b"\xff" + bytes(7)), "unknown opcode ff|program"),
    ],
)
def test_broken_objects_get_one_clear_sentence(change, why):
    with pytest.raises(ObjectError, match=why):
        read_object(change(good()))


def test_overlapping_sections_are_refused():
    data = bytearray(good())
    table = int.from_bytes(data[0x28:0x30], "little")
    for entry in range(table + 64, table + 64 * 12, 64):
        data[entry + 24 : entry + 40] = (0).to_bytes(8, "little") + (len(data) // 2).to_bytes(8, "little")
    with pytest.raises(ObjectError, match="larger than the file"):
        read_object(bytes(data))


@each_compiler
def test_the_container_is_read_as_pyelftools_reads_it(kind):
    oracle = pytest.importorskip("elftools.elf.elffile", reason="pyelftools is the oracle: pip install pyelftools")
    data = compiled(POLICY, kind).elf
    theirs, ours = oracle.ELFFile(io.BytesIO(data)), ElfFile(data)
    assert [s.name for s in theirs.iter_sections()] == [s.name for s in ours.sections]
    for section in ours.sections:
        other = theirs.get_section(section.index)
        assert section.size == other["sh_size"]
        if section.type != elffile.SHT_NOBITS and section.index:
            assert section.data == other.data()
    symbols = [
        (s.name, s["st_value"], s["st_size"], s["st_shndx"])
        for s in theirs.get_section_by_name(".symtab").iter_symbols()
    ]
    undefined = {"SHN_UNDEF": 0, "SHN_ABS": 0xFFF1}
    assert [(s.name, s.value, s.size, s.section) for s in ours.symbols if s.kind != elffile.STT_SECTION] == [
        (name, value, size, undefined.get(where, where))
        for (name, value, size, where), s in zip(symbols, ours.symbols, strict=True)
        if s.kind != elffile.STT_SECTION
    ]
    for name in (".relnetkit/peer", ".rel.text"):
        target = ours.sections[theirs.get_section_by_name(name)["sh_info"]]
        assert {offset: kind for offset, (kind, _) in ours.relocations(target).items()} == {
            r["r_offset"]: r["r_info_type"] for r in theirs.get_section_by_name(name).iter_relocations()
        }
