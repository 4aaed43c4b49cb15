"""C texts for the tests of this room, and objects made of them by every compiler that is here."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

import pytest

from netkit_edu.program import cache
from netkit_edu.program.compiler import all_compilers, compile_c
from netkit_edu.program.files import bpf_folder
from netkit_edu.program.object import Object

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.bpf.c"))
COURSE = sorted(bpf_folder().glob("*.bpf.c"))
KINDS = [compiler.kind for compiler in all_compilers()]

each_compiler = pytest.mark.parametrize("kind", KINDS or [pytest.param("", marks=pytest.mark.skip("no C compiler"))])


def sample(name: str) -> str:
    """Return the text of one of the samples, by the first part of its name."""
    return (Path(__file__).parent / "samples" / f"{name}.bpf.c").read_text()


@contextlib.contextmanager
def only(kind: str):
    """Compile with this kind of compiler only, and really: nothing comes from a cache or goes there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETKIT_EDU_CC", kind)
        patch.setattr(cache, "lookup", lambda key: None)
        patch.setattr(cache, "store", lambda key, data, on_disk=True: None)
        yield


@functools.cache
def compiled(text: str, kind: str) -> Object:
    """Return the object of ``text`` made by one kind of compiler."""
    with only(kind):
        return compile_c(text)


def program(body: str, before: str = "") -> str:
    """Return a cell with one program around ``body``, which begins in line 3 (plus the lines of ``before``)."""
    return f'{before}SEC("netkit/peer") int f(struct __sk_buff *skb)\n{{\n{body}\n\treturn NETKIT_PASS;\n}}\n'


def need_compiler() -> None:
    """Skip the calling test where no compiler is found."""
    if not KINDS:
        pytest.skip("no C compiler for BPF here: apt-get install clang, or pip install ziglang")


ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("NETKIT_EDU_")}
