"""Draws the pictures beside it anew, from packets that were sent: ``python notebooks/images/draw.py [FOLDER]``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import netkit_edu as nk
from netkit_edu import draw


def veth_beside_netkit() -> str:
    """The same datagram from two pods of one host to the outside: over veth, and over netkit without a program."""
    with nk.Lab("sim") as lab:
        web, db = lab.pod("web", device="veth"), lab.pod("db", device="netkit")
        veth = replace(web.send(datagram(web.ip)), label="over veth")
        netkit = replace(db.send(datagram(db.ip)), label="over netkit")
    return draw.comparison(veth.compare(netkit))


def datagram(source: str) -> bytes:
    """IPv4 and UDP, 4096 -> 53 at the outside, with the checksums left to the stack."""
    addresses = bytes(map(int, source.split("."))) + bytes([192, 0, 2, 2])
    return bytes.fromhex("4500001c0000400040110000") + addresses + bytes.fromhex("1000003500080000")


PICTURES = {"veth-beside-netkit.svg": veth_beside_netkit}

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    for name, picture in PICTURES.items():
        (folder / name).write_text(picture(), encoding="utf-8")
