"""BTF types: names, sizes, and values to bytes and back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.errors import ObjectError, UsageError
from netkit_edu.program import btf as b
from netkit_edu.program.btf import Btf
from tests.program.compiled import compiled, each_compiler, need_compiler, program

TYPES = """
enum color { RED = 1, BLUE = -2 };
typedef unsigned long long stamp_t;
struct inner { __u8 a; __s16 b; };
struct all {
	__u8 small;
	__s32 negative;
	stamp_t stamp;
	_Bool flag;
	enum color color;
	char name[8];
	__u16 list[3];
	struct inner pair[2];
	struct inner *pointer;
	unsigned int low : 3, mid : 7;
	int signed_bits : 5;
	union { __u32 whole; __u8 bytes[4]; };
	union { __u64 x; struct inner y; } choice;
};
struct { __uint(type, 2); __type(key, __u32); __type(value, struct all); __uint(max_entries, 1); } m SEC(".maps");
"""
VALUE = {
    "small": 200, "negative": -5, "stamp": 1 << 63, "flag": True, "color": -2, "name": b"web", "list": [1, 2, 3],
    "pair": [{"a": 1, "b": -1}, {"a": 2, "b": -2}], "pointer": 0, "low": 5, "mid": 100, "signed_bits": -3,
    "whole": 0x04030201, "bytes": [1, 2, 3, 4], "choice": {"x": 0x20001, "y": {"a": 1, "b": 2}},
}  # fmt: skip


@pytest.fixture(scope="module")
def all_type():
    need_compiler()
    obj = compiled(program("\treturn bpf_map_lookup_elem(&m, skb) != 0;", TYPES), "")
    return obj.btf, obj.maps["m"].value_type


def test_a_value_of_every_kind_goes_to_bytes_and_back(all_type):
    btf, type_id = all_type
    data = btf.encode(type_id, VALUE)
    assert len(data) == btf.size(type_id)
    assert btf.decode(type_id, data) == VALUE


@settings(max_examples=200)
@given(data=st.data())
def test_any_bytes_decode_and_encode_to_themselves_where_nothing_is_padding(all_type, data):
    btf, type_id = all_type
    raw = data.draw(st.binary(min_size=btf.size(type_id), max_size=btf.size(type_id)))
    value = btf.decode(type_id, raw)
    assert btf.decode(type_id, btf.encode(type_id, value)) == value


def test_missing_members_are_zero_and_enums_may_be_named(all_type):
    btf, type_id = all_type
    value = btf.decode(type_id, btf.encode(type_id, {"color": "RED"}))
    assert value["color"] == 1
    assert value["pair"] == [{"a": 0, "b": 0}] * 2


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (5, "takes a dict"),
        ({"smal": 1}, "has no member smal; it has small"),
        ({"small": 256}, "small has 1 bytes, and 256 does not fit"),
        ({"small": "x"}, "takes a whole number"),
        ({"color": "GREEN"}, "RED, BLUE"),
        ({"name": b"123456789"}, "8 bytes"),
        ({"list": [1, 2, 3, 4]}, "at most 3"),
        ({"pair": [{"b": 1 << 15, "a": 0.5}]}, r"pair\[0\].a"),
        ({"mid": 128}, "7 bits"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(all_type, value, why):
    btf, type_id = all_type
    with pytest.raises(UsageError, match=why):
        btf.encode(type_id, value)


def test_bytes_of_another_length_are_refused(all_type):
    btf, type_id = all_type
    with pytest.raises(ObjectError, match="has 96 bytes, not 3|bytes, not 3"):
        btf.decode(type_id, b"abc")


def test_types_are_spelt_as_in_c(all_type):
    btf, type_id = all_type
    members = {member.name: btf.spell(member.type) for member in btf[type_id].members}
    assert members["name"] == "char[8]"
    assert members["stamp"] == "stamp_t"
    assert members["pointer"] == "struct inner *"
    assert members["color"] == "enum color"


@each_compiler
def test_a_data_section_decodes_to_its_variables(kind):
    obj = compiled(
        program("\treturn counter++ + *(volatile int *)&last;", "static int counter = 3;\nint last = 4;\n"), kind
    )
    data = obj.maps[".data"]
    assert obj.btf.decode(data.value_type, data.initial) == {"counter": 3, "last": 4}


def blob(types: bytes, strings: bytes = b"\0") -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def type_of(kind: int, size_or_type: int, extra: bytes = b"", vlen: int = 0) -> bytes:
    return struct.pack("<III", 0, kind << 24 | vlen, size_or_type) + extra


@pytest.mark.parametrize(
    ("types", "why"),
    [
        (type_of(b.TYPEDEF, 1), "refers to itself"),
        (type_of(b.CONST, 2) + type_of(b.VOLATILE, 1), "refers to itself"),
        (type_of(b.ARRAY, 0, struct.pack("<III", 1, 0, 4)), "refers to itself"),
        (type_of(b.TYPEDEF, 77), "no type 77"),
        (type_of(b.FUNC_PROTO, 0), "no size"),
    ],
)
def test_types_in_a_circle_end_in_one_error(types, why):
    with pytest.raises(ObjectError, match=why):
        Btf.parse(blob(types)).size(1)


def test_a_value_that_would_never_end_is_refused():
    members = b"".join(struct.pack("<III", 0, 1, 0) for _ in range(2))
    btf = Btf.parse(blob(type_of(b.STRUCT, 8, members, vlen=2)))
    with pytest.raises(ObjectError, match="too many parts"):
        btf.decode(1, bytes(8))


@pytest.mark.parametrize(
    "raw", [b"", b"\x9f\xeb\x01", blob(type_of(31, 0)), blob(type_of(b.STRUCT, 8, vlen=3)), blob(b"abc"),
            blob(struct.pack("<III", 99, b.FLOAT << 24, 4)), blob(b"")[:-1]]
)  # fmt: skip
def test_broken_type_information_is_one_error(raw):
    with pytest.raises(ObjectError):
        Btf.parse(raw)
