"""A program's run, one instruction after the other: C line, instruction, registers, memory touched.

nk.stepper(prog, packet)        or        nk.stepper(prog.step(packet))
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from netkit_edu.errors import ProgramFault, UsageError
from netkit_edu.ui import errors, page
from netkit_edu.ui.live import show_widget

LIMIT = 2000  # states; a longer run is shown up to here
STACK = 512  # bytes of one frame; r10 points at their end


class Stepper:
    """A run that a learner walks through. ``states`` as `Program.step` yields them; ``at`` is the one shown.

    Args:
        states: the machine's states, in order.
        source: the C text, to show whole with the current line marked; else only the lines that ran.
        fault: the fault that ended the run, if one did.
    """

    def __init__(self, states: Sequence, source: str = "", fault: ProgramFault | None = None, cut: bool = False):
        self.states, self.source, self.fault, self.cut = list(states), source, fault, cut
        self.at = 0
        self._widget = None

    def words(self) -> str:
        """Return the run in one line."""
        n = len(self.states)
        last = self.states[-1].returned if self.states else None
        end = f", returned {signed32(last)}" if last is not None else ", stopped by a fault" if self.fault else ""
        return f"{n} instruction{'s' if n != 1 else ''} ran{end}" + (f" (first {LIMIT} shown)" if self.cut else "")

    def frame(self) -> str:
        """Return the current state as HTML: C text and machine side by side."""
        if not self.states:
            return page.box(f"<p>{page.esc(self.words())}</p>") + (errors.as_html(self.fault) if self.fault else "")
        s = self.states[self.at]
        body = f"<div class='cols'><div>{self._source(s)}</div><div>{_machine(s)}</div></div>"
        last = self.fault is not None and self.at == len(self.states) - 1
        return page.box(body + ("<p><strong>Here the run was stopped: see below.</strong></p>" if last else ""))

    def _source(self, s) -> str:
        now = s.line.line if s.line is not None else 0
        lines = self._lines()
        rows = [
            f'<span class="{"on" if n == now else ""}"><span class="dim">{"▶" if n == now else " "}{n:>4} </span>'
            f"{page.esc(text.replace(chr(9), '    '))}</span>"
            for n, text in lines
        ]
        return f"<pre>{chr(10).join(rows)}</pre>"

    def _lines(self) -> list[tuple[int, str]]:
        """The C text by line number: around what ran or faulted if the text is known, else only those lines."""
        lines = [s.line for s in self.states] + [self.fault and self.fault.source]
        ran = {line.line: line.text for line in lines if line is not None}
        if not self.source or not ran:
            return sorted(ran.items())
        text = self.source.splitlines()
        first, last = max(min(ran) - 3, 1), min(max(ran) + 1, len(text))
        return [(n, text[n - 1]) for n in range(first, last + 1) if n <= len(text)]

    def table(self) -> str:
        """Return every state as one row of a table: what stands where no widget runs."""
        rows = [
            [str(s.number + 1), str(s.line.line) if s.line else "", page.code(instruction(s)),
             page.code(", ".join(changes(s))), page.code("; ".join(map(touch_words, s.touched)))]
            for s in self.states
        ]  # fmt: skip
        return page.table(["step", "line", "instruction", "registers changed", "memory"], rows)

    def text(self) -> str:
        """Return the run as plain text, one instruction a line."""
        lines = [
            f"{s.number + 1:>4}  {('line ' + str(s.line.line)) if s.line else '':<9}{instruction(s):<36}"
            f"{', '.join([*changes(s), *map(touch_words, s.touched)])}".rstrip()
            for s in self.states
        ]
        return "\n".join([*lines, self.words()])

    def widget(self):
        """Return slider, buttons and view, made at first use; arrow keys move the slider."""
        if self._widget is not None:
            return self._widget
        import ipywidgets as w

        last = max(len(self.states) - 1, 0)
        self.slider = w.IntSlider(
            value=1, min=1, max=last + 1, description="instruction", tooltip="which instruction just ran",
            layout={"width": "420px"}, style={"description_width": "initial"},
        )  # fmt: skip
        self.slider.add_class("nk-stepper")
        back = w.Button(description="◀ back", tooltip="one instruction back", layout={"width": "90px"})
        on = w.Button(description="step ▶", tooltip="one instruction on", layout={"width": "90px"})
        on.add_class("nk-step")
        view = w.HTML(self.frame())
        back.on_click(lambda _: self._move(-1))
        on.on_click(lambda _: self._move(1))

        def moved(change) -> None:
            self.at = change["new"] - 1
            view.value = self.frame()

        self.slider.observe(moved, "value")
        self._widget = w.VBox([w.HBox([self.slider, back, on]), view])
        return self._widget

    def _move(self, by: int) -> None:
        self.slider.value = min(max(self.slider.value + by, self.slider.min), self.slider.max)

    def html(self) -> str:
        """Return the static form: what the run came to, and the table of all states."""
        more = page.details("all steps as a table", self.table())
        return page.box(f"<p>{page.esc(self.words())}</p>{more}") + (errors.as_html(self.fault) if self.fault else "")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if self.states:
            show_widget(self.widget(), self.words())
        display({"text/html": self.html(), "text/plain": self.text()}, raw=True)

    def __repr__(self) -> str:
        return self.text()


def stepper(run, packet=None, **fields) -> Stepper:
    """Show a run one instruction at a time.

    Args:
        run: a program (then ``packet`` is needed), or the states that ``prog.step(packet)`` yields.
        packet: the packet to run it on, as for ``prog.run``.
        fields: the packet's metadata, as for ``prog.run``: mark, priority, …

    Raises:
        UsageError: a program without a packet, or something that is no run.
    """
    source = ""
    if hasattr(run, "step"):
        if packet is None:
            raise UsageError("a program steps through a packet: nk.stepper(prog, packet)")
        source = getattr(run, "source", "")
        run = run.step(packet, **fields)
    states, fault = [], None
    try:
        for state in islice(run, LIMIT + 1):
            if not hasattr(state, "touched"):
                raise UsageError(f"a run is what prog.step(packet) yields, not {type(state).__name__}")
            states.append(state)
    except ProgramFault as error:
        fault = error
    except TypeError as error:
        raise UsageError("give a program and a packet, or prog.step(packet)") from error
    return Stepper(states[:LIMIT], source, fault, cut=len(states) > LIMIT)


def signed32(value: int) -> int:
    """Return a register's low 32 bits as the signed number that a verdict is."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def instruction(s) -> str:
    """Return the instruction of a state as text."""
    from netkit_edu.program import isa

    wide = s.insn.opcode == 0x18
    insns = (s.insn, s.insn._replace(opcode=0, dst=0, src=0, off=0, imm=0)) if wide else (s.insn,)
    return f"r{s.insn.dst} = {s.after[s.insn.dst]:#x}" if wide else isa.disassemble(insns)[0]


def changes(s) -> list[str]:
    """Return what each changed register holds now."""
    return [f"r{i} = {s.after[i]:#x}" for i in s.changed]


def touch_words(t) -> str:
    """Return one access to memory in words."""
    shown = t.data[:16].hex(" ") + (" …" if len(t.data) > 16 else "")
    place = f"stack r10-{STACK - t.offset}" if t.region == "stack" else f"{t.region}+{t.offset}"
    return f"{'write' if t.write else 'read'} {place}: {shown}"


def _machine(s) -> str:
    """Return instruction, registers and memory of one state as HTML."""
    rows = [[page.code(f"r{i}"), page.code(f"{s.before[i]:#x}"), page.code(f"{s.after[i]:#x}")] for i in range(11)]
    marks = ["on" if i in s.changed else "" for i in range(11)]
    head = f"<p><span class='dim'>slot {s.pc}</span> <code><strong>{page.esc(instruction(s))}</strong></code></p>"
    memory = "".join(f"<p><code>{page.esc(touch_words(t))}</code></p>" for t in s.touched)
    end = f"<p><strong>returned {signed32(s.returned)}</strong></p>" if s.returned is not None else ""
    return head + page.table(["", "before", "after"], rows, marks) + memory + end
