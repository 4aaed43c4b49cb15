/* SPDX-License-Identifier: MIT */
/*
 * netkit_edu.h: what a cell gets when it includes nothing.
 *
 * A program is a function with SEC("netkit/peer") or SEC("netkit/primary").
 * The kernel calls it with one packet, and it answers with a verdict:
 *
 *	SEC("netkit/peer")
 *	int all_pass(struct __sk_buff *skb)
 *	{
 *		return NETKIT_PASS;
 *	}
 *
 * These are own small headers with the kernel's names, layouts and numbers,
 * so that the same text compiles with the real ones.
 */
#pragma once

#include <linux/types.h>	/* __u8 __u16 __u32 __u64, __be16 __be32 */
#include <linux/if_link.h>	/* NETKIT_NEXT PASS DROP REDIRECT */
#include <linux/bpf.h>		/* struct __sk_buff, map types and flags */
#include <linux/pkt_cls.h>	/* TC_ACT_OK TC_ACT_SHOT ... */
#include <linux/if_ether.h>	/* struct ethhdr, ETH_P_IP ... */
#include <linux/if_packet.h>	/* PACKET_HOST ... */
#include <linux/in.h>		/* IPPROTO_UDP ... */
#include <linux/ip.h>		/* struct iphdr */
#include <linux/ipv6.h>		/* struct ipv6hdr */
#include <linux/icmp.h>		/* struct icmphdr */
#include <linux/udp.h>		/* struct udphdr */
#include <linux/tcp.h>		/* struct tcphdr */
#include <bpf/bpf_helpers.h>	/* SEC, maps, bpf_map_lookup_elem() ... */
#include <bpf/bpf_endian.h>	/* bpf_htons() bpf_ntohs() ... */
#include <stdbool.h>
