"""Random operations on everything that makes up a network, with kill -9 in between.

Gateways, route tables, ACLs, peering, prefix lists, IPv6, reservations, option sets, key pairs,
launch templates and default VPCs are made, joined, parted and deleted by many clients in two
regions at once. What is stored must be consistent whenever it is looked at, what an answered call
made or deleted must be so after each crash, and no public address may have two holders. The seed is
printed and can be given: `ENID_SEED=7`. `ENID_OPERATIONS` sets another number of them.
"""

import collections
import ipaddress
import os
import random
import re
import threading
import time

from support.wire import Refused, Unknown, Wire, ids

SEED = int(os.environ.get("ENID_SEED", "1"))
OPERATIONS = int(os.environ.get("ENID_OPERATIONS", "8000"))
REGIONS = ["us-east-1", "eu-west-1"]
WORKERS = 8
KILLS = 5
# At most so many of a kind in a region: names collide and dependencies are met.
ENOUGH = 12
CONFIG = """[quotas]
addresses = 1000
vpcs = 1000
internet_gateways = 1000
nat_gateways_per_zone = 1000
"""

# By the prefix of their ids: how they are deleted, by which parameter, and how they are listed.
KINDS = {
    "vpc": ("DeleteVpc", "VpcId", "DescribeVpcs"),
    "subnet": ("DeleteSubnet", "SubnetId", "DescribeSubnets"),
    "rtb": ("DeleteRouteTable", "RouteTableId", "DescribeRouteTables"),
    "acl": ("DeleteNetworkAcl", "NetworkAclId", "DescribeNetworkAcls"),
    "igw": ("DeleteInternetGateway", "InternetGatewayId", "DescribeInternetGateways"),
    "eigw": ("DeleteEgressOnlyInternetGateway", "EgressOnlyInternetGatewayId",
             "DescribeEgressOnlyInternetGateways"),
    "nat": ("DeleteNatGateway", "NatGatewayId", "DescribeNatGateways"),
    "eipalloc": ("ReleaseAddress", "AllocationId", "DescribeAddresses"),
    "pcx": ("DeleteVpcPeeringConnection", "VpcPeeringConnectionId",
            "DescribeVpcPeeringConnections"),
    "pl": ("DeleteManagedPrefixList", "PrefixListId", "DescribeManagedPrefixLists"),
    "scr": ("DeleteSubnetCidrReservation", "SubnetCidrReservationId", None),
    "dopt": ("DeleteDhcpOptions", "DhcpOptionsId", "DescribeDhcpOptions"),
    "key": ("DeleteKeyPair", "KeyPairId", "DescribeKeyPairs"),
    "lt": ("DeleteLaunchTemplate", "LaunchTemplateId", "DescribeLaunchTemplates"),
    "eni": ("DeleteNetworkInterface", "NetworkInterfaceId", "DescribeNetworkInterfaces"),
}

# A deleted one stays visible for a time.
LINGERS = {"nat", "pcx"}


def found(text, tag):
    """What stands in an element, wherever it occurs."""
    return list(dict.fromkeys(re.findall(f"<{tag}>([^<]+)</{tag}>", text)))


class Place:
    """A region, and what is known to be in it."""

    def __init__(self, region):
        self.region = region
        self.things = {prefix: set() for prefix in KINDS}
        # What answered calls say is there, or is gone.
        self.present, self.gone = set(), set()


class Worker(threading.Thread):
    """One client. It deletes only what it made; it joins and parts what anybody made."""

    def __init__(self, number, world):
        super().__init__()
        self.random = random.Random(f"{SEED} {number}")
        self.world = world
        self.place = world.places[number % len(world.places)]
        self.wire = Wire(world.daemon, self.place.region)
        self.own = {prefix: set() for prefix in KINDS}
        self.public = {}

    def run(self):
        try:
            while self.world.take():
                operation = self.random.choice(self.operations())
                name = operation.__name__
                try:
                    operation()
                    outcome = "done"
                except Refused as refusal:
                    outcome = str(refusal)
                except Unknown:
                    outcome = "unknown"
                    self.world.wait_until_up()
                with self.world.lock:
                    self.world.counts[name, outcome] += 1
        except BaseException as error:
            self.world.failures.append(f"{type(error).__name__}: {error}")

    def operations(self):
        return [self.make_vpc, self.make_subnet, self.make_subnet, self.make_table, self.make_acl,
                self.make_internet_gateway, self.make_egress_only, self.make_nat, self.make_nat,
                self.make_public_nat, self.make_address, self.make_peering, self.make_list,
                self.make_reservation, self.make_options, self.make_key, self.make_template,
                self.make_interface, self.make_interface, self.delete, self.delete, self.delete,
                self.delete, self.delete, self.delete, self.attach, self.detach,
                self.associate_table, self.part_table, self.replace_main, self.route,
                self.route, self.route, self.unroute, self.acl_entry, self.acl_association, self.associate_address,
                self.disassociate_address, self.answer_peering, self.modify_list,
                self.restore_list, self.add_block, self.remove_block, self.subnet_ipv6,
                self.no_subnet_ipv6, self.assign, self.unassign, self.choose_options,
                self.template_version, self.no_template_version, self.nat_address,
                self.no_nat_address, self.tag, self.default_vpc]

    # Picking and keeping count.

    def pick(self, things):
        """Any of them; refused if there is none."""
        things = sorted(things)
        if not things:
            raise Refused("nothing to choose from")
        return self.random.choice(things)

    def any(self, prefix):
        with self.world.lock:
            things = set(self.place.things[prefix])
        return self.pick(things)

    def call(self, action, **parameters):
        return self.wire.call(action, **parameters)

    def make(self, prefix, action, **parameters):
        """Makes one, unless there are enough."""
        if len(self.place.things[prefix]) >= ENOUGH:
            raise Refused("enough")
        text = self.call(action, **parameters)
        made = ids(text, prefix)[0]
        with self.world.lock:
            self.place.things[prefix].add(made)
            self.place.present.add(made)
        self.own[prefix].add(made)
        return made, text

    def delete(self):
        prefix = self.pick(KINDS)
        action, parameter, _ = KINDS[prefix]
        chosen = self.pick(self.own[prefix])
        public = self.public.get(chosen)
        with self.world.lock:
            self.place.present.discard(chosen)
            if public:
                # Anybody may have it once the request is on its way.
                self.world.holders.pop(public, None)
        try:
            self.call(action, **{parameter: chosen})
        except Refused as refusal:
            if not refusal.args[0].endswith(".NotFound"):
                with self.world.lock:
                    self.place.present.add(chosen)
                    if public:
                        self.world.hold(public, chosen)
                raise
        except Unknown:
            self.forget(prefix, chosen)
            raise
        with self.world.lock:
            if prefix not in LINGERS:
                self.place.gone.add(chosen)
        self.forget(prefix, chosen)

    def forget(self, prefix, chosen):
        self.own[prefix].discard(chosen)
        with self.world.lock:
            self.place.things[prefix].discard(chosen)

    def block(self, octets=8):
        return f"10.{self.random.randrange(octets)}"

    def named(self):
        return f"name{self.random.randrange(2 * ENOUGH)}"

    # Making.

    def make_vpc(self):
        more = {"AmazonProvidedIpv6CidrBlock": "true"} if self.random.random() < 0.5 else {}
        self.make("vpc", "CreateVpc", CidrBlock=f"{self.block()}.0.0/16", **more)

    def make_subnet(self):
        vpc = self.any("vpc")
        [block, *_] = found(self.call("DescribeVpcs", VpcId_1=vpc), "cidrBlock")
        start = block.rsplit(".", 2)[0]
        self.make("subnet", "CreateSubnet", VpcId=vpc,
                  CidrBlock=f"{start}.{self.random.randrange(20)}.0/24")

    def make_table(self):
        self.make("rtb", "CreateRouteTable", VpcId=self.any("vpc"))

    def make_acl(self):
        self.make("acl", "CreateNetworkAcl", VpcId=self.any("vpc"))

    def make_internet_gateway(self):
        self.make("igw", "CreateInternetGateway")

    def make_egress_only(self):
        self.make("eigw", "CreateEgressOnlyInternetGateway", VpcId=self.any("vpc"))

    def make_nat(self):
        self.make("nat", "CreateNatGateway", SubnetId=self.any("subnet"),
                  ConnectivityType="private",
                  SecondaryPrivateIpAddressCount=str(self.random.randrange(1, 3)))

    def make_public_nat(self):
        self.make("nat", "CreateNatGateway", SubnetId=self.any("subnet"),
                  AllocationId=self.any("eipalloc"))

    def make_address(self):
        made, text = self.make("eipalloc", "AllocateAddress", Domain="vpc")
        [self.public[made]] = found(text, "publicIp")
        with self.world.lock:
            self.world.hold(self.public[made], made)

    def make_peering(self):
        self.make("pcx", "CreateVpcPeeringConnection", VpcId=self.any("vpc"),
                  PeerVpcId=self.any("vpc"))

    def make_list(self):
        self.make("pl", "CreateManagedPrefixList", PrefixListName=self.named(), MaxEntries="5",
                  AddressFamily="IPv4", Entry_1_Cidr="10.99.0.0/16")

    def make_reservation(self):
        subnet = self.any("subnet")
        [block] = found(self.call("DescribeSubnets", SubnetId_1=subnet), "cidrBlock")
        block = self.pick(map(str, ipaddress.ip_network(block).subnets(new_prefix=28)))
        kind = self.pick(["explicit", "prefix"])
        self.make("scr", "CreateSubnetCidrReservation", SubnetId=subnet, Cidr=block,
                  ReservationType=kind)

    def make_options(self):
        self.make("dopt", "CreateDhcpOptions", DhcpConfiguration_1_Key="domain-name",
                  DhcpConfiguration_1_Value_1=f"{self.named()}.example")

    def make_key(self):
        self.make("key", "CreateKeyPair", KeyName=self.named(), KeyType="ed25519")

    def make_template(self):
        self.make("lt", "CreateLaunchTemplate", LaunchTemplateName=self.named(),
                  LaunchTemplateData_InstanceType="t3.micro")

    def make_interface(self):
        more = self.random.choice([{}, {"Ipv6AddressCount": "1"}, {"Ipv6PrefixCount": "1"},
                                   {"Ipv4PrefixCount": "1"},
                                   {"SecondaryPrivateIpAddressCount": "2"}])
        self.make("eni", "CreateNetworkInterface", SubnetId=self.any("subnet"), **more)

    # Joining and parting.

    def attach(self):
        self.call("AttachInternetGateway", InternetGatewayId=self.any("igw"),
                  VpcId=self.any("vpc"))

    def detach(self):
        gateway = self.any("igw")
        text = self.call("DescribeInternetGateways", InternetGatewayId_1=gateway)
        self.call("DetachInternetGateway", InternetGatewayId=gateway,
                  VpcId=self.pick(ids(text, "vpc")))

    def associate_table(self):
        self.call("AssociateRouteTable", RouteTableId=self.any("rtb"),
                  SubnetId=self.any("subnet"))

    def part_table(self):
        self.call("DisassociateRouteTable", AssociationId=self.association())

    def association(self):
        return self.pick(ids(self.call("DescribeRouteTables"), "rtbassoc"))

    def replace_main(self):
        self.call("ReplaceRouteTableAssociation", AssociationId=self.association(),
                  RouteTableId=self.any("rtb"))

    def route(self):
        way, prefix = self.pick([("GatewayId", "igw"), ("NatGatewayId", "nat"),
                                 ("NetworkInterfaceId", "eni"),
                                 ("VpcPeeringConnectionId", "pcx"),
                                 ("EgressOnlyInternetGatewayId", "eigw")])
        if prefix == "eigw":
            to = {"DestinationIpv6CidrBlock": "::/0"}
        elif self.random.random() < 0.3:
            to = {"DestinationPrefixListId": self.any("pl")}
        else:
            to = {"DestinationCidrBlock": f"192.168.{self.random.randrange(4)}.0/24"}
        action = self.pick(["CreateRoute", "ReplaceRoute"])
        self.call(action, RouteTableId=self.any("rtb"), **{way: self.any(prefix)}, **to)

    def unroute(self):
        self.call("DeleteRoute", RouteTableId=self.any("rtb"),
                  DestinationCidrBlock=f"192.168.{self.random.randrange(4)}.0/24")

    def acl_entry(self):
        entry = {"NetworkAclId": self.any("acl"), "RuleNumber": str(self.random.randrange(1, 4)),
                 "Egress": self.pick(["true", "false"])}
        action = self.pick(["CreateNetworkAclEntry", "ReplaceNetworkAclEntry",
                            "DeleteNetworkAclEntry"])
        if action != "DeleteNetworkAclEntry":
            entry |= {"Protocol": "-1", "RuleAction": "deny", "CidrBlock": "10.0.0.0/8"}
        self.call(action, **entry)

    def acl_association(self):
        text = self.call("DescribeNetworkAcls")
        self.call("ReplaceNetworkAclAssociation", NetworkAclId=self.any("acl"),
                  AssociationId=self.pick(ids(text, "aclassoc")))

    def associate_address(self):
        self.call("AssociateAddress", AllocationId=self.any("eipalloc"),
                  NetworkInterfaceId=self.any("eni"))

    def disassociate_address(self):
        text = self.call("DescribeAddresses")
        self.call("DisassociateAddress", AssociationId=self.pick(ids(text, "eipassoc")))

    def answer_peering(self):
        action = self.random.choice(["AcceptVpcPeeringConnection"] * 3
                                    + ["RejectVpcPeeringConnection"])
        self.call(action, VpcPeeringConnectionId=self.any("pcx"))

    def modify_list(self):
        chosen = self.any("pl")
        text = self.call("DescribeManagedPrefixLists", PrefixListId_1=chosen)
        block = f"10.{self.random.randrange(90, 96)}.0.0/16"
        entry = self.pick(["AddEntry_1_Cidr", "RemoveEntry_1_Cidr"])
        self.call("ModifyManagedPrefixList", PrefixListId=chosen,
                  CurrentVersion=self.pick(found(text, "version")), **{entry: block})

    def restore_list(self):
        chosen = self.any("pl")
        text = self.call("DescribeManagedPrefixLists", PrefixListId_1=chosen)
        self.call("RestoreManagedPrefixListVersion", PrefixListId=chosen, PreviousVersion="1",
                  CurrentVersion=self.pick(found(text, "version")))

    def add_block(self):
        if self.random.random() < 0.5:
            block = {"CidrBlock": f"{self.block(16)}.0.0/16"}
        else:
            block = {"AmazonProvidedIpv6CidrBlock": "true"}
        self.call("AssociateVpcCidrBlock", VpcId=self.any("vpc"), **block)

    def remove_block(self):
        text = self.call("DescribeVpcs", VpcId_1=self.any("vpc"))
        self.call("DisassociateVpcCidrBlock", AssociationId=self.pick(ids(text, "vpc-cidr-assoc")))

    def subnet_ipv6(self):
        subnet = self.any("subnet")
        [vpc] = ids(self.call("DescribeSubnets", SubnetId_1=subnet), "vpc")
        block = self.pick(found(self.call("DescribeVpcs", VpcId_1=vpc), "ipv6CidrBlock"))
        network = ipaddress.ip_network(block)[self.random.randrange(4) << 64]
        self.call("AssociateSubnetCidrBlock", SubnetId=subnet, Ipv6CidrBlock=f"{network}/64")

    def no_subnet_ipv6(self):
        text = self.call("DescribeSubnets")
        self.call("DisassociateSubnetCidrBlock",
                  AssociationId=self.pick(ids(text, "subnet-cidr-assoc")))

    def assign(self):
        action, count = self.pick([
            ("AssignIpv6Addresses", "Ipv6AddressCount"), ("AssignIpv6Addresses", "Ipv6PrefixCount"),
            ("AssignPrivateIpAddresses", "Ipv4PrefixCount"),
            ("AssignPrivateIpAddresses", "SecondaryPrivateIpAddressCount")])
        self.call(action, NetworkInterfaceId=self.any("eni"), **{count: "1"})

    def unassign(self):
        eni = self.any("eni")
        text = self.call("DescribeNetworkInterfaces", NetworkInterfaceId_1=eni)
        action, name, tag = self.pick([
            ("UnassignIpv6Addresses", "Ipv6Addresses_1", "ipv6Address"),
            ("UnassignIpv6Addresses", "Ipv6Prefix_1", "ipv6Prefix"),
            ("UnassignPrivateIpAddresses", "Ipv4Prefix_1", "ipv4Prefix"),
            ("UnassignPrivateIpAddresses", "PrivateIpAddress_1", "privateIpAddress")])
        self.call(action, NetworkInterfaceId=eni, **{name: self.pick(found(text, tag))})

    def choose_options(self):
        self.call("AssociateDhcpOptions", VpcId=self.any("vpc"), DhcpOptionsId=self.any("dopt"))

    def template_version(self):
        self.call("CreateLaunchTemplateVersion", LaunchTemplateId=self.any("lt"),
                  SourceVersion="1", LaunchTemplateData_InstanceType="m5.large")

    def no_template_version(self):
        self.call("DeleteLaunchTemplateVersions", LaunchTemplateId=self.any("lt"),
                  LaunchTemplateVersion_1="2")

    def nat_address(self):
        gateway = self.any("nat")
        if self.random.random() < 0.5:
            self.call("AssociateNatGatewayAddress", NatGatewayId=gateway,
                      AllocationId_1=self.any("eipalloc"))
        else:
            self.call("AssignPrivateNatGatewayAddress", NatGatewayId=gateway,
                      PrivateIpAddressCount="1")

    def no_nat_address(self):
        gateway = self.any("nat")
        text = self.call("DescribeNatGateways", NatGatewayId_1=gateway)
        associations = ids(text, "eipassoc")
        if associations:
            self.call("DisassociateNatGatewayAddress", NatGatewayId=gateway,
                      AssociationId_1=self.pick(associations))
        else:
            self.call("UnassignPrivateNatGatewayAddress", NatGatewayId=gateway,
                      PrivateIpAddress_1=self.pick(found(text, "privateIp")))

    def tag(self):
        prefix = self.pick(set(KINDS) - {"scr"})
        self.call("CreateTags", ResourceId_1=self.any(prefix), Tag_1_Key="k",
                  Tag_1_Value=str(self.random.random()))

    def default_vpc(self):
        """Takes the default VPC down if it is there, else makes it again."""
        default = {"Filter_1_Name": "is-default", "Filter_1_Value_1": "true"}
        vpcs = ids(self.call("DescribeVpcs", **default), "vpc")
        if not vpcs:
            self.call("CreateDefaultVpc")
            return
        [vpc] = vpcs
        of_vpc = {"Filter_1_Name": "vpc-id", "Filter_1_Value_1": vpc}
        for subnet in ids(self.call("DescribeSubnets", **of_vpc), "subnet"):
            self.call("DeleteSubnet", SubnetId=subnet)
        of_vpc["Filter_1_Name"] = "attachment.vpc-id"
        for gateway in ids(self.call("DescribeInternetGateways", **of_vpc), "igw"):
            self.call("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
            # It is this client's only if it is not one of the others'.
            with self.world.lock:
                known = gateway in self.place.things["igw"]
            if not known:
                self.call("DeleteInternetGateway", InternetGatewayId=gateway)
        self.call("DeleteVpc", VpcId=vpc)


class World:
    """What all workers share."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.places = [Place(region) for region in REGIONS]
        self.lock = threading.Lock()
        self.left = OPERATIONS
        self.counts = collections.Counter()
        self.failures = []
        # Public address to allocation, of both regions.
        self.holders = {}
        self.up = threading.Event()
        self.up.set()

    def take(self):
        """Whether there is another operation to do."""
        with self.lock:
            self.left -= 1
            return self.left >= 0 and not self.failures

    def hold(self, address, allocation):
        other = self.holders.setdefault(address, allocation)
        if other != allocation:
            self.failures.append(f"{address}: {other} and {allocation} have it")

    def wait_until_up(self):
        assert self.up.wait(60), "the daemon is back"

    def crash(self):
        """Kills the daemon, looks at what is stored, and starts it again."""
        self.up.clear()
        self.daemon.kill()
        checked = self.daemon.json("check")
        assert checked["consistent"], checked["findings"]
        self.daemon.start()
        self.up.set()


def test_random_networks_and_kills(start_daemon):
    began = time.monotonic()
    print(f"ENID_SEED={SEED}")
    world = World(start_daemon("none", config=CONFIG))
    workers = [Worker(number, world) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for number in range(KILLS, 0, -1):
        wanted = OPERATIONS * number // (KILLS + 1)
        while world.left > wanted and any(worker.is_alive() for worker in workers):
            workers[0].join(0.01)
            world.daemon.assert_consistent()
        world.crash()
    for worker in workers:
        worker.join(60)
    assert world.failures == []
    world.daemon.assert_consistent()
    world.crash()
    world.daemon.assert_consistent()
    summary = "\n".join(f"{count:6} {name}: {outcome}"
                        for (name, outcome), count in sorted(world.counts.items()))
    print(f"{time.monotonic() - began:.1f} s\n{summary}")
    names = {name for name, _ in world.counts}
    assert {name for name in names if not world.counts[name, "done"]} == set(), summary

    # What was answered is what is there.
    for place in world.places:
        wire = Wire(world.daemon, place.region)
        for prefix, (_, _, listing) in KINDS.items():
            if listing is None:
                continue
            seen = set(ids(wire.call(listing), prefix))
            mine = {each for each in place.present if each.startswith(f"{prefix}-")}
            assert mine <= seen, f"an answered create was lost: {mine - seen}"
            back = place.gone & seen
            assert not back, f"an answered delete came back: {back}"
