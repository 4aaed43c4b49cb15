"""Helpers: the kernel functions that a program may call, one Python function each, registered by number and name.

A helper gets the machine and its arguments as unsigned 64-bit numbers, and returns a number; negative ones are errnos.
What it returns and what it leaves behind after a failure follow the kernel's functions of the same names
(kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, net/core/filter.c; Linux 6.12). What its verifier would not let pass,
such as a pointer to too little memory, is a `Fault`.

A further helper is one more function under ``@helper``: its name says its number.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netkit_edu.engine import checksum, printk
from netkit_edu.engine.maps import Map
from netkit_edu.engine.memory import CTX, PACKET, Fault, address_of
from netkit_edu.errors import KernelError
from netkit_edu.program.opcodes import HELPER_NAMES, HELPER_NUMBERS

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff

INT_MAX = (1 << 31) - 1
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF
BPF_F_RECOMPUTE_CSUM, BPF_F_INVALIDATE_HASH = 1 << 0, 1 << 1  # of skb_store_bytes
BPF_F_HDR_FIELD_MASK = 0xF  # of the csum_replace pair: the size of the changed field
BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0, BPF_F_MARK_ENFORCE, BPF_F_IPV6 = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_MAX_DIFF = 512  # bytes that csum_diff takes


class Helper(NamedTuple):
    """A helper function and how many arguments it takes from r1 on."""

    name: str
    function: Callable[..., int]
    arguments: int


HELPERS: dict[int, Helper] = {}
"""Number -> helper: what this engine has."""


def helper(function: Callable[..., int]) -> Callable[..., int]:
    """Register a function under the number that ``enum bpf_func_id`` has for its name."""
    name = function.__name__
    HELPERS[HELPER_NUMBERS[name]] = Helper(name, function, function.__code__.co_argcount - 1)
    return function


def find(number: int, *, kfunc: bool = False) -> Helper:
    """Return the helper of a number; for one that is not here, a helper that faults with its name when called."""
    if kfunc:
        return _absent(
            "kernel function (kfunc)", f"this engine has helpers only, no kernel functions (BTF id {number})"
        )
    if number in HELPERS:
        return HELPERS[number]
    name = HELPER_NAMES.get(number)
    if name is None:
        return _absent("?", f"invalid func unknown#{number & _U32}: no helper has this number")
    return _absent(name, f"this engine does not have helper {name} ({number})")


def _absent(name: str, why: str) -> Helper:
    def call(m: Machine) -> int:
        raise Fault(why)

    return Helper(name, call, 0)


# --- arguments ------------------------------------------------------------------------------------------------------


def skb_of(m: Machine, pointer: int) -> SkBuff:
    """Return the packet behind a context pointer; a `Fault` if that is not one."""
    if pointer != address_of(CTX) or m.skb is None:
        raise Fault("the context pointer that the program got in r1 is wanted here", pointer)
    return m.skb


def _map_of(m: Machine, handle: int) -> Map:
    if handle not in m.maps:
        raise Fault("the first argument is to be a map, as in bpf_map_lookup_elem(&map, &key)", handle)
    return m.maps[handle]


def _size(size: int) -> int:
    if not 0 < size <= INT_MAX:
        raise Fault(f"a size of {size} bytes for a helper's buffer: it is to be 1 or more")
    return size


# --- maps -----------------------------------------------------------------------------------------------------------


@helper
def bpf_map_lookup_elem(m: Machine, map_handle: int, key: int) -> int:
    """Return a pointer to the value inside the map, or NULL."""
    found = _map_of(m, map_handle)
    value = found.value(m.memory.read(key, found.spec.key_size))
    if value is None:
        return 0
    return m.memory.pointer(f"value of map {found.spec.name}", value, readonly=found.spec.readonly)


@helper
def bpf_map_update_elem(m: Machine, map_handle: int, key: int, value: int, flags: int) -> int:
    """Store a value under a key; 0, or -EEXIST, -ENOENT, -E2BIG, -EINVAL."""
    found = _map_of(m, map_handle)
    _check_writable(found)
    key_bytes = m.memory.read(key, found.spec.key_size)
    value_bytes = m.memory.read(value, found.spec.value_size)
    try:
        found.store(key_bytes, value_bytes, flags)
    except KernelError as refusal:
        return -refusal.errno
    return 0


@helper
def bpf_map_delete_elem(m: Machine, map_handle: int, key: int) -> int:
    """Delete a key; 0 or -ENOENT, for an array always -EINVAL."""
    found = _map_of(m, map_handle)
    _check_writable(found)
    try:
        found.remove(m.memory.read(key, found.spec.key_size))
    except KernelError as refusal:
        return -refusal.errno
    return 0


def _check_writable(found: Map) -> None:
    if found.spec.readonly:
        raise Fault(f"write into map forbidden: {found.spec.name} is read-only", region=f"map {found.spec.name}")


# --- the world ------------------------------------------------------------------------------------------------------


@helper
def bpf_ktime_get_ns(m: Machine) -> int:
    """Return CLOCK_MONOTONIC in ns."""
    return m.world.ktime_get_ns()


@helper
def bpf_get_prandom_u32(m: Machine) -> int:
    """Return a pseudo-random number of 32 bits."""
    return m.world.get_prandom_u32() & _U32


@helper
def bpf_get_smp_processor_id(m: Machine) -> int:
    """Return the number of the CPU."""
    return m.world.get_smp_processor_id()


@helper
def bpf_trace_printk(m: Machine, fmt: int, fmt_size: int, arg1: int, arg2: int, arg3: int) -> int:
    """Print a formatted text into the trace pipe; return its length in bytes, or -EINVAL for a format it refuses."""
    text = m.memory.read(fmt, _size(fmt_size & _U32))
    printed = printk.bstr_printf(text, (arg1, arg2, arg3), m.memory)
    if printed is None:
        return -errno.EINVAL
    length, line = printed
    m.world.trace_printk(line.removesuffix("\n"))
    return length


# --- the packet -----------------------------------------------------------------------------------------------------


def packet_bytes(skb: SkBuff, offset: int, size: int) -> bytes | None:
    """Return bytes from anywhere in the packet, None if it does not have them all (skb_header_pointer)."""
    if not 0 <= offset <= len(skb) - size:
        return None
    return bytes(skb.buf[skb.data + offset : skb.data + offset + size])


def _make_writable(m: Machine, skb: SkBuff, size: int) -> bool:
    """Make the first ``size`` bytes linear and private (bpf_try_make_writable); False if the packet is shorter."""
    done = skb.make_linear(size & _U32)
    m.memory.regions[PACKET].refresh(skb)
    return done


@helper
def bpf_skb_load_bytes(m: Machine, ctx: int, offset: int, to: int, size: int) -> int:
    """Copy packet bytes to memory; 0, or -EFAULT and a buffer full of zeros."""
    skb = skb_of(m, ctx)
    size = _size(size & _U32)
    m.memory.read(to, size)  # faults before anything of that size is made
    data = packet_bytes(skb, offset & _U32, size) if offset & _U32 <= INT_MAX else None
    m.memory.write(to, bytes(size) if data is None else data)
    return -errno.EFAULT if data is None else 0


@helper
def bpf_skb_store_bytes(m: Machine, ctx: int, offset: int, source: int, size: int, flags: int) -> int:
    """Copy memory into the packet; 0, -EINVAL for unknown flags, -EFAULT outside the packet."""
    skb = skb_of(m, ctx)
    offset &= _U32
    data = m.memory.read(source, _size(size & _U32))
    if flags & ~(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH):
        return -errno.EINVAL
    if offset > INT_MAX or not _make_writable(m, skb, offset + len(data)):
        return -errno.EFAULT
    skb.buf[skb.data + offset : skb.data + offset + len(data)] = data
    if flags & BPF_F_INVALIDATE_HASH:
        skb.hash = 0
    return 0


@helper
def bpf_skb_pull_data(m: Machine, ctx: int, size: int) -> int:
    """Make the first ``size`` bytes of the packet linear, 0 for what is linear now; 0 or -ENOMEM if it is shorter."""
    skb = skb_of(m, ctx)
    return 0 if _make_writable(m, skb, size & _U32 or skb.headlen) else -errno.ENOMEM


@helper
def bpf_l3_csum_replace(m: Machine, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    """Mend the checksum at ``offset`` after a field changed from ``old`` to ``new``; 0, -EINVAL or -EFAULT."""
    skb = skb_of(m, ctx)
    if flags & ~BPF_F_HDR_FIELD_MASK:
        return -errno.EINVAL
    return _csum_replace(m, skb, offset & _U32, old, new, flags)


@helper
def bpf_l4_csum_replace(m: Machine, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    """The same for TCP and UDP, whose checksum also covers a pseudo header, and where 0 may mean "none"."""
    skb = skb_of(m, ctx)
    known = BPF_F_HDR_FIELD_MASK | BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_IPV6
    if flags & ~known:
        return -errno.EINVAL
    return _csum_replace(m, skb, offset & _U32, old, new, flags, l4=True)


def _csum_replace(m: Machine, skb: SkBuff, offset: int, old: int, new: int, flags: int, *, l4: bool = False) -> int:
    size = flags & BPF_F_HDR_FIELD_MASK
    if offset > 0xFFFF or offset & 1 or not _make_writable(m, skb, offset + 2):
        return -errno.EFAULT
    at = skb.data + offset
    field = int.from_bytes(skb.buf[at : at + 2], "little")
    mangled_0 = flags & BPF_F_MARK_MANGLED_0
    if mangled_0 and not flags & BPF_F_MARK_ENFORCE and field == 0:
        return 0
    if size not in (0, 2, 4) or (size == 0 and old != 0):
        return -errno.EINVAL
    if size == 2:
        old, new = old & _U16, new & _U16
    if l4 and skb.ip_summed == checksum.PARTIAL:
        # the field holds the sum of the pseudo header only; the device adds the rest later
        result = checksum.replace_partial(field, old, new) if flags & BPF_F_PSEUDO_HDR else field
    elif size == 2 and not l4:
        result = checksum.replace2(field, old, new)
    else:
        result = checksum.replace4(field, old & _U32, new & _U32) if size else checksum.replace_by_diff(field, new)
    if mangled_0 and result == 0:
        result = 0xFFFF
    skb.buf[at : at + 2] = result.to_bytes(2, "little")
    return 0


@helper
def bpf_csum_diff(m: Machine, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    """Return the ones' complement difference of two buffers plus a seed, folded to 16 bits, or -EINVAL.

    Linux before 6.13 does not fold; what the checksum helpers make of the result is the same.
    """
    old_size, new_size = old_size & _U32, new_size & _U32
    if (old_size | new_size) & 3 or old_size + new_size > _MAX_DIFF:
        return -errno.EINVAL
    removed = m.memory.read(old, old_size) if old_size else b""
    added = m.memory.read(new, new_size) if new_size else b""
    return checksum.diff(removed, added, seed & _U32)
