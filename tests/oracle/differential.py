"""One program, two machines: the reference interpreter and the kernel's BPF_PROG_TEST_RUN, side by side.

``python -m tests.oracle.differential --runs 20000`` is the long run; the tests do a thousand.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from netkit_edu.engine import maps as engine_maps
from netkit_edu.engine.interpreter import load
from netkit_edu.engine.maps import Map
from netkit_edu.engine.world import World
from netkit_edu.errors import ProgramFault
from netkit_edu.program.isa import disassemble
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.programs import skb_for_run
from tests.oracle.generator import MAPS, Generator
from tests.oracle.kernel import CPUS, KernelMap, KernelProgram, Refused, sk_buff


class TwoMachines:
    """A program loaded into both machines, each with maps of its own; a context manager.

    Raises `tests.oracle.kernel.Refused` where the kernel's verifier does not take the program.
    """

    def __init__(self, code: ProgramCode, specs: Iterable[MapSpec] = ()):
        self._stack, self._cpu = ExitStack(), min(os.sched_getaffinity(0))
        with ExitStack() as stack:
            self.there = {spec.name: stack.enter_context(KernelMap(spec)) for spec in specs}
            self.here = {spec.name: engine_maps.create(spec, cpus=CPUS) for spec in specs}
            self._oracle = stack.enter_context(KernelProgram(code, self.there))
            self._executable = load(code, self.here)
            if any(made.per_cpu for made in self.here.values()):  # both are to run on the same CPU
                allowed = os.sched_getaffinity(0)
                stack.callback(os.sched_setaffinity, 0, allowed)
                os.sched_setaffinity(0, {self._cpu})
            self._stack = stack.pop_all()

    def __enter__(self) -> TwoMachines:
        return self

    def __exit__(self, *exc) -> None:
        self._stack.close()

    def store(self, name: str, key: bytes, value: bytes) -> None:
        """Put a value into the map of both."""
        self.here[name].update(key, value)
        self.there[name].update(key, value)

    def differences(self, packet: bytes, **fields) -> list[str]:
        """Run both on one packet; return what differs afterwards, each with both values.

        ``fields`` are what the kernel takes: mark, priority, cb, tstamp. Maps keep their contents from run to run.
        """
        theirs = self._oracle.run(packet, sk_buff(**fields))
        skb = skb_for_run(packet, wire_len=len(packet), **fields)
        try:
            code = self._executable.run(skb, World(cpu=self._cpu))
        except ProgramFault as fault:
            return [f"a fault here, {theirs.code} there: {fault}"]
        pairs = [
            ("return value", code, theirs.code),
            ("packet", skb.bytes, theirs.packet),
            ("mark", skb.mark, theirs.field(8)),
            ("priority", skb.priority, theirs.field(32)),
            ("cb", tuple(skb.cb), tuple(theirs.field(48 + 4 * i) for i in range(5))),
            ("tstamp", skb.tstamp, theirs.field(152, 8)),
            *((f"map {name}", contents(self.here[name]), contents(self.there[name])) for name in self.here),
        ]
        return [f"{what}: {here!r} here, {there!r} there" for what, here, there in pairs if here != there]


def contents(of: Map | KernelMap) -> dict[bytes, bytes | None]:
    """Return every key and value of a map."""
    return {key: of.lookup(key) for key in of.keys()}


@dataclass
class Tally:
    """What a comparison of many programs found."""

    programs: int = 0
    runs: int = 0
    refused: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)


def random_runs(runs: int, seed: int, packets_each: int = 4) -> Tally:
    """Compare random programs until ``runs`` program-packet pairs have run in both."""
    tally, number = Tally(), 0
    while tally.runs < runs:
        generator = Generator(seed * 1_000_003 + number)
        try:
            machines = TwoMachines(generator.program(), MAPS)
        except Refused as refusal:
            tally.refused.append(refusal.log)
        else:
            with machines:
                tally.programs += 1
                for _ in range(packets_each):
                    tally.runs += 1
                    if different := machines.differences(generator.packet(), **generator.fields()):
                        tally.mismatches.append(f"seed {seed}, program {number}: {'; '.join(different)}")
                        break  # from here on the maps differ
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
