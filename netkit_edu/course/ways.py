"""The way that a frame takes through a lab in which a learner's program sits, in words that a check can compare."""

from __future__ import annotations

from ipaddress import IPv4Address

from netkit_edu.journey import HopKind, Journey
from netkit_edu.lab import Lab
from netkit_edu.packet import Wire
from netkit_edu.programs import Program

STACK = "into the host's stack"
STRAIGHT = "straight to the card, with the right MAC addresses"


def mac_bytes(device) -> bytes:
    """Return a device's MAC address as six bytes."""
    return bytes.fromhex(device.mac.replace(":", ""))


def crossed_host(journey: Journey) -> bool:
    """Return whether the packet got behind the ingress hooks of one of the host's devices: into its stack."""
    return "NETDEV_INGRESS" in {hop.detail for hop in journey.hops if hop.node == "host" and hop.kind is HopKind.HOOK}


class LeavingLab:
    """Two pods; the program sits at the first one's end, bound to this lab's card and neighbour."""

    def __init__(self, answer: Program):
        self.lab = Lab("sim")
        self.pod, _ = (self.lab.pod(f"pod{n}", device="netkit") for n in (1, 2))
        self.macs = mac_bytes(self.lab.nic.other) + mac_bytes(self.lab.nic)
        bound = answer.bind(NIC=self.lab.nic.ifindex, NIC_MAC=self.macs[6:], OUTSIDE_MAC=self.macs[:6])
        self.pod.pair.attach(bound, at="peer")

    def way(self, frame: bytes) -> str:
        """Send a frame from the pod; return in words which way it took."""
        with self.lab.nic.capture() as wire:
            journey = self.pod.send(Wire(frame, True), via="packet")
        if crossed_host(journey):
            return STACK
        out = [seen.bytes for seen in wire.frames if seen.direction == "out"]
        if not out:
            return str(journey.fate)
        head, body = out[0][:12], out[0][12:]
        if body != frame[12:]:
            return "to the card, but changed behind its MAC addresses"
        if any(hop.kind is HopKind.LOOKUP and hop.node == "host" for hop in journey.hops):
            return "to the card, by a look at the host's routes"
        if head == self.macs:
            return STRAIGHT
        return f"to the card, from {head[6:].hex(':')} to {head[:6].hex(':')}"


class ArrivingLab:
    """Three pods; the program sits at the card's tcx ingress, and its map has the first two of them."""

    def __init__(self, answer: Program):
        self.lab = Lab("sim")
        pods = [self.lab.pod(f"pod{n}", device="netkit") for n in (1, 2, 3)]
        attached = self.lab.nic.attach_tcx(answer, "ingress")
        for pod in pods[:2]:
            key = int.from_bytes(IPv4Address(pod.ip).packed, "little")
            attached.maps["pods"][key] = pod.pair.ifindex

    def way(self, frame: bytes) -> str:
        """Send a frame to the card; return in words which way it took."""
        head = mac_bytes(self.lab.nic) + mac_bytes(self.lab.nic.other)
        journey = self.lab.outside.send(Wire(head + frame[12:], True), via="packet")
        if crossed_host(journey):
            return STACK
        pod = next((hop.node for hop in journey.hops if hop.node.startswith("pod")), "")
        if any(hop.function == "netkit_xmit" for hop in journey.hops):
            return f"{journey.fate.kind} to {pod}, by way of netkit_xmit" if pod else str(journey.fate)
        return f"straight into {pod}" if pod else str(journey.fate)
