"""Frames with VLAN tags where no VLAN device is (net/core/dev.c:__netif_receive_skb_core)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.backend import SendRequest
from tests.contract.conftest import PORT

SEND_TO = """
volatile const __u32 TARGET;
SEC("tc") int send_to(struct __sk_buff *skb)
{
    return bpf_redirect(TARGET, 0);
}
char LICENSE[] SEC("license") = "GPL";
"""
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


@pytest.mark.parametrize(("kind", "tags"), [("dummy", 1), ("netkit", 0), ("veth", 0), ("loopback", 1)])
@pytest.mark.parametrize("ethertype", [Q, AD])
def test_a_tag_goes_into_the_bytes_for_a_device_without_a_place_for_it(lab, con, hst, kind, tags, ethertype):
    """validate_xmit_vlan (net/core/dev.c); the first device has taken the tag off, as any does on arrival."""
    frame = bytes(12) + ethertype + b"\0\5" + IPV4 + bytes(nk.IP(dst="10.0.1.9") / nk.UDP(dport=PORT) / b"hi")
    if kind == "dummy":
        target = lab.dummy("d0").up()
    elif kind == "loopback":
        target = next(device for device in lab.host.links if device.ifindex == 1)
    else:
        target = lab.pod("other", device=kind).pair.primary
    hst.attach_tcx(nk.compile(f'#include "netkit_edu.h"\n{SEND_TO}')["send_to"].bind(TARGET=target.ifindex), "ingress")
    journey = lab.kernel_calls.send(con.ns, SendRequest(frame, "packet", con.device.ifindex))
    moved = journey.counters[f"host/{target.name}"]
    header = 14 if kind == "loopback" else 0  # which it does not count
    assert (moved["tx_packets"], moved["tx_bytes"]) == (1, len(frame) - 4 + 4 * tags - header)
