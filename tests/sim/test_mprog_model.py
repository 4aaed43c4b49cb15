"""Any sequence of attach, detach, link and update, against a model of ten lines that knows nothing of positions."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.errors import KernelError
from netkit_edu.sim.backend import SimBackend
from netkit_edu.uapi import BPF_F_AFTER as AFTER
from netkit_edu.uapi import BPF_F_BEFORE as BEFORE
from netkit_edu.uapi import BPF_F_ID as ID
from netkit_edu.uapi import BPF_F_LINK as LINK
from netkit_edu.uapi import BPF_F_REPLACE as REPLACE
from netkit_edu.uapi import BPF_NETKIT_PEER as HOOK
from netkit_edu.uapi import BPF_NETKIT_PRIMARY
from tests.sim.topologies import returning

PROGS = 5


def model(chain: list, what: str, prog, owner, flags: int, near, old) -> list:
    """What a successful operation leaves of ``chain``, a list of (program, owner); ``near`` is an entry or None."""
    at = next((i for i, entry in enumerate(chain) if near and entry[0] == near[0]), None)
    if what == "attach" and flags & REPLACE:
        return [(prog, owner) if entry[0] == old else entry for entry in chain]
    if what == "attach":
        front = 0 if at is None else at
        back = len(chain) if at is None else at + 1
        i = front if flags & BEFORE else back if flags & AFTER else len(chain)
        return chain[:i] + [(prog, owner)] + chain[i:]
    gone = [entry[0] for entry in chain].index(prog) if prog else len(chain) - 1
    if not prog and flags & (BEFORE | AFTER) and (at is not None or flags & BEFORE):
        gone = min(max((0 if at is None else at) + (-1 if flags & BEFORE else 1), 0), len(chain) - 1)
    return chain[:gone] + chain[gone + 1 :]


FLAGS = (0, 0, BEFORE, AFTER, BEFORE | AFTER, REPLACE, REPLACE | BEFORE, REPLACE | AFTER)
WHATS = ("attach", "attach", "attach", "detach", "update", "unlink", "close")


class Hooked:
    """A pair, some programs, and what the model says of the peer's hook; programs and links by position from 1."""

    def __init__(self):
        self.sim = SimBackend()
        self.ns = self.sim.netns_add("x")
        self.dev = self.sim.link_add(self.ns, "netkit", "nk1", peer={"name": "nk0"})
        self.progs = [0, *(returning(self.sim, -1, f"P{n}") for n in range(PROGS))]
        self.links: list[int] = [0]
        self.chain: list[tuple[int, int]] = []
        self.revision = 1

    def link(self, n: int) -> int:
        return self.links[n] if n < len(self.links) else 0

    def do(self, what, who, flags, near, old, by_link) -> None:
        kind, near = near
        prog, number = self.progs[who], self.link(near) if kind & LINK or near > PROGS else self.progs[near]
        how = {"flags": flags | kind, "relative": number}
        place = next(((p, o) for p, o in self.chain if number and number == (o if kind & LINK else p)), None)
        if what == "attach" and by_link:
            self.links.append(self.sim.bpf_link_create(self.ns, self.dev, HOOK, prog, **how))
            self.chain = model(self.chain, what, prog, self.links[-1], flags, place, None)
        elif what == "attach":
            self.sim.prog_attach(self.ns, self.dev, HOOK, prog, replace=self.progs[old], **how)
            self.chain = model(self.chain, what, prog, 0, flags, place, self.progs[old])
        elif what == "detach":
            self.sim.prog_detach(self.ns, self.dev, HOOK, prog, **how)
            self.chain = model(self.chain, what, prog, 0, flags, place, None)
        else:
            return self.through_link(what, self.link(near), self.progs[old])
        self.revision += 1

    def through_link(self, what, link, prog) -> None:
        mine = [entry for entry in self.chain if entry[1] == link]
        if what == "update":
            self.sim.bpf_link_update(link, prog)
            self.revision += (prog, link) not in self.chain
            self.chain = [(prog, link) if entry in mine else entry for entry in self.chain]
        else:
            (self.sim.bpf_link_detach if what == "unlink" else self.sim.bpf_link_close)(link)
            self.revision += len(mine)
            self.chain = [entry for entry in self.chain if entry not in mine]


def operation(random: Random, links: int) -> tuple:
    """Choose one; half of what goes by something names something that exists, by program or by link."""
    what, kind = random.choice(WHATS), random.choice((0, 0, ID, LINK | ID, LINK))
    most = links if what not in ("attach", "detach") or kind & LINK else PROGS
    near = random.randint(0, most)
    who = random.randint(0 if what == "detach" else 1, PROGS)
    flags = random.choice(FLAGS) if what in ("attach", "detach") else 0
    return what, who, flags, (kind, near) if random.random() < 0.7 or not flags else (0, 0), random.randint(1, PROGS)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_sequence_leaves_what_the_model_says_and_a_refusal_leaves_everything(seed):
    random, h = Random(seed), Hooked()
    for _ in range(80):
        before = list(h.chain), h.revision
        try:
            h.do(*operation(random, len(h.links) - 1), random.random() < 0.4)
        except KernelError:
            assert (h.chain, h.revision) == before
        shown = h.sim.prog_query(h.ns, h.dev, HOOK)
        assert [(entry.prog_id, entry.link_id) for entry in shown.entries] == h.chain
        assert shown.revision == (h.revision if h.chain else 1)
        progs = [prog for prog, _ in h.chain]
        assert len(set(progs)) == len(progs)
        for link in h.links[1:]:
            try:
                info = h.sim.bpf_link_info(link)
            except KernelError:
                assert link not in [owner for _, owner in h.chain]  # closed
            else:
                assert (info.ifindex != 0) == ((info.prog_id, link) in h.chain)
    assert h.sim.prog_query(h.ns, h.dev, BPF_NETKIT_PRIMARY) == (1, ())


def test_the_model_itself_follows_the_worked_example():
    chain = [(n, 0) for n in (1, 2)]
    for prog, flags, near in ((3, BEFORE, 2), (4, AFTER, 1), (5, BEFORE, None), (6, AFTER, None)):
        chain = model(chain, "attach", prog, 0, flags, near and (near, 0), None)
    assert [prog for prog, _ in chain] == [5, 1, 4, 3, 2, 6]
