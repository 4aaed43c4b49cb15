"""Contract tests: written once, against the API, and run on every backend that NETKIT_EDU_TEST_BACKENDS names.

The fixture ``lab`` is a fresh lab on each backend in turn: "sim", "vm", "host", by default the simulator alone. The
pair under test is the pod ``con``'s: ``hst`` is its primary on the host, ``con.device`` its peer. A payload of 100
bytes makes an skb of 142.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

import netkit_edu as nk
from netkit_edu import kernels
from tests.contract import map_programs
from tests.requires import require

BACKENDS = os.environ.get("NETKIT_EDU_TEST_BACKENDS", "sim").split(",")
PORT = 7
PAYLOAD = bytes(100)
SKB_LEN = 142  # 14 bytes of Ethernet header, 20 of IP, 8 of UDP, 100 of payload

PROGRAMS = """
#include "netkit_edu.h"

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __s32); }
    verdict SEC(".maps");

struct seen {
    __u32 runs, len, pkt_type, mark, priority, protocol, ingress_ifindex, ifindex, window;
    __u8 header[16];
};
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct seen); }
    seen SEC(".maps");

/* returns what the map says */
SEC("tc") int gate(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __s32 *code = bpf_map_lookup_elem(&verdict, &zero);

    return code ? *code : NETKIT_DROP;
}

/* writes down what it is shown, and leaves the packet to others */
SEC("tc") int record(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct seen *now = bpf_map_lookup_elem(&seen, &zero);

    if (!now)
        return NETKIT_DROP;
    now->runs++;
    now->len = skb->len;
    now->pkt_type = skb->pkt_type;
    now->mark = skb->mark;
    now->priority = skb->priority;
    now->protocol = bpf_ntohs(skb->protocol);
    now->ingress_ifindex = skb->ingress_ifindex;
    now->ifindex = skb->ifindex;
    now->window = (long)skb->data_end - (long)skb->data;
    bpf_skb_load_bytes(skb, 0, now->header, 14);
    return NETKIT_NEXT;
}

SEC("tc") int set_marks(struct __sk_buff *skb)
{
    skb->mark = 0xabc;
    skb->priority = 6;
    return NETKIT_NEXT;
}

/* the bytes of the header say IPv6, the packet's metadata still IPv4 */
SEC("tc") int relabel(struct __sk_buff *skb)
{
    __u16 *ethertype = (void *)(long)skb->data + 12;

    if ((void *)(ethertype + 1) > (void *)(long)skb->data_end)
        return NETKIT_DROP;
    *ethertype = bpf_htons(0x86dd);
    return NETKIT_NEXT;
}

SEC("tc") int drop(struct __sk_buff *skb) { return NETKIT_DROP; }
SEC("tc") int next(struct __sk_buff *skb) { return NETKIT_NEXT; }
SEC("tc") int pass(struct __sk_buff *skb) { return NETKIT_PASS; }
SEC("tc") int three(struct __sk_buff *skb) { return 3; }
SEC("tc") int redirect(struct __sk_buff *skb) { return NETKIT_REDIRECT; }

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    if request.param != "sim":
        require(request.param)
    return request.param


@pytest.fixture
def burst_backend(backend) -> str:
    """A backend on which a sender can hold softirqs back, so that packets pile up behind it."""
    if backend != "sim":
        pytest.skip("on Linux a sender's softirq runs at the end of each of its system calls")
    return backend


@pytest.fixture
def cpus() -> int:
    """How many CPUs the lab has: for test files to say otherwise."""
    return 1


@pytest.fixture
def lab(backend, cpus):
    with nk.Lab(backend, cpus=cpus) as lab:
        yield lab


@pytest.fixture(scope="session")
def programs():
    return nk.compile(PROGRAMS, name="contract.c")


@pytest.fixture(scope="session")
def kinds():
    """Programs with a map of each kind."""
    return nk.compile(map_programs.PROGRAMS, name="maps.c")


@pytest.fixture
def con(lab):
    """A pod on a netkit pair, listening, with the host listening too."""
    pod = lab.pod("con", device="netkit")
    pod.listen(udp=PORT)
    lab.host.listen(udp=PORT)
    return pod


@pytest.fixture
def hst(con):
    return con.pair.primary


@pytest.fixture
def send(lab, con):
    """Send a packet out of the pod on a CPU, by default to a port of the host; return whether it arrived."""

    def send(port: int = PORT, cpu: int = 0, to: str = con.gateway) -> bool:
        return con.send(nk.IP(dst=to) / nk.UDP(dport=port) / PAYLOAD, cpu=cpu).fate.delivered

    for port in (PORT + 1, PORT + 2):
        lab.host.listen(udp=port)
    return send


@pytest.fixture(params=["primary", "peer"])
def way(request, lab, con):
    """Both directions in turn: the hook that runs, who sends, from which device to which, and how."""
    if request.param == "primary":
        sender, to, tx, rx = lab.host, con.ip, con.pair.primary, con.pair.peer
    else:
        sender, to, tx, rx = con, con.gateway, con.pair.peer, con.pair.primary

    def send(**options):
        return sender.send(nk.IP(dst=to) / nk.UDP(dport=PORT) / PAYLOAD, **options)

    policy = "policy" if request.param == "primary" else "peer_policy"
    return SimpleNamespace(
        at=request.param, sender=sender, to=to, tx=tx, rx=rx, send=send, policy=policy, pair=con.pair, pod=con
    )


@pytest.fixture
def p(lab, programs):
    """Eight programs P0 to P7: loads of one and the same."""
    return [lab.load(programs["next"]) for _ in range(8)]


@pytest.fixture
def order(con, p):
    """The list of the peer hook as indexes into ``p``."""
    ids = [loaded.id for loaded in p]
    return lambda: [ids.index(entry.prog_id) for entry in con.pair.chain("peer").entries]


@pytest.fixture
def attach(con):
    """Attach a program to the peer hook; further arguments as `Device.attach`."""
    return lambda program, **how: con.pair.attach(program, at="peer", **how)


def refused(errno: str, call, extack: str | None = None) -> nk.KernelError:
    """Call what the kernel is to refuse with this errno, and with this text if one is given; return the refusal."""
    with pytest.raises(nk.KernelError) as refusal:
        call()
    assert refusal.value.name == errno
    if extack is not None:
        assert refusal.value.extack == extack
    return refusal.value


def answer(lab, errno: str, extack: str = "") -> tuple[str, str]:
    """Return what a lab's kernel answers: this, or what a row of `kernels.ROWS` says of it, where its key is given."""
    return kernels.ROWS[errno].on(lab.kernel) if errno in kernels.ROWS else (errno, extack)


class Moved:
    """How much the counters of some devices moved since it was made."""

    def __init__(self, *devices):
        self.devices = devices
        self.before = [device.stats for device in devices]

    def __call__(self) -> list[dict[str, int]]:
        out = []
        for device, before in zip(self.devices, self.before, strict=True):
            after = device.stats
            out.append({n: getattr(after, n) - getattr(before, n) for n in before._fields
                        if getattr(after, n) != getattr(before, n)})  # fmt: skip
        return out


@pytest.fixture
def moved():
    """``moved(device, …)`` starts counting; calling what it returns gives, for each device, what moved."""
    return Moved


def sent(packets: int = 1, length: int = SKB_LEN) -> dict[str, int]:
    return {"tx_packets": packets, "tx_bytes": packets * length}


def got(packets: int = 1, length: int = SKB_LEN) -> dict[str, int]:
    return {"rx_packets": packets, "rx_bytes": packets * length}


DROPPED = {"tx_dropped": 1}
