"""Exercises of chapter 08: out past the host's stack, the fate of a redirect, and in past it.

The two programs run in a lab, one frame after another, and are judged by the way each frame took. What a frame's way
should be is said by its own addresses, and the fate of a redirect by the lab.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from netkit_edu import uapi
from netkit_edu.course.ch03 import Frame
from netkit_edu.course.datagrams import random_datagram
from netkit_edu.course.exercise import CASES, Exercise, Misses, Raised, collect
from netkit_edu.course.fate import FateOfRedirect
from netkit_edu.course.slips import of_stop
from netkit_edu.course.ways import STACK, STRAIGHT, ArrivingLab, LeavingLab
from netkit_edu.programs import Program

PODS, HOST_IP, OUTSIDE_IP = IPv4Network("10.0.0.0/16"), "192.0.2.1", "192.0.2.2"
NIC_MAC, OUTSIDE_MAC, NO_MAC = "02:00:c0:00:02:01", "02:00:c0:00:02:02", "00:00:00:00:00:00"
TURNED_ALIKE = ("2.0.0.10", "1.2.0.192")  # a pod's address and the host's, read in the other byte order
NO_MACS = (
    "bpf_redirect sends the MAC addresses that stand in the frame, and on an L3 pair they are zero. If you wrote some "
    "with memcpy: a cast that takes `volatile` away gives the compiler's zeros, so copy byte by byte."
)
NOTHING_LEFT = (
    "Nothing has left so far. If you compare addresses already: is it the destination, in network byte order? "
    "And is what `bpf_redirect(NIC, 0)` returns your verdict?"
)
IP_HEADER = 34  # bytes up to the end of an IP header without options


# leave --------------------------------------------------------------------------------------------------------------


def frames(rng: random.Random, addresses: Sequence[str], others: Sequence[str], src: str) -> list[Frame]:
    """Return `CASES` frames for these addresses; some for ``others`` are not IPv4, or cut inside the IP header."""
    made = [Frame(random_datagram(rng, src=src, dst=dst)) for dst in addresses]
    for dst in others:
        made += [Frame(random_datagram(rng, src=src, dst=dst, ethertype=t)) for t in (uapi.ETH_P_ARP, 0x88CC)]
        made += [Frame(random_datagram(rng, src=src, dst=dst), keep=rng.randrange(14, IP_HEADER)) for _ in range(2)]
    made += [Frame(random_datagram(rng, src=src, dst=rng.choice(addresses))) for _ in range(CASES - len(made))]
    rng.shuffle(made)
    return made


class Leave(Exercise):
    """A program at a pod's end that sends what is for outside past the host's stack."""

    id = "08.leave"
    solution = """\
%%bpf leave
volatile const __u32 NIC;
volatile const __u8 NIC_MAC[6];
volatile const __u8 OUTSIDE_MAC[6];

SEC("netkit/peer")
int leave(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_PASS;
	if ((ip->daddr & bpf_htonl(0xffff0000)) == bpf_htonl(0x0a000000))
		return NETKIT_PASS;
	if (ip->daddr == bpf_htonl(0xc0000201))
		return NETKIT_PASS;

	for (int i = 0; i < 6; i++) {
		eth->h_source[i] = NIC_MAC[i];
		eth->h_dest[i] = OUTSIDE_MAC[i];
	}
	return bpf_redirect(NIC, 0);
}
"""

    def wants(self, answer: object) -> str:
        """Refuse what is no program that can be bound."""
        return "" if callable(getattr(answer, "bind", None)) else _wants_program(answer)

    def cases(self, rng: random.Random) -> Iterable[Frame]:
        """Yield frames for outside, addresses behind it, the pods, the host, and what only looks like one of them."""
        addresses = [
            OUTSIDE_IP, f"198.51.100.{rng.randrange(1, 255)}", HOST_IP, HOST_IP, "10.0.2.2", "10.0.1.1",
            f"10.0.{rng.randrange(3, 255)}.{rng.randrange(1, 255)}", f"10.{rng.randrange(1, 255)}.0.2",
            "192.0.2.3", "192.0.1.2", "2.0.0.10", "1.2.0.192", f"{rng.randrange(11, 100)}.0.2.2",
        ]  # fmt: skip
        return frames(rng, addresses, [OUTSIDE_IP, addresses[1]], "10.0.1.2")

    def expected(self, case: Frame) -> str:
        """Return which way the frame is to take."""
        if not case.is_ip or not case.has(IP_HEADER):
            return STACK
        dst = case.datagram.dst
        return STACK if dst == HOST_IP or IPv4Address(dst) in PODS else STRAIGHT

    def prepare(self, answer: Program) -> LeavingLab:
        """Attach the program in a lab."""
        return LeavingLab(answer)

    def got(self, answer: LeavingLab, case: Frame) -> str:
        """Send the frame and see which way it takes."""
        return answer.way(case.bytes)

    def diagnose(self, misses: Misses) -> str:
        """Name what the frames have in common that took a wrong way."""
        if any(isinstance(miss.got, Raised) for miss in misses):
            return of_stop(misses)
        said = {miss.got for miss in misses}
        if all(one.got == STACK for one in misses.every):
            return NOTHING_LEFT
        if f"to the card, from {NO_MAC} to {NO_MAC}" in said:
            return NO_MACS
        if f"to the card, from {OUTSIDE_MAC} to {NIC_MAC}" in said:
            return "The addresses are the wrong way round: the frame goes *from* the card *to* outside."
        if any("routes" in word for word in said):
            return "bpf_redirect_neigh asks the host's routes: write the addresses yourself, and call bpf_redirect."
        if any("from" in word for word in said):
            return "Six bytes for each address: `h_dest` is who is to take the frame, `h_source` who sends it."
        if any("redirect_peer" in word for word in said):
            return "bpf_redirect_peer works at tcx ingress only. Here the card is to transmit: call bpf_redirect."
        if any(word.startswith("dropped at pod") for word in said):
            return "What is not to leave goes on to the host's stack: that is NETKIT_PASS, not NETKIT_DROP."
        if any(word.startswith("lost") for word in said):
            return "The verdict alone names no target: return what `bpf_redirect(NIC, 0)` returns."
        return _left_wrongly(misses)


def _left_wrongly(misses: Misses) -> str:
    """Name the kind of frames that left although they are the host's business, or stayed although they are not."""
    frames = [miss.case for miss in misses if miss.got == STRAIGHT]
    if frames and not all(frame.is_ip for frame in frames):
        return "The program never asks whether this is IPv4: look at `eth->h_proto` first."
    stayed = [miss.case.datagram.dst for miss in misses if miss.got == STACK]
    if any(dst in TURNED_ALIKE for dst in stayed):
        return "Addresses are compared the wrong way round: constants in network byte order are `bpf_htonl(...)`."
    if any(frame.datagram.dst == HOST_IP for frame in frames):
        return "192.0.2.1 lies in the network behind the card, but it is the host's own address."
    if frames:
        return "10.0.0.0/16 means that the first two bytes are 10 and 0, in network byte order."
    if any(dst.startswith("10.") for dst in stayed):
        return "/16: only the first two bytes count, and both of them. 10.7.0.2 is not in 10.0.0.0/16."
    return "Only 192.0.2.1 itself is the host's: other addresses of its network are behind the card." if stayed else ""


def _wants_program(answer: object) -> str:
    return f"give the program that your %%bpf cell made, not {answer!r}"


# inward -------------------------------------------------------------------------------------------------------------

IN_MAP = {"10.0.1.2": "pod1", "10.0.2.2": "pod2"}
NOTHING_IN = (
    "Nothing goes into a pod so far. Is the key the destination address, all four bytes of it? Is the ethertype "
    "compared in network byte order? And is what the helper returns your verdict?"
)
TURNED = "2.1.0.10"  # a pod's address with its bytes in the other order


class Inward(Exercise):
    """A program at the card that brings packets into the pods, past the host's stack and the backlog."""

    id = "08.inward"
    solution = """\
%%bpf inward
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} pods SEC(".maps");

SEC("tcx/ingress")
int inward(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u32 key, *ifindex;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return TCX_PASS;
	key = ip->daddr;
	ifindex = bpf_map_lookup_elem(&pods, &key);
	if (!ifindex)
		return TCX_PASS;
	return bpf_redirect_peer(*ifindex, 0);
}
"""

    def wants(self, answer: object) -> str:
        """Refuse what is no program with the map that the check fills."""
        if not callable(getattr(answer, "run", None)):
            return _wants_program(answer)
        if "pods" not in getattr(answer, "map_specs", {}):
            return "the program is to look its target up in the map pods, and uses no map of that name yet"
        return ""

    def cases(self, rng: random.Random) -> Iterable[Frame]:
        """Yield frames for pods in the map and one that is not, for the host, for nobody, and from a pod's address."""
        addresses = ["10.0.1.2", "10.0.2.2", "10.0.1.2", "10.0.2.2", "10.0.3.2", "10.0.1.1", HOST_IP, "10.0.2.3",
                     "10.0.9.2", TURNED]  # fmt: skip
        spoofed = Frame(random_datagram(rng, src="10.0.1.2", dst="10.0.2.2"))
        return [spoofed, *frames(rng, addresses, addresses[:2], OUTSIDE_IP)]

    def expected(self, case: Frame) -> str:
        """Return which way the frame is to take."""
        pod = IN_MAP.get(case.datagram.dst)
        return f"straight into {pod}" if pod and case.is_ip and case.has(IP_HEADER) else STACK

    def prepare(self, answer: Program) -> ArrivingLab:
        """Attach the program in a lab, and fill its map."""
        return ArrivingLab(answer)

    def got(self, answer: ArrivingLab, case: Frame) -> str:
        """Send the frame and see which way it takes."""
        return answer.way(case.bytes)

    def diagnose(self, misses: Misses) -> str:
        """Name what the frames have in common that took a wrong way."""
        if any(isinstance(miss.got, Raised) for miss in misses):
            return of_stop(misses)
        said = [str(miss.got) for miss in misses]
        if any("netkit_xmit" in word for word in said):
            return "The host's end transmits here, into the backlog: another helper gives the packet to the other end."
        dropped = [miss.case for miss in misses if str(miss.got).startswith("dropped at host")]
        if dropped and all(self.expected(case) != STACK for case in dropped):
            return "What is for a pod in the map is dropped: by your verdict, or for flags that are not 0."
        if dropped:
            return "What you do not find is not yours to drop: TCX_PASS or TCX_NEXT hand it on."
        if any(word.startswith("lost") for word in said):
            return "A redirect needs the ifindex from the map's value, and what the helper returns as the verdict."
        wrongly_in = [miss.case for miss in misses if str(miss.got).startswith("straight")]
        if any(case.datagram.dst == TURNED for case in wrongly_in):
            return "The map's key is the address as it stands in the packet: do not turn its bytes."
        if all(one.got == STACK for one in misses.every):
            return NOTHING_IN
        if any(miss.got == f"straight into {IN_MAP.get(miss.case.datagram.src)}" for miss in misses):
            return "That frame went where its source address belongs: the key is the destination, `ip->daddr`."
        if any(not case.is_ip for case in wrongly_in):
            return "The program never asks whether this is IPv4: look at `eth->h_proto` first."
        return ""


EXERCISES = collect(Leave, FateOfRedirect, Inward)
