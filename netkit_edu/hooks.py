"""Which hook is meant: by the words of this API, by a program's section, or by the kernel's own number."""

from __future__ import annotations

from netkit_edu.errors import UsageError
from netkit_edu.programs import Program
from netkit_edu.uapi import Hook, Tcx


class _Any:
    """Stands for no program in particular: ``before=nk.ANY`` is the front, ``after=nk.ANY`` the back."""

    def __repr__(self) -> str:
        return "nk.ANY"


ANY = _Any()


def attach_type(at, program: Program | None = None) -> int:
    """Return the attach type of a hook given as "primary", "peer", a `Hook` or a bare number; by default the section's.

    Raises:
        UsageError: no such hook, or none given and none in the program's section name.
    """
    if at is None and program is not None and program.hook is not None:
        return program.hook.attach_type
    if at is None:
        where = f" (section {program.section!r} names none)" if program is not None else ""
        raise UsageError(f'say at which hook: at="primary" or at="peer"{where}')
    if isinstance(at, int) and not isinstance(at, bool):
        return at
    try:
        return Hook(at).attach_type
    except ValueError:
        raise UsageError(f"at is {' or '.join(repr(str(hook)) for hook in Hook)}, not {at!r}") from None


def tcx_attach_type(where, program: Program | None = None) -> int:
    """Return the attach type of "ingress" or "egress"; by default that of the program's section ("tcx/ingress").

    Raises:
        UsageError: neither of the two, or none given and none in the program's section name.
    """
    if where is None and program is not None:
        where = {f"tcx/{place}": place for place in Tcx}.get(program.section)
    try:
        return Tcx(where).attach_type
    except ValueError:
        raise UsageError(f"a tcx program sits at {' or '.join(repr(str(w)) for w in Tcx)}, not {where!r}") from None
