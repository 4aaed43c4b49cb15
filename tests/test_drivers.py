"""Learners' drivers: from a loopback to a veth in a dozen lines, and what goes wrong on the way."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.sim.netdevice import NetDevice as SimDevice
from netkit_edu.uapi import NETDEV_TX_BUSY
from tests.sim.topologies import at_rest


class Wire(nk.NetDevice):
    """A veth in three lines."""

    def ndo_start_xmit(self, skb):
        skb.dev = self.peer
        self.netif_rx(skb)
        return nk.NETDEV_TX_OK


class Counting(nk.NetDevice):
    """A veth that counts and does by hand what `netif_rx` would."""

    def ndo_init(self):
        self.seen = 0

    def ndo_start_xmit(self, skb):
        self.seen += 1
        length = len(skb)
        skb.dev = self.peer
        if self.netif_rx(skb):
            self.dev_core_stats_tx_dropped_inc(skb)
            return 1
        self.dev_sw_netstats_tx_add(skb, length)
        self.peer.dev_sw_netstats_rx_add(skb, length)
        return nk.NETDEV_TX_OK


@pytest.fixture
def lab():
    with nk.Lab("sim") as lab:
        yield lab


def driven(lab, driver):
    pod = lab.pod("toy", device=driver)
    pod.listen(udp=7)
    return pod


def to(pod):
    return nk.IP(dst=pod.ip) / nk.UDP(dport=7) / b"hi"


def fault(lab, driver) -> str:
    """Send through a driver that does something wrong; return what is said, with the machine at rest."""
    pod = driven(lab, driver)
    with pytest.raises(nk.DriverFault) as wrong:
        lab.host.send(to(pod))
    assert at_rest(lab.kernel_calls)
    return str(wrong.value)


def test_a_driver_of_three_lines_joins_two_namespaces(lab):
    pod = driven(lab, Wire)
    journey = lab.host.send(to(pod))
    assert journey.fate.delivered and journey.fate.node == "toy"
    assert [h.function for h in journey.hops if h.kind is nk.HopKind.DRIVER] == ["Wire.ndo_start_xmit"]
    assert pod.device.kind == "Wire" and pod.ping(lab.outside).fate.delivered


def test_its_path_is_that_of_veth(lab):
    toy, veth = driven(lab, Wire), lab.pod("web", device="veth")
    veth.listen(udp=7)
    for pod in (toy, veth):
        lab.host.send(to(pod))
    one, two = (lab.host.send(to(pod)) for pod in (toy, veth))
    left, right = ([h.function for h in j.hops if h.kind is not nk.HopKind.DRIVER] for j in (one, two))
    extra = {"__dev_forward_skb", "__dev_forward_skb2"}
    assert left == [f for f in right if f not in extra]


def test_a_driver_counts_what_it_wants_counted(lab):
    pod = driven(lab, Counting)
    lab.host.send(to(pod))
    assert pod.pair.primary.stats.tx_packets == pod.device.stats.rx_packets == 1
    assert pod.device.stats.rx_bytes == 44
    quiet = lab.pod("quiet", device=Wire)
    lab.host.send(to(quiet))
    assert quiet.device.stats == (0, 0, 0, 0, 0, 0)


def test_a_full_backlog_is_told_to_the_driver():
    with nk.Lab("sim", backlog=0) as lab:
        pod = driven(lab, Counting)
        summary = lab.host.send(to(pod), repeat=3)
        assert summary.fates == {"delivered": 1, "dropped": 2}
        assert pod.pair.primary.stats.tx_dropped == 2


def test_a_loopback_gives_everything_back(lab):
    class Loop(nk.NetDevice):
        def ndo_start_xmit(self, skb):
            self.netif_rx(skb)
            return nk.NETDEV_TX_OK

    journey = lab.host.send(to(driven(lab, Loop)))
    assert not journey.fate.delivered and journey.fate.node == "host"


def test_a_driver_may_drop_and_say_why(lab):
    class Hole(nk.NetDevice):
        def ndo_start_xmit(self, skb):
            self.dev_core_stats_tx_dropped_inc(skb)
            self.kfree_skb(skb, "into the hole")
            return 1

    pod = driven(lab, Hole)
    journey = lab.host.send(to(pod), recverr=True)
    assert (journey.fate.reason, journey.sender_error) == ("into the hole", "ENOBUFS")
    assert pod.pair.primary.stats.tx_dropped == 1


def test_a_function_of_ones_own_gives_its_name_to_the_hop(lab):
    def my_xmit(self, skb):
        self.consume_skb(skb)
        return nk.NETDEV_TX_OK

    class Table(nk.NetDevice):
        ndo_start_xmit = my_xmit

    journey = lab.host.send(to(driven(lab, Table)))
    assert "my_xmit" in [h.function for h in journey.hops] and journey.fate.kind == "transmitted"


def test_a_pair_of_ones_own_can_be_made_anywhere_and_is_deleted_whole(lab):
    pair = lab.pair("toy0", kind=Wire, peer_in=lab.node("x"), attrs={"mtu": 1400})
    assert (pair.primary.mtu, pair.primary.info.peer, pair.primary.carrier) == (1400, pair.peer.ifindex, False)
    pair.primary.up(), pair.peer.up()
    assert pair.primary.carrier
    pair.peer.delete()
    assert "toy0" not in [d.name for d in lab.host.links]


def test_the_class_may_be_written_again(lab):
    def make(code):
        class Mine(nk.NetDevice):
            def ndo_start_xmit(self, skb):
                self.kfree_skb(skb, code)
                return nk.NETDEV_TX_OK

        return Mine

    for name, code in (("one", "first"), ("two", "second")):
        pod = lab.pod(name, device=make(code))
        assert lab.host.send(to(pod)).fate.reason == code
    assert lab.host.send(nk.IP(dst=lab.nodes["one"].ip) / nk.UDP(dport=7)).fate.reason == "first"


# mistakes -------------------------------------------------------------------------------------------------------------


def driver(body):
    return type("Mine", (nk.NetDevice,), {"ndo_start_xmit": body})


def drop_and_return(value):
    def ndo_start_xmit(self, skb):
        self.kfree_skb(skb)
        return value

    return driver(ndo_start_xmit)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "returned None: say return NETDEV_TX_OK"),
        ("ok", "returned 'ok'"),
        (True, "returned True"),
        (99, "returned 99"),
        (NETDEV_TX_BUSY, "no queue that could try again"),
    ],
)
def test_a_wrong_answer_is_told(lab, value, said):
    assert said in fault(lab, drop_and_return(value))


def test_an_exception_is_told_with_its_line(lab):
    def ndo_start_xmit(self, skb):
        return skb.nonsense

    said = fault(lab, driver(ndo_start_xmit))
    assert "raised AttributeError" in said and "return skb.nonsense" in said


def test_a_packet_left_lying_is_told(lab):
    assert "left its packet lying" in fault(lab, driver(lambda self, skb: 0))


def test_a_packet_handed_on_twice_is_told(lab):
    def ndo_start_xmit(self, skb):
        skb.dev = self.peer
        self.netif_rx(skb)
        self.kfree_skb(skb)
        return 0

    assert "twice" in fault(lab, driver(ndo_start_xmit))


@pytest.mark.parametrize("dev", [None, "eth0"])
def test_a_packet_for_no_device_is_told(lab, dev):
    def ndo_start_xmit(self, skb):
        skb.dev = dev
        self.netif_rx(skb)
        return 0

    assert "the receiving device" in fault(lab, driver(ndo_start_xmit))


def test_what_is_no_packet_is_told(lab):
    assert "a packet is meant" in fault(lab, driver(lambda self, skb: self.netif_rx(bytes(60))))


def test_a_driver_that_sends_through_itself_meets_the_recursion_limit(lab):
    def ndo_start_xmit(self, skb):
        self.dev_queue_xmit(skb)
        return 0

    journey = lab.host.send(to(driven(lab, driver(ndo_start_xmit))))
    assert journey.fate.reason == "recursion limit reached"
    assert at_rest(lab.kernel_calls)


def test_a_driver_that_multiplies_packets_without_end_is_stopped(lab):
    class Echo(nk.NetDevice):
        def ndo_start_xmit(self, skb):
            for copy in (skb.clone(), skb):
                copy.dev = self.peer
                self.netif_rx(copy)
            return 0

    pod = driven(lab, Echo)
    lab.kernel_calls.sysctl(pod.ns, "net.ipv4.ip_forward", 1)
    lab.host.route("10.99.0.0/16", via=pod.ip)
    with pytest.raises(nk.DriverFault, match="again and again"):  # each forwards what the other sends, 64 times over
        lab.outside.send(nk.IP(dst="10.99.0.1") / nk.UDP(dport=7))
    assert at_rest(lab.kernel_calls)


def test_after_a_fault_the_lab_goes_on(lab):
    fault(lab, driver(lambda self, skb: None))
    assert lab.host.ping(lab.outside).fate.delivered
    assert lab.pod("fine", device=Wire).ping(lab.outside).fate.delivered


@pytest.mark.parametrize("what", [object, SimDevice, int, "vethh", 7, nk.NetDevice])
def test_what_is_no_driver_is_refused_before_anything_is_made(lab, what):
    with pytest.raises(nk.UsageError):
        lab.pod("toy", device=what)
    assert "toy" not in lab.nodes and lab.pod("toy").ip == "10.0.1.2"


def test_a_driver_cannot_take_a_kernels_drivers_name(lab):
    with pytest.raises(nk.UsageError, match="already"):
        lab.pod("toy", device=type("veth", (Wire,), {}))


# a table of functions -------------------------------------------------------------------------------------------------


def wire_xmit(skb, dev):
    skb.dev = dev.peer
    dev.netif_rx(skb)
    return nk.NETDEV_TX_OK


def test_a_table_of_functions_is_a_driver_too(lab):
    opened = []

    def wire_open(dev):
        opened.append(dev.name)
        nk.NetDevice.ndo_open(dev)

    class Filled(nk.NetDevice):
        net_device_ops = nk.net_device_ops(ndo_start_xmit=wire_xmit, ndo_open=wire_open)

    journey = lab.host.send(to(driven(lab, Filled)))
    assert journey.fate.delivered and opened == ["toy", "eth0"]
    assert [h.function for h in journey.hops if h.kind is nk.HopKind.DRIVER] == ["wire_xmit"]
    assert repr(Filled.net_device_ops) == ".ndo_start_xmit = wire_xmit,\n.ndo_open = wire_open,"


def test_a_subclass_goes_on_from_its_parents_table(lab):
    class Filled(nk.NetDevice):
        net_device_ops = nk.net_device_ops(ndo_start_xmit=wire_xmit)

    class Counted(Filled):
        def ndo_start_xmit(self, skb):
            self.dev_sw_netstats_tx_add(skb, len(skb))
            return super().ndo_start_xmit(skb)

    pod = driven(lab, Counted)
    assert lab.host.send(to(pod)).fate.delivered and pod.pair.stats.tx_packets == 1


def test_a_table_holds_what_a_driver_has_and_nothing_else():
    for entries in ({"ndo_start": wire_xmit}, {"ndo_start_xmit": 7}):
        with pytest.raises(nk.UsageError):
            nk.net_device_ops(**entries)
    for space in (
        {"net_device_ops": {"ndo_start_xmit": wire_xmit}},
        {"net_device_ops": nk.net_device_ops(ndo_start_xmit=wire_xmit), "ndo_start_xmit": wire_xmit},
    ):
        with pytest.raises(nk.UsageError):
            type("Filled", (nk.NetDevice,), space)


def test_a_table_without_ndo_start_xmit_is_no_driver(lab):
    class Filled(nk.NetDevice):
        net_device_ops = nk.net_device_ops(ndo_open=nk.NetDevice.ndo_open)

    with pytest.raises(nk.UsageError, match="no ndo_start_xmit"):
        lab.pod("toy", device=Filled)


# scrubbing and the Ethernet header by hand ----------------------------------------------------------------------------


def test_what_netif_rx_does_may_be_done_by_hand_and_is_then_vethes_order(lab):
    class ByHand(nk.NetDevice):
        def ndo_start_xmit(self, skb):
            self.skb_scrub_packet(skb, self.peer.net is not self.net)
            skb.protocol = self.eth_type_trans(skb, self.peer)
            self.netif_rx(skb)
            return nk.NETDEV_TX_OK

    toy, veth = driven(lab, ByHand), lab.pod("web", device="veth")
    veth.listen(udp=7)
    for pod in (toy, veth):
        lab.host.send(to(pod))
    one, two = (lab.host.send(to(pod), mark=7) for pod in (toy, veth))
    left, right = (
        [(h.function, h.node == "host") for h in j.hops if h.kind is not nk.HopKind.DRIVER] for j in (one, two)
    )
    assert left == [hop for hop in right if not hop[0].startswith("__dev_forward_skb")]
    frame = nk.Ether(src=toy.pair.mac, dst="02:00:00:00:00:99") / to(toy)
    assert lab.host.send(frame, dev=toy.pair.primary).fate.reason == "OTHERHOST"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda dev, skb: dev.eth_type_trans(skb, None), "which device receives"),
        (lambda dev, skb: dev.eth_type_trans(skb.pull(len(skb)) and skb, dev.peer), "0 bytes are left"),
        (lambda dev, skb: dev.skb_scrub_packet(None, True), "a packet is meant"),
    ],
)
def test_what_they_cannot_be_asked_is_said(lab, call, words):
    class Wrong(nk.NetDevice):
        def ndo_start_xmit(self, skb):
            call(self, skb)
            self.kfree_skb(skb)
            return nk.NETDEV_TX_OK

    assert words in fault(lab, Wrong)
