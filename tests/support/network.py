"""What lies between subnets: routes, network ACLs and peering connections, in few words."""


class Network:
    """Makes them in a laboratory's VPCs; they go with these."""

    def __init__(self, lab):
        self.lab = lab
        self.ec2 = lab.ec2
        self._undo = []

    def table(self, vpc, *subnets):
        """A route table for subnets."""
        table = self.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        self._undo.append(lambda: self.ec2.delete_route_table(RouteTableId=table))
        for subnet in subnets:
            self.use_table(table, subnet)
        return table

    def use_table(self, table, subnet):
        answer = self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        association = answer["AssociationId"]
        self._undo.append(
            lambda: self.ec2.disassociate_route_table(AssociationId=association))

    def edge_table(self, vpc, gateway):
        """A route table for what comes in by an internet gateway."""
        table = self.table(vpc)
        answer = self.ec2.associate_route_table(RouteTableId=table, GatewayId=gateway)
        association = answer["AssociationId"]
        self._undo.append(
            lambda: self.ec2.disassociate_route_table(AssociationId=association))
        return table

    def route(self, table, block, target):
        """A route to a block, whatever kind of target the id is of."""
        self.ec2.create_route(RouteTableId=table, **_destination(block), **_target(target))

    def reroute(self, table, block, target):
        self.ec2.replace_route(RouteTableId=table, **_destination(block), **_target(target))

    def unroute(self, table, block):
        self.ec2.delete_route(RouteTableId=table, **_destination(block))

    def route_state(self, table, block):
        found = self.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        [state] = [route["State"] for route in found
                   if block in (route.get("DestinationCidrBlock"),
                                route.get("DestinationIpv6CidrBlock"))]
        return state

    def acl(self, vpc, *entries):
        """A network ACL: everything else is denied."""
        acl = self.ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
        self._undo.append(lambda: self.ec2.delete_network_acl(NetworkAclId=acl))
        for entry in entries:
            self.entry(acl, entry)
        return acl

    def entry(self, acl, entry):
        self.ec2.create_network_acl_entry(NetworkAclId=acl, **entry)

    def use_acl(self, acl, subnet):
        """Gives a subnet a network ACL; in the end it has the one before again."""
        filters = [{"Name": "association.subnet-id", "Values": [subnet]}]
        [before] = self.ec2.describe_network_acls(Filters=filters)["NetworkAcls"]
        self._associate(acl, subnet)
        self._undo.append(lambda: self._associate(before["NetworkAclId"], subnet))

    def _associate(self, acl, subnet):
        filters = [{"Name": "association.subnet-id", "Values": [subnet]}]
        [present] = self.ec2.describe_network_acls(Filters=filters)["NetworkAcls"]
        [association] = [entry["NetworkAclAssociationId"] for entry in present["Associations"]
                         if entry["SubnetId"] == subnet]
        self.ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=acl)

    def nat_gateway(self, subnet, **options):
        """A NAT gateway; routes to it go before it does."""
        answer = self.ec2.create_nat_gateway(SubnetId=subnet, **options)
        nat = answer["NatGateway"]["NatGatewayId"]
        self._undo.append(lambda: self._delete_nat_gateway(nat))
        return nat

    def _delete_nat_gateway(self, nat):
        [found] = self.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
        if found["State"] != "deleted":
            self.ec2.delete_nat_gateway(NatGatewayId=nat)

    def egress_only_gateway(self, vpc):
        """An egress-only internet gateway; routes to it go before it does."""
        answer = self.ec2.create_egress_only_internet_gateway(VpcId=vpc)
        gateway = answer["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]
        self._undo.append(lambda: self.ec2.delete_egress_only_internet_gateway(
            EgressOnlyInternetGatewayId=gateway))
        return gateway

    def peer(self, one, other):
        """A peering connection, accepted."""
        answer = self.ec2.create_vpc_peering_connection(VpcId=one, PeerVpcId=other)
        connection = answer["VpcPeeringConnection"]["VpcPeeringConnectionId"]
        self.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=connection)
        return connection

    def close(self):
        while self._undo:
            self._undo.pop()()


def allow(number, protocol="-1", ports=None, block="0.0.0.0/0", out=False, action="allow"):
    """An entry of a network ACL."""
    entry = {"RuleNumber": number, "Protocol": str(protocol), "RuleAction": action,
             "Egress": out}
    entry |= {"Ipv6CidrBlock": block} if ":" in block else {"CidrBlock": block}
    if ports is not None:
        first, last = ports if isinstance(ports, tuple) else (ports, ports)
        entry["PortRange"] = {"From": first, "To": last}
    if str(protocol) in ("1", "58"):
        entry["IcmpTypeCode"] = {"Type": -1, "Code": -1}
    return entry


def deny(number, *words, **options):
    return allow(number, *words, action="deny", **options)


def _destination(block):
    if block.startswith("pl-"):
        return {"DestinationPrefixListId": block}
    return {"DestinationIpv6CidrBlock" if ":" in block else "DestinationCidrBlock": block}


_TARGETS = {"igw": "GatewayId", "nat": "NatGatewayId", "eni": "NetworkInterfaceId",
            "pcx": "VpcPeeringConnectionId", "eigw": "EgressOnlyInternetGatewayId"}


def _target(target):
    return {_TARGETS[target.split("-")[0]]: target}
