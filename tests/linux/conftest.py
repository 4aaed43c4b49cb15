"""Fixtures for tests that open a door of their own."""

from __future__ import annotations

import pytest

from tests.requires import require


@pytest.fixture(params=["here", "vm"])
def room(request):
    """bpf(2) through a door: of this machine's kernel, and of the one in the virtual machine."""
    from tests.linux.bpf_room import Room

    require("door" if request.param == "here" else "vm")
    if request.param == "here":
        room = Room()
        yield room
        room.close()
        return
    from netkit_edu.vm.machine import open_vm

    with open_vm() as machine:
        yield Room(machine.door, machine.kernel)


@pytest.fixture
def ns(room) -> int:
    """A namespace in the room."""
    return room.new_netns()


@pytest.fixture
def hash_map(room) -> int:
    """A map that is a hash of four bytes to four."""
    from netkit_edu.program.object import MapSpec
    from netkit_edu.uapi import BPF_MAP_TYPE_HASH

    return room.map_create(MapSpec("table", BPF_MAP_TYPE_HASH, 4, 4, 2))
