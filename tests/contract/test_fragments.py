"""What is told of a packet's fragments (net/ipv4/ip_output.c, 6.12)."""

from __future__ import annotations

import netkit_edu as nk


def test_of_an_answer_whose_first_fragment_is_dropped_the_request_shows_nothing(lab, con, programs):
    """The answer's other fragment is freed without having gone anywhere."""
    con.pair.attach(programs["drop"], at="peer")
    journey = lab.host.send(nk.IP(dst=con.ip, flags=0) / nk.ICMP(id=5) / bytes(1500))
    functions = [hop.function for hop in journey.hops]
    assert journey.fate.delivered and "sock_wfree" not in functions[functions.index("icmp_echo") :]
    assert journey.replies[0].fate.kind is nk.FateKind.DROPPED
