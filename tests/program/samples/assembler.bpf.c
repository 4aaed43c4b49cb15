#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int masked(struct __sk_buff *skb)
{
	__u32 index = skb->len;

	asm volatile("%0 &= 3" : "+r"(index));
	barrier();
	return index;
}
