"""From records to ways: what each event was, and which packet it happened to (`owners.py`).

An event without a packet belongs to what is at hand. All that happens in the softirq is the sender's, as far as its
packets are concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from netkit_edu.journey import FateKind, HopKind
from netkit_edu.linux import words
from netkit_edu.linux.owners import COPIES, Hook, Owners, Packet
from netkit_edu.linux.records import Record
from netkit_edu.linux.trace_table import CONSUME_SKB, FIB_LOOKUP, FUNCTIONS, KFREE_SKB, VERDICT
from netkit_edu.linux.way import Way, Where
from netkit_edu.uapi import ETH_HLEN, Context, Verdict

_SENDERS = {"udp_sendmsg", "raw_sendmsg", "ping_v4_sendmsg", "packet_sendmsg"}
_STEPS = {"__do_softirq", "handle_softirqs", "net_rx_action", "process_backlog"}
_ANSWERS = {"icmp_reply", "__icmp_send"}
_RELOOKUPS = {"ip_route_input_noref", "ip_route_input_slow"}
_SPLITTING = {"ip_do_fragment", "skb_gso_segment", "bpf_clone_redirect", "br_flood"}
_CABLE = {"__dev_forward_skb", "__dev_forward_skb2", "skb_scrub_packet", "eth_type_trans", "__netif_rx",
          "netif_rx_internal", "enqueue_to_backlog"}  # fmt: skip
_RUNNING = {"netkit_xmit", "skb_scrub_packet", "__dev_queue_xmit", "__netif_receive_skb_core", "bpf_prog_run"}
_ROUTING = {"ip_route_output_flow", "ip_route_input_slow", *_ANSWERS}  # onward, the sender is looked up, too
_LOOKUP = "fib_table_lookup"
_RI_INIT = 1 << 1  # of bpf_redirect_info.kern_flags: what it holds is valid (BPF_RI_F_RI_INIT)
_CODES = {int(one): one.name for one in Verdict}


class Names(NamedTuple):
    """What a backend calls things.

    ``devices``: a `Where` by inode of the namespace and ifindex; ``nodes``: a namespace's name by its inode;
    ``programs``: names by id; ``reasons``: the kernel's drop reasons by number; ``functions``: which one an address is
    in.
    """

    devices: Mapping[tuple[int, int], Where]
    nodes: Mapping[int, str]
    programs: Mapping[int, str]
    reasons: Mapping[int, str]
    functions: words.Places


class Story:
    """Reads records once; ``ways`` are the packets that were sent, in order.

    Args:
        packet: what the sender was asked to send.
        frame: whether that is a whole frame.
    """

    def __init__(self, names: Names, packet: bytes = b"", frame: bool = False):
        self._names = names
        self._packet, self._frame = packet, frame
        self.ways: list[Way] = []
        self._owners = Owners()
        self._steps: dict[int, list[tuple[str, Record]]] = {}
        self._waiting: dict[tuple[int, int, int], Way] = {}  # for an address, by namespace, device and address
        self._others: dict[int, Callable[[Record], None]] = {
            KFREE_SKB: self._freed, CONSUME_SKB: self._consumed, FIB_LOOKUP: self._lookup, VERDICT: self._verdict,
        }  # fmt: skip

    def read(self, records: Iterable[Record]) -> Story:
        """Take all records in; return itself."""
        for record in records:
            other = self._others.get(record.number)
            if other is not None:
                other(record)
            else:
                self._function(record)
        for way in self.ways:
            way.prune()
        return self

    # what and where ---------------------------------------------------------------------------------------------------

    def _answering(self, record: Record) -> bool:
        """Return whether an ICMP error is being made for this packet, whose way back is looked up in its name."""
        near, packet = self._owners.near(record), self._owners.known(record)
        return packet is not None and near is not None and not near.bound and near.parent is packet.way

    def _place(self, record: Record, way: Way | None = None) -> Where:
        place = self._names.devices.get((record.inode, record.ifindex)) if record.ifindex else None
        if place is None and record.inode in self._names.nodes:
            place = Where(self._names.nodes[record.inode])
        if place is None:
            place = way.places[-1] if way is not None and way.places else Where("")
        return place

    # functions --------------------------------------------------------------------------------------------------------

    def _function(self, record: Record) -> None:
        function = FUNCTIONS[record.number]
        name = function.hop or function.symbol
        if function.symbol in _STEPS:
            return self._step(record, name)
        if function.symbol in _SENDERS:
            return self._sender(record, name)
        if name in ("arp_solicit", "arp_send_dst"):
            return self._ask(record, name)
        if name in _RELOOKUPS and self._answering(record):
            return
        if not function.skb:
            return self._unnamed(record, name)
        packet = self._owners.of(record, name)
        if packet is None:
            if name == "__netif_receive_skb_core":
                self._steps.pop(record.cpu, None)
        elif name == "skb_release_head_state":
            packet.released = True
        elif name in _ANSWERS:
            child = self._child(record, packet.way, packet.way.replies)
            child.hop(record, name, Where(self._place(record, packet.way).node))
        elif packet.on_wire and name in _CABLE:
            self._cable(record, packet, name)
        elif not (name == "sock_wfree" and (packet.held or packet.carried or packet.on_wire)):
            self._hop(record, packet, name, function.kind)

    def _unnamed(self, record: Record, name: str) -> None:
        """A function without a packet among its arguments: it works on what is at hand, if that has come so far."""
        way = self._owners.near(record)
        if way is None or name == "ip_rcv_finish_core" and way.last not in ("ip_rcv_core", "sock_wfree"):
            return
        way.hop(record, name, self._place(record, way))

    def _hop(self, record: Record, packet: Packet, name: str, kind: HopKind) -> None:
        way = packet.way
        place = self._place(record, way)
        if name == "sock_wfree" and way.last in ("kfree_skb", "consume_skb"):
            place = way.places[-1]
        elif name == "__dev_forward_skb2":
            packet.receiver = record.also >> 32, record.also & 0xFFFFFFFF
        elif name == "__neigh_event_send":
            self._waiting[record.inode, record.ifindex, record.also] = way
        elif name == "skb_gso_segment" and not self._segments(record, way, place):
            return
        elif name == "__netif_receive_skb_core":
            self._arrive(record, packet, place)
            packet.hook = Hook(place, "tcx ingress")
        elif name == "__dev_queue_xmit":
            if way.last == "__neigh_event_send":
                way.take_back()  # the neighbour's address was only due to be confirmed
            packet.hook = Hook(place, "tcx egress")
        elif name == "skb_do_redirect":
            packet.asked = self._asked(record, packet)
            place = packet.hook.place if packet.hook is not None else place
        elif kind is HopKind.DRIVER:
            packet.hook = Hook(place)
            packet.on_wire = place.kind == "nic"
            name = "nic_xmit" if packet.on_wire else name
        elif kind is HopKind.DELIVER:
            return self._deliver(record, packet, name, place)
        way.hop(record, name, place, kind, words.detail(name, record), _data(name, record))
        way.splits = way.splits or name in _SPLITTING
        if record.size and name in ("ip_output", "ip_mc_output", "__dev_queue_xmit"):
            way.name(record.bytes, name == "__dev_queue_xmit")
        if FUNCTIONS[record.number].symbol == "dummy_xmit":
            way.end(FateKind.TRANSMITTED, place)

    def _asked(self, record: Record, packet: Packet) -> words.Asked:
        """What a redirect is to do: the program that asked for it has left word with its task."""
        known = record.second & _RI_INIT
        ifindex, flags = (record.also & 0xFFFFFFFF, record.also >> 32) if known else (0, 0)
        ingress = packet.hook is not None and packet.hook.name == "tcx ingress"
        target = self._names.devices.get((record.inode, ifindex))
        return words.Asked(record.length, ifindex, flags, self._place(record).node, target, ingress)

    def _segments(self, record: Record, way: Way, place: Where) -> bool:
        """Cutting up for a device, or else for the IP layer, or for a socket, which is no step of its own."""
        way.splits = True
        if way.last in ("ip_output", "nf_hook_slow"):
            way.hop(record, "ip_finish_output_gso", place)
        return way.last in ("__dev_queue_xmit", "sch_direct_xmit", "bpf_prog_run")

    def _sender(self, record: Record, name: str) -> None:
        """A system call sends: a new way."""
        if record.context is not Context.PROCESS or self._owners.task not in (0, record.task):
            return
        self._owners.task = record.task
        way = Way(self._packet)
        way.named = way.frame = self._frame
        self.ways.append(way)
        self._owners.take(record, way)
        way.hop(record, name, self._place(record))

    def _child(self, record: Record, way: Way, among: list[Way]) -> Way:
        child = Way(parent=way)
        among.append(child)
        self._owners.take(record, child)
        return child

    def _ask(self, record: Record, name: str) -> None:
        """ARP: a request on behalf of a packet that waits, or the answer to one."""
        if name == "arp_solicit":  # it is given a copy of a packet that waits
            way = self._waiting.get((record.inode, record.ifindex, record.also))
        else:
            way = self._owners.near(record)
        if way is None:
            return
        if name == "arp_solicit":
            way = self._child(record, way, way.requests)
        elif way.last != "arp_solicit":
            way = self._child(record, way, way.replies)
        way.hop(record, name, self._place(record, way))

    def _deliver(self, record: Record, packet: Packet, name: str, place: Where) -> None:
        way = packet.way
        data = way.whole(record.bytes)
        way.hop(record, name, place, HopKind.DELIVER, words.delivery(name, data))
        if way.fate is None or not way.fate.delivered:
            way.arrived = data
        way.end(FateKind.DELIVERED, place)
        packet.held = name in COPIES

    # the softirq, and the cable ---------------------------------------------------------------------------------------

    def _step(self, record: Record, name: str) -> None:
        """A step that concerns no packet yet: the next one that is received here gets it."""
        steps = self._steps.setdefault(record.cpu, [])
        if name == "__do_softirq":
            steps.clear()
        elif name == "handle_softirqs":
            self._owners.nothing_at_hand(record)
            if not (steps and steps[-1][0] == "__do_softirq"):
                return steps.clear()  # at the end of an interrupt
        steps.append((name, record))

    def _arrive(self, record: Record, packet: Packet, place: Where) -> None:
        """Give the packet the steps that led to it; behind a cable they are those of the card that it stands for."""
        steps = self._steps.pop(record.cpu, [])
        if packet.on_wire:
            packet.on_wire, packet.carried = False, True
            steps = [(name, one) for name, one in steps if name == "net_rx_action"] + [("nic_poll", record)]
        for name, one in steps:
            packet.way.hop(one, name, place)

    def _cable(self, record: Record, packet: Packet, name: str) -> None:
        """What the two ends of a cable do to a frame is one step."""
        if name == "eth_type_trans":
            packet.other = self._place(record)
        elif name == "enqueue_to_backlog":
            place = packet.hook.place if packet.hook else packet.way.places[-1]
            data = {"length": record.length + ETH_HLEN}
            packet.way.hop(record, "wire", place, HopKind.WIRE, f"to {packet.other}" if packet.other else "", data)

    # the rest ---------------------------------------------------------------------------------------------------------

    def _lookup(self, record: Record) -> None:
        """A look into the routes; those that only ask of what kind an address is are not steps."""
        way = self._owners.near(record)
        if way is None or not way.hops:
            return
        before = next((n for n in reversed(range(len(way.hops))) if way.hops[n].function != _LOOKUP), 0)
        first = before == len(way.hops) - 1
        function = way.hops[before].function
        onward = function == "ip_route_input_slow" and not first and not way.hops[-1].detail.startswith("local")
        if function not in _RUNNING and not onward and not (first and function in _ROUTING):
            return
        device = self._place(record).device if record.ifindex else ""
        way.hop(record, _LOOKUP, way.places[-1], HopKind.LOOKUP, words.route(record, device))

    def _verdict(self, record: Record) -> None:
        packet = self._owners.known(record)
        if packet is None:
            return
        way = packet.way
        self._owners.take(record, way)
        code = (record.also & 0xFFFFFFFF) - ((record.also & 0x80000000) << 1)
        name = self._names.programs.get(record.second, str(record.second))
        hook = packet.hook = packet.hook or Hook(self._place(record, way))
        place = self._place(record, way) if hook.name == "tcx ingress" else hook.place
        data = {"program": name, "verdict": code, **({"hook": hook.name} if hook.name else {})}
        way.hop(record, "bpf_prog_run", place, HopKind.PROGRAM, _CODES.get(code, str(code)), data)
        hook.ran.append((name, code))

    def _freed(self, record: Record) -> None:
        packet = self._owners.known(record)
        if packet is None:
            return
        way, hook = packet.way, packet.hook
        if packet.held or way.last == "icmp_unreach":
            packet.held = False
            way.hops = [h._replace(kind=HopKind.FUNCTION) if h.kind is HopKind.DELIVER else h for h in way.hops]
            way.fate, way.arrived = None, b""
        self._owners.take(record, way)
        reason = self._names.reasons.get(record.also, str(record.also))
        where = self._names.functions.name(record.second)
        fate, said = words.drop(reason, where, record, way, hook.ran if hook else (), packet.asked)
        place = hook.place if hook and where in ("netkit_xmit", "skb_do_redirect") else self._place(record, way)
        if where in ("__dev_forward_skb2", "veth_xmit"):
            place = self._names.devices.get(packet.receiver, place)
        way.hop(record, "kfree_skb", place, HopKind.DROP, said, {"reason": reason})
        way.end(fate, place, said)

    def _consumed(self, record: Record) -> None:
        packet = self._owners.known(record)
        if packet is None or packet.held:
            return
        way = packet.way
        place = self._place(record, way)
        functions = [hop.function for hop in way.hops]
        if way.fate is None and way.last == "icmp_rcv":  # it frees so what one of its handlers took
            way.arrived = way.packet
            way.hop(record, "consume_skb", place, HopKind.DELIVER, words.delivery("icmp_rcv", way.packet))
            return way.end(FateKind.DELIVERED, place)
        if "arp_rcv" not in functions:
            return way.hop(record, "consume_skb", place)
        taken, said = False, "addressed to another host"
        if "arp_process" in functions:
            ours = any(hop.function == _LOOKUP and hop.detail.startswith("local") for hop in way.hops)
            asked = way.parent is not None and way in way.parent.replies
            taken, said = words.arp(way.packet[ETH_HLEN:], ours, asked)
        if taken:
            way.arrived = way.packet[ETH_HLEN:]
        way.hop(record, "consume_skb", place, HopKind.DELIVER if taken else HopKind.FUNCTION, said if taken else "")
        way.end(FateKind.DELIVERED if taken else FateKind.DROPPED, place, "" if taken else said)


def _data(name: str, record: Record) -> dict:
    return {"hook": words.detail(name, record)} if name == "nf_hook_slow" else {}
