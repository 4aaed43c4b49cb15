"""decode, encode, disassemble, assemble, validate: round trips, the kernel's texts, the kernel's refusals."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netkit_edu.errors import AssemblyError, ObjectError
from netkit_edu.program import opcodes as op
from netkit_edu.program.isa import Insn, assemble, decode, disassemble, encode, validate
from netkit_edu.program.validator import _CHECKS, complaint
from tests.conformance_asm import load_vector, vector_paths
from tests.requires import require

int16 = st.integers(-(1 << 15), (1 << 15) - 1)
int32 = st.integers(-(1 << 31), (1 << 31) - 1)
any_slot = st.builds(Insn, st.integers(0, 255), st.integers(0, 15), st.integers(0, 15), int16, int32)
# slots that are mostly valid: an opcode that exists, and small numbers where fields are often reserved
likely_slot = st.builds(
    Insn,
    st.sampled_from(sorted(_CHECKS)),
    st.integers(0, 10),
    st.sampled_from([0, 0, 0, 1, 2, 3, 6, 10]),
    st.one_of(st.just(0), st.sampled_from([1, 8, 16, 32]), int16),
    st.one_of(st.just(0), st.sampled_from([16, 32, 64, 0x01, 0x40, 0x41, 0x51, 0xA1, 0xE1, 0xF1]), int32),
)
wide = st.builds(
    lambda dst, kind, low, high: [Insn(op.LDDW, dst, kind, 0, low), Insn(0, 0, 0, 0, high)],
    st.integers(0, 9),
    st.integers(0, 6),
    int32,
    st.one_of(st.just(0), int32),
)
code = st.lists(st.one_of(any_slot.map(lambda s: [s]), likely_slot.map(lambda s: [s]), wide), max_size=12).map(
    lambda parts: tuple(slot for part in parts for slot in part)
)


@given(code)
def test_bytes_decode_to_the_instructions_they_were_encoded_from(insns):
    assert decode(encode(insns)) == insns


@given(st.binary(max_size=64).map(lambda data: data[: len(data) & ~7]))
def test_instructions_encode_to_the_bytes_they_were_decoded_from(data):
    assert encode(decode(data)) == data


@given(code)
@example((Insn(op.JMP | op.CALL, 0, op.CALL_KFUNC, -3, -7),))
@example((Insn(op.LDDW, 3, 0, 0, -1), Insn(0, 0, 0, 0, -1)))
@example((Insn(op.LDDW, 3, 0, 0, 5),))
def test_text_assembles_to_the_instructions_it_was_disassembled_from(insns):
    lines = disassemble(insns)
    assert len(lines) == len(insns)
    assert assemble("\n".join(lines)) == insns


@given(likely_slot)
def test_a_valid_instruction_has_a_text_of_its_own(insn):
    if insn.opcode != op.LDDW and not complaint(insn):
        assert not disassemble([insn])[0].startswith(".slot")


@pytest.mark.parametrize(
    ("text", "insn"),
    [
        ("r1 = 5", Insn(0xB7, 1, 0, 0, 5)),
        ("w1 = -1", Insn(0xB4, 1, 0, 0, -1)),
        ("r1 = r2", Insn(0xBF, 1, 2, 0, 0)),
        ("r1 = (s8)r2", Insn(0xBF, 1, 2, 8, 0)),
        ("r1 = (s32)r2", Insn(0xBF, 1, 2, 32, 0)),
        ("w1 = (s16)w2", Insn(0xBC, 1, 2, 16, 0)),
        ("r1 += r2", Insn(0x0F, 1, 2, 0, 0)),
        ("w3 <<= 7", Insn(0x64, 3, 0, 0, 7)),
        ("r3 s>>= 7", Insn(0xC7, 3, 0, 0, 7)),
        ("r3 /= r4", Insn(0x3F, 3, 4, 0, 0)),
        ("r3 s/= r4", Insn(0x3F, 3, 4, 1, 0)),
        ("w3 s%= 5", Insn(0x94, 3, 0, 1, 5)),
        ("r1 = -r1", Insn(0x87, 1, 0, 0, 0)),
        ("r1 = be16 r1", Insn(0xDC, 1, 0, 0, 16)),
        ("r1 = le64 r1", Insn(0xD4, 1, 0, 0, 64)),
        ("r1 = bswap32 r1", Insn(0xD7, 1, 0, 0, 32)),
        ("r1 = *(u32 *)(r6 +4)", Insn(0x61, 1, 6, 4, 0)),
        ("r1 = *(s8 *)(r6 -4)", Insn(0x91, 1, 6, -4, 0)),
        ("*(u64 *)(r10 -8) = r1", Insn(0x7B, 10, 1, -8, 0)),
        ("*(u16 *)(r10 -8) = 258", Insn(0x6A, 10, 0, -8, 258)),
        ("lock *(u64 *)(r10 -8) += r1", Insn(0xDB, 10, 1, -8, 0x00)),
        ("lock *(u32 *)(r10 -8) ^= r1", Insn(0xC3, 10, 1, -8, 0xA0)),
        ("r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)", Insn(0xDB, 10, 1, -8, 0x01)),
        ("r1 = atomic_fetch_or((u32 *)(r10 -8), r1)", Insn(0xC3, 10, 1, -8, 0x41)),
        ("r1 = atomic64_xchg((u64 *)(r10 -8), r1)", Insn(0xDB, 10, 1, -8, 0xE1)),
        ("r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r1)", Insn(0xC3, 10, 1, -8, 0xF1)),
        ("if r1 > 0x5 goto pc+3", Insn(0x25, 1, 0, 3, 5)),
        ("if w1 s<= w2 goto pc-3", Insn(0xDE, 1, 2, -3, 0)),
        ("if r1 & 0xffffffff goto pc+0", Insn(0x45, 1, 0, 0, -1)),
        ("goto pc-2", Insn(0x05, 0, 0, -2, 0)),
        ("gotol pc+70000", Insn(0x06, 0, 0, 0, 70000)),
        ("call bpf_map_lookup_elem#1", Insn(0x85, 0, 0, 0, 1)),
        ("call unknown#9999", Insn(0x85, 0, 0, 0, 9999)),
        ("call pc+5", Insn(0x85, 0, 1, 0, 5)),
        ("r0 = *(u16 *)skb[12]", Insn(0x28, 0, 0, 0, 12)),
        ("r0 = *(u8 *)skb[r7 + 2]", Insn(0x50, 0, 7, 0, 2)),
        ("exit", Insn(0x95, 0, 0, 0, 0)),
    ],
)
def test_texts_are_those_of_the_kernels_verifier_log(text, insn):
    assert disassemble([insn]) == [text]
    assert assemble(text) == (insn,)


def test_a_wide_load_takes_two_slots_and_one_line_of_text():
    lines = disassemble(
        assemble("r1 = 0x1122334455667788\nr2 = map[fd:3]\nr3 = map[fd:3][0]+8\nr4 = subprog[+2]\nexit")
    )
    assert lines == ["r1 = 0x1122334455667788", "", "r2 = map[fd:3]", "", "r3 = map[fd:3][0]+8", "",
                     "r4 = subprog[+2]", "", "exit"]  # fmt: skip


def test_assembler_takes_labels_comments_helper_names_and_log_prefixes():
    insns = assemble("""
        ; count down, then ask the kernel
        r6 = 3                  // three times
again:  r6 += -1
        if r6 != 0 goto again
        call bpf_get_prandom_u32
        call half
        7: (95) exit
half:   r0 >>= 1
        exit
    """)
    assert disassemble(insns) == [
        "r6 = 3", "r6 += -1", "if r6 != 0x0 goto pc-2", "call bpf_get_prandom_u32#7", "call pc+1", "exit",
        "r0 >>= 1", "exit",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("r11 = 0", "R11 is invalid"),
        ("r1 = 4294967296", "does not fit"),
        ("r1 += 0xffffffff", "does not fit"),
        ("*(u8 *)(r1 +40000) = 1", "does not fit"),
        ("goto nowhere", "no label nowhere"),
        ("a: exit\na: exit", "defined twice"),
        ("w1 = (s32)w2", "sign extension"),
        ("r1 = w2", "same width"),
        ("if r1 == w2 goto pc+1", "same width"),
        ("r1 = be16 r2", "one register"),
        ("r2 = atomic_fetch_add((u32 *)(r10 -8), r1)", "old value goes to r1"),
        ("r1 = atomic64_fetch_add((u32 *)(r10 -8), r1)", "atomic64_"),
        ("lock *(u8 *)(r10 -8) += r1", "32 or 64 bits"),
        ("r1 = *(s64 *)(r2 +0)", "64 bits"),
        ("mov r1, r2", "no eBPF statement"),
    ],
)
def test_assembler_names_the_line_and_the_reason(text, why):
    with pytest.raises(AssemblyError, match=why) as error:
        assemble(text)
    assert str(error.value).startswith(f"line {text.count(chr(10)) + 1}: ")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_assembler_reads_any_text_or_says_what_is_wrong(text):
    try:
        assemble(text)
    except AssemblyError:
        pass


@pytest.mark.parametrize(
    ("insns", "words"),
    [
        ([], "no instructions"),
        ([Insn(0x00, 0, 0, 0, 0)], "unknown opcode 00"),
        ([Insn(0x8D, 1, 0, 0, 0)], "unknown opcode 8d"),
        ([Insn(0xB7, 11, 0, 0, 0)], "R11 is invalid"),
        ([Insn(0xBF, 1, 12, 0, 0)], "R12 is invalid"),
        ([Insn(0xB7, 10, 0, 0, 0)], "frame pointer is read only"),
        ([Insn(0xB7, 1, 2, 0, 0)], "BPF_MOV uses reserved fields"),
        ([Insn(0xBF, 1, 2, 5, 0)], "BPF_MOV uses reserved fields"),
        ([Insn(0xBC, 1, 2, 32, 0)], "BPF_MOV uses reserved fields"),
        ([Insn(0x0F, 1, 2, 0, 1)], "BPF_ALU uses reserved fields"),
        ([Insn(0x0F, 1, 2, 1, 0)], "BPF_ALU uses reserved fields"),
        ([Insn(0x87, 1, 0, 0, 1)], "BPF_NEG uses reserved fields"),
        ([Insn(0xDC, 1, 0, 0, 8)], "BPF_END uses reserved fields"),
        ([Insn(0x61, 1, 2, 0, 1)], "BPF_LDX uses reserved fields"),
        ([Insn(0x7B, 1, 2, 0, 1)], "BPF_STX uses reserved fields"),
        ([Insn(0x7A, 1, 2, 0, 1)], "BPF_ST uses reserved fields"),
        ([Insn(0xDB, 1, 2, 0, 0x10)], "BPF_ATOMIC uses invalid atomic opcode 10"),
        ([Insn(0x18, 1, 0, 0, 0)], "invalid bpf_ld_imm64 insn"),
        ([Insn(0x18, 1, 0, 0, 0), Insn(0, 1, 0, 0, 0)], "invalid bpf_ld_imm64 insn"),
        ([Insn(0x18, 1, 7, 0, 0), Insn(0, 0, 0, 0, 0)], "unrecognized bpf_ld_imm64 insn"),
        ([Insn(0x85, 1, 0, 0, 1)], "BPF_CALL uses reserved fields"),
        ([Insn(0x95, 0, 0, 0, 1)], "BPF_EXIT uses reserved fields"),
        ([Insn(0x05, 0, 0, 0, 1)], "BPF_JA uses reserved fields"),
        ([Insn(0x1D, 0, 1, 0, 1)], "BPF_JMP/JMP32 uses reserved fields"),
        (assemble("goto pc+1\nexit"), "jump out of range from insn 0 to 2"),
        (assemble("if r1 == 0 goto pc-2\nexit"), "jump out of range from insn 0 to -1"),
        (assemble("goto pc+1\nr1 = 0x5\nexit"), "jump into the middle of ldimm64 insn 2"),
        (assemble("exit\nr0 = 0"), "last insn is not an exit or jmp"),
        (assemble("exit\nr0 = 0x0"), "last insn is not an exit or jmp"),
        (assemble("call pc+5\nexit"), "call to invalid destination"),
        (assemble("call f\nr0 = 0\nf: exit"), "last insn is not an exit or jmp"),
        (assemble("call f\ngoto g\nf: r0 = 0\ng: exit"), "jump out of range from insn 1 to 3"),
    ],
)
def test_validate_refuses_in_the_kernels_words(insns, words):
    with pytest.raises(ObjectError, match=words):
        validate(insns)


@pytest.mark.parametrize("text", ["r1 <<= 200\nexit", "w1 /= 0\nexit", "r0 = 0\ngoto pc-2", "r0 = *(u8 *)skb[0]\nexit"])
def test_validate_lets_pass_what_the_rfc_defines(text):
    validate(assemble(text))


@given(code)
def test_validate_says_yes_or_raises_its_one_error(insns):
    try:
        validate(insns)
    except ObjectError:
        pass


@pytest.mark.parametrize("data", [b"\x95", b"\x95" + bytes(8)])
def test_code_of_broken_length_is_refused(data):
    with pytest.raises(ObjectError, match="slots of 8 bytes"):
        decode(data)


@pytest.mark.parametrize("insn", [Insn(256, 0, 0, 0, 0), Insn(0, 16, 0, 0, 0), Insn(0, 0, 0, 1 << 15, 0)])
def test_fields_that_do_not_fit_are_refused(insn):
    with pytest.raises(ObjectError, match="fit"):
        encode([insn])


def test_the_public_vectors_go_through_text_and_back():
    require("vectors")
    for path in vector_paths():
        insns = load_vector(path).insns
        assert assemble("\n".join(disassemble(insns))) == insns, path.name


def test_the_public_vectors_validate_but_the_one_beyond_the_rfc():
    require("vectors")
    refused = []
    for path in vector_paths():
        try:
            validate(load_vector(path).insns)
        except ObjectError:
            refused.append(path.stem)
    assert refused == ["callx"]
