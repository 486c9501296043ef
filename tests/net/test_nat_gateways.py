"""NAT gateways: many instances, one address outside.

        internet ---- internet gateway ---- 10.0.1.0/24: NAT gateway
                                                 |
                                            10.0.0.0/24: a, b (no public address)
"""

import time

import pytest

from support.errors import refused
from support.lab import ANYWHERE
from support.network import allow
from support.rules import everything
from support.until import until


@pytest.fixture
def ends(lab, network):
    """Two hidden instances, the NAT gateway and its public address."""
    vpc, hidden = lab.network()
    public = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    out = network.table(vpc, public)
    network.route(out, "0.0.0.0/0", lab.internet(vpc))
    address = lab.address()
    nat = network.nat_gateway(public, AllocationId=address["AllocationId"])
    through = network.table(vpc, hidden)
    network.route(through, "0.0.0.0/0", nat)
    a, b = lab.launch(hidden, group, count=2)
    return vpc, hidden, public, through, nat, address["PublicIp"], a, b


def test_out_through_one_address_and_not_in(lab, network, internet, ends):
    _, _, _, _, nat, public, a, b = ends
    me = internet.address(public)
    internet.agent.serve_tcp(port=8080, address=me)
    internet.agent.serve_udp(port=5353, address=me)
    for one in (a, b):
        # Both from the same port: the gateway tells them apart.
        assert one.agent.datagram(address=me, port=5353, source_port=4000,
                                  name="kept") == f"5 {public}"
        assert one.agent.connect(address=me, port=8080, name="out") == "open"
        assert one.agent.ping(address=me) == "open"
    senders = {tuple(message["from"]) for message in internet.agent.received(port=5353)}
    assert len(senders) == 2 and {address for address, _ in senders} == {public}
    for one in (a, b):
        assert one.agent.exchange(name="out", length=1 << 20, timeout=5) == "open"
        assert one.agent.datagram(address=me, port=5353, name="kept") == f"5 {public}"
    ways = {(flow["nat_gateway"], flow["translation"]["source"])
            for flow in lab.daemon.json("flows")
            if flow["source_eni"] in (a.eni, b.eni) and flow["translation"]}
    assert ways == {(nat, public)}
    # Nobody outside begins.
    a.agent.serve_tcp(port=80)
    assert internet.agent.connect(address=public, port=80) == "timeout"
    assert internet.agent.datagram(address=public, port=4000) == "timeout"
    assert internet.agent.ping(address=public) == "timeout"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["destination"] == public and flow["verdict"] == "drop"}
    assert reasons == {"nat-unsolicited"}


def test_the_lists_of_both_subnets_are_asked(lab, network, internet, ends):
    vpc, hidden, public_subnet, _, _, public, a, _ = ends
    me = internet.address(public)
    internet.agent.serve_udp(port=5353, address=me)
    assert a.agent.datagram(address=me, port=5353, name="flow") == f"5 {public}"
    acl = network.acl(vpc, allow(100), allow(100, out=True))
    network.use_acl(acl, public_subnet)
    assert a.agent.datagram(address=me, port=5353, name="flow") == f"5 {public}"
    # The way in to the gateway is closed for answers, and only for these.
    lab.ec2.replace_network_acl_entry(
        NetworkAclId=acl, **allow(100, block="10.0.0.0/24"))
    assert a.agent.datagram(address=me, port=5353, name="flow") == "timeout"
    before = len(internet.agent.received(port=5353))
    assert a.agent.datagram(address=me, port=5353, name="flow", text="more") == "timeout"
    assert len(internet.agent.received(port=5353)) == before + 1
    network.entry(acl, allow(110, 17, (1024, 65535), block=me + "/32"))
    assert a.agent.datagram(address=me, port=5353, name="flow") in (f"5 {public}", f"4 {public}")


def counts(lab, nat):
    """What a gateway has counted, by the names of AWS's metrics."""
    [gateway] = [gateway for gateway in lab.daemon.json("nat") if gateway["nat_gateway"] == nat]
    return gateway["metrics"]


def test_a_connection_that_the_gateway_does_not_know_is_reset(lab, network, internet, ends):
    # As after 350 idle seconds: fails if a packet in the middle opens a connection anew, or is not heard of.
    vpc, hidden, public_subnet, through, nat, public, a, _ = ends
    me = internet.address(public)
    internet.agent.serve_tcp(port=8081, address=me)
    internet.agent.serve_udp(port=5357, address=me)
    assert a.agent.connect(address=me, port=8081, name="old") == "open"
    assert a.agent.datagram(address=me, port=5357, name="query") == f"5 {public}"
    other = lab.address()
    second = network.nat_gateway(public_subnet, AllocationId=other["AllocationId"])
    network.reroute(through, "0.0.0.0/0", second)
    assert a.agent.exchange(name="old") == "reset"
    # Datagrams need no opening, and a new connection is one.
    assert a.agent.datagram(address=me, port=5357, name="query") == f"5 {other['PublicIp']}"
    assert a.agent.connect(address=me, port=8081) == "open"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["source_eni"] == a.eni and flow["verdict"] == "drop"}
    assert reasons == {"nat-reset"}
    found = counts(lab, second)
    assert (found["ConnectionAttemptCount"], found["ConnectionEstablishedCount"]) == (1, 1)
    # The packet in the middle, and the reset has no packet after it.
    assert found["PacketsInFromSource"] - found["PacketsOutToDestination"] == 1
    assert found["PacketsDropCount"] == 0


def test_an_address_on_its_way_out_keeps_what_it_has(lab, network, internet, ends):
    # Fails if disassociation cuts connections at once, new ones still get the address, or it never goes.
    _, _, _, _, nat, public, a, _ = ends
    me = internet.address(public)
    internet.agent.serve_tcp(port=8083, address=me)
    internet.agent.serve_udp(port=5359, address=me)
    second = lab.address()
    lab.ec2.associate_nat_gateway_address(NatGatewayId=nat,
                                          AllocationIds=[second["AllocationId"]])

    def gateway():
        return lab.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]

    def sources():
        return {flow["translation"]["source"] for flow in lab.daemon.json("flows")
                if flow["source_eni"] == a.eni and flow["translation"]}

    # Connections until one is through the second address, which has a name then.
    names = iter(f"tcp{number}" for number in range(40))

    def opened():
        name = next(names)
        assert a.agent.connect(address=me, port=8083, name=name) == "open"
        return name if second["PublicIp"] in sources() else None

    kept = until(opened, "a connection is through the second address")
    [going] = [address for address in gateway()["NatGatewayAddresses"]
               if address["PublicIp"] == second["PublicIp"]]
    told = lab.ec2.disassociate_nat_gateway_address(
        NatGatewayId=nat, AssociationIds=[going["AssociationId"]], MaxDrainDurationSeconds=6)
    began = time.monotonic()
    assert [address["Status"] for address in told["NatGatewayAddresses"]] == ["disassociating"]
    with refused("OperationInProgress"):
        lab.ec2.associate_nat_gateway_address(NatGatewayId=nat,
                                              AllocationIds=[second["AllocationId"]])
    assert a.agent.exchange(name=kept) == "open"
    answers = {a.agent.datagram(address=me, port=5359, source_port=port)
               for port in range(4100, 4120)}
    assert answers == {f"5 {public}"}
    assert a.agent.exchange(name=kept) == "open"
    until(lambda: len(gateway()["NatGatewayAddresses"]) == 1, "its time is up", within=15)
    assert time.monotonic() - began > 4
    lab.in_force()
    assert a.agent.exchange(name=kept) == "reset"
    # It is free again; one that nobody uses goes without its time.
    [added] = lab.ec2.associate_nat_gateway_address(
        NatGatewayId=nat, AllocationIds=[lab.address()["AllocationId"]])["NatGatewayAddresses"]
    lab.ec2.disassociate_nat_gateway_address(NatGatewayId=nat,
                                             AssociationIds=[added["AssociationId"]])
    until(lambda: len(gateway()["NatGatewayAddresses"]) == 1, "nobody uses it", within=15)


def test_counts_add_up(lab, internet, ends):
    # Fails if a packet is counted twice, not at all, or at the wrong end.
    _, _, _, _, nat, public, a, _ = ends
    me = internet.address(public)
    internet.agent.serve_udp(port=5358, address=me)
    assert counts(lab, nat)["PacketsInFromSource"] == 0
    answers = [a.agent.datagram(address=me, port=5358, length=length, name="flow")
               for length in (10, 100, 1000)]
    assert answers == [f"{length} {public}" for length in (10, 100, 1000)]
    a.agent.send_ip(source=a.ip, destination=me, protocol=47, payload="12345")
    internet.agent.datagram(address=public, port=9, wait=False)
    found = counts(lab, nat)
    back = sum(len(answer) + 28 for answer in answers)
    assert found["BytesOutToDestination"] == 1110 + 3 * 28
    assert found["BytesInFromSource"] == 1110 + 3 * 28 + 25
    assert (found["PacketsInFromSource"], found["PacketsOutToDestination"]) == (4, 3)
    assert (found["PacketsInFromDestination"], found["PacketsOutToSource"]) == (4, 3)
    assert (found["BytesInFromDestination"], found["BytesOutToSource"]) == (back + 33, back)
    assert found["PacketsDropCount"] == 2
    flows = [flow for flow in lab.daemon.json("flows") if flow["nat_gateway"] == nat]
    assert sum(flow["packets"] for flow in flows) == 6
    assert sum(flow["bytes"] for flow in flows) == 1110 + 3 * 28 + back
    # Connections of TCP.
    internet.agent.serve_tcp(port=8082, address=me)
    for name in ("one", "two"):
        assert a.agent.connect(address=me, port=8082, name=name) == "open"
    found = counts(lab, nat)
    assert (found["ConnectionAttemptCount"], found["ConnectionEstablishedCount"]) == (2, 2)
    assert found["ActiveConnectionCount"] == 2
    shown = lab.daemon.run("nat").stdout
    assert f"{public} -> {me} tcp 8082 connections 2" in shown
    for name in ("one", "two"):
        a.agent.start("close", name=name).result(5)
    until(lambda: counts(lab, nat)["ActiveConnectionCount"] == 0, "closed connections go",
          within=30)
    assert counts(lab, nat)["IdleTimeoutCount"] == 0


def test_errors_from_outside_reach_who_sent(lab, internet, ends):
    # Nobody listens there, and the host says so: about the gateway's address and port.
    _, _, _, _, _, public, a, b = ends
    me = internet.address(public)
    for one in (a, b):
        assert one.agent.datagram(address=me, port=5399, source_port=4001) == "refused"
        assert one.agent.connect(address=me, port=5399) == "refused"


def test_fragments_of_udp_pass_and_no_others(lab, internet, ends):
    _, _, _, _, _, public, a, _ = ends
    me = internet.address(public)
    internet.agent.serve_udp(port=5359, address=me)
    # The first is too long, and the sender learns to cut.
    assert a.agent.too_long(address=me, port=5359, length=4000)[0] == 1500
    assert a.agent.datagram(address=me, port=5359, length=4000) == f"4000 {public}"
    assert a.agent.ping(address=me, length=1400) == "open"
    assert a.agent.ping(address=me, length=4000) == "timeout"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["source_eni"] == a.eni and flow["verdict"] == "drop"
               and flow["protocol"] == 1}
    assert reasons == {"nat-fragment"}


def test_checksums_are_right_without_offloads(lab, internet, ends):
    _, _, _, _, _, public, a, _ = ends
    me = internet.address(public)
    internet.agent.serve_tcp(port=8083, address=me)
    internet.agent.serve_udp(port=5360, address=me)
    for on in (False, True):
        a.agent.offload(device="eth0", on=on)
        assert a.agent.datagram(address=me, port=5360) == f"5 {public}"
        assert a.agent.connect(address=me, port=8083, name=f"out-{on}") == "open"
        assert a.agent.exchange(name=f"out-{on}", length=1 << 20, timeout=5) == "open"
        assert a.agent.ping(address=me) == "open"
        assert a.agent.too_long(address=me, port=5360, length=4000)[0] == 1500


def test_a_deleted_gateway_carries_nothing(lab, network, internet, ends):
    _, _, _, through, nat, public, a, _ = ends
    me = internet.address(public)
    internet.agent.serve_udp(port=5353, address=me)
    assert a.agent.datagram(address=me, port=5353, name="flow") == f"5 {public}"
    lab.ec2.delete_nat_gateway(NatGatewayId=nat)
    assert network.route_state(through, "0.0.0.0/0") == "blackhole"
    assert a.agent.datagram(address=me, port=5353, name="flow") == "timeout"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["source_eni"] == a.eni and flow["verdict"] == "drop"}
    assert reasons == {"blackhole"}


def test_a_private_gateway_hides_within(lab, network):
    # The server sees the gateway, and knows nothing of the client's subnet.
    vpc, hidden = lab.network()
    between, far = (lab.subnet(vpc, f"10.0.{number}.0/24") for number in (1, 2))
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    nat = network.nat_gateway(between, ConnectivityType="private", PrivateIpAddress="10.0.1.200")
    through = network.table(vpc, hidden)
    network.route(through, "10.0.2.0/24", nat)
    client, server = lab.instance(hidden, group), lab.instance(far, group)
    server.agent.serve_udp(port=7)
    assert client.agent.datagram(address=server.ip, port=7) == "5 10.0.1.200"
    assert client.agent.connect(address=server.ip, port=80) == "refused"
    # What nobody asked for does not come in.
    assert server.agent.datagram(address="10.0.1.200", port=7) == "timeout"
    assert server.agent.ping(address="10.0.1.200") == "timeout"
