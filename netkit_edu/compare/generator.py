"""Random scenarios from a seed: the same seed and number give the same scenario, on every machine.

Weights are such that a few hundred scenarios show every feature, while most packets still get somewhere.
"""

from __future__ import annotations

import random

from netkit_edu.compare import networks, odd
from netkit_edu.compare.frames import TAGS
from netkit_edu.compare.scenario import CLOSED_PORT, PORT, PROGRAMS, Scenario
from netkit_edu.uapi import BPF_F_AFTER as AFTER
from netkit_edu.uapi import BPF_F_BEFORE as BEFORE
from netkit_edu.uapi import BPF_F_ID as ID
from netkit_edu.uapi import BPF_F_LINK as LINK
from netkit_edu.uapi import BPF_F_REPLACE as REPLACE
from netkit_edu.uapi import Verdict

VERDICTS = (*(-1,) * 12, *(0,) * 5, *(2,) * 2, *(7,) * 6, -2, 1, 3, 4, 5, 6, 8, 9, 100)
NETKIT_HOOKS = ("primary", "peer")
ENDS = ("a", "a.peer")
HELPERS = ("redirect", "redirect", "redirect", "redirect_peer", "redirect_neigh", "next_hop", "clone_redirect")
FLAGS = (0, 0, 0, 0, BEFORE, BEFORE, AFTER, AFTER, BEFORE | AFTER, REPLACE, REPLACE | BEFORE, REPLACE | AFTER)
ODD = (ID, LINK, ID | LINK, 1, 2, 0x40, 0x100, 1 << 14, 1 << 31)
SIZES = (0, 1, 18, 100, 100, 100, 100, 100, 1000, 1472, 1473, 1500, 3000, 5000)
NEXT_HOPS = ("10.77.1.1", "10.77.1.2", "10.77.2.2", "10.77.3.2", "192.0.2.2", "10.77.9.9")


def scenario(seed: int, number: int) -> Scenario:
    """Return scenario ``number`` of ``seed``."""
    return _Making(random.Random(f"{seed}/{number}"), f"seed {seed}, scenario {number}").scenario()


class _Making:
    def __init__(self, choose: random.Random, name: str):
        self.choose = choose
        self.name = name
        self.links = 0
        self.attached: dict[str, list[str]] = {}  # at first; what comes later may be refused

    def chance(self, share: float) -> bool:
        return self.choose.random() < share

    def scenario(self) -> Scenario:
        topology = networks.topology(self.choose)
        self.devices = Scenario(topology).devices
        self.programs: dict[str, dict] = {}
        steps: list[dict] = []
        for hook in self.hooks():
            for _ in range(self.choose.choice((0, 1, 1, 2, 3, 4)) if hook in NETKIT_HOOKS else 1):
                if len(self.programs) < len(PROGRAMS):
                    steps.append(self.first_attach(hook))
        self.choose.shuffle(steps)
        doings = self.choose.randint(3, 9)
        kinds = [self.send] * 9 + [self.hook_step] * 6 + [self.device_step] * 3 + [self.odd_step, self.setting]
        for n in range(doings):
            steps.append(self.choose.choice(kinds)() if n < doings - 1 else self.send())
        return Scenario(topology, self.programs, [step for step in steps if step], self.name)

    def hooks(self) -> list[str]:
        found = list(NETKIT_HOOKS)
        if "b" in self.devices and self.chance(0.3):
            found.append(self.choose.choice(("b primary", "b peer")))
        if self.chance(0.25):
            found.append(f"{self.choose.choice(('in', 'out'))} {self.choose.choice(self.devices)}")
        return found

    # programs ---------------------------------------------------------------------------------------------------------

    def new_program(self, hook: str) -> str:
        name = PROGRAMS[len(self.programs)]
        self.programs[name] = self.program(hook)
        return name

    def program(self, hook: str) -> dict:
        pick = self.choose.choice
        does: dict = {"verdict": pick(VERDICTS)}
        for key, share, values in (
            ("mark", 0.12, (0, 0x77, 0xFFFFFFFF)),
            ("priority", 0.12, (0, 6, 0x10001)),
            ("type", 0.1, (0, 0, 1, 2, 3, 3, 4, 7)),
            ("ethertype", 0.05, (0x86DD, 0x0806, 0x0800, 0x1234)),
            ("length", 0.04, (14, 33, 34, 60, 200, 3000)),
            ("cb", 0.06, (9, 0xDEADBEEF)),
        ):
            if self.chance(share):
                does[key] = pick(values)
        if self.chance(0.12):
            does["store"] = list(pick(STORES))
        if does["verdict"] == Verdict.REDIRECT and self.chance(0.75) or self.chance(0.12):
            does |= self.redirect(hook)
        return does

    def redirect(self, hook: str) -> dict:
        helper = self.choose.choice(HELPERS)
        flags = self.choose.choice((0, 0, 0, 0, 1, 1, 2, 4, 0x80000000))
        target = self.choose.choice((*self.devices, *self.devices, "nic", "lo", "zero", "missing"))
        if hook.startswith("in "):  # what a device receives and gives back to itself goes round for ever
            flags = 0 if helper != "redirect_peer" else flags & 2
        does: dict = {"redirect": [helper, target, flags]}
        if helper == "next_hop":
            does["nexthop"] = self.choose.choice(NEXT_HOPS)
        if helper != "clone_redirect" and self.chance(0.5):
            does["says_answer"] = 1
        return does

    # steps ------------------------------------------------------------------------------------------------------------

    def first_attach(self, hook: str) -> dict:
        step = {"do": "attach", "hook": hook, "prog": self.new_program(hook)}
        self.attached.setdefault(hook, []).append(step["prog"])
        if self.chance(0.3):
            step["flags"] = BEFORE
        if self.chance(0.2):
            step["link"] = self.new_link()
        return step

    def new_link(self) -> str:
        self.links += 1
        return f"l{self.links - 1}"

    def any_program(self, hook: str = "peer") -> str:
        if len(self.programs) < len(PROGRAMS) and (not self.programs or self.chance(0.3)):
            return self.new_program(hook)
        return self.choose.choice(list(self.programs))

    def any_hook(self) -> str:
        if self.chance(0.08):
            return f"{self.choose.choice(('in', 'out'))} {self.choose.choice(self.devices)}"
        return self.choose.choice(NETKIT_HOOKS)

    def hook_step(self) -> dict:
        kinds = [self.attach] * 5 + [self.detach] * 4 + [self.query]
        if self.links:
            kinds += [self.update, self.update, self.unlink, self.close]
        return self.choose.choice(kinds)()

    def place(self, step: dict) -> None:
        """Where in the list: flags, the one to go by, an expected revision; at times nonsense."""
        flags = self.choose.choice(FLAGS)
        if flags & REPLACE and step["do"] == "attach":
            there = self.attached.get(step["hook"], [])
            step["replace"] = self.choose.choice((*there, *there, self.any_program(), "", "nowhere"))
        if (flags & (BEFORE | AFTER) and self.chance(0.7)) or self.chance(0.06):
            there = self.attached.get(step["hook"], [])
            rel = self.choose.choice((*there, *there, self.any_program(), "", "nowhere"))
            flags |= ID
            if self.links and self.chance(0.3):
                rel, flags = f"l{self.choose.randrange(self.links)}", flags | LINK
            step["rel"] = rel
        if self.chance(0.06):
            flags ^= self.choose.choice(ODD)
        # a number that is no id would be a descriptor, and descriptors are each machine's own
        if step.get("rel") and not flags & ID:
            flags |= ID
        if flags:
            step["flags"] = flags
        if self.chance(0.12):
            step["revision"] = self.choose.choice(("now", "now", "next", 1, 2, 77))
        if self.chance(0.07):
            step["via"] = self.choose.choice((*self.devices, "a.peer"))

    def attach(self) -> dict:
        hook = self.any_hook()
        step = {"do": "attach", "hook": hook, "prog": self.any_program(hook)}
        if self.chance(0.8):
            self.place(step)
        if self.chance(0.25):
            step.pop("replace", None)
            step["link"] = self.new_link()
        return step

    def detach(self) -> dict:
        step = {"do": "detach", "hook": self.any_hook()}
        if self.chance(0.5):
            step["prog"] = self.choose.choice((*self.attached.get(step["hook"], []), self.any_program(step["hook"])))
        if self.chance(0.6):
            self.place(step)
        return step

    def query(self) -> dict:
        step = {"do": "query", "hook": self.any_hook()}
        if self.chance(0.3):
            step["via"] = self.choose.choice(self.devices)
        return step

    def update(self) -> dict:
        step = {"do": "update", "link": f"l{self.choose.randrange(self.links)}", "prog": self.any_program()}
        if self.chance(0.4):
            step |= {"flags": self.choose.choice((REPLACE, REPLACE, REPLACE, 0, BEFORE)), "old": self.any_program()}
        return step

    def unlink(self) -> dict:
        return {"do": "unlink", "link": f"l{self.choose.randrange(self.links)}"}

    def close(self) -> dict:
        return {"do": "close", "link": f"l{self.choose.randrange(self.links)}"}

    def device_step(self) -> dict:
        pick = self.choose.choice
        kind = self.choose.random()
        if kind < 0.35:
            keys = pick((("policy",), ("peer_policy",), ("policy", "peer_policy")))
            step = {"do": "policy"} | {key: pick((0, 0, 2, 2, 2, 1, 7, 0xFFFFFFFF)) for key in keys}
            return step | ({"via": "a.peer"} if self.chance(0.1) else {})
        if kind < 0.6:
            return {"do": "down", "device": pick((*ENDS, *ENDS, *self.devices))}
        if kind < 0.8:
            return {"do": "up", "device": pick((*ENDS, *ENDS, *self.devices))}
        if kind < 0.9:
            return {"do": "mtu", "device": pick(self.devices), "value": pick((67, 68, 1280, 1500, 9000, 65535, 65536))}
        if kind < 0.95:
            return {"do": "mac", "device": pick(self.devices), "value": pick(MACS)}
        return {"do": "delete", "device": pick(self.devices)}

    def odd_step(self) -> dict:
        kind = self.choose.choice(("newlink", "changelink", "bpf", "bpf"))
        if kind == "bpf":
            return odd.bpf(self.choose, list(self.programs) or [self.new_program("peer")], self.links, self.devices)
        return getattr(odd, kind)(self.choose)

    def setting(self) -> dict:
        if self.chance(0.3):
            return {"do": "forward", "value": self.choose.choice((0, 0, 1))}
        return {"do": "backlog", "value": self.choose.choice((0, 1, 2, 1000))}

    def send(self) -> dict:
        pick = self.choose.choice
        device = pick(ENDS) if self.chance(0.8) else pick(self.devices)
        step: dict = {"do": "send", "device": device}
        via = pick(("udp", "udp", "udp", "raw", "packet", "packet", "icmp"))
        if via != "udp":
            step["via"] = via
        for key, share, values in (
            ("to", 0.4, (*self.devices, "outside", "stranger", "nic", "elsewhere", "multicast", "broadcast")),
            ("size", 0.35, SIZES),
            ("mark", 0.3, (0x77, 0xFFFFFFFF)),
            ("priority", 0.3, (5, 0x10001)),
            ("recverr", 0.4, (True,)),
            ("ttl", 0.08, (1, 2, 255)),
            ("df", 0.2, (False,)),
            ("bind", 0.1, (True,)),
        ):
            if self.chance(share):
                step[key] = pick(values)
        if via != "icmp" and self.chance(0.1):
            step["port"] = pick((CLOSED_PORT, PORT))
        if via == "packet":
            step.pop("bind", None)
            step |= self.frame()
        return step

    def frame(self) -> dict:
        pick = self.choose.choice
        frame = {}
        if self.chance(0.5):
            frame["mac"] = pick(("broadcast", "multicast", "foreign", "zero"))
        if self.chance(0.15):
            frame["ethertype"] = pick((0x0806, 0x86DD, 0x1234, 0x8100, 0x88A8, 0x0040))
            if frame["ethertype"] in TAGS and self.chance(0.5):
                frame["tag"] = pick((5, 0x2000, 0x6FFF))
        if self.chance(0.15):
            frame["cut"] = pick((0, 13, 14, 15, 33, 34, 40))
        return frame


MACS = ("02:00:00:00:77:01", "01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
STORES = (
    (0, "ffffffffffff"), (0, "01005e000001"), (0, "020000000a01"), (0, "020000000a02"), (12, "86dd"), (22, "01"),
    (26, "0a4d0209"), (30, "0a4d0202"), (36, "0009"), (42, "aabbcc"), (36, "0007"), (1498, "01"), (5000, "01"),
)  # fmt: skip
