"""Exercises of chapter 03: a bounds check, a header of variable length, a map that counts.

Each oracle works on the fields from which a frame was made, and so does what describes a program's slips (`slips`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netkit_edu import uapi
from netkit_edu.course.datagrams import Datagram, random_datagram
from netkit_edu.course.exercise import CASES, Misses, ProgramExercise, Raised, collect
from netkit_edu.course.slips import NO_ETHERTYPE, XDP_WORDS, Slip, explain, of_fault
from netkit_edu.uapi import Verdict

ETH_P_OTHER = (uapi.ETH_P_ARP, uapi.ETH_P_IPV6, 0x88CC)
SWAPPED_DNS = 0x3500  # 53 with its two bytes exchanged
NO_DROP = (
    "No packet has been dropped so far. If there is a condition already, one part of it is never true: look at the "
    "byte order of its constants, and at the place where it reads."
)


@dataclass(frozen=True)
class Frame:
    """A packet as a netkit program meets it, Ethernet header first; ``keep`` bytes are left where it is cut short."""

    datagram: Datagram
    keep: int | None = None

    @property
    def bytes(self) -> bytes:
        """The frame's bytes."""
        return self.datagram.bytes[: self.keep]

    @property
    def is_ip(self) -> bool:
        """True if the ethertype says IPv4."""
        return self.datagram.ethertype == uapi.ETH_P_IP

    def has(self, length: int) -> bool:
        """Return whether the frame has ``length`` bytes or more."""
        return len(self.bytes) >= length

    def __str__(self) -> str:
        cut = "" if self.keep is None else f", cut to its first {self.keep} bytes"
        return f"{self.datagram}{cut}"


class FrameExercise(ProgramExercise):
    """A program that lets packets pass or drops them; NEXT counts as PASS, since no program follows."""

    slips: tuple[Slip, ...] = ()

    def model(self, case: Frame, **slips: bool) -> Verdict:
        """Return the verdict of a program with these slips; without any, the right one."""
        raise NotImplementedError

    def expected(self, case: Frame) -> Verdict:
        """Return the right verdict."""
        return self.model(case)

    def got(self, answer: object, case: Frame) -> object:
        """Run the program; NEXT at the end of a chain passes."""
        verdict = super().got(answer, case)
        return Verdict.PASS if verdict == Verdict.NEXT else verdict

    def diagnose(self, misses: Misses) -> str:
        """Name a read beyond the packet, XDP's codes, or the slips that explain every miss."""
        if fault := next((m.got for m in misses if isinstance(m.got, Raised)), None):
            return of_fault(fault)
        unknown = {miss.got for miss in misses if not isinstance(miss.got, Verdict)}
        if unknown == {1}:
            return XDP_WORDS
        if unknown:
            return "netkit knows four codes: NEXT, PASS, DROP and REDIRECT. Every other number drops the packet."
        if not any(one.got == Verdict.DROP for one in misses.every):
            return NO_DROP
        if len(misses) == len(misses.every):
            return "It drops what should pass, and the other way round."
        return explain(misses, self.slips, self.model)


PASS_SHORT = "A packet too short to tell is to pass: return NETKIT_PASS where the check fails."
DROPS_SHORT = Slip("drops_short", PASS_SHORT)


class TtlGuard(FrameExercise):
    """Drop IPv4 packets that have no hop left."""

    id = "03.ttl-guard"
    slips = (
        NO_ETHERTYPE,
        DROPS_SHORT,
        Slip("zero_only", "It drops a TTL of 0 only: 1 is used up by the next router too."),
        Slip("one_only", "It drops a TTL of 1 only: 0 is less than that."),
        Slip("two_as_well", "It drops a TTL of 2 too, which still has a hop to go."),
        Slip("any_ttl", "It drops whatever its TTL is. `ip->ttl` is one byte: there is no byte order to turn in it."),
        Slip("inverted", "It drops what should pass, and the other way round."),
    )
    solution = """\
%%bpf ttl_guard
SEC("netkit/peer")
int ttl_guard(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if (data + sizeof(*eth) + sizeof(*ip) > data_end)
		return NETKIT_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && ip->ttl <= 1)
		return NETKIT_DROP;
	return NETKIT_PASS;
}
"""

    def cases(self, rng: random.Random) -> Iterable[Frame]:
        """Yield packets around the limit, other protocols, and packets that end inside the IP header."""
        made = [Frame(random_datagram(rng, ttl=ttl)) for ttl in (0, 1, 2, 3, 255) for _ in range(4)]
        made += [Frame(random_datagram(rng, ttl=1, ethertype=rng.choice(ETH_P_OTHER))) for _ in range(4)]
        made += [Frame(random_datagram(rng, ttl=1), keep=rng.randrange(14, 34)) for _ in range(4)]
        made += [Frame(random_datagram(rng, ttl=1), keep=14), Frame(random_datagram(rng, ttl=0, payload=b""), keep=34)]
        made += [Frame(random_datagram(rng)) for _ in range(CASES - len(made))]
        rng.shuffle(made)
        return made

    def model(self, case: Frame, *, any_ethertype=False, drops_short=False, zero_only=False, one_only=False,
              two_as_well=False, any_ttl=False, inverted=False) -> Verdict:  # fmt: skip
        """Return the verdict of a program with these slips."""
        if not case.has(34):
            return Verdict.DROP if drops_short else Verdict.PASS
        limit = 0 if zero_only else 2 if two_as_well else 255 if any_ttl else 1
        drop = (case.is_ip or any_ethertype) and one_only <= case.datagram.ttl <= limit
        return Verdict.DROP if drop != inverted else Verdict.PASS


class DropDns(FrameExercise):
    """Drop UDP to port 53, wherever its header begins."""

    id = "03.drop-dns"
    slips = (
        Slip(
            "host_order",
            "The port is compared in the wrong byte order. `udp->dest` holds it as on the wire, where 53 is the bytes "
            "00 35; this machine reads them as 13568. Compare with `bpf_htons(53)`.",
        ),
        Slip(
            "fixed_header",
            "It takes the IP header to be 20 bytes long. With options it is longer: `ip->ihl` counts it in words of "
            "4 bytes.",
        ),
        Slip("any_protocol", "It never asks for the protocol: TCP keeps its ports in the same place as UDP."),
        Slip("source", "It looks at the source port: the answers of a server, not the questions to it."),
        Slip("both_ports", "It drops answers too, which come *from* port 53: only the destination port counts here."),
        NO_ETHERTYPE,
        DROPS_SHORT,
        Slip("drops_short_ip", PASS_SHORT),
        Slip("drops_short_udp", PASS_SHORT),
    )
    solution = """\
%%bpf drop_dns
SEC("netkit/peer")
int drop_dns(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp;

	if (data + sizeof(*eth) + sizeof(*ip) > data_end)
		return NETKIT_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return NETKIT_PASS;

	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > data_end)
		return NETKIT_PASS;
	if (udp->dest == bpf_htons(53))
		return NETKIT_DROP;
	return NETKIT_PASS;
}
"""

    def cases(self, rng: random.Random) -> Iterable[Frame]:
        """Yield DNS queries behind headers of every length, and the packets most like them."""
        dns = {"protocol": uapi.IPPROTO_UDP, "dport": 53}
        made = [Frame(random_datagram(rng, **dns)) for _ in range(6)]
        made += [Frame(random_datagram(rng, **dns, options=_options(rng))) for _ in range(8)]
        made += [Frame(random_datagram(rng, protocol=uapi.IPPROTO_UDP, dport=SWAPPED_DNS)) for _ in range(3)]
        made += [Frame(random_datagram(rng, protocol=uapi.IPPROTO_UDP, sport=53)) for _ in range(3)]
        made += [Frame(random_datagram(rng, protocol=uapi.IPPROTO_TCP, dport=53)) for _ in range(3)]
        made += [
            Frame(random_datagram(rng, protocol=uapi.IPPROTO_UDP, options=_decoy(port)))
            for port in (53, 53, 53, SWAPPED_DNS, SWAPPED_DNS)
        ]
        made += [Frame(random_datagram(rng, **dns, ethertype=rng.choice(ETH_P_OTHER))) for _ in range(3)]
        made += [_cut(rng, random_datagram(rng, **dns, options=_options(rng, least=0))) for _ in range(6)]
        made += [Frame(random_datagram(rng)) for _ in range(CASES - len(made))]
        rng.shuffle(made)
        return made

    def model(self, case: Frame, *, host_order=False, fixed_header=False, any_protocol=False, source=False,
              both_ports=False, any_ethertype=False, drops_short=False, drops_short_ip=False, drops_short_udp=False
              ) -> Verdict:  # fmt: skip
        """Return the verdict of a program with these slips."""
        where = dict(fixed_header=fixed_header, any_protocol=any_protocol, any_ethertype=any_ethertype)
        port = _port(case, source=source, **where)
        if port is None:
            drop = False
        elif port < 0:
            drop = drops_short or (drops_short_udp if case.has(34) else drops_short_ip)
        else:
            ports = (port, _port(case, source=not source, **where)) if both_ports else (port,)
            drop = (SWAPPED_DNS if host_order else 53) in ports
        return Verdict.DROP if drop else Verdict.PASS


def _port(case: Frame, *, source=False, fixed_header=False, any_protocol=False, any_ethertype=False) -> int | None:
    """Return the port a program with these slips reads: None where it does not look, -1 where the packet ends first."""
    frame, header = case.bytes, case.datagram
    if len(frame) < 34:
        return -1
    if not (case.is_ip or any_ethertype) or not (any_protocol or header.protocol == uapi.IPPROTO_UDP):
        return None
    udp = 34 + (0 if fixed_header else len(header.options))
    if len(frame) < udp + 8:
        return -1
    at = udp if source else udp + 2
    return int.from_bytes(frame[at : at + 2], "big")


def _options(rng: random.Random, least: int = 1) -> bytes:
    """Return 4 to 40 bytes of IP options that do nothing (RFC 791: type 1)."""
    return b"\x01" * (4 * rng.randrange(least, 11))


def _decoy(port: int) -> bytes:
    """Return a router alert option (RFC 2113) whose value stands where a UDP port would without options."""
    return b"\x94\x04" + port.to_bytes(2, "big")


def _cut(rng: random.Random, datagram: Datagram) -> Frame:
    """Cut a packet anywhere before its destination port is complete."""
    return Frame(datagram, keep=rng.randrange(14, 14 + 20 + len(datagram.options) + 4))


@dataclass(frozen=True)
class Stream:
    """Packets that a counting program meets one after the other, its map empty before the first."""

    frames: tuple[Frame, ...]

    def __str__(self) -> str:
        return "; ".join(str(frame) for frame in self.frames)


class CountPorts(ProgramExercise):
    """Count packets for each UDP destination port, in host byte order, in a hash map."""

    id = "03.count-ports"
    slips = (
        Slip(
            "network_order",
            "The keys are ports in network byte order: 53 appears as 13568. Turn them round with `bpf_ntohs`.",
        ),
        Slip("starts_at_zero", "The first packet of a port is not counted: the entry it makes starts at 1."),
        Slip("stays_at_one", "Each entry stays at 1: where the lookup finds one, add to what its pointer points at."),
        Slip("any_protocol", "It counts other protocols as well: look at `ip->protocol`."),
        Slip("fixed_header", "It takes the IP header to be 20 bytes long; `ip->ihl` counts it in words of 4 bytes."),
        Slip("source", "It counts source ports."),
        NO_ETHERTYPE,
    )
    solution = """\
%%bpf count_ports
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u64);
} ports SEC(".maps");

SEC("netkit/peer")
int count_ports(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp;
	__u64 one = 1, *count;
	__u16 port;

	if (data + sizeof(*eth) + sizeof(*ip) > data_end)
		return NETKIT_NEXT;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return NETKIT_NEXT;
	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > data_end)
		return NETKIT_NEXT;

	port = bpf_ntohs(udp->dest);
	count = bpf_map_lookup_elem(&ports, &port);
	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&ports, &port, &one, BPF_ANY);
	return NETKIT_NEXT;
}
"""

    def wants(self, answer: object) -> str:
        """Refuse what has no map called ports."""
        if refusal := super().wants(answer):
            return refusal
        return "" if "ports" in answer.maps else 'give the program a hash map called "ports"'

    def cases(self, rng: random.Random) -> Iterable[Stream]:
        """Yield streams in which ports come back, among packets that do not count."""
        for n in range(CASES):
            known = [rng.choice([53, 123, 443]), rng.randrange(1024, 65536)]
            frames = [Frame(random_datagram(rng, protocol=uapi.IPPROTO_UDP, dport=rng.choice(known),
                                            options=rng.choice([b"", _options(rng)]))) for _ in range(4)]  # fmt: skip
            frames += [Frame(random_datagram(rng, protocol=uapi.IPPROTO_TCP, dport=known[0]))]
            frames += [Frame(random_datagram(rng, protocol=uapi.IPPROTO_UDP, ethertype=rng.choice(ETH_P_OTHER)))]
            frames += [_cut(rng, random_datagram(rng, protocol=uapi.IPPROTO_UDP, dport=known[1]))]
            yield Stream(tuple(rng.sample(frames, 1 + n * len(frames) // CASES)))  # short ones first: a miss reads well

    def expected(self, case: Stream) -> str:
        """Return the map's content afterwards."""
        return self.model(case)

    def model(self, case: Stream, *, network_order=False, starts_at_zero=False, stays_at_one=False, **reading) -> str:
        """Return the content of the map that a program with these slips leaves."""
        counts: dict[int, int] = {}
        for frame in case.frames:
            port = _port(frame, **reading)
            if port is None or port < 0:
                continue
            key = int.from_bytes(port.to_bytes(2, "big"), "little") if network_order else port
            if key not in counts:
                counts[key] = 0 if starts_at_zero else 1
            elif not stays_at_one:
                counts[key] += 1
        return _content(counts)

    def got(self, answer: object, case: Stream) -> object:
        """Empty the map, run the stream through the program, and read the map."""
        table = answer.maps["ports"]
        for key in list(table):
            del table[key]
        for frame in case.frames:
            verdict = answer.run(frame.bytes).verdict
            if verdict not in (Verdict.NEXT, Verdict.PASS):
                return f"{getattr(verdict, 'name', verdict)} for {frame}"
        return _content({int(key): int(table[key]) for key in table})

    def diagnose(self, misses: Misses) -> str:
        """Name a read beyond the packet, a dropped packet, or the slips that explain every miss."""
        if fault := next((m.got for m in misses if isinstance(m.got, Raised)), None):
            return of_fault(fault)
        if any("for" in str(miss.got) for miss in misses):
            return "It should only count: every packet passes (NETKIT_NEXT)."
        if all(one.got == "0: 1" for one in misses.every):
            return "Each packet sets the entry of port 0 to 1, as in the cell you started from: read the port first."
        if all(one.got == "empty" for one in misses.every):
            return "Nothing has been put into the map: a lookup finds no entry that nobody has made."
        return explain(misses, self.slips, self.model)


def _content(counts: Mapping[int, int]) -> str:
    return ", ".join(f"{port}: {count}" for port, count in sorted(counts.items())) or "empty"


EXERCISES = collect(TtlGuard, DropDns, CountPorts)
