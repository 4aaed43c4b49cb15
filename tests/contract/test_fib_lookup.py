"""What a program learns when it asks for a route (net/core/filter.c:bpf_skb_fib_lookup, 6.12)."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest

import netkit_edu as nk
from tests.contract.conftest import PORT

ENODEV, EINVAL, EAFNOSUPPORT = -19, -22, -97
SUCCESS, NOT_FWDED, FWD_DISABLED, NO_NEIGH, FRAG_NEEDED = 0, 4, 5, 7, 8
DIRECT, OUTPUT, SKIP_NEIGH, TBID, SRC = 1, 2, 4, 8, 16

# struct bpf_fib_lookup: family, protocol, ports, length or MTU, ifindex, metric, source, destination, table, MACs
LAYOUT = struct.Struct("<BBHHHII4s12x4s12xI6s6s")

PROGRAM = """
#include "netkit_edu.h"

struct question { __s32 answer; __u32 flags; __u8 params[64]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct question); }
    questions SEC(".maps");

static long (*const lookup)(void *ctx, void *params, int size, __u32 flags) = (void *)69; /* bpf_fib_lookup */

SEC("tcx/egress") int ask(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct question *q = bpf_map_lookup_elem(&questions, &zero);

    if (q)
        q->answer = lookup(skb, q->params, sizeof(q->params), q->flags);
    return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def program():
    return nk.compile(PROGRAM, name="fib.c")


def number(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


@pytest.fixture
def ask(lab, program):
    """``ask(dst)`` looks a destination up on the host, for a packet that leaves through its card."""
    att = lab.nic.attach_tcx(program["ask"])

    def ask(dst, *, flags=0, ifindex=None, family=2, length=0, table=0):
        ifindex = lab.nic.ifindex if ifindex is None else ifindex
        params = LAYOUT.pack(family, 17, 0, 0, length, ifindex, 0, bytes(4), number(dst), table, bytes(6), bytes(6))
        att.maps["questions"][0] = {"answer": 99, "flags": flags, "params": list(params)}
        lab.host.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT) / bytes(100))
        said = att.maps["questions"][0]
        (*_, mtu, found, metric, src, dst, _table, smac, dmac) = LAYOUT.unpack(bytes(said["params"]))
        return said["answer"], SimpleNamespace(
            mtu=mtu, ifindex=found, metric=metric, src=src, dst=dst, smac=smac.hex(":"), dmac=dmac.hex(":")
        )

    return ask


@pytest.fixture
def web(lab):
    return lab.pod("web", device="veth")


def test_a_route_is_found_with_device_and_both_mac_addresses(web, ask):
    answer, found = ask(web.ip)
    host_end = web.pair.primary
    assert answer == SUCCESS
    assert (found.ifindex, found.smac, found.dmac) == (host_end.ifindex, host_end.mac, web.device.mac)
    assert (found.dst, found.mtu, found.metric) == (number(web.ip), 1500, 0)


def test_a_gateway_takes_the_destinations_place(lab, web, ask):
    answer, found = ask("203.0.113.1")
    assert answer == SUCCESS
    assert (found.ifindex, found.dst) == (lab.nic.ifindex, number(lab.outside.ip))


def test_the_source_address_is_told_when_asked_for(web, ask):
    assert ask(web.ip)[1].src == bytes(4)
    assert ask(web.ip, flags=SRC)[1].src == number(web.pair.primary.info.addresses[0].partition("/")[0])


def test_without_forwarding_there_is_no_answer(lab, web, ask):
    lab.host.sysctl("net.ipv4.ip_forward", 0)
    assert ask(web.ip)[0] == FWD_DISABLED


def test_what_is_the_hosts_own_is_not_forwarded(web, ask):
    assert ask(web.gateway)[0] == NOT_FWDED
    assert ask("127.0.0.1")[0] == NOT_FWDED


def test_a_device_that_is_not_there_and_a_family_that_is_none(web, ask):
    assert ask(web.ip, ifindex=9999)[0] == ENODEV
    assert ask(web.ip, family=7)[0] == EAFNOSUPPORT
    assert ask(web.ip, flags=1 << 30)[0] == EINVAL


def test_a_neighbour_nobody_has_asked_for_is_not_resolved(web, ask):
    answer, found = ask("10.0.1.77")
    assert answer == NO_NEIGH
    assert (found.ifindex, found.dmac) == (web.pair.primary.ifindex, "00:00:00:00:00:00")
    assert ask("10.0.1.77", flags=SKIP_NEIGH)[0] == SUCCESS


def test_a_length_is_held_against_the_routes_mtu(web, ask):
    assert ask(web.ip, length=1500)[0] == SUCCESS
    answer, found = ask(web.ip, length=1501)
    assert (answer, found.mtu) == (FRAG_NEEDED, 1500)


def test_a_length_is_held_against_what_the_host_has_learnt_of_the_path(lab, web, ask):
    """net/ipv4/route.c:ip_mtu_from_fib_result; a packet that is forwarded would not be."""
    quote = nk.IP(src=lab.host.ip, dst=web.ip) / nk.UDP(sport=PORT, dport=PORT)
    lab.host.listen(udp=PORT)
    web.send(nk.IP(src=web.ip, dst=lab.host.ip) / nk.ICMP(type=3, code=4, nexthopmtu=800) / quote, via="raw")
    assert ask(web.ip, length=800)[0] == SUCCESS
    answer, found = ask(web.ip, length=801)
    assert (answer, found.mtu) == (FRAG_NEEDED, 800)


def test_without_a_length_the_packet_itself_is(web, ask):
    web.pair.primary.set(mtu=68)
    answer, found = ask(web.ip)
    assert (answer, found.mtu) == (FRAG_NEEDED, 68)


def test_a_lookup_for_output_stays_on_the_device(lab, web, ask):
    assert ask(web.ip, flags=OUTPUT)[1].ifindex == lab.nic.ifindex  # the default route: the pod is not that way
    answer, found = ask(web.ip, flags=OUTPUT, ifindex=web.pair.primary.ifindex)
    assert (answer, found.ifindex) == (SUCCESS, web.pair.primary.ifindex)


def test_a_table_that_is_not_there_has_no_routes(web, ask):
    assert ask(web.ip, flags=DIRECT)[0] == SUCCESS
    assert ask(web.ip, flags=DIRECT | TBID, table=254)[0] == SUCCESS
    assert ask(web.ip, flags=DIRECT | TBID, table=77)[0] == NOT_FWDED


def test_the_lookup_shows_in_the_packets_journey(lab, web, ask):
    ask(web.ip)
    journey = lab.host.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT))
    assert journey.machines[0].lookups == 2
