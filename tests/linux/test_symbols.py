"""Asking the kernel where its functions lie: the same as its own list says, without reading the list."""

from __future__ import annotations

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.linux import symbols
from netkit_edu.linux.child import open_child
from netkit_edu.linux.door import Data
from netkit_edu.linux.files import read_file
from netkit_edu.linux.trace_table import DROPPING, FUNCTIONS

NAMES = [*(function.symbol for function in FUNCTIONS), *DROPPING, "no_such_function_anywhere"]


@pytest.fixture
def door():
    door = open_child()
    yield door
    door.close()
    door.child.wait()


def descriptors(door) -> int:
    first = door.call("openat", -100, b"/\0", 0, 0)
    door.call("close", first)
    return first


@pytest.mark.door
def test_the_kernel_says_what_its_list_says(door):
    everything = symbols.read_symbols(read_file(door, symbols.SYMBOLS))
    if not any(start for start, _ in everything.values()):
        pytest.skip("this kernel does not tell where its functions are")
    before = descriptors(door)
    found = symbols.find(door, NAMES)
    assert descriptors(door) == before
    assert {"ip_rcv", "veth_xmit"} & found.keys() and NAMES[-1] not in found
    assert found == {name: everything[name] for name in NAMES if name in everything}


@pytest.mark.door
def test_a_kernel_that_cannot_be_asked_is_read(door, monkeypatch):
    def refuse(door):
        raise KernelError("EINVAL")

    asked = symbols.find(door, NAMES)
    monkeypatch.setattr(symbols, "_load", refuse)
    assert symbols.find(door, NAMES) == asked


def test_a_kernel_that_tells_nobody_is_a_refusal():
    data = Data()
    data.value = symbols._ASKED.pack(b"ip_rcv", -1, 0, b"")
    with pytest.raises(KernelError) as refusal:
        symbols._span(data)
    assert refusal.value.name == "EPERM"
