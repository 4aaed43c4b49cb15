"""Values of the wrong kind at every argument of the API: one plain sentence, and nothing half-made."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import netkit_edu as nk
from netkit_edu.errors import NetkitEduError, PacketError, UsageError

SOURCE = """
#include "netkit_edu.h"
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, int); }
    verdict SEC(".maps");
volatile const __u32 LIMIT = 5;
SEC("netkit/peer") int gate(struct __sk_buff *skb)
{
    __u32 zero = 0;
    int *code = bpf_map_lookup_elem(&verdict, &zero);
    return code ? *code : LIMIT;
}
char LICENSE[] SEC("license") = "GPL";
"""
WRONG = (None, True, -1, 5, 1 << 70, 1.5, "", "x", "a/b", "a b", ".", "x" * 16, "ü" * 8, "\ud800", "a\0b", "%d", b"x",
         [], {}, {"x": 1}, object(), nk.ANY, [1, 2])  # fmt: skip

CALLS = {
    "Lab": lambda t, v: nk.Lab(v or "nonsense"),
    "Lab cpus": lambda t, v: nk.Lab("sim", cpus=v),
    "Lab backlog": lambda t, v: nk.Lab("sim", backlog=v),
    "node": lambda t, v: t.lab.node(v),
    "pod": lambda t, v: t.lab.pod(v),
    "pod netkit": lambda t, v: t.lab.pod(v, device="netkit"),
    "pod device": lambda t, v: t.lab.pod("q", device=v),
    "pair": lambda t, v: t.lab.pair(v),
    "pair primary_in": lambda t, v: t.lab.pair("q", primary_in=v),
    "pair peer_in": lambda t, v: t.lab.pair("q", peer_in=v),
    "pair peer_name": lambda t, v: t.lab.pair("q", peer_name=v),
    "pair kind": lambda t, v: t.lab.pair("q", kind=v),
    "dummy": lambda t, v: t.lab.dummy(v),
    "dummy node": lambda t, v: t.lab.dummy("q", node=v),
    "load": lambda t, v: t.lab.load(v),
    "load maps": lambda t, v: t.lab.load(t.gate, maps=v),
    "load a map": lambda t, v: t.lab.load(t.gate, maps={"verdict": v}),
    "forget": lambda t, v: t.lab.forget(v),
    "gateway": lambda t, v: t.lab.gateway(v),
    "device": lambda t, v: t.lab.device(v, 1),
    "addr": lambda t, v: t.lab.nic.addr(v),
    "addr dev": lambda t, v: t.lab.host.addr(v, "10.0.9.1/24"),
    "route": lambda t, v: t.lab.host.route(v, dev=t.lab.nic),
    "route dev": lambda t, v: t.lab.host.route("10.8.0.0/24", dev=v),
    "route via": lambda t, v: t.lab.host.route("10.8.0.0/24", via=v),
    "neigh": lambda t, v: t.lab.host.neigh(v, "02:00:00:00:00:01", dev=t.lab.nic),
    "neigh mac": lambda t, v: t.lab.host.neigh("192.0.2.9", v, dev=t.lab.nic),
    "neigh dev": lambda t, v: t.lab.host.neigh("192.0.2.9", "02:00:00:00:00:01", dev=v),
    "listen": lambda t, v: t.lab.host.listen(udp=v),
    "listen outside": lambda t, v: t.lab.outside.listen(udp=v),
    "send": lambda t, v: t.db.send(v),
    "send as a raw packet": lambda t, v: t.db.send(v, via="raw"),
    "send as a frame": lambda t, v: t.db.send(v, via="packet"),
    "ping": lambda t, v: t.db.ping(v),
    "ping payload": lambda t, v: t.db.ping(t.lab.outside, payload=v),
    "attach": lambda t, v: t.db.pair.attach(v),
    "attach at": lambda t, v: t.db.pair.attach(t.gate, at=v).detach(),
    "detach": lambda t, v: t.db.pair.detach(v),
    "detach at": lambda t, v: t.db.pair.detach(t.gate, at=v),
    "chain": lambda t, v: t.db.pair.chain(v),
    "policy": lambda t, v: t.db.pair.set_policy(policy=v),
    "peer_policy": lambda t, v: t.db.pair.set_policy(peer_policy=v),
    "set mtu": lambda t, v: t.db.device.set(mtu=v),
    "set mac": lambda t, v: t.db.device.set(mac=v),
    "bind": lambda t, v: t.gate.bind(LIMIT=v),
    "run": lambda t, v: t.gate.run(v),
    "step": lambda t, v: list(t.gate.step(v)),
    "compile": lambda t, v: nk.compile(v),
    "compile name": lambda t, v: nk.compile(SOURCE, name=v),
    "read_object": lambda t, v: nk.read_object(v),
    "a map's key": lambda t, v: t.gate.bind().maps["verdict"][v],
    "a map's value": lambda t, v: t.gate.bind().maps["verdict"].__setitem__(0, v),
    "summary": lambda t, v: nk.summary(v),
    "fields": lambda t, v: nk.fields(v),
    "diff": lambda t, v: nk.diff(v, v),
    "checksum": lambda t, v: nk.checksum(v),
    "to_bytes": lambda t, v: nk.to_bytes(v),
}
for _name in ("mode", "policy", "peer_policy", "scrub", "peer_scrub"):
    CALLS[f"pod {_name}"] = lambda t, v, n=_name: t.lab.pod("q", device="netkit", **{n: v})
for _name in ("attrs", "peer_attrs"):
    CALLS[f"pair {_name}"] = lambda t, v, n=_name: t.lab.pair("q", **{n: v})
    for _key in ("mtu", "mac", "ifindex"):
        CALLS[f"pair {_name} {_key}"] = lambda t, v, n=_name, k=_key: t.lab.pair("q", **{n: {k: v}})
for _name in ("via", "dev", "mark", "priority", "cpu", "gso_size", "repeat", "recverr"):
    CALLS[f"send {_name}"] = lambda t, v, n=_name: t.db.send(t.packet, **{n: v})
for _name in ("before", "after", "replace", "expected_revision", "flags"):
    CALLS[f"attach {_name}"] = lambda t, v, n=_name: t.db.pair.attach(t.gate, **{n: v}).detach()
for _name in ("mark", "priority", "ifindex", "ingress_ifindex", "queue_mapping", "tc_index", "tstamp", "gso_size",
              "gso_segs", "wire_len", "pkt_type", "hash", "cb"):  # fmt: skip
    CALLS[f"run {_name}"] = lambda t, v, n=_name: t.gate.run(t.packet, **{n: v})


@pytest.fixture(scope="module")
def gate():
    return nk.compile(SOURCE)["gate"]


@pytest.fixture(scope="module")
def things(gate):
    with nk.Lab("sim") as lab:
        packet = bytes(nk.IP(src="10.0.1.2", dst=lab.outside.ip) / nk.UDP(dport=5))
        yield SimpleNamespace(lab=lab, db=lab.pod("db", device="netkit"), gate=gate, packet=packet)


def made(lab) -> list:
    return [(node.name, [device.name for device in node.links]) for node in lab.nodes.values()]


@pytest.mark.parametrize("name", CALLS)
def test_a_value_of_the_wrong_kind_is_refused_in_words_and_leaves_nothing(things, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    begun = []
    real = things.lab.kernel_calls.netns_add
    monkeypatch.setattr(things.lab.kernel_calls, "netns_add", lambda name: begun.append(real(name)) or begun[-1])
    for value in WRONG:
        before = made(things.lab)
        begun.clear()
        try:
            CALLS[name](things, value)
        except (NetkitEduError, KeyError) as refusal:
            assert isinstance(refusal, KeyError) or len(str(refusal)) > 20
            assert made(things.lab) == before
            assert not set(begun) & set(things.lab.kernel_calls._kernel.namespaces)
        else:
            take_back(things.lab)


def take_back(lab) -> None:
    """Remove what a call made whose argument was possible after all: an int where numbers are taken."""
    for node in list(lab.nodes.values())[3:]:
        node.delete()
    while len(lab.host.links) > 3:  # lo, eth0, db
        lab.host.links[-1].delete()


@pytest.mark.parametrize("name", ["a b", "a/b", "a:b", "a\tb", "a\nb", "%d", "50%", ".", "..", "x" * 16, "ü" * 8, "\0"])
def test_a_name_that_linux_would_not_take_is_refused_before_anything_is_made(things, name):
    lab = things.lab
    for create in (lab.pod, lab.node, lab.dummy, lab.pair, lambda n: lab.pair("q", peer_name=n)):
        before = made(lab)
        with pytest.raises(UsageError, match="no name for a device|at most 15"):
            create(name)
        assert made(lab) == before


def test_a_name_of_15_bytes_is_taken(things):
    pod = things.lab.pod("x" * 15)
    assert pod.pair.primary.name == "x" * 15
    pod.delete()


def test_host_and_outside_belong_to_every_lab(things):
    for node in (things.lab.host, things.lab.outside):
        with pytest.raises(UsageError, match="every lab has"):
            node.delete()
    assert things.db.ping(things.lab.outside).fate.delivered


def test_a_node_of_another_lab_is_not_taken_for_ones_own(things):
    with nk.Lab("sim") as other:
        for use in (
            lambda: things.lab.pair("q", peer_in=other.host),
            lambda: things.lab.dummy("q", node=other.host),
            lambda: things.lab.forget(other.host),
            lambda: things.lab.device(other.host, 1),
        ):
            with pytest.raises(UsageError, match="another lab"):
                use()


def test_an_attachment_of_another_lab_marks_no_place_here(things, gate):
    with nk.Lab("sim") as other:
        att = other.pod("db", device="netkit").pair.attach(gate)
        with pytest.raises(UsageError, match="another lab"):
            things.db.pair.attach(things.lab.load(gate), before=att)


def test_replacing_id_0_does_not_fall_back_to_appending(things, gate):
    with pytest.raises(nk.KernelError):
        things.db.pair.attach(gate, replace=0)
    assert things.db.pair.chain("peer").entries == ()


def test_an_open_deleted_or_closed_thing_says_what_it_is_and_never_fails_to(gate):
    with nk.Lab("sim") as lab:
        web, db = lab.pod("web"), lab.pod("db", device="netkit")
        att = db.pair.attach(gate)
        things = [lab, lab.host, web, web.pair, web.device, db, db.pair, db.device, att, att.maps, att.program]
        web.delete()
        assert "deleted" in repr(web) and "deleted" in repr(web.device)
        for use in (web.delete, lambda: web.ping(lab.outside), lambda: web.ip, lambda: web.received, web.device.up):
            with pytest.raises(UsageError, match="'web' was deleted"):
                use()
        for thing in things:
            assert repr(thing)
        with att:
            lab.close()
        assert not att.attached
    for thing in things:
        assert repr(thing)
    assert "closed" in repr(lab) and "closed" in repr(db) and "closed" in repr(db.device)


@pytest.mark.parametrize("value", [None, 5, "text", [1]])
def test_a_checksum_is_taken_over_bytes(value):
    with pytest.raises(PacketError, match="bytes, not"):
        nk.checksum(value)
