"""Programs that go on as others at a netkit hook (kernel/bpf/arraymap.c: prog arrays, Linux 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, ProgramFault, UsageError
from netkit_edu.uapi import BPF_NOEXIST, BPF_PROG_TYPE_XDP


@pytest.fixture(params=[1, 2], ids=["one CPU", "two CPUs"])
def cpus(request) -> int:
    return request.param


def refused(errno: str):
    return pytest.raises(KernelError, match=f"^{errno}")


def test_a_tail_call_goes_on_as_the_program_that_is_put_there(con, send, kinds):
    att = con.pair.attach(kinds["jump"])
    assert not send()
    att.maps["jumps"][1] = kinds["arrive"]
    assert send()
    del att.maps["jumps"][1]
    assert not send()
    att.maps["jumps"][0] = kinds["arrive"]
    assert not send()


def test_each_program_of_a_chain_of_tail_calls_keeps_its_own_maps(lab, con, cpus, send, kinds):
    att = con.pair.attach(kinds["jump"])
    jumps = att.maps["jumps"]
    last = lab.load(kinds["arrive"])
    jumps[1], jumps[0] = lab.load(kinds["hop"], maps={"jumps": jumps}), last
    assert send(cpu=cpus - 1)
    assert last.maps["cpu_array"][0] == [0, 0xABC][-cpus:]


def test_a_prog_array_takes_whatever_stands_for_a_program_and_shows_ids(lab, con, kinds):
    jumps = con.pair.attach(kinds["jump"]).maps["jumps"]
    loaded, att = lab.load(kinds["arrive"]), con.pair.attach(kinds["count_hash"])
    jumps[0], jumps[1] = loaded, att
    assert dict(jumps) == {0: loaded.id, 1: att.id}
    jumps[1] = loaded.id
    assert jumps[1] == loaded.id
    jumps[0] = jumps[1] = kinds["hop"]
    assert jumps[0] == jumps[1] == lab.loaded(kinds["hop"]).id != loaded.id


def test_a_program_in_a_prog_array_works_without_being_attached_anywhere(lab, con, send, kinds):
    att = con.pair.attach(kinds["jump"])
    att.maps["jumps"][1] = kinds["count_hash"]
    send(8)
    assert dict(lab.loaded(kinds["count_hash"]).maps["hash"]) == {8: {"cpu": 0, "packets": 1}}
    assert [entry.prog_id for entry in con.pair.chain("peer").entries] == [att.id]


def test_a_program_that_jumps_to_itself_is_stopped_in_the_end(con, send, kinds):
    att = con.pair.attach(kinds["jump"])
    att.maps["jumps"][1] = att
    assert not send()
    att.maps["jumps"][1] = kinds["arrive"]
    assert send()


def test_what_a_prog_array_refuses(lab, con, kinds):
    att = con.pair.attach(kinds["jump"])
    jumps = att.maps["jumps"]
    for number, errno in ((99_999, "EBADF"), (0, "EINVAL"), (jumps.store.number, "EINVAL")):
        with refused(errno):
            jumps[0] = number
    with refused("E2BIG"):
        jumps[2] = kinds["arrive"]
    with refused("EINVAL"):
        jumps.store.update(bytes(4), att.id.to_bytes(4, "little"), BPF_NOEXIST)
    with pytest.raises(KeyError):
        del jumps[0]
    with refused("ENOENT"):
        jumps.store.delete(bytes(4))
    for value in ("arrive", None, {}):
        with pytest.raises(UsageError):
            jumps[0] = value
    with nk.Lab("sim") as other, pytest.raises(UsageError, match="another lab"):
        jumps[0] = other.load(kinds["arrive"])
    assert not jumps


def test_programs_of_two_types_do_not_share_a_prog_array(lab, con, kinds):
    """kernel/bpf/core.c:bpf_prog_map_compatible"""
    calls, code = lab.kernel_calls, kinds["jump"].code
    jumps = con.pair.attach(kinds["jump"]).maps["jumps"]
    with refused("EINVAL"):
        calls.prog_load(code, {"jumps": jumps.store.number}, prog_type=BPF_PROG_TYPE_XDP)
    other = calls.map_create(kinds["jump"].map_specs["jumps"])
    drops = calls.prog_load(code, {"jumps": other}, prog_type=BPF_PROG_TYPE_XDP)
    with refused("EINVAL"):
        jumps[0] = drops
    calls.map_update(other, bytes(4), drops.to_bytes(4, "little"))


def test_a_fault_in_a_program_that_was_jumped_to_names_its_own_line(lab, con, send, kinds):
    text = """
#include "netkit_edu.h"
SEC("netkit/peer") int too_far(struct __sk_buff *skb)
{
    return ((char *)(long)skb->data)[70000];
}
char LICENSE[] SEC("license") = "GPL";
"""
    jumps = con.pair.attach(kinds["jump"]).maps["jumps"]
    too_far = nk.compile(text)["too_far"]
    if lab.backend == "sim":
        jumps[1] = too_far
        with pytest.raises(ProgramFault, match=r"packet has 142 bytes .*line 5: return"):
            send()
    else:  # a kernel looks before it lets the program in
        with pytest.raises(KernelError, match=r"^EACCES: invalid access to packet, off=70000 .*line 5: return"):
            jumps[1] = too_far
    jumps[1] = kinds["arrive"]
    assert send()
