"""netkit: a pair of devices with eBPF programs in their transmit path.

Mirrors drivers/net/netkit.c, Linux 6.12, function by function. One end is the primary: through it, and only through it,
policies are changed and programs attached, for either end. A program runs when the end it is attached to transmits;
the packet's device is by then already the other end.
"""

from __future__ import annotations

from collections.abc import Mapping

from netkit_edu.backend import Chain
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError, ProgramFault
from netkit_edu.sim import dev as core
from netkit_edu.sim.bpf_link import BpfLink, release_all
from netkit_edu.sim.cpu import bpf_net_ctx_clear, bpf_net_ctx_set
from netkit_edu.sim.ethtool import GSO_MAX_SIZE, NETKIT_FEATURES
from netkit_edu.sim.filter import bpf_prog_run, skb_do_redirect
from netkit_edu.sim.mprog import Mprog, MprogEntry
from netkit_edu.sim.netdevice import NetDevice, NetDeviceOps, eth_mac_addr
from netkit_edu.sim.rtnetlink import (
    LinkAttrs,
    register_netdevice,
    rtnl_create_link,
    rtnl_link_get_net,
    unregister_netdevice,
    validate_address,
)
from netkit_edu.sim.skbuff import eth_skb_pkt_type, kfree_skb_reason, skb_scrub_packet
from netkit_edu.uapi import (
    BPF_F_REPLACE,
    BPF_LINK_TYPE_NETKIT,
    BPF_NETKIT_PEER,
    BPF_NETKIT_PRIMARY,
    ETH_HLEN,
    IFF_BROADCAST,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_UP,
    Mode,
    NetXmit,
    Policy,
    Scrub,
    Verdict,
)

NETKIT_NEXT, NETKIT_PASS, NETKIT_DROP, NETKIT_REDIRECT = (
    int(Verdict.NEXT), int(Verdict.PASS), int(Verdict.DROP), int(Verdict.REDIRECT),
)  # fmt: skip


class Netkit:
    """The driver's data of one end (``struct netkit``); ``active`` is its list of programs."""

    __slots__ = ("peer", "active", "policy", "scrub", "mode", "primary")

    def __init__(self, *, primary: bool, policy: int, scrub: int, mode: int):
        self.peer: NetDevice | None = None
        self.active = Mprog()
        self.primary = primary
        self.policy = policy
        self.scrub = scrub
        self.mode = mode


# transmit -----------------------------------------------------------------------------------------------------------


def netkit_run(entry: Mprog, skb: SkBuff, ret: int, dev: NetDevice) -> tuple[int, str]:
    """Run the programs in order until one returns something other than NEXT; return that, and the last one's name."""
    name = ""
    for prog, _link in entry.progs:
        ret = bpf_prog_run(prog, skb, dev)
        name = prog.name
        if ret != NETKIT_NEXT:
            break
    return ret, name


def netkit_xnet(skb: SkBuff) -> None:
    """What the other network namespace must not learn."""
    skb.priority = 0
    skb.mark = 0


def netkit_prep_forward(skb: SkBuff, xnet: bool, xnet_scrub: int) -> None:
    """Prepare the metadata before any program sees it; with scrub NONE, mark and priority cross namespaces."""
    skb_scrub_packet(skb, False)
    skb.nf_skip_egress = True
    skb.mac_header = skb.data
    if not xnet:
        return
    skb.tstamp = 0
    if xnet_scrub:
        netkit_xnet(skb)


def netkit_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Transmit: prepare, run the programs or else apply the policy, and do what the verdict says."""
    nk = dev.priv
    ret = nk.policy
    length = len(skb)
    peer = nk.peer
    if peer is None or not peer.flags & IFF_UP or not skb.make_linear(ETH_HLEN):
        return _drop(skb, dev, "the other end is not up" if length >= ETH_HLEN else "shorter than its header")
    netkit_prep_forward(skb, dev.net is not peer.net, nk.scrub)
    eth_skb_pkt_type(skb, peer)
    skb.dev = peer
    name, cpu = "", skb.trace.cpu
    context = bpf_net_ctx_set(cpu)
    if nk.active.progs:
        try:
            ret, name = netkit_run(nk.active, skb, ret, dev)
        except ProgramFault:
            _drop(skb, dev, "its program faulted")
            raise
    if ret == NETKIT_REDIRECT:
        core.dev_sw_netstats_tx_add(skb, dev, length)
        skb_do_redirect(skb, dev)
        bpf_net_ctx_clear(cpu, context)
        return NetXmit.SUCCESS
    bpf_net_ctx_clear(cpu, context)
    if ret == NETKIT_NEXT or ret == NETKIT_PASS:
        skb.pull(ETH_HLEN)
        if core.__netif_rx(skb) != core.NET_RX_SUCCESS:
            core.dev_core_stats_tx_dropped_inc(skb, dev)
            return NetXmit.DROP
        core.dev_sw_netstats_tx_add(skb, dev, length)
        core.dev_sw_netstats_rx_add(skb, peer, length)
        return NetXmit.SUCCESS
    what = "DROP" if ret == NETKIT_DROP else f"unknown code {ret}"
    return _drop(skb, dev, f"program {name} returned {what}" if name else "policy DROP")


def _drop(skb: SkBuff, dev: NetDevice, words: str) -> int:
    """The driver's ``drop`` label: free, count, and tell the caller."""
    kfree_skb_reason(skb, "NOT_SPECIFIED", dev, words)
    core.dev_core_stats_tx_dropped_inc(skb, dev)
    return NetXmit.DROP


# up, down, address --------------------------------------------------------------------------------------------------


def netkit_open(dev: NetDevice) -> None:
    """Both ends get their carrier when both are up."""
    peer = dev.priv.peer
    if peer is None:
        raise KernelError("ENOTCONN")
    if peer.up:
        core.netif_carrier_on(dev)
        core.netif_carrier_on(peer)


def netkit_close(dev: NetDevice) -> None:
    """An end that goes down takes the carrier from both."""
    core.netif_carrier_off(dev)
    if dev.priv.peer is not None:
        core.netif_carrier_off(dev.priv.peer)


def netkit_set_macaddr(dev: NetDevice, address: bytes) -> None:
    """An address makes sense in L2 mode only."""
    if dev.priv.mode != Mode.L2:
        raise KernelError("EOPNOTSUPP")
    eth_mac_addr(dev, address)


def netkit_uninit(dev: NetDevice) -> None:
    """The end is deleted: its programs are released, its links stay without a device (netkit_release_all)."""
    release_all(dev.priv.active)


def netkit_peer_dev(dev: NetDevice) -> NetDevice | None:
    """Return the other end."""
    return dev.priv.peer


NETKIT_OPS = NetDeviceOps(
    ndo_start_xmit=netkit_xmit,
    ndo_open=netkit_open,
    ndo_stop=netkit_close,
    ndo_set_mac_address=netkit_set_macaddr,
    ndo_uninit=netkit_uninit,
    ndo_get_peer_dev=netkit_peer_dev,
)


# creation, change, deletion: rtnetlink ------------------------------------------------------------------------------


def netkit_setup(nk: Netkit, dev_addr: bytes) -> NetDevice:
    """Make one end: all-zero address and IFF_NOARP in L3 mode, an Ethernet device in L2 mode."""
    flags = IFF_BROADCAST | IFF_MULTICAST | (IFF_NOARP if nk.mode == Mode.L3 else 0)
    dev = NetDevice(NETKIT_OPS, kind="netkit", flags=flags, dev_addr=dev_addr, priv=nk)
    dev.carrier, dev.tracks_carrier = False, True
    dev.features, dev.tso_max_size = NETKIT_FEATURES, GSO_MAX_SIZE
    return dev


def netkit_check_policy(policy: int) -> None:
    """A default policy is PASS or DROP."""
    if policy not in (NETKIT_PASS, NETKIT_DROP):
        raise KernelError("EINVAL", "Provided default xmit policy not supported")


def netkit_check_mode(mode: int) -> None:
    """A mode is L2 or L3."""
    if mode not in (Mode.L2, Mode.L3):
        raise KernelError("EINVAL", "Provided device mode can only be L2 or L3")


def netkit_validate(data: Mapping[str, int]) -> None:
    """What the attribute policy refuses before the driver looks (IFLA_NETKIT_*)."""
    for key in ("scrub", "peer_scrub"):
        if data.get(key, 0) not in (Scrub.NONE, Scrub.DEFAULT):
            raise KernelError("ERANGE", "integer out of range")
    if "primary" in data:
        raise KernelError("EINVAL", "Primary attribute is read-only")


def netkit_new_link(kernel, tb: LinkAttrs, peer_tb: LinkAttrs | None, data: Mapping[str, int]) -> NetDevice:
    """Create a pair, all or nothing; the peer is registered first and so gets the lower ifindex."""
    netkit_validate(data)
    tbp = peer_tb or tb.inherited()
    validate_address(tb)
    netkit_check_link(tb)
    validate_address(tbp)
    mode = data.get("mode", Mode.L3)
    netkit_check_mode(mode)
    policy, peer_policy = data.get("policy", Policy.PASS), data.get("peer_policy", Policy.PASS)
    netkit_check_policy(policy)
    netkit_check_policy(peer_policy)
    if mode == Mode.L3 and (tb.mac is not None or tbp.mac is not None):
        raise KernelError("EOPNOTSUPP")
    peer_net = rtnl_link_get_net(tbp)

    def end(primary: bool, policy: int, scrub: int) -> NetDevice:
        nk = Netkit(primary=primary, policy=int(policy), scrub=int(scrub), mode=int(mode))
        return netkit_setup(nk, kernel.eth_random_addr() if mode == Mode.L2 else bytes(6))

    peer = end(False, peer_policy, data.get("peer_scrub", Scrub.DEFAULT))
    dev = end(True, policy, data.get("scrub", Scrub.DEFAULT))
    rtnl_create_link(dev, tb)
    rtnl_create_link(peer, tbp)
    register_netdevice(peer, peer_net, tbp.name or "nk%d", tbp.ifindex if tb.ifindex else 0)
    try:
        register_netdevice(dev, tb.net, tb.name or "nk%d", tb.ifindex)
    except KernelError:
        unregister_netdevice(peer)
        raise
    dev.priv.peer = dev.peer = peer
    peer.priv.peer = peer.peer = dev
    return dev


def netkit_check_link(tb: LinkAttrs) -> None:
    """What rtnetlink finds wrong with the primary as it creates it, before netkit's own code is asked."""
    nk = Netkit(primary=True, policy=int(Policy.PASS), scrub=int(Scrub.DEFAULT), mode=int(Mode.L3))
    rtnl_create_link(netkit_setup(nk, bytes(6)), tb)


def netkit_change_link(dev: NetDevice, data: Mapping[str, int]) -> None:
    """Change the policies, through the primary. Not atomic: an invalid peer policy leaves the policy changed."""
    netkit_validate(data)
    nk = dev.priv
    if not nk.primary:
        raise KernelError("EACCES", "netkit link settings can be changed only through the primary device")
    if "mode" in data:
        raise KernelError("EACCES", "netkit link operating mode cannot be changed after device creation")
    if "scrub" in data or "peer_scrub" in data:
        raise KernelError("EACCES", "netkit scrubbing cannot be changed after device creation")
    if "peer_info" in data:
        raise KernelError("EINVAL", "netkit peer info cannot be changed after device creation")
    if "policy" in data:
        netkit_check_policy(data["policy"])
        nk.policy = int(data["policy"])
    if "peer_policy" in data:
        if nk.peer is None:
            raise KernelError("EOPNOTSUPP")
        netkit_check_policy(data["peer_policy"])
        nk.peer.priv.policy = int(data["peer_policy"])


def netkit_del_link(dev: NetDevice) -> None:
    """Delete the pair, whichever end was named; the programs are released."""
    peer = dev.priv.peer
    dev.priv.peer = None
    unregister_netdevice(dev)
    if peer is not None:
        peer.priv.peer = None
        unregister_netdevice(peer)


def netkit_fill_info(dev: NetDevice) -> dict[str, int]:
    """Return the attributes as this end shows them: policy and scrub are its own, peer_* the other end's."""
    nk = dev.priv
    info = {"primary": int(nk.primary), "mode": nk.mode, "policy": nk.policy, "scrub": nk.scrub}
    if nk.peer is not None:
        info |= {"peer_policy": nk.peer.priv.policy, "peer_scrub": nk.peer.priv.scrub}
    return info


# programs: bpf(2) ---------------------------------------------------------------------------------------------------


def netkit_dev_fetch(net, ifindex: int, which: int) -> NetDevice:
    """Return the end whose list an attach type means, or refuse: authority is what ``net`` sees, and the primary's."""
    if which not in (BPF_NETKIT_PRIMARY, BPF_NETKIT_PEER):
        raise KernelError("EINVAL")
    dev = net.devices.get(ifindex)
    if dev is None:
        raise KernelError("ENODEV")
    if dev.netdev_ops is not NETKIT_OPS:
        raise KernelError("ENXIO")
    nk = dev.priv
    if not nk.primary:
        raise KernelError("EACCES")
    if which == BPF_NETKIT_PRIMARY:
        return dev
    if nk.peer is None:
        raise KernelError("ENODEV")
    return nk.peer


def netkit_prog_attach(net, ifindex: int, which: int, entry: MprogEntry, *, flags: int, replace, **how) -> None:
    """Attach a program (BPF_PROG_ATTACH); ``replace()`` finds the one to replace, ``how`` as in `Mprog.attach`."""
    active = netkit_dev_fetch(net, ifindex, which).priv.active
    active.attach(entry, flags=flags, replace=replace() if flags & BPF_F_REPLACE else None, **how)


def netkit_prog_detach(net, ifindex: int, which: int, prog, **how) -> None:
    """Detach a program (BPF_PROG_DETACH); an empty list is ENOENT before anything else is looked at."""
    active = netkit_dev_fetch(net, ifindex, which).priv.active
    if not active.progs:
        raise KernelError("ENOENT")
    active.detach(prog, **how)


def netkit_prog_query(net, ifindex: int, which: int) -> Chain:
    """Return revision and programs (BPF_PROG_QUERY)."""
    return netkit_dev_fetch(net, ifindex, which).priv.active.query()


def netkit_link_attach(net, ifindex: int, which: int, prog, **how) -> BpfLink:
    """Attach a program by a link (BPF_LINK_CREATE); a refusal leaves no link. ``how`` as in `BpfLink.attach`."""
    dev = netkit_dev_fetch(net, ifindex, which)
    link = BpfLink(BPF_LINK_TYPE_NETKIT, which, prog, dev, dev.priv.active)
    link.attach(**how)
    return link
