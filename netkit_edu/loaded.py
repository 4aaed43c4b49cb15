"""Programs inside a lab's kernel, and the maps they work on there."""

from __future__ import annotations

from collections.abc import Mapping

from netkit_edu.errors import KernelError, UsageError
from netkit_edu.programs import BrokenProgram, Program
from netkit_edu.typedmap import MapsByName, TypedMap
from netkit_edu.uapi import Hook


class KernelMap:
    """A map inside a lab's kernel, as a store of bytes (see `typedmap.MapStore`)."""

    def __init__(self, lab, number: int):
        self.lab = lab
        self.number = number

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value's bytes, None if the key is absent."""
        return self.lab.kernel_calls.map_lookup(self.number, key)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value."""
        self.lab.kernel_calls.map_update(self.number, key, value, flags)

    def delete(self, key: bytes) -> None:
        """Delete an entry."""
        self.lab.kernel_calls.map_delete(self.number, key)

    def keys(self) -> list[bytes]:
        """Return all keys."""
        return self.lab.kernel_calls.map_keys(self.number)

    def read(self) -> list[bytes]:
        """Take the records of a ring buffer."""
        return self.lab.kernel_calls.ringbuf_read(self.number)

    def program_number(self, program) -> int:
        """Return the number by which a prog array takes a program or an attached one, loading it at first use."""
        if not isinstance(program, LoadedProgram):
            program = getattr(program, "program", program)  # what an attachment attached
        return self.lab.loaded(program).id


class LoadedProgram:
    """A program inside a lab's kernel, with maps of its own: ``id`` is the kernel's number for it."""

    def __init__(self, lab, program: Program, shared: Mapping[str, TypedMap] | None = None):
        self.lab = lab
        self.program = program
        calls = lab.kernel_calls
        numbers = self._shared_numbers({} if shared is None else shared)
        made = []
        try:
            for name, spec in program.map_specs.items():
                if name not in numbers:
                    numbers[name] = calls.map_create(spec)
                    made.append(numbers[name])
            self.id = calls.prog_load(program.code, numbers)
        except KernelError:
            for number in made:
                calls.map_close(number)
            raise
        self.maps = MapsByName(
            program.name,
            {n: TypedMap(spec, KernelMap(lab, numbers[n]), program.btf) for n, spec in program.map_specs.items()},
        )

    @property
    def name(self) -> str:
        """The C function's name."""
        return self.program.name

    @property
    def hook(self) -> Hook | None:
        """The hook its section names, or None."""
        return self.program.hook

    def _shared_numbers(self, shared: Mapping[str, TypedMap]) -> dict[str, int]:
        if not isinstance(shared, Mapping):
            raise UsageError(f"maps is a dict such as {{'pods': other.maps['pods']}}, not {shared!r}")
        numbers = {}
        for name, given in shared.items():
            spec = self.program.map_specs.get(name)
            if spec is None:
                has = ", ".join(self.program.map_specs) or "none"
                raise UsageError(f"{self.program.name!r} uses no map {name!r}; it uses: {has}")
            store = getattr(given, "store", None)
            if not isinstance(store, KernelMap) or store.lab is not self.lab:
                raise UsageError(f"maps[{name!r}] is to be a map of a program loaded into this lab: lab.load(...).maps")
            if _shape(given.spec) != _shape(spec):
                raise UsageError(f"map {name!r} is {_shape(spec)} in the program, but {_shape(given.spec)} as given")
            numbers[name] = store.number
        return numbers

    def __repr__(self) -> str:
        return f"<loaded program {self.name!r}, id {self.id}>"


def _shape(spec) -> str:
    return (
        f"type {spec.type} with keys of {spec.key_size}, values of {spec.value_size} bytes, {spec.max_entries} entries"
    )


def program_of(value) -> Program:
    """Return ``value`` if it is a program, else raise the `UsageError` that says what to write."""
    if isinstance(value, BrokenProgram):
        value.complain()
    if isinstance(value, Program):
        return value
    if isinstance(value, Mapping):
        raise UsageError(f"an object may hold several programs: name one of them, {', '.join(map(repr, value))}")
    raise UsageError(f"a program is what nk.compile(...)['name'] or a %%bpf cell gives, not {type(value).__name__}")
