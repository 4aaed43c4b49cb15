"""Values of BTF types: bytes to Python and back. The rules are at the head of `btf`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from netkit_edu.errors import ObjectError, UsageError
from netkit_edu.program import btf as b

if TYPE_CHECKING:
    from netkit_edu.program.btf import Btf, Member, Type

MAX_PARTS = 1 << 16  # numbers in one value


def decode(btf: Btf, type_id: int, data: bytes):
    """Return ``data`` as a Python value of the type."""
    if len(data) != btf.size(type_id):
        raise ObjectError(f"a value of type {btf.spell(type_id)} has {btf.size(type_id)} bytes, not {len(data)}")
    return _Decoder(btf).value(type_id, bytes(data), 0)


def encode(btf: Btf, type_id: int, value) -> bytes:
    """Return ``value`` as the bytes of the type."""
    size = btf.size(type_id)
    if size > 32 << 20:
        raise ObjectError(f"a value of type {btf.spell(type_id)} has {size} bytes, which is too much")
    out = bytearray(size)
    _Encoder(btf).value(type_id, value, out, 0, btf.spell(type_id))
    return bytes(out)


class _Walker:
    def __init__(self, btf: Btf):
        self.btf = btf
        self.parts = 0

    def behind(self, type_id: int, depth: int) -> tuple[int, Type]:
        """Return the plain type behind ``type_id``; count it, so that no broken type keeps us forever."""
        self.parts += 1
        if self.parts > MAX_PARTS or depth > b.MAX_DEPTH:
            raise ObjectError("BTF: a value has too many parts, or a type contains itself")
        found = self.btf.resolve(type_id)
        one = self.btf[found]
        return self.behind(one.type, depth + 1) if one.kind == b.VAR else (found, one)

    def is_text(self, one: Type) -> bool:
        """Whether an array is one of ``char``."""
        element = self.btf[self.btf.resolve(one.type)]
        return element.kind == b.INT and element.size == 1 and element.name == "char"


class _Decoder(_Walker):
    def value(self, type_id: int, data: bytes, depth: int):
        _, one = self.behind(type_id, depth)
        if one.kind in (b.INT, b.ENUM, b.ENUM64, b.PTR):
            number = int.from_bytes(data, "little", signed=one.signed)
            return bool(number) if one.is_bool else number
        if one.kind == b.FLOAT and len(data) in (4, 8):
            return struct.unpack("<f" if len(data) == 4 else "<d", data)[0]
        if one.kind == b.ARRAY:
            if self.is_text(one):
                return data.rstrip(b"\0")
            size = self.btf.size(one.type)
            return [self.value(one.type, data[n * size : (n + 1) * size], depth + 1) for n in range(self._count(one))]
        if one.kind in (b.STRUCT, b.UNION):
            return self._struct(one, data, depth)
        if one.kind == b.DATASEC:
            return {self.btf[var.type].name: self._inside(var.type, data, var.offset, depth) for var in one.placed}
        raise ObjectError(f"BTF: type {self.btf.spell(type_id)} has no values")

    def _count(self, one: Type) -> int:
        if one.count > MAX_PARTS:
            raise ObjectError(f"BTF: an array of {one.count} elements is too long to show")
        return one.count

    def _inside(self, type_id: int, data: bytes, offset: int, depth: int):
        size = self.btf.size(type_id)
        if offset + size > len(data):
            raise ObjectError("BTF: a member lies outside of its struct")
        return self.value(type_id, data[offset : offset + size], depth + 1)

    def _struct(self, one: Type, data: bytes, depth: int) -> dict:
        out: dict = {}
        for member in one.members:
            if member.bits:
                out[member.name] = self._bit_field(member, data)
                continue
            value = self._inside(member.type, data, member.offset // 8, depth)
            if member.name:
                out[member.name] = value
            elif isinstance(value, dict):
                out |= value
        return out

    def _bit_field(self, member: Member, data: bytes) -> int:
        if member.offset + member.bits > 8 * len(data):
            raise ObjectError("BTF: a member lies outside of its struct")
        number = int.from_bytes(data, "little") >> member.offset & (1 << member.bits) - 1
        if self.btf[self.btf.resolve(member.type)].signed:
            number -= number >> member.bits - 1 << member.bits
        return number


class _Encoder(_Walker):
    def value(self, type_id: int, value, out: bytearray, offset: int, where: str, depth: int = 0) -> None:
        found, one = self.behind(type_id, depth)
        size = self.btf.size(found)
        if offset + size > len(out):
            raise ObjectError("BTF: a member lies outside of its struct")
        if one.kind in (b.INT, b.ENUM, b.ENUM64, b.PTR):
            out[offset : offset + size] = self._number(one, value, size, where)
        elif one.kind == b.FLOAT and size in (4, 8) and isinstance(value, (int, float)):
            out[offset : offset + size] = struct.pack("<f" if size == 4 else "<d", value)
        elif one.kind == b.ARRAY:
            self._array(one, value, out, offset, where, depth)
        elif one.kind in (b.STRUCT, b.UNION, b.DATASEC):
            self._struct(one, value, out, offset, where, depth)
        else:
            raise ObjectError(f"BTF: type {self.btf.spell(type_id)} has no values")

    def _number(self, one: Type, value, size: int, where: str) -> bytes:
        if isinstance(value, str) and value in one.values:
            value = one.values[value]
        try:
            number = value.__index__()
        except AttributeError:
            names = f" or one of {', '.join(one.values)}" if one.values else ""
            raise UsageError(f"{where} takes a whole number{names}, not {value!r}") from None
        bits = 8 * size
        if not -(1 << bits - 1) <= number < 1 << bits:
            raise UsageError(f"{where} has {size} bytes, and {number} does not fit")
        return (number & (1 << bits) - 1).to_bytes(size, "little")

    def _array(self, one: Type, value, out: bytearray, offset: int, where: str, depth: int) -> None:
        size = self.btf.size(one.type)
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, (bytes, bytearray)) and size == 1:
            if len(value) > one.count:
                raise UsageError(f"{where} has {one.count} bytes, and {len(value)} do not fit")
            out[offset : offset + one.count] = bytes(value).ljust(one.count, b"\0")
            return
        if not isinstance(value, (list, tuple)) or len(value) > one.count:
            raise UsageError(f"{where} takes a list of at most {one.count} elements, not {value!r}")
        for n, element in enumerate(value):
            self.value(one.type, element, out, offset + n * size, f"{where}[{n}]", depth + 1)

    def _struct(self, one: Type, value, out: bytearray, offset: int, where: str, depth: int) -> None:
        if not isinstance(value, dict):
            raise UsageError(f"{where} takes a dict of its members, not {value!r}")
        left = dict(value)
        for name, type_id, place, bits in self._fields(one, 0, depth):
            if name not in left:
                continue
            if bits:
                self._bit_field(out, 8 * offset + place, bits, left.pop(name), f"{where}.{name}")
            else:
                self.value(type_id, left.pop(name), out, offset + place // 8, f"{where}.{name}", depth + 1)
        if left:
            known = ", ".join(name for name, *_ in self._fields(one, 0, depth))
            raise UsageError(f"{where} has no member {', '.join(map(str, left))}; it has {known}")

    def _fields(self, one: Type, start: int, depth: int):
        """Yield (name, type, offset in bits, width of a bit-field), anonymous members opened up."""
        for var in one.placed:
            yield self.btf[var.type].name, var.type, 8 * var.offset, 0
        for member in one.members:
            if member.name:
                yield member.name, member.type, start + member.offset, member.bits
            elif not member.bits:
                _, inner = self.behind(member.type, depth + 1)
                yield from self._fields(inner, start + member.offset, depth + 1)

    def _bit_field(self, out: bytearray, place: int, bits: int, value, where: str) -> None:
        if not isinstance(value, int) or not -(1 << bits - 1) <= value < 1 << bits:
            raise UsageError(f"{where} has {bits} bits, and {value!r} does not fit")
        if place + bits > 8 * len(out):
            raise ObjectError("BTF: a member lies outside of its struct")
        mask = (1 << bits) - 1
        whole = int.from_bytes(out, "little") & ~(mask << place) | (value & mask) << place
        out[:] = whole.to_bytes(len(out), "little")
