"""``python -m netkit_edu``: what the command line offers, each word one function.

doctor    what this machine can do, and what brings the rest (the default)
claims    every claim of the article: its chapter, cell and tests, and which are still open
progress  the exercises that this learner has solved
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence

from netkit_edu import __version__, doctor
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


COMMANDS = {"doctor": _doctor, "claims": _claims, "progress": _progress}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 with one clear line on stderr where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m netkit_edu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="doctor", choices=COMMANDS)
    chosen = parser.parse_args(arguments).command
    try:
        status = COMMANDS[chosen]()
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read has enough, as head has: nothing is left to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NetkitEduError as error:
        print(error, file=sys.stderr)
        return 1
