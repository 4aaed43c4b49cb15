"""netkit-edu: a notebook course on Linux netkit devices and eBPF, in which every claim runs.

This is the face: everything a notebook uses is an attribute of ``netkit_edu`` (``import netkit_edu as nk``). Each name
is fetched from its room at first use, so that the import itself is fast and brings no other package along.
``%load_ext netkit_edu`` registers the ``%%bpf`` cell and the drawings.
"""

from __future__ import annotations

__version__ = "0.1.0"

_ROOMS = {
    "netkit_edu.uapi": (
        "Verdict", "Policy", "Mode", "Scrub", "Hook", "PacketType", "Context", "NETDEV_TX_OK",
    ),
    "netkit_edu.errors": (
        "NetkitEduError", "KernelError", "CompileError", "CompileWarning", "ObjectError", "PacketError", "ProgramFault",
        "DriverFault", "UsageError", "BackendUnavailable", "DoorError", "VMError",
    ),
    "netkit_edu.doctor": ("this_machine",),
    "netkit_edu.kernels": ("kernel_differences",),
    "netkit_edu.journey": ("Journey", "Hop", "HopKind", "Fate", "FateKind", "Comparison", "compare"),
    "netkit_edu.packet": ("to_bytes", "summary", "fields", "diff", "checksum"),
    "netkit_edu.pcap": ("read_pcap", "write_pcap"),
    "netkit_edu.programs": ("compile", "read_object", "CompiledObject", "Program", "BrokenProgram", "RunResult"),
    "netkit_edu.loaded": ("LoadedProgram",),
    "netkit_edu.attachment": ("Attachment",),
    "netkit_edu.sim.driver": ("NetDevice", "net_device_ops"),
    "netkit_edu.device": ("ANY", "Device", "Pair"),
    "netkit_edu.node": ("Node", "Pod", "Summary"),
    "netkit_edu.costs": ("Cost", "Costs", "closest"),
    "netkit_edu.lab": ("Lab",),
    "netkit_edu.dialect": ("BccObject", "BccProgram", "bcc_table"),
    "netkit_edu.linux.bcctrace": ("PacketTrace",),
    "netkit_edu.linux.carried": ("Carried",),
    "netkit_edu.linux.bystander": ("Bystander",),
    "netkit_edu.course": (
        "predict", "check", "hint", "solution", "progress", "refused", "NotRefused", "NotSolved",
        "on_linux",
    ),
    "netkit_edu.ui.show": ("legend", "show_chain", "show_moments"),
    "netkit_edu.ui.stepper": ("stepper",),
    "netkit_edu.ui.steps": ("steps",),
    "netkit_edu.ui.widgets": ("VerdictKnob", "PolicySwitch"),
}  # fmt: skip
_LAYERS = ("IP", "UDP", "TCP", "ICMP", "Ether", "ARP", "Dot1Q", "IPv6", "Raw")  # scapy's own classes, without its noise
_PLACES = {name: module for module, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *_PLACES, *_LAYERS]


def __getattr__(name: str):
    if name in _PLACES:
        from importlib import import_module

        value = getattr(import_module(_PLACES[name]), name)
    elif name in _LAYERS:
        from netkit_edu.packet import layer

        value = layer(name)
    else:
        raise AttributeError(f"module 'netkit_edu' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})


def load_ipython_extension(ipython) -> None:
    """Register ``%%bpf`` and the drawings: what ``%load_ext netkit_edu`` calls."""
    from netkit_edu.ui import magics

    magics.load(ipython)
