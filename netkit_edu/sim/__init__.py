"""A small Linux: what Linux 6.12 does to a packet between a socket and a device, function by function.

Each file mirrors a part of the kernel under the kernel's names, to be held beside it:

=================  ===============================================================================================
cpu.py             kernel/softirq.c: process and softirq context, net_rx_action
dev.py             net/core/dev.c: __dev_queue_xmit, qdiscs, the per-CPU backlog, __netif_receive_skb_core
netdevice.py       struct net_device and its table of functions; dummy, loopback, a card with a wire
veth.py netkit.py  drivers/net/veth.c, drivers/net/netkit.c
mprog.py tcx.py    kernel/bpf/mprog.c, kernel/bpf/tcx.c: lists of programs, and those at every device
filter.py world.py net/core/filter.c: running a program, redirects, and what helpers ask of the network
ip_*.py route.py   net/ipv4: ip_rcv, ip_forward, ip_output, fragments, routes
neighbour.py       net/core/neighbour.c; arp.py net/ipv4/arp.c
udp.py icmp.py     the endpoints; raw.py the raw and packet sockets; sock.py what all sockets share
netfilter.py       the hook points; gso.py packets that stand for many
rtnetlink.py       creating, naming and deleting devices; netns.py a namespace, devinet.py its devices' addresses
skbuff.py trace.py how packets end, and the record of what they went through
kernel.py          the machine that all this belongs to; backend.py its face
=================  ===============================================================================================

Limits: IPv4 without options; UDP and ICMP endpoints (TCP segments and IPv6 packets cross devices and programs, and end
at the stack's door); no clock, so nothing times out while packets move (what waits for ARP gives up when all
else has come to rest) and ICMP errors are not rate-limited; rp_filter off, and forwarding as the sysctl says.
"""
