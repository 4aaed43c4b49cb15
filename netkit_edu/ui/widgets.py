"""Two controls that change a running network: a program's verdict, and a pair's default policies.

    nk.VerdictKnob(att, send=lambda: db.send(packet))
    nk.PolicySwitch(db.pair, send=lambda: db.send(packet))

Both work by keyboard, show every refusal of the kernel in place, and leave a static picture in the saved notebook.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from netkit_edu.draw.shapes import verdict_name
from netkit_edu.errors import UsageError
from netkit_edu.journey import Journey
from netkit_edu.uapi import Policy, Verdict
from netkit_edu.ui import page, show
from netkit_edu.ui.live import Live, radio
from netkit_edu.ui.predict import show_prediction
from netkit_edu.ui.stepper import stepper

__all__ = ["PolicySwitch", "VerdictKnob", "show_prediction", "stepper"]

UNKNOWN = 3  # a code that netkit has no name for


class VerdictKnob(Live):
    """A knob for the verdict that a program reads from its map: turning it writes the map and sends again.

    Args:
        target: an attachment, a program or a loaded program with a map of that name, or the map itself.
        send: called after every change, and once at first; what it returns (a journey, a run's result) is shown.
        map: the map's name.
        key: the entry that holds the verdict.
        label: what stands before the choices.

    Raises:
        UsageError: the target has no such map.
    """

    name = "verdict knob"
    codes = (Verdict.NEXT, Verdict.PASS, Verdict.DROP, Verdict.REDIRECT, UNKNOWN)

    def __init__(self, target, send: Callable[[], object] | None = None, *, map: str = "verdict", key=0,
                 label: str = "the program returns"):  # fmt: skip
        super().__init__(send)
        self.target, self.map, self.key, self.label = target, _map_of(target, map), key, label
        self._widget = None
        self.attempt(lambda: None)

    @property
    def value(self) -> int:
        """The verdict in the map now, as a signed number."""
        raw = self.map[self.key]
        if isinstance(raw, bytes | bytearray):
            return int.from_bytes(raw[:4], "little", signed=True)
        return raw - (1 << 32) if isinstance(raw, int) and raw >= 1 << 31 else int(raw)

    @value.setter
    def value(self, code: int) -> None:
        self.set(code)
        self.show_state()

    def state(self) -> int:
        """Return the verdict in the map now."""
        return self.value

    def show_state(self) -> None:
        """Move the knob to the verdict in the map; no choice stands out where it is none of them."""
        if self._widget is not None:
            value = self.value
            self._widget.value = value if value in [int(c) for c in self.codes] else None

    def set(self, code: int) -> None:
        """Write a verdict into the map, send, and show what happened."""
        if not self.value == self._at == int(code) or self.result is None:
            self.attempt(partial(self._write, int(code)))

    def _write(self, code: int) -> None:
        spec = getattr(self.map, "spec", None)
        size = spec.value_size if spec is not None else 4
        self.map[self.key] = code.to_bytes(size, "little", signed=True)

    def words(self) -> str:
        """Return the knob's position in words."""
        name = verdict_name(self.value)
        said = name if name.startswith("unknown") else f"{name} ({self.value})"
        return f"{self._speaker()} {said}" + (f"; {why}" if (why := self.idle()) else "")

    def status(self) -> str:
        """Return the knob's position as HTML: the verdict's shape and name."""
        return f"{page.esc(self._speaker())} {show.verdict_icon(self.value)}" + (
            f"; <strong>{page.esc(why)}</strong>" if (why := self.idle()) else ""
        )

    def _speaker(self) -> str:
        return "the map says" if self.idle() else self.label

    def idle(self) -> str:
        """Return why the verdict had no say in the journey on show, "" if it had."""
        if not isinstance(self.result, Journey) or self.error is not None or self._ran(self.result):
            return ""
        attached = getattr(self.target, "attached", True)
        return "the program did not run" if attached else "not attached: the program did not run"

    def _ran(self, j: Journey) -> bool:
        name = getattr(getattr(self.target, "program", self.target), "name", "")
        ran = {one.program for one in j.verdicts}
        return (name in ran if name else bool(ran)) or any(map(self._ran, j.replies))

    def widget(self):
        """Return the knob as a group of radio buttons, made at first use."""
        if self._widget is None:
            options = [(_label(code), int(code)) for code in self.codes]
            value = self.value if self.value in [v for _, v in options] else None
            self._widget = radio(
                f"{self.label}:", options, value, "the verdict in the program's map", "nk-verdict-knob"
            )
            self._widget.observe(self._turned, "value")
        return self._widget

    def _turned(self, change) -> None:
        if change["new"] is not None:
            self.react(partial(self.set, change["new"]))


def _label(code: int) -> str:
    name = verdict_name(int(code))
    return f"? {name}" if name.startswith("unknown") else f"{name[0]} {name} ({int(code)})"


def _map_of(target, name: str):
    maps = getattr(target, "maps", None)
    if maps is None:
        if hasattr(target, "__setitem__"):
            return target
        raise UsageError(
            f"a knob turns a map: give an attachment or a program that has one, not {type(target).__name__}"
        )
    if name not in maps:
        has = ", ".join(maps) or "none"
        raise UsageError(f"no map {name!r} to turn; it has: {has}. Name one with map=...")
    return maps[name]


class PolicySwitch(Live):
    """Both default policies of a running netkit pair: switching one sets it through the primary and sends again.

    Args:
        pair: a netkit pair.
        send: called after every change, and once at first; without it the pair itself is drawn.
    """

    name = "policy switch"

    def __init__(self, pair, send: Callable[[], object] | None = None):
        super().__init__(send)
        self.pair = pair
        self._radios: dict[str, object] = {}
        self._widget = None
        self.attempt(lambda: (pair.policy, pair.peer_policy))

    def look(self) -> object:
        """Return the pair, to be drawn."""
        return self.pair

    def state(self) -> tuple[Policy, Policy]:
        """Return both policies as they are now."""
        return self.pair.policy, self.pair.peer_policy

    def show_state(self) -> None:
        """Move both radio groups to the policies that hold."""
        for which, buttons in self._radios.items():
            buttons.value = int(getattr(self.pair, which))

    def ways(self) -> dict[str, str]:
        """Return which way each policy governs, by its name."""
        here, there = self.pair.primary.node.name, self.pair.peer.node.name
        return {"policy": f"{here} → {there}", "peer_policy": f"{there} → {here}"}

    def set(self, which: str, policy: Policy) -> bool:
        """Set one policy ("policy" or "peer_policy"), send, and show what happened; return whether it was set."""
        return self.attempt(lambda: self.pair.set_policy(**{which: int(policy)}))

    def words(self) -> str:
        """Return both policies in words."""
        return ", ".join(f"{way}: {which} {getattr(self.pair, which).name}" for which, way in self.ways().items())

    def status(self) -> str:
        """Return both policies as HTML: shapes and names."""
        found = [
            f"{page.esc(way)}: {page.code(which)} {show.verdict_icon(int(getattr(self.pair, which)))}"
            for which, way in self.ways().items()
        ]
        return " &emsp; ".join(found)

    def widget(self):
        """Return the switch as two groups of radio buttons, made at first use."""
        if self._widget is None:
            import ipywidgets

            for which, way in self.ways().items():
                options = [(f"{p.name[0]} {p.name}", int(p)) for p in Policy]
                now = int(getattr(self.pair, which))
                self._radios[which] = radio(
                    f"{way} ({which}):", options, now, f"what happens to {way} while no program is attached",
                    f"nk-{which.replace('_', '-')}",
                )  # fmt: skip
                self._radios[which].observe(partial(self._clicked, which), "value")
            self._widget = ipywidgets.HBox(list(self._radios.values()), layout={"flex_flow": "row wrap"})
            self._widget.add_class("nk-policy-switch")
        return self._widget

    def _clicked(self, which: str, change) -> None:
        self.react(partial(self._switched, which, change["new"]))

    def _switched(self, which: str, wanted: int) -> None:
        now = int(getattr(self.pair, which))
        if (wanted != now or self.stale) and not self.set(which, Policy(wanted)):
            self._radios[which].value = now
