"""Chapter 07's exercises: right for what a receiver accepts, and each way to get a checksum wrong is named."""

from __future__ import annotations

import random

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch07 import ONLY_IP, USED_LATER, Dnat, SnatReply
from netkit_edu.course.checksum import Update, _update_model
from netkit_edu.course.translation import HALF, NONE, WHOLE, Sealed
from tests.oracle.differential import TwoMachines
from tests.oracle.kernel import Refused
from tests.requires import a_compiler

SEEDS = (1, 2)
needs_compiler = a_compiler()
programs = pytest.mark.parametrize("kind", [Dnat, SnatReply])


def solved(kind, *changes: tuple[str, str]) -> nk.Program:
    """Compile the solution with pieces of its text changed."""
    text = kind.solution.partition("\n")[2]
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return next(iter(nk.compile(text).values()))


def update() -> object:
    """Return the function that solves 07.checksum."""
    names = {}
    exec(Update.solution, names)
    return names["update"]


def words(kind, flag: str) -> str:
    return next(slip.words for slip in kind.slips if slip.flag == flag)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mended_checksum_is_the_one_that_adding_up_anew_gives(seed):
    assert check("07.checksum", update(), seed=seed).passed


def test_the_first_change_is_the_example_of_rfc_1624():
    first = next(iter(Update().cases(random.Random(1))))
    assert (str(first), first.right) == ("update(0xdd2f, 0x5555, 0x3285)", 0)


class _Given:
    """What a function of the exercise is called with, in the place of a case."""

    def __init__(self, checksum: int, old: int, new: int):
        self.checksum, self.old, self.new = checksum, old, new


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flag", [slip.flag for slip in Update.slips])
def test_a_misunderstanding_of_the_arithmetic_is_caught_and_named(flag, seed):
    found = check("07.checksum", lambda *given: int(_update_model(_Given(*given), **{flag: True}), 16), seed=seed)
    assert not found.passed
    assert found.thought == words(Update, flag)


def test_old_and_new_exchanged_are_a_step_the_wrong_way():
    right = update()
    found = check("07.checksum", lambda checksum, old, new: right(checksum, new, old))
    assert found.thought == words(Update, "no_complement")


def test_numbers_beyond_16_bits_are_told_so():
    assert "16 bits" in check("07.checksum", lambda checksum, old, new: ~(checksum + old + new)).thought
    assert check("07.checksum", lambda checksum, old, new: ...).headline.startswith("not yet")


@needs_compiler
@programs
@pytest.mark.parametrize("seed", SEEDS)
def test_the_solution_translates_what_it_is_to_and_nothing_else(kind, seed):
    found = check(kind.id, solved(kind), seed=seed)
    assert found.passed, found


@programs
@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_without_a_slip_agrees_with_the_oracle(kind, seed):
    exercise = kind()
    for case in exercise.cases(random.Random(seed)):
        assert exercise.model(case) == exercise.expected(case), str(case)


@programs
def test_every_kind_of_udp_checksum_is_among_the_cases(kind):
    cases = list(kind().cases(random.Random(1)))
    assert len(cases) >= 32
    for udp in (WHOLE, HALF, NONE):
        assert any(case.udp == udp and "unchanged" not in kind().expected(case) for case in cases)


def test_a_whole_checksum_is_the_one_that_scapy_computes():
    packet = Dnat().packet(random.Random(3), options=b"\x01" * 8)
    again = nk.IP(packet.ip)
    del again[nk.UDP].chksum
    assert bytes(again) == Sealed(packet).bytes[14:]


DNAT_MISTAKES = {
    "no_l3": [("bpf_l3_csum_replace(skb, 24, SERVICE, POD, 4);", "")],
    "no_l4": [("bpf_l4_csum_replace", "(void)")],
    "no_l4_address": [("| 4)", "| 0)")],
    "no_l4_port": [("BPF_F_MARK_MANGLED_0 | 2", "BPF_F_MARK_MANGLED_0 | 3")],
    "no_pseudo": [("BPF_F_PSEUDO_HDR | ", "")],
    "pseudo_on_port": [("BPF_F_MARK_MANGLED_0 | 2", "BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 2")],
    "no_mangled": [("BPF_F_MARK_MANGLED_0 | ", "")],
    "host_order_port": [("bpf_htons(5353)", "5353")],
    "host_order_address": [("0x0a000202", "0x0202000a")],
    "port_kept": [("bpf_htons(5353)", "bpf_htons(53)")],
    "fixed_header": [("ip->ihl * 4", "20")],
    "fixed_l4": [("sizeof(*eth) + ip->ihl * 4", "34")],
    "any_protocol": [("ip->protocol != IPPROTO_UDP || ", "")],
    "any_port": [(" || udp->dest != bpf_htons(53)", "")],
    "any_address": [(" || ip->daddr != SERVICE", "")],
    "any_ethertype": [(" || eth->h_proto != bpf_htons(ETH_P_IP)", "")],
}
REPLY_MISTAKES = {
    "no_l3": [("bpf_l3_csum_replace", "(void)")],
    "no_l4": [("bpf_l4_csum_replace", "(void)")],
    "no_pseudo": [("BPF_F_PSEUDO_HDR | ", "")],
    "no_mangled": [("BPF_F_MARK_MANGLED_0 | ", "")],
    "no_pings": [("ip->protocol == IPPROTO_ICMP", "0")],
    "any_port": [("if (udp->source != bpf_htons(5353))\n\t\treturn NETKIT_NEXT;", "")],
    "any_address": [("if (ip->saddr != POD)\n\t\treturn NETKIT_NEXT;", "")],
    "pings": [("4);\n\t\treturn", "4);\n\t\tbpf_l4_csum_replace(skb, 40, POD, SERVICE, 0x34);\n\t\treturn")],
}
MISTAKES = [(Dnat, *one) for one in DNAT_MISTAKES.items()] + [(SnatReply, *one) for one in REPLY_MISTAKES.items()]


@needs_compiler
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "flag", "changes"), MISTAKES, ids=[f"{m[0].id}-{m[1]}" for m in MISTAKES])
def test_a_program_that_goes_wrong_is_told_why(kind, flag, changes, seed):
    found = check(kind.id, solved(kind, *changes), seed=seed)
    assert not found.passed
    assert found.thought == (ONLY_IP if flag == "pings" else words(kind, flag))


@needs_compiler
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        (Dnat, [("udp->dest != bpf_htons(53)", "udp->dest != 53")], "The old port is compared"),
        (Dnat, [("bpf_htons(53)", "53")], "The old port is compared"),
        (Dnat, [("bpf_htons(53)", "53"), ("bpf_htons(5353)", "5353")], "The old port is compared"),
        (Dnat, [("ip->daddr != SERVICE", "ip->daddr != 0x0a60000a")], "10.96.0.10 is compared"),
        (SnatReply, [("udp->source != bpf_htons(5353)", "udp->source != 5353")], "The old port is compared"),
        (SnatReply, [("ip->saddr != POD", "ip->saddr != 0x0a000202")], "10.0.2.2 is compared"),
    ],
)
def test_a_comparison_in_host_order_is_named(kind, changes, said, seed):
    found = check(kind.id, solved(kind, *changes), seed=seed)
    assert not found.passed and found.thought.startswith(said)


@needs_compiler
@programs
def test_other_failures_are_told_too(kind):
    assert "Every packet passes" in check(kind.id, solved(kind, ("NETKIT_NEXT", "NETKIT_DROP"))).thought
    assert "behind the packet's end" in check(kind.id, solved(kind, ("> data_end", "< data"))).thought
    assert "No packet has been changed" in check(kind.id, solved(kind, ("ETH_P_IP)", "ETH_P_ARP + 9)"))).thought


@needs_compiler
def test_what_linux_would_not_load_does_not_pass():
    late = ("\tip->daddr = POD;\n", ""), ("4);\n\tbpf_l4", "4);\n\tip->daddr = POD;\n\tbpf_l4")
    found = check("07.dnat", solved(Dnat, *late), seed=1)
    assert not found.passed
    assert found.thought == USED_LATER


@needs_compiler
def test_pointers_that_are_loaded_again_are_fine():
    again = "4);\n\tdata = (void *)(long)skb->data;\n\tdata_end = (void *)(long)skb->data_end;\n\tip = data + 14;\n"
    again += "\tif ((void *)(ip + 1) > data_end)\n\t\treturn NETKIT_NEXT;\n\tip->daddr = POD;\n\tbpf_l4"
    late = ("\tip->daddr = POD;\n", ""), ("4);\n\tbpf_l4", again)
    assert check("07.dnat", solved(Dnat, *late), seed=1).passed


@needs_compiler
def test_pass_is_as_good_as_next_at_the_end_of_a_chain():
    assert check("07.dnat", solved(Dnat, ("NETKIT_NEXT", "NETKIT_PASS"))).passed


@needs_compiler
def test_both_solutions_make_a_service_that_answers_with_its_own_address():
    with nk.Lab("sim") as lab:
        client, api = lab.pod("client", device="netkit"), lab.pod("api", device="netkit")
        client.listen(udp=4000)
        api.listen(udp=5353)
        client.pair.attach(solved(Dnat), at="peer")
        client.pair.attach(solved(SnatReply), at="primary")
        for via in ("udp", "raw"):
            query = nk.IP(src=client.ip, dst="10.96.0.10") / nk.UDP(sport=4000, dport=53) / b"who?"
            assert client.send(query, via=via).fate.delivered
            answer = nk.IP(src=api.ip, dst=client.ip) / nk.UDP(sport=5353, dport=4000) / b"it is me"
            assert api.send(answer, via=via).fate.delivered
            assert (client.received[-1].src, client.received[-1].sport) == ("10.96.0.10", 53)
        assert (api.received[0].dport, len(api.received)) == (5353, 2)


@needs_compiler
def test_mark_and_type_survive_and_the_ethertypes_bytes_do_not_count():
    programs = nk.compile(CHANGES)
    hello = nk.IP(dst="192.0.2.2") / nk.UDP(dport=53)
    with nk.Lab("sim") as lab:
        netkit, veth = lab.pod("netkit", device="netkit"), lab.pod("veth", device="veth")
        netkit.pair.primary.attach_tcx(programs.read_mark, "ingress")
        with netkit.pair.attach(programs.set_mark, at="peer"):
            assert netkit.send(hello, mark=0x77).verdicts[1].verdict == 0xABC
        with netkit.pair.attach(programs.stranger, at="peer"):
            journey = netkit.send(hello)
            assert journey.fate.reason == "OTHERHOST"
            assert journey.counters["host/netkit"]["rx_packets"] == 1
        with netkit.pair.attach(programs.disguise, at="peer"):
            assert netkit.send(hello).fate.delivered
        veth.pair.peer.attach_tcx(programs.disguise, "egress")
        assert not veth.send(hello).fate.delivered


@pytest.mark.kernel
@needs_compiler
@programs
def test_linux_takes_the_solution_and_translates_the_same(kind):
    program = solved(kind)
    with TwoMachines(program.code, program.map_specs.values()) as machines:
        for case in kind().cases(random.Random(1)):
            if case.is_ip and case.has(34) and case.udp != HALF:  # TEST_RUN refuses less, and knows whole sums only
                assert machines.differences(case.bytes) == [], str(case)


@pytest.mark.kernel
@needs_compiler
def test_linux_trusts_no_pointer_into_the_packet_after_a_helper_that_writes():
    with pytest.raises(Refused) as refusal:
        TwoMachines(nk.compile(STALE)["stale"].code, [])
    assert "invalid mem access 'scalar'" in refusal.value.log


STALE = """
SEC("netkit/peer") int stale(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);

	if ((void *)(ip + 1) > data_end)
		return NETKIT_NEXT;
	bpf_l3_csum_replace(skb, 14 + 10, 0, 0, 2);
	return ip->ttl;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""

CHANGES = """
SEC("netkit/peer") int set_mark(struct __sk_buff *skb)
{
	skb->mark = 0xabc;
	return NETKIT_NEXT;
}

SEC("tcx/ingress") int read_mark(struct __sk_buff *skb)
{
	return skb->mark;
}

SEC("netkit/peer") int stranger(struct __sk_buff *skb)
{
	bpf_skb_change_type(skb, PACKET_OTHERHOST);
	return NETKIT_PASS;
}

SEC("netkit/peer") int disguise(struct __sk_buff *skb)
{
	__be16 ipv6 = bpf_htons(ETH_P_IPV6);

	bpf_skb_store_bytes(skb, 12, &ipv6, sizeof(ipv6), 0);
	return NETKIT_PASS;
}
"""
