"""A path's MTU is forgotten in time (net.ipv4.route.mtu_expires); the clock is the simulator's to move."""

from __future__ import annotations

import pytest

import netkit_edu as nk

SECOND = 1_000_000_000
PORT, MTU = 7, 800


@pytest.fixture
def lab():
    with nk.Lab("sim") as lab:
        yield lab


@pytest.fixture
def pod(lab):
    lab.nic.set(mtu=MTU)
    lab.outside.listen(udp=PORT)
    return lab.pod("pod", device="netkit")


def later(lab, seconds: float) -> None:
    lab.kernel_calls._kernel.world.now += int(seconds * SECOND)


def refused(lab, pod) -> bool:
    journey = pod.send(nk.IP(dst=lab.outside.ip, flags="DF") / nk.UDP(dport=PORT) / bytes(1000))
    assert journey.fate.delivered or journey.fate.reason == "PKT_TOO_BIG"
    return not journey.fate.delivered


def test_what_was_learnt_is_over_after_ten_minutes(lab, pod):
    assert refused(lab, pod) and not refused(lab, pod)
    later(lab, 599)
    assert not refused(lab, pod)
    later(lab, 2)
    assert refused(lab, pod)


@pytest.mark.parametrize(("at", "refused_at_601"), [(200, True), (400, False)])
def test_the_same_news_counts_again_in_the_second_half_of_its_time(lab, pod, at, refused_at_601):
    """net/ipv4/route.c:__ip_rt_update_pmtu"""
    assert refused(lab, pod)
    later(lab, at)
    quote = nk.IP(src=pod.ip, dst=lab.outside.ip) / nk.UDP(sport=4000, dport=PORT)
    error = nk.IP(src=lab.host.ip, dst=pod.ip) / nk.ICMP(type=3, code=4, nexthopmtu=MTU) / quote
    lab.host.send(error, via="raw")
    later(lab, 601 - at)
    assert refused(lab, pod) == refused_at_601
