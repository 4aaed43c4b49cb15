"""A capture sees what passes one device, and keeps it when it is stopped."""

from __future__ import annotations

import pytest

import netkit_edu as nk

PACKET = nk.IP(dst="192.0.2.2") / nk.UDP(dport=53) / b"hi"


@pytest.fixture
def lab():
    with nk.Lab("sim") as lab:
        yield lab


def test_a_capture_has_the_frames_of_its_device_with_their_direction(lab):
    with lab.nic.capture() as sent, lab.nic.other.capture() as received:
        lab.host.send(PACKET)
    assert [frame.direction for frame in sent.frames] == ["out"]
    assert [frame.direction for frame in received.frames] == ["in"]
    assert sent.frames[0].bytes[:34] == received.frames[0].bytes[:34]  # the card fills in the UDP checksum
    assert "02:00:c0:00:02:01 > 02:00:c0:00:02:02" in repr(sent)


def test_it_can_be_read_while_it_runs_and_ends_with_its_block(lab):
    with lab.nic.capture() as seen:
        lab.host.send(PACKET)
        assert len(seen.frames) == 1
    lab.host.send(PACKET)
    assert len(seen.frames) == 1
    seen.stop()


def test_what_was_seen_outlives_the_lab(lab):
    with lab.nic.capture() as seen:
        pass
    lab.close()
    assert (seen.frames, repr(seen)) == ([], "no frames")


def test_a_device_that_is_gone_cannot_be_listened_to(lab):
    dummy = lab.dummy("d0")
    dummy.delete()
    with pytest.raises(nk.KernelError, match="ENODEV"):
        dummy.capture()
