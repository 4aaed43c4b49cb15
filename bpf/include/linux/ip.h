/* SPDX-License-Identifier: MIT */
/* The IPv4 header, as in include/uapi/linux/ip.h. */
#pragma once

#include <linux/types.h>

struct iphdr {
	__u8 ihl : 4, version : 4;	/* ihl counts words of 4 bytes */
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};
