"""The C of this folder's tests, in one place: what runs in the guest is compiled outside of it beforehand."""

from __future__ import annotations

DROP = """#include "netkit_edu.h"
SEC("tc") int drop(struct __sk_buff *skb) { return NETKIT_DROP; }
"""
COUNT = """#include "netkit_edu.h"
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
    flows SEC(".maps");
SEC("tc") int count(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __u64 *n = bpf_map_lookup_elem(&flows, &zero);

    return n ? (int)*n : 0;
}
"""
ALL = (DROP, COUNT)
