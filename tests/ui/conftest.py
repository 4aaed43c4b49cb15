"""An IPython shell with the extension loaded, whose displays are collected."""

from __future__ import annotations

import pytest

KNOB = """#include "netkit_edu.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __s32);
} verdict SEC(".maps");

SEC("netkit/peer") int knob(struct __sk_buff *skb)
{
	__u32 key = 0;
	__s32 *v = bpf_map_lookup_elem(&verdict, &key);
	return v ? *v : NETKIT_PASS;
}
"""


class Shell:
    """A shell as a notebook's kernel has it: ``run(cell)`` returns the cell's result, ``shown`` what it displayed."""

    def __init__(self):
        from IPython.core.interactiveshell import InteractiveShell

        self.ip = InteractiveShell()
        self.shown: list[dict] = []
        self.tracebacks: list[list[str]] = []
        self.ip.display_pub.publish = lambda data, *a, **k: self.shown.append(data)
        self.ip._showtraceback = lambda kind, error, lines: self.tracebacks.append(lines)
        self.ip.run_line_magic("load_ext", "netkit_edu")

    def run(self, cell: str):
        self.shown.clear()
        self.tracebacks.clear()
        return self.ip.run_cell(cell, store_history=True)

    def html(self) -> str:
        return "\n".join(data.get("text/html", "") for data in self.shown)

    def text(self) -> str:
        return "\n".join(data.get("text/plain", "") for data in self.shown)

    def formatted(self, obj) -> dict:
        """What a cell whose last line is ``obj`` would hold."""
        return self.ip.display_formatter.format(obj)[0]


@pytest.fixture
def shell(monkeypatch):
    """A fresh shell; display() publishes into it."""
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.delenv("NETKIT_EDU_STRICT", raising=False)
    shell = Shell()
    monkeypatch.setattr(InteractiveShell, "_instance", shell.ip)
    yield shell
    from netkit_edu.course import set_presenter

    set_presenter(None)
    shell.ip.history_manager.end_session()
