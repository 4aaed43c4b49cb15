"""Measuring in a lab: how many instructions a packet, a request with its reply, or a MiB of TCP takes.

What `Lab.measure` and `Lab.measure_stream` do. The counting is the backend's (netkit_edu/linux/measure.py).
"""

from __future__ import annotations

import ipaddress

from netkit_edu import packet as wire
from netkit_edu.arguments import whole_number
from netkit_edu.backend import SendRequest
from netkit_edu.costs import Cost
from netkit_edu.errors import UsageError
from netkit_edu.node import Node

MOST = 512  # packets in one batch: more would overflow a socket's buffer
MAX_RUNS = 100


def measure(sender: Node, packet, *, replies: bool = False, n: int = 64, runs: int = 3, mark: int = 0,
            priority: int = 0) -> Cost:  # fmt: skip
    """Return the cost of one datagram; see `Lab.measure`."""
    counts = _counter(sender, "measure")
    whole_number(n, "n", 1, MOST)
    whole_number(runs, "runs", 1, MAX_RUNS)
    data = wire.to_bytes(packet)
    if data.ethernet:
        raise UsageError("what is measured is sent by a UDP socket: give the packet from IP on, without Ethernet")
    head = wire.ipv4(data)
    receiver = _owner(sender, head.dst) if head else None
    if replies and receiver is None:
        raise UsageError(f"nobody in this lab has the address {head.dst if head else ''}: who should reply?")
    data = wire.to_bytes(packet, src=_source(sender, head.dst)) if head else data
    request = SendRequest(data.data, mark=mark, priority=priority)
    return Cost.of(
        counts(sender.ns, request, receiver=receiver.ns if receiver else None, replies=replies, n=n, runs=runs)
    )


def measure_stream(sender: Node, receiver: Node, *, dst: str = "", gso: bool = True, runs: int = 5) -> Cost:
    """Return the cost of a MiB of TCP; see `Lab.measure_stream`."""
    counts = _counter(sender, "measure_stream")
    whole_number(runs, "runs", 1, MAX_RUNS)
    if not isinstance(receiver, Node) or receiver.lab is not sender.lab:
        raise UsageError(f"the stream goes to a node of the same lab, not to {receiver!r}")
    dst = dst or ("127.0.0.1" if receiver is sender else receiver.ip)
    return Cost.of(counts(sender.ns, receiver.ns, _source(sender, dst), dst, gso=gso, runs=runs))


def _counter(sender: Node, what: str):
    if not isinstance(sender, Node):
        raise UsageError(f"who sends is a node, such as lab.host or a pod, not {sender!r}")
    counts = getattr(sender.lab.kernel_calls, what, None)
    if counts is None:
        raise UsageError(
            "the simulator runs no machine instructions, so there are none to count: a journey's j.counts has what it "
            "does count. nk.Lab('vm') counts instructions"
        )
    return counts


def _owner(sender: Node, address: str) -> Node | None:
    """Return the node that has an address: for a loopback address the sender itself."""
    if address.startswith("127."):
        return sender
    nodes = sender.lab.nodes.values()
    return next((node for node in nodes if address in {a.partition("/")[0] for a in node.addresses}), None)


def _source(sender: Node, dst: str) -> str:
    """Return the address that the sender's stack would choose: the one nearest to the destination."""
    if dst.startswith("127."):
        return "127.0.0.1"
    own = [ipaddress.ip_interface(address) for address in sender.addresses]
    near = [address for address in own if ipaddress.ip_address(dst) in address.network]
    return str((near or own)[0].ip) if own else "0.0.0.0"
