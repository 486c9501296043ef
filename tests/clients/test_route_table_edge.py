"""Route tables of internet gateways ("edge associations") through boto3."""

import pytest

from support.errors import refused


@pytest.fixture
def edge(ec2, papers):
    """A VPC with a subnet, an interface in it, an internet gateway and two route tables."""
    vpc, subnet = papers.network()
    gateway = papers.internet(vpc)
    made = [ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2)]
    eni = papers.interface(subnet)["NetworkInterfaceId"]
    yield vpc, subnet, gateway, made, eni
    for table in described(ec2, ("vpc-id", vpc)):
        for association in table["Associations"]:
            if not association["Main"]:
                ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        if table["RouteTableId"] in made:
            ec2.delete_route_table(RouteTableId=table["RouteTableId"])


def described(ec2, *filters):
    answer = ec2.describe_route_tables(Filters=[{"Name": name, "Values": list(values)}
                                                for name, *values in filters])
    return answer["RouteTables"]


def test_an_association_with_a_gateway(ec2, edge):
    vpc, subnet, gateway, (first, second), _ = edge
    answer = ec2.associate_route_table(RouteTableId=first, GatewayId=gateway)
    association = answer["AssociationId"]
    assert answer["AssociationState"] == {"State": "associated"}
    again = ec2.associate_route_table(RouteTableId=first, GatewayId=gateway)
    assert again["AssociationId"] == association
    [table] = described(ec2, ("association.gateway-id", gateway))
    assert table["Associations"] == [{
        "Main": False, "RouteTableAssociationId": association, "RouteTableId": first,
        "GatewayId": gateway, "AssociationState": {"State": "associated"}}]
    [same] = described(ec2, ("association.route-table-association-id", association))
    assert same["RouteTableId"] == first
    with refused("Resource.AlreadyAssociated", "the specified association for route table "
                 f"{second} conflicts with an existing association"):
        ec2.associate_route_table(RouteTableId=second, GatewayId=gateway)
    with refused("DependencyViolation",
                 f"The routeTable '{first}' has dependencies and cannot be deleted."):
        ec2.delete_route_table(RouteTableId=first)
    # It may be a subnet's as well.
    ec2.associate_route_table(RouteTableId=first, SubnetId=subnet)
    assert len(described(ec2, ("association.gateway-id", gateway))[0]["Associations"]) == 2
    new = ec2.replace_route_table_association(AssociationId=association, RouteTableId=second)
    assert [table["RouteTableId"] for table in
            described(ec2, ("association.gateway-id", gateway))] == [second]
    ec2.disassociate_route_table(AssociationId=new["NewAssociationId"])
    assert described(ec2, ("association.gateway-id", gateway)) == []
    with refused("InvalidAssociationID.NotFound",
                 f"The association ID '{new['NewAssociationId']}' does not exist"):
        ec2.disassociate_route_table(AssociationId=new["NewAssociationId"])


def test_who_can_have_a_table(ec2, papers, edge):
    vpc, subnet, gateway, (table, _), _ = edge
    loose = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    unknown = "igw-00000000000000001"
    for target, code, words in [
            ({"GatewayId": unknown}, "InvalidGatewayID.NotFound",
             f"The gateway ID '{unknown}' does not exist"),
            ({"GatewayId": "local"}, "InvalidGatewayID.NotFound", None),
            ({"GatewayId": "nat-00000000000000001"}, "InvalidGatewayID.NotFound", None),
            ({"GatewayId": "eigw-00000000000000001"}, "InvalidGatewayID.NotFound", None),
            ({"GatewayId": "vgw-00000000000000001"}, "UnsupportedOperation", None),
            ({"GatewayId": loose}, "InvalidParameterValue",
             f"route table {table} and network gateway {loose} belong to different networks"),
            ({"GatewayId": gateway, "SubnetId": subnet}, "InvalidParameterCombination",
             "The parameters subnetId and gatewayId may not be used together"),
            ({"GatewayId": gateway, "DryRun": True}, "DryRunOperation", None)]:
        with refused(code, words, 412 if code == "DryRunOperation" else 400):
            ec2.associate_route_table(RouteTableId=table, **target)
    ec2.delete_internet_gateway(InternetGatewayId=loose)
    other = papers.vpc("10.1.0.0/16")
    [foreign] = described(ec2, ("vpc-id", other))
    with refused("InvalidParameterValue", "…belong to different networks"):
        ec2.associate_route_table(RouteTableId=foreign["RouteTableId"], GatewayId=gateway)


def test_where_a_gateways_table_leads(ec2, edge):
    vpc, _, gateway, (table, second), eni = edge
    lists = ec2.create_managed_prefix_list(PrefixListName="edge", MaxEntries=1,
                                           AddressFamily="IPv4",
                                           Entries=[{"Cidr": "10.0.0.0/24"}])
    prefixes = lists["PrefixList"]["PrefixListId"]
    ec2.associate_route_table(RouteTableId=table, GatewayId=gateway)
    to_eni = {"RouteTableId": table, "NetworkInterfaceId": eni}
    ec2.create_route(DestinationCidrBlock="10.0.0.0/24", **to_eni)
    whole = "…must be a whole CIDR block of the VPC or of one of its subnets."
    for route, words in [
            ({"DestinationCidrBlock": "0.0.0.0/0"}, whole),
            ({"DestinationCidrBlock": "10.0.0.0/8"}, whole),
            ({"DestinationIpv6CidrBlock": "::/0"}, whole),
            ({"DestinationCidrBlock": "10.0.0.0/25"}, "…10.0.0.0/25"),
            ({"DestinationPrefixListId": prefixes}, "…must not be a prefix list.")]:
        with refused("InvalidParameterValue", words):
            ec2.create_route(**to_eni, **route)
    with refused("InvalidParameterValue", f"The route to 192.168.0.0/24 in route table {table} is "
                 "not supported for an internet gateway. The target must be local or a network "
                 "interface."):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/24",
                         GatewayId=gateway)
    # The local route may be replaced, and restored.
    ec2.replace_route(DestinationCidrBlock="10.0.0.0/16", **to_eni)
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16", LocalTarget=True)
    # A table with such routes is none for a gateway.
    ec2.create_route(RouteTableId=second, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    [own] = described(ec2, ("association.gateway-id", gateway))
    [association] = own["Associations"]
    with refused("InvalidParameterValue", "…not supported for an internet gateway"):
        ec2.replace_route_table_association(
            AssociationId=association["RouteTableAssociationId"], RouteTableId=second)
    ec2.delete_managed_prefix_list(PrefixListId=prefixes)


def test_the_association_goes_with_the_attachment(ec2, edge):
    vpc, _, gateway, (table, _), _ = edge
    ec2.associate_route_table(RouteTableId=table, GatewayId=gateway)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    assert described(ec2, ("association.gateway-id", gateway)) == []
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
