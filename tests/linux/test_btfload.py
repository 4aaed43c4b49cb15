"""BTF as it is handed to the kernel: places filled in, C lines in order, and the least where an object has none."""

from __future__ import annotations

import struct

import pytest

import netkit_edu as nk
from netkit_edu.linux.btfload import kernel_btf, types_of
from netkit_edu.program import btf as b
from netkit_edu.program import isa
from netkit_edu.program.btf import Btf
from netkit_edu.program.object import ProgramCode, SourceLine
from tests.requires import a_compiler

TEXT = """
#include "netkit_edu.h"
volatile const __u32 FIRST = 1, SECOND = 2;
__u64 counted;
char word[3];
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
    seen SEC(".maps");
static __attribute__((noinline)) int sub(struct __sk_buff *skb, int n)
{
    return skb->len + n;
}
SEC("tc") int main_one(struct __sk_buff *skb)
{
    __u32 key = FIRST;
    bpf_map_lookup_elem(&seen, &key);
    counted += SECOND + word[1];
    return sub(skb, key) + sub(skb, 2);
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def program():
    return nk.compile(TEXT, name="types.c")["main_one"]


def functions(types) -> list[tuple[int, str]]:
    made = Btf.parse(types.btf)
    return [(slot, made[number].name) for slot, number in struct.iter_unpack("<II", types.functions)]


def lines(types) -> list[tuple[int, str, str, int]]:
    made = Btf.parse(types.btf)
    return [(slot, made.string(file), made.string(text), place >> 10)
            for slot, file, text, place in struct.iter_unpack("<4I", types.lines)]  # fmt: skip


@a_compiler()
def test_every_data_section_says_where_its_variables_lie(program):
    made = Btf.parse(kernel_btf(program.btf))
    sections = {one.name: one for one in made.types if one.kind == b.DATASEC}
    assert {".rodata", ".bss", ".maps", "license"} <= sections.keys()
    for section in sections.values():
        assert section.size > 0
        ends = [0]
        for var in section.placed:
            assert var.offset >= ends[-1] and var.size >= made.size(var.type)
            ends.append(var.offset + var.size)
        assert ends[-1] <= section.size


@a_compiler()
def test_functions_and_lines_are_those_of_the_program(program):
    types = types_of(program.code)
    assert functions(types) == sorted(program.code.functions.items())
    assert Btf.parse(types.btf)[types.main].name == "main_one"
    told = lines(types)
    slots = [slot for slot, *_ in told]
    assert slots == sorted(set(slots)) and set(program.code.functions) <= set(slots)
    for slot, file, text, line in told:
        here = program.code.lines[slot]
        assert program.code.insns[slot].opcode
        assert (file, text, line) == (here.file, here.text, here.line) == ("types.c", TEXT.splitlines()[line - 1], line)


@pytest.mark.parametrize("names", [{}, {0: "ok", 2: "odd-name!", 4: "9"}])
def test_a_program_without_types_gets_the_least(names):
    code = ProgramCode("plain", "tc", isa.assemble("r0 = 0\nexit\n" * 3), functions=names)
    types = types_of(code)
    made = Btf.parse(types.btf)
    assert [slot for slot, _ in functions(types)] == list(names or {0: ""})
    assert made[types.main].kind == b.FUNC and made.size(made[made[types.main].type].type) == 4
    assert types.lines == b""


def test_instructions_without_a_line_belong_to_the_one_before_and_a_function_begins_with_one():
    one, two = SourceLine("a.c", 3, 2000, "x = 1;"), SourceLine("a.c", 4, 1, "return \x00 x;")
    code = ProgramCode(
        "p", "tc", isa.assemble("r1 = 7 ll\nr0 = 0\nexit\nr0 = 0\nexit"), functions={0: "p", 4: "q"},
        lines=(None, None, one, two, None, None),
    )  # fmt: skip
    assert lines(types_of(code)) == [
        (0, "a.c", "x = 1;", 3), (3, "a.c", "return   x;", 4), (4, "a.c", "return   x;", 4),
    ]  # fmt: skip
