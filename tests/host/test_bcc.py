"""BCC on a live kernel: its programs in a lab, a lab's maps as its tables, and whose time carries a packet."""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import netkit_edu as nk
from netkit_edu.dialect import BccObject, bcc_table
from netkit_edu.errors import BackendUnavailable, CompileError, KernelError, UsageError
from netkit_edu.linux import bcc
from netkit_edu.linux.bcctrace import PacketTrace
from netkit_edu.linux.carried import Carried
from netkit_edu.linux.host import NAME
from netkit_edu.uapi import Context
from tests.host.texts import COUNT
from tests.requires import ROOT

KNOB = """
BPF_ARRAY(verdict, int, 1);
BPF_ARRAY(runs, u64, 1);
int knob(struct __sk_buff *skb)
{
    int zero = 0, *code = verdict.lookup(&zero);

    runs.increment(zero);
    return code ? *code : 2;
}
"""
live = pytest.mark.bcc
netkit = pytest.mark.host


@pytest.fixture
def no_bcc_yet():
    """Nothing called bcc is imported; what the test imports under that name is forgotten."""

    def taken() -> dict:
        return {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] == "bcc"}

    before = taken()
    importlib.invalidate_caches()
    yield
    taken()
    sys.modules.update(before)


def test_without_bcc_it_says_what_to_install(no_bcc_yet, tmp_path):
    with pytest.raises(BackendUnavailable, match="BCC is not installed: apt-get install python3-bpfcc"):
        bcc.load_bcc((str(tmp_path),))


@pytest.mark.parametrize("imported", [False, True])
def test_the_namesake_is_refused(no_bcc_yet, tmp_path, monkeypatch, imported):
    folder = tmp_path / "bcc"
    folder.mkdir()
    (folder / "__init__.py").write_text("lattice = 'body centred cubic'\n")
    monkeypatch.syspath_prepend(tmp_path)
    if imported:
        importlib.import_module("bcc")
    with pytest.raises(BackendUnavailable, match="another project of that name, not iovisor's BCC: apt-get install"):
        bcc.load_bcc((str(tmp_path / "nowhere"),))


def test_bcc_is_found_beside_an_imported_namesake(no_bcc_yet, tmp_path, monkeypatch):
    real = tmp_path / "system" / "bcc"
    real.mkdir(parents=True)
    (real / "__init__.py").write_text("from .libbcc import lib\n")
    (real / "libbcc.py").write_text("lib = 7\n")
    fake = tmp_path / "venv" / "bcc"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(fake.parent)
    assert bcc.load_bcc((str(real.parent),)).lib == 7


def test_a_library_that_does_not_load_is_said(no_bcc_yet, tmp_path):
    folder = tmp_path / "bcc"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise OSError('libbcc.so.0: cannot open')\n")
    (folder / "libbcc.py").write_text("")
    with pytest.raises(BackendUnavailable, match="library does not load .libbcc.so.0: cannot open"):
        bcc.load_bcc((str(tmp_path),))
    assert "bcc" not in sys.modules


def test_debians_two_packages_of_headers_become_one_tree(tmp_path):
    for path in ("common/include/linux", "common/arch/x86/include/asm", "amd64/include/generated",
                 "amd64/arch/x86/include/generated", "common/scripts"):  # fmt: skip
        (tmp_path / f"linux-headers-6.12-{path}").mkdir(parents=True)
    tree = tmp_path / "tree"
    bcc.merge_headers(tmp_path / "linux-headers-6.12-amd64", tree)
    assert sorted(p.name for p in (tree / "include").iterdir()) == ["generated", "linux"]
    assert sorted(p.name for p in (tree / "arch/x86/include").iterdir()) == ["asm", "generated"]


def test_headers_of_another_release_serve_the_newest_first(tmp_path, monkeypatch):
    for release in ("6.9.1", "6.12.107", "6.12.9"):
        (tmp_path / f"linux-headers-{release}-amd64/include/generated").mkdir(parents=True)
    monkeypatch.setenv(bcc.HEADERS, str(tmp_path))
    assert bcc.kernel_headers("0.0").name == "linux-headers-6.12.107-amd64"


def test_an_ordinary_user_is_told_that_bcc_wants_root(monkeypatch):
    monkeypatch.setattr(bcc, "load_bcc", lambda places: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "which is not root" in bcc.why_not()


@pytest.fixture(scope="module")
def lab():
    with nk.Lab("host") as lab:
        lab.host.listen(udp=7)
        yield lab


@pytest.fixture(scope="module")
def knob():
    with BccObject(KNOB) as obj:
        yield obj["knob"]


def arrives(pod) -> bool:
    return pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"hi").fate.delivered


@live
def test_a_program_of_bccs_sits_at_a_tcx_hook_and_obeys_its_table(lab, knob):
    pod = lab.pod("tcx")
    with pod.device.attach_tcx(knob.load(lab), "egress") as att:
        assert att.attached and att.program.tables is knob.tables
        before, seen = knob.tables["runs"][0].value, []
        for code in (0, 2, 0):
            knob.tables["verdict"][0] = ctypes.c_int(code)
            seen.append(arrives(pod))
        assert seen == [True, False, True] and set(knob.tables) == {"verdict", "runs"}
        assert knob.tables["runs"][0].value == before + 3


@live
@netkit
def test_a_program_of_bccs_sits_at_a_netkit_hook_and_obeys_its_table(lab, knob):
    """PASS, DROP, NEXT, REDIRECT without a target, and a code that is no verdict."""
    pod = lab.pod("nk", device="netkit")
    with pod.pair.attach(knob.load(lab), at="peer", link=True):
        seen = []
        for code in (0, 2, -1, 7, 99):
            knob.tables["verdict"][0] = ctypes.c_int(code)
            seen.append(arrives(pod))
    assert seen == [True, False, True, False, False]


@live
def test_a_labs_map_is_a_table_of_bccs(lab):
    flows = lab.load(nk.compile(COUNT)["count"]).maps["flows"]
    table = bcc_table(flows)
    table[ctypes.c_uint32(5)] = ctypes.c_uint64(70)
    assert flows[5] == 70
    flows[6] = 80
    assert {k.value: v.value for k, v in table.items()} == {5: 70, 6: 80}
    del table[ctypes.c_uint32(5)]
    assert dict(flows.items()) == {6: 80}


@live
def test_text_that_does_not_compile_is_named_by_its_line():
    with pytest.raises(CompileError, match="line 2: no member named 'nothing'") as caught:
        BccObject("\nint f(struct __sk_buff *skb) { return skb->nothing; }")
    assert caught.value.diagnostics[0].source.startswith("int f")


@live
def test_what_the_verifier_says_is_told(lab):
    text = "int f(struct __sk_buff *skb) { char *data = (void *)(long)skb->data; return data[100]; }"
    with BccObject(text) as obj, pytest.raises(KernelError, match="(?s)EACCES.*invalid access to packet"):
        obj["f"].load(lab)


@live
def test_another_kernels_lab_does_not_take_it(knob):
    with nk.Lab("sim") as other, pytest.raises(UsageError, match="this machine's own kernel"):
        knob.load(other)


@live
def test_veth_carries_a_packet_from_the_senders_process_into_a_softirq_on_the_senders_time(lab):
    pod = lab.pod("way")
    with PacketTrace(functions=()) as seen:
        assert arrives(pod)
    story = [(e.what, e.context, e.device) for e in seen.of(NAME) if e.device in ("", "eth0", "way")]
    process, softirq = Context.PROCESS, Context.SOFTIRQ
    assert story == [
        ("netif_rx", process, "way"),
        ("net_dev_xmit", process, "eth0"),
        ("softirq_entry", softirq, ""),
        ("netif_receive_skb", softirq, "way"),
    ]
    assert {e.task for e in seen.of(NAME)} == {NAME} and {e.softirq for e in seen.of(NAME)} == {"", "NET_RX"}
    assert seen.lost == 0


@live
@netkit
def test_kprobes_show_that_netkit_redirects_in_the_senders_process(lab):
    pod = lab.pod("probed", device="netkit")
    with PacketTrace(functions=("netkit_xmit", "enqueue_to_backlog")) as seen:
        assert arrives(pod)
    story = [(e.what, e.context) for e in seen.of(NAME) if e.what in ("netkit_xmit", "enqueue_to_backlog")]
    assert story == [("netkit_xmit", Context.PROCESS), ("enqueue_to_backlog", Context.PROCESS)]


def test_a_packets_moments_are_told_from_those_of_others_that_had_its_address():
    def moment(task, context=Context.PROCESS, skb=0x500):
        return Carried(0, "netif_rx", context, "NET_RX" * (context is Context.SOFTIRQ), task, 1, 0, "web", 46, skb)

    seen = PacketTrace(functions=())
    entry = moment("ksoftirqd/0", Context.SOFTIRQ, 0)
    before, mine, on, other, after = (
        moment("jupyter"), moment("curl"), moment("ksoftirqd/0", Context.SOFTIRQ), moment("jupyter"),
        moment("ksoftirqd/0", Context.SOFTIRQ),
    )  # fmt: skip
    seen.events = [before, mine, entry, on, other, entry, after, moment("jupyter", skb=0x700)]
    assert seen.of("curl") == [mine, entry, on]


@live
def test_a_function_that_does_not_exist_cannot_be_probed():
    with pytest.raises(BackendUnavailable, match="no_such_function_here cannot be probed here"):
        with PacketTrace(functions=("no_such_function_here",)):
            pass


@live
def test_a_machine_without_tracefs_stays_so(knob):
    before = Path("/proc/self/mounts").read_text()
    threads = threading.active_count()
    with PacketTrace(functions=()):
        pass
    assert Path("/proc/self/mounts").read_text() == before
    assert threading.active_count() <= threads


@live
def test_tracers_end_with_their_process():
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from netkit_edu.linux.bcctrace import PacketTrace
from netkit_edu.linux.carried import Carried
PacketTrace(functions=()).__enter__()
import os
os.kill(os.getpid(), 9)
"""
    before = loaded_programs()
    assert subprocess.run([sys.executable, "-B", "-c", code]).returncode == -9
    assert loaded_programs() <= before


def loaded_programs() -> set[str]:
    """Names and ids of the tracing programs that processes hold descriptors of."""
    found = set()
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        try:
            text = info.read_text()
        except OSError:
            continue
        if "prog_type:\t5\n" in text:  # BPF_PROG_TYPE_TRACEPOINT
            found.add(text[text.index("prog_id") :].split()[1])
    return found
