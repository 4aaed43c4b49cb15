"""Programs in a learner's hands: compile, bind, run, step, maps as Python values."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, ObjectError, PacketError, ProgramFault, UsageError
from netkit_edu.program.isa import assemble
from netkit_edu.program.object import MapSpec, Object, ProgramCode, Relocation, Variable
from netkit_edu.programs import BrokenProgram, CompiledObject, skb_for_run
from netkit_edu.uapi import PacketType, Verdict

DNS = nk.to_bytes(b"\x45\x00\x00\x1e\x00\x01\x00\x00\x40\x11\x00\x00\x0a\x00\x01\x02\xc0\x00\x02\x02"
                  b"\x9c\x40\x00\x35\x00\x0a\x00\x00hi").data  # fmt: skip


def object_of(text: str, *, section: str = "netkit/peer", maps=(), relocations=(), variables=None) -> CompiledObject:
    """An object from assembler text, as a compiler would give it without type information."""
    code = ProgramCode("prog", section, assemble(text), tuple(relocations), license="GPL")
    return CompiledObject(Object({"prog": code}, {m.name: m for m in maps}, variables or {}, "GPL"))


def returning(code: int, section: str = "netkit/peer"):
    return object_of(f"r0 = {code}\nexit", section=section)["prog"]


COUNTERS = MapSpec("hits", 2, 4, 8, 4)
COUNT = """
    r1 = 0
    *(u32 *)(r10 -4) = r1
    r2 = r10
    r2 += -4
    r1 = 0x0
    call 1
    if r0 == 0x0 goto out
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
out:
    r0 = -1
    exit
"""


def counting():
    return object_of(COUNT, maps=[COUNTERS], relocations=[Relocation(4, "hits")])["prog"]


@pytest.mark.parametrize("code", [-1, 0, 2, 7])
def test_a_known_return_code_is_a_verdict(code):
    result = returning(code).run(DNS)
    assert (result.code, result.verdict) == (code, Verdict(code))
    assert isinstance(result.verdict, Verdict)


@pytest.mark.parametrize("code", [1, 3, 8, 100, -2])
def test_an_unknown_return_code_stays_a_number(code):
    result = returning(code).run(DNS)
    assert result.verdict == code and not isinstance(result.verdict, Verdict)
    assert "no netkit verdict" in repr(result)


def test_an_ip_packet_gets_the_header_that_netkit_l3_shows():
    assert returning(0).run(DNS).packet == bytes(12) + b"\x08\x00" + DNS
    assert skb_for_run(nk.IPv6(dst="::1", src="::1")).protocol == 0x86DD


def test_a_frame_is_run_as_it_is():
    frame = bytes.fromhex("020000000001020000000002") + b"\x08\x00" + DNS
    assert returning(0).run(frame).packet == frame


@pytest.mark.parametrize(
    ("to", "kind"),
    [
        ("000000000000", PacketType.HOST),
        ("ffffffffffff", PacketType.MULTICAST),
        ("01005e000001", PacketType.MULTICAST),
        ("020000000001", PacketType.OTHERHOST),
    ],
)
def test_the_packet_type_follows_the_destination_as_on_loopback(to, kind):
    assert skb_for_run(bytes.fromhex(to) + bytes(6) + b"\x08\x00" + DNS).pkt_type == kind


@pytest.mark.parametrize(("length_field", "protocol"), [(b"\x00\x2e", 4), (b"\x05\xff", 4), (b"\x06\x00", 0x600)])
def test_a_length_where_the_ethertype_would_be_is_an_8023_frame(length_field, protocol):
    assert skb_for_run(nk.to_bytes(bytes(12) + length_field + bytes(46), ethernet=True)).protocol == protocol


@pytest.mark.parametrize(
    ("field", "offset"),
    [("mark", 8), ("queue_mapping", 12), ("priority", 32), ("ingress_ifindex", 36), ("ifindex", 40),
     ("tc_index", 44), ("hash", 68), ("wire_len", 160), ("gso_segs", 164), ("gso_size", 176)],
)  # fmt: skip
def test_a_program_reads_the_fields_it_was_run_with(field, offset):
    program = object_of(f"r0 = *(u32 *)(r1 +{offset})\nexit")["prog"]
    assert program.run(DNS, **{field: 77}).code == 77


def test_the_device_of_a_run_is_the_loopback():
    assert object_of("r0 = *(u32 *)(r1 +40)\nexit")["prog"].run(DNS).code == 1


def test_what_a_program_writes_is_in_the_result():
    program = object_of("""
        r2 = 0xabc
        *(u32 *)(r1 +8) = r2
        r2 = 6
        *(u32 *)(r1 +32) = r2
        r2 = 9
        *(u32 *)(r1 +48) = r2
        r0 = 0
        exit""")["prog"]
    result = program.run(DNS, mark=1)
    assert (result.mark, result.priority, result.cb) == (0xABC, 6, (9, 0, 0, 0, 0))
    assert "mark 0xabc" in repr(result)


def test_an_unknown_field_lists_the_known():
    with pytest.raises(UsageError, match="no packet field 'marks'.*mark, priority"):
        returning(0).run(DNS, marks=1)


def test_what_is_no_packet_is_refused():
    with pytest.raises(PacketError):
        returning(0).run(42)


def test_a_program_that_runs_wild_is_stopped():
    with pytest.raises(ProgramFault) as fault:
        object_of("r0 = *(u32 *)(r1 +4096)\nexit")["prog"].run(DNS)
    assert fault.value.pc == 0


def test_maps_keep_their_values_from_run_to_run():
    program = counting()
    program.run(DNS)
    program.run(DNS)
    assert program.maps["hits"][0] == (2).to_bytes(8, "little")


def test_each_program_has_maps_of_its_own():
    one, other = counting(), counting()
    one.run(DNS)
    assert other.maps["hits"][0] == bytes(8)


def test_python_writes_what_the_program_reads():
    program = counting()
    program.maps["hits"][0] = 40
    program.run(DNS)
    assert program.maps["hits"][b"\0\0\0\0"] == (41).to_bytes(8, "little")


def test_a_map_behaves_like_a_dict():
    hits = counting().maps["hits"]
    assert len(hits) == 4
    assert list(hits) == [n.to_bytes(4, "little") for n in range(4)]
    assert hits.get(9) is None and 3 in hits and 9 not in hits
    with pytest.raises(KeyError):
        hits[9]
    assert "hits" in repr(hits)


def test_a_map_passes_on_the_kernels_refusals():
    hits = counting().maps["hits"]
    with pytest.raises(KernelError, match="E2BIG"):
        hits[9] = 1
    with pytest.raises(KernelError, match="EINVAL"):
        del hits[0]


@pytest.mark.parametrize("value", [b"short", 1 << 64, -(1 << 63) - 1, "text", None, {"a": 1}])
def test_a_value_that_does_not_fit_is_refused(value):
    with pytest.raises(UsageError, match="hits"):
        counting().maps["hits"][0] = value


def test_a_map_that_is_not_there_lists_those_that_are():
    with pytest.raises(KeyError, match="it uses: hits"):
        counting().maps["miss"]


CONSTANTS = {"maps": [MapSpec(".rodata", 2, 4, 8, 1, initial=bytes([1, 0, 0, 0, 2, 0, 0, 0]), readonly=True)],
             "variables": {"LIMIT": Variable("LIMIT", ".rodata", 4, 4, const=True),
                           "other": Variable("other", ".data", 0, 4)},
             "relocations": [Relocation(0, ".rodata", 4)]}  # fmt: skip
READ_LIMIT = "r1 = 0x0\nr0 = *(u32 *)(r1 +0)\nexit"


def test_bind_fills_a_constant_and_leaves_the_program_as_it_was():
    program = object_of(READ_LIMIT, **CONSTANTS)["prog"]
    assert program.bind(LIMIT=7).run(DNS).code == 7
    assert program.run(DNS).code == 2
    assert program.bind(LIMIT=7).bind(LIMIT=8).run(DNS).code == 8
    assert "LIMIT=7" in repr(program.bind(LIMIT=7))


def test_bind_keeps_the_other_constants():
    program = object_of(READ_LIMIT, **CONSTANTS)["prog"].bind(LIMIT=7)
    assert program.map_specs[".rodata"].initial == bytes([1, 0, 0, 0, 7, 0, 0, 0])


@pytest.mark.parametrize("name", ["NIC", "other"])
def test_bind_lists_the_constants_there_are(name):
    with pytest.raises(UsageError, match=rf"{name}.*it has: LIMIT"):
        object_of(READ_LIMIT, **CONSTANTS)["prog"].bind(**{name: 1})


def test_bind_refuses_a_value_that_does_not_fit():
    with pytest.raises(UsageError, match="LIMIT"):
        object_of(READ_LIMIT, **CONSTANTS)["prog"].bind(LIMIT=1 << 32)


@pytest.mark.parametrize(
    ("section", "hook"), [("netkit/primary", nk.Hook.PRIMARY), ("netkit/peer", nk.Hook.PEER), ("tc", None), ("", None)]
)
def test_the_section_names_the_hook(section, hook):
    assert returning(0, section).hook is hook


def test_stepping_and_running_end_alike():
    program = counting()
    states = list(program.step(DNS))
    assert states[-1].returned == program.run(DNS).code == -1
    assert [s.number for s in states] == list(range(len(states)))


def test_a_listing_names_maps():
    assert "r1 = map[hits]" in counting().disassemble()


def test_programs_are_items_and_attributes():
    compiled = object_of("r0 = 0\nexit")
    assert compiled["prog"] is compiled.prog and list(compiled) == ["prog"]
    with pytest.raises(KeyError, match="it has: prog"):
        compiled["gorp"]
    with pytest.raises(AttributeError):
        compiled.gorp  # noqa: B018


def test_a_broken_program_complains_where_it_is_used_and_not_before():
    broken = BrokenProgram("drop_dns", nk.CompileError("line 3: expected ';'\nmore"))
    assert "drop_dns" in repr(broken)
    for use in (lambda: broken.run(DNS), lambda: broken.maps, lambda: broken.bind(A=1)):
        with pytest.raises(UsageError, match=r"'drop_dns' cannot be used: its cell failed \(line 3: expected ';'\)"):
            use()


def test_an_object_file_that_is_not_there_is_named():
    with pytest.raises(ObjectError, match="cannot read /nonexistent/x.o"):
        nk.read_object("/nonexistent/x.o")


C_TEXT = """
#include "netkit_edu.h"
struct seen { __u32 packets; __u16 port; __u8 flags[2]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u16); __type(value, struct seen); }
    ports SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, int); }
    verdict SEC(".maps");
volatile const __u32 MARK = 5;

SEC("netkit/peer") int gate(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __u16 port = 53;
    struct seen first = { 1, 53, { 7, 8 } };
    int *code = bpf_map_lookup_elem(&verdict, &zero);
    bpf_map_update_elem(&ports, &port, &first, BPF_ANY);
    skb->mark = MARK;
    bpf_printk("len %d", skb->len);
    return code ? *code : NETKIT_DROP;
}

SEC("netkit/primary") int pass(struct __sk_buff *skb) { return NETKIT_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def compiled() -> CompiledObject:
    return nk.compile(C_TEXT)


def test_c_maps_have_python_values(compiled):
    gate = compiled["gate"].bind()
    gate.maps["verdict"][0] = Verdict.NEXT
    assert gate.run(DNS).verdict is Verdict.NEXT
    assert gate.maps["verdict"][0] == -1
    assert dict(gate.maps["ports"]) == {53: {"packets": 1, "port": 53, "flags": [7, 8]}}
    gate.maps["ports"][80] = {"packets": 2, "port": 80, "flags": [0, 0]}
    assert gate.maps["ports"][80]["packets"] == 2
    del gate.maps["ports"][53]
    assert list(gate.maps["ports"]) == [80]


def test_c_constants_are_bound_by_name(compiled):
    assert compiled["gate"].run(DNS).mark == 5
    assert compiled["gate"].bind(MARK=9).run(DNS).mark == 9


def test_c_trace_lines_are_in_the_result(compiled):
    result = compiled["gate"].run(DNS)
    assert len(result.trace) == 1 and f"len {len(DNS) + 14}" in result.trace[0]


def test_c_lines_stand_in_the_listing_above_their_instructions(compiled):
    assert "skb->mark = MARK;" in compiled["gate"].disassemble()
    assert "map[verdict]" in compiled.disassemble()


def test_an_object_is_read_back_from_its_bytes(compiled, tmp_path):
    (tmp_path / "x.o").write_bytes(compiled.elf)
    for again in (nk.read_object(compiled.elf), nk.read_object(tmp_path / "x.o")):
        assert list(again) == ["gate", "pass"]
        assert again["gate"].run(DNS).packet == compiled["gate"].run(DNS).packet


def test_a_program_without_maps_says_so(compiled):
    assert dict(compiled["pass"].maps) == {}
    with pytest.raises(KeyError, match="it uses: none"):
        compiled["pass"].maps["ports"]


KINDS = """
struct prefix { __u32 prefixlen; __be32 address; };
struct event { __u32 len; __be16 port; __u16 pad; };
struct prefix_and_more { struct prefix prefix; __u64 more; };
struct event record_type;
struct prefix_and_more other_type;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __type(value, __u32);
         __uint(max_entries, 2); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __type(key, struct prefix); __type(value, __u32);
         __uint(max_entries, 9); __uint(map_flags, BPF_F_NO_PREALLOC); } routes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __type(key, __u32); __type(value, __u64);
         __uint(max_entries, 9); } seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __type(key, __u32); __type(value, __u32);
         __uint(max_entries, 3); } next SEC(".maps");
SEC("netkit/peer") int all(struct __sk_buff *skb)
{
    struct prefix key = { .prefixlen = 32 };
    __u32 zero = 0, *count = bpf_map_lookup_elem(&counts, &zero), *route;
    __u64 now = bpf_ktime_get_ns();
    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

    if (count)
        ++*count;
    if (event) {
        event->len = skb->len;
        event->port = bpf_htons(53);
        bpf_ringbuf_submit(event, 0);
    }
    bpf_map_update_elem(&seen, &zero, &now, BPF_ANY);
    bpf_skb_load_bytes(skb, 30, &key.address, 4);
    route = bpf_map_lookup_elem(&routes, &key);
    skb->mark = route ? *route : 0;
    bpf_tail_call(skb, &next, 1);
    return NETKIT_DROP;
}
SEC("netkit/peer") int pass(struct __sk_buff *skb) { skb->priority = skb->mark; return NETKIT_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""


def test_every_kind_of_map_from_c_to_python():
    kinds = nk.compile(KINDS)
    prog = kinds["all"].bind()
    routes = prog.maps["routes"]
    routes["10.0.0.0/8"], routes["10.9.0.0/16"], routes["0.0.0.0/0"] = 8, 16, 1
    assert dict(routes) == {"0.0.0.0/0": 1, "10.0.0.0/8": 8, "10.9.0.0/16": 16}
    assert routes["10.9.1.2"] == 16 and "192.0.2.1" in routes
    ran = prog.run(DNS)
    assert (ran.verdict, ran.mark) == (Verdict.DROP, routes[ipv4_destination(DNS)])
    assert prog.maps["counts"][0] == [1]
    prog.maps["counts"][1] = [7]
    assert prog.maps["counts"][1] == [7]
    assert 0 in prog.maps["seen"]
    assert prog.maps["events"].read("event") == [{"len": len(DNS) + 14, "port": 53 << 8, "pad": 0}]
    assert prog.maps["events"].read() == []
    prog.maps["next"][1] = kinds["pass"]
    assert list(prog.maps["next"]) == [1]
    ran = prog.run(DNS)
    assert ran.verdict is Verdict.PASS and ran.priority == ran.mark
    del prog.maps["next"][1]
    assert prog.run(DNS).verdict is Verdict.DROP
    assert [len(record) for record in prog.maps["events"].read()] == [8, 8]
    for name in ("events", "counts", "routes", "seen", "next"):
        assert name in repr(prog.maps[name])


def ipv4_destination(packet) -> str:
    return ".".join(map(str, bytes(packet)[16:20]))


def test_keys_values_and_records_that_a_kind_does_not_have_are_the_callers_mistake():
    maps = nk.compile(KINDS)["all"].maps
    with pytest.raises(UsageError, match="is no key of map 'routes', which are as '10.0.0.0/8'"):
        maps["routes"]["ten"] = 1
    with pytest.raises(UsageError, match="its addresses have 4 bytes"):
        maps["routes"]["2001:db8::/32"] = 1
    with pytest.raises(UsageError, match="a value for each CPU: give a list"):
        maps["counts"][0] = 7
    with pytest.raises(UsageError, match="has no records to read"):
        maps["counts"].read()
    with pytest.raises(UsageError, match="no `struct nothing`"):
        maps["events"].read("nothing")
    with pytest.raises(KernelError, match="^EBADF"):
        maps["next"][0] = 17
    with pytest.raises(UsageError, match="takes a program as compiled, not str"):
        maps["next"][0] = "pass"
    with pytest.raises(UsageError, match="its cell failed"):
        maps["next"][0] = BrokenProgram("pass", nk.CompileError("line 1"))


def test_records_read_as_what_they_are_not_are_there_to_be_read_again():
    prog = nk.compile(KINDS)["all"]
    prog.run(DNS)
    prog.run(DNS)
    with pytest.raises(UsageError, match="a record that is no `struct prefix_and_more`.*has 16 bytes, not 8"):
        prog.maps["events"].read("prefix_and_more")
    prog.run(DNS)
    assert [event["port"] for event in prog.maps["events"].read("event")] == [53 << 8] * 3
    assert prog.maps["events"].read("event") == []


DOUBTFUL = 'SEC("tc") int doubtful(struct __sk_buff *skb)\n{\n\tif (skb->mark = 5)\n\t\treturn 2;\n\treturn 0;\n}\n'


def test_what_hardly_means_what_it_says_is_warned_of_with_its_line_each_time():
    for _ in range(2):
        with pytest.warns(nk.CompileWarning) as said:
            assert list(nk.compile(DOUBTFUL, name="mine")) == ["doubtful"]
        (one,) = said
        assert one.filename == __file__
        words = str(one.message)
        assert words.startswith("mine, line 3, column ") and "if (skb->mark = 5)" in words
        assert "To compare, write ==." in words


def test_what_is_meant_is_not_warned_of(recwarn):
    nk.compile(DOUBTFUL.replace("mark = 5", "mark == 5"))
    assert not recwarn.list
