"""The face: every name a notebook uses, fetched at first use, and nothing else brought along."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import netkit_edu as nk
from tests.requires import ROOT


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.parametrize("name", [n for n in nk.__all__ if n not in ("VerdictKnob", "PolicySwitch")])
def test_every_name_is_there(name):
    assert getattr(nk, name) is not None
    assert name in dir(nk)


def test_the_widgets_are_there_where_ipywidgets_is():
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    assert nk.VerdictKnob and nk.PolicySwitch


def test_packet_classes_are_scapys_own():
    from scapy.layers.inet import IP

    assert nk.IP is IP


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Labb'"):
        nk.Labb  # noqa: B018
    assert not hasattr(nk, "scapy")


def test_load_ext_hands_the_shell_to_the_magics(monkeypatch):
    called = []
    magics = types.ModuleType("netkit_edu.ui.magics")
    magics.load = called.append
    monkeypatch.setitem(sys.modules, "netkit_edu.ui.magics", magics)
    monkeypatch.setattr("netkit_edu.ui.magics", magics, raising=False)
    nk.load_ipython_extension("the shell")
    assert called == ["the shell"]


def test_looking_around_imports_nothing():
    assert (
        run_python("import sys, netkit_edu; dir(netkit_edu); print('netkit_edu.lab' in sys.modules)").strip() == "False"
    )


def test_a_packet_travels_without_any_third_party_module():
    """From a lab to a journey and its one-line summary, with bytes in: no scapy, no ELF reader, no IPython."""
    code = """
import sys
before = set(sys.modules)
import netkit_edu as nk
with nk.Lab("sim") as lab:
    pod = lab.pod("web", device="netkit")
    journey = pod.ping(lab.outside)
    nk.summary(journey.packet)
tops = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(tops - set(sys.stdlib_module_names)))
"""
    assert run_python(code).split() == ["netkit_edu"]
