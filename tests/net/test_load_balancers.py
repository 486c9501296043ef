"""Network load balancers: flows to a node reach its targets and come back, and every gate is asked.

        us-east-1a 10.0.0.0/24: client, near, the node      us-east-1b 10.0.1.0/24: far, the node
"""

import collections

import pytest

from support.balancer import Balancers
from support.lab import ANYWHERE
from support.network import allow
from support.rules import everything, tcp
from support.until import until

HERE, THERE = "us-east-1a", "us-east-1b"


class Place:
    """A client and two targets in two zones, behind a load balancer."""

    def __init__(self, lab, network, balancers):
        self.lab, self.network, self.balancers = lab, network, balancers
        self.vpc, self.here = lab.network()
        self.there = lab.subnet(self.vpc, "10.0.1.0/24", zone=THERE)
        self.group = lab.group(self.vpc, "open", [everything(ANYWHERE)])
        self.own = lab.group(self.vpc, "client", [everything(ANYWHERE)])
        [self.client] = lab.launch(self.here, self.own)
        [self.near] = lab.launch(self.here, self.group)
        [self.far] = lab.launch(self.there, self.group)
        for one in (self.near, self.far):
            one.agent.serve_tcp(port=8080)
            one.agent.serve_udp(port=8080)

    def balance(self, name="test", protocol="TCP", targets=None, groups=(), crossing=True,
                check=None, **attributes):
        balancers = self.balancers
        self.balancer, self.nodes = balancers.make(
            name, self.here, self.there, groups=groups,
            load_balancing__cross_zone__enabled=crossing)
        self.targets = balancers.group(name, self.vpc, 8080, protocol,
                                       check={"HealthCheckProtocol": "TCP"} | (check or {}),
                                       **attributes)
        self.listener = balancers.listen(self.balancer, self.targets, 80, protocol)
        ids = [one.id for one in (targets or (self.near, self.far))]
        balancers.register(self.targets, *ids)
        self.wait(*[(one, "healthy") for one in ids])
        return self.nodes[HERE]["PrivateIpAddress"]

    def wait(self, *wanted, within=30):
        states = dict(wanted)
        health = self.balancers.health
        until(lambda: {one: health(self.targets).get(one) for one in states} == states,
              f"{states}", within=within)
        self.lab.in_force()

    def opens(self, address, **options):
        return self.client.agent.connect(address=address, port=80, **options)

    def seen(self, one):
        return {tuple(message["from"])[0] for message in one.agent.received(port=8080)}


@pytest.fixture
def place(lab, network):
    balancers = Balancers(lab)
    yield Place(lab, network, balancers)
    lab.daemon.run("fault", "clear")
    balancers.close()


def dropped(lab, address, port=None):
    return {flow["reason"] for flow in lab.daemon.json("flows")
            if flow["verdict"] == "drop" and flow["destination"] == address
            and port in (None, flow["destination_port"])}


def test_a_flow_reaches_a_target_which_sees_its_client(place):
    node = place.balance(protocol="TCP_UDP")
    assert place.opens(node, name="kept") == "open"
    assert place.client.agent.exchange(name="kept", length=1 << 20, timeout=5) == "open"
    for port in range(5000, 5040):
        said = place.client.agent.datagram(address=node, port=80, source_port=port)
        assert said == f"5 {place.client.ip}"
    assert place.seen(place.near) == place.seen(place.far) == {place.client.ip}
    # No listener at this port, and nothing but TCP and UDP.
    assert place.client.agent.connect(address=node, port=81) == "timeout"
    assert place.client.agent.ping(address=node) == "timeout"
    assert dropped(place.lab, node) == {"no-listener", "balancer-protocol"}
    assert place.lab.daemon.json("verify")["differences"] == []


def test_without_preservation_the_target_sees_the_node(place):
    node = place.balance(preserve_client_ip__enabled=False)
    assert place.opens(node, name="kept") == "open"
    assert place.client.agent.exchange(name="kept", length=1 << 20, timeout=5) == "open"
    ways = [flow for flow in place.lab.daemon.json("flows")
            if flow["source_eni"] == place.client.eni and flow["destination"] == node]
    assert {flow["translation"]["source"] for flow in ways} == {node}


def test_a_target_cannot_be_its_own_client_unless_it_sees_the_node(place):
    place.client.agent.serve_tcp(port=8080)
    node = place.balance(targets=[place.client])
    assert place.opens(node) == "timeout"
    # Of the listener's port: on a busy machine an answer to a health check may come after its end.
    assert dropped(place.lab, node, 80) == {"balancer-hairpin"}
    place.balancers.set(place.targets, preserve_client_ip__enabled=False)
    assert place.opens(node) == "open"
    # And where nobody is registered nobody is chosen.
    place.balancers.deregister(place.targets, place.client.id)
    assert place.opens(node) == "timeout"
    assert "balancer-target" in dropped(place.lab, node)


def test_flows_spread_over_the_targets(place):
    node = place.balance(protocol="UDP", check={"HealthCheckPort": "8080"})
    for port in range(10000, 10400):
        place.client.agent.datagram(address=node, port=80, source_port=port)
    sums = collections.Counter()
    for one in (place.near, place.far):
        sums[one.id] = len({tuple(message["from"]) for message in one.agent.received(port=8080)})
    assert sum(sums.values()) == 400
    # Of 400 fair throws one in ten million is as uneven.
    assert all(147 < count < 253 for count in sums.values()), sums


def test_a_sticky_listener_gives_each_client_one_group(place):
    lab, balancers = place.lab, place.balancers
    node = place.balance(targets=[place.near])
    second = balancers.group("second", place.vpc, 8080)
    groups = [{"TargetGroupArn": one, "Weight": 1} for one in (place.targets, second)]

    def lead(sticky):
        action = {"Type": "forward", "ForwardConfig": {
            "TargetGroups": groups, "TargetGroupStickinessConfig": {"Enabled": sticky}}}
        balancers.elb.modify_listener(ListenerArn=place.listener, DefaultActions=[action])

    lead(False)
    balancers.register(second, place.far.id)
    balancers.wait(second, within=30, **{place.far.id.replace("-", "_"): "healthy"})
    lab.in_force()
    clients = [place.client, *lab.launch(place.here, place.own, count=5)]

    def reached(client, ports):
        for port in ports:
            assert client.agent.connect(address=node, port=80, source_port=port) == "open"
        return {flow["target"] for flow in lab.daemon.json("flows", "--load-balancer", "test")
                if flow["source_eni"] == client.eni and flow["source_port"] in ports}

    assert reached(place.client, range(5000, 5020)) == {place.near.id, place.far.id}
    lead(True)
    seen = [reached(client, range(6000, 6010)) for client in clients]
    assert all(len(one) == 1 for one in seen), seen
    # Six sources, all of one group: once in 32 times it would be so by chance, and these are always the same.
    assert set().union(*seen) == {place.near.id, place.far.id}


def test_ten_thousand_flows_spread_evenly(place):
    lab, count, targets = place.lab, 10_000, 5
    group = place.balancers.group("many", place.vpc, 8080, "UDP", check={"HealthCheckPort": "9"})
    ones = [place.near, *lab.launch(place.here, place.group, count=targets - 1)]
    balancer, nodes = place.balancers.make("many", place.here)
    place.balancers.listen(balancer, group, 80, "UDP")
    # Nobody answers checks at that port, so all get flows: there is nothing to wait for.
    place.balancers.register(group, *(one.id for one in ones))
    node = nodes[HERE]["PrivateIpAddress"]
    place.client.agent.scatter(address=node, port=80, count=count, first=20_000)
    sums = collections.Counter(
        flow["target"] for flow in lab.daemon.json("flows", "--target-group", "many")
        if not flow["reply"] and flow["source_eni"] == place.client.eni)
    assert sum(sums.values()) == count and set(sums) == {one.id for one in ones}
    fair = count / targets
    square = sum((seen - fair) ** 2 / fair for seen in sums.values())
    # Four degrees of freedom: fair throws are as uneven once in a million times.
    assert square < 33.4, sums


def test_each_gate_may_refuse(place):
    lab, vpc = place.lab, place.vpc
    own = lab.group(vpc, "balancer", [tcp(ANYWHERE, 80)], egress=[tcp(ANYWHERE, 8080)])
    node = place.balance(targets=[place.far], groups=[own])
    assert place.opens(node) == "open"
    # What the client may send.
    lab.revoke_egress(place.own, everything(ANYWHERE))
    assert place.opens(node) == "timeout"
    lab.authorize_egress(place.own, everything(ANYWHERE))
    # The balancer's groups: what comes to its node, and what it sends on.
    lab.revoke(own, tcp(ANYWHERE, 80))
    assert place.opens(node) == "timeout"
    lab.authorize(own, tcp(ANYWHERE, 80))
    lab.revoke_egress(own, tcp(ANYWHERE, 8080))
    assert place.opens(node) == "timeout"
    lab.authorize_egress(own, tcp(ANYWHERE, 8080))
    # The target's groups, which may name the balancer's.
    lab.revoke(place.group, everything(ANYWHERE))
    assert place.opens(node) == "timeout"
    lab.authorize(place.group, {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
                                "UserIdGroupPairs": [{"GroupId": own}]})
    assert place.opens(node) == "open"
    assert dropped(lab, node) == {"egress-rule", "balancer-ingress-rule",
                                  "balancer-egress-rule", "ingress-rule"}
    # The network ACL of the target's subnet.
    acl = place.network.acl(vpc, allow(100), allow(100, out=True))
    place.network.use_acl(acl, place.there)
    assert place.opens(node) == "open"
    lab.ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
    assert place.opens(node) == "timeout"
    assert "acl-ingress" in dropped(lab, node)


def test_a_target_that_dies_gets_nothing_new_and_others_go_on(place):
    node = place.balance()
    names = [f"flow-{number}" for number in range(12)]
    for name in names:
        assert place.opens(node, name=name) == "open"
    dead = place.far
    of_dead = {flow["source_port"] for flow in place.lab.daemon.json("flows")
               if flow["source_eni"] == place.client.eni and flow["translation"]
               and flow["translation"]["destination"] == dead.ip}
    place.lab.daemon.run("fault", "target", dead.id)
    place.wait((dead.id, "unhealthy"), (place.near.id, "healthy"))
    for _ in range(20):
        assert place.opens(node) == "open"
    alive = [name for name in names
             if place.client.agent.exchange(name=name, timeout=1) == "open"]
    assert len(alive) == len(names) - len(of_dead) and alive
    place.lab.daemon.run("fault", "clear")
    place.wait((dead.id, "healthy"))


def test_all_unhealthy_is_as_good_as_all_healthy(place):
    node = place.balance(protocol="UDP", check={"HealthCheckPort": "8080"})
    # Nobody answers checks at this port.
    place.balancers.elb.modify_target_group(TargetGroupArn=place.targets, HealthCheckPort="9")
    place.wait((place.near.id, "unhealthy"), (place.far.id, "unhealthy"))
    for port in range(5000, 5040):
        assert place.client.agent.datagram(address=node, port=80, source_port=port) != "timeout"
    assert place.seen(place.near) == place.seen(place.far) == {place.client.ip}


def test_a_deregistered_target_keeps_its_flows_and_gets_no_new_ones(place):
    node = place.balance(targets=[place.far], deregistration_delay__timeout_seconds=2,
                         deregistration_delay__connection_termination__enabled=True)
    assert place.opens(node, name="kept") == "open"
    place.balancers.register(place.targets, place.near.id)
    place.wait((place.near.id, "healthy"))
    place.balancers.deregister(place.targets, place.far.id)
    assert place.balancers.health(place.targets)[place.far.id] == "draining"
    assert place.client.agent.exchange(name="kept", timeout=1) == "open"
    for _ in range(10):
        assert place.opens(node) == "open"
    new = [flow for flow in place.lab.daemon.json("flows")
           if flow["source_eni"] == place.client.eni and flow["translation"]
           and flow["translation"]["destination"] == place.far.ip]
    assert len(new) == 1
    # When the time is up the connection ends with a reset.
    until(lambda: place.client.agent.exchange(name="kept", timeout=1) not in ("open", "timeout"),
          "the connection is reset", within=15)
    assert place.far.id not in place.balancers.health(place.targets)


def test_zones_are_crossed_only_if_that_is_wanted(place):
    place.balance(crossing=False)
    addresses = {zone: node["PrivateIpAddress"] for zone, node in place.nodes.items()}

    def targets():
        for port in range(20):
            for address in addresses.values():
                assert place.opens(address) == "open"
        return {(flow["destination"], flow["translation"]["destination"])
                for flow in place.lab.daemon.json("flows")
                if flow["source_eni"] == place.client.eni and flow["translation"]}

    straight = {(addresses[HERE], place.near.ip), (addresses[THERE], place.far.ip)}
    assert targets() == straight
    place.balancers.elb.modify_load_balancer_attributes(
        LoadBalancerArn=place.balancer,
        Attributes=[{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}])
    crossing = {(addresses[HERE], place.far.ip), (addresses[THERE], place.near.ip)}
    assert targets() == straight | crossing


def test_a_connection_that_nobody_knows_is_reset(place):
    node = place.balance()
    assert place.opens(node, name="kept") == "open"
    place.balancers.elb.delete_listener(ListenerArn=place.listener)
    assert place.client.agent.exchange(name="kept", timeout=1) not in ("open", "timeout")
    assert "balancer-reset" in dropped(place.lab, node)
    assert place.opens(node) == "timeout"


def test_who_is_outside_is_seen_as_he_is(lab, network, internet, place):
    gateway = lab.internet(place.vpc)
    table = network.table(place.vpc, place.here)
    network.route(table, "0.0.0.0/0", gateway)
    balancers = place.balancers
    balancer, nodes = balancers.make("outside", place.here, place.there, scheme="internet-facing",
                                     load_balancing__cross_zone__enabled=True)
    group = balancers.group("outside", place.vpc, 8080, "UDP")
    balancers.listen(balancer, group, 80, "UDP")
    # Its subnet has no route to the internet.
    balancers.register(group, place.far.id)
    until(lambda: balancers.health(group) == {place.far.id: "healthy"}, "it is healthy", 20)
    public = nodes[HERE]["Association"]["PublicIp"]
    me = internet.address(public)
    assert internet.agent.datagram(address=public, port=80) == f"5 {me}"
    assert place.seen(place.far) == {me}


def test_a_zone_that_fails_takes_its_targets_along(place):
    place.balance(crossing=False)
    there = place.nodes[THERE]["PrivateIpAddress"]
    assert place.opens(there) == "open"
    place.lab.daemon.run("fault", "zone", THERE)
    place.wait((place.far.id, "unhealthy"), (place.near.id, "healthy"))
    assert place.opens(there) == "timeout"
    assert place.opens(place.nodes[HERE]["PrivateIpAddress"]) == "open"
    place.lab.daemon.run("fault", "clear")
    place.wait((place.far.id, "healthy"))
    assert place.opens(there) == "open"


def test_names_do_not_lead_to_a_zone_that_fails(place):
    place.balance()
    described = place.balancers.elb.describe_load_balancers(LoadBalancerArns=[place.balancer])
    name = described["LoadBalancers"][0]["DNSName"]

    def answers():
        return set(place.client.exec("getent", "ahostsv4", name).stdout.split()) & {
            node["PrivateIpAddress"] for node in place.nodes.values()}

    both = {node["PrivateIpAddress"] for node in place.nodes.values()}
    assert answers() == both
    place.lab.daemon.run("fault", "zone", THERE)
    assert answers() == {place.nodes[HERE]["PrivateIpAddress"]}
    place.lab.daemon.run("fault", "clear")
    assert answers() == both


def test_a_client_behind_a_nat_gateway_reaches_a_public_one(place, network, lab):
    #   client -> NAT gateway -> out, and in again -> the node -> far
    public = lab.subnet(place.vpc, "10.0.2.0/24")
    gateway = lab.internet(place.vpc)
    address = lab.ec2.allocate_address(Domain="vpc")
    nat = network.nat_gateway(public, AllocationId=address["AllocationId"])
    outward = network.table(place.vpc, public, place.there)
    network.route(outward, "0.0.0.0/0", gateway)
    network.route(network.table(place.vpc, place.here), "0.0.0.0/0", nat)
    balancers = place.balancers
    own = lab.group(place.vpc, "balancer", [everything(address["PublicIp"] + "/32")])
    balancer, nodes = balancers.make("public", place.there, scheme="internet-facing", groups=[own])
    group = balancers.group("public", place.vpc, 8080, "TCP_UDP")
    balancers.listen(balancer, group, 80, "TCP_UDP")
    balancers.register(group, place.far.id)
    until(lambda: balancers.health(group) == {place.far.id: "healthy"}, "it is healthy", 20)
    node = nodes[THERE]["Association"]["PublicIp"]
    client = place.client.agent
    assert client.connect(address=node, port=80, name="kept") == "open"
    assert client.exchange(name="kept", length=1 << 20, timeout=5) == "open"
    assert client.datagram(address=node, port=80) == f"5 {address['PublicIp']}"
    assert place.seen(place.far) == {address["PublicIp"]}
    # Each side has a flow of its own.
    flows = [flow for flow in lab.daemon.json("flows")
             if flow["destination"] == node and flow["translation"]]
    assert {flow["nat_gateway"] for flow in flows} == {nat, None}
    assert {flow["load_balancer_eni"] for flow in flows} == {
        None, nodes[THERE]["NetworkInterfaceId"]}
    # To the load balancer's groups and the target's it comes from the gateway's address.
    lab.revoke(own, everything(address["PublicIp"] + "/32"))
    lab.authorize(own, everything(place.client.ip + "/32"))
    assert client.connect(address=node, port=80) == "timeout"
    assert "balancer-ingress-rule" in dropped(lab, node)
