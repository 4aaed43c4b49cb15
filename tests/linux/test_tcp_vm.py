"""What TCP sees when a program drops its packets: nothing (spec 2.8). The simulator has no TCP endpoints."""

from __future__ import annotations

import socket
import struct

import pytest

import netkit_edu as nk

pytestmark = pytest.mark.vm
PORT = 8080
DROP = '#include "netkit_edu.h"\nSEC("netkit/peer") int drop(struct __sk_buff *skb) { return NETKIT_DROP; }'


@pytest.fixture
def lab():
    with nk.Lab("vm") as lab:
        yield lab


def address(ip: str) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", PORT) + socket.inet_aton(ip) + bytes(8)


def connection(lab, pod) -> int:
    """Return the descriptor of the pod's end of a connection to the host."""
    batch = lab.kernel_calls.door.batch()
    to = address(pod.gateway)
    batch.setns(lab.kernel_calls._net(lab.host.ns).fd)
    server = batch.call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    batch.call("bind", server, to, len(to))
    batch.call("listen", server, 8)
    batch.setns(lab.kernel_calls._net(pod.ns).fd)
    client = batch.call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    batch.call("connect", client, to, len(to))
    batch.run()
    return client.value


def send_and_wait(lab, client: int, seconds: float) -> int:
    batch = lab.kernel_calls.door.batch()
    sent = batch.call("sendto", client, b"x" * 1000, 1000, 0, 0, 0)
    batch.call("nanosleep", struct.pack("<QQ", int(seconds), int(seconds % 1 * 1e9)), 0)
    batch.run()
    return sent.value


def test_a_dropped_segment_is_sent_again_and_send_succeeds(lab):
    pod = lab.pod("con", device="netkit")
    client = connection(lab, pod)
    dropped = pod.device.stats.tx_dropped
    with pod.pair.attach(nk.compile(DROP)["drop"], at="peer"):
        assert send_and_wait(lab, client, 0.5) == 1000
        drops = pod.device.stats.tx_dropped - dropped
        assert 2 <= drops <= 4
    before = pod.pair.primary.stats.rx_bytes
    send_and_wait(lab, client, 2)  # no program any more: what is outstanding arrives, and so does this
    assert pod.pair.primary.stats.rx_bytes - before >= 2000
    assert pod.device.stats.tx_dropped - dropped == drops


def test_a_redirect_that_leads_nowhere_is_a_success_for_tcp_too(lab):
    pod = lab.pod("con", device="netkit")
    client = connection(lab, pod)
    before = pod.device.stats
    code = (
        '#include "netkit_edu.h"\nSEC("netkit/peer") int away(struct __sk_buff *skb) { return bpf_redirect(999, 0); }'
    )
    with pod.pair.attach(nk.compile(code)["away"], at="peer"):
        assert send_and_wait(lab, client, 0.5) == 1000
        after = pod.device.stats
    assert after.tx_dropped == before.tx_dropped and after.tx_packets - before.tx_packets >= 2
