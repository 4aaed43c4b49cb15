"""`Lab.measure`: what it refuses on every backend, and what it counts in the virtual machine."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.errors import UsageError

CARD = "198.51.100.2"


def packet(dst: str) -> nk.IP:
    return nk.IP(dst=dst) / nk.UDP(dport=53) / bytes(64)


def test_the_simulator_has_no_instructions_and_says_what_it_has():
    with nk.Lab("sim") as lab:
        with pytest.raises(UsageError, match="j.counts"):
            lab.measure(lab.host, packet(lab.outside.ip))
        with pytest.raises(UsageError, match="j.counts"):
            lab.measure_stream(lab.host, lab.outside)


def test_who_sends_is_a_node_of_this_lab():
    with nk.Lab("sim") as lab, nk.Lab("sim") as other:
        with pytest.raises(UsageError, match="another lab"):
            lab.measure(other.host, packet(lab.outside.ip))
        with pytest.raises(UsageError, match="a node is meant"):
            lab.measure("host", packet(lab.outside.ip))


def test_the_machines_own_kernel_has_no_such_clock_and_says_who_has(monkeypatch):
    from netkit_edu.linux.measure import MeasureCalls

    class Host(MeasureCalls):
        name = "host"

    with nk.Lab("sim") as lab:
        for what in ("measure", "measure_stream"):
            monkeypatch.setattr(type(lab.kernel_calls), what, getattr(Host(), what), raising=False)
        with pytest.raises(UsageError, match="only the virtual machine counts instructions"):
            lab.measure(lab.host, packet(lab.outside.ip))
        with pytest.raises(UsageError, match="only the virtual machine counts instructions"):
            lab.measure_stream(lab.host, lab.outside)
