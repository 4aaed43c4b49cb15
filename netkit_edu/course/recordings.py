"""What real Linux answered once, kept as JSON for machines that cannot ask it, and labelled as such.

``python -m netkit_edu record`` makes them by running the notebooks; a test says whose code has changed since.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from netkit_edu.backend import CpuTime, LinkStats, Received
from netkit_edu.costs import Cost, Costs
from netkit_edu.errors import CourseError
from netkit_edu.journey import Counts, Fate, FateKind, Hop, HopKind, Journey, Ran
from netkit_edu.linux.carried import Carried
from netkit_edu.node import Summary
from netkit_edu.uapi import Context, Policy, Verdict

_RECORDS = {
    c.__name__: c
    for c in (Journey, Hop, Fate, Summary, Counts, Ran, LinkStats, Received, Cost, Costs, CpuTime, Carried)
}
_ENUMS = {c.__name__: c for c in (HopKind, FateKind, Context, Verdict, Policy)}
_PLAIN = (str, int, float, type(None))


@dataclass(frozen=True)
class Recording:
    """One answer of a real kernel.

    Attributes:
        key: what the notebook calls it, for example "09.beside".
        kernel: the release it ran on, for example "6.12.117+deb12-cloud-amd64".
        backend: "vm" or "host".
        date: the day, ISO 8601.
        command: what makes it anew.
        code: a digest of the notebook's code that it was made by (`dependence.code_of`): a test sees when it is stale.
        value: what the notebook's function returned.
    """

    key: str
    kernel: str
    backend: str
    date: str
    command: str
    code: str
    value: Any

    def to_json(self) -> str:
        """Return it as text; `CourseError` if the value is not made of plain data and this package's records."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.dumps(fields | {"value": _pack(self.value, self.key)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Recording:
        """Read what `to_json` wrote; `CourseError` if it is something else."""
        try:
            fields = json.loads(text)
            return cls(**fields | {"value": _unpack(fields["value"])})
        except (ValueError, TypeError, KeyError) as error:
            raise CourseError(f"this is no recording: {error}; make it anew with python -m netkit_edu record") from None


def load(key: str) -> Recording | None:
    """Return the recording of that key that travels with the package, None if there is none."""
    place = resources.files("netkit_edu").joinpath("recordings", f"{key}.json")
    return Recording.from_json(place.read_text(encoding="utf-8")) if place.is_file() else None


def keys() -> list[str]:
    """Return the keys of all recordings, sorted."""
    folder = resources.files("netkit_edu").joinpath("recordings")
    return sorted(p.name.removesuffix(".json") for p in folder.iterdir() if p.name.endswith(".json"))


def _pack(value, key: str):
    kind = type(value).__name__
    if kind in _ENUMS:
        return {"$": kind, "is": value.value}
    if isinstance(value, bool) or type(value) in _PLAIN:
        return value
    if isinstance(value, bytes):
        return {"$": "bytes", "is": value.hex()}
    if _RECORDS.get(kind) is type(value):
        return {"$": kind, **{name: _pack(getattr(value, name), key) for name in _names(type(value))}}
    if isinstance(value, list | tuple):
        items = [_pack(item, key) for item in value]
        return items if isinstance(value, list) else {"$": "tuple", "is": items}
    if isinstance(value, Mapping):
        return {"$": "dict", "is": [[_pack(k, key), _pack(v, key)] for k, v in value.items()]}
    if isinstance(value, enum.Enum):
        return _pack(value.value, key)
    raise CourseError(f"{key}: a {kind} cannot be recorded; return numbers, texts, lists, dicts or journeys")


def _unpack(value):
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.pop("$")
    if kind in _RECORDS:
        return _RECORDS[kind](**{name: _unpack(item) for name, item in value.items()})
    inside = value["is"]
    if kind in _ENUMS:
        return _ENUMS[kind](inside)
    return {
        "bytes": lambda: bytes.fromhex(inside),
        "tuple": lambda: tuple(_unpack(item) for item in inside),
        "dict": lambda: {_unpack(k): _unpack(v) for k, v in inside},
    }[kind]()


def _names(cls: type) -> tuple[str, ...]:
    return cls._fields if hasattr(cls, "_fields") else tuple(f.name for f in dataclasses.fields(cls))
