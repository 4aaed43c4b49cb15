"""Random networks: the pair under test, and what may stand beside it."""

from __future__ import annotations

import random

from netkit_edu.uapi import Mode


def _chance(choose: random.Random, share: float) -> bool:
    return choose.random() < share


def topology(choose: random.Random) -> dict[str, dict]:
    """Return the devices of a scenario and their options."""
    made = {"a": _netkit(choose)}
    if _chance(choose, 0.08):
        made["a"]["same"] = True
    if _chance(choose, 0.6):
        made["b"] = _netkit(choose)
    if _chance(choose, 0.3):
        made["v"] = {"mtu": choose.choice((1500, 1400, 9000))} if _chance(choose, 0.2) else {}
    if _chance(choose, 0.35):
        made["d"] = {"up": _chance(choose, 0.7)}
    if _chance(choose, 0.15):
        made["d1"] = {"up": _chance(choose, 0.7)}
    return made


def _netkit(choose: random.Random) -> dict:
    options: dict = {}
    for key, share, values in (
        ("mode", 0.5, (Mode.L3, Mode.L2, Mode.L2)),
        ("policy", 0.3, (0, 2)),
        ("peer_policy", 0.3, (0, 2)),
        ("scrub", 0.4, (0, 1)),
        ("peer_scrub", 0.4, (0, 1)),
        ("mtu", 0.15, (68, 1280, 1400, 9000, 65535)),
        ("peer_mtu", 0.15, (68, 1280, 1400, 9000, 65535)),
    ):
        if _chance(choose, share):
            options[key] = int(choose.choice(values))
    if options.get("mode") == Mode.L2 and _chance(choose, 0.15):
        options["neigh"] = False
    return options
