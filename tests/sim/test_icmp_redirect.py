"""The redirect that a router sends to a neighbour: what it says, where in ip_forward, and how seldom."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.sim.ip_input import REDIRECT_LOAD, REDIRECT_NUMBER, REDIRECT_SILENCE

NOBODY = "10.0.1.77"  # an address of the pod's own subnet that nobody has


@pytest.fixture
def lab():
    with nk.Lab("sim") as lab:
        yield lab


@pytest.fixture
def con(lab):
    return lab.pod("con", device="netkit")


def to(address: str):
    return nk.IP(dst=address) / nk.UDP(dport=7)


def test_it_names_the_shorter_way_and_quotes_the_packet(con):
    (reply,) = con.send(to(NOBODY)).replies
    message = nk.IP(reply.packet)
    told = message[nk.ICMP]
    assert (message.src, told.type, told.code, told.gw) == (con.gateway, 5, 1, NOBODY)
    assert bytes(told.payload)[16:20] == bytes([10, 0, 1, 77])
    assert reply.fate.delivered and [h.function for h in reply.hops[-2:]] == ["icmp_redirect", "consume_skb"]


def test_a_gateway_on_the_same_device_is_the_shorter_way(lab, con):
    lab.host.route("10.7.0.0/16", via="10.0.1.9", dev=con.pair.primary)
    (reply,) = con.send(to("10.7.0.1")).replies
    assert nk.IP(reply.packet)[nk.ICMP].gw == "10.0.1.9"


def test_it_is_sent_between_the_ttl_and_the_forward_hook_and_the_packet_goes_on(con):
    hops = [(hop.node, hop.function) for hop in con.send(to(NOBODY)).hops]
    at = hops.index(("host", "ip_rt_send_redirect"))
    assert hops.index(("host", "ip_forward")) < at < hops.index(("host", "ip_forward_finish"))
    assert hops.count(("host", "fib_table_lookup")) == 2  # the way onward, and the way back to the sender


def test_of_many_at_once_only_the_first_is_answered(con):
    assert [len(journey.replies) for journey in con.send(to(NOBODY), repeat=5).journeys] == [1, 0, 0, 0, 0]


def test_with_time_it_is_said_again_ever_more_seldom_and_then_no_more(lab, con):
    world = lab.kernel_calls._kernel.world

    def told() -> bool:
        return bool(con.send(to(NOBODY)).replies)

    assert told()
    for n in range(1, REDIRECT_NUMBER):
        world.now += REDIRECT_LOAD << n
        assert not told()
        world.now += 1
        assert told()
    world.now += REDIRECT_SILENCE
    assert not told()
    world.now += REDIRECT_SILENCE + 1
    assert told()


def test_a_host_that_sends_no_redirects_does_not_even_look_for_the_sender(lab, con):
    for which in ("all", con.pair.primary.name):
        lab.host.sysctl(f"net.ipv4.conf.{which}.send_redirects", 0)
    journey = con.send(to(NOBODY))
    assert not journey.replies and [h.node for h in journey.hops if h.function == "fib_table_lookup"].count("host") == 1
    lab.host.sysctl("net.ipv4.conf.all.send_redirects", 1)
    assert con.send(to(NOBODY)).replies
