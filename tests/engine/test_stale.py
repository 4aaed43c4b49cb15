"""Pointers into the packet: a helper that may move the packet leaves none valid, here and before Linux's verifier."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.helpers import HELPERS
from netkit_edu.engine.interpreter import Executable, load
from netkit_edu.engine.memory import GENERATION, GENERATIONS, PACKET, address_of
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import ProgramFault
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.programs import skb_for_run
from tests.engine.asm import executable, program
from tests.oracle.kernel import KernelMap, KernelProgram, Refused

IPV4 = bytes(12) + bytes.fromhex("0800 4500002e00010000401100000a000102c0000202 9c400035001a0000") + bytes(18)
SPECS = (
    MapSpec("jumps", uapi.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1),
    MapSpec("numbers", uapi.BPF_MAP_TYPE_ARRAY, 4, 8, 2),
    MapSpec("ring", uapi.BPF_MAP_TYPE_RINGBUF, 0, 0, 4096),
    MapSpec("text", uapi.BPF_MAP_TYPE_ARRAY, 4, 8, 1, flags=1 << 7, initial=b"eth0", readonly=True),
)

CLEAR = "".join(f"*(u64 *)(r10 -{at}) = 0\n" for at in range(8, 65, 8))
LOAD = "r7 = *(u32 *)(r6 +76)\nr8 = *(u32 *)(r6 +80)\nr2 = r7\nr2 += 30\nif r2 <= r8 goto +2\nr0 = 99\nexit\n"
START = CLEAR + "r6 = r1\n" + LOAD
FIRST = "r0 = *(u8 *)(r7 +14)\nexit"  # 0x45; vlan_push, adjust_room and the like leave another byte there

MOVING = {
    "skb_store_bytes#9": "r2 = 30\nr3 = r10\nr3 += -8\nr4 = 8\nr5 = 0",
    "l3_csum_replace#10": "r2 = 24\nr3 = 1\nr4 = 2\nr5 = 2",
    "l4_csum_replace#11": "r2 = 40\nr3 = 1\nr4 = 2\nr5 = 2",
    "tail_call#12": "r2 = map[fd:0]\nr3 = 0",
    "clone_redirect#13": "r2 = 99999\nr3 = 0",
    "skb_vlan_push#18": "r2 = 129\nr3 = 5",
    "skb_vlan_pop#19": "",
    "skb_change_proto#31": "r2 = 56710\nr3 = 0",
    "skb_change_tail#38": "r2 = 50\nr3 = 0",
    "skb_pull_data#39": "r2 = 0",
    "skb_change_head#43": "r2 = 14\nr3 = 0",
    "skb_adjust_room#50": "r2 = 20\nr3 = 1\nr4 = 0",
}
BUFFER = "r3 = r10\nr3 += -64\n"
KEY = "r1 = map[fd:1]\nr2 = r10\nr2 += -8\n"
RESERVE = "r1 = map[fd:2]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve#131\nif r0 == 0x0 goto +3\nr1 = r0\nr2 = 0\n"
RECORD = "r1 = map[fd:2]\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0"
STAYING = {
    "map_lookup_elem#1": KEY,
    "map_update_elem#2": KEY + BUFFER + "r4 = 0",
    "map_delete_elem#3": KEY,
    "ktime_get_ns#5": "",
    "trace_printk#6": "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = 0\nr5 = 0",
    "get_prandom_u32#7": "",
    "get_smp_processor_id#8": "",
    "get_current_pid_tgid#14": "",
    "redirect#23": "r1 = 1\nr2 = 0",
    "skb_load_bytes#26": "r2 = 14\n" + BUFFER + "r4 = 8",
    "csum_diff#28": "r1 = r10\nr1 += -8\nr2 = 4\n" + BUFFER + "r4 = 4\nr5 = 0",
    "skb_change_type#32": "r2 = 0",
    "get_hash_recalc#34": "",
    "csum_update#40": "r2 = 5",
    "set_hash_invalid#41": "",
    "set_hash#48": "r2 = 5",
    "skb_load_bytes_relative#68": "r2 = 0\n" + BUFFER + "r4 = 8\nr5 = 1",
    "fib_lookup#69": "r2 = r10\nr2 += -64\nr3 = 64\nr4 = 0",
    "jiffies64#118": "",
    "ktime_get_boot_ns#125": "",
    "ringbuf_output#130": RECORD,
    "ringbuf_submit#132": RESERVE,
    "ringbuf_discard#133": RESERVE,
    "ringbuf_query#134": "r1 = map[fd:2]\nr2 = 0",
    "csum_level#135": "r2 = 0",
    "redirect_neigh#152": "r1 = 1\nr2 = 0\nr3 = 0\nr4 = 0",
    "redirect_peer#155": "r1 = 1\nr2 = 0",
    "ktime_get_coarse_ns#160": "",
    "check_mtu#163": "r2 = 0\n" + BUFFER + "r4 = 0\nr5 = 0",
    "strncmp#182": "r1 = r10\nr1 += -8\nr2 = 8\nr3 = map[fd:3][0]+0",
    "skb_set_tstamp#192": "r2 = 0\nr3 = 0",
}
every_moving = pytest.mark.parametrize("helper", MOVING)
every_staying = pytest.mark.parametrize("helper", STAYING)


def call(helper: str) -> str:
    """Return a call of one of the helpers above with the context in r1, unless its arguments say otherwise."""
    return f"r1 = r6\n{(MOVING | STAYING)[helper]}\ncall bpf_{helper}\n"


def ours(text: str) -> Executable:
    return executable(text, {spec.name: maps.create(spec) for spec in SPECS})


def run(text: str) -> int:
    return ours(text).run(skb_for_run(IPV4))


def in_a_function(text: str) -> ProgramCode:
    """Return a program that calls a local function and then reads through an old pointer."""
    main = START + "r1 = r6\ncall pc+2\n" + FIRST + "\n"
    code = program(main + "r6 = r1\n" + text, *(spec.name for spec in SPECS))
    return replace(code, functions={0: "main", len(program(main).insns): "local"})


def theirs(code: str | ProgramCode) -> int:
    """Return what the kernel's run of a program returns; `Refused` where its verifier does not take it."""
    with ExitStack() as stack:
        there = {spec.name: stack.enter_context(KernelMap(spec)) for spec in SPECS}
        code = code if isinstance(code, ProgramCode) else program(code, *there)
        return stack.enter_context(KernelProgram(code, there)).run(IPV4).code


def stale(text: str) -> ProgramFault:
    with pytest.raises(ProgramFault) as caught:
        run(text)
    return caught.value


def test_every_helper_of_the_engine_is_asked():
    asked = {helper.partition("#")[0] for helper in (*MOVING, *STAYING)} | {"ringbuf_reserve"}
    assert asked == {helper.name.removeprefix("bpf_") for helper in HELPERS.values()} | {"tail_call"}


@every_moving
@pytest.mark.parametrize("use", [FIRST, "*(u8 *)(r7 +14) = 1\nr0 = 0\nexit"], ids=["read", "write"])
def test_after_a_helper_that_may_move_the_packet_an_old_pointer_is_stale(helper, use):
    name, verb = "bpf_" + helper.partition("#")[0], "read" if use is FIRST else "write"
    fault = stale(START + call(helper) + use)
    said = f"{verb} of 1 byte at packet+14: stale packet pointer: {name} may have moved the packet; "
    assert fault.reason.startswith(said + "read skb->data and skb->data_end again")
    assert "invalid mem access 'scalar'" in fault.reason
    assert (fault.address, fault.region) == (address_of(PACKET, 14), "packet")


@every_moving
def test_after_it_a_pointer_that_is_read_again_works(helper):
    assert run(START + call(helper) + LOAD + FIRST) in (0x45, 0, 0x60)


@every_staying
def test_after_any_other_helper_an_old_pointer_still_works(helper):
    assert run(START + call(helper) + FIRST) == 0x45


@pytest.mark.kernel
@every_moving
def test_linux_refuses_the_old_pointer_and_takes_the_new_one(helper):
    old, reloading = START + call(helper) + FIRST, START + call(helper) + LOAD + FIRST
    if helper == "tail_call#12":  # straight after one that came back, Linux from 6.18.2 on takes the old one
        old = in_a_function(call(helper) + "r0 = 0\nexit")
    with pytest.raises(Refused) as refusal:
        theirs(old)
    assert refusal.value.errno == uapi.Errno.EACCES
    assert "R7 invalid mem access 'scalar'" in refusal.value.log
    assert run(reloading) == theirs(reloading)


@pytest.mark.kernel
@every_staying
def test_linux_takes_the_old_pointer_after_any_other_helper(helper):
    assert theirs(START + call(helper) + FIRST) == 0x45


PULL = call("skb_pull_data#39")


def test_a_call_that_failed_counts_too():
    failing = "r1 = r6\nr2 = 60000\ncall bpf_skb_pull_data#39\nif r0 s< 0 goto +2\nr0 = 98\nexit\n"
    assert "bpf_skb_pull_data may have moved" in stale(START + failing + FIRST).reason


def test_the_fault_names_the_first_helper_after_the_pointer_was_read():
    later = call("skb_store_bytes#9") + PULL + call("skb_vlan_pop#19")
    assert "stale packet pointer: bpf_skb_store_bytes may" in stale(START + later + FIRST).reason
    assert "stale packet pointer: bpf_skb_pull_data may" in stale(START + PULL + LOAD + PULL + PULL + FIRST).reason


def test_data_data_end_and_data_meta_move_together():
    differ = "r0 = *(u32 *)(r6 +80)\nr1 = *(u32 *)(r6 +76)\nr2 = *(u32 *)(r6 +140)\nr0 -= r1\nr2 -= r1\nr0 += r2\nexit"
    assert run(START + PULL + differ) == len(IPV4)


def test_a_helper_does_not_read_through_a_stale_pointer_either():
    diff = "r1 = 0\nr2 = 0\nr3 = r7\nr3 += 26\nr4 = 8\nr5 = 0\ncall bpf_csum_diff#28\nexit"
    assert "read of 8 bytes at packet+26: stale packet pointer: bpf_skb_pull_data" in stale(START + PULL + diff).reason
    assert run(START + PULL + LOAD + diff) > 0


def test_a_pointer_kept_on_the_stack_or_by_a_caller_is_stale_too():
    kept = START + "*(u64 *)(r10 -8) = r7\n" + PULL + "r7 = *(u64 *)(r10 -8)\n" + FIRST
    assert "packet+14: stale packet pointer" in stale(kept).reason
    with pytest.raises(ProgramFault, match="at packet.14: stale packet pointer"):
        load(in_a_function(PULL + "exit"), {}).run(SkBuff(IPV4))


def test_beyond_the_end_of_the_packet_the_fault_speaks_of_the_end():
    for offset in (len(IPV4), 32767, -1, -32768):
        fault = stale(START + PULL + LOAD + f"r0 = *(u8 *)(r7 {offset:+d})\nexit")
        assert f"packet{offset:+d}: the packet has {len(IPV4)} bytes" in fault.reason
        assert fault.address == address_of(PACKET, GENERATION + offset)
    far = START + PULL + LOAD + "r7 += 65535\nr7 += 65535\nr0 = *(u8 *)(r7 +0)\nexit"
    assert "packet+131070: the packet has" in stale(far).reason


def test_the_next_run_starts_anew():
    moves = ours(START + PULL + LOAD + "r0 = r7\nexit")
    skb = skb_for_run(IPV4)
    assert moves.run(skb) == moves.run(skb) == address_of(PACKET, GENERATION)
    assert executable("r0 = *(u32 *)(r1 +76)\nexit").run(skb) == address_of(PACKET)


def test_a_tail_call_that_happens_makes_the_pointers_of_its_callers_stale():
    jumps = maps.create(SPECS[0])
    jumps.set(0, executable("r0 = 5\nexit"))
    caller = load(in_a_function(call("tail_call#12") + "r0 = 0\nexit"), {"jumps": jumps})
    with pytest.raises(ProgramFault, match="stale packet pointer: bpf_tail_call"):
        caller.run(SkBuff(IPV4))


def test_stepping_tells_offsets_in_the_packet_as_before():
    touched = [touch for state in ours(START + PULL + LOAD + FIRST).step(skb_for_run(IPV4)) for touch in state.touched]
    last = touched[-1]
    assert (last.write, last.region, last.offset, last.data) == (False, "packet", 14, b"\x45")
    assert last.address == address_of(PACKET, GENERATION + 14)


def test_however_often_the_packet_moves_the_pointers_read_last_are_valid():
    loop = f"r9 = {2 * GENERATIONS + 3}\n" + PULL + LOAD + "r9 += -1\n"
    text = START + loop + f"if r9 != 0x0 goto -{loop.count(chr(10))}\n"  # back to the second of the loop's lines
    assert run(text + FIRST) == 0x45
    assert "packet+14: stale packet pointer: bpf_skb_pull_data" in stale(text + PULL + FIRST).reason
    assert run(text + "r0 = *(u32 *)(r6 +80)\nexit") < 3 << 28
