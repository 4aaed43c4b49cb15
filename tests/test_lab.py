"""The lab's own part, on the simulator: what it sets up, which calls it makes, what it refuses before any kernel does.

What the kernel decides is in tests/contract.
"""

from __future__ import annotations

import gc

import pytest

import netkit_edu as nk
from netkit_edu import opening
from netkit_edu.errors import BackendUnavailable, KernelError, PacketError, UsageError
from netkit_edu.journey import Fate, FateKind, Journey
from netkit_edu.packet import EPHEMERAL_PORT
from netkit_edu.programs import BrokenProgram
from netkit_edu.sim.backend import SimBackend

PASS = """
#include "netkit_edu.h"
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, int); }
    verdict SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, int); }
    other SEC(".maps");
SEC("netkit/peer") int gate(struct __sk_buff *skb)
{
    __u32 zero = 0;
    int *code = bpf_map_lookup_elem(&verdict, &zero);
    return code ? *code : NETKIT_DROP;
}
SEC("tc") int hookless(struct __sk_buff *skb)
{
    __u32 zero = 0;
    return bpf_map_lookup_elem(&other, &zero) ? NETKIT_DROP : NETKIT_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def lab():
    with nk.Lab("sim") as lab:
        yield lab


@pytest.fixture
def db(lab):
    return lab.pod("db", device="netkit")


@pytest.fixture(scope="module")
def programs():
    return nk.compile(PASS)


@pytest.fixture
def requests(lab, monkeypatch):
    """Every SendRequest that reaches the backend."""
    seen = []
    real = lab.kernel_calls.send
    monkeypatch.setattr(lab.kernel_calls, "send", lambda ns, request: seen.append(request) or real(ns, request))
    return seen


# which backend --------------------------------------------------------------------------------------------------------


def test_the_simulator_is_the_default(monkeypatch):
    monkeypatch.delenv("NETKIT_EDU_BACKEND", raising=False)
    with nk.Lab() as lab:
        assert (lab.backend, lab.kernel) == ("sim", "6.12")


def _no(*_):
    raise BackendUnavailable("not here")


@pytest.mark.parametrize(
    ("vm", "netkit", "host", "best"),
    [(True, True, True, "vm"), (False, True, True, "host"), (False, True, False, "sim"), (False, False, True, "sim")],
)
def test_auto_is_the_best_that_the_machine_has(monkeypatch, vm, netkit, host, best):
    def simulator(name):
        return lambda cpus, backlog: (opening._open_sim(cpus, backlog)[0], lambda: chosen.append(name))

    chosen = []
    monkeypatch.setattr(opening, "why_no_netkit_here", lambda: "" if netkit else "no such device")
    monkeypatch.setitem(opening._OPEN, "vm", simulator("vm") if vm else _no)
    monkeypatch.setitem(opening._OPEN, "host", simulator("host") if host else _no)
    with nk.Lab("auto"):
        assert (chosen or ["sim"]) == [best]


@pytest.mark.vm
def test_auto_is_a_virtual_machine_where_one_can_be_had():
    with nk.Lab("auto") as lab:
        assert lab.backend == "vm"


def test_a_machine_without_linux_says_so(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    for name in ("vm", "host"):
        with pytest.raises(BackendUnavailable, match=f"Lab\\('{name}'\\) needs a machine that runs Linux"):
            nk.Lab(name)
    with nk.Lab("auto") as lab:
        assert lab.backend == "sim"


def test_the_environment_chooses_where_the_learner_does_not(monkeypatch):
    def open_vm(cpus, **_):
        raise BackendUnavailable(f"no machine of {cpus}")

    monkeypatch.setattr("netkit_edu.vm.machine.open_vm", open_vm)
    monkeypatch.setenv("NETKIT_EDU_BACKEND", "vm")
    with pytest.raises(BackendUnavailable, match="no machine of 2"):
        nk.Lab(cpus=2)
    with nk.Lab("sim") as lab:
        assert lab.backend == "sim"


def test_an_unknown_backend_lists_the_known():
    with pytest.raises(UsageError, match="'sim', 'vm', 'host', 'auto', not 'simm'"):
        nk.Lab("simm")


# its end --------------------------------------------------------------------------------------------------------------


def test_a_closed_lab_refuses_everything_by_one_sentence(programs):
    lab = nk.Lab("sim")
    db = lab.pod("db", device="netkit")
    att = db.pair.attach(programs["gate"])
    lab.close()
    lab.close()
    uses = (
        lambda: lab.pod("web"), lambda: lab.node("x"), lambda: lab.dummy("d0"), lambda: lab.load(programs["gate"]),
        lambda: db.send(b"x" * 40), lambda: db.ping("10.0.1.1"), lambda: db.listen(udp=7), lambda: db.received,
        lambda: db.device.up(), lambda: db.device.stats, lambda: db.pair.chain("peer"), att.detach,
        lambda: att.maps["verdict"][0], lambda: db.pair.set_policy(policy="drop"),
    )  # fmt: skip
    for use in uses:
        with pytest.raises(UsageError, match="this lab is closed"):
            use()
    assert "closed" in repr(lab)


def test_leaving_the_block_closes_even_after_an_error():
    with pytest.raises(ZeroDivisionError), nk.Lab("sim") as lab:
        1 / 0  # noqa: B018
    with pytest.raises(UsageError, match="closed"):
        lab.node("x")


def test_a_forgotten_lab_frees_its_backend(monkeypatch):
    closed = []
    real = SimBackend.close
    monkeypatch.setattr(SimBackend, "close", lambda self: closed.append(self) or real(self))
    lab = nk.Lab("sim")
    lab.pod("web").ping(lab.outside)
    del lab
    gc.collect()
    assert len(closed) == 1


# nodes and pods -------------------------------------------------------------------------------------------------------


def test_pods_are_numbered_as_they_come(lab):
    assert [lab.pod(name).ip for name in "abc"] == ["10.0.1.2", "10.0.2.2", "10.0.3.2"]
    assert list(lab.nodes) == ["host", "outside", "a", "b", "c"]


def test_a_pod_that_is_refused_leaves_nothing_behind(lab):
    for refused in ({"policy": 7}, {"scrub": 2}, {"mode": 9}):
        with pytest.raises(KernelError):
            lab.pod("db", device="netkit", **refused)
    assert "db" not in lab.nodes and [d.name for d in lab.host.links] == ["lo", "eth0"]
    assert lab.pod("db", device="netkit").ip == "10.0.1.2"


@pytest.mark.parametrize("name", ["db", "host", "outside", "eth0"])
def test_a_name_that_is_taken_is_refused_as_linux_does(lab, db, name):
    with pytest.raises(KernelError) as refusal:
        lab.pod(name)
    assert refusal.value.name == "EEXIST"
    assert list(lab.nodes) == ["host", "outside", "db"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "bridge"}, "'veth' or 'netkit', or a subclass of nk.NetDevice, not 'bridge'"),
        ({"device": "netkit", "policy": "deny"}, "policy is 'pass' or 'drop', not 'deny'"),
        ({"device": "netkit", "mode": "l4"}, "mode is 'l2' or 'l3', not 'l4'"),
        ({"device": "netkit", "peer_scrub": "all"}, "peer_scrub is 'none' or 'default', not 'all'"),
        ({"device": "netkit", "policy": True}, "policy is 'pass' or 'drop', not True"),
        ({"device": "veth", "policy": "drop"}, "policy: only netkit devices have that"),
    ],
)
def test_an_option_that_is_not_possible_lists_those_that_are(lab, options, says):
    with pytest.raises(UsageError, match=says):
        lab.pod("db", **options)


def test_options_are_taken_by_name_by_enum_and_by_number(lab):
    for number, policy in enumerate(("drop", "DROP", nk.Policy.DROP, 2)):
        assert lab.pod(f"p{number}", device="netkit", policy=policy).pair.policy is nk.Policy.DROP


def test_a_pod_can_be_left_down_and_brought_up_later(lab):
    pod = lab.pod("late", device="netkit", up=False)
    assert (pod.ip, pod.device.is_up, pod.pair.primary.is_up) == ("10.0.1.2", False, False)
    assert pod.up() is pod
    assert pod.ping(lab.outside).fate.delivered


def test_a_deleted_pod_is_gone_and_its_name_free(lab, db):
    db.delete()
    assert "db" not in lab.nodes and "db" not in [d.name for d in lab.host.links]
    assert lab.pod("db").ip == "10.0.2.2"


def test_a_node_is_built_by_hand_from_the_same_words(lab):
    node = lab.node("x")
    with pytest.raises(UsageError, match="x has no address yet"):
        node.ip  # noqa: B018
    pair = lab.pair("lxc1", peer_in=node)
    assert (pair.primary.name, pair.peer.name, pair.primary.node, pair.peer.node) == ("lxc1", "eth0", lab.host, node)
    pair.primary.up().addr("10.0.9.1/24")
    node.addr(pair.peer.up(), "10.0.9.2/24")
    node.route("default", dev=pair.peer)
    assert node.ip == "10.0.9.2"
    assert lab.host.ping(node).replies[0].fate.delivered
    assert node.ping("192.0.2.1").fate.delivered


def test_a_dummy_swallows_what_it_is_given(lab):
    dummy = lab.dummy("d0").up().addr("10.0.8.1/24")
    journey = lab.host.send(nk.IP(dst="10.0.8.7") / nk.UDP(dport=7), dev=dummy)
    assert journey.fate.kind in (FateKind.TRANSMITTED, FateKind.DROPPED)
    dummy.delete()
    assert "d0" not in [d.name for d in lab.host.links]


@pytest.mark.parametrize("address", ["10.0.9.300/24", "ten", "10.0.9.1/33", "::1/64", 7])
def test_what_is_no_address_is_refused(lab, db, address):
    with pytest.raises(UsageError, match="IPv4 address with prefix length"):
        db.device.addr(address)


def test_a_node_acts_on_its_own_devices_only(lab, db):
    with pytest.raises(UsageError, match="that device is in db, not in host"):
        lab.host.send(nk.IP(dst=db.ip) / nk.UDP(), dev=db.device)
    with pytest.raises(UsageError, match="a device is meant"):
        db.route("10.0.9.0/24", dev="eth0")
    with pytest.raises(UsageError, match="needs dev=, via="):
        db.route("10.0.9.0/24")


def test_a_device_is_the_same_object_wherever_it_is_found(lab, db):
    assert db.links[-1] is db.device is db.pair.peer and lab.host.links[1] is lab.nic


# sending --------------------------------------------------------------------------------------------------------------


def test_the_socket_follows_from_the_packet(lab, db, requests):
    to = lab.outside.ip
    cases = [
        (nk.IP(dst=to) / nk.UDP(dport=53), "udp"),
        (nk.IP(dst=to, src=db.ip) / nk.UDP(dport=53), "udp"),
        (nk.IP(dst=to, src="10.9.9.9") / nk.UDP(dport=53), "raw"),
        (nk.IP(dst=to, frag=3, proto=17) / b"12345678", "raw"),
        (nk.IP(dst=to, options=b"\x01\x01\x01\x01") / nk.UDP(dport=53), "raw"),
        (nk.IP(dst=to) / nk.ICMP(), "icmp"),
        (nk.IP(dst=to) / nk.ICMP(type=13), "raw"),
        (nk.IP(dst=to) / nk.TCP(dport=80), "raw"),
        (nk.Ether() / nk.IP(dst=to) / nk.UDP(dport=53), "packet"),
    ]
    for packet, via in cases:
        db.send(packet)
        assert requests[-1].via == via, packet


def test_bytes_are_sent_as_they_are(lab, db, requests):
    data = bytes(nk.IP(src=db.ip, dst=lab.outside.ip, id=9) / nk.UDP(sport=5, dport=53) / b"hi")
    assert db.send(data).fate.delivered
    assert requests[-1].packet == data


def test_a_missing_source_is_the_stacks_choice_at_a_socket_and_the_nodes_own_beside_it(lab, db, requests):
    journey = db.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53))
    assert requests[-1].packet[12:16] == bytes(4)
    assert nk.fields(journey.packet)["IP.src"] == db.ip
    db.send(nk.IP(dst=lab.outside.ip) / nk.TCP(dport=80))
    assert nk.fields(requests[-1].packet)["IP.src"] == db.ip
    lab.host.send(nk.IP(dst=db.ip) / nk.TCP(dport=80))
    assert nk.fields(requests[-1].packet)["IP.src"] == db.gateway


def test_options_reach_the_backend(lab, db, requests):
    db.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53), dev=db.device, mark=7, priority=3, recverr=True)
    sent = requests[-1]
    assert (sent.ifindex, sent.mark, sent.priority, sent.recverr, sent.cpu) == (db.device.ifindex, 7, 3, True, 0)


def test_a_journey_is_labelled_with_one_line_on_its_packet(lab, db):
    journey = db.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b"hi")
    assert journey.label == f"IP 10.0.1.2 > 192.0.2.2 UDP {EPHEMERAL_PORT} > 53, 2 bytes"
    assert db.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53), label="a question").label == "a question"


def test_a_frame_gets_the_addresses_of_the_two_ends(lab, requests):
    web = lab.pod("web", device="veth")
    assert web.send(nk.Ether() / nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53)).fate.delivered
    found = nk.fields(requests[-1].packet)
    assert (found["Ether.src"], found["Ether.dst"]) == (web.device.mac, web.pair.primary.mac)
    assert found["IP.src"] == web.ip


def test_an_ip_packet_sent_as_a_frame_gets_a_header(lab, requests):
    web = lab.pod("web", device="veth")
    assert web.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53), via="packet").fate.delivered
    assert nk.fields(requests[-1].packet)["Ether.type"] == 0x0800


def test_a_frame_needs_a_device_where_there_are_several(lab, db):
    with pytest.raises(UsageError, match="say on which device.*host has: eth0, db"):
        lab.host.send(nk.Ether() / nk.IP(dst=db.ip) / nk.UDP())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"via": "tcp"}, "via is one of 'auto', 'udp'"),
        ({"repeat": 0}, "repeat is a number from 1"),
        ({"repeat": "3"}, "repeat is a number from 1"),
        ({"mark": 1 << 32}, "mark is a number from 0 to 4294967295"),
        ({"mark": -1}, "mark is a number"),
        ({"priority": "high"}, "priority is a number"),
        ({"cpu": 9}, "no CPU 9"),
        ({"dev": "eth0"}, "a device is meant"),
    ],
)
def test_a_sending_option_that_is_not_possible_is_refused(lab, db, options, says):
    with pytest.raises(UsageError, match=says):
        db.send(nk.IP(dst=lab.outside.ip) / nk.UDP(), **options)


@pytest.mark.parametrize("port", [0, 65536, "dns", None])
def test_what_is_no_port_is_refused(db, port):
    with pytest.raises(UsageError, match="udp is a number from 1 to 65535"):
        db.listen(udp=port)


@pytest.mark.parametrize("name", ["", 3, None])
def test_what_is_no_name_is_refused(lab, name):
    for create in (lab.pod, lab.node):
        with pytest.raises(UsageError, match="a name is text"):
            create(name)


def test_a_frame_does_not_go_through_an_ip_socket(lab, db):
    with pytest.raises(UsageError, match="via='packet', not 'udp'"):
        db.send(nk.Ether() / nk.IP(dst=lab.outside.ip) / nk.UDP(), via="udp")


def test_what_is_no_packet_is_refused(db):
    with pytest.raises(PacketError):
        db.send("hello")


def test_the_outside_may_listen_by_itself_and_as_a_sink(lab, db):
    lab.outside.listen(udp=53)
    lab.outside.listen(udp=53)
    assert db.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53)).fate.delivered
    assert db.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=65535)).fate.delivered
    assert len(lab.outside.received) == 2


def test_many_packets_make_a_summary(lab, db):
    db.listen(udp=7)
    summary = lab.outside.send(nk.IP(dst=db.ip) / nk.UDP(dport=7), repeat=20)
    assert (summary.sent, summary.fates, summary.reasons) == (20, {"delivered": 20}, {})
    assert summary.example.fate.delivered and repr(summary) == "20 packets: 20 delivered"
    assert len(db.received) == 20


def test_a_summary_counts_fates_reasons_and_errors():
    def journey(kind, reason="", error=None):
        return Journey(b"", (), Fate(kind, "db", "eth0", reason), error)

    summary = nk.Summary(
        (journey(FateKind.DELIVERED), journey(FateKind.DROPPED, "NO_SOCKET", "ENOBUFS"), journey(FateKind.DROPPED))
    )
    assert summary.fates == {"delivered": 1, "dropped": 2}
    assert summary.reasons == {"NO_SOCKET": 1, "": 1}
    assert summary.sender_errors == {"ENOBUFS": 1}
    assert repr(summary) == "3 packets: 1 delivered, 2 dropped (1 × NO_SOCKET; 1 × no reason given)"
    assert repr(nk.Summary((journey(FateKind.LOST, "no such device"),) * 2)) == "2 packets: 2 lost (no such device)"
    assert repr(nk.Summary((journey(FateKind.DROPPED),))) == "1 packet: 1 dropped"


def test_a_ping_goes_to_a_node_or_an_address(lab, db):
    for journey in (db.ping(lab.outside), db.ping("192.0.2.2")):
        assert journey.fate.delivered and journey.replies[0].fate.node == "db"
    assert db.ping(lab.outside).label == "ping outside"


# programs -------------------------------------------------------------------------------------------------------------


def test_attaching_loads_once_and_loading_makes_another(lab, db, programs):
    first = db.pair.attach(programs["gate"])
    first.detach()
    again = db.pair.attach(programs["gate"])
    assert again.id == first.id and again.maps["verdict"] is first.maps["verdict"]
    assert lab.load(programs["gate"]).id != first.id


def test_a_programs_own_maps_are_not_those_of_the_kernel(lab, db, programs):
    programs["gate"].maps["verdict"][0] = 2
    att = db.pair.attach(programs["gate"])
    assert att.maps["verdict"][0] == 0


def test_maps_of_an_attachment_take_verdicts(lab, db, programs):
    att = db.pair.attach(programs["gate"])
    att.maps["verdict"][0] = nk.Verdict.DROP
    assert not db.ping(lab.outside).fate.delivered
    att.maps["verdict"][0] = nk.Verdict.NEXT
    assert db.ping(lab.outside).fate.delivered


def test_the_section_is_the_default_hook(lab, db, programs):
    assert db.pair.attach(programs["gate"]).at == "peer"
    with pytest.raises(UsageError, match=r"say at which hook.*section \'tc\' names none"):
        db.pair.attach(programs["hookless"])
    assert db.pair.attach(programs["hookless"], at=nk.Hook.PRIMARY).at == "primary"


@pytest.mark.parametrize("at", ["ingress", "", "Peer", True])
def test_an_unknown_hook_lists_the_two(db, programs, at):
    with pytest.raises(UsageError, match="at is 'primary' or 'peer'"):
        db.pair.attach(programs["gate"], at=at)


def test_what_is_no_program_is_refused_with_what_to_write(lab, db, programs):
    with pytest.raises(UsageError, match="name one of them, 'gate', 'hookless'"):
        db.pair.attach(programs, at="peer")
    with pytest.raises(UsageError, match="not str"):
        db.pair.attach("gate", at="peer")
    with pytest.raises(UsageError, match="'gate' cannot be used: its cell failed"):
        db.pair.attach(BrokenProgram("gate", nk.CompileError("line 1")), at="peer")


def test_a_program_loaded_elsewhere_is_refused(db, programs):
    with nk.Lab("sim") as other, pytest.raises(UsageError, match="another lab"):
        db.pair.attach(other.load(programs["gate"]))


def test_shared_maps_must_fit_and_be_of_this_lab(lab, programs):
    gate, hookless = lab.load(programs["gate"]), lab.load(programs["hookless"])
    with pytest.raises(UsageError, match="uses no map 'verdicts'; it uses: verdict"):
        lab.load(programs["gate"], maps={"verdicts": gate.maps["verdict"]})
    with pytest.raises(UsageError, match="type 2 with keys of 4.*but type 1"):
        lab.load(programs["gate"], maps={"verdict": hookless.maps["other"]})
    with pytest.raises(UsageError, match="a map of a program loaded into this lab"):
        lab.load(programs["gate"], maps={"verdict": programs["gate"].maps["verdict"]})
    with nk.Lab("sim") as other, pytest.raises(UsageError, match="loaded into this lab"):
        lab.load(programs["gate"], maps={"verdict": other.load(programs["gate"]).maps["verdict"]})


def test_leaving_the_block_detaches_what_is_still_there(db, programs):
    with db.pair.attach(programs["gate"]) as att:
        assert att.attached and db.pair.chain("peer").entries[0].name == "gate"
    assert not att.attached
    with db.pair.attach(programs["gate"]) as att:
        att.detach()
    with db.pair.attach(programs["gate"]) as att:
        db.pair.delete()
    assert not att.attached


def test_what_is_asked_of_a_pair_is_asked_of_its_primary(db):
    assert db.pair.ifindex == db.pair.primary.ifindex and db.pair.name == "db"
    assert {"attach", "chain", "set_policy", "primary"} <= set(dir(db.pair))
    with pytest.raises(AttributeError):
        db.pair.nothing  # noqa: B018


def test_only_netkit_devices_have_policies(lab):
    web = lab.pod("web", device="veth")
    with pytest.raises(UsageError, match="web is a veth device"):
        web.pair.policy  # noqa: B018
    with pytest.raises(KernelError):
        web.pair.set_policy(policy="drop")


def test_everything_says_in_plain_text_what_it_is(lab, db, programs):
    att = db.pair.attach(programs["gate"])
    assert "pod db, 10.0.1.2/24" in repr(lab)
    assert "netkit db in host" in repr(db.pair) and "netkit eth0 in db" in repr(db.pair)
    assert repr(att) == f"<'gate' at the peer hook of db, program id {att.id}>"
    att.detach()
    assert "detached" in repr(att)
    assert repr(att.program) == f"<loaded program 'gate', id {att.id}>"
    assert "array map 'verdict' of 1: {0: 0}" in repr(att.maps)
    assert repr(nk.ANY) == "nk.ANY"
