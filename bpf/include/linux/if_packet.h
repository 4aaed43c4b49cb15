/* SPDX-License-Identifier: MIT */
/* For whom a frame is, skb->pkt_type: include/uapi/linux/if_packet.h. */
#pragma once

#define PACKET_HOST 0
#define PACKET_BROADCAST 1
#define PACKET_MULTICAST 2
#define PACKET_OTHERHOST 3
#define PACKET_OUTGOING 4
