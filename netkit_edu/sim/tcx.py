"""tcx: programs at the two places where every device's packets pass, on arrival and on departure.

Mirrors kernel/bpf/tcx.c, include/net/tcx.h and the sch_handle_* functions of net/core/dev.c, Linux 6.12. A program here
runs in the device's own namespace and sees the device itself. Only four codes mean something: any other one ends the
list like NEXT at its end, and the packet goes on. There are no classifiers (clsact) behind the list.
"""

from __future__ import annotations

from netkit_edu.backend import Chain
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.sim import dev as core
from netkit_edu.sim.bpf_link import BpfLink, release_all
from netkit_edu.sim.cpu import bpf_net_ctx_clear, bpf_net_ctx_set
from netkit_edu.sim.filter import bpf_prog_run, skb_do_redirect
from netkit_edu.sim.mprog import Mprog, MprogEntry
from netkit_edu.sim.skbuff import kfree_skb_reason
from netkit_edu.uapi import BPF_F_REPLACE, BPF_LINK_TYPE_TCX, BPF_TCX_INGRESS, Errno, NetXmit, Verdict

TCX_NEXT, TCX_PASS, TCX_DROP, TCX_REDIRECT = (
    int(Verdict.NEXT), int(Verdict.PASS), int(Verdict.DROP), int(Verdict.REDIRECT),
)  # fmt: skip


class TcxEntry(Mprog):
    """One hook's list. The kernel frees it when the last program goes, so its revision starts anew."""

    __slots__ = ()

    def detach(self, *args, **how) -> None:
        """As `Mprog.detach`."""
        super().detach(*args, **how)
        if not self.progs:
            self.revision = 1


# the packets' way ---------------------------------------------------------------------------------------------------


def tcx_run(entry: TcxEntry, skb: SkBuff, dev, hook: str) -> int:
    """Run the programs in order until one returns something other than NEXT; return what that means here."""
    ret = TCX_NEXT
    for prog, _link in entry.progs:
        ret = bpf_prog_run(prog, skb, dev, hook)
        if ret != TCX_NEXT:
            break
    return tcx_action_code(skb, ret)


def tcx_action_code(skb: SkBuff, code: int) -> int:
    """PASS, DROP and REDIRECT mean what they say, everything else NEXT."""
    if code == TCX_PASS:
        skb.tc_index = skb.tc_classid
    return code if code in (TCX_PASS, TCX_DROP, TCX_REDIRECT) else TCX_NEXT


def sch_handle_egress(skb: SkBuff, dev) -> int | None:
    """Run the programs for a packet that leaves; None if it goes on to the queue, else what its sender is told.

    No counter of the device tells of a packet that is dropped here.
    """
    cpu = skb.trace.cpu
    context = bpf_net_ctx_set(cpu)
    verdict = tcx_run(dev.tcx_egress, skb, dev, "tcx egress")
    rc = None
    if verdict == TCX_REDIRECT:
        skb_do_redirect(skb, dev)
        rc = NetXmit.SUCCESS
    elif verdict == TCX_DROP:
        kfree_skb_reason(skb, "TC_EGRESS", dev)
        rc = NetXmit.DROP
    bpf_net_ctx_clear(cpu, context)
    return rc


def sch_handle_ingress(skb: SkBuff, dev) -> str | None:
    """Run the programs for a packet that arrives: they see it from its Ethernet header on.

    Returns:
        None if the packet goes on, `GONE` if it does not, `ANOTHER_ROUND` if ``skb->dev`` is another one now.
    """
    cpu = skb.trace.cpu
    context = bpf_net_ctx_set(cpu)
    skb.wire_len = len(skb)
    skb.tc_at_ingress = skb.nf_skip_egress = True
    mac_len = skb.network_header - skb.mac_header
    skb.push(mac_len)
    verdict = tcx_run(dev.tcx_ingress, skb, dev, "tcx ingress")
    what = None
    if verdict == TCX_REDIRECT:
        what = core.ANOTHER_ROUND if skb_do_redirect(skb, dev) == -Errno.EAGAIN else core.GONE
    elif verdict == TCX_DROP:
        kfree_skb_reason(skb, "TC_INGRESS", dev)
        what = core.GONE
    if what is not core.GONE:
        skb.pull(mac_len)
    bpf_net_ctx_clear(cpu, context)
    return what


core.SCH_HANDLE.update(ingress=sch_handle_ingress, egress=sch_handle_egress)


# programs: bpf(2) ---------------------------------------------------------------------------------------------------


def tcx_entry_fetch(net, ifindex: int, which: int) -> tuple[object, TcxEntry]:
    """Return a device of ``net`` and its list for an attach type; ENODEV without one."""
    dev = net.devices.get(ifindex)
    if dev is None:
        raise KernelError("ENODEV")
    return dev, dev.tcx_ingress if which == BPF_TCX_INGRESS else dev.tcx_egress


def tcx_prog_attach(net, ifindex: int, which: int, entry: MprogEntry, *, flags: int, replace, **how) -> None:
    """Attach a program (BPF_PROG_ATTACH); ``replace()`` finds the one to replace, ``how`` as in `Mprog.attach`."""
    _dev, active = tcx_entry_fetch(net, ifindex, which)
    active.attach(entry, flags=flags, replace=replace() if flags & BPF_F_REPLACE else None, **how)


def tcx_prog_detach(net, ifindex: int, which: int, prog, **how) -> None:
    """Detach a program (BPF_PROG_DETACH); an empty list is ENOENT before anything else is looked at."""
    _dev, active = tcx_entry_fetch(net, ifindex, which)
    if not active.progs:
        raise KernelError("ENOENT")
    active.detach(prog, **how)


def tcx_prog_query(net, ifindex: int, which: int) -> Chain:
    """Return revision and programs (BPF_PROG_QUERY)."""
    return tcx_entry_fetch(net, ifindex, which)[1].query()


def tcx_link_attach(net, ifindex: int, which: int, prog, **how) -> BpfLink:
    """Attach a program by a link (BPF_LINK_CREATE); a refusal leaves no link. ``how`` as in `BpfLink.attach`."""
    dev, active = tcx_entry_fetch(net, ifindex, which)
    link = BpfLink(BPF_LINK_TYPE_TCX, which, prog, dev, active)
    link.attach(**how)
    return link


def dev_tcx_uninstall(dev) -> None:
    """The device is deleted: its programs are released, its links stay without a device."""
    release_all(dev.tcx_ingress)
    release_all(dev.tcx_egress)
