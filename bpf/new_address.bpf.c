// SPDX-License-Identifier: MIT
/*
 * Shows:   a new destination address for UDP and ping: the IP checksum is
 *          mended for both, UDP's as well, since it covers the addresses;
 *          wherever UDP begins, and where it has no checksum it keeps none
 * Hook:    netkit/peer
 * Expect:  dns NEXT, options NEXT, web NEXT, ping NEXT, arp NEXT, cut NEXT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

#define BEFORE	bpf_htonl(0xc0000202)	/* 192.0.2.2 */
#define AFTER	bpf_htonl(0x0a000202)	/* 10.0.2.2 */
#define UDP	(BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 4)

SEC("netkit/peer")
int new_address(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u32 transport;
	__u8 protocol;

	if ((void *)(ip + 1) > data_end || ip->daddr != BEFORE)
		return NETKIT_NEXT;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;
	protocol = ip->protocol;
	if (protocol != IPPROTO_UDP && protocol != IPPROTO_ICMP)
		return NETKIT_NEXT;
	transport = sizeof(*eth) + ip->ihl * 4;
	ip->daddr = AFTER;

	/* no pointer into the packet is used from here on */
	bpf_l3_csum_replace(skb, 14 + 10, BEFORE, AFTER, 4);
	if (protocol == IPPROTO_UDP)
		bpf_l4_csum_replace(skb, transport + 6, BEFORE, AFTER, UDP);
	return NETKIT_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
