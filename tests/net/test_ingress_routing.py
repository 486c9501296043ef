"""What comes in by an internet gateway is led by the gateway's own route table.

        internet ── internet gateway ── 10.0.0.0/24: middlebox ── 10.0.1.0/24: server
                      (edge table)            (forwards)            (answers by it)
"""

import ipaddress

import pytest

from support.lab import ANYWHERE
from support.rules import everything, icmp, tcp


def give_address(lab, instance):
    address = lab.address()
    lab.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance.id)
    return address["PublicIp"]


def forward(lab, instance):
    """Lets an instance forward what is for others."""
    instance.exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward;"
                              "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=instance.eni,
                                               SourceDestCheck={"Value": False})


class Guarded:
    """The place of the drawing. The middlebox has a public address, as AWS wants it."""

    def __init__(self, lab, network, internet):
        self.lab, self.network = lab, network
        self.vpc, self.outer = lab.network()
        self.inner = lab.subnet(self.vpc, "10.0.1.0/24")
        self.gateway = lab.internet(self.vpc)
        self.guards = lab.group(self.vpc, "guards", [everything(ANYWHERE)])
        self.servers = lab.group(self.vpc, "servers", [everything(ANYWHERE)])
        self.middlebox = lab.instance(self.outer, self.guards)
        self.server = lab.instance(self.inner, self.servers)
        self.out = network.table(self.vpc, self.outer)
        network.route(self.out, "0.0.0.0/0", self.gateway)
        self.back = network.table(self.vpc, self.inner)
        network.route(self.back, "0.0.0.0/0", self.middlebox.eni)
        self.edge = network.edge_table(self.vpc, self.gateway)
        network.route(self.edge, "10.0.1.0/24", self.middlebox.eni)
        self.public = give_address(lab, self.server)
        self.internet = internet.agent
        self.me = internet.address(self.public)

    def reasons(self):
        """Why packets of the internet were dropped on their way to one of the two."""
        ends = self.middlebox.eni, self.server.eni
        return {flow["reason"] for flow in self.lab.daemon.json("flows")
                if flow["verdict"] == "drop" and flow["source"] == self.me
                and flow["destination_eni"] in ends}


@pytest.fixture
def guarded(lab, network, internet):
    return Guarded(lab, network, internet)


def test_the_middlebox_stands_between_the_internet_and_the_server(lab, guarded):
    place = guarded
    place.server.agent.serve_tcp(port=80)
    connect = lambda **options: place.internet.connect(address=place.public, port=80, **options)
    # It has neither a public address nor does it take packets for others: AWS wants both.
    assert connect() == "timeout"
    assert place.reasons() == {"destination-check"}
    forward(lab, place.middlebox)
    assert connect() == "timeout"
    assert place.reasons() == {"destination-check", "middlebox-address"}
    give_address(lab, place.middlebox)
    assert connect(name="through") == "open"
    # Both ways by the middlebox: when it stops forwarding, nothing comes nor goes.
    seen = [flow for flow in lab.daemon.json("flows") if flow["verdict"] != "drop"
            and flow["source_eni"] == place.middlebox.eni]
    assert {flow["destination"] for flow in seen} >= {place.server.ip, place.me}
    place.middlebox.exec("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert place.internet.exchange(name="through") == "timeout"
    place.middlebox.exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    assert connect(name="again") == "open"
    # Without the edge's route the server is reached straight; its answers still leave by the middlebox,
    # which has never seen the questions.
    place.network.unroute(place.edge, "10.0.1.0/24")
    place.middlebox.agent.sniff(device="eth0")
    connect()
    assert place.middlebox.agent.sniffed(device="eth0") != []


def test_the_middleboxes_group_and_acl_are_asked(lab, network, guarded):
    place = guarded
    place.server.agent.serve_tcp(port=80)
    place.server.agent.serve_tcp(port=81)
    forward(lab, place.middlebox)
    give_address(lab, place.middlebox)
    lab.revoke(place.guards, everything(ANYWHERE))
    lab.authorize(place.guards, tcp(place.me + "/32", 80))
    connect = lambda port: place.internet.connect(address=place.public, port=port)
    assert connect(81) == "timeout"
    assert place.reasons() == {"ingress-rule"}
    assert connect(80) == "open"
    # What the server asks comes back by the middlebox's state: no rule of its group says so.
    lab.revoke(place.guards, tcp(place.me + "/32", 80))
    lab.authorize(place.guards, icmp("10.0.1.0/24"))
    assert place.server.agent.ping(address=place.me) == "open"
    assert place.internet.ping(address=place.public) == "timeout"
    lab.authorize(place.guards, everything(ANYWHERE))
    assert connect(80) == "open"
    # The edge into the middlebox's subnet is asked, and then the server's own.
    deny = {"RuleNumber": 90, "Protocol": "6", "RuleAction": "deny", "Egress": False,
            "CidrBlock": place.me + "/32", "PortRange": {"From": 80, "To": 80}}
    both = {"RuleNumber": 100, "Protocol": "-1", "RuleAction": "allow", "CidrBlock": ANYWHERE}
    for subnet in (place.outer, place.inner):
        acl = network.acl(place.vpc, deny, both | {"Egress": False}, both | {"Egress": True})
        network.use_acl(acl, subnet)
        assert connect(80) == "timeout"
        assert connect(81) == "open"
        lab.ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=90, Egress=False)
        assert connect(80) == "open"
    assert "acl-ingress" in place.reasons()


def test_a_middlebox_that_is_gone_is_a_blackhole(lab, guarded):
    place = guarded
    place.server.agent.serve_tcp(port=80)
    forward(lab, place.middlebox)
    give_address(lab, place.middlebox)
    assert place.internet.connect(address=place.public, port=80) == "open"
    lab.ec2.stop_instances(InstanceIds=[place.middlebox.id])
    assert place.network.route_state(place.edge, "10.0.1.0/24") == "blackhole"
    assert place.internet.connect(address=place.public, port=80) == "timeout"
    assert "blackhole" in place.reasons()


def test_a_replaced_local_route_leads_everything_but_its_own_to_the_middlebox(lab, guarded):
    place = guarded
    place.server.agent.serve_udp(port=7)
    forward(lab, place.middlebox)
    own = give_address(lab, place.middlebox)
    place.middlebox.agent.serve_udp(port=7)
    place.network.unroute(place.edge, "10.0.1.0/24")
    place.network.reroute(place.edge, "10.0.0.0/16", place.middlebox.eni)
    for public in (place.public, own):
        assert place.internet.datagram(address=public, port=7) == f"5 {place.me}"
    place.middlebox.exec("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert place.internet.datagram(address=place.public, port=7) == "timeout"
    assert place.internet.datagram(address=own, port=7) == f"5 {place.me}"
    lab.ec2.replace_route(RouteTableId=place.edge, DestinationCidrBlock="10.0.0.0/16",
                          LocalTarget=True)
    lab.ec2.replace_route(RouteTableId=place.back, DestinationCidrBlock="0.0.0.0/0",
                          GatewayId=place.gateway)
    assert place.internet.datagram(address=place.public, port=7) == f"5 {place.me}"


def test_ipv6_passes_the_middlebox_as_it_is(lab, network, internet):
    vpc = lab.vpc()
    lab.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    [described] = lab.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    block = ipaddress.ip_network(described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    parts = [str(part) for _, part in zip(range(2), block.subnets(new_prefix=64))]
    subnets = [lab.subnet(vpc, f"10.0.{number}.0/24") for number in range(2)]
    for subnet, part in zip(subnets, parts):
        lab.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=part)
    group = lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")])
    middlebox, server = (lab.instance(subnet, group, Ipv6AddressCount=1) for subnet in subnets)
    address = server.interface()["Ipv6Addresses"][0]["Ipv6Address"]
    server.agent.serve_tcp(port=80, address="::")
    gateway = lab.internet(vpc)
    network.route(network.table(vpc, subnets[0]), "::/0", gateway)
    network.route(network.table(vpc, subnets[1]), "::/0", middlebox.eni)
    edge = network.edge_table(vpc, gateway)
    network.route(edge, parts[1], middlebox.eni)
    assert internet.agent.connect(address=address, port=80) == "timeout"
    forward(lab, middlebox)
    assert internet.agent.connect(address=address, port=80, name="six") == "open"
    assert internet.agent.ping(address=address) == "open"
    middlebox.exec("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding")
    assert internet.agent.exchange(name="six") == "timeout"
