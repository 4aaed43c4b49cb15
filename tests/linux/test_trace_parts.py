"""The parts of the recording that need no kernel: types by name, symbols, the programs' text, the log's end."""

from __future__ import annotations

import struct

import pytest

from netkit_edu.errors import ObjectError
from netkit_edu.linux import symbols, trace_setup
from netkit_edu.linux.kernelbtf import KernelBtf
from netkit_edu.linux.records import overflowed
from netkit_edu.linux.trace_probe import HEAD, LOG, RECORD, Probes
from netkit_edu.linux.words import Places, address
from netkit_edu.program.btf import ENUM, FUNC, INT, PTR, STRUCT, TYPEDEF, UNION, VAR
from netkit_edu.program.isa import validate
from netkit_edu.program.opcodes import HELPER_NUMBERS

FIELDS = {  # struct: its fields, each of eight bytes; a field that has fields is a struct of that name
    "sk_buff": "dev _skb_refdst head data tail end network_header len protocol", "net_device": "ifindex flags nd_net",
    "nd_net": "net", "ns": "inum", "net": "ns", "skc_net": "net", "__sk_common": "skc_net", "sock": "__sk_common",
    "socket": "sk", "dst_entry": "dev", "neighbour": "primary_key", "nf_hook_state": "hook", "Qdisc": "ops",
    "Qdisc_ops": "id", "fib_result": "prefix prefixlen type nhc", "fib_nh_common": "nhc_dev nhc_gw",
    "pcpu_hot": "preempt_count", "__fl_common": "flowic_oif", "flowi4": "__fl_common",
    "skb_shared_info": "gso_size gso_segs", "ri": "tgt_index flags kern_flags", "bpf_net_context": "ri",
    "task_struct": "bpf_net_context",
}  # fmt: skip


class Maker:
    """Builds BTF, type by type."""

    def __init__(self):
        self.types, self.strings, self.count = b"", b"\0", 0

    def text(self, name: str) -> int:
        if not name:
            return 0
        at = len(self.strings)
        self.strings += name.encode() + b"\0"
        return at

    def add(self, name: str, kind: int, third: int, rest: bytes = b"", vlen: int = 0) -> int:
        self.types += struct.pack("<III", self.text(name), kind << 24 | vlen, third) + rest
        self.count += 1
        return self.count

    def members(self, name: str, kind: int, members: list[tuple[str, int, int]]) -> int:
        rest = b"".join(struct.pack("<III", self.text(field), one, bits) for field, one, bits in members)
        return self.add(name, kind, 8 * len(members), rest, len(members))

    def done(self) -> KernelBtf:
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return KernelBtf(head + self.types + self.strings)


@pytest.fixture
def btf() -> KernelBtf:
    """A kernel's types as far as the recording asks for them, every field at a place of its own."""
    made = Maker()
    word = made.add("u64", INT, 8, struct.pack("<I", 64))
    known: dict[str, int] = {}

    def build(name: str) -> int:
        if name not in known:
            fields = FIELDS[name].split()
            members = [(f, build(f) if f in FIELDS and f != name else word, 64 * n) for n, f in enumerate(fields)]
            known[name] = made.members(name, STRUCT, members)
        return known[name]

    for name in FIELDS:
        build(name)
    made.add("pcpu_hot", VAR, known["pcpu_hot"], bytes(4))
    made.add("fib_table_lookup", FUNC, 0)
    return made.done()


def test_a_field_is_found_through_unnamed_unions_typedefs_and_pointers_are_not_followed():
    made = Maker()
    word = made.add("u32", INT, 4, struct.pack("<I", 32))
    inner = made.members("inner", STRUCT, [("first", word, 0), ("second", word, 32)])
    alias = made.add("inner_t", TYPEDEF, inner)
    union = made.members("", UNION, [("one", word, 0), ("other", alias, 0)])
    pointer = made.add("", PTR, inner)
    made.members("outer", STRUCT, [("before", word, 0), ("", union, 64), ("away", pointer, 128)])
    btf = made.done()
    assert [btf.offset("outer", path) for path in ("before", "one", "other.second", "away")] == [0, 8, 12, 16]
    for path in ("nothing", "away.first", "other.third"):
        with pytest.raises(ObjectError, match=f"struct outer has no field {path}"):
            btf.offset("outer", path)
    with pytest.raises(ObjectError):
        btf.offset("nowhere", "before")


def test_functions_variables_and_enums_are_found_by_name_and_kind():
    made = Maker()
    made.add("twice", FUNC, 0)
    made.add("twice", VAR, 0, bytes(4))
    texts = [made.text(name) for name in ("SKB_DROP_REASON_NO_SOCKET", "SKB_CONSUMED")]
    rest = struct.pack("<IiIi", texts[0], 3, texts[1], 1)
    made.add("skb_drop_reason", ENUM, 4, rest, 2)
    btf = made.done()
    assert (btf.function("twice"), btf.variable("twice"), btf.function("wice"), btf.variable("no")) == (1, 2, 0, 0)
    assert btf.enum("skb_drop_reason") == {3: "SKB_DROP_REASON_NO_SOCKET", 1: "SKB_CONSUMED"} and btf.enum("no") == {}


def test_what_is_no_btf_is_refused():
    with pytest.raises(ObjectError):
        KernelBtf(bytes(64))


def test_symbols_are_taken_without_what_compilers_append():
    text = b"""\
ffffffff81000000 T ip_rcv
ffffffff81000100 t ip_rcv_core.constprop.0
ffffffff81000200 t ip_rcv_core.cold
ffffffff81000300 t veth_xmit\t[veth]
ffffffff81000400 D some_data
"""
    found = symbols.read_symbols(text)
    assert found["ip_rcv"] == (0xFFFFFFFF81000000, 0xFFFFFFFF81000100)
    assert found["ip_rcv_core"][0] == 0xFFFFFFFF81000100 and found["veth_xmit"][0] == 0xFFFFFFFF81000300
    assert "some_data" not in found


def test_the_recording_programs_are_programs(btf):
    probes = Probes(btf, 1001)
    for code in (probes.entry(), probes.freed(250), probes.freed(251), probes.lookup(), probes.verdict(7)):
        validate(code)
    calls = {insn.imm for insn in probes.entry() if insn.opcode == 0x85}
    assert HELPER_NUMBERS["bpf_probe_read_kernel"] in calls and HELPER_NUMBERS["bpf_get_attach_cookie"] in calls


def test_a_program_is_watched_by_its_own_number(btf):
    from netkit_edu.program import isa

    code = isa.encode(Probes(btf, 1001).verdict(trace_setup._SOME_PROGRAM))
    assert trace_setup.verdict(code, 77) == Probes(btf, 1001).verdict(77)


def test_a_full_log_says_so():
    assert not overflowed(struct.pack("<QQ", 1000, 0)) and overflowed(struct.pack("<QQ", LOG - HEAD, 0))
    assert RECORD.size == 56


def test_an_address_of_the_kernel_lies_in_a_function_or_in_none():
    places = Places([[100, 200, "one"], [300, 400, "two"]])
    assert [places.name(at) for at in (99, 100, 200, 250, 350, 500)] == ["", "one", "one", "", "two", ""]
    assert address(0x0201000A) == "10.0.1.2"
