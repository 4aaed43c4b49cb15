SEC("netkit/peer")
int drop_dns(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end)
		return NETKIT_PASS;
	if (ip->protocol == IPPROTO_UDP && udp->dest == bpf_htons(53))
		return NETKIT_DROP;
	return NETKIT_PASS;
}
