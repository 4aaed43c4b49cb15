"""Frames with VLAN tags where no VLAN device is (net/core/dev.c:__netif_receive_skb_core)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.backend import SendRequest
from tests.contract.conftest import PORT

Q, AD, IPV4 = b"\x81\0", b"\x88\xa8", b"\x08\0"
DELIVERED, NOT_OURS, TOO_SHORT = "delivered", "another host's", "too short"
FRAMES = {  # tags and what follows, the fate
    "a priority": (Q + b"\xe0\0" + IPV4, DELIVERED),
    "a priority, 802.1AD": (AD + b"\x20\0" + IPV4, DELIVERED),
    "two priorities": (AD + b"\0\0" + Q + b"\x40\0" + IPV4, DELIVERED),
    "a VLAN": (Q + b"\0\5" + IPV4, NOT_OURS),
    "a VLAN in a priority": (Q + b"\0\0" + Q + b"\0\5" + IPV4, NOT_OURS),
    "less than a tag": (Q + b"\0\0" + b"\x08", TOO_SHORT),
}


@pytest.mark.parametrize("what", FRAMES)
def test_a_tag_without_a_device_for_it(lab, con, hst, what):
    tags, fate = FRAMES[what]
    packet = b"" if fate is TOO_SHORT else bytes(nk.IP(src=con.gateway, dst=con.ip) / nk.UDP(dport=PORT) / b"hi")
    frame = bytes(12) + tags + packet
    journey = lab.kernel_calls.send(lab.host.ns, SendRequest(frame, "packet", hst.ifindex))
    assert journey.counters["con/eth0"] == {"rx_packets": 1, "rx_bytes": len(frame)}
    assert journey.fate.delivered == (fate is DELIVERED)
    assert journey.arrived == (packet if fate is DELIVERED else b"")
