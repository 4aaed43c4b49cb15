"""What programs call cb[] is the packet's control block, which the IP layer takes for itself (struct inet_skb_parm)."""

from __future__ import annotations

import netkit_edu as nk

PROGRAMS = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 5); __type(key, __u32); __type(value, __u32); }
    seen SEC(".maps");

SEC("netkit/peer") int fill(struct __sk_buff *skb)
{
    skb->cb[0] = 10; skb->cb[1] = 11; skb->cb[2] = 12; skb->cb[3] = 13; skb->cb[4] = 14;
    return NETKIT_NEXT;
}

SEC("netkit/primary") int look(struct __sk_buff *skb)
{
    __u32 values[5] = { skb->cb[0], skb->cb[1], skb->cb[2], skb->cb[3], skb->cb[4] };

    for (__u32 i = 0; i < 5; i++) {
        __u32 key = i;

        bpf_map_update_elem(&seen, &key, &values[i], BPF_ANY);
    }
    return NETKIT_NEXT;
}
char LICENSE[] SEC("license") = "GPL";
"""
FORWARDED = 1  # IPSKB_FORWARDED of include/net/ip.h


def test_routing_wipes_all_but_the_last_number(lab):
    """From pod to pod through the host's stack: the flags of a forwarded packet stand in cb[3]."""
    programs = nk.compile(PROGRAMS, name="control_block.c")
    one, two = (lab.pod(name, device="netkit") for name in ("one", "two"))
    one.pair.attach(programs["fill"])
    att = two.pair.attach(programs["look"])
    one.send(nk.IP(dst=two.ip) / nk.UDP(dport=7) / b"hi")
    assert [att.maps["seen"][n] for n in range(5)] == [0, 0, 0, FORWARDED, 14]
