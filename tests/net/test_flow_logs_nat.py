"""Flow logs of a NAT gateway: its interface tells what comes to it and what leaves it.

        internet ---- internet gateway ---- 10.0.1.0/24: NAT gateway
                                                 |
                                            10.0.0.0/24: client (no public address)
"""

import pytest

from support import flow_logs
from support.flow_logs import records, total
from support.lab import ANYWHERE, Lab
from support.network import Network, allow, deny
from support.rules import everything
from support.until import until

PATIENCE = 15


@pytest.fixture
def daemon(start_daemon):
    return start_daemon("ebpf", config=flow_logs.CONFIG)


@pytest.fixture
def lab(daemon):
    lab = Lab(daemon)
    yield lab
    lab.close()


@pytest.fixture
def network(lab):
    network = Network(lab)
    yield network
    network.close()


class Ends:
    """A client behind a gateway."""

    def __init__(self, lab, network):
        self.vpc, hidden = lab.network()
        self.public_subnet = lab.subnet(self.vpc, "10.0.1.0/24")
        out = network.table(self.vpc, self.public_subnet)
        network.route(out, "0.0.0.0/0", lab.internet(self.vpc))
        address = lab.address()
        self.public = address["PublicIp"]
        self.nat = network.nat_gateway(self.public_subnet, AllocationId=address["AllocationId"])
        through = network.table(self.vpc, hidden)
        network.route(through, "0.0.0.0/0", self.nat)
        group = lab.group(self.vpc, "open", [everything(ANYWHERE)])
        self.client = lab.instance(hidden, group)
        [gateway] = lab.ec2.describe_nat_gateways(NatGatewayIds=[self.nat])["NatGateways"]
        [own] = gateway["NatGatewayAddresses"]
        self.eni, self.private = own["NetworkInterfaceId"], own["PrivateIp"]


@pytest.fixture
def ends(lab, network):
    return Ends(lab, network)


def at(daemon, eni, direction, **wanted):
    wanted = {name.replace("_", "-"): value for name, value in wanted.items()} | {
        "interface-id": eni, "flow-direction": direction}
    return [record for record in records(daemon)
            if all(record[name] == value for name, value in wanted.items())]


def addresses(record):
    return tuple(record[name] for name in ("srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr"))


def metrics(daemon, nat):
    [gateway] = [gateway for gateway in daemon.json("nat") if gateway["nat_gateway"] == nat]
    return gateway["metrics"]


def test_addresses_are_those_of_the_guide_and_sums_those_of_the_gateway(daemon, lab, ends, internet):
    # The table of the VPC User Guide, "Traffic through a NAT gateway". Fails if a side of the gateway is not
    # told, told with the other side's addresses or ports, or told twice.
    flow_logs.create(lab.ec2, ends.vpc)
    me = internet.address(ends.public)
    internet.agent.serve_tcp(port=8080, address=me)
    internet.agent.serve_udp(port=5353, address=me)
    client = ends.client
    assert client.agent.connect(address=me, port=8080, source_port=50_001, name="kept") == "open"
    assert client.agent.exchange(name="kept", length=100_000) == "open"
    assert client.agent.datagram(address=me, port=5353, source_port=4_000) == f"5 {ends.public}"
    assert client.agent.ping(address=me) == "open"

    ways = {"PacketsInFromSource": ("ingress", "dstport", "pkt-srcaddr", client.ip),
            "PacketsOutToDestination": ("egress", "dstport", "dstaddr", me),
            "PacketsInFromDestination": ("ingress", "srcport", "srcaddr", me),
            "PacketsOutToSource": ("egress", "srcport", "dstaddr", client.ip)}

    def told():
        found = records(daemon)
        return {name: total(found, interface_id=ends.eni, flow_direction=direction,
                            **{field: address})
                for name, (direction, _, field, address) in ways.items()}

    def counted():
        found = metrics(daemon, ends.nat)
        return {name: found[name] for name in ways}

    try:
        until(lambda: told() == counted(), "sums and counters agree", within=2 * PATIENCE)
    except AssertionError:
        assert told() == counted()
    assert all(count >= 5 for count in told().values())
    [came, *_] = at(daemon, ends.eni, "ingress", protocol=6, dstport=8080)
    assert addresses(came) == (client.ip, ends.private, client.ip, me)
    assert (came["srcport"], came["action"], came["instance-id"]) == (50_001, "ACCEPT", "-")
    [left, *_] = at(daemon, ends.eni, "egress", protocol=6, dstport=8080)
    assert addresses(left) == (ends.private, me, ends.private, me)
    assert left["srcport"] >= 1024 and left["traffic-path"] == "8"
    [back, *_] = at(daemon, ends.eni, "ingress", protocol=6, srcport=8080)
    assert addresses(back) == (me, ends.private, me, ends.private)
    assert back["dstport"] == left["srcport"]
    [went, *_] = at(daemon, ends.eni, "egress", protocol=6, srcport=8080)
    assert addresses(went) == (ends.private, client.ip, me, client.ip)
    assert (went["dstport"], went["traffic-path"]) == (50_001, "1")
    # The client's own interface sees no difference.
    [own, *_] = at(daemon, client.eni, "egress", protocol=6)
    assert addresses(own) == (client.ip, me, client.ip, me) and own["rtt-us"] == left["rtt-us"]
    [echo, *_] = at(daemon, ends.eni, "egress", protocol=1, dstaddr=me)
    assert (echo["srcport"], echo["dstport"]) == (0, 0)


def test_what_the_gateway_and_its_subnet_refuse_is_told_at_its_interface(
        daemon, lab, network, ends, internet):
    # Fails if a packet from nowhere is not told, or a refusal of the gateway's subnet is the client's.
    acl = network.acl(ends.vpc, allow(100, 17, (0, 65_535)), allow(200, 17, (0, 65_535), out=True))
    network.use_acl(acl, ends.public_subnet)
    flow_logs.create(lab.ec2, ends.vpc)
    me = internet.address(ends.public)
    internet.agent.serve_udp(port=5353, address=me)
    assert internet.agent.datagram(address=ends.public, port=4_000) == "timeout"
    client = ends.client
    assert client.agent.datagram(address=me, port=5353, source_port=4_001) == f"5 {ends.public}"
    network.entry(acl, deny(50, 17, (5_354, 5_354), out=True))
    assert client.agent.datagram(address=me, port=5354, source_port=4_002) == "timeout"
    network.entry(acl, deny(60, 17, (5_355, 5_355)))
    assert client.agent.datagram(address=me, port=5355, source_port=4_003) == "timeout"

    def refused(port):
        return at(daemon, ends.eni, "ingress", action="REJECT", dstport=port)

    until(lambda: refused(5_355) and at(daemon, ends.eni, "egress", dstport=5_354)
          and at(daemon, ends.eni, "ingress", dstport=4_000), "all three", within=PATIENCE)
    [unsolicited, *_] = at(daemon, ends.eni, "ingress", dstport=4_000)
    assert (unsolicited["action"], unsolicited["drop-reason"]) == ("ACCEPT", "nat-unsolicited")
    assert addresses(unsolicited) == (me, ends.private, me, ends.private)
    # What the subnet refuses came out of the client, and to the gateway or not.
    [out] = at(daemon, ends.eni, "egress", dstport=5_354)
    assert (out["action"], out["nacl-entry"], out["srcaddr"]) == ("REJECT", "50", ends.private)
    [into] = at(daemon, ends.eni, "ingress", dstport=5_354)
    assert (into["action"], into["drop-reason"]) == ("ACCEPT", "acl-egress")
    [came] = refused(5_355)
    assert (came["nacl-entry"], came["pkt-dstaddr"]) == ("60", me)
    assert at(daemon, ends.eni, "egress", dstport=5_355) == []
    for port in (5_354, 5_355):
        [sent] = at(daemon, client.eni, "egress", dstport=port)
        assert sent["action"] == "ACCEPT"
    # The entries of both of the gateway's edges, and the client's own list, which lets everything pass.
    for direction, entry in (("ingress", "100"), ("egress", "200")):
        [passed] = at(daemon, ends.eni, direction, dstport=5_353)
        assert (passed["action"], passed["nacl-entry"]) == ("ACCEPT", entry)
    [answer] = at(daemon, ends.eni, "ingress", srcport=5_353)
    assert answer["nacl-entry"] == "100"
    # Refusals add up to the counters of the interface at which they were.
    [counted] = [one for one in daemon.json("counters")["interfaces"] if one["eni"] == ends.eni]
    assert (counted["drops"]["acl-egress"], counted["drops"]["acl-ingress"]) == (1, 1)
