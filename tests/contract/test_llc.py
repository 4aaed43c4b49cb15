"""Frames with a length where others have a protocol's number: 802.2 (net/ethernet/eth.c, net/llc/llc_input.c, 6.12)."""

from __future__ import annotations

import pytest

from tests.contract.conftest import got

SNAP, STP, NOVELL, CUT = b"\xaa\xaa\x03" + bytes(60), b"\x42\x42\x03" + bytes(60), b"\xff\xff" + bytes(60), b""
NOBODY, UNKNOWN = "802.2, which nobody here listens to", "UNHANDLED_PROTO"


@pytest.fixture
def web(lab):
    """What comes with bridges is there when there has been one."""
    lab.bridge("br0").delete()
    return lab.pod("web", device="veth")


def send(pod, body: bytes):
    to, source = (bytes.fromhex(end.mac.replace(":", "")) for end in (pod.pair.primary, pod.device))
    return pod.send(to + source + len(body).to_bytes(2, "big") + body, dev=pod.device)


@pytest.mark.parametrize(
    ("body", "protocol", "reason"),
    [(SNAP, 4, NOBODY), (STP, 4, NOBODY), (NOVELL, 1, UNKNOWN), (CUT, 4, NOBODY)],
    ids=["SNAP", "a spanning tree's", "Novell's", "cut off"],
)
def test_802_2_is_taken_and_thrown_away_and_what_is_older_is_counted(lab, web, programs, moved, body, protocol, reason):
    recorder = web.pair.primary.attach_tcx(programs["record"], "ingress")
    count = moved(web.pair.primary)
    journey = send(web, body)
    assert (journey.fate.node, journey.fate.reason) == ("host", reason)
    assert count() == [got(1, 14 + len(body)) | ({"rx_dropped": 1} if reason == UNKNOWN else {})]
    assert recorder.maps["seen"][0]["protocol"] == protocol


def test_an_l3_pair_asks_no_frame_what_it_carries(lab, con, moved):
    """Its packet goes by what the sender's socket said."""
    count = moved(con.pair.primary)
    journey = con.send(bytes(12) + len(SNAP).to_bytes(2, "big") + SNAP, dev=con.device)
    assert journey.fate.reason == UNKNOWN and count() == [got(1, 14 + len(SNAP)) | {"rx_dropped": 1}]


def test_a_bridge_passes_it_on(lab):
    bridge = lab.bridge("br0").up()
    pods = [lab.pod(name, device="veth") for name in ("one", "two")]
    for pod in pods:
        pod.pair.primary.set_master(bridge)
    with pods[1].device.capture() as seen:
        pods[0].send(b"\xff" * 6 + bytes(5) + b"\2" + len(SNAP).to_bytes(2, "big") + SNAP, dev=pods[0].device)
    assert [frame.bytes[14:] for frame in seen.frames] == [SNAP]
