"""Recordings of the log as a virtual machine wrote it, for tests that run anywhere; `write` makes one.

A recording is one JSON file: the records as base64 of their deflated bytes, and what the backend called things then.
Functions are named, so that a recording outlives the order of the table.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

from netkit_edu.journey import Journey
from netkit_edu.linux.records import Record, read_records
from netkit_edu.linux.story import Names, Story
from netkit_edu.linux.trace_table import FUNCTIONS, NUMBERS
from netkit_edu.linux.way import Where
from netkit_edu.linux.words import Places

DATA = Path(__file__).with_name("data")


def write(name: str, log: bytes, names: Names, packet: bytes) -> None:
    """Keep a log under a name."""
    wanted = {record.also for record in read_records(log) if record.number >= len(FUNCTIONS)}
    told = {
        "packet": packet.hex(),
        "devices": [[*key, *where] for key, where in names.devices.items()],
        "nodes": list(names.nodes.items()),
        "programs": list(names.programs.items()),
        "reasons": [pair for pair in names.reasons.items() if pair[0] in wanted],
        "places": names.functions.rows,
        "functions": [function.symbol for function in FUNCTIONS],
        "log": base64.b64encode(zlib.compress(log, 9)).decode(),
    }
    (DATA / f"{name}.json").write_text(json.dumps(told) + "\n")


class Recording:
    """One recording: its ``records`` and ``names``."""

    def __init__(self, name: str):
        told = json.loads((DATA / f"{name}.json").read_text())
        self.log = zlib.decompress(base64.b64decode(told["log"]))
        self.packet = bytes.fromhex(told["packet"])
        symbols = told["functions"]
        self.records: list[Record] = [
            record._replace(number=NUMBERS[symbols[record.number]]) if record.number < len(symbols) else record
            for record in read_records(self.log)
        ]
        self.names = Names(
            {(inode, ifindex): Where(*where) for inode, ifindex, *where in told["devices"]},
            dict(map(tuple, told["nodes"])),
            dict(map(tuple, told["programs"])),
            dict(map(tuple, told["reasons"])),
            Places(told["places"]),
        )

    def journeys(self, errno: int = 0, records: list[Record] | None = None) -> list[Journey]:
        """Return the journeys of the packets that were sent."""
        story = Story(self.names, self.packet).read(self.records if records is None else records)
        return [way.journey("Linux", errno=errno) for way in story.ways]
