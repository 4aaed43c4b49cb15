"""Exercises of chapter 07: a checksum from a difference, a destination rewritten, and a source on the way back.

The oracle says what arrives by the fields from which a packet was made; see `translation` for how a program's work is
judged.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from netkit_edu import uapi
from netkit_edu.course.ch03 import NO_ETHERTYPE, Slip, explain, of_fault
from netkit_edu.course.checksum import Update
from netkit_edu.course.datagrams import Datagram, random_datagram
from netkit_edu.course.exercise import Misses, ProgramExercise, Raised, collect
from netkit_edu.course.translation import (
    HALF,
    ICMP,
    NONE,
    STALE,
    TCP,
    UDP,
    WHOLE,
    Rule,
    Sealed,
    ones_sum,
    outcome,
    pseudo_header,
    run,
    translate,
)
from netkit_edu.engine import interpreter, maps
from netkit_edu.engine.checksum import PARTIAL
from netkit_edu.programs import Program, skb_for_run
from netkit_edu.uapi import Verdict

CLIENT, SERVICE, POD = "10.0.1.2", "10.96.0.10", "10.0.2.2"
SERVICE_PORT, POD_PORT = 53, 5353
NOTHING = (
    "No packet has been changed so far. If there is a condition already, one part of it is never true: look at the "
    "byte order of its constants, and at the place where it reads."
)
ONLY_IP = (
    "Of ICMP, only the IP header changes. It has no ports, and its checksum covers no address: leave its bytes alone, "
    "those at the place of a UDP checksum included."
)
USED_LATER = (
    "After a helper that writes, no pointer into the packet is left: `ip` and `udp` are mere numbers to the verifier. "
    "Read and write through them first, keep what you need in variables, and call the helpers last."
)
PASSES_ALL = "Every packet passes here, NETKIT_NEXT: this program translates, it does not judge."


def swapped(port: int) -> int:
    """Return what the other byte order makes of a port."""
    return int.from_bytes(port.to_bytes(2, "big"), "little")


# packets rewritten ---------------------------------------------------------------------------------------------------

TO_POD = Rule(16, 2, SERVICE, SERVICE_PORT, POD, POD_PORT, pings=False)
FROM_POD = Rule(12, 0, POD, POD_PORT, SERVICE, SERVICE_PORT, pings=True)


class Translation(ProgramExercise):
    """A program that rewrites one address and port; it also meets packets whose checksum a socket left half done."""

    rule: Rule
    slips: tuple[Slip, ...] = (
        Slip("no_l3", "The IP header's checksum does not fit: mend it with `bpf_l3_csum_replace`, at offset 24."),
        Slip("no_l4", "The UDP checksum is the old one: it covers the port, and the address too (pseudo header)."),
        Slip("no_l4_address", "The UDP checksum covers the address too, in its pseudo header: mend it for both."),
        Slip("no_l4_port", "The UDP checksum covers the port too: mend it for both, address and port."),
        Slip(
            "no_pseudo",
            "Right for whole checksums, wrong for those that a socket leaves half done: the address is part of the "
            "pseudo header, so say `BPF_F_PSEUDO_HDR` with it.",
        ),
        Slip(
            "pseudo_on_port",
            "Right for whole checksums, wrong for those that a socket leaves half done: the port is not part of the "
            "pseudo header, so `BPF_F_PSEUDO_HDR` does not belong to it.",
        ),
        Slip(
            "no_mangled",
            "A UDP checksum of 0 means that there is none: it has to stay 0, and a result of 0 has to become 0xffff. "
            "`BPF_F_MARK_MANGLED_0` does both.",
        ),
        Slip("host_order_port", "The new port is in the wrong byte order: `bpf_htons`."),
        Slip("host_order_address", "The new address is in the wrong byte order: `bpf_htonl`."),
        Slip("port_kept", "The port is still the old one."),
        Slip("fixed_header", "It takes the IP header to be 20 bytes long; `ip->ihl` counts it in words of 4 bytes."),
        Slip("fixed_l4", "It mends the UDP checksum at a fixed offset; with IP options, UDP begins further back."),
        Slip("any_protocol", "It translates other protocols as well: look at `ip->protocol`."),
        Slip("any_port", "It translates whatever the port was."),
        Slip("any_address", "It translates whatever the address was."),
        NO_ETHERTYPE,
        Slip("no_pings", "Echo replies need the new address as well."),
    )  # fmt: skip

    def prepare(self, answer: Program) -> interpreter.Executable:
        """Load the program with maps of its own."""
        return interpreter.load(answer.code, {name: maps.create(spec) for name, spec in answer.map_specs.items()})

    def got(self, answer: interpreter.Executable, case: Sealed) -> str:
        """Run the program as netkit does, also on a packet whose checksum is left to the device."""
        skb = skb_for_run(case.bytes)
        if case.udp == HALF and case.datagram.protocol == UDP:
            skb.ip_summed = PARTIAL
        code = run(answer, skb)
        return code if isinstance(code, str) else outcome(case, code, skb.bytes)

    def expected(self, case: Sealed) -> str:
        """Return what is right, from the packet's fields."""
        d, rule = case.datagram, self.rule
        at = 34 + len(d.options)
        ping = rule.pings and d.protocol == ICMP and case.has(34)
        sides = {"src": d.src, "sport": d.sport} if rule.port_at == 0 else {"dst": d.dst, "dport": d.dport}
        address, port = sides.values()
        hit = d.protocol == UDP and case.has(at + 8) and port == rule.port
        if not case.is_ip or address != rule.address or not (hit or ping):
            return "passes, unchanged"
        new = replace(d, **dict(zip(sides, (rule.new_address, rule.new_port), strict=True)))
        if ping:
            return f"passes, {new.src} > {new.dst}, IP checksum right, ICMP checksum right"
        left = "none" if case.udp == NONE else "right"
        return f"passes, {new.src}:{new.sport} > {new.dst}:{new.dport}, IP checksum right, UDP checksum {left}"

    def model(self, case: Sealed, **slips: bool) -> str:
        """Return what a program with these slips does."""
        return outcome(case, Verdict.NEXT, translate(case, self.rule, slips))

    def diagnose(self, misses: Misses) -> str:
        """Name a read beyond the packet, a drop, nothing done at all, or the slips that explain every miss."""
        if fault := next((m.got for m in misses if isinstance(m.got, Raised)), None):
            return of_fault(fault)
        said = [str(one.got) for one in misses.every]
        if STALE in said:
            return USED_LATER
        if not all(words.startswith("passes") for words in said):
            return PASSES_ALL
        if all(words.endswith("unchanged") for words in said):
            return NOTHING
        if words := self.turned(misses):
            return words
        if words := explain(misses, self.slips, self.model) or self.taken_in(misses):
            return words
        if any("ICMP checksum wrong" in miss.got for miss in misses):
            return ONLY_IP
        wrong = [name for name in ("IP", "UDP", "ICMP") if any(f"{name} checksum wrong" in str(m.got) for m in misses)]
        return f"The {' and the '.join(wrong)} checksum does not always fit." if wrong else ""

    def turned(self, misses: Misses) -> str:
        """Return what to say if only what looks right in the wrong byte order is changed."""
        rule = self.rule
        changed = [one.case for one in misses.every if str(one.got) != "passes, unchanged"]
        ports = [self.port(case) for case in changed if case.datagram.protocol == UDP]
        if ports and set(ports) == {swapped(rule.port)}:
            return f"The old port is compared in the wrong byte order: in a packet, it is `bpf_htons({rule.port})`."
        if {self.address(case) for case in changed} == {".".join(reversed(rule.address.split(".")))}:
            return f"{rule.address} is compared in the wrong byte order: in a packet, an address is `bpf_htonl(...)`."
        return ""

    def port(self, case: Sealed) -> int:
        """Return the port that the rule is about."""
        return case.datagram.dport if self.rule.port_at else case.datagram.sport

    def address(self, case: Sealed) -> str:
        """Return the address that the rule is about."""
        return case.datagram.dst if self.rule.port_at else case.datagram.src

    def taken_in(self, misses: Misses) -> str:
        """Return the words of the slip that lets in what this program wrongly changes, whatever it then does to it."""
        if any(not miss.expected.endswith("unchanged") for miss in misses):
            return ""
        for slip in self.slips:
            changed = (self.model(one.case, **{slip.flag: True}) != "passes, unchanged" for one in misses.every)
            if all((one.got != "passes, unchanged") == told for one, told in zip(misses.every, changed, strict=True)):
                return slip.words
        return ""

    def cases(self, rng: random.Random) -> Iterable[Sealed]:
        """Yield what is to be translated in all its forms, and what looks almost like it."""
        made = [*self.hits(rng), *self.traps(rng)]
        rng.shuffle(made)
        return made

    def hits(self, rng: random.Random) -> list[Sealed]:
        """Return UDP packets to be translated: each kind of checksum, IP options, and one whose new checksum is 0."""
        made = [Sealed(self.packet(rng), udp=kind) for kind in (WHOLE, HALF) for _ in range(5)]
        made += [Sealed(self.packet(rng), udp=NONE) for _ in range(4)]
        made += [Sealed(self.packet(rng, options=rng.choice((b"\x01" * 4, b"\x01" * 12))), udp=kind)
                 for kind in (WHOLE, HALF, WHOLE, NONE)]  # fmt: skip
        return [*made, self.to_zero(self.packet(rng)), self.to_zero(self.packet(rng))]

    def packet(self, rng: random.Random, **fields) -> Datagram:
        """Return a packet that the rule is for, unless ``fields`` say otherwise."""
        rule = self.rule
        near = {"dst": CLIENT, "src": rule.address, "sport": rule.port, "dport": rng.randrange(32768, 60000)}
        if rule.port_at:
            near = {"src": CLIENT, "dst": rule.address, "dport": rule.port, "sport": rng.randrange(32768, 60000)}
        return random_datagram(rng, **{**near, "protocol": UDP, **fields})

    def to_zero(self, d: Datagram) -> Sealed:
        """Return the packet with such a payload that its checksum, once translated, is 0: to be written as 0xffff."""
        d = replace(d, payload=d.payload[: len(d.payload) & ~1] + b"\0\0")
        body = translate(Sealed(d), self.rule, ())
        at = 34 + len(d.options)
        body = body[: at + 6] + b"\0\0" + body[at + 8 :]
        missing = ~ones_sum(pseudo_header(body, at) + body[at:]) & 0xFFFF
        return Sealed(replace(d, payload=d.payload[:-2] + missing.to_bytes(2, "big")))

    def traps(self, rng: random.Random) -> list[Sealed]:
        """Return the rest: packets to be left alone, pings to be translated."""
        raise NotImplementedError


HEAD = """\
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp;
"""
NAMES = """\
#define SERVICE	bpf_htonl(0x0a60000a)	/* 10.96.0.10 */
#define POD	bpf_htonl(0x0a000202)	/* 10.0.2.2 */
"""


class Dnat(Translation):
    """UDP to the service's port goes to the pod's."""

    id = "07.dnat"
    rule = TO_POD
    solution = f"""\
%%bpf dnat
{NAMES}
SEC("netkit/peer")
int dnat(struct __sk_buff *skb)
{{
{HEAD}	__u32 udp_at;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;
	if (ip->protocol != IPPROTO_UDP || ip->daddr != SERVICE)
		return NETKIT_NEXT;
	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > data_end || udp->dest != bpf_htons(53))
		return NETKIT_NEXT;

	udp_at = sizeof(*eth) + ip->ihl * 4;
	ip->daddr = POD;
	udp->dest = bpf_htons(5353);
	bpf_l3_csum_replace(skb, 24, SERVICE, POD, 4);
	bpf_l4_csum_replace(skb, udp_at + 6, SERVICE, POD,
			BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 4);
	bpf_l4_csum_replace(skb, udp_at + 6, bpf_htons(53), bpf_htons(5353),
			BPF_F_MARK_MANGLED_0 | 2);
	return NETKIT_NEXT;
}}
"""

    def traps(self, rng: random.Random) -> list[Sealed]:
        """Return packets to be left alone."""
        made = [Sealed(self.packet(rng, dst=dst)) for dst in (POD, "10.0.96.10", "10.96.0.11", "192.0.2.2")]
        made += [Sealed(self.packet(rng, dport=port)) for port in (swapped(SERVICE_PORT), POD_PORT)]
        made += [Sealed(self.packet(rng, sport=SERVICE_PORT, dport=port)) for port in (40000, 54)]
        made += [Sealed(self.packet(rng, protocol=TCP)) for _ in range(3)]
        made += [Sealed(self.packet(rng, protocol=ICMP)) for _ in range(2)]
        made += [Sealed(self.packet(rng, ethertype=kind)) for kind in (uapi.ETH_P_ARP, uapi.ETH_P_IPV6)]
        return made + [Sealed(self.packet(rng), keep=keep) for keep in (14, 30, 34, 38, 41)]


class SnatReply(Translation):
    """What the pod answers, by UDP or to a ping, comes from the service."""

    id = "07.snat-reply"
    rule = FROM_POD
    solution = f"""\
%%bpf snat_reply
{NAMES}
SEC("netkit/primary")
int snat_reply(struct __sk_buff *skb)
{{
{HEAD}	__u32 udp_at;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;
	if (ip->saddr != POD)
		return NETKIT_NEXT;
	if (ip->protocol == IPPROTO_ICMP) {{
		ip->saddr = SERVICE;
		bpf_l3_csum_replace(skb, 24, POD, SERVICE, 4);
		return NETKIT_NEXT;
	}}
	udp = (void *)ip + ip->ihl * 4;
	if (ip->protocol != IPPROTO_UDP || (void *)(udp + 1) > data_end)
		return NETKIT_NEXT;
	if (udp->source != bpf_htons(5353))
		return NETKIT_NEXT;

	udp_at = sizeof(*eth) + ip->ihl * 4;
	ip->saddr = SERVICE;
	udp->source = bpf_htons(53);
	bpf_l3_csum_replace(skb, 24, POD, SERVICE, 4);
	bpf_l4_csum_replace(skb, udp_at + 6, POD, SERVICE,
			BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 4);
	bpf_l4_csum_replace(skb, udp_at + 6, bpf_htons(5353), bpf_htons(53),
			BPF_F_MARK_MANGLED_0 | 2);
	return NETKIT_NEXT;
}}
"""

    def traps(self, rng: random.Random) -> list[Sealed]:
        """Return pings, some with IP options, and packets to be left alone."""
        made = [Sealed(self.packet(rng, protocol=ICMP, options=options)) for options in (b"", b"", b"", b"\x01" * 8)]
        made += [Sealed(self.packet(rng, protocol=ICMP, src="10.0.3.2"))]
        made += [Sealed(self.packet(rng, src=src)) for src in ("10.0.3.2", "2.2.0.10", "192.0.2.2")]
        made += [Sealed(self.packet(rng, sport=port, dport=POD_PORT)) for port in (swapped(POD_PORT), SERVICE_PORT)]
        made += [Sealed(self.packet(rng, src="10.0.1.1", dst=POD))]
        made += [Sealed(self.packet(rng, protocol=TCP)) for _ in range(3)]
        made += [Sealed(self.packet(rng, ethertype=kind)) for kind in (uapi.ETH_P_ARP, uapi.ETH_P_IPV6)]
        return made + [Sealed(self.packet(rng), keep=keep) for keep in (14, 33, 34, 41)]


EXERCISES = collect(Update, Dnat, SnatReply)
