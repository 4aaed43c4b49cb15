"""QEMU's command line, its monitor, and where a kernel comes from: no machine is started here."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from netkit_edu import cli
from netkit_edu.errors import BackendUnavailable, DoorError, UsageError
from netkit_edu.vm import image, kernel, prepare, qemu
from netkit_edu.vm.qmp import Qmp


def test_saved_and_restored_machine_are_the_same():
    words = qemu.machine_words(1)
    assert words[words.index("-icount") + 1] == "shift=0" and "thread=single" in words[1]
    assert not {"-kernel", "-initrd", "-incoming"} & set(words)
    assert qemu.machine_words(2) != words


def test_every_connection_is_a_descriptor():
    words = [*qemu.machine_words(1), *qemu.connections(5, 6), *qemu.wait_words(7)]
    assert "socket,id=rpc,fd=5" in words and "socket,id=monitor,fd=6" in words
    assert sum("mem-path=/dev/fd/7" in word for word in words) == 1
    assert not any("path=" in word.replace("mem-path=/dev/fd/7", "") or word.startswith("/") for word in words)


def test_memory_is_shared_only_while_a_snapshot_is_made():
    assert any("share=on" in word for word in qemu.boot_words("vmlinuz", 5, 6))
    assert any("share=off" in word for word in qemu.wait_words(5))


@pytest.mark.parametrize(
    ("said", "can"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", False),
        ("QEMU emulator version 8.1.5", False),
        ("QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1)", True),
        ("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)", True),
        ("", False),
    ],
)
def test_qemu_from_8_2_on_may_only_read_the_snapshot(said, can):
    assert qemu.reads_only(said) is can
    words = qemu.wait_words(5, reads_only=can)
    assert any(word.endswith("share=off,readonly=on,rom=off" if can else "share=off") for word in words)


def test_missing_qemu_is_one_line_that_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable) as caught:
        image.snapshot()
    assert "apt-get install qemu-system-x86" in str(caught.value) and "\n" not in str(caught.value)
    assert "qemu-system-x86" in image.unavailable()


@pytest.mark.parametrize("cpus", [0, 9, "2", 1.0])
def test_number_of_processors_that_cannot_be_is_refused(cpus):
    with pytest.raises(UsageError, match="1 to 8"):
        image.snapshot(cpus)


def test_command_line_refuses_it_in_one_line(capsys):
    assert cli.main(["vm", "build", "--cpus", "99"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_vm_clean_says_what_it_freed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path))
    (tmp_path / "k.snapshot").write_bytes(bytes(3_000_000))
    assert cli.main(["vm", "clean"]) == 0
    assert "Freed 3.0 MB" in capsys.readouterr().out and not tmp_path.exists()


def bzimage(folder: Path, release: str, name: str = "vmlinuz") -> Path:
    head = bytearray(0x1000)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x600)
    head[0x800 : 0x800 + len(release)] = release.encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(head)
    return folder / name


def test_kernel_that_is_named_comes_first_with_the_modules_beside_it(tmp_path, monkeypatch):
    path = bzimage(tmp_path / "boot", "6.12.9-mine (someone) #1")
    modules = tmp_path / "lib/modules/6.12.9-mine/kernel/drivers/net"
    modules.mkdir(parents=True)
    for name in ("veth.ko.xz", "dummy.ko", "other.ko"):
        (modules / name).write_bytes(b"")
    monkeypatch.setenv("NETKIT_EDU_KERNEL", str(path))
    found = image.find_kernel(tmp_path)
    assert (found.path, found.release, list(found.modules)) == (path, "6.12.9-mine", ["veth", "dummy"])


@pytest.mark.parametrize(
    ("image", "modules"),
    [
        ("boot/vmlinuz-7.0.1", "usr/lib/modules/7.0.1/kernel/drivers/net"),  # a package that was unpacked
        ("usr/lib/modules/7.2.1/vmlinuz", "usr/lib/modules/7.2.1/kernel/drivers/net"),
        ("kernels/7.0.1/vmlinuz", "kernels/7.0.1"),
    ],
)
def test_modules_of_a_named_kernel_are_found_where_packages_have_them(tmp_path, monkeypatch, image, modules):
    path = bzimage((tmp_path / image).parent, "7.2.1" if "7.2.1" in image else "7.0.1", Path(image).name)
    (tmp_path / modules).mkdir(parents=True, exist_ok=True)
    (tmp_path / modules / "veth.ko.xz").write_bytes(b"")
    monkeypatch.setenv("NETKIT_EDU_KERNEL", str(path))
    assert list(kernel.named().modules) == ["veth"]


def test_folders_below_a_named_kernel_are_not_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_KERNEL", str(bzimage(tmp_path, "7.0.1")))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "veth.ko").write_bytes(b"of another kernel")
    assert not kernel.named().modules


def test_modules_may_be_named_as_well(tmp_path, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_KERNEL", str(bzimage(tmp_path, "6.12.9")))
    monkeypatch.setenv("NETKIT_EDU_MODULES", str(tmp_path / "mine"))
    with pytest.raises(BackendUnavailable, match="no veth module"):
        kernel.named()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "veth.ko").write_bytes(b"module")
    assert list(kernel.named().modules) == ["veth"]


@pytest.mark.parametrize("content", [None, b"", b"\x7fELF" + bytes(5000)])
def test_kernel_that_is_named_but_is_none_is_not_passed_over(tmp_path, monkeypatch, content):
    if content is not None:
        (tmp_path / "vmlinuz").write_bytes(content)
    monkeypatch.setenv("NETKIT_EDU_KERNEL", str(tmp_path / "vmlinuz"))
    with pytest.raises(BackendUnavailable, match="NETKIT_EDU_KERNEL names"):
        kernel.named()


def test_machines_own_kernel_serves_if_it_has_netkit(tmp_path):
    bzimage(tmp_path, "6.12.9", "vmlinuz-6.12.9")
    assert kernel.own(tmp_path) is None
    (tmp_path / "config-6.12.9").write_text("CONFIG_VETH=m\n# CONFIG_NETKIT is not set\n")
    assert kernel.own(tmp_path) is None
    (tmp_path / "config-6.12.9").write_text("CONFIG_VETH=y\nCONFIG_NETKIT=y\n")
    assert kernel.own(tmp_path).release == "6.12.9"


def test_newest_downloaded_kernel_is_taken(tmp_path):
    for release in ("6.12.9", "6.12.117", "6.12.57"):
        bzimage(tmp_path / "kernels" / release, release)
    (tmp_path / "kernels/6.13/").mkdir()
    assert kernel.fetched(tmp_path).release == "6.12.117"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], ()),
        (["linux-image-6.1.0-50-cloud-amd64-unsigned", "linux-image-6.12-cloud-amd64-dbg"], ()),
        (
            [f"linux-image-6.{n}-cloud-amd64-unsigned" for n in ("12.9+deb12", "12.117+deb12", "16.3+deb13")],
            ("linux-image-6.12.117+deb12-cloud-amd64-unsigned",),
        ),
        (
            [f"linux-{what}-6.8.0-{n}-generic" for what in ("image-unsigned", "modules") for n in (51, 106, 9)],
            ("linux-image-unsigned-6.8.0-106-generic", "linux-modules-6.8.0-106-generic"),
        ),
        (
            [f"linux-{what}-6.{n}.0-9-generic" for what in ("image-unsigned", "modules") for n in (8, 11, 14, 17)],
            ("linux-image-unsigned-6.14.0-9-generic", "linux-modules-6.14.0-9-generic"),
        ),
        (["linux-image-unsigned-6.5.0-9-generic", "linux-modules-6.5.0-9-generic"], ()),
        (
            [f"linux-{what}-7.{n}.0-9-generic" for what in ("image-unsigned", "modules") for n in (0, 1)],
            ("linux-image-unsigned-7.0.0-9-generic", "linux-modules-7.0.0-9-generic"),
        ),
        (  # Debian from 6.19 on: the image is in a package of its own, and one more name has nothing but a list of them
            [f"linux-{what}-7.2.13+deb14-cloud-amd64" for what in ("image", "binary", "binary-unsigned", "modules")],
            ("linux-binary-unsigned-7.2.13+deb14-cloud-amd64", "linux-modules-7.2.13+deb14-cloud-amd64"),
        ),
        (["linux-binary-7.2.13+deb14-cloud-amd64"], ()),
    ],
)
def test_package_is_6_12_or_what_is_nearest_to_it(names, chosen):
    assert kernel.choose(names) == chosen


def test_modules_are_unpacked_whatever_they_are_packed_with(tmp_path):
    (tmp_path / "a.ko").write_bytes(b"module")
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"module"))
    assert kernel.unpacked(tmp_path / "a.ko") == kernel.unpacked(tmp_path / "a.ko.xz") == b"module"


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here")
def test_modules_may_be_packed_with_zstd(tmp_path):
    done = subprocess.run(["zstd", "-cq"], input=b"module", stdout=subprocess.PIPE, check=True)
    (tmp_path / "a.ko.zst").write_bytes(done.stdout)
    assert kernel.unpacked(tmp_path / "a.ko.zst") == b"module"


def test_what_the_rooms_bake_in_is_part_of_the_snapshots_name():
    names = {path.name for path in prepare.sources()}
    assert {f"{room.rpartition('.')[2]}.py" for room in prepare.ROOMS} | {"door.py", "syscalls.py"} <= names


class Monitor:
    """The other side of a monitor, which answers what it is told to."""

    def __init__(self, *answers: bytes):
        self.socket, self.theirs = socket.socketpair()
        self.asked: list[dict] = []
        threading.Thread(target=self._serve, args=(answers,), daemon=True).start()

    def _serve(self, answers):
        file = self.theirs.makefile("rwb")
        file.write(b'{"QMP": {}}\n')
        for answer in answers:
            file.flush()
            self.asked.append(json.loads(file.readline()))
            file.write(answer.replace(b"ID", b"%d" % self.asked[-1]["id"]))
        file.close()
        self.theirs.close()


def test_monitor_takes_its_own_answers_and_keeps_events():
    other = Monitor(b'{"return": {}, "id": ID}\n', b'{"event": "STOP"}\n{"return": {"status": "x"}, "id": ID}\n')
    qmp = Qmp(other.socket)
    qmp.greet()
    assert qmp.call("query-status", some_word=1) == {"status": "x"} and qmp.events == ["STOP"]
    assert [asked["execute"] for asked in other.asked] == ["qmp_capabilities", "query-status"]
    assert other.asked[1]["arguments"] == {"some-word": 1}


def test_refusal_of_the_monitor_is_quoted():
    qmp = Qmp(Monitor(b'{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ID}\n').socket)
    with pytest.raises(DoorError, match="no such thing"):
        qmp.call("nothing")


def test_monitor_that_is_gone_or_silent_is_said():
    qmp = Qmp(Monitor().socket)
    with pytest.raises(DoorError):
        qmp.call("stop")
    assert qmp.gone
    ours, theirs = socket.socketpair()
    with pytest.raises(DoorError, match="does not answer"):
        Qmp(ours).call("stop", patience=0.05)
    theirs.close()


def test_descriptors_travel_with_a_command():
    ours, theirs = socket.socketpair()
    qmp = Qmp(ours)
    read, write = os.pipe()
    theirs.sendall(b'{"return": {}, "id": 1}\n')
    qmp.call("getfd", fds=(write,), fdname="snapshot")
    _, got, _, _ = socket.recv_fds(theirs, 1000, 4)
    os.write(got[0], b"through")
    assert os.read(read, 10) == b"through"
    for number in (read, write, *got):
        os.close(number)
    theirs.close()
