/* Shows: what the browser runs without a compiler. Hook: netkit/peer. Fate: dropped, and counted. Linux 6.7. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("netkit/peer")
int count_and_drop(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);

	if (count)
		*count += 1;
	return NETKIT_DROP;
}
