"""``python -m netkit_edu``: what the command line offers, each word one function.

doctor    what this machine can do, and what brings the rest (the default)
claims    every claim of the article: its chapter, cell and tests, and which are still open
progress  the exercises that this learner has solved
record    run notebooks on real Linux, and keep what it answered for machines that cannot ask it
compare   execute random scenarios on two backends, and show the smallest on which they disagree
vm        build: make the snapshot that Lab("vm") starts from, now; clean: remove it, and the kernel with it
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence

from netkit_edu import __version__, doctor
from netkit_edu.compare import command
from netkit_edu.errors import NetkitEduError


def _doctor() -> int:
    machine = f"{platform.system()} {platform.release()} on {platform.machine()}"
    print(f"netkit-edu {__version__}, Python {platform.python_version()}, {machine}\n")
    print(doctor.report(doctor.examine()))
    return 0


def _claims() -> int:
    from netkit_edu.course import claims

    print(claims.report())
    return 0


def _progress() -> int:
    from netkit_edu.course import progress

    print(progress())
    return 0


def _record(chapters: Sequence[str]) -> int:
    from netkit_edu.course.record import record

    record(chapters)
    return 0


def _vm_build(cpus: Sequence[int], lean: bool) -> int:
    from netkit_edu.lab import Lab
    from netkit_edu.vm import cache, image

    begun = time.monotonic()

    def tell(step: str, detail: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {step:<13} {detail}", flush=True)

    made = []
    for number in cpus:
        made.append(image.snapshot(number, tell))
        Lab("vm", cpus=number).close()
        tell("lab", "its first devices are made")
    if lean:
        gone = cache.keep_only({entry.key for entry in made})
        tell("lean", f"{gone} snapshots removed that these were made from, or older ones")
    for entry in made:
        facts = entry.facts
        size = f"{facts['bytes'] / 1e6:.1f} MB, made in {facts['seconds']:.1f} s"
        print(f"Ready: Linux {facts['kernel']}, {facts['cpus']} CPU, {size}: {entry.path}")
    return 0


def _vm_clean() -> int:
    from netkit_edu.vm import cache

    place = cache.folder()
    print(f"Freed {cache.clean() / 1e6:.1f} MB: {place}")
    return 0


def _parser() -> argparse.ArgumentParser:
    """Each command has a parser of its own, and in ``run`` what it does."""
    parser = argparse.ArgumentParser(
        prog="python -m netkit_edu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=lambda _: _doctor())
    commands = parser.add_subparsers(metavar="command")
    for name, do in (("doctor", _doctor), ("claims", _claims), ("progress", _progress)):
        commands.add_parser(name).set_defaults(run=lambda _, do=do: do())
    recording = commands.add_parser("record")
    recording.add_argument("chapters", nargs="*", metavar="NN", help="chapters, for example 09; by default all")
    recording.set_defaults(run=lambda given: _record(given.chapters))
    command.add_arguments(commands.add_parser("compare"))
    machine = commands.add_parser("vm").add_subparsers(metavar="build|clean", required=True)
    build = machine.add_parser("build")
    build.add_argument(
        "--cpus", type=int, nargs="+", default=[1], metavar="N", help="processors: a machine for each; by default 1"
    )
    build.add_argument("--lean", action="store_true", help="keep only what a lab starts from: for a container's image")
    build.set_defaults(run=lambda given: _vm_build(given.cpus, given.lean))
    machine.add_parser("clean").set_defaults(run=lambda _: _vm_clean())
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 with one clear line on stderr where it cannot be done."""
    given = _parser().parse_args(arguments)
    try:
        status = given.run(given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read has enough, as head has: nothing is left to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NetkitEduError as error:
        print(error, file=sys.stderr)
        return 1
