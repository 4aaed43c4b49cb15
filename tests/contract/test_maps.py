"""Maps between a program at a netkit hook and Python: each kind, on one CPU and on two.

What each kind refuses and with which errno: kernel/bpf/{hashtab,arraymap,lpm_trie,ringbuf}.c, Linux 6.12.
"""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.uapi import BPF_NOEXIST, Verdict
from tests.contract.conftest import SKB_LEN
from tests.contract.map_programs import PROGRAMS, USERS


@pytest.fixture(params=[1, 2], ids=["one CPU", "two CPUs"])
def cpus(request) -> int:
    return request.param


def refused(errno: str):
    return pytest.raises(KernelError, match=f"^{errno}")


# each kind, counted in by a program ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hash", "lru"])
def test_a_hash_has_one_value_for_all_cpus(con, cpus, send, kinds, kind):
    att = con.pair.attach(kinds[f"count_{kind}"])
    assert all([send(7), send(8), send(7, cpu=cpus - 1)])
    assert dict(att.maps[kind]) == {7: {"cpu": cpus - 1, "packets": 2}, 8: {"cpu": 0, "packets": 1}}


@pytest.mark.parametrize("kind", ["cpu_hash", "cpu_lru"])
def test_a_per_cpu_hash_has_a_value_for_each_cpu_and_a_new_entry_is_zero_for_the_others(con, cpus, send, kinds, kind):
    att = con.pair.attach(kinds[f"count_{kind}"])
    send(7, cpu=cpus - 1)
    send(7, cpu=cpus - 1)
    nothing = {"cpu": 0, "packets": 0}
    assert dict(att.maps[kind]) == {7: [nothing] * (cpus - 1) + [{"cpu": cpus - 1, "packets": 2}]}
    send(7)
    assert sum(cell["packets"] for cell in att.maps[kind][7]) == 3


def test_an_array_has_all_its_entries_and_one_value_for_all_cpus(con, cpus, send, kinds):
    att = con.pair.attach(kinds["count_array"])
    send()
    send(cpu=cpus - 1)
    assert dict(att.maps["array"]) == {0: {"cpu": cpus - 1, "packets": 2}, 1: {"cpu": 0, "packets": 0}}


def test_a_per_cpu_array_counts_each_cpu_by_itself(con, cpus, send, kinds):
    att = con.pair.attach(kinds["count_cpu_array"])
    for cpu in range(cpus):
        for _ in range(cpu + 1):
            send(cpu=cpu)
    assert att.maps["cpu_array"][0] == [1, 2][:cpus]
    assert att.maps["cpu_array"][1] == [0] * cpus


def test_a_burst_stays_on_its_cpu(con, cpus, kinds):
    att = con.pair.attach(kinds["count_cpu_array"])
    con.send(nk.IP(dst=con.gateway) / nk.UDP(dport=7), repeat=50, cpu=cpus - 1)
    assert att.maps["cpu_array"][0] == [0, 50][-cpus:]


def test_a_trie_answers_with_the_longest_prefix(lab, con, cpus, send, kinds):
    att = con.pair.attach(kinds["routed"])
    assert not send()
    routes = att.maps["routes"]
    routes["0.0.0.0/0"], routes["10.0.0.0/8"] = Verdict.PASS, Verdict.DROP
    assert (send(), send(to=lab.outside.ip)) == (False, True)
    routes[f"{con.gateway}/32"] = Verdict.NEXT
    assert send(cpu=cpus - 1)
    del routes[f"{con.gateway}/32"]
    assert not send(cpu=cpus - 1)
    assert dict(routes) == {"0.0.0.0/0": Verdict.PASS, "10.0.0.0/8": Verdict.DROP}


def test_a_ring_buffer_brings_the_records_of_all_cpus_in_order_and_once(con, cpus, send, kinds):
    att = con.pair.attach(kinds["tell"])
    assert send(8) and send(9, cpu=cpus - 1)
    events = att.maps["events"]
    assert events.read("event") == [
        {"cpu": cpu, "len": SKB_LEN, "port": port << 8, "pad": 0} for cpu, port in ((0, 8), (cpus - 1, 9))
    ]
    assert events.read("event") == []
    assert send(8)
    assert [len(record) for record in events.read()] == [12]


def test_a_ring_buffer_that_nobody_reads_is_full_in_the_end(con, kinds):
    att = con.pair.attach(kinds["tell"])
    lost = con.send(nk.IP(dst=con.gateway) / nk.UDP(dport=7), repeat=200)
    room = (4096 - 1) // 24  # a record of 12 bytes takes 24; the last byte of the buffer stays free
    assert lost.fates == {"delivered": room, "dropped": 200 - room}
    assert len(att.maps["events"].read()) == room
    assert con.send(nk.IP(dst=con.gateway) / nk.UDP(dport=7)).fate.delivered


# refusals through the typed map -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hash", "cpu_hash"])
def test_a_full_hash_refuses_another_key_from_python_and_from_the_program(con, cpus, send, kinds, kind):
    att = con.pair.attach(kinds[f"count_{kind}"])
    cell = {"cpu": 0, "packets": 9}
    table, value = att.maps[kind], cell if kind == "hash" else [cell] * cpus
    table[1] = table[2] = value
    with refused("E2BIG"):
        table[3] = value
    assert not send(7)
    table[2] = value
    del table[1]
    assert send(7)
    assert sorted(table) == [2, 7]
    with pytest.raises(KeyError):
        del table[1]


@pytest.mark.parametrize("kind", ["lru", "cpu_lru"])
def test_a_full_lru_forgets_instead(con, send, kinds, kind):
    att = con.pair.attach(kinds[f"count_{kind}"])
    for port in (7, 8, 9):
        assert send(port)
        assert port in att.maps[kind]
    assert len(att.maps[kind]) <= 2


@pytest.mark.parametrize("kind", ["array", "cpu_array"])
def test_an_array_has_no_entry_behind_its_last_and_deletes_none(con, cpus, kinds, kind):
    table = con.pair.attach(kinds[f"count_{kind}"]).maps[kind]
    value = {"cpu": 0, "packets": 1} if kind == "array" else [1] * cpus
    with refused("E2BIG"):
        table[2] = value
    with pytest.raises(KeyError):
        table[2]
    with refused("EINVAL"):
        del table[0]
    with refused("EEXIST"):
        table.store.update(bytes(4), table.store.lookup(bytes(4)), BPF_NOEXIST)


def test_a_full_trie_takes_new_values_and_no_new_prefixes(con, kinds):
    routes = con.pair.attach(kinds["routed"]).maps["routes"]
    for prefix in ("10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"):
        routes[prefix] = 1
    with refused("ENOSPC"):
        routes["10.2.0.0/16"] = 1
    routes["10.1.0.0/16"] = 2
    assert routes["10.1.2.3"] == 2
    with refused("EINVAL"):
        routes[{"length": 33, "address": 0}] = 1


def test_a_ring_buffer_has_no_entries_and_other_maps_no_records(lab, con, kinds):
    events = con.pair.attach(kinds["tell"]).maps["events"]
    with refused("errno 524"):
        events.store.lookup(b"")
    assert list(events) == [] and "ring buffer 'events' of 4096 bytes" in repr(events)
    table = con.pair.attach(kinds["count_hash"]).maps["hash"]
    with pytest.raises(UsageError, match="no records to read"):
        table.read()
    with refused("EINVAL"):
        lab.kernel_calls.ringbuf_read(table.store.number)
    with refused("EBADF"):
        lab.kernel_calls.ringbuf_read(99_999)


@pytest.mark.parametrize("wrong", [1, [], [1] * 3, [1, "x"]])
def test_a_per_cpu_map_wants_a_value_for_each_cpu(con, kinds, wrong):
    table = con.pair.attach(kinds["count_cpu_array"]).maps["cpu_array"]
    before = table[0]
    with pytest.raises(UsageError):
        table[0] = wrong
    assert table[0] == before


# maps outlive attachments, and programs share them ------------------------------------------------------------------


@pytest.mark.parametrize("link", [False, True], ids=["without a link", "by a link"])
@pytest.mark.parametrize("kind", ["hash", "array", "lru", "cpu_hash", "cpu_array", "cpu_lru"])
def test_a_map_stays_when_its_program_is_detached_and_counts_on_when_it_returns(con, cpus, send, kinds, kind, link):
    def packets() -> int:
        cells = att.maps[kind][key]
        cells = cells if kind.startswith("cpu") else [cells]
        return sum(cell if isinstance(cell, int) else cell["packets"] for cell in cells)

    key = 0 if "array" in kind else 7
    att = con.pair.attach(kinds[f"count_{kind}"], link=link)
    send()
    att.detach()
    send()
    assert packets() == 1
    con.pair.attach(att.program)
    send(cpu=cpus - 1)
    assert packets() == 2


def test_records_and_entries_of_tries_and_prog_arrays_stay_too(lab, con, send, kinds):
    told, routed, jumped = (con.pair.attach(kinds[name]) for name in ("tell", "routed", "jump"))
    routed.maps["routes"]["0.0.0.0/0"] = Verdict.NEXT
    jumped.maps["jumps"][1] = kinds["arrive"]
    assert send()
    for att in (told, routed, jumped):
        att.detach()
    assert len(told.maps["events"].read()) == 1
    assert dict(routed.maps["routes"]) == {"0.0.0.0/0": Verdict.NEXT}
    assert list(jumped.maps["jumps"]) == [1]
    con.pair.attach(routed.program)
    con.pair.attach(jumped.program)
    assert send()


@pytest.mark.parametrize("kind", ["hash", "array", "lru", "cpu_hash", "cpu_array", "cpu_lru"])
def test_what_python_writes_the_running_program_counts_on(con, cpus, send, kinds, kind):
    att = con.pair.attach(kinds[f"count_{kind}"])
    key, table = 0 if "array" in kind else 7, att.maps[kind]
    one = 40 if kind == "cpu_array" else {"cpu": 0, "packets": 40}
    table[key] = [one] * cpus if kind.startswith("cpu") else one
    send(cpu=cpus - 1)
    last = table[key][cpus - 1] if kind.startswith("cpu") else table[key]
    assert last == (41 if kind == "cpu_array" else {"cpu": cpus - 1, "packets": 41})


@pytest.mark.parametrize("kind", USERS)
def test_programs_share_a_map_of_each_kind(lab, con, cpus, send, kinds, kind):
    """Both run on every packet, the second on the map of the first, which it sees as its own types tell."""
    one = con.pair.attach(kinds[USERS[kind]])
    again = nk.compile(PROGRAMS + "struct mine { int number; } mine;", name="again.c")[USERS[kind]]
    two = con.pair.attach(lab.load(again, maps={kind: one.maps[kind]}))
    mine, theirs = one.maps[kind], two.maps[kind]
    if kind == "routes":
        mine["0.0.0.0/0"] = Verdict.NEXT
    elif kind == "jumps":
        mine[1] = kinds["count_hash"]
    assert send(cpu=cpus - 1)
    key = {"routes": "0.0.0.0/0", "jumps": 1}.get(kind, 0 if "array" in kind else 7)
    if kind == "events":
        assert [event["port"] for event in theirs.read("event")] == [7 << 8] * 2
        assert mine.read() == []
        return
    assert dict(mine) == dict(theirs) and key in theirs
    if kind == "jumps":
        assert lab.loaded(kinds["count_hash"]).maps["hash"][7]["packets"] == 2
    elif kind.startswith("cpu"):
        last = theirs[key][cpus - 1]
        assert (last if kind == "cpu_array" else last["packets"]) == 2
    elif kind != "routes":
        assert theirs[key]["packets"] == 2


@pytest.mark.parametrize("kind", USERS)
def test_a_map_of_another_kind_is_not_shared(lab, kinds, kind):
    """The check is the lab's: a program would read the other map's values as if they were its own."""
    user = kinds[USERS[kind]]
    for other in USERS.keys() - {kind}:
        given = lab.load(kinds[USERS[other]]).maps[other]
        with pytest.raises(UsageError, match=f"map '{kind}' is type"):
            lab.load(user, maps={kind: given})
