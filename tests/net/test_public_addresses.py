"""Public addresses: the host plays the internet.

        internet (this host's own stack, the first address of the pool)
            |
        internet gateway of the default VPC
            |  public address <-> private address
        subnet: a, b
"""

import pytest
from support.rules import everything, icmp, tcp, udp
from support.until import until

ANYWHERE = "0.0.0.0/0"


@pytest.fixture
def default_vpc(lab):
    filters = [{"Name": "is-default", "Values": ["true"]}]
    return lab.ec2.describe_vpcs(Filters=filters)["Vpcs"][0]["VpcId"]


def launch(lab, group, **options):
    """An instance in a default subnet, without a public address of its own."""
    filters = [{"Name": "default-for-az", "Values": ["true"]}]
    subnet = lab.ec2.describe_subnets(Filters=filters)["Subnets"][0]["SubnetId"]
    place = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group],
             "AssociatePublicIpAddress": False}
    return lab.instance(None, NetworkInterfaces=[place | options])


def give_address(lab, instance):
    """Gives an instance an Elastic IP; its public address."""
    address = lab.address()
    lab.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance.id)
    return address["PublicIp"]


@pytest.fixture
def group(lab, default_vpc, request):
    """A group of the default VPC that goes with the test; without ingress rules."""
    made = lab.ec2.create_security_group(VpcId=default_vpc, GroupName=request.node.name[:100],
                                         Description="of a test")["GroupId"]
    yield made


def test_both_ways_with_one_translation(lab, internet, group):
    server = launch(lab, group)
    public = give_address(lab, server)
    me = internet.address(public)
    server.agent.serve_tcp(port=80)
    server.agent.serve_udp(port=53)
    # Nothing comes in until a rule says so, and then at once.
    assert internet.agent.connect(address=public, port=80) == "timeout"
    lab.authorize(group, tcp(me + "/32", 80), udp(me + "/32", 53), icmp(me + "/32"))
    assert internet.agent.connect(address=public, port=80) == "open"
    assert internet.agent.connect(address=public, port=81) == "timeout"
    assert internet.agent.datagram(address=public, port=53) == f"5 {me}"
    assert internet.agent.ping(address=public) == "open"
    # A megabyte, with whatever checksums the cards leave to be done.
    assert internet.agent.connect(address=public, port=80, name="big") == "open"
    assert internet.agent.exchange(name="big", length=1 << 20, timeout=5) == "open"

    internet.agent.serve_udp(port=5353, address=me)
    internet.agent.serve_tcp(port=8080, address=me)
    assert server.agent.datagram(address=me, port=5353) == f"5 {public}"
    assert server.agent.connect(address=me, port=8080, name="out") == "open"
    assert server.agent.exchange(name="out", length=1 << 20, timeout=5) == "open"
    assert server.agent.ping(address=me) == "open"
    out = [flow for flow in lab.daemon.json("flows") if flow["translation"] and not flow["reply"]
           and flow["source"] == server.ip and flow["protocol"] == 17]
    assert [flow["translation"]["source"] for flow in out] == [public]
    assert out[0]["destination_eni"] == "outside"


def test_without_a_public_address_nothing_leaves(lab, internet, group):
    hidden, seen = launch(lab, group), launch(lab, group)
    me = internet.address(give_address(lab, seen))
    internet.agent.serve_udp(port=5353, address=me)
    assert hidden.agent.datagram(address=me, port=5353) == "timeout"
    assert seen.agent.datagram(address=me, port=5353).startswith("5 ")
    dropped = [flow for flow in lab.daemon.json("flows") if flow["source"] == hidden.ip]
    assert [flow["reason"] for flow in dropped] == ["no-public-address"]


def test_nothing_of_an_instance_leaves_the_host(lab, internet, group):
    # 192.0.2.0/24 may be the host's own network: nobody there hears of an instance.
    one = launch(lab, group)
    public = give_address(lab, one)
    for address in ("203.0.113.77", "1.1.1.1"):
        assert one.agent.ping(address=address) in ("timeout", "unreachable")
    assert internet.forwards(public) == []


def test_the_internet_takes_neither_private_addresses_nor_long_packets(lab, internet, group):
    one = launch(lab, group)
    me = internet.address(give_address(lab, one))
    internet.agent.serve_udp(port=5353, address=me)
    assert one.agent.datagram(address="192.168.200.1", port=7) == "timeout"
    assert one.agent.datagram(address=me, port=5353, length=1473, name="flow") == "too long"
    assert one.agent.datagram(address=me, port=5353, length=1472, name="flow") != "timeout"
    # The sender was told, and cuts what is longer.
    assert one.agent.datagram(address=me, port=5353, length=1473, name="flow") != "timeout"
    dropped = {flow["destination"]: flow["reason"] for flow in lab.daemon.json("flows")
               if flow["verdict"] == "drop" and flow["source_eni"] == one.eni}
    assert dropped == {"192.168.200.1": "private-address", me: "too-big"}


def test_a_neighbour_by_its_public_address_is_a_stranger(lab, internet, group):
    # Fails if group references match what has been out and in again.
    lab.authorize(group, everything(group))
    a, b = launch(lab, group), launch(lab, group)
    public_a, public_b = give_address(lab, a), give_address(lab, b)
    b.agent.serve_udp(port=7)
    assert a.agent.datagram(address=b.ip, port=7) == f"5 {a.ip}"
    assert a.agent.datagram(address=public_b, port=7) == "timeout"
    lab.authorize(group, udp(public_a + "/32", 7))
    assert a.agent.datagram(address=public_b, port=7) == f"5 {public_a}"
    # Its own public address leads to itself.
    lab.authorize(group, udp(public_b + "/32", 7))
    assert b.agent.datagram(address=public_b, port=7) == f"5 {public_b}"


def test_an_inside_source_does_not_come_from_the_outside(lab, internet, group):
    # Fails if the rule for the VPC's own block lets in whoever outside claims to be of it.
    lab.authorize(group, udp("172.31.0.0/16", 7), udp("10.0.0.0/8", 7))
    server, neighbour = launch(lab, group), launch(lab, group)
    public = give_address(lab, server)
    me = internet.address(public)
    lab.authorize(group, udp(me + "/32", 7))
    server.agent.serve_udp(port=7, echo=False)
    for source in (neighbour.ip, "172.31.0.1", "10.1.2.3", me):
        internet.agent.send_ip(source=source, destination=public, protocol=17, payload=source,
                               port=7, source_port=4000)
    assert neighbour.agent.datagram(address=server.ip, port=7, text="near", wait=False) == "sent"
    until(lambda: len(server.agent.received(port=7)) >= 2, "two datagrams have arrived")
    assert [message["text"] for message in server.agent.received(port=7)] == [me, "near"]
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["destination"] == public and flow["verdict"] == "drop"}
    assert reasons == {"outside-source"}


def test_an_address_moves_at_once(lab, internet, group):
    lab.authorize(group, udp(ANYWHERE, 7))
    first, second = launch(lab, group), launch(lab, group)
    address = lab.address()
    public, allocation = address["PublicIp"], address["AllocationId"]
    for server in (first, second):
        server.agent.serve_udp(port=7)
    assert internet.agent.datagram(address=public, port=7) == "timeout"
    for server in (first, second, first):
        lab.ec2.associate_address(AllocationId=allocation, InstanceId=server.id,
                                  AllowReassociation=True)
        # The same five-tuple each time.
        sent = internet.agent.datagram(address=public, port=7, source_port=4000, text=server.id)
        assert sent.endswith(internet.address(public))
        assert server.agent.received(port=7)[-1]["text"] == server.id
    association = lab.ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
    lab.ec2.disassociate_address(AssociationId=association["AssociationId"])
    assert internet.agent.datagram(address=public, port=7, source_port=4000) == "timeout"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["destination"] == public and flow["verdict"] == "drop"}
    assert reasons == {"unassigned-address"}


def test_an_address_that_comes_with_the_instance(lab, internet, group):
    lab.authorize(group, udp(ANYWHERE, 7))
    one = launch(lab, group, AssociatePublicIpAddress=True)
    public = one.describe()["PublicIpAddress"]
    one.agent.serve_udp(port=7)
    assert internet.agent.datagram(address=public, port=7) == f"5 {internet.address(public)}"
    # An Elastic IP takes its place.
    elastic = give_address(lab, one)
    assert internet.agent.datagram(address=public, port=7) == "timeout"
    assert internet.agent.datagram(address=elastic, port=7).startswith("5 ")


def test_a_killed_daemon_cuts_nothing(lab, internet, group):
    lab.authorize(group, tcp(ANYWHERE, 80))
    server = launch(lab, group)
    public = give_address(lab, server)
    server.agent.serve_tcp(port=80)
    assert internet.agent.connect(address=public, port=80, name="lasting") == "open"
    lab.daemon.kill()
    assert internet.agent.exchange(name="lasting") == "open"
    lab.daemon.start()
    assert internet.agent.exchange(name="lasting") == "open"
    assert internet.agent.connect(address=public, port=80) == "open"
    assert lab.daemon.run("verify").returncode == 0
