"""Programs with a map of each kind, and which of them uses which."""

PROGRAMS = """
#include "netkit_edu.h"

struct cell { __u32 cpu, packets; };
struct prefix { __u32 length; __be32 address; };
struct event { __u32 cpu, len; __be16 port; __u16 pad; };
struct event event_type;

#define MAP(NAME, TYPE, KEY, VALUE, ENTRIES, FLAGS) \\
    struct { __uint(type, BPF_MAP_TYPE_##TYPE); __uint(max_entries, ENTRIES); __uint(map_flags, FLAGS); \\
             __type(key, KEY); __type(value, VALUE); } NAME SEC(".maps")

MAP(hash, HASH, __u16, struct cell, 2, 0);
MAP(array, ARRAY, __u32, struct cell, 2, 0);
MAP(lru, LRU_HASH, __u16, struct cell, 2, 0);
MAP(cpu_hash, PERCPU_HASH, __u16, struct cell, 2, 0);
MAP(cpu_array, PERCPU_ARRAY, __u32, __u32, 2, 0);
MAP(cpu_lru, LRU_PERCPU_HASH, __u16, struct cell, 2, 0);
MAP(routes, LPM_TRIE, struct prefix, __s32, 3, BPF_F_NO_PREALLOC);
MAP(jumps, PROG_ARRAY, __u32, __u32, 2, 0);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");

static __u16 port(struct __sk_buff *skb)
{
    __be16 dest = 0;

    bpf_skb_load_bytes(skb, 36, &dest, 2);
    return bpf_ntohs(dest);
}

/* counts in the entry of the destination port, which it makes at the first packet */
#define COUNT(MAP)                                                              \\
    SEC("netkit/peer") int count_##MAP(struct __sk_buff *skb)                   \\
    {                                                                           \\
        struct cell first = { .cpu = bpf_get_smp_processor_id(), .packets = 1 };\\
        struct cell *cell;                                                      \\
        __u16 key = port(skb);                                                  \\
                                                                                \\
        cell = bpf_map_lookup_elem(&MAP, &key);                                 \\
        if (!cell)                                                              \\
            return bpf_map_update_elem(&MAP, &key, &first, BPF_ANY) ? NETKIT_DROP : NETKIT_NEXT; \\
        cell->cpu = first.cpu;                                                  \\
        cell->packets++;                                                        \\
        return NETKIT_NEXT;                                                     \\
    }
COUNT(hash)
COUNT(lru)
COUNT(cpu_hash)
COUNT(cpu_lru)

SEC("netkit/peer") int count_array(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct cell *cell = bpf_map_lookup_elem(&array, &zero);

    if (cell) {
        cell->cpu = bpf_get_smp_processor_id();
        cell->packets++;
    }
    return NETKIT_NEXT;
}

SEC("netkit/peer") int count_cpu_array(struct __sk_buff *skb)
{
    __u32 zero = 0, *packets = bpf_map_lookup_elem(&cpu_array, &zero);

    if (packets)
        ++*packets;
    return NETKIT_NEXT;
}

/* the verdict of the longest prefix that covers the destination */
SEC("netkit/peer") int routed(struct __sk_buff *skb)
{
    struct prefix key = { .length = 32 };
    __s32 *verdict;

    bpf_skb_load_bytes(skb, 30, &key.address, 4);
    verdict = bpf_map_lookup_elem(&routes, &key);
    return verdict ? *verdict : NETKIT_DROP;
}

/* tells of every packet, and drops those for which there is no room to tell */
SEC("netkit/peer") int tell(struct __sk_buff *skb)
{
    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

    if (!event)
        return NETKIT_DROP;
    event->cpu = bpf_get_smp_processor_id();
    event->len = skb->len;
    event->port = bpf_htons(port(skb));
    event->pad = 0;
    bpf_ringbuf_submit(event, 0);
    return NETKIT_NEXT;
}

/* goes on as program 1, and drops where there is none */
SEC("netkit/peer") int jump(struct __sk_buff *skb)
{
    bpf_tail_call(skb, &jumps, 1);
    return NETKIT_DROP;
}

/* goes on as program 0 */
SEC("netkit/peer") int hop(struct __sk_buff *skb)
{
    skb->mark = 0xabc;
    bpf_tail_call(skb, &jumps, 0);
    return NETKIT_DROP;
}

/* what the packet says by then */
SEC("netkit/peer") int arrive(struct __sk_buff *skb)
{
    __u32 zero = 0, *seen = bpf_map_lookup_elem(&cpu_array, &zero);

    if (seen)
        *seen = skb->mark;
    return NETKIT_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""

USERS = {"hash": "count_hash", "array": "count_array", "lru": "count_lru", "cpu_hash": "count_cpu_hash",
         "cpu_array": "count_cpu_array", "cpu_lru": "count_cpu_lru", "routes": "routed", "jumps": "jump",
         "events": "tell"}  # fmt: skip
