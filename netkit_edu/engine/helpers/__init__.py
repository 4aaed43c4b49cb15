"""The helper functions of the engine. `registry` says what a helper is; each other file holds those of one subject."""

from netkit_edu.engine.helpers import checksums, maps, metadata, redirect, resize, ringbuf, vlan, world  # noqa: F401  registers them
from netkit_edu.engine.helpers.maps import program_at
from netkit_edu.engine.helpers.packet import packet_bytes
from netkit_edu.engine.helpers.registry import HELPERS, Helper, find, helper, skb_of

__all__ = ["HELPERS", "Helper", "find", "helper", "packet_bytes", "program_at", "skb_of"]
