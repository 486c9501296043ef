"""Every reason of a drop, provoked once by real packets, in both families where it is in both.

        internet ── internet gateway ── near 10.0.0.0/24: client, rogue (its check is off), next (on)
                          │             far  10.0.1.0/24: server, which a network ACL stands before
                          └── NAT ───── nat  10.0.2.0/24: NAT gateway; its own table leads back to it for a part
        VPC without internet gateway: hidden

A new reason needs a row here: a provocation in `ROWS`, the file of the test that provokes it in `ELSEWHERE`,
or a word in `OUT_OF_REACH` why no packet can.
"""

import ipaddress
import json
import subprocess
from pathlib import Path

import pytest

from support import frames
from support.bpf import drops, reasons
from support.lab import ANYWHERE, Lab
from support.network import Network, allow, deny
from support.outside import Internet
from support.rules import everything
from support.until import until

BOTH = ("v4", "v6")
# Places that only routes know; of the IPv6 ones none is in the pool (RFC 9637).
INTERNET = {"v4": "203.0.113.1", "v6": "3fff:a::1"}
BLACKHOLE = {"v4": "192.0.2.1", "v6": "3fff:b::1"}
BEHIND_NEXT = {"v4": "198.51.100.1", "v6": "3fff:c::1"}
BY_NAT = "203.0.114.1"
NAT_BACK = "203.0.114.200"
NOBODY = "02:00:00:00:00:99"


class Member:
    """An instance and what is needed to write frames as it would."""

    def __init__(self, place, subnet, group, **options):
        self.instance = place.lab.instance(place.subnets[subnet], group, Ipv6AddressCount=1,
                                           **options)
        self.eni = self.instance.eni
        shown = self.instance.interface()
        self.mac = shown["MacAddress"]
        self.router = place.router_mac(self.instance, subnet)
        self.ip = {"v4": self.instance.ip, "v6": shown["Ipv6Addresses"][0]["Ipv6Address"]}

    def send(self, payload, *, to=None, source_mac=None, kind=None):
        """Sends an IP packet, or another payload of a kind, to the router unless told otherwise."""
        kind = kind or (frames.IPV6 if payload[0] >> 4 == 6 else frames.IPV4)
        frame = frames.ethernet(to or self.router, source_mac or self.mac, kind, payload)
        self.instance.agent.send_frame(device="eth0", frame=frame)

    def datagram(self, target, family, *, to=None, source=None, source_mac=None, **options):
        source = source or self.ip[family]
        self.send(frames.udp(source, target, **options), to=to, source_mac=source_mac)


class Place:
    """The drawing. Everything in it goes with the laboratory."""

    def __init__(self, daemon):
        self.daemon, self.lab, self.internet = daemon, Lab(daemon), Internet()
        lab, self.network = self.lab, Network(self.lab)
        self.ec2, network = lab.ec2, self.network
        self.vpc = lab.vpc()
        self.subnets, self.blocks = {}, {}
        block = self._ipv6(self.vpc)
        for name, number in (("near", 0), ("far", 1), ("nat", 2)):
            self._subnet(name, self.vpc, f"10.0.{number}.0/24", block[number])
        self.open = lab.group(self.vpc, "open", [everything(ANYWHERE), everything("::/0")])
        self.closed = lab.group(self.vpc, "closed", egress=[])
        lab.revoke_egress(self.closed, everything("::/0"))
        gateway = lab.internet(self.vpc)
        self._routes(gateway)
        self.client, self.rogue, self.next, self.mute = (
            Member(self, "near", group) for group in (self.open, self.open, self.open, self.closed))
        self.server = Member(self, "far", self.open)
        self.ec2.modify_network_interface_attribute(NetworkInterfaceId=self.rogue.eni,
                                                    SourceDestCheck={"Value": False})
        for block, target in ((BEHIND_NEXT["v4"] + "/32", self.next.eni),
                              (BEHIND_NEXT["v6"] + "/128", self.next.eni)):
            network.route(self.table, block, target)
        acl = network.acl(self.vpc, deny(10, 17, 1111), deny(11, 17, 1111, block="::/0"),
                          deny(10, 17, 2222, out=True),
                          deny(11, 17, 2222, block="::/0", out=True),
                          allow(100), allow(101, block="::/0"), allow(100, out=True),
                          allow(101, block="::/0", out=True))
        network.use_acl(acl, self.subnets["far"])
        self.public = self._address(self.client)
        self.free = lab.address()["PublicIp"]
        hidden = lab.vpc("10.9.0.0/16")
        block = self._ipv6(hidden)
        self._subnet("hidden", hidden, "10.9.0.0/24", block[0])
        self.hidden = Member(self, "hidden", lab.default_group(hidden))

    def close(self):
        self.internet.close()
        self.network.close()
        self.lab.close()

    def router_mac(self, instance, subnet):
        first = ipaddress.ip_network(self.blocks[subnet][0])[1]
        return instance.agent.ask_arp(device="eth0", target=str(first), sender=instance.ip)

    def from_outside(self, payload):
        """Sends an IP packet as the internet would."""
        shown = self._shown(self._far)
        frame = frames.ethernet(self._near_mac(), shown["address"],
                                frames.IPV6 if payload[0] >> 4 == 6 else frames.IPV4, payload)
        self.internet.agent.send_frame(device=self._far, frame=frame)

    def host_side(self, member):
        """The host's device of an instance's interface."""
        [name] = [name for name in self.daemon.devices() if name[3:] == member.eni[4:16]]
        return name

    @property
    def _far(self):
        [name] = [name for name in self.daemon.gateway() if name.startswith("enid")]
        return name

    def _near_mac(self):
        [near] = [name for name in self.daemon.gateway() if name != self._far]
        return self._shown(near)["address"]

    @staticmethod
    def _shown(device):
        shown = subprocess.run(["ip", "-j", "link", "show", device], capture_output=True,
                               text=True, check=True)
        return json.loads(shown.stdout)[0]

    def _ipv6(self, vpc):
        self.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
        [described] = self.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
        block = described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
        parts = ipaddress.ip_network(block).subnets(new_prefix=64)
        return [str(part) for _, part in zip(range(3), parts)]

    def _subnet(self, name, vpc, ipv4, ipv6):
        self.subnets[name] = self.lab.subnet(vpc, ipv4)
        self.ec2.associate_subnet_cidr_block(SubnetId=self.subnets[name], Ipv6CidrBlock=ipv6)
        self.blocks[name] = ipv4, ipv6

    def _routes(self, gateway):
        network = self.network
        nat = network.nat_gateway(self.subnets["nat"], AllocationId=self.lab.address()["AllocationId"])
        [described] = self.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
        self.nat_ip = described["NatGatewayAddresses"][0]["PrivateIp"]
        self.nat_public = described["NatGatewayAddresses"][0]["PublicIp"]
        gone = self.lab.interface(self.subnets["near"])["NetworkInterfaceId"]
        self.table = network.table(self.vpc, self.subnets["near"])
        for block, target in (("0.0.0.0/0", gateway), ("::/0", gateway),
                              (BLACKHOLE["v4"] + "/32", gone), (BLACKHOLE["v6"] + "/128", gone),
                              ("203.0.114.0/24", nat)):
            network.route(self.table, block, target)
        of_nat = network.table(self.vpc, self.subnets["nat"])
        network.route(of_nat, "0.0.0.0/0", gateway)
        network.route(of_nat, NAT_BACK + "/32", nat)

    def _address(self, member):
        address = self.lab.address()
        self.ec2.associate_address(AllocationId=address["AllocationId"],
                                   NetworkInterfaceId=member.eni)
        return address["PublicIp"]

    def nobody_in(self, subnet, family):
        """An address of a subnet that nobody has."""
        return str(ipaddress.ip_network(self.blocks[subnet][family == "v6"])[200])


ROWS = {}


def provokes(label, *families):
    """The function below provokes a reason, in these families."""
    def note(function):
        ROWS[label] = families, function
        return function
    return note


@provokes("ether-type", "v4")
def _(place, family):
    place.client.send(bytes(46), kind=0x88CC)


@provokes("malformed", *BOTH)
def _(place, family):
    ends = place.client.ip[family], place.server.ip[family]
    place.client.send(frames.packet(*ends, frames.UDP, bytes(8), length=2000))


@provokes("multicast", *BOTH)
def _(place, family):
    groups = {"v4": ("224.0.0.9", "01:00:5e:00:00:09"), "v6": ("ff02::9", "33:33:00:00:00:09")}
    address, mac = groups[family]
    place.client.datagram(address, family, to=mac)


@provokes("source-mac", *BOTH)
def _(place, family):
    place.client.datagram(place.server.ip[family], family, source_mac=NOBODY)


@provokes("source-address", *BOTH)
def _(place, family):
    place.client.datagram(place.server.ip[family], family, source=INTERNET[family])


@provokes("arp-unanswered", "v4")
def _(place, family):
    place.client.instance.agent.ask_arp(device="eth0", target=place.nobody_in("near", "v4"),
                                        sender=place.client.ip["v4"])


@provokes("arp-sender", "v4")
def _(place, family):
    asked = frames.arp(place.client.mac, place.next.ip["v4"], place.rogue.ip["v4"])
    place.client.send(asked, to=frames.EVERYBODY, kind=frames.ARP)


@provokes("arp-not-request", "v4")
def _(place, family):
    client = place.client
    told = frames.arp(client.mac, client.ip["v4"], client.ip["v4"], operation=2)
    client.send(told, to=frames.EVERYBODY, kind=frames.ARP)


@provokes("nd-unanswered", "v6")
def _(place, family):
    client, wanted = place.client, place.nobody_in("near", "v6")
    client.send(frames.solicitation(client.ip["v6"], wanted, client.mac), to="33:33:ff:00:00:c8")


@provokes("nd-sender", "v6")
def _(place, family):
    asked = frames.solicitation(place.next.ip["v6"], place.rogue.ip["v6"], place.client.mac)
    place.client.send(asked, to="33:33:ff:00:00:01")


@provokes("nd-other", "v6")
def _(place, family):
    client = place.client
    told = frames.icmp6(client.ip["v6"], "ff02::1", 136, bytes(4) + bytes(16))
    client.send(told, to="33:33:00:00:00:01")


@provokes("duplicate-address-detection", "v6")
def _(place, family):
    asked = frames.solicitation("::", place.client.ip["v6"])
    place.client.send(asked, to="33:33:ff:00:00:01")


@provokes("fragment-unknown", *BOTH)
def _(place, family):
    ends = place.client.ip[family], place.server.ip[family]
    later = {"v4": 100, "v6": 100 << 3}[family]
    place.client.send(frames.packet(*ends, frames.UDP, bytes(32), fragment=later))


@provokes("egress-rule", *BOTH)
def _(place, family):
    place.mute.datagram(place.client.ip[family], family, to=place.client.mac)


@provokes("ingress-rule", *BOTH)
def _(place, family):
    place.client.datagram(place.mute.ip[family], family, to=place.mute.mac)


@provokes("destination-mac", *BOTH)
def _(place, family):
    place.client.datagram(place.server.ip[family], family, to=NOBODY)


@provokes("no-route", *BOTH)
def _(place, family):
    place.server.datagram(INTERNET[family], family)


@provokes("no-endpoint", *BOTH)
def _(place, family):
    place.client.datagram(place.nobody_in("far", family), family)


@provokes("own-address", *BOTH)
def _(place, family):
    place.client.datagram(place.client.ip[family], family)


@provokes("router-address", *BOTH)
def _(place, family):
    router = {"v4": "10.0.0.1", "v6": "fe80:ec2::1"}[family]
    place.client.datagram(router, family)


@provokes("link-local", *BOTH)
def _(place, family):
    place.client.datagram({"v4": "169.254.1.1", "v6": "fe80::1:2:3:4"}[family], family)


@provokes("host-traffic", *BOTH)
def _(place, family):
    target = place.client
    kind = {"v4": frames.IPV4, "v6": frames.IPV6}[family]
    payload = frames.udp(place.next.ip[family], target.ip[family])
    frame = frames.ethernet(target.mac, place.next.mac, kind, payload)
    # The host's stack is told at once that nothing was sent.
    device = place.host_side(target)
    sent = place.internet.agent.start("send_frame", device=device, frame=frame)
    assert "No buffer space" in str(sent.exception(5))


@provokes("acl-egress", *BOTH)
def _(place, family):
    place.server.datagram(place.client.ip[family], family, port=2222)


@provokes("acl-ingress", *BOTH)
def _(place, family):
    place.client.datagram(place.server.ip[family], family, port=1111)


@provokes("blackhole", *BOTH)
def _(place, family):
    place.client.datagram(BLACKHOLE[family], family)


@provokes("destination-check", *BOTH)
def _(place, family):
    place.client.datagram(BEHIND_NEXT[family], family)


@provokes("no-public-address", *BOTH)
def _(place, family):
    # Of IPv6 addresses all are public but those that are no VPC's.
    source = {"v4": place.rogue.ip["v4"], "v6": "3fff:9::1"}[family]
    place.rogue.datagram(INTERNET[family], family, source=source)


@provokes("no-internet-gateway", "v6")
def _(place, family):
    place.from_outside(frames.udp(INTERNET["v6"], place.hidden.ip["v6"]))


@provokes("unassigned-address", *BOTH)
def _(place, family):
    nobody = {"v4": place.free, "v6": place.nobody_in("near", "v6")}[family]
    place.from_outside(frames.udp(INTERNET[family], nobody))


@provokes("outside-source", *BOTH)
def _(place, family):
    source = {"v4": "10.0.1.10", "v6": "fd00::1"}[family]
    target = {"v4": place.public, "v6": place.client.ip["v6"]}[family]
    place.from_outside(frames.udp(source, target))


@provokes("private-address", *BOTH)
def _(place, family):
    place.client.datagram({"v4": "192.168.7.7", "v6": "fd00::7"}[family], family)


@provokes("nat-unsolicited", "v4")
def _(place, family):
    place.from_outside(frames.udp(INTERNET["v4"], place.nat_public))


@provokes("nat-protocol", "v4")
def _(place, family):
    place.client.send(frames.packet(place.client.ip["v4"], BY_NAT, frames.GRE, bytes(16)))


@provokes("nat-fragment", "v4")
def _(place, family):
    head = bytes.fromhex("0fa00050") + bytes(8) + bytes.fromhex("5002ffff00000000")
    first = frames.packet(place.client.ip["v4"], BY_NAT, frames.TCP, head + bytes(16),
                          fragment=0x2000)
    place.client.send(first)


@provokes("nat-route", "v4")
def _(place, family):
    place.client.datagram(NAT_BACK, family)


@provokes("too-big", *BOTH)
def _(place, family):
    place.client.datagram(INTERNET[family], family, data=bytes(1500))


@provokes("link-local-allowance", "v4")
def _(place, family):
    payload = frames.udp(place.client.ip["v4"], "169.254.169.123", port=123)
    frame = frames.ethernet(place.client.router, place.client.mac, frames.IPV4, payload)
    place.client.instance.agent.flood(device="eth0", frame=frame, count=6000)


# Reasons that a test of its own provokes, because the place would have to be another one.
ELSEWHERE = {
    "balancer-egress-rule": "test_load_balancers.py",
    "balancer-hairpin": "test_load_balancers.py",
    "balancer-ingress-rule": "test_load_balancers.py",
    "balancer-protocol": "test_load_balancers.py",
    "balancer-reset": "test_load_balancers.py",
    "balancer-target": "test_load_balancers.py",
    "bandwidth-in-allowance": "test_allowances.py",
    "bandwidth-out-allowance": "test_allowances.py",
    "checksum-place": "test_tap.py",
    "conntrack-allowance": "test_allowances.py",
    "fault": "test_faults.py",
    "flow-allowance": "test_allowances.py",
    "flow-share": "test_flow_table.py",
    "flow-table-full": "test_flow_table.py",
    "middlebox-address": "test_ingress_routing.py",
    "nat-port-allocation": "test_faults.py",
    "nat-reset": "test_nat_gateways.py",
    "no-listener": "test_load_balancers.py",
    "packet-allowance": "test_allowances.py",
}

# Reasons that no packet of a test can provoke.
OUT_OF_REACH = {
    "unknown-device": "for the moment between the end of a device's record and that of the device",
    "target-down": "for the moment between the record of an interface and its device",
    "incomplete": "the tables would have to contradict themselves; the unit tests make them",
    "rewrite": "the kernel would have to refuse a write that it has promised",
    "no-outside": "a daemon makes its way to the outside before it carries anything",
    "scratch": "the kernel would have to lack a map that the programs were loaded with",
    "balancer-route": "a target in a peered VPC that no route leads to; the pipeline's unit tests make one",
    "service-down": "for the moment between an interface's record and the place for the services",
    "service-source": "nothing but the daemon's own services sends there",
}


@pytest.fixture(scope="module")
def place(wired):
    place = Place(wired)
    yield place
    place.close()


@pytest.mark.parametrize("label, family", [(label, family) for label, (families, _) in ROWS.items()
                                           for family in families])
def test_the_reason_is_provoked(place, label, family):
    before = drops(place.daemon)[label]
    ROWS[label][1](place, family)
    until(lambda: drops(place.daemon)[label] > before, f"{label} in {family}", within=2)


@pytest.mark.parametrize("family", BOTH)
def test_the_place_carries_what_nothing_forbids(place, family):
    # Otherwise everything might be dropped for something else.
    port, address = {"v4": (7, "0.0.0.0"), "v6": (8, "::")}[family]
    place.server.instance.agent.serve_udp(port=port, address=address)
    answer = place.client.instance.agent.datagram(address=place.server.ip[family], port=port)
    assert answer == f"5 {place.client.ip[family]}"


def test_every_reason_has_a_row():
    documented = set(reasons().values())
    assert documented == ROWS.keys() | ELSEWHERE.keys() | OUT_OF_REACH.keys()
    for label, file in ELSEWHERE.items():
        assert label in Path(__file__).with_name(file).read_text(), (label, file)
