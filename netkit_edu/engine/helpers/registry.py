"""Helpers: the kernel functions that a program may call, one Python function each, registered by number and name.

A helper gets the machine and its arguments as unsigned 64-bit numbers, and returns a number; negative ones are errnos.
What it returns and what it leaves behind after a failure follow the kernel's functions of the same names
(kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, net/core/filter.c; Linux 6.12). What its verifier would not let pass,
such as a pointer to too little memory, is a `Fault`.

A further helper is one more function under ``@helper``, in the file of its subject: its name says its number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netkit_edu.engine.maps import Map
from netkit_edu.engine.memory import CTX, Fault, address_of
from netkit_edu.program.opcodes import HELPER_NAMES, HELPER_NUMBERS

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff

INT_MAX = (1 << 31) - 1
U16, U32 = 0xFFFF, 0xFFFF_FFFF


class Helper(NamedTuple):
    """A helper function and how many arguments it takes from r1 on.

    After one that ``moves_packet`` the program has to read data and data_end again.
    """

    name: str
    function: Callable[..., int]
    arguments: int
    moves_packet: bool = False


MOVES_PACKET = frozenset({
    "bpf_skb_store_bytes", "bpf_l3_csum_replace", "bpf_l4_csum_replace", "bpf_clone_redirect", "bpf_skb_vlan_push",
    "bpf_skb_vlan_pop", "bpf_skb_change_proto", "bpf_skb_change_tail", "bpf_skb_pull_data", "bpf_skb_change_head",
    "bpf_skb_adjust_room",
})  # fmt: skip
"""Helpers that may move the packet (bpf_helper_changes_pkt_data, net/core/filter.c, Linux 6.12).

A tail call is one more. Where there is no program to go on in, Linux from 6.18.2 on leaves the pointers as they are.
"""

HELPERS: dict[int, Helper] = {}
"""Number -> helper: what this engine has."""


def helper(function: Callable[..., int]) -> Callable[..., int]:
    """Register a function under the number that ``enum bpf_func_id`` has for its name."""
    name = function.__name__
    HELPERS[HELPER_NUMBERS[name]] = Helper(name, function, function.__code__.co_argcount - 1, name in MOVES_PACKET)
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
        return _absent("?", f"invalid func unknown#{number & U32}: no helper has this number")
    return _absent(name, f"this engine does not have helper {name} ({number})")


def _absent(name: str, why: str) -> Helper:
    def call(m: Machine) -> int:
        raise Fault(why)

    return Helper(name, call, 0)


def signed32(number: int) -> int:
    """Return what an ``int`` argument means: the low 32 bits in two's complement."""
    number &= U32
    return number - (1 << 32) if number >> 31 else number


def skb_of(m: Machine, pointer: int) -> SkBuff:
    """Return the packet behind a context pointer; a `Fault` if that is not one."""
    if pointer != address_of(CTX) or m.skb is None:
        raise Fault("the context pointer that the program got in r1 is wanted here", pointer)
    return m.skb


def map_of(m: Machine, handle: int) -> Map:
    """Return the map behind a handle; a `Fault` if that is not one."""
    if handle not in m.maps:
        raise Fault("the first argument is to be a map, as in bpf_map_lookup_elem(&map, &key)", handle)
    return m.maps[handle]


def buffer_size(size: int) -> int:
    """Return the size of a buffer, which the verifier wants to be 1 or more."""
    if not 0 < size <= INT_MAX:
        raise Fault(f"a size of {size} bytes for a helper's buffer: it is to be 1 or more")
    return size
