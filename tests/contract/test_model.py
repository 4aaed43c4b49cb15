"""Any chain, policy and state of a pair against a model of ten lines (drivers/net/netkit.c:netkit_xmit, Linux 6.12)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import netkit_edu as nk
from netkit_edu.backend import SendRequest
from netkit_edu.uapi import PacketType, Scrub, Verdict
from tests.contract.conftest import BACKENDS, DROPPED, PAYLOAD, PORT, got, sent

NEXT, PASS, DROP, REDIRECT = (int(v) for v in (Verdict.NEXT, Verdict.PASS, Verdict.DROP, Verdict.REDIRECT))
OK, XMIT_DROP, XMIT_CN = 0, 1, 2
HEADER, WHOLE = 14, 142  # bytes: the Ethernet header alone, and the frame that a listening socket takes
MARKED = [0x77, 5]  # SO_MARK and SO_PRIORITY

PROGRAM = """
#include "netkit_edu.h"

struct seen { __u32 runs, len, pkt_type, mark, priority; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct seen); }
    seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __s32); }
    verdict SEC(".maps");

SEC("tc") int report(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct seen *now = bpf_map_lookup_elem(&seen, &zero);
    __s32 *code = bpf_map_lookup_elem(&verdict, &zero);

    if (!now || !code)
        return NETKIT_DROP;
    now->runs++;
    now->len = skb->len;
    now->pkt_type = skb->pkt_type;
    now->mark = skb->mark;
    now->priority = skb->priority;
    return *code;
}
"""


@dataclass
class End:
    """One end as the model knows it; ``runs`` is what each program of its hook has seen."""

    up: bool
    policy: int
    scrub: int
    codes: list[int]
    mac: bytes = bytes(6)
    runs: list[list[tuple]] = field(default_factory=list)


def kind_of(to: bytes, mac: bytes) -> int:
    group = PacketType.BROADCAST if to == b"\xff" * 6 else PacketType.MULTICAST
    return PacketType.HOST if to == mac else group if to[0] & 1 else PacketType.OTHERHOST


def transmit(dev: End, other: End, to: bytes, length: int, room: bool) -> tuple[int, str, list[dict], list[int]]:
    """The model: what the driver says, the packet's fate in the driver, both ends' counters, the codes returned."""
    if not (dev.up and other.up):
        return XMIT_CN, "dropped", [DROPPED, {}], []
    scrubbed = dev.scrub == Scrub.DEFAULT
    seen = (length, kind_of(to, other.mac), *([0, 0] if scrubbed else MARKED))
    verdict, said = dev.policy, []
    for code, runs in zip(dev.codes, dev.runs, strict=True):
        runs.append(seen)
        said.append(verdict := code)
        if code != NEXT:
            break
    if verdict in (NEXT, PASS) and room:
        return OK, "delivered", [sent(1, length), got(1, length)], said
    if verdict in (NEXT, PASS):
        return XMIT_DROP, "dropped", [DROPPED, {"rx_dropped": 1}], said
    if verdict == REDIRECT:
        return OK, "lost", [sent(1, length), {}], said
    return XMIT_DROP, "dropped", [DROPPED, {}], said


CODES = st.lists(
    st.sampled_from([NEXT] * 6 + [PASS, DROP, REDIRECT, 1, 3, 8, 100, -2, -(2**31), 2**31 - 1]), max_size=4
)
ENDS = st.builds(
    End, st.sampled_from([True] * 5 + [False]), st.sampled_from([PASS, DROP]), st.sampled_from([0, 1]), CODES
)
SENDS = st.tuples(
    st.just("send"),
    st.sampled_from([0, 1]),  # from which end
    st.sampled_from(["udp", "udp, told", "packet"]),
    st.sampled_from([0, HEADER - 1, HEADER, HEADER + 1, HEADER + 20, HEADER + 28] + [WHOLE] * 4),
    st.sampled_from(["its", "its", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:99"]),
    st.integers(1, 4),
)
CHANGES = st.one_of(
    st.tuples(st.just("link"), st.sampled_from([0, 1]), st.booleans()),
    st.tuples(st.just("policy"), st.sampled_from([0, 1]), st.sampled_from([PASS, DROP])),
    st.tuples(st.just("detach"), st.sampled_from([0, 1])),
)


class Wired:
    """A pod on a netkit pair with both ends as the model has them; sending checks one against the other.

    An end is told by number: 0 the primary, 1 the peer.
    """

    def __init__(self, lab, report, mode: str, ends: list[End], backlog: int):
        self.lab, self.ends, self.backlog = lab, ends, backlog
        scrubs = {"scrub": ends[0].scrub, "peer_scrub": ends[1].scrub}
        self.pod = lab.pod("con", device="netkit", mode=mode, **scrubs)
        self.devices = [self.pod.pair.primary, self.pod.pair.peer]
        self.addresses = [self.pod.gateway, self.pod.ip]
        self.attached = []
        for n, (end, device) in enumerate(zip(ends, self.devices, strict=True)):
            self.attached.append([self.attach(report, ("primary", "peer")[n], code) for code in end.codes])
            end.mac, end.runs = bytes.fromhex(device.mac.replace(":", "")), [[] for _ in end.codes]
            device.node.listen(udp=PORT)
            self.policy(n, end.policy)
            self.link(n, end.up)

    def attach(self, report, at, code):
        att = self.pod.pair.attach(self.lab.load(report), at=at)
        att.maps["verdict"][0] = code
        return att

    def policy(self, n: int, policy: int) -> None:
        self.pod.pair.set_policy(**{("policy", "peer_policy")[n]: policy})
        self.ends[n].policy = policy

    def link(self, n: int, up: bool) -> None:
        """Up with a known neighbour, so that no ARP request mixes with the packets that are counted."""
        device, other = self.devices[n].down(), self.devices[1 - n]
        if up:
            device.up()
            if device.mode == nk.Mode.L2:
                device.node.neigh(self.addresses[1 - n], other.mac, dev=device)
        self.ends[n].up = up

    def detach(self, n: int) -> None:
        """The last program goes, if there is one."""
        if self.attached[n]:
            self.check_what_was_seen()
            self.attached[n].pop().detach()
            self.ends[n].codes.pop()
            self.ends[n].runs.pop()

    def send(self, out: int, socket: str, length: int, to: str, repeat: int) -> None:
        dev, other = self.ends[out], self.ends[1 - out]
        packet = nk.IP(src=self.addresses[out], dst=self.addresses[1 - out]) / nk.UDP(dport=PORT) / PAYLOAD
        told, via = socket != "udp", socket.partition(",")[0]
        if via == "udp":
            to, length, data = other.mac, WHOLE, bytes(packet)
        else:
            to = other.mac if to == "its" else bytes.fromhex(to.replace(":", ""))
            data = (to + dev.mac + b"\x08\x00" + bytes(packet))[:length]
        request = SendRequest(data, via, self.devices[out].ifindex, *MARKED, told)
        journeys = self.lab.kernel_calls.send_many(self.devices[out].node.ns, request, repeat)
        queued = 0
        for journey in journeys:
            if refusal := self.refused(dev, via, length):
                assert (journey.sender_error, journey.counters) == (refusal, {})
                assert journey.fate.kind == "not sent"
                continue
            rc, fate, counters, codes = transmit(dev, other, to, length, queued <= self.backlog)
            queued += fate == "delivered" and self.lab.backend == "sim"  # Linux empties the backlog at once
            received = kind_of(to, other.mac) != PacketType.OTHERHOST and length == WHOLE
            self.check(journey, out, rc, fate, counters, codes, told, received)

    def refused(self, dev: End, via: str, length: int) -> str | None:
        """What the socket says before any device is asked."""
        if not dev.up:
            return "ENETDOWN" if via == "packet" else "ENETUNREACH"
        return "EINVAL" if length < HEADER else None

    def check(self, journey, out: int, rc, fate, counters, codes, told, received) -> None:
        paths = [f"{self.devices[n].node.name}/{self.devices[n].name}" for n in (out, 1 - out)]
        assert journey.counters == {path: moved for path, moved in zip(paths, counters, strict=True) if moved}
        assert [run.verdict for run in journey.verdicts] == codes
        assert journey.sender_error == ("ENOBUFS" if rc == XMIT_DROP and told else None)
        assert journey.fate.kind == (fate if fate != "delivered" or received else "dropped")
        if fate == "delivered":
            assert journey.fate.node == self.devices[1 - out].node.name

    def check_what_was_seen(self) -> None:
        for end, attachments in zip(self.ends, self.attached, strict=True):
            for runs, att in zip(end.runs, attachments, strict=True):
                seen = att.maps["seen"][0]
                assert seen["runs"] == len(runs)
                last = tuple(seen[name] for name in ("len", "pkt_type", "mark", "priority"))
                assert last == (runs[-1] if runs else (0, 0, 0, 0))


@pytest.fixture(scope="session")
def report():
    return nk.compile(PROGRAM, name="report.c")["report"]


@settings(
    max_examples=150 if BACKENDS == ["sim"] else 12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["l2", "l3"]),
    st.tuples(ENDS, ENDS),
    st.integers(0, 3),
    st.lists(SENDS | SENDS | CHANGES, min_size=1, max_size=8),
)
def test_any_chain_policy_and_state_obeys_the_model(backend, report, mode, ends, backlog, doings):
    own = {} if backend == "host" else {"backlog": backlog}  # a host's is the whole machine's
    with nk.Lab(backend, **own) as lab:
        wired = Wired(lab, report, mode, list(ends), backlog)
        for what, *how in doings:
            getattr(wired, what)(*how)
        wired.check_what_was_seen()
