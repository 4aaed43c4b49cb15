"""One program, two machines: the reference interpreter and the kernel's BPF_PROG_TEST_RUN, side by side.

``python -m tests.oracle.differential --runs 20000`` is the long run; the tests do a thousand.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from netkit_edu.engine import maps as engine_maps
from netkit_edu.engine.interpreter import load
from netkit_edu.engine.world import World
from netkit_edu.errors import ProgramFault
from netkit_edu.program.isa import disassemble
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.programs import skb_for_run
from tests.oracle.generator import MAPS, Generator
from tests.oracle.kernel import KernelMap, KernelProgram, Refused, sk_buff


@dataclass
class Tally:
    """What a comparison found."""

    programs: int = 0
    runs: int = 0
    refused: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)


def compare(
    code: ProgramCode, specs: Mapping[str, MapSpec], packets: Iterable[tuple[bytes, dict]], tally: Tally
) -> None:
    """Load a program into both machines, run it on the same packets, and note every difference.

    Maps keep their contents from packet to packet. ``packets`` gives bytes and the context fields mark, priority, cb
    and tstamp. A program that the kernel refuses is counted and left.
    """
    with ExitStack() as stack:
        kernel_maps = {name: stack.enter_context(KernelMap(spec)) for name, spec in specs.items()}
        mine = {name: engine_maps.create(spec) for name, spec in specs.items()}
        try:
            oracle = stack.enter_context(KernelProgram(code, kernel_maps))
        except Refused as refusal:
            tally.refused.append(refusal.log)
            return
        executable = load(code, mine)
        tally.programs += 1
        for packet, fields in packets:
            tally.runs += 1
            theirs = oracle.run(packet, sk_buff(**fields))
            skb = skb_for_run(packet, wire_len=len(packet), **fields)
            try:
                code_here = executable.run(skb, World())
            except ProgramFault as fault:
                tally.mismatches.append(f"fault where the kernel returned {theirs.code}: {fault}")
                continue
            pairs = [
                ("return value", code_here, theirs.code),
                ("packet", skb.bytes, theirs.packet),
                ("mark", skb.mark, theirs.field(8)),
                ("priority", skb.priority, theirs.field(32)),
                ("cb", tuple(skb.cb), tuple(theirs.field(48 + 4 * i) for i in range(5))),
                ("tstamp", skb.tstamp, theirs.field(152, 8)),
            ]
            for name in specs:
                here = {key: mine[name].lookup(key) for key in mine[name].keys()}
                there = {key: kernel_maps[name].lookup(key) for key in kernel_maps[name].keys()}
                pairs.append((f"map {name}", here, there))
            different = [f"{what}: {here!r} here, {there!r} there" for what, here, there in pairs if here != there]
            if different:
                tally.mismatches.append("; ".join(different))
                return  # maps differ from here on


def random_runs(runs: int, seed: int, packets_each: int = 4) -> Tally:
    """Compare random programs until ``runs`` program-packet pairs have run in both."""
    tally, specs = Tally(), {spec.name: spec for spec in MAPS}
    number = 0
    while tally.runs < runs:
        generator = Generator(seed * 1_000_003 + number)
        code = generator.program()
        r = generator.random
        packets = [
            (generator.packet(), {"mark": r.getrandbits(32), "priority": r.getrandbits(32),
                                  "cb": tuple(r.getrandbits(32) for _ in range(5))})
            for _ in range(packets_each)
        ]  # fmt: skip
        found = len(tally.mismatches)
        compare(code, specs, packets, tally)
        if len(tally.mismatches) > found:
            tally.mismatches[-1] = f"seed {seed}, program {number}: {tally.mismatches[-1]}"
        number += 1
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare random programs with this machine's kernel.")
    parser.add_argument("--runs", type=int, default=20_000, help="program-packet pairs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, metavar="PROGRAM", help="print one program of this seed instead")
    arguments = parser.parse_args()
    if arguments.show is not None:
        code = Generator(arguments.seed * 1_000_003 + arguments.show).program()
        print("\n".join(f"{slot:4}: {text}" for slot, text in enumerate(disassemble(code.insns))))
        return
    start = time.perf_counter()
    tally = random_runs(arguments.runs, arguments.seed)
    seconds = time.perf_counter() - start
    print(f"{tally.runs} runs of {tally.programs} programs in {seconds:.0f} s, seed {arguments.seed}")
    print(f"{len(tally.refused)} programs refused by the kernel's verifier, {len(tally.mismatches)} mismatches")
    print("\n".join(tally.mismatches[:20]))


if __name__ == "__main__":
    main()
