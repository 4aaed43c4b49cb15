"""``SkBuff``: a packet as the kernel holds it, a buffer with metadata.

Mirrors ``struct sk_buff`` (include/linux/skbuff.h, Linux 6.12) as far as the course needs it. The simulator moves it
between devices; a program sees it through the view ``struct __sk_buff``, which ``engine`` lays over these fields.

The buffer is one ``bytearray``. ``data`` is the offset of the packet's first byte in it, so that `pull` and `push` move
an offset and copy nothing. Header offsets count from the start of the buffer, as in the kernel. The first ``linear``
bytes from ``data`` are the part a program reaches through data/data_end; None means the whole packet is linear.
"""

from __future__ import annotations

from netkit_edu.uapi import PacketType

GSO_TCP, GSO_DODGY, GSO_UDP_L4 = 1 << 0 | 1 << 4, 1 << 1, 1 << 17  # SKB_GSO_TCPV4 | TCPV6, DODGY, UDP_L4
HEADROOM = 64  # bytes kept free before the packet: Ethernet header, alignment, room for a VLAN tag or a tunnel


class SkBuff:
    """One packet. ``protocol`` is the ethertype in host order; ``sk`` the sending socket or None.

    ``sw_hash`` says that ``hash`` was computed or set, even to 0; ``csum`` is what a device summed up, where it did.
    ``trace`` is where a simulator writes down what happens to the packet; None outside of one.
    """

    __slots__ = (
        "buf", "data", "linear", "mac_header", "network_header", "transport_header",
        "dev", "sk", "dst", "skb_iif", "protocol", "pkt_type", "mark", "priority", "queue_mapping",
        "vlan_present", "vlan_tci", "vlan_proto", "tc_index", "cb", "hash", "tc_classid", "napi_id", "tstamp",
        "wire_len", "gso_size", "gso_segs", "gso_type", "ip_summed", "csum_start", "csum_offset",
        "csum", "csum_level", "encapsulation", "sw_hash", "tstamp_type", "cloned", "ignore_df",
        "redirect", "trace", "tc_at_ingress", "nf_skip_egress",
    )  # fmt: skip

    def __init__(self, packet: bytes = b"", *, protocol: int = 0, headroom: int = HEADROOM):
        self.buf = bytearray(headroom) + packet
        self.data = headroom
        self.linear = None
        self.mac_header = self.network_header = self.transport_header = headroom
        self.dev = None
        self.sk = None
        self.dst = None
        self.skb_iif = 0
        self.protocol = protocol
        self.pkt_type = int(PacketType.HOST)
        self.mark = 0
        self.priority = 0
        self.queue_mapping = 0
        self.vlan_present = self.vlan_tci = self.vlan_proto = 0
        self.tc_index = 0
        self.cb = [0, 0, 0, 0, 0]
        self.hash = 0
        self.tc_classid = 0
        self.napi_id = 0
        self.tstamp = 0
        self.wire_len = 0
        self.gso_size = self.gso_segs = self.gso_type = 0
        self.ip_summed = self.csum_start = self.csum_offset = 0
        self.csum = self.csum_level = 0
        self.encapsulation = False
        self.sw_hash = False
        self.tstamp_type = 0
        self.cloned = False
        self.ignore_df = False
        self.redirect = None
        self.trace = None
        self.tc_at_ingress = self.nf_skip_egress = False

    def __len__(self) -> int:
        return len(self.buf) - self.data

    @property
    def bytes(self) -> bytes:
        """The packet from its current first byte to its end."""
        return bytes(self.buf[self.data :])

    @property
    def ifindex(self) -> int:
        """The ifindex of ``dev`` in that device's own namespace, 0 without a device."""
        return self.dev.ifindex if self.dev is not None else 0

    @property
    def headlen(self) -> int:
        """Bytes of the linear part (skb_headlen)."""
        length = len(self.buf) - self.data
        return length if self.linear is None else min(self.linear, length)

    def make_linear(self, n: int) -> bool:
        """Make at least the first ``n`` bytes linear (pskb_may_pull); False if the packet is shorter."""
        if n > len(self.buf) - self.data:
            return False
        if self.linear is not None:
            self.linear = max(self.linear, n)
        return True

    def push(self, n: int) -> int:
        """Make the packet start ``n`` bytes earlier (skb_push); return the new offset of its first byte."""
        if n > self.data:
            self._grow_headroom(n - self.data + HEADROOM)
        self.data -= n
        if self.linear is not None:
            self.linear += n
        return self.data

    def pull(self, n: int) -> int:
        """Make the packet start ``n`` bytes later (skb_pull); return the new offset of its first byte."""
        self.data += n
        if self.linear is not None:
            self.linear -= n
        return self.data

    def clone(self) -> SkBuff:
        """Return an independent copy, buffer included (the kernel shares the buffer until someone writes)."""
        other = SkBuff.__new__(SkBuff)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.buf = bytearray(self.buf)
        other.cb = list(self.cb)
        return other

    def _grow_headroom(self, n: int) -> None:
        self.buf[0:0] = bytes(n)
        self.data += n
        self.mac_header += n
        self.network_header += n
        self.transport_header += n
        self.csum_start += n
