/* SPDX-License-Identifier: MIT */
/*
 * Byte order: the network is big-endian, an eBPF machine here little-endian.
 * Constants are swapped by the compiler, so they cost nothing.
 */
#pragma once

#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_ntohs(x) __builtin_bswap16(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#define bpf_ntohl(x) __builtin_bswap32(x)
#define bpf_cpu_to_be64(x) __builtin_bswap64(x)
#define bpf_be64_to_cpu(x) __builtin_bswap64(x)

#define __bpf_htons(x) bpf_htons(x)
#define __bpf_ntohs(x) bpf_ntohs(x)
#define __bpf_htonl(x) bpf_htonl(x)
#define __bpf_ntohl(x) bpf_ntohl(x)
#define __bpf_constant_htons(x) bpf_htons(x)
#define __bpf_constant_ntohs(x) bpf_ntohs(x)
#define __bpf_constant_htonl(x) bpf_htonl(x)
#define __bpf_constant_ntohl(x) bpf_ntohl(x)
