"""The scenario's network on a lab, and the acting programs in its kernel; both can be used again.

Namespaces and loaded programs stay from one scenario to the next, devices and links do not: what a scenario may leave
behind sits on a device, and goes with it. Devices have numbers of their own (scenario.py), so that a number never
means one device here and another there.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

from netkit_edu import lab as labs
from netkit_edu import programs
from netkit_edu.compare.scenario import MISSING, PLACES, PORT, PROGRAMS, Place, Scenario
from netkit_edu.errors import KernelError
from netkit_edu.uapi import Mode

SOURCE = Path(__file__).with_name("acting.bpf.c")
SIGHT = struct.Struct("<10I5i16s4xQ")
SIGHT_FIELDS = (
    "runs", "len", "pkt_type", "mark", "priority", "protocol", "ingress_ifindex", "ifindex", "window", "cb", "typed",
    "stored", "resized", "answer", "code", "header", "digest",
)  # fmt: skip
_ACTION = struct.Struct("<i13I8s")
_HOW = {"redirect": 1, "redirect_peer": 2, "redirect_neigh": 3, "clone_redirect": 4, "next_hop": 5}
_DOES = {"mark": 1, "priority": 2, "type": 4, "store": 8, "ethertype": 16, "length": 32, "cb": 64, "says_answer": 128}
_U32 = 0xFFFF_FFFF
KEY = bytes(4)
SYSCTLS = {"net.core.netdev_max_backlog": 1000, "net.ipv4.ip_forward": 1}  # on the host, as a lab sets them
OPTIONS = ("mode", "policy", "peer_policy", "scrub", "peer_scrub")


@functools.cache
def acting():
    """Return the compiled programs, p0 to p9."""
    return programs.compile(SOURCE.read_text(encoding="utf-8"), name=SOURCE.name)


class Machine:
    """One lab that executes scenarios one after the other.

    Args:
        backend: "sim", "vm", "host".
    """

    def __init__(self, backend: str):
        self.backend = backend
        self._open()

    def _open(self) -> None:
        self.scenarios = 0
        self.lab = labs.Lab(self.backend)
        self.calls = self.lab.kernel_calls
        self.nodes = {"host": self.lab.host, "c1": self.lab.node("c1"), "c2": self.lab.node("c2")}
        self.nodes |= {"c3": self.lab.node("c3"), "outside": self.lab.outside}
        for name, node in self.nodes.items():
            for which in ("all", "default", *(device.name for device in node.links)):  # a clock would limit them
                node.sysctl(f"net.ipv4.conf.{which}.send_redirects", 0)
            if name != "outside":
                node.listen(udp=PORT)
        first = self.lab.load(acting()[PROGRAMS[0]])
        self.loaded = {PROGRAMS[0]: first}
        self.todo, self.seen = first.maps["todo"].store, first.maps["seen"].store
        self.links: dict[str, int] = {}
        self.changed: set[str] = set()
        self.snmp = {name: self.calls.snmp(node.ns) for name, node in self.nodes.items()}
        self.taken = dict.fromkeys(self.nodes, 0)

    def restart(self) -> None:
        """Begin anew with a fresh lab."""
        self.close()
        self._open()

    def close(self) -> None:
        """Free the lab."""
        self.lab.close()

    def program(self, name: str) -> int:
        """Return the number of a program, loading it at first use."""
        if name not in self.loaded:
            self.loaded[name] = self.lab.load(acting()[name], maps=dict(self.loaded[PROGRAMS[0]].maps))
        return self.loaded[name].id

    def name_of(self, number: int) -> str:
        """Return the name of the program of that number."""
        return next((name for name, loaded in self.loaded.items() if loaded.id == number), f"program {number}")

    def sysctl(self, key: str, value: int) -> None:
        """Change a setting of the host until the scenario ends."""
        self.calls.sysctl(self.nodes["host"].ns, key, value)
        self.changed.add(key)

    def counted(self) -> dict[str, dict[str, int]]:
        """Return what each node's stack has counted since this was asked last."""
        before, self.snmp = self.snmp, {name: self.calls.snmp(node.ns) for name, node in self.nodes.items()}
        return {
            node: {name: n - before[node].get(name, 0) for name, n in now.items() if n != before[node].get(name, 0)}
            for node, now in self.snmp.items()
        }

    def received(self) -> dict[str, list]:
        """Return what each node's sockets have received since this was asked last; several sockets in no order."""
        out = {}
        for name, node in self.nodes.items():
            all_ = self.calls.received(node.ns)
            out[name] = sorted([r.src, r.sport, r.dst, r.dport, len(r.payload)] for r in all_[self.taken[name] :])
            self.taken[name] = len(all_)
        return out

    def ifindex(self, target: str) -> int:
        """Return the number by which programs name a device."""
        known = {"lo": 1, "zero": 0, "missing": MISSING, "nic": self.lab.nic.ifindex}
        return known[target] if target in known else PLACES[target].ifindex

    # a scenario's network -------------------------------------------------------------------------------------------

    def build(self, scenario: Scenario) -> None:
        """Make the devices, bring them up, and tell the programs what to do."""
        self.scenarios += 1
        for name, options in scenario.topology.items():
            getattr(self, f"_{'dummy' if name.startswith('d') else 'pair'}")(scenario, name, options)
        for name in scenario.programs:
            self.program(name)
        acts = b"".join(self._action(scenario.programs.get(name, {})) for name in PROGRAMS)
        self.calls.map_update(self.todo.number, KEY, acts)
        self.calls.map_update(self.seen.number, KEY, bytes(SIGHT.size * len(PROGRAMS)))

    def _pair(self, scenario: Scenario, name: str, options: dict) -> None:
        ends = [scenario.place(name), scenario.place(f"{name}.peer")]
        attrs = []
        for end, mtu in zip(ends, (options.get("mtu"), options.get("peer_mtu")), strict=True):
            attrs.append({"ifindex": end.ifindex} | ({"mtu": mtu} if mtu else {}))
            if name == "v" or options.get("mode") == Mode.L2:
                attrs[-1]["mac"] = end.mac
        info = {key: options[key] for key in OPTIONS if key in options}
        kind = "veth" if name == "v" else "netkit"
        here, there = (self.nodes[end.node] for end in ends)
        self.calls.link_add(
            here.ns, kind, ends[0].name, peer_ns=there.ns, peer={"name": ends[1].name, **attrs[1]}, attrs=attrs[0],
            info=info or None,
        )  # fmt: skip
        for end in ends:
            self._address(end)
        for end in ends:
            self.calls.link_set(self.nodes[end.node].ns, end.ifindex, up=True)
        for device in (name, f"{name}.peer"):
            self.neighbours(scenario, device)
        if ends[1].node != "host":
            self.calls.route_add(there.ns, "default", ifindex=ends[1].ifindex, via=ends[0].address)

    def _dummy(self, scenario: Scenario, name: str, options: dict) -> None:
        place = PLACES[name]
        node = self.nodes[place.node]
        self.calls.link_add(node.ns, "dummy", place.name, attrs={"ifindex": place.ifindex, "mac": place.mac})
        self._address(place)
        if options.get("up", True):
            self.calls.link_set(node.ns, place.ifindex, up=True)

    def _address(self, place: Place) -> None:
        self.calls.addr_add(self.nodes[place.node].ns, place.ifindex, f"{place.address}/24")

    def neighbours(self, scenario: Scenario, device: str) -> None:
        """Let an end know its other end for good, if the kind of pair needs that and the scenario wants it."""
        pair, _, end = device.partition(".")
        options = scenario.topology.get(pair, {})
        if pair == "v" or (pair in ("a", "b") and options.get("mode") == Mode.L2 and options.get("neigh", True)):
            mine, other = scenario.place(device), scenario.place(pair if end else f"{pair}.peer")
            self.calls.neigh_add(self.nodes[mine.node].ns, mine.ifindex, other.address, other.mac)

    def tear_down(self, scenario: Scenario) -> None:
        """Delete the devices and the links, and set the host's settings back."""
        for key in self.changed:
            self.calls.sysctl(self.nodes["host"].ns, key, SYSCTLS[key])
        self.changed.clear()
        for number in self.links.values():
            _if_there(self.calls.bpf_link_close, number)
        self.links.clear()
        for name in scenario.topology:
            place = scenario.place(name)
            _if_there(self.calls.link_del, self.nodes[place.node].ns, place.ifindex)

    def _action(self, does: dict) -> bytes:
        at, data = does.get("store", (0, ""))
        raw = bytes.fromhex(data)
        how, target, flags = does.get("redirect", ("", "zero", 0))
        bits = sum(bit for key, bit in _DOES.items() if key in does)
        hop = bytes(map(int, does["nexthop"].split("."))) if "nexthop" in does else KEY
        numbers = (does.get(key, 0) & _U32 for key in ("mark", "priority", "type"))
        return _ACTION.pack(
            does.get("verdict", -1), bits, *numbers, at, len(raw), does.get("ethertype", 0), does.get("length", 0),
            does.get("cb", 0), _HOW.get(how, 0), self.ifindex(target), flags, int.from_bytes(hop, "little"),
            raw.ljust(8, b"\0"),
        )  # fmt: skip

    # what the programs saw ------------------------------------------------------------------------------------------

    def sights(self) -> dict[str, dict]:
        """Return for each program that ever ran what it has written down."""
        data = self.calls.map_lookup(self.seen.number, KEY)
        seen = {}
        for name, values in zip(PROGRAMS, SIGHT.iter_unpack(data), strict=True):
            if values[0]:
                seen[name] = dict(zip(SIGHT_FIELDS, values, strict=True)) | {"header": values[15][:14].hex()}
        return seen


def _if_there(call, *arguments) -> None:
    try:
        call(*arguments)
    except KernelError as refused:
        if refused.name not in ("ENODEV", "EBADF", "ENOENT"):
            raise
