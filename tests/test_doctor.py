"""The doctor's lines, each on a machine made for it; README's troubleshooting quotes these very words."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest

from netkit_edu import doctor
from netkit_edu.linux.probe import Answer
from netkit_edu.linux.probe import Report as HostReport
from tests.requires import ROOT

LACKS = (
    "cap_sys_admin (namespaces and bpf(2)), cap_net_admin (devices, addresses and routes), "
    "cap_net_raw (raw and packet sockets)"
)


class Made(doctor.Machine):
    """A machine as a test describes it; by default a bare Debian 12 and an ordinary user."""

    release = "6.1.0-50-amd64"
    is_root = False

    def __init__(self, root: Path, **facts):
        super().__init__(root)
        self.programs, self.outputs, self.packages, self.modules, self.environment = (
            {"apt-get", "apt-cache"},
            {},
            {},
            {},
            {},
        )
        self.clang, self.bpf, self.kept, self.downloaded = None, errno.EPERM, None, ""
        self.headers, self.lacking = None, ""
        self.answers = (Answer("privileges", False, f"the door lacks {LACKS}", "see DOOR.md"),)
        for name, value in facts.items():
            setattr(self, name, value)

    def with_file(self, path: str, content: bytes = b"") -> Made:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return self

    def which(self, program):
        return f"/usr/bin/{program}" if program in self.programs else None

    def output(self, *command):
        return self.outputs.get(Path(command[0]).name, "")

    def environ(self, name):
        return self.environment.get(name, "")

    def package(self, name):
        return self.packages.get(name)

    def module_folder(self, name):
        return self.modules.get(name)

    def compiler(self):
        return self.clang

    def load_bpf(self):
        return self.bpf

    def kernel_headers(self):
        return self.headers

    def no_room(self):
        return self.lacking

    def host(self):
        return HostReport(self.release, tuple(self.answers))

    def snapshot(self):
        return self.kept

    def fetched_kernel(self):
        return self.downloaded


@pytest.fixture
def bare(tmp_path):
    return Made(tmp_path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("clang", "clang 14.0.6, /usr/bin/cc1"), ("zig", "clang 14.0.6 of the ziglang wheel, /usr/bin/cc1")],
)
def test_compiler_is_named_with_version_and_path(tmp_path, kind, said):
    found = SimpleNamespace(kind=kind, version="14.0.6", path="/usr/bin/cc1")
    finding = doctor.probe_compiler(Made(tmp_path, clang=found))
    assert finding.ok and finding.detail == said


def test_without_compiler_the_wheel_is_offered_because_it_needs_no_root(bare):
    finding = doctor.probe_compiler(bare)
    assert not finding.ok and finding.remedy == "python -m pip install ziglang"


@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES])
def test_forbidden_bpf_says_which_privilege_is_missing(tmp_path, error):
    finding = doctor.probe_bpf(Made(tmp_path, bpf=error))
    assert not finding.ok and "CAP_BPF" in finding.detail and finding.remedy == "sudo make lab"


def test_forbidden_bpf_as_root_offers_no_sudo(tmp_path):
    assert doctor.probe_bpf(Made(tmp_path, is_root=True)).remedy == ""


def test_bpf_that_loads_is_ok(tmp_path):
    assert doctor.probe_bpf(Made(tmp_path, bpf=0)).ok


@pytest.mark.parametrize("error", [None, errno.ENOSYS])
def test_no_bpf_syscall_is_said(tmp_path, error):
    assert doctor.probe_bpf(Made(tmp_path, bpf=error)).detail == doctor.NO_BPF_SYSCALL


def test_another_refusal_of_bpf_is_quoted(tmp_path):
    assert "Invalid argument" in doctor.probe_bpf(Made(tmp_path, bpf=errno.EINVAL)).detail


def test_netkit_on_an_old_kernel_says_where_it_begins(bare):
    assert doctor.probe_netkit(bare).detail == "Linux 6.1.0-50-amd64 is older than 6.7, where netkit begins"


def test_netkit_outside_linux(tmp_path):
    assert doctor.probe_netkit(Made(tmp_path, release="")).detail == "this is not Linux"


@pytest.mark.parametrize(("line", "ok"), [(b"CONFIG_NETKIT=y", True), (b"# CONFIG_NETKIT is not set", False)])
@pytest.mark.parametrize("where", ["/proc/config.gz", "/boot/config-6.12.1", "/lib/modules/6.12.1/config"])
def test_netkit_is_read_from_the_kernels_configuration(tmp_path, where, line, ok):
    text = b"CONFIG_VETH=m\n" + line + b"\n"
    machine = Made(tmp_path, release="6.12.1").with_file(where, gzip.compress(text) if where.endswith("gz") else text)
    finding = doctor.probe_netkit(machine)
    assert finding.ok is ok and "6.12.1" in finding.detail


@pytest.mark.parametrize(("symbols", "ok"), [(b"ffff t netkit_xmit\n", True), (b"ffff t netkit_peer_dev\n", False)])
def test_netkit_is_read_from_the_symbols_where_no_configuration_is(tmp_path, symbols, ok):
    assert doctor.probe_netkit(Made(tmp_path, release="6.12.1").with_file("/proc/kallsyms", symbols)).ok is ok


def test_netkit_is_not_guessed(tmp_path):
    finding = doctor.probe_netkit(Made(tmp_path, release="6.12.1"))
    assert not finding.ok and "does not show" in finding.detail


def test_host_lab_that_cannot_be_says_every_reason_and_the_first_remedy(tmp_path):
    answers = [
        Answer("door", True, "process 7"),
        Answer("privileges", False, "it lacks a", "give it a"),
        Answer("netkit", False, "no netkit", "boot", needed=False),
        Answer("veth", False, "no veth", "load"),
    ]
    finding = doctor.probe_host_lab(Made(tmp_path, answers=answers))
    assert finding == ("host lab", False, "it lacks a; no veth", "give it a")


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("netkit", 'nk.Lab("host") has veth only: no netkit'),
        ("journeys", "no journeys"),
        ("", "has netkit of Linux 6.1"),
    ],
)
def test_host_lab_says_what_it_lacks_beyond_the_least(tmp_path, absent, said):
    answers = [
        Answer(n, n != absent, f"no {n}" if n == absent else "", "", n == "door")
        for n in ("door", "netkit", "journeys")
    ]
    finding = doctor.probe_host_lab(Made(tmp_path, answers=answers))
    assert finding.ok == (not absent) and said in finding.detail


def test_qemu_is_named_with_its_version(tmp_path):
    outputs = {"qemu-system-x86_64": "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"}
    finding = doctor.probe_qemu(Made(tmp_path, programs={"qemu-system-x86_64"}, outputs=outputs))
    assert finding.ok and finding.detail == "QEMU 7.2.22, /usr/bin/qemu-system-x86_64"


def test_missing_qemu_is_brought_by_apt_and_needs_sudo_only_for_a_user(tmp_path):
    assert doctor.probe_qemu(Made(tmp_path)).remedy == "sudo apt-get install qemu-system-x86"
    assert doctor.probe_qemu(Made(tmp_path, is_root=True)).remedy == "apt-get install qemu-system-x86"
    assert "package manager" in doctor.probe_qemu(Made(tmp_path, programs=set())).remedy


def test_guest_kernel_that_was_named_is_taken(tmp_path):
    machine = Made(tmp_path, environment={"NETKIT_EDU_KERNEL": "/k/bzImage"}).with_file("/k/bzImage")
    assert doctor.probe_guest_kernel(machine).detail == "/k/bzImage (NETKIT_EDU_KERNEL)"


def test_guest_kernel_that_was_named_but_is_absent_is_not_passed_over(tmp_path):
    finding = doctor.probe_guest_kernel(Made(tmp_path, environment={"NETKIT_EDU_KERNEL": "/k/bzImage"}))
    assert not finding.ok and "cannot be read" in finding.detail


def test_guest_kernel_may_be_the_machines_own_if_it_has_netkit(tmp_path):
    machine = Made(tmp_path).with_file("/boot/vmlinuz-6.12.9").with_file("/boot/config-6.12.9", b"\nCONFIG_NETKIT=y\n")
    assert doctor.probe_guest_kernel(machine).detail == "/boot/vmlinuz-6.12.9"


def test_guest_kernel_is_the_newest_that_apt_offers(tmp_path):
    names = [f"linux-image-6.{v}-cloud-amd64-unsigned" for v in ("1.0-50", "12.9+deb12", "12.117+deb12", "12.57+deb12")]
    finding = doctor.probe_guest_kernel(Made(tmp_path, outputs={"apt-cache": "\n".join(names)}))
    assert finding.detail == "apt can download linux-image-6.12.117+deb12-cloud-amd64-unsigned"


def test_guest_kernel_that_was_downloaded_is_named(tmp_path):
    assert doctor.probe_guest_kernel(Made(tmp_path, downloaded="6.12.9")).detail == "Linux 6.12.9, downloaded by apt"


def test_ubuntus_kernel_serves_if_its_modules_can_be_had(tmp_path):
    image = "linux-image-unsigned-6.8.0-51-generic"
    names = ["linux-image-6.5.0-9-generic", image, "linux-image-unsigned-6.8.0-99-generic"]
    assert not doctor.probe_guest_kernel(Made(tmp_path, outputs={"apt-cache": "\n".join(names)})).ok
    names.append("linux-modules-6.8.0-51-generic")
    finding = doctor.probe_guest_kernel(Made(tmp_path, outputs={"apt-cache": "\n".join(names)}))
    assert finding.detail == f"apt can download {image}"


def test_snapshot_is_named_with_its_kernel_and_size(tmp_path):
    kept = {"kernel": "6.12.117+deb12-cloud-amd64", "bytes": 65_000_000}
    assert doctor.probe_snapshot(Made(tmp_path, kept=kept)).detail == "Linux 6.12.117+deb12-cloud-amd64, 65 MB"


def test_snapshot_of_another_kernel_says_in_its_line_that_it_differs(tmp_path):
    finding = doctor.probe_snapshot(Made(tmp_path, kept={"kernel": "7.3.4", "bytes": 65_000_000}))
    assert "known ways: nk.kernel_differences(lab)" in finding.detail and "\n" not in finding.detail


def test_snapshot_that_is_not_made_yet_can_be(tmp_path):
    finding = doctor.probe_snapshot(Made(tmp_path, programs={"qemu-system-x86_64"}))
    assert not finding.ok and finding.remedy == "python -m netkit_edu vm build"


def test_snapshot_that_cannot_be_kept_is_told_before_anyone_tries(tmp_path):
    why = "no room in /c (a virtual machine's files take 300 MB): free some, or set NETKIT_EDU_CACHE"
    finding = doctor.probe_snapshot(Made(tmp_path, programs={"qemu-system-x86_64"}, lacking=why))
    assert finding[1:] == (
        False,
        "no room in /c (a virtual machine's files take 300 MB)",
        "free some, or set NETKIT_EDU_CACHE",
    )


def test_no_guest_kernel_points_to_apts_lists(bare):
    assert doctor.probe_guest_kernel(bare).remedy == "sudo apt-get update"


def test_bcc_of_the_system_is_recognised(tmp_path):
    machine = Made(tmp_path).with_file(f"{doctor.SYSTEM_PYTHON}/bcc/libbcc.py")
    machine.with_file(f"{doctor.SYSTEM_PYTHON}/bcc/version.py", b"__version__ = '0.26.0'\n")
    finding = doctor.probe_bcc(machine)
    assert (
        not finding.ok
        and finding.detail == "BCC 0.26.0 of the system's Python, but no kernel headers to compile against"
    )
    assert finding.remedy == "sudo apt-get install linux-headers-amd64"
    machine.with_file("/etc/os-release", b'NAME="Ubuntu"\nID=ubuntu\n')
    assert doctor.probe_bcc(machine).remedy == "sudo apt-get install linux-headers-generic"
    machine.headers = "/usr/src/x"
    assert doctor.probe_bcc(machine) == ("bcc", True, "BCC 0.26.0 of the system's Python, headers in /usr/src/x", "")


def test_bccs_namesake_is_not_taken_for_it(tmp_path):
    (tmp_path / "site" / "bcc").mkdir(parents=True)
    finding = doctor.probe_bcc(Made(tmp_path, modules={"bcc": tmp_path / "site" / "bcc"}))
    assert not finding.ok and "another project" in finding.detail and "python3-bpfcc" in finding.remedy


def test_browser_is_any_chromium(tmp_path):
    assert doctor.probe_browser(Made(tmp_path, programs={"google-chrome"})).ok


def test_ubuntus_word_for_a_snap_is_no_browser(tmp_path):
    machine = Made(tmp_path, programs={"chromium-browser"})
    machine.with_file("/usr/bin/chromium-browser", b"echo \"Command '$0' requires the chromium snap to be installed.\"")
    assert doctor.probe_browser(machine)[1:] == (
        False,
        "/usr/bin/chromium-browser is only a word for a snap",
        "snap install chromium",
    )


def test_jupyter_without_widgets_names_what_is_missing(tmp_path):
    finding = doctor.probe_jupyter(Made(tmp_path, packages={"jupyterlab": "4.6.6"}))
    assert not finding.ok and finding.remedy == "python -m pip install ipywidgets"


def test_report_lists_every_capability_and_each_remedy(bare):
    findings = doctor.examine(bare)
    text = doctor.report(findings)
    assert [f.name for f in findings] == [
        "simulator", "jupyter", "compiler", "bpf", "netkit", "host lab", "qemu", "guest kernel", "vm snapshot",
        "bcc", "browser",
    ]  # fmt: skip
    assert all(f.detail in text and f.remedy in text for f in findings)
    assert "make system" in text


def test_report_of_a_complete_machine_says_so():
    assert doctor.report([doctor.Finding("qemu", True, "QEMU 7.2")]).endswith("Nothing is missing.")


def test_the_real_machine_can_be_examined():
    assert {f.name for f in doctor.examine()} >= {"compiler", "bpf", "netkit"}


def test_readme_troubleshooting_speaks_the_doctors_words(bare):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Troubleshooting")[1].split("\n## ")[0]
    for finding in doctor.examine(bare):
        if not finding.ok:
            assert f"`{finding.detail}`" in section, finding
