"""The MTU of a path, learnt from the ICMP errors of its routers (RFC 1191; net/ipv4/route.c, icmp.c, 6.12).

The host's end of the pod ``far`` is narrower than all devices of ``con``: the host is the router that cannot send on.
"""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.kernels import ROWS
from tests.contract.conftest import PORT

MTU = 800
LONG = bytes(1200)


@pytest.fixture
def far(lab, con):
    pod = lab.pod("far", device="netkit")
    pod.listen(udp=PORT)
    pod.pair.primary.set(mtu=MTU)
    return pod


def udp(dst, payload=LONG, flags="DF"):
    return nk.IP(dst=dst, flags=flags) / nk.UDP(dport=PORT) / payload


def fragments(node) -> int:
    return node.snmp["IpFragCreates"]


def error(to, mtu: int, quote, code: int = 4):
    """An ICMP error to whom ``quote`` is from, such as anybody could make up."""
    return nk.IP(src="10.66.6.6", dst=to) / nk.ICMP(type=3, code=code, nexthopmtu=mtu) / quote


def learn(lab, node, dst: str, mtu: int) -> None:
    """Have a node believe it: the packet that is quoted could be one of its listener's."""
    quote = nk.IP(src=node.ip, dst=dst) / nk.UDP(sport=PORT, dport=PORT, len=1008)
    assert lab.host.send(error(node.ip, mtu, quote), via="raw").fate.delivered


def test_what_was_refused_once_is_cut_at_its_sender_from_then_on(lab, con, far):
    refused = con.send(udp(far.ip))
    assert (refused.fate.reason, refused.sender_error) == ("PKT_TOO_BIG", None)
    assert [reply.fate.delivered for reply in refused.replies] == [True]
    assert con.send(udp(far.ip)).fate.delivered
    assert (fragments(con), fragments(lab.host)) == (2, 0)
    assert len(far.received[0].payload) == len(LONG)


def test_what_fits_the_path_goes_whole_and_keeps_its_flag(con, far):
    con.send(udp(far.ip))
    with far.device.capture() as seen:
        assert con.send(udp(far.ip, bytes(MTU - 28))).fate.delivered
    assert [(len(frame.bytes), frame.bytes[20]) for frame in seen.frames] == [(14 + MTU, 0x40)]


def test_other_destinations_of_the_same_route_are_not_concerned(lab, con, far):
    learn(lab, con, far.ip, MTU)
    assert con.send(udp(lab.outside.ip)).fate.delivered
    assert con.send(udp(con.gateway)).fate.delivered
    assert fragments(con) == 0


@pytest.mark.parametrize("told", [500, 68, 0])
def test_less_than_552_is_not_believed_but_then_routers_may_cut(lab, con, far, told):
    """The path's MTU is 552 and locked (net.ipv4.route.min_pmtu): what fits that goes without its DF flag, too."""
    far.pair.primary.set(mtu=500)
    if told == 500:
        assert con.send(udp(far.ip, bytes(600))).fate.reason == "PKT_TOO_BIG"
    else:
        learn(lab, con, far.ip, told)
    assert con.send(udp(far.ip, bytes(552 - 28))).fate.delivered
    assert (fragments(con), fragments(lab.host)) == (0, 2)
    assert con.send(udp(far.ip, bytes(600))).fate.delivered
    assert (fragments(con), fragments(lab.host)) == (2, 4)


def test_a_wider_path_than_the_way_is_no_news(lab, con, far):
    learn(lab, con, far.ip, MTU)
    for mtu in (1500, 9000):
        learn(lab, con, far.ip, mtu)
    con.send(udp(far.ip))
    assert fragments(con) == 2


def test_a_narrower_one_is(lab, con, far):
    learn(lab, con, far.ip, MTU)
    learn(lab, con, far.ip, 600)
    con.send(udp(far.ip))
    assert fragments(con) == 3


def test_a_gso_packet_must_fit_the_path(lab, con, far):
    learn(lab, con, far.ip, MTU)
    assert con.send(udp(far.ip, bytes(2000)), gso_size=1000).sender_error == "EMSGSIZE"
    assert con.send(udp(far.ip, bytes(2000)), gso_size=700).fate.delivered
    assert [len(r.payload) for r in far.received] == [700, 700, 600]


def test_a_ping_socket_learns_and_is_cut(con, far):
    echo = nk.IP(dst=far.ip, flags="DF") / nk.ICMP() / LONG
    assert con.send(echo).fate.reason == "PKT_TOO_BIG"
    assert con.send(echo).fate.delivered and fragments(con) == 2


def test_the_kernels_own_answers_are_cut_too(lab, con, far):
    learn(lab, con, far.ip, MTU)
    assert far.send(nk.IP(dst=con.ip, flags=0) / nk.ICMP() / LONG).fate.delivered
    assert fragments(con) == 2


def test_an_error_fits_the_path_back(lab, con, far):
    """net/ipv4/icmp.c:__icmp_send"""
    learn(lab, con, far.ip, 100)
    far.send(nk.IP(dst=con.ip) / nk.UDP(dport=4321) / bytes(1000))
    assert con.device.stats.tx_bytes == 14 + 552


def test_a_raw_packet_that_must_not_be_cut_is_refused_and_its_sender_told_twice(lab, con, far):
    """It may be as long as its device allows; then the IP layer says what a router would, to its own host."""
    learn(lab, con, far.ip, MTU)
    packet = nk.IP(src=con.ip, dst=far.ip, flags="DF") / nk.UDP(sport=4000, dport=PORT) / LONG
    journey = con.send(packet, via="raw")
    assert journey.sender_error == "EMSGSIZE"
    assert journey.fate.reason == "longer than the path's MTU, and not to be cut"
    assert [(reply.fate.node, reply.packet[20:22]) for reply in journey.replies] == [("con", b"\3\4")]
    assert con.device.stats.tx_packets == 0
    packet[nk.IP].flags = 0
    assert con.send(packet, via="raw").fate.delivered and fragments(con) == 2


def test_whoever_forwards_does_not_go_by_what_it_has_learnt_itself(lab, con, far):
    far.pair.primary.set(mtu=1500)
    learn(lab, lab.host, far.ip, MTU)
    lab.host.send(udp(far.ip))
    assert fragments(lab.host) == 2
    assert con.send(udp(far.ip)).fate.delivered and fragments(lab.host) == 2
    lab.host.sysctl("net.ipv4.ip_forward_use_pmtu", 1)
    assert con.send(udp(far.ip)).fate.reason == "PKT_TOO_BIG"


def test_what_is_locked_binds_whoever_forwards(lab, con, far):
    far.pair.primary.set(mtu=1500)
    learn(lab, lab.host, far.ip, 100)
    refused = con.send(udp(far.ip))
    assert refused.fate.reason == "PKT_TOO_BIG"
    assert int.from_bytes(refused.replies[0].packet[26:28], "big") == 552


@pytest.mark.parametrize("where", ["an address that is not ours", "no address of a host"])
def test_who_cannot_have_sent_it_learns_nothing(lab, con, far, where):
    source = "10.99.9.9" if where == "an address that is not ours" else "224.0.0.5"
    quote = nk.IP(src=source, dst=far.ip) / nk.UDP(sport=4000, dport=PORT, len=1008)
    lab.host.send(error(con.ip, MTU, quote), via="raw")
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == 0


@pytest.mark.parametrize(
    ("quoted", "learns"), [("UDP", True), ("echo reply", True), ("echo request", False), ("TCP", False), ("GRE", False)]
)
def test_the_protocol_of_what_is_quoted_decides_who_learns(lab, con, far, quoted, learns):
    """A ping socket would have to be there; so would a TCP socket, and on other kernels a UDP socket."""
    body = {
        "UDP": nk.UDP(sport=4000, dport=PORT, len=1008), "echo reply": nk.ICMP(type=0), "echo request": nk.ICMP(type=8),
        "TCP": nk.TCP(sport=4000, dport=PORT), "GRE": bytes(8),
    }[quoted]  # fmt: skip
    head = nk.IP(src=con.ip, dst=far.ip, **({"proto": 47} if quoted == "GRE" else {}))
    if quoted == "UDP":
        learns = ROWS["frag-needed"].on(lab.kernel) == "believed"
    lab.host.send(error(con.ip, MTU, head / body), via="raw")
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == (2 if learns else 0)


@pytest.mark.parametrize("code", [0, 1, 3, 13, 20])
def test_other_errors_say_nothing_of_the_path(lab, con, far, code):
    quote = nk.IP(src=con.ip, dst=far.ip) / nk.UDP(sport=4000, dport=PORT, len=1008)
    lab.host.send(error(con.ip, MTU, quote, code), via="raw")
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == 0


def test_of_an_error_about_a_time_that_is_over_no_socket_hears(lab, con):
    quote = nk.IP(src=con.ip, dst="10.9.9.9") / nk.UDP(sport=4000, dport=PORT)
    for code, counted in ((1, 0), (0, 1)):
        lab.host.send(nk.IP(src="10.66.6.6", dst=con.ip) / nk.ICMP(type=11, code=code) / quote, via="raw")
        assert con.snmp["IcmpInErrors"] == counted


@pytest.mark.parametrize(
    ("kind", "quote", "reason", "errors"),
    [
        (3, bytes(19), "NOT_SPECIFIED", 1), (5, bytes(19), "PKT_TOO_SMALL", 1), (3, b"\x44" + bytes(27), "IP_INHDR", 1),
        (3, b"\x45" + bytes(19), "", 1), (3, b"\x45" + bytes(27), "", 0), (5, b"\x44" + bytes(27), "", 0),
    ],
)  # fmt: skip
def test_an_error_that_quotes_no_ip_header_is_dropped(lab, con, kind, quote, reason, errors):
    """And one that quotes too little behind it is taken, and counted."""
    packet = nk.IP(src="10.66.6.6", dst=con.ip) / nk.ICMP(type=kind, code=1) / quote
    journey = lab.host.send(packet, via="raw")
    assert (journey.fate.delivered, journey.fate.reason) == (not reason, reason)
    assert con.snmp["IcmpInErrors"] == errors


# settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "pieces"), [(0, 2), (1, 3), (2, 0), (3, 0)])
def test_no_pmtu_disc_says_what_is_believed(lab, con, far, value, pieces):
    """1: only that there is a narrow place, not how narrow; 2: nothing; 3: protocols that can tell a forged error."""
    con.sysctl("net.ipv4.ip_no_pmtu_disc", value)
    learn(lab, con, far.ip, MTU)
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == pieces


def test_what_lasts_no_time_is_as_good_as_not_learnt(lab, con, far):
    con.sysctl("net.ipv4.route.mtu_expires", 0)
    learn(lab, con, far.ip, MTU)
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == 0


def test_min_pmtu_is_where_belief_ends(lab, con, far):
    con.sysctl("net.ipv4.route.min_pmtu", 68)
    learn(lab, con, far.ip, 300)
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == 5
    with pytest.raises(nk.KernelError, match="EINVAL"):
        con.sysctl("net.ipv4.route.min_pmtu", 67)


def test_a_flush_makes_routes_forget(lab, con, far):
    learn(lab, con, far.ip, MTU)
    con.sysctl("net.ipv4.route.flush", 1)
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == 0


def test_a_route_that_comes_back_has_forgotten(lab, con, far):
    learn(lab, con, far.ip, MTU)
    con.device.down()
    con.device.up()
    con.route("default", via=con.gateway)
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == 0


@pytest.mark.parametrize(("mtus", "pieces"), [((700,), 2), ((1000, 1500), 2), ((700, 1500), 0), ((700, 1000, 1500), 0)])
def test_a_devices_mtu_moves_the_paths_that_it_bounds(lab, con, far, mtus, pieces):
    """net/ipv4/fib_semantics.c:fib_nhc_update_mtu: a path as wide as its first device may turn out to be wider."""
    learn(lab, con, far.ip, MTU)
    for mtu in mtus:
        con.device.set(mtu=mtu)
    con.send(udp(far.ip, LONG, flags=0))
    assert fragments(con) == pieces
