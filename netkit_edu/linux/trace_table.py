"""Which functions of the kernel are recorded, and where each one's arguments say what it is about (Linux 6.12, x86-64).

A `Function` is numbered by its place in `FUNCTIONS`; the number and the places of its arguments are the cookie that the
recording program is given for it. What a compiler has made of a function (``.constprop.0``) may have lost arguments:
those are recorded without any, and belong to the packet at hand.
"""

from __future__ import annotations

from typing import NamedTuple

from netkit_edu.journey import HopKind

_DRIVER, _QUEUE, _HOOK, _DELIVER = HopKind.DRIVER, HopKind.QUEUE, HopKind.HOOK, HopKind.DELIVER

NO_NET, OF_NET, OF_SOCK, OF_SOCKET = range(4)  # what the argument is that tells the namespace
NOTHING, NEIGHBOUR, HOOK_POINT, VALUE, QDISC, DEVICE, FLOW, SEGMENTS, REDIRECT = range(9)  # what is read besides
NO_BYTES, FROM_IP, FROM_FRAME = range(3)  # which bytes of the packet: from its network header, or a whole ARP frame


class Function(NamedTuple):
    """One function: its symbol, and the numbers of its arguments from 1, 0 for none.

    ``name`` is what its hop is called, "" for the symbol itself, None for no hop at all. ``skb`` is the packet
    (``pointed``: a pointer to its pointer), ``dev`` the device (else ``skb->dev``; ``routed``: that of the packet's
    route), ``net`` what tells the namespace, of the kind ``of``; ``also`` is read as the kind ``what`` says.
    """

    symbol: str
    skb: int = 0
    name: str | None = ""
    kind: HopKind = HopKind.FUNCTION
    dev: int = 0
    net: int = 0
    of: int = NO_NET
    also: int = 0
    what: int = NOTHING
    bytes: int = NO_BYTES
    pointed: bool = False
    routed: bool = False

    @property
    def hop(self) -> str | None:
        """What its hop is called, None for none."""
        return self.symbol if self.name == "" else self.name

    def cookie(self, number: int) -> int:
        """Return what the recording program is given at this function."""
        return (
            number
            | (self.skb | self.pointed << 7) << 8
            | (self.dev | self.routed << 7) << 16
            | (self.net | self.of << 4) << 24
            | (self.also | self.what << 4) << 32
            | self.bytes << 40
        )


F = Function
FUNCTIONS = (
    # the sender
    F("udp_sendmsg", net=1, of=OF_SOCK),
    F("raw_sendmsg", net=1, of=OF_SOCK),
    F("ping_v4_sendmsg", net=1, of=OF_SOCK),
    F("packet_sendmsg", net=1, of=OF_SOCKET, name="packet_snd"),
    # routes and the way out
    F("ip_route_output_flow", net=1, of=OF_NET, also=2, what=FLOW),
    F("ip_output", 3, routed=True, bytes=FROM_IP),
    F("ip_mc_output", 3, routed=True, bytes=FROM_IP),
    F("nf_hook_slow", 1, kind=_HOOK, also=2, what=HOOK_POINT),
    F("ip_do_fragment", 3),
    F("ip_finish_output2", 3),
    F("neigh_resolve_output", 2),
    F("__neigh_event_send", 2, kind=_QUEUE, also=1, what=NEIGHBOUR),
    # ARP
    F("arp_solicit", 2, also=1, what=NEIGHBOUR),
    F("arp_send_dst", dev=4),
    F("arp_rcv", 1),
    F("arp_process", 3, bytes=FROM_IP),
    F("arp_error_report", 2),
    # the core, on the way out
    F("__dev_queue_xmit", 1, bytes=FROM_FRAME),
    F("sch_direct_xmit", 1, dev=3, kind=_QUEUE, also=2, what=QDISC),
    F("noop_enqueue", 1, kind=_QUEUE),
    F("__skb_gso_segment", 1, name="skb_gso_segment", also=1, what=SEGMENTS),
    F("dev_hard_start_xmit", 1, dev=2),
    F("loopback_xmit", 1, dev=2, kind=_DRIVER),
    F("dummy_xmit", 1, dev=2, kind=_DRIVER),
    F("veth_xmit", 1, dev=2, kind=_DRIVER),
    F("netkit_xmit", 1, dev=2, kind=_DRIVER),
    # from device to device
    F("__dev_forward_skb", 2),
    F("__dev_forward_skb2", 2, also=1, what=DEVICE),
    F("dev_forward_skb_nomtu", 2, also=1, what=DEVICE),
    F("skb_scrub_packet", 1),
    F("eth_type_trans", 1, dev=2),
    F("__netif_rx", 1),
    F("netif_rx_internal", 1),
    F("enqueue_to_backlog", 1, kind=_QUEUE),
    F("skb_do_redirect", 1, what=REDIRECT),
    F("__bpf_redirect", 1, dev=2),
    F("bpf_clone_redirect", 1),
    # the softirq
    F("__do_softirq"),
    F("handle_softirqs"),
    F("net_rx_action"),
    F("process_backlog"),
    # the way in
    F("__netif_receive_skb_core", 1, pointed=True),
    F("ip_rcv", 1),
    F("ip_rcv_core", 1),
    F("ip_rcv_finish_core"),
    F("ip_route_input_noref", 1),
    F("ip_route_input_slow", 1),
    F("ip_error", 1),
    F("ip_local_deliver", 1),
    F("ip_defrag", 2),
    F("ip_forward", 1),
    F("ip_forward_finish", 3),
    F("tcp_v4_rcv", 1),
    F("ipv6_rcv", 1),
    F("udp_rcv", 1),
    F("udp_queue_rcv_one_skb", 2, kind=_DELIVER, bytes=FROM_IP),
    F("icmp_rcv", 1),
    F("icmp_echo", 1, kind=_DELIVER, bytes=FROM_IP),
    F("icmp_unreach", 1, kind=_DELIVER, bytes=FROM_IP),
    F("icmp_discard", 1, kind=_DELIVER, bytes=FROM_IP),
    F("icmp_reply", 2),
    F("__icmp_send", 1),
    F("ping_rcv", 1),
    F("__ping_queue_rcv_skb", 2, name="ping_queue_rcv_skb", kind=_DELIVER, bytes=FROM_IP),
    # bridges
    F("br_handle_frame", 1, pointed=True),
    F("br_handle_frame_finish", 3),
    F("br_pass_frame_up", 1),
    F("br_forward", 2),
    F("br_flood", 2),
    F("__br_forward", 2),
    F("br_dev_queue_push_xmit", 3),
    F("br_dev_xmit", 1, dev=2, kind=_DRIVER),
    # the end of a packet
    F("sock_wfree", 1),
    F("skb_release_head_state", 1, name=None),
)

# What is recorded otherwise than at a function's entry: tracepoints, and functions' ends.
KFREE_SKB, CONSUME_SKB, FIB_LOOKUP, VERDICT = 250, 251, 252, 253
NUMBERS = {function.symbol: number for number, function in enumerate(FUNCTIONS)}
DROPPING = ("ip_fragment", "skb_do_redirect", "bpf_clone_redirect", "__bpf_redirect", "net_tx_action",
            "netkit_xmit", "veth_xmit", "__dev_forward_skb2", "__dev_queue_xmit", "ip_forward", "ip_rcv_finish_core",
            "ip_rcv_core", "ip_error", "arp_rcv", "arp_process", "icmp_rcv", "icmp_echo", "udp_rcv", "dummy_xmit",
            "ip_do_fragment", "ip_local_deliver_finish", "ip_protocol_deliver_rcu", "__netif_receive_skb_core",
            "enqueue_to_backlog", "neigh_timer_handler", "arp_error_report", "bpf_out_neigh_v4", "ip_rcv_finish",
            "__bpf_tx_skb", "skb_copy_and_csum_datagram_msg", "sch_handle_egress", "ip_finish_output2",
            "inet_frag_kill", "inet_frag_queue_insert", "ip_expire", "__neigh_event_send")  # fmt: skip
