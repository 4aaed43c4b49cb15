"""Each program in bpf/ compiles with every compiler there is, and does what its head comment says it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import netkit_edu as nk
from netkit_edu.course.datagrams import Datagram
from netkit_edu.program import compiler
from netkit_edu.program.files import bpf_folder
from netkit_edu.uapi import ETH_P_ARP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, Verdict
from tests.oracle.differential import TwoMachines
from tests.oracle.kernel import Refused

PROGRAMS = sorted(bpf_folder().glob("*.bpf.c"))
COMPILERS = compiler.all_compilers()
DNS = Datagram(payload=b"who?")
FRAMES = {
    "dns": DNS.bytes,
    "options": Datagram(options=b"\x01" * 12).bytes,
    "web": Datagram(protocol=IPPROTO_TCP, dport=80).bytes,
    "ping": Datagram(protocol=IPPROTO_ICMP, payload=bytes(56)).bytes,
    "long": Datagram(protocol=IPPROTO_UDP, dport=7, payload=bytes(600)).bytes,
    "arp": Datagram(ethertype=ETH_P_ARP).bytes,
    "cut": DNS.bytes[:20],
    "marked": DNS.bytes,
}


def head(path: Path) -> dict[str, str]:
    """Return the head comment's entries: Shows, Hook, Expect, Kernel."""
    comment = re.search(r"/\*(.*?)\*/", path.read_text(), re.S)[1].replace("\n *", "\n")
    entries = re.split(r"^ (\w+): +", comment, flags=re.M)[1:]
    return {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}


def expectations(text: str) -> list[tuple[str, str, str]]:
    """Return (program, frame, verdict) for each word pair of an Expect entry; program "" where the file has one."""
    found, program = [], ""
    for item in re.split(r", | (?=\w+: )", text):
        if ": " in item:
            program, item = item.split(": ")
        frame, verdict = item.split()
        found.append((program, frame, verdict))
    return found


def behaviour(program: nk.Program, frame: str) -> str:
    """Return what a program answers to one of `FRAMES`, in the words of the head comments."""
    try:
        verdict = program.run(FRAMES[frame], mark=1 if frame == "marked" else 0).verdict
    except nk.ProgramFault:
        return "FAULT"
    return verdict.name if isinstance(verdict, Verdict) else str(verdict)


@pytest.fixture(params=COMPILERS, ids=[c.kind for c in COMPILERS])
def with_compiler(request, monkeypatch, tmp_path):
    """Compile with this compiler only, from an empty cache."""
    monkeypatch.setenv("NETKIT_EDU_CC", request.param.kind)
    monkeypatch.setenv("NETKIT_EDU_CACHE", str(tmp_path))


@pytest.mark.skipif(not COMPILERS, reason="no C compiler for BPF here")
@pytest.mark.parametrize("path", PROGRAMS, ids=[p.name for p in PROGRAMS])
def test_a_program_does_what_its_head_comment_says(path, with_compiler):
    programs = nk.compile(path.read_text(), name=path.name)
    for name, frame, verdict in expectations(head(path)["Expect"]):
        program = programs[name] if name else next(iter(programs.values()))
        assert behaviour(program, frame) == verdict, f"{program.name} on {frame}"


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.name for p in PROGRAMS])
def test_a_head_comment_says_what_is_shown_where_and_since_which_kernel(path):
    entries = head(path)
    assert list(entries) == ["Shows", "Hook", "Expect", "Kernel"]
    assert entries["Hook"].startswith(("netkit/", "tcx/"))
    assert entries["Kernel"] == "none loads it" or re.fullmatch(r"6\.\d+", entries["Kernel"])


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.name for p in PROGRAMS])
def test_a_program_file_is_in_kernel_style(path):
    text = path.read_text()
    assert text.startswith("// SPDX-License-Identifier: MIT\n")
    assert text.endswith('char LICENSE[] SEC("license") = "Dual MIT/GPL";\n')
    assert not re.search(r"^ +(?!\*)", text, re.M), "indent with tabs"
    assert all(len(line.expandtabs(8)) <= 80 for line in text.splitlines())


def test_every_sample_frame_is_expected_somewhere():
    named = {frame for path in PROGRAMS for _, frame, _ in expectations(head(path)["Expect"])}
    assert named == set(FRAMES)


@pytest.mark.kernel
@pytest.mark.skipif(not COMPILERS, reason="no C compiler for BPF here")
@pytest.mark.parametrize("path", PROGRAMS, ids=[p.name for p in PROGRAMS])
def test_linux_takes_the_program_and_answers_the_same(path):
    for program in nk.compile(path.read_text(), name=path.name).values():
        if head(path)["Kernel"] == "none loads it":
            with pytest.raises(Refused) as refusal:
                TwoMachines(program.code, program.map_specs.values())
            assert "invalid access to packet" in refusal.value.log
            continue
        with TwoMachines(program.code, program.map_specs.values()) as machines:
            for name in FRAMES.keys() - {"cut"}:  # BPF_PROG_TEST_RUN refuses IPv4 frames without a whole header
                assert machines.differences(FRAMES[name], mark=int(name == "marked")) == []
