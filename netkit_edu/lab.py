"""The lab: hosts, pods and devices on one backend, and packets sent between them.

A lab starts with two machines on one cable: ``host``, which forwards, and ``outside``. Pods are network namespaces
joined to the host by a pair of devices. The same words work on every backend (backend.py); everything here is written
with the calls that Linux has.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence

from netkit_edu import measuring, watching
from netkit_edu.arguments import device_name, whole_number
from netkit_edu.backend import Backend, CpuTime, SoftnetStat
from netkit_edu.costs import Cost
from netkit_edu.device import Device, Pair
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.kernels import note
from netkit_edu.linkoptions import link_attrs, netkit_info
from netkit_edu.loaded import LoadedProgram, program_of
from netkit_edu.node import OUTSIDE_IP, Node, Outside, Pod
from netkit_edu.opening import open_backend
from netkit_edu.typedmap import TypedMap
from netkit_edu.uapi import Mode

KINDS = ("veth", "netkit")
MAX_PODS = 254
MAX_CPUS = 1024
MAX_BACKLOG = (1 << 31) - 1  # packets: the sysctl is an int
NIC_IP = "192.0.2.1"


class Lab:
    """A small network on one backend. A context manager; ``close()`` frees everything, and so does forgetting it.

    Args:
        backend: "sim" (anywhere), "vm", "host", or "auto" for the best this machine has, in the order vm, host with
            netkit, sim; by default what the environment variable NETKIT_EDU_BACKEND says, else "sim".
        cpus: how many CPUs, each with a backlog of its own.
        backlog: packets that fit one CPU's backlog (net.core.netdev_max_backlog).

    Raises:
        BackendUnavailable: this machine cannot run that backend; the message says why and what to do.
        UsageError: there is no such backend.
    """

    def __init__(self, backend: str | None = None, *, cpus: int = 1, backlog: int = 1000):
        self.closed = False
        whole_number(cpus, "cpus", 1, MAX_CPUS)
        whole_number(backlog, "backlog", 0, MAX_BACKLOG)
        self._calls, built = open_backend(backend or os.environ.get("NETKIT_EDU_BACKEND") or "sim", cpus, backlog)
        self._finalizer = weakref.finalize(self, self._calls.close)
        self._devices: dict[tuple[int, int], Device] = {}
        self._programs: dict = {}
        self._pods = 0
        self.nodes: dict[str, Node] = {}
        try:
            self._build()
            built()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        self.host = self.node("host")
        self.outside = self.nodes["outside"] = Outside(self, "outside")
        self.host.sysctl("net.ipv4.ip_forward", 1)
        cable = self._cable()
        self.nic, far = cable.primary, cable.peer
        self.nic.addr(f"{NIC_IP}/24").up()
        far.addr(f"{OUTSIDE_IP}/24").up()
        self.host.neigh(OUTSIDE_IP, far.mac, dev=self.nic)
        self.outside.neigh(NIC_IP, self.nic.mac, dev=far)
        self.host.route("default", via=OUTSIDE_IP)
        self.outside.route("default", via=NIC_IP)

    def _cable(self) -> Pair:
        attrs = {"mac": "02:00:c0:00:02:01"}
        return self._link("nic", "eth0", self.host, self.outside, attrs, {"name": "eth0", "mac": "02:00:c0:00:02:02"})

    @property
    def kernel_calls(self) -> Backend:
        """The backend; `UsageError` once the lab is closed."""
        if self.closed:
            raise UsageError("this lab is closed: make a new one with lab = nk.Lab()")
        return self._calls

    @property
    def backend(self) -> str:
        """The backend's name: "sim", "vm" or "host"."""
        return self._calls.name

    @property
    def kernel(self) -> str:
        """The kernel it is, or stands for, for example "6.12"."""
        return self._calls.kernel

    @property
    def softnet(self) -> tuple[SoftnetStat, ...]:
        """For each CPU, how many packets its softirq took on and how many its full backlog refused."""
        return tuple(self.kernel_calls.softnet_stat())

    def node(self, name: str) -> Node:
        """Create a network namespace with nothing in it but a loopback.

        Raises:
            KernelError: EEXIST if there is a node of that name.
            UsageError: the name is none that a device could have.
        """
        self._check_name(name)
        self.nodes[name] = Node(self, name)
        return self.nodes[name]

    def pod(self, name: str, device: str | type = "veth", *, mode=None, policy=None, peer_policy=None, scrub=None,
            peer_scrub=None, up: bool = True) -> Pod:  # fmt: skip
        """Create a pod and join it to the host; the n-th has 10.0.n.2/24, and the host's end 10.0.n.1/24.

        Args:
            name: the pod's name, and that of the host's end of the pair.
            device: "veth", "netkit", or a driver of your own: a subclass of `nk.NetDevice` (simulator).
            mode: netkit: "l3" or "l2"; the kernel's default is "l3".
            policy, peer_policy: netkit: "pass" or "drop", host to pod and pod to host; default "pass".
            scrub, peer_scrub: netkit: "default" or "none", for what the host's and the pod's end send.
            up: bring it up at once; else `Pod.up` does it later.

        Raises:
            KernelError: as the kernel refuses it; EEXIST if the name is taken. Nothing half-made stays behind.
            UsageError: an option's value is not possible, or no device may have that name.
        """
        device = self._kind(device, "device")
        number = self._pods + 1
        if number > MAX_PODS:
            raise UsageError(f"a lab numbers its pods from 1 to {MAX_PODS}")
        options = {"mode": mode, "policy": policy, "peer_policy": peer_policy, "scrub": scrub, "peer_scrub": peer_scrub}
        info = netkit_info(device, options)
        self._check_name(name)
        pod = Pod(self, name)
        try:
            attrs, peer = {}, {"name": "eth0"}
            if device != "netkit" or info.get("mode") == Mode.L2:
                attrs, peer = {"mac": f"02:00:0a:00:{number:02x}:01"}, peer | {"mac": f"02:00:0a:00:{number:02x}:02"}
            pod.pair = self._link(device, name, self.host, pod, attrs, peer, info)
            pod.pair.primary.addr(f"10.0.{number}.1/24")
            pod.pair.peer.addr(f"10.0.{number}.2/24")
            if up:
                pod.up()
        except BaseException:
            self.forget(pod)
            raise
        self._pods = number
        self.nodes[name] = pod
        return pod

    def pair(self, name: str, *, primary_in: Node | None = None, peer_in: Node | None = None, peer_name: str = "",
             kind: str | type = "netkit", attrs: Mapping | None = None, peer_attrs: Mapping | None = None,
             **options) -> Pair:  # fmt: skip
        """Create a pair of devices, both down and without addresses.

        Args:
            name: the primary's name.
            primary_in, peer_in: the nodes that hold the ends; the host by default.
            peer_name: the peer's name; "eth0" in another node, ``name`` with a "p" behind it in the same one.
            kind: "netkit", "veth", or a driver of your own, as in `pod`.
            attrs, peer_attrs: ordinary link attributes of either end: mtu (bytes), mac, ifindex, num_tx_queues,
                num_rx_queues, and qdisc, a queueing discipline such as "pfifo" that is installed instead of the
                driver's.
            options: for netkit: mode, policy, peer_policy, scrub, peer_scrub, as in `pod`.

        Raises:
            KernelError: as the kernel refuses it; nothing half-made stays behind.
            UsageError: an option's value is not possible, or no device may have that name.
        """
        primary_in, peer_in = (self.host if node is None else self._own(node) for node in (primary_in, peer_in))
        device_name(name)
        peer_name = device_name(peer_name or ("eth0" if peer_in is not primary_in else f"{name}p"))
        kind = self._kind(kind, "kind")
        info = netkit_info(kind, options)
        peer = {"name": peer_name, **link_attrs(peer_attrs, "peer_attrs")}
        return self._link(kind, name, primary_in, peer_in, link_attrs(attrs, "attrs"), peer, info)

    def dummy(self, name: str, *, node: Node | None = None) -> Device:
        """Create a dummy device, which swallows what it is given to send; down, on the host by default.

        Raises:
            KernelError: EEXIST if the node has a device of that name.
            UsageError: no device may have that name.
        """
        node = self.host if node is None else self._own(node)
        return self.device(node, self.kernel_calls.link_add(node.ns, "dummy", device_name(name)))

    def bridge(self, name: str, *, node: Node | None = None) -> Device:
        """Create a bridge without ports, down, on the host by default; `Device.set_master` makes a device its port.

        Raises:
            KernelError: EEXIST if the node has a device of that name.
            UsageError: no device may have that name.
        """
        node = self.host if node is None else self._own(node)
        return self.device(node, self.kernel_calls.link_add(node.ns, "bridge", device_name(name)))

    def load(self, program, *, maps: Mapping[str, TypedMap] | None = None) -> LoadedProgram:
        """Load a program into this lab's kernel, with maps of its own but for those given.

        Args:
            program: what `nk.compile` or a ``%%bpf`` cell gives; loading it twice makes two programs.
            maps: maps of other loaded programs to use under these names.

        Raises:
            UsageError: no program, or a map that does not fit.
            KernelError: as the kernel refuses it.
        """
        return LoadedProgram(self, program_of(program), maps)

    def loaded(self, program) -> LoadedProgram:
        """Return what a program was loaded as, loading it at first use."""
        if isinstance(program, LoadedProgram):
            if program.lab is not self:
                raise UsageError(f"{program.name!r} was loaded into another lab")
            return program
        program = program_of(program)
        if program not in self._programs:
            self._programs[program] = self.load(program)
        return self._programs[program]

    def device(self, node: Node, ifindex: int) -> Device:
        """Return the device of that number in a node, always the same object."""
        return self._devices.setdefault((self._own(node).ns, ifindex), Device(node, ifindex))

    def move(self, device: Device, node: Node, name: str) -> None:
        """Move a device into another node's namespace: what `Device.move` does."""
        here, calls = device.node.ns, self.kernel_calls
        calls.link_set(here, device.ifindex, netns=self._own(node).ns, name=name)
        self._devices.pop((here, device.ifindex), None)
        device.node = node
        device.ifindex = next(link.ifindex for link in calls.links(node.ns) if link.name == name)
        self._devices[node.ns, device.ifindex] = device

    def measure(self, sender: Node, packet, *, replies: bool = False, n: int = 64, runs: int = 3, mark: int = 0,
                priority: int = 0) -> Cost:  # fmt: skip
        """Count the instructions that sending one UDP packet takes, from the system call to where the packet ends.

        In the virtual machine only: there an instruction is a nanosecond of the guest's clock. ``n`` packets go out in
        one sendmmsg() between two readings of it. Nothing is subtracted, and whatever the packets set off in this lab
        counts: programs, softirqs, the other end's receiving.

        Args:
            sender: the node that sends.
            packet: scapy or bytes, from IP on.
            replies: count a request with its reply instead, and all four socket calls of it.
            n: packets a batch.
            runs: how often; each is the median of nine batches.
            mark, priority: SO_MARK, SO_PRIORITY.

        Raises:
            UsageError: this lab is not in the virtual machine, or no such packet.
            KernelError: EAGAIN where a request or a reply does not arrive.
        """
        options = {"replies": replies, "n": n, "runs": runs, "mark": mark, "priority": priority}
        return measuring.measure(self._own(sender), packet, **options)

    def measure_stream(self, sender: Node, receiver: Node, *, dst: str = "", gso: bool = True, runs: int = 5) -> Cost:
        """Count the instructions that a MiB of TCP takes between two nodes, both ends' system calls included.

        Args:
            sender, receiver: two nodes, or twice the same.
            dst: the receiver's address; its first by default.
            gso: let TCP hand down segments of up to 64 KiB, as it does by default; else one for each packet.
            runs: how many MiB one behind the other, after two that warm up.

        Raises:
            UsageError: this lab is not in the virtual machine, or TCP does not get through.
        """
        return measuring.measure_stream(self._own(sender), receiver, dst=dst, gso=gso, runs=runs)

    def ftrace(self, run: Callable[[], object], functions: Sequence[str] = (), *,
               events: Sequence[str] = ("skb/kfree_skb",)) -> str:  # fmt: skip
        """Return the lines that the kernel's function tracer wrote while ``run()`` ran; on "vm" and "host".

        Args:
            run: called without arguments; what it does in this lab is traced, and whatever else that kernel does.
            functions: the kernel functions that are to tell when they are called; none for the events alone.
            events: tracepoints that are to speak as well, as "subsystem/name".

        Raises:
            UsageError: the lab is the simulator, or that kernel has no function or event of one of the names.
            BackendUnavailable: that kernel has no function tracer, or it may not be used.
        """
        return watching.ftrace(self.kernel_calls, run, functions, events)

    def cpu_time(self, sender: Node, packet, *, n: int = 40_000) -> CpuTime:
        """Send a UDP packet many times, and return whom the kernel charged for the time; on "vm" and "host".

        Args:
            sender: the node that sends, each packet by a system call of its own.
            packet: scapy or bytes, from IP on.
            n: how often. The books are kept in hundredths of a second: fewer than some thousand show nothing.

        Raises:
            UsageError: the lab is the simulator; or no such packet.
            KernelError: it cannot be sent.
        """
        return watching.cpu_time(self._own(sender), packet, n)

    def gateway(self, pod: Pod) -> str:
        """Return the host's address on a pod's pair."""
        if not isinstance(pod, Pod):
            raise UsageError(f"a pod is meant, such as what lab.pod('web') returned, not {pod!r}")
        return pod.pair.primary.info.addresses[0].partition("/")[0]

    def forget(self, node: Node) -> None:
        """Remove a node with everything in it.

        Raises:
            UsageError: it is the host or the outside, which every lab has, or it was deleted before.
        """
        if node in (self.host, self.outside):
            raise UsageError(f"every lab has {node.name!r}: close the lab instead, lab.close()")
        self.kernel_calls.netns_del(self._own(node).ns)
        node.deleted = True
        self.nodes = {name: n for name, n in self.nodes.items() if n is not node}

    def close(self) -> None:
        """Free everything; a second call does nothing, any other use afterwards is a `UsageError`."""
        self.closed = True
        self._finalizer()

    def _check_name(self, name: str) -> None:
        self.kernel_calls  # noqa: B018 - a closed lab says so first
        device_name(name)
        if name in self.nodes:
            raise KernelError("EEXIST", f"there is a node {name!r} in this lab", "take another name, or make a new lab")

    def _kind(self, kind: str | type, what: str) -> str:
        """Return what rtnetlink calls a kind of device; a learner's driver is taken in under the name of its class."""
        if kind in KINDS:
            return kind
        if not isinstance(kind, type):
            raise UsageError(f"{what} is {' or '.join(map(repr, KINDS))}, or a subclass of nk.NetDevice, not {kind!r}")
        if not hasattr(self.kernel_calls, "driver_add"):
            raise UsageError("a driver of your own runs in the simulator only: nk.Lab('sim')")
        return self.kernel_calls.driver_add(kind)

    def _own(self, node: Node) -> Node:
        """Return ``node``; `UsageError` unless it is a node of this lab."""
        if not isinstance(node, Node):
            raise UsageError(f"a node is meant, such as lab.host or what lab.node('x') returned, not {node!r}")
        if node.lab is not self:
            raise UsageError(f"{node.name!r} is a node of another lab")
        return node

    def _link(self, kind: str, name: str, here: Node, there: Node, attrs: Mapping, peer: Mapping,
              info: Mapping | None = None) -> Pair:  # fmt: skip
        calls = self.kernel_calls
        ifindex = calls.link_add(
            here.ns, kind, name, peer_ns=there.ns, peer=peer or None, attrs=attrs or None, info=info or None
        )
        far = next(link.ifindex for link in calls.links(there.ns) if link.name == peer["name"])
        return Pair(self.device(here, ifindex), self.device(there, far))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return f"<lab on {self.backend}, closed>"
        nodes = "".join(f"\n  {node!r}" for node in self.nodes.values())
        differs = f", which {words}" if (words := note(self.kernel)) else ""
        return f"<lab on {self.backend} (Linux {self.kernel}{differs}){nodes}>"
