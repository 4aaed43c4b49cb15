"""The netkit kind offered to pyroute2 writes what our own encoder writes, and reads what Linux answers."""

from __future__ import annotations

import importlib.util

import pytest

from netkit_edu.linux import netlink, rtnetlink
from netkit_edu.uapi import Ifla, IflaNetkit
from tests.requires import ROOT

pytest.importorskip("pyroute2", reason="pyroute2 is not installed: pip install -e '.[test]'")

OPTIONS = {"policy": 0, "peer_policy": 2, "mode": 1, "scrub": 0, "peer_scrub": 1}


@pytest.fixture
def ifinfmsg():
    """pyroute2's description of links, with our kind in it."""
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    spec = importlib.util.spec_from_file_location("netkit", ROOT / "contrib/pyroute2/netkit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ifinfmsg.ifinfo.register_link_kind(module={"netkit": module.netkit})
    yield ifinfmsg
    ifinfmsg.ifinfo.unregister_link_kind("netkit")


def encoded(ifinfmsg, **words) -> bytes:
    """Return what pyroute2 sends for ``ip.link('add', **words)``, without the header of netlink."""
    from pyroute2.iproute.linux import get_arguments_processor

    message = ifinfmsg()
    for name, value in get_arguments_processor("link", "add", words).items():
        if name in ("index", "flags", "change"):
            message[name] = value
        elif ifinfmsg.name2nla(name) in {known for known, _ in ifinfmsg.nla_map}:
            message["attrs"].append([ifinfmsg.name2nla(name), value])
    message.encode()
    return bytes(message.data[16:])


def ours(attrs: dict, info: dict, peer: dict | None, peer_fd: int | None = None) -> bytes:
    request = rtnetlink.link_create("netkit", attrs, info, peer, peer_fd)
    return netlink.message(request.type, 0, 0, request.fixed, request.attrs)[16:]


def parts(message: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Return the fixed part, and the attributes, whose order at the top means nothing."""
    return message[: netlink.IFINFOMSG_LEN], netlink.parse(message[netlink.IFINFOMSG_LEN :])


def test_all_attributes_are_there_under_their_numbers(ifinfmsg):
    nla_map = ifinfmsg.ifinfo.data_map["netkit"].nla_map
    names = [name.removeprefix("IFLA_NETKIT_") for name, _ in nla_map]
    assert names == ["UNSPEC", *(attribute.name for attribute in sorted(IflaNetkit))]


def test_a_pair_with_every_option_is_encoded_as_ours(ifinfmsg):
    peer = {"attrs": [["IFLA_IFNAME", "eth0"], ["IFLA_MTU", 1400], ["IFLA_NET_NS_FD", 11]]}
    words = {f"netkit_{name}": value for name, value in OPTIONS.items()}
    theirs = encoded(ifinfmsg, ifname="lxc1", kind="netkit", **words, netkit_peer_info=peer)
    assert parts(theirs) == parts(ours({"name": "lxc1"}, OPTIONS, {"name": "eth0", "mtu": 1400}, 11))


def test_a_pair_without_a_word_is_encoded_as_ours(ifinfmsg):
    assert parts(encoded(ifinfmsg, ifname="nk0", kind="netkit")) == parts(ours({"name": "nk0"}, {}, None))


@pytest.mark.parametrize("attribute", [a for a in IflaNetkit if a != IflaNetkit.PEER_INFO], ids=lambda a: a.name)
def test_each_attribute_has_the_kernels_width(ifinfmsg, attribute):
    width = {IflaNetkit.PRIMARY: 1, IflaNetkit.HEADROOM: 2, IflaNetkit.TAILROOM: 2}.get(attribute, 4)
    theirs = encoded(ifinfmsg, ifname="n", kind="netkit", **{f"netkit_{attribute.name.lower()}": 1})
    linkinfo = netlink.parse(netlink.parse(theirs[netlink.IFINFOMSG_LEN :])[rtnetlink.IFLA_LINKINFO])
    data = netlink.parse(linkinfo[rtnetlink.IFLA_INFO_DATA])
    assert data == {int(attribute): (1).to_bytes(width, "little")}


def test_what_linux_answers_is_read_with_names(ifinfmsg):
    from tests.linux.test_netlink import LINK

    body = bytes.fromhex(LINK)
    message = ifinfmsg((16 + len(body)).to_bytes(4, "little") + bytes([16]) + bytes(11) + body)
    message.decode()
    data = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
    said = {name.removeprefix("IFLA_NETKIT_").lower(): value for name, value in data["attrs"]}
    assert said == {"primary": 1, "policy": 2, "mode": 1, "scrub": 1, "peer_policy": 0, "peer_scrub": 0}
    assert message.get_attr("IFLA_IFNAME") == "nk1" and Ifla.IFNAME == 3
