"""The archive: what we write, another reader finds; equal contents make equal bytes."""

from __future__ import annotations

import shutil
import stat
import subprocess

import pytest

from netkit_edu.vm import cpio

MEMBERS = [
    cpio.folder("dev"),
    cpio.character("dev/console", 5, 1),
    cpio.file("init", b"#!" + bytes(range(256)), 0o755),
    cpio.file("empty", b""),
    cpio.file("a-name-of-odd-length", b"x"),
]


def read(data: bytes) -> list[cpio.Member]:
    """A reader of its own, from the description of the form."""
    members, pos = [], 0
    while True:
        assert data[pos : pos + 6] == b"070701"
        field = [int(data[pos + 6 + 8 * n : pos + 14 + 8 * n], 16) for n in range(13)]
        name_at, mode, size, name_size = pos + 110, field[1], field[6], field[11]
        name = data[name_at : name_at + name_size - 1].decode()
        at = name_at + name_size + (-(name_at + name_size) % 4)
        if name == "TRAILER!!!":
            assert at == len(data)
            return members
        members.append(cpio.Member(name, mode, data[at : at + size], (field[9], field[10])))
        pos = at + size + (-(at + size) % 4)


def test_what_is_written_is_read_again():
    assert read(cpio.archive(MEMBERS)) == MEMBERS


def test_equal_contents_make_equal_bytes():
    assert cpio.archive(MEMBERS) == cpio.archive(list(MEMBERS))


def test_archive_without_members_is_a_trailer():
    assert read(cpio.archive([])) == []


@pytest.mark.parametrize("name", ["/init", ""])
def test_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(ValueError):
        cpio.archive([cpio.file(name, b"")])


def test_name_given_twice_is_refused():
    with pytest.raises(ValueError):
        cpio.archive([cpio.file("a", b""), cpio.file("a", b"x")])


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio here")
def test_cpio_itself_lists_it():
    done = subprocess.run(["cpio", "-tv"], input=cpio.archive(MEMBERS), capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines] == [member.name for member in MEMBERS]
    assert [line[0] for line in lines] == ["d", "c", "-", "-", "-"]
    assert "5,   1" in lines[1] and stat.filemode(MEMBERS[2].mode) in lines[2]
