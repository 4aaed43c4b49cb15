"""What the IP layer counts on which path (/proc/net/snmp and /proc/net/netstat; net/ipv4, 6.12).

The last columns of two tables: which counters of an interface move is in test_counters.py, what the sending program
sees in test_sender_errors.py.
"""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.kernels import ROWS
from tests.contract.conftest import PAYLOAD, PORT

IP_LEN = 128  # bytes: 100 of payload, 8 of UDP, 20 of IP
OUT = {"IpOutRequests": 1, "IpOutTransmits": 1, "IpExtOutOctets": IP_LEN}
SENT = OUT | {"UdpOutDatagrams": 1}
REFUSED = OUT | {"IpOutDiscards": 1, "UdpSndbufErrors": 1}
IN = {"IpInReceives": 1, "IpExtInOctets": IP_LEN, "IpExtInNoECTPkts": 1}
TAKEN = IN | {"IpInDelivers": 1, "UdpInDatagrams": 1}


class Counted:
    """How much the counters of some nodes moved since it was made."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.before = [node.snmp for node in nodes]

    def __call__(self) -> list[dict[str, int]]:
        for node in self.nodes:
            node.received  # noqa: B018 - a datagram counts as received once somebody has read it
        return [
            {name: n - before[name] for name, n in node.snmp.items() if n != before[name]}
            for node, before in zip(self.nodes, self.before, strict=True)
        ]


@pytest.fixture
def count(way):
    """Start counting at the sender and at the receiver."""
    return Counted(way.sender, way.rx.node)


def udp(to: str, **fields):
    return nk.IP(dst=to, **fields) / nk.UDP(sport=4000, dport=PORT) / PAYLOAD


# by what becomes of the packet ----------------------------------------------------------------------------------------


def test_a_delivered_datagram(way, count):
    way.send()
    assert count() == [SENT, TAKEN]


@pytest.mark.parametrize("recverr", [False, True])
@pytest.mark.parametrize("by", ["drop", "three", "policy"])
def test_a_drop_in_the_driver_is_a_send_buffer_error_to_udp_whether_it_is_told_or_not(
    way, programs, count, by, recverr
):
    if by == "policy":
        way.pair.set_policy(**{way.policy: "drop"})
    else:
        way.pair.attach(programs[by], at=way.at)
    way.send(recverr=recverr)
    assert count() == [REFUSED, {}]


def test_a_redirect_that_leads_nowhere_is_sent_to_the_ip_layer(way, programs, count):
    way.pair.attach(programs["redirect"], at=way.at)
    way.send(recverr=True)
    assert count() == [SENT, {}]


def test_a_device_without_carrier_counts_the_drop_alone(way, count):
    way.rx.down()
    way.send(recverr=True)
    assert count() == [SENT, {}]


def test_a_drop_at_tcx_egress_moves_no_counter_of_the_device_but_those_of_ip(way, programs, moved, count):
    way.tx.attach_tcx(programs["drop"], "egress")
    devices = moved(way.tx, way.rx)
    way.send()
    assert (devices(), count()) == ([{}, {}], [REFUSED, {}])


def test_what_a_full_backlog_refuses_counts_like_any_drop(burst_backend):
    with nk.Lab(burst_backend, backlog=0) as lab:
        con = lab.pod("con", device="netkit")
        con.listen(udp=PORT)
        count = Counted(lab.host, con)
        lab.host.send(udp(con.ip), repeat=3)
        assert count() == [
            {"IpOutRequests": 3, "IpOutTransmits": 3, "IpExtOutOctets": 3 * IP_LEN, "IpOutDiscards": 2,
             "UdpSndbufErrors": 2, "UdpOutDatagrams": 1},
            TAKEN,
        ]  # fmt: skip


def test_a_frame_for_another_host_is_gone_before_ip_counts(lab, con, hst):
    count = Counted(lab.host, con)
    lab.host.send(nk.Ether(dst="02:00:00:00:00:99", src="02:00:00:00:00:98") / udp(con.ip), dev=hst)
    assert count() == [{}, {}]


# by what the receiver's stack finds -----------------------------------------------------------------------------------


def test_a_packet_for_an_address_that_is_not_the_pods(lab, con):
    con.pair.primary.node.route("10.9.9.0/24", dev=con.pair.primary)
    count = Counted(con)
    lab.host.send(udp("10.9.9.9"))
    assert count() == [IN | {"IpInAddrErrors": 1}]


def test_a_port_where_nobody_listens(lab, con):
    count = Counted(lab.host, con)
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT + 1) / PAYLOAD)
    back = {"IpOutRequests": 1, "IpOutTransmits": 1, "IpExtOutOctets": IP_LEN + 28}
    assert count()[1] == IN | back | {
        "IpInDelivers": 1, "UdpNoPorts": 1, "IcmpOutMsgs": 1, "IcmpOutDestUnreachs": 1,
    }  # fmt: skip
    gained = count()[0]
    assert (gained["IcmpInMsgs"], gained["IcmpInDestUnreachs"], gained["IpInDelivers"]) == (1, 1, 1)


@pytest.mark.parametrize("via", ["udp", "raw"])
def test_an_error_about_what_no_socket_has_sent_is_an_error_itself(lab, con, via):
    """udp_err looks for the sender's socket: a raw socket's datagram has none (net/ipv4/udp.c)."""
    count = Counted(lab.host)
    lab.host.send(nk.IP(src=con.gateway, dst=con.ip) / nk.UDP(sport=4000, dport=PORT + 1) / PAYLOAD, via=via)
    assert count()[0].get("IcmpInErrors", 0) == (via == "raw")


def test_a_broadcast_that_nobody_listens_for_is_ignored(lab, con):
    count = Counted(con)
    frame = (
        b"\xff" * 6 + bytes(6) + b"\x08\0" + bytes(nk.IP(src=con.gateway, dst="10.0.1.255") / nk.UDP(dport=PORT + 1))
    )
    assert not lab.host.send(frame, via="packet", dev=con.pair.primary).fate.delivered
    gained = count()[0]
    assert gained["UdpIgnoredMulti"] == 1 and not gained.keys() & {"UdpNoPorts", "IcmpOutMsgs"}


@pytest.mark.parametrize("bound", [False, True])
def test_a_socket_bound_to_a_device_hears_no_error_by_another(lab, bound):
    """Nobody answers for the address; the host tells itself so, by the loopback."""
    pair = lab.pod("pod", device="netkit", mode="l2").pair
    count = Counted(lab.host)
    nobody = nk.IP(dst="10.0.1.99") / nk.UDP(sport=4000, dport=PORT) / PAYLOAD
    lab.host.send(nobody, dev=pair.primary if bound else None)
    gained = count()[0]
    assert (gained["IcmpInDestUnreachs"], gained.get("IcmpInErrors", 0)) == (1, bound)


def test_a_protocol_nobody_knows(lab, con):
    count = Counted(con)
    lab.host.send(nk.IP(dst=con.ip, proto=253) / PAYLOAD)
    gained = count()[0]
    assert (gained["IpInUnknownProtos"], gained["IcmpOutDestUnreachs"]) == (1, 1) and "IpInDelivers" not in gained


def test_a_wrong_ip_checksum_is_an_error_in_the_header(lab, con, hst):
    count = Counted(con)
    frame = nk.Ether(dst="00:00:00:00:00:00", src="00:00:00:00:00:00") / udp(con.ip, src=con.gateway, chksum=1)
    lab.host.send(frame, dev=hst)
    assert count() == [IN | {"IpInHdrErrors": 1, "IpExtInCsumErrors": 1}]


def test_a_wrong_udp_checksum_is_found_out_when_the_datagram_is_read(lab, con, hst):
    count = Counted(con)
    packet = nk.IP(src=con.gateway, dst=con.ip) / nk.UDP(sport=4000, dport=PORT, chksum=1) / PAYLOAD
    lab.host.send(nk.Ether(dst="00:00:00:00:00:00", src="00:00:00:00:00:00") / packet, dev=hst)
    assert count() == [IN | {"IpInDelivers": 1, "UdpInErrors": 1, "UdpInCsumErrors": 1}]


# sockets --------------------------------------------------------------------------------------------------------------


def test_a_ping_is_counted_by_ip_and_icmp_on_both_sides(lab, con):
    count = Counted(lab.host, con)
    lab.host.ping(con, payload=bytes(100))
    ip = IN | OUT | {"IpInDelivers": 1, "IcmpInMsgs": 1, "IcmpOutMsgs": 1}
    times = ROWS["ping-counts"].on(lab.kernel)
    assert count() == [
        ip | {"IcmpOutMsgs": times, "IcmpOutEchos": times, "IcmpInEchoReps": 1},
        ip | {"IcmpInEchos": 1, "IcmpOutEchoReps": 1},
    ]


def test_a_ping_that_is_dropped_on_the_way_out(lab, con, programs):
    con.pair.attach(programs["drop"], at="primary")
    count = Counted(lab.host, con)
    lab.host.ping(con, payload=bytes(100))
    assert count() == [OUT | {"IpOutDiscards": 1, "IcmpOutMsgs": 1, "IcmpOutEchos": 1}, {}]


def test_a_packet_socket_passes_by_everything_that_counts(lab, con, hst, programs):
    frame = nk.Ether(dst="00:00:00:00:00:00", src="00:00:00:00:00:00") / udp(con.ip, src=con.gateway)
    count = Counted(lab.host, con)
    lab.host.send(frame, dev=hst)
    assert count() == [{}, TAKEN]
    con.pair.attach(programs["drop"], at="primary")
    count = Counted(lab.host, con)
    lab.host.send(frame, dev=hst)
    assert count() == [{}, {}]


def test_a_raw_socket_with_a_header_of_its_own_makes_no_request_of_ip(lab, con, programs):
    count = Counted(lab.host)
    lab.host.send(udp(con.ip, src=con.gateway), via="raw")
    transmitted = {"IpOutTransmits": 1, "IpExtOutOctets": IP_LEN}
    assert count() == [transmitted]
    con.pair.attach(programs["drop"], at="primary")
    count = Counted(lab.host)
    lab.host.send(udp(con.ip, src=con.gateway), via="raw")
    assert count() == [transmitted | {"IpOutDiscards": 1}]


def test_a_datagram_without_a_route_is_none_of_the_requests(lab, con):
    lone = lab.node("lone")
    count = Counted(lone)
    lone.send(udp(con.ip))
    assert count() == [{"IpOutNoRoutes": 1}]


# on the way and in pieces ---------------------------------------------------------------------------------------------


def test_what_the_host_forwards_it_neither_delivers_nor_requests(lab, con):
    count = Counted(lab.host)
    con.send(udp(lab.outside.ip))
    assert count() == [IN | {"IpForwDatagrams": 1, "IpOutTransmits": 1, "IpExtOutOctets": IP_LEN}]


def test_a_hop_too_many(lab, con):
    count = Counted(lab.host)
    con.send(udp(lab.outside.ip, ttl=1))
    gained = count()[0]
    assert (gained["IpInHdrErrors"], gained["IcmpOutTimeExcds"]) == (1, 1) and "IpForwDatagrams" not in gained


def test_no_way_onward(lab, con):
    hidden = lab.node("hidden")
    pair = lab.pair("h1", primary_in=hidden, peer_in=con, peer_name="h1p")
    primary, peer = pair.primary.addr("10.0.8.1/24").up(), pair.peer.addr("10.0.8.2/24").up()
    hidden.sysctl("net.ipv4.ip_forward", 1)
    con.route("10.7.0.0/16", dev=peer)
    count = Counted(hidden)
    con.send(udp("10.7.0.1", src="10.0.8.2"))
    gained = count()[0]
    assert primary.info.carrier
    assert (gained["IpExtInNoRoutes"], gained["IcmpOutDestUnreachs"]) == (1, 1) and "IpInAddrErrors" not in gained


def test_a_datagram_in_four_pieces_is_one_request_and_one_delivery(lab, con, hst):
    count = Counted(lab.host, con)
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / bytes(5000))
    octets = 5008 + 4 * 20
    assert count() == [
        {"IpOutRequests": 1, "IpOutTransmits": 4, "IpExtOutOctets": octets, "IpFragOKs": 1, "IpFragCreates": 4,
         "UdpOutDatagrams": 1},
        {"IpInReceives": 4, "IpExtInOctets": octets, "IpExtInNoECTPkts": 4, "IpReasmReqds": 4, "IpReasmOKs": 1,
         "IpInDelivers": 1, "UdpInDatagrams": 1},
    ]  # fmt: skip


def test_what_must_not_be_cut_and_is_too_long_fails(lab, con, hst):
    con.device.set(mtu=9000)
    count = Counted(lab.host)
    lab.nic.set(mtu=1000)
    con.send(nk.IP(dst=lab.outside.ip, flags="DF") / nk.UDP(dport=PORT) / bytes(1200))
    gained = count()[0]
    assert (gained["IpForwDatagrams"], gained["IpFragFails"], gained["IcmpOutDestUnreachs"]) == (1, 1, 1)


def test_all_names_are_there_from_the_beginning(lab):
    assert set(lab.node("new").snmp.values()) == {0}
    assert {"IpInReceives", "IcmpInErrors", "UdpRcvbufErrors", "IpExtInMcastPkts"} <= lab.host.snmp.keys()
