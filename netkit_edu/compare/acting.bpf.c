/* SPDX-License-Identifier: MIT */
/*
 * Programs that do what a map tells them, and write down what they were shown.
 *
 * All of them are the same function but for their names and their places in
 * the maps, so that one compilation, and one load of each, serve every scenario.
 */
#include "netkit_edu.h"

#define PROGRAMS 10

#define SETS_MARK	(1 << 0)
#define SETS_PRIORITY	(1 << 1)
#define SETS_TYPE	(1 << 2)
#define STORES		(1 << 3)
#define SETS_ETHERTYPE	(1 << 4)
#define SETS_LENGTH	(1 << 5)
#define SETS_CB		(1 << 6)
#define SAYS_ANSWER	(1 << 7)

#define REDIRECT	1
#define REDIRECT_PEER	2
#define REDIRECT_NEIGH	3
#define CLONE_REDIRECT	4
#define NEXT_HOP	5

struct action {
	__s32 verdict;
	__u32 does, mark, priority, type, at, n, ethertype, length, cb;
	__u32 how, target, flags, nexthop;
	__u8 bytes[8];
};

struct actions { struct action of[PROGRAMS]; };

struct sight {
	__u32 runs, len, pkt_type, mark, priority, protocol;
	__u32 ingress_ifindex, ifindex, window, cb;
	__s32 typed, stored, resized, answer, code;
	__u8 header[16];
	__u32 padding;
	__u64 digest;
};

struct sights { struct sight of[PROGRAMS]; };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct actions);
} todo SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sights);
} seen SEC(".maps");

static __always_inline void look(struct __sk_buff *skb, struct sight *s)
{
	s->runs++;
	s->len = skb->len;
	s->pkt_type = skb->pkt_type;
	s->mark = skb->mark;
	s->priority = skb->priority;
	s->protocol = bpf_ntohs(skb->protocol);
	s->ingress_ifindex = skb->ingress_ifindex;
	s->ifindex = skb->ifindex;
	s->window = (long)skb->data_end - (long)skb->data;
	s->cb = skb->cb[0];
	bpf_skb_load_bytes(skb, 0, s->header, 14);
}

/* all that was ever seen, in one number, whatever came first */
static __always_inline void remember(struct sight *s)
{
	__u64 d = 1;

	d = d * 31 + s->len;
	d = d * 31 + s->pkt_type;
	d = d * 31 + s->mark;
	d = d * 31 + s->priority;
	d = d * 31 + s->protocol;
	d = d * 31 + s->ingress_ifindex;
	d = d * 31 + s->ifindex;
	d = d * 31 + (__u32)s->code;
	s->digest += d * d;
}

static __always_inline int send_on(struct __sk_buff *skb, struct action *a)
{
	struct bpf_redir_neigh hop = { .nh_family = 2, .ipv4_nh = a->nexthop };

	if (a->how == REDIRECT)
		return bpf_redirect(a->target, a->flags);
	if (a->how == REDIRECT_PEER)
		return bpf_redirect_peer(a->target, a->flags);
	if (a->how == REDIRECT_NEIGH)
		return bpf_redirect_neigh(a->target, 0, 0, a->flags);
	if (a->how == NEXT_HOP)
		return bpf_redirect_neigh(a->target, &hop, sizeof(hop), a->flags);
	if (a->how == CLONE_REDIRECT)
		return bpf_clone_redirect(skb, a->target, a->flags);
	return 0;
}

static __always_inline int act(struct __sk_buff *skb, __u32 me)
{
	__u32 zero = 0, n;
	struct actions *all = bpf_map_lookup_elem(&todo, &zero);
	struct sights *sights = bpf_map_lookup_elem(&seen, &zero);
	struct action *a;
	struct sight *s;

	if (!all || !sights)
		return NETKIT_DROP;
	a = &all->of[me];
	s = &sights->of[me];
	look(skb, s);
	if (a->does & SETS_MARK)
		skb->mark = a->mark;
	if (a->does & SETS_PRIORITY)
		skb->priority = a->priority;
	if (a->does & SETS_CB)
		skb->cb[0] = a->cb;
	if (a->does & SETS_TYPE)
		s->typed = bpf_skb_change_type(skb, a->type);
	if (a->does & SETS_ETHERTYPE) {
		__u16 *ethertype = (void *)(long)skb->data + 12;

		if ((void *)(ethertype + 1) <= (void *)(long)skb->data_end)
			*ethertype = bpf_htons(a->ethertype);
	}
	n = a->n & 7;
	if (a->does & STORES && n)
		s->stored = bpf_skb_store_bytes(skb, a->at, a->bytes, n, 0);
	if (a->does & SETS_LENGTH)
		s->resized = bpf_skb_change_tail(skb, a->length, 0);
	s->answer = send_on(skb, a);
	s->code = a->does & SAYS_ANSWER ? s->answer : a->verdict;
	remember(s);
	return s->code;
}

#define PROGRAM(n) SEC("tc") int p##n(struct __sk_buff *skb) { return act(skb, n); }

PROGRAM(0)
PROGRAM(1)
PROGRAM(2)
PROGRAM(3)
PROGRAM(4)
PROGRAM(5)
PROGRAM(6)
PROGRAM(7)
PROGRAM(8)
PROGRAM(9)

char LICENSE[] SEC("license") = "GPL";
