"""BCC's dialect of C as a second way to write a program: compiled by BCC, attached by the lab, its maps BCC's tables.

It works where BCC does: as root on this machine's own kernel, with `nk.Lab("host")` (linux/bcc.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from netkit_edu.errors import UsageError
from netkit_edu.loaded import KernelMap, LoadedProgram
from netkit_edu.typedmap import MapsByName, TypedMap
from netkit_edu.uapi import Hook

_FUNCTION = re.compile(r"\bint\s+(\w+)\s*\(\s*struct\s+__sk_buff\s*\*")


class Tables(Mapping):
    """The maps of a ``bcc.BPF`` object by name, as BCC's table classes show them."""

    def __init__(self, bpf):
        from netkit_edu.linux.bcc import table_names

        self._bpf = bpf
        self._names = table_names(bpf)

    def __getitem__(self, name: str):
        if name not in self._names:
            raise KeyError(f"no table {name!r}; there are: {', '.join(self._names) or 'none'}")
        return self._bpf[name.encode()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class BccObject:
    """What a text in BCC's dialect was compiled to: a context manager; ``close()`` frees it and detaches its tracers.

    ``obj["name"]`` is the program of that function, ``obj.tables["name"]`` a map as BCC's table class shows it.
    """

    def __init__(self, text: str, *, cflags: tuple[str, ...] = ()):
        from netkit_edu.linux.bcc import compile_bcc

        self.bpf = compile_bcc(text, cflags=list(cflags))
        self.text = text
        self.tables = Tables(self.bpf)
        self.programs = {name: BccProgram(self, name) for name in _FUNCTION.findall(text)}
        self.closed = False

    def __getitem__(self, name: str) -> BccProgram:
        if name not in self.programs:
            raise UsageError(f"no program {name!r} here; there are: {', '.join(self.programs) or 'none'}")
        return self.programs[name]

    def close(self) -> None:
        """Detach the tracers and free what BCC holds; a second call does nothing."""
        if not self.closed:
            self.closed = True
            self.bpf.cleanup()

    def __enter__(self) -> BccObject:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<compiled by BCC: {', '.join(self.programs) or 'no program for packets'}>"


class BccProgram:
    """One program of a `BccObject`: ``load(lab)`` makes what `Pair.attach` and `Device.attach_tcx` take."""

    def __init__(self, obj: BccObject, name: str):
        self.object = obj
        self.name = name

    @property
    def tables(self) -> Tables:
        """The object's maps, as BCC's table classes show them."""
        return self.object.tables

    def load(self, lab) -> AdoptedProgram:
        """Load it through BCC, and have a lab know it.

        Raises:
            KernelError: the verifier does not let it pass; the text is what BCC says.
            UsageError: the lab's kernel is not the one that BCC works on.
        """
        return AdoptedProgram(lab, self)

    def __repr__(self) -> str:
        return f"<program {self.name!r}, compiled by BCC>"


class AdoptedProgram(LoadedProgram):
    """A program that BCC loaded, in a lab's kernel: to be attached like any other. ``tables`` are its maps."""

    hook: Hook | None = None

    def __init__(self, lab, program: BccProgram):
        from netkit_edu.linux.bcc import load_classifier
        from netkit_edu.linux.bccshare import adopt, same_kernel

        same_kernel(lab.kernel_calls)
        self.lab = lab
        self.program = program
        self.id = adopt(lab.kernel_calls, load_classifier(program.object.bpf, program.name), program.name)
        self.maps = MapsByName(program.name, {})

    @property
    def tables(self) -> Tables:
        """The program's maps, as BCC's table classes show them."""
        return self.program.tables


def bcc_table(given: TypedMap, key: type | None = None, value: type | None = None):
    """Return a map of a loaded program as BCC's own table class: another view of the same map in the kernel.

    Args:
        given: such as ``attachment.maps["verdict"]``.
        key, value: ctypes of what is in it; by default unsigned numbers where the size is that of one.

    Raises:
        UsageError: no map of a lab on this machine's kernel, or of a kind that is not shown.
    """
    from netkit_edu.linux.bccshare import table

    store = getattr(given, "store", None)
    if not isinstance(store, KernelMap):
        raise UsageError("a map of a program loaded into a lab is meant: attachment.maps['name']")
    return table(store.lab.kernel_calls, store.number, key, value)
