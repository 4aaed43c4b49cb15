"""Fixtures for tests that open a door of their own."""

from __future__ import annotations

import pytest


@pytest.fixture
def room():
    """bpf(2) of this machine's kernel through a door of one's own."""
    from tests.linux.bpf_room import Room

    room = Room()
    yield room
    room.close()


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
