// SPDX-License-Identifier: MIT
/* A packet filter as one writes it for libbpf, with everything an object can hold. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct key {
	__u32 addr;
	__u16 port;
	__u16 pad;
};

struct counters {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct key);
	__type(value, struct counters);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 4);
} totals SEC(".maps");

volatile const __u32 NIC = 7;
volatile const __u8 PORTS[4] = { 1, 2 };
const volatile int threshold = -3;
static __u64 seen;
__u32 last_mark;
int weights[3] = { 10, 20, 30 };

static __noinline int weigh(__u32 x)
{
	seen++;
	return x * weights[x & 1];
}

__noinline int judge(__u32 x)
{
	return weigh(x) + 1;
}

SEC("netkit/peer")
int policy(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > end)
		return TC_ACT_OK;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_TCP)
		return TC_ACT_OK;

	struct key key = { .addr = ip->daddr, .port = bpf_ntohs(tcp->dest) };
	struct counters *found = bpf_map_lookup_elem(&flows, &key);

	if (found) {
		__sync_fetch_and_add(&found->packets, 1);
		found->bytes += skb->len;
	} else {
		struct counters first = { .packets = 1, .bytes = skb->len };

		bpf_map_update_elem(&flows, &key, &first, BPF_NOEXIST);
	}
	last_mark = skb->mark;
	bpf_printk("port %d of %d", key.port, NIC);
	return judge(skb->mark) == 21 ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("netkit/primary")
int count(struct __sk_buff *skb)
{
	__u32 index = skb->len & 3;
	__u64 *total = bpf_map_lookup_elem(&totals, &index);

	if (total)
		*total += PORTS[index] + threshold;
	return weigh(skb->len) + NIC;
}

char _license[] SEC("license") = "Dual BSD/GPL";
