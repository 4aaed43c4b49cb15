"""Journeys put together from recordings of the log, which a virtual machine with Linux 6.12 wrote."""

from __future__ import annotations

import pytest

from netkit_edu.journey import FateKind, HopKind
from netkit_edu.linux.records import read_records
from netkit_edu.linux.trace_table import FUNCTIONS, KFREE_SKB, NUMBERS
from netkit_edu.uapi import Context, Verdict
from tests.linux.traced import Recording

KERNELS_OWN = NUMBERS["ip_output"]


def only(name: str, **how):
    (journey,) = Recording(name).journeys(**how)
    return journey


def functions(journey) -> list[str]:
    return [hop.function for hop in journey.hops]


def test_a_packet_is_followed_from_its_senders_call_over_the_cable():
    journey = only("netkit-routed")
    assert functions(journey)[:3] == ["udp_sendmsg", "ip_route_output_flow", "fib_table_lookup"]
    assert (journey.fate.kind, journey.fate.node, journey.fate.device) == (FateKind.DELIVERED, "outside", "eth0")
    assert [hop.detail for hop in journey.hops if hop.kind is HopKind.LOOKUP] == [
        "default via 10.0.1.1 dev eth0", "192.0.2.0/24 dev eth0", "local 192.0.2.2 dev eth0",
    ]  # fmt: skip
    assert journey.hops[0].node == "web" and journey.hops[0].context is Context.PROCESS
    assert journey.hops[-1] == journey.hops[-1]._replace(
        function="udp_queue_rcv_one_skb", kind=HopKind.DELIVER, detail="udp port 7", context=Context.SOFTIRQ
    )


def test_a_cable_is_one_step_and_the_backlog_behind_it_nobodys():
    journey = only("netkit-routed")
    names = functions(journey)
    at = names.index("wire")
    assert names[at - 1 : at + 3] == ["nic_xmit", "wire", "nic_poll", "__netif_receive_skb_core"]
    assert journey.hops[at].kind is HopKind.WIRE and journey.hops[at].detail == "to outside/eth0"
    assert [counts.backlogs for counts in journey.machines] == [1, 0]
    assert [counts.lookups for counts in journey.machines] == [2, 1]
    assert "sock_wfree" not in names[at:]  # a socket does not come along


def test_packet_and_arrival_are_whole_packets_with_their_checksums():
    journey = only("netkit-routed")
    assert len(journey.packet) == len(journey.arrived) == 38
    assert journey.packet[8] - journey.arrived[8] == 1  # one router
    assert journey.packet[26:28] == journey.arrived[26:28] != b"\0\0"


def test_an_echo_reply_is_a_journey_of_its_own():
    journey = only("veth-ping")
    assert journey.fate.delivered and journey.fate.node == "outside"
    assert functions(journey)[-2:] == ["icmp_echo", "consume_skb"]
    (reply,) = journey.replies
    assert functions(reply)[0] == "icmp_reply" and functions(reply)[-3:-1] == ["ping_rcv", "ping_queue_rcv_skb"]
    assert reply.fate.delivered and reply.fate.node == "db" and reply.packet[20] == 0
    assert not reply.replies and not journey.requests


def test_who_asks_for_an_address_is_a_request_and_the_packet_waits_meanwhile():
    journey = only("l2-arp")
    (request,) = journey.requests
    assert functions(request)[:2] == ["arp_solicit", "arp_send_dst"] and request.fate.delivered
    assert request.packet[:6] == b"\xff" * 6 and request.hops[-1].detail == "ARP: who has 10.0.3.2"
    (answer,) = request.replies
    assert answer.hops[-1].detail.startswith("ARP: 10.0.3.2 is at ") and answer.fate.node == "host"
    waits = functions(journey).index("__neigh_event_send")
    assert journey.hops[waits].detail == "waits for the address of 10.0.3.2"
    assert [h.context for h in journey.hops[waits : waits + 2]] == [Context.PROCESS, Context.SOFTIRQ]
    assert journey.fate.delivered and not journey.replies


def test_an_icmp_error_answers_and_the_packet_is_dropped_in_the_kernels_words():
    journey = only("closed-port")
    assert (journey.fate.kind, journey.fate.reason) == (FateKind.DROPPED, "NO_SOCKET")
    assert journey.hops[-1].kind is HopKind.DROP and journey.hops[-1].data == {"reason": "NO_SOCKET"}
    (reply,) = journey.replies
    assert reply.fate.delivered and reply.packet[20:22] == b"\3\3" and functions(reply)[0] == "__icmp_send"


def test_programs_are_named_with_what_they_returned_and_a_drop_with_who_did_it():
    journey = only("program-drop", errno=105)
    assert [(run.program, run.verdict) for run in journey.verdicts] == [
        ("record", Verdict.NEXT), ("gate", Verdict.DROP),
    ]  # fmt: skip
    assert str(journey.fate) == "dropped at web (eth0): program gate returned DROP"
    assert journey.sender_error == "ENOBUFS" and journey.counts.softirq_hops == 0


def test_fragments_share_a_journey_and_arrive_as_one():
    journey = only("fragments")
    names = functions(journey)
    assert names.count("veth_xmit") == names.count("ip_defrag") == 2 and names.count("udp_queue_rcv_one_skb") == 1
    assert len(journey.arrived) == 1028 and journey.fate.node == "host"


@pytest.mark.parametrize("errno", [0, 101])
def test_a_packet_that_never_was_was_not_sent(errno):
    records = Recording("netkit-routed").records[:3]
    journey = only("netkit-routed", errno=errno, records=records)
    kind, reason = (FateKind.NOT_SENT, "ENETUNREACH") if errno else (FateKind.DROPPED, "it was not seen again")
    assert (journey.fate.kind, journey.fate.reason, journey.fate.node) == (kind, reason, "web")


def test_what_was_born_elsewhere_is_not_ours():
    recording = Recording("netkit-routed")
    stranger = [record._replace(skb=record.skb ^ 0xFFFF0000, task=record.task + 1) for record in recording.records]
    mixed = [one for pair in zip(recording.records, stranger, strict=True) for one in pair]
    ours = [record for record in mixed if record.context is Context.PROCESS or record.task != 2]
    assert only("netkit-routed", records=ours).fate.delivered


def test_a_free_of_a_packet_on_a_sockets_queue_takes_the_delivery_back():
    recording = Recording("netkit-routed")
    end = recording.records[-1]
    refused = next(record for record in Recording("closed-port").records if record.number == KFREE_SKB)
    recording.names.reasons[refused.also] = "UDP_CSUM"
    (journey,) = recording.journeys(records=[*recording.records, refused._replace(skb=end.skb, second=0)])
    assert journey.fate.kind is FateKind.DROPPED and journey.fate.reason == "UDP_CSUM" and journey.arrived == b""


def test_a_log_that_is_cut_off_ends_with_its_last_whole_record():
    recording = Recording("fragments")
    whole = read_records(recording.log)
    assert read_records(recording.log[:-1]) == whole[:-1] and read_records(b"") == []


def test_cookies_tell_functions_apart():
    cookies = {function.cookie(number) for number, function in enumerate(FUNCTIONS)}
    assert len(cookies) == len(FUNCTIONS) == len(NUMBERS) < 250
    assert all(cookie & 0xFF == number for number, cookie in enumerate(f.cookie(n) for n, f in enumerate(FUNCTIONS)))
