"""Doors: each lets new flows pass or not, as the last answered call says, and at no other time.

A door has two ends and a resource of its own, so the doors of a soak do not open each other. It is
knocked at right after each answer, and again until its next change, the daemon alive or not. Every
knock is a new flow.
"""

import itertools
import random

from support.lab import ANYWHERE
from support.network import allow, deny
from support.rules import everything, permission, udp

PORT = 7
# A flow that must pass and is late, on a busy machine, was not refused.
PASSES_WITHIN_S = 3.0
REFUSED_AFTER_S = 0.15


class Door:
    """Opened and closed by one call each; `knock(timeout)` says whether a new flow passes."""

    def __init__(self, name, knock, opens, closes, is_open):
        self.name = name
        self._knock = knock
        self._change = {True: opens, False: closes}
        self.is_open = is_open

    def turn(self):
        """Opens what is closed and closes what is open; returns when that is answered."""
        self._change[not self.is_open]()
        self.is_open = not self.is_open

    def knock(self, judge):
        passes = self._knock(PASSES_WITHIN_S if self.is_open else REFUSED_AFTER_S)
        judge.count("new flows that had to pass" if self.is_open else "new flows that had to be refused")
        judge.expect(passes == self.is_open,
                     f"{self.name}: a new flow {'passed' if passes else 'was refused'} while"
                     f" {'open' if self.is_open else 'closed'}")

    def live(self, judge, stop, seed):
        """Changes and knocks until the soak ends."""
        chance = random.Random(seed)
        while not stop.is_set():
            self.turn()
            judge.count("changes")
            for _ in range(chance.randrange(1, 4)):
                self.knock(judge)
            while not stop.wait(chance.random() * 0.5) and chance.random() < 0.6:
                self.knock(judge)


def knocking(agent, address, port=PORT):
    """A datagram and its answer, each time from the next port: one that the kernel draws may belong
    to a flow from while the door was open, which a security group goes on to let through."""
    ports = itertools.cycle(range(10_000, 65_536))

    def knock(timeout):
        answer = "port in use"
        while answer == "port in use":
            answer = agent.datagram(address=address, port=port, source_port=next(ports),
                                    timeout=timeout)
        return answer.startswith("5 ")
    return knock


def server_of(lab, subnet, group, **options):
    """An instance that answers datagrams of both families."""
    server = lab.instance(subnet, group, **options)
    server.agent.serve_udp(port=PORT)
    if "Ipv6AddressCount" in options:
        server.ip6 = server.interface()["Ipv6Addresses"][0]["Ipv6Address"]
        server.agent.serve_udp(port=PORT + 1, address="::")
    return server


def all_of(call, lab, network, internet, world):
    """One door of each kind."""
    return [
        *by_ingress_rule(call, lab, world),
        by_egress_rule(call, lab, world),
        by_membership(call, lab, world),
        by_prefix_list(call, lab, world),
        by_acl_entry(call, lab, network, world),
        by_route_to_peer(call, lab, network, world),
        by_route_to_nat_gateway(call, lab, network, world),
        by_elastic_ip(call, lab, internet, world),
    ]


def by_ingress_rule(call, lab, world):
    """A rule of each family."""
    group = lab.group(world.vpc, "door-ingress")
    server = server_of(lab, world.subnet, group, Ipv6AddressCount=1)
    client = lab.instance(world.subnet, world.open_group, Ipv6AddressCount=1)

    def door(name, rule, knock):
        parameters = {"GroupId": group, "IpPermissions": [rule]}
        return Door(name, knock,
                    lambda: call("authorize_security_group_ingress", **parameters),
                    lambda: call("revoke_security_group_ingress", **parameters), False)

    return (door("ingress rule", udp("10.0.0.0/16", PORT), knocking(client.agent, server.ip)),
            door("IPv6 ingress rule", permission("udp", "::/0", PORT + 1),
                 knocking(client.agent, server.ip6, PORT + 1)))


def by_egress_rule(call, lab, world):
    group = lab.group(world.vpc, "door-egress", egress=[])
    sender = lab.instance(world.subnet, group)
    parameters = {"GroupId": group, "IpPermissions": [udp(f"{world.sink.ip}/32", PORT)]}
    return Door("egress rule", knocking(sender.agent, world.sink.ip),
                lambda: call("authorize_security_group_egress", **parameters),
                lambda: call("revoke_security_group_egress", **parameters), False)


def by_membership(call, lab, world):
    """The sender's being in the group that a rule names, on the other side of a router."""
    members = lab.group(world.vpc, "door-members")
    trusting = lab.group(world.vpc, "door-by-member", [everything(members)])
    server = server_of(lab, world.other_subnet, trusting)
    member = lab.instance(world.subnet, world.open_group)

    def groups(*names):
        return lambda: call("modify_network_interface_attribute", NetworkInterfaceId=member.eni,
                            Groups=list(names))

    return Door("group membership", knocking(member.agent, server.ip),
                groups(world.open_group, members), groups(world.open_group), False)


def by_prefix_list(call, lab, world):
    """The sender's address in the prefix list that a rule names."""
    answer = lab.ec2.create_managed_prefix_list(PrefixListName="door", MaxEntries=5,
                                                AddressFamily="IPv4")
    world.prefix_list = answer["PrefixList"]["PrefixListId"]
    by_list = {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": world.prefix_list}]}
    server = server_of(lab, world.subnet, lab.group(world.vpc, "door-prefix-list", [by_list]))
    lister = lab.instance(world.subnet, world.open_group)

    def entry(is_there):
        return lambda: entry_of_list(call, world.prefix_list, f"{lister.ip}/32", is_there)

    return Door("prefix list entry", knocking(lister.agent, server.ip), entry(True), entry(False), False)


def entry_of_list(call, prefix_list, block, is_there):
    """Adds or removes an entry, whatever a call that was cut off has done."""
    found = call("get_managed_prefix_list_entries", PrefixListId=prefix_list)["Entries"]
    if (block in [entry["Cidr"] for entry in found]) == is_there:
        return
    [described] = call("describe_managed_prefix_lists", PrefixListIds=[prefix_list])["PrefixLists"]
    change = {"AddEntries" if is_there else "RemoveEntries": [{"Cidr": block}]}
    answer = call("modify_managed_prefix_list", PrefixListId=prefix_list,
                  CurrentVersion=described["Version"], **change)
    if answer is None:
        entry_of_list(call, prefix_list, block, is_there)


def by_acl_entry(call, lab, network, world):
    subnet = lab.subnet(world.vpc, "10.0.7.0/24")
    acl = network.acl(world.vpc, allow(100), allow(100, out=True))
    network.use_acl(acl, subnet)
    server = server_of(lab, subnet, world.open_group)
    client = lab.instance(world.subnet, world.open_group)
    knock_anew = knocking(client.agent, server.ip)

    def knock(timeout):
        # A network ACL has no memory: the flow that is established fares as the new one does.
        old = client.agent.datagram(address=server.ip, port=PORT, name="door", timeout=timeout)
        passes = [old.startswith("5 "), knock_anew(timeout)]
        return all(passes) if timeout == PASSES_WITHIN_S else any(passes)

    return Door("network ACL entry", knock,
                lambda: call("delete_network_acl_entry", NetworkAclId=acl, RuleNumber=50,
                             Egress=False),
                lambda: call("create_network_acl_entry", NetworkAclId=acl,
                             **deny(50, block="10.0.0.0/24")), True)


def by_route_to_peer(call, lab, network, world):
    subnet = lab.subnet(world.vpc, "10.0.8.0/24")
    table = network.table(world.vpc, subnet)
    client = lab.instance(subnet, world.open_group)
    route = {"RouteTableId": table, "DestinationCidrBlock": "10.1.0.0/16"}
    return Door("route to a peer", knocking(client.agent, world.peer.ip),
                lambda: call("create_route", **route, VpcPeeringConnectionId=world.peering),
                lambda: call("delete_route", **route), False)


def by_route_to_nat_gateway(call, lab, network, world):
    subnet = lab.subnet(world.vpc, "10.0.9.0/24")
    table = network.table(world.vpc, subnet)
    hidden = lab.instance(subnet, world.open_group)
    route = {"RouteTableId": table, "DestinationCidrBlock": ANYWHERE}
    return Door("route to a NAT gateway",
                knocking(hidden.agent, world.outside_address, world.outside_port),
                lambda: call("create_route", **route, NatGatewayId=world.nat),
                lambda: call("delete_route", **route), False)


def by_elastic_ip(call, lab, internet, world):
    """For somebody outside."""
    server = server_of(lab, world.subnet, world.open_group)
    address = lab.address()

    def associate():
        call("associate_address", AllocationId=address["AllocationId"], NetworkInterfaceId=server.eni)

    def disassociate():
        [found] = call("describe_addresses", AllocationIds=[address["AllocationId"]])["Addresses"]
        if "AssociationId" in found:
            call("disassociate_address", AssociationId=found["AssociationId"])

    return Door("Elastic IP", knocking(internet.agent, address["PublicIp"]), associate, disassociate,
                False)
