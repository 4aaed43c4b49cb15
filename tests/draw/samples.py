"""Journeys built by hand as data, so that drawings are tested without any backend."""

from __future__ import annotations

from netkit_edu.journey import Fate, FateKind, Hop, HopKind, Journey
from netkit_edu.linux.carried import Carried
from netkit_edu.uapi import Context

P, S = Context.PROCESS, Context.SOFTIRQ
_KINDS = {"F": HopKind.FUNCTION, "L": HopKind.LOOKUP, "H": HopKind.HOOK, "Q": HopKind.QUEUE, "D": HopKind.DRIVER,
          "W": HopKind.WIRE, "OK": HopKind.DELIVER, "X": HopKind.DROP}  # fmt: skip

UDP = bytes.fromhex("4500001e000100004011adcc0a00010200000000") + b"\xa0\x28\x00\x35\x00\x0a\x00\x00hi"
UDP = UDP[:16] + bytes([192, 0, 2, 2]) + UDP[20:]


def hops(text: str) -> tuple[Hop, ...]:
    """Read lines "context node kind function device | detail"; kind is one of F L H Q D W OK X, H? is unobservable."""
    out = []
    for line in text.strip().splitlines():
        head, _, detail = line.partition("|")
        context, node, kind, function, *device = head.split()
        where, kind_of = (device[0] if device else ""), _KINDS[kind.rstrip("?")]
        observable = "?" not in kind
        out.append(Hop(function, kind_of, P if context == "p" else S, node, where, detail.strip(), {}, observable))
    return tuple(out)


VETH = """
p web F udp_sendmsg
p web L fib_table_lookup | default via 10.0.1.1 dev eth0
p web H? nf_hook | LOCAL_OUT
p web F ip_output eth0
p web H? nf_hook eth0 | POST_ROUTING
p web F ip_finish_output2 eth0
p web F neigh_resolve_output eth0
p web F __dev_queue_xmit eth0
p web D veth_xmit eth0 | ndo_start_xmit
p host F __dev_forward_skb web
p host F skb_scrub_packet web
p host F eth_type_trans web
p host F __netif_rx web
p host F netif_rx_internal web
p host Q enqueue_to_backlog web | backlog of CPU 0: 1 packet waits
s host F net_rx_action web
s host F process_backlog web
s host F __netif_receive_skb_core web
s host F ip_rcv web
s host H? nf_hook web | PRE_ROUTING
s host F ip_rcv_core web
s host F ip_rcv_finish_core web
s host F ip_route_input_slow web
s host L fib_table_lookup web | 192.0.2.0/24 dev eth0
s host F ip_forward web
s host H nf_hook_slow web | FORWARD
s host F ip_forward_finish web
s host F ip_output eth0
s host H? nf_hook eth0 | POST_ROUTING
s host F ip_finish_output2 eth0
s host F __dev_queue_xmit eth0
s host Q sch_direct_xmit eth0 | qdisc pfifo_fast
s host D nic_xmit eth0 | ndo_start_xmit
s host W wire eth0 | to outside
s outside F __netif_receive_skb_core eth0
s outside F ip_rcv eth0
s outside H? nf_hook eth0 | PRE_ROUTING
s outside L fib_table_lookup eth0 | local 192.0.2.2
s outside H? nf_hook eth0 | LOCAL_IN
s outside OK udp_rcv eth0 | port 53
"""

SENT, TOOK = {"tx_packets": 1, "tx_bytes": 44}, {"rx_packets": 1, "rx_bytes": 44}
COUNTERS = {"web/eth0": SENT, "host/web": TOOK, "host/eth0": SENT, "outside/eth0": TOOK}


def veth() -> Journey:
    """A UDP packet from a veth pod over the host's stack to the outside: the two stacks of the article."""
    return Journey(
        UDP, hops(VETH), Fate(FateKind.DELIVERED, "outside", "eth0"), counters=COUNTERS, label="veth: two stacks"
    )


def program(name: str, verdict: int, node: str = "db", device: str = "eth0") -> Hop:
    """A program run at a netkit hook in process context."""
    return Hop("bpf_prog_run", HopKind.PROGRAM, P, node, device, data={"program": name, "verdict": verdict})


def netkit(*runs: tuple[str, int], fate: FateKind = FateKind.DROPPED, error: str | None = None) -> Journey:
    """A UDP packet from a netkit pod, dropped after the given programs ran."""
    before = hops("""
p db F udp_sendmsg
p db L fib_table_lookup | default via 10.0.2.1 dev eth0
p db H? nf_hook | LOCAL_OUT
p db F ip_output eth0
p db F __dev_queue_xmit eth0
p db D netkit_xmit eth0 | ndo_start_xmit
""")
    ran = tuple(program(name, code) for name, code in runs)
    end = hops("p db X kfree_skb eth0 | NETKIT_DROP")
    return Journey(UDP, before + ran + end, Fate(fate, "db", "eth0", "netkit verdict DROP"), sender_error=error,
                   counters={"db/eth0": {"tx_dropped": 1}})  # fmt: skip


def carried() -> list[Carried]:
    """A packet that one task sends and another has to receive, on the other CPU."""
    process = (Context.PROCESS, "", "curl", 7, 0)
    return [
        Carried(1_000, "netif_rx", *process, "far", 46, 0x500),
        Carried(21_000, "net_dev_xmit", *process, "eth0", 46, 0x500),
        Carried(91_000, "netif_receive_skb", Context.SOFTIRQ, "NET_RX", "bystander", 9, 1, "far", 30, 0x500),
    ]
