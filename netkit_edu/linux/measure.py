"""The part of a backend that counts instructions: `counting` between a lab's namespaces, with nobody else listening."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator

from netkit_edu.backend import SendRequest
from netkit_edu.errors import UsageError
from netkit_edu.linux import counting, trace_setup
from netkit_edu.linux.counting import Flow
from netkit_edu.linux.netlink import NLM_F_ACK, ifinfomsg, u32
from netkit_edu.linux.rtnetlink import RTM_NEWLINK, Request
from netkit_edu.packet import IP_HLEN, Wire, ipv4
from netkit_edu.uapi import IPPROTO_UDP

IFLA_GSO_MAX_SEGS = 40
GSO_MAX_SEGS = 65535  # the kernel's own
UDP_HLEN = 8
_ELSEWHERE = "only the virtual machine counts instructions: its clock goes on by one nanosecond for each. nk.Lab('vm')"


class MeasureCalls:
    """What it needs of the backend: ``door``, ``name``, ``_ns``, ``_net``, ``_acked`` and ``_tracer``."""

    def measure(self, ns: int, request: SendRequest, *, receiver: int | None = None, replies: bool = False, n: int = 64,
                batches: int = 9, runs: int = 3) -> list[float]:  # fmt: skip
        """Return, for each run, the instructions that one datagram takes: the median of its batches.

        Args:
            ns: who sends.
            request: an IPv4 packet with UDP; its addresses, ports, payload, mark and priority count.
            receiver: the namespace that has its destination, None if nobody receives it.
            replies: count the receiver's reply and all four socket calls as well.
            n, batches, runs: datagrams a batch, batches a run, runs.

        Raises:
            UsageError: not on this backend, or no such packet.
            KernelError: a socket call was refused; EAGAIN if a request or its reply did not arrive.
        """
        self._counts_here()
        src, dst, payload = datagram(request.packet)
        flow = Flow(
            self._net(ns).fd, None if receiver is None else self._net(receiver).fd, src, dst, payload, request.mark,
            request.priority,
        )  # fmt: skip
        count = counting.request_reply if replies else counting.one_way
        self._silence()
        return [statistics.median(count(self.door, flow, n, batches)) for _ in range(runs)]

    def measure_stream(self, ns: int, receiver: int, src: str, dst: str, *, port: int = 5001, gso: bool = True,
                       size: int = counting.MIB, runs: int = 5) -> list[float]:  # fmt: skip
        """Return, for each of ``runs`` MiB one behind the other, the instructions that it takes on both ends together.

        Args:
            ns, receiver: the two ends.
            src, dst: their addresses.
            gso: let TCP hand down segments of up to 64 KiB, as it does; else one for each packet.
            size: bytes of a run.

        Raises:
            UsageError: not on this backend, or the path does not carry TCP.
        """
        self._counts_here()
        flow = Flow(self._net(ns).fd, self._net(receiver).fd, (src, 0), (dst, port))
        self._silence()
        with self._segments((ns, receiver), GSO_MAX_SEGS if gso else 1):
            return counting.stream(self.door, flow, size, batches=runs)

    def _counts_here(self) -> None:
        if self.name != "vm":
            raise UsageError(_ELSEWHERE)

    def _silence(self) -> None:
        """Have nobody record or listen until the next send: whoever looks at each packet costs instructions."""
        silence = getattr(self._tracer, "silence", None)
        if silence:
            silence()
        else:  # nothing is recorded here, but a snapshot may hold what would
            trace_setup.detach(self.door)

    @contextlib.contextmanager
    def _segments(self, ends: tuple[int, ...], most: int) -> Iterator[None]:
        """Limit how many segments of TCP go through the stack as one packet, on every device of both ends."""

        def limit(value: int) -> None:
            for ns in set(ends):
                for link in self.links(ns):
                    attributes = [(IFLA_GSO_MAX_SEGS, u32(value))]
                    self._acked(
                        self._net(ns), Request(RTM_NEWLINK, NLM_F_ACK, ifinfomsg(ifindex=link.ifindex), attributes)
                    )

        if most != GSO_MAX_SEGS:
            limit(most)
        try:
            yield
        finally:
            if most != GSO_MAX_SEGS:
                limit(GSO_MAX_SEGS)


def datagram(packet: bytes) -> tuple[tuple[str, int], tuple[str, int], bytes]:
    """Return source and destination of an IPv4 packet with UDP, each an address and a port, and the payload."""
    head = ipv4(Wire(packet, False))
    if head is None or head.protocol != IPPROTO_UDP or head.header != IP_HLEN:
        raise UsageError("what is measured is an IPv4 packet with UDP: nk.IP(dst=...) / nk.UDP(dport=...) / b'...'")
    return (head.src, 0), (head.dst, head.dport), packet[IP_HLEN + UDP_HLEN : head.length]
