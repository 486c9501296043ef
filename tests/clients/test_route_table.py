"""Route tables and routes through boto3."""

import pytest

from support.errors import refused
from support.lab import Lab

UNKNOWN = "rtb-00000000000000001"
LOCAL = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local",
         "Origin": "CreateRouteTable", "State": "active"}


def tables(ec2, *filters):
    answer = ec2.describe_route_tables(Filters=[{"Name": name, "Values": list(values)}
                                                for name, *values in filters])
    return answer["RouteTables"]


def custom(ec2, vpc):
    return ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]


def routes(ec2, table):
    """The routes beside the local one of the usual block, by destination."""
    [shown] = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert shown["PropagatingVgws"] == []
    return {route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock"): route
            for route in shown["Routes"] if route != LOCAL}


@pytest.fixture
def vpc(ec2, papers):
    """A VPC whose own tables are gone before the laboratory deletes it."""
    vpc = papers.vpc()
    yield vpc
    ids = [instance.id for instance in papers.instances]
    if ids:
        ec2.terminate_instances(InstanceIds=ids)
    for table in tables(ec2, ("vpc-id", vpc)):
        for association in table["Associations"]:
            if not association["Main"]:
                ec2.disassociate_route_table(
                    AssociationId=association["RouteTableAssociationId"])
    for table in tables(ec2, ("vpc-id", vpc)):
        if not any(association["Main"] for association in table["Associations"]):
            ec2.delete_route_table(RouteTableId=table["RouteTableId"])


@pytest.fixture(scope="module")
def default(ec2):
    """The main table of the default VPC, with its route to the internet."""
    [vpc] = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    [table] = tables(ec2, ("vpc-id", vpc["VpcId"]))
    return table


def test_main_table(ec2, vpc, default):
    [table] = tables(ec2, ("vpc-id", vpc))
    assert table["OwnerId"] == "123456789012" and table["Routes"] == [LOCAL]
    [association] = table["Associations"]
    assert association["Main"] and association["RouteTableId"] == table["RouteTableId"]
    assert association["AssociationState"] == {"State": "associated"}
    assert "SubnetId" not in association
    [local, internet] = default["Routes"]
    assert local["DestinationCidrBlock"] == "172.31.0.0/16" and local["GatewayId"] == "local"
    assert internet["DestinationCidrBlock"] == "0.0.0.0/0" and internet["State"] == "active"
    assert internet["GatewayId"].startswith("igw-") and internet["Origin"] == "CreateRoute"
    with refused("DependencyViolation", f"The routeTable '{table['RouteTableId']}' has "
                 "dependencies and cannot be deleted."):
        ec2.delete_route_table(RouteTableId=table["RouteTableId"])
    main = association["RouteTableAssociationId"]
    with refused("InvalidParameterValue",
                 f"cannot disassociate the main route table association {main}"):
        ec2.disassociate_route_table(AssociationId=main)


def test_new_table(ec2, vpc):
    request = {"VpcId": vpc, "ClientToken": "once", "TagSpecifications": [
        {"ResourceType": "route-table", "Tags": [{"Key": "tier", "Value": "web"}]}]}
    table = ec2.create_route_table(**request)["RouteTable"]
    assert table["Routes"] == [LOCAL] and table["Associations"] == []
    assert table["Tags"] == [{"Key": "tier", "Value": "web"}]
    again = ec2.create_route_table(**request)
    assert again["RouteTable"] == table and again["ClientToken"] == "once"
    assert tables(ec2, ("tag:tier", "web")) == [table]
    ec2.delete_tags(Resources=[table["RouteTableId"]])
    assert tables(ec2, ("tag:tier", "web")) == []
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc)
    ec2.delete_route_table(RouteTableId=table["RouteTableId"])
    with refused("InvalidRouteTableID.NotFound",
                 f"The routeTable ID '{table['RouteTableId']}' does not exist"):
        ec2.describe_route_tables(RouteTableIds=[table["RouteTableId"]])


def test_subnet_associations(ec2, papers, vpc):
    subnet = papers.subnet(vpc)
    first, second = custom(ec2, vpc), custom(ec2, vpc)
    answer = ec2.associate_route_table(RouteTableId=first, SubnetId=subnet)
    assert answer["AssociationState"] == {"State": "associated"}
    association = answer["AssociationId"]
    again = ec2.associate_route_table(RouteTableId=first, SubnetId=subnet)
    assert again["AssociationId"] == association
    [table] = tables(ec2, ("association.subnet-id", subnet))
    assert table["Associations"] == [{
        "Main": False, "RouteTableAssociationId": association, "RouteTableId": first,
        "SubnetId": subnet, "AssociationState": {"State": "associated"}}]
    with refused("Resource.AlreadyAssociated", "the specified association for route table "
                 f"{second} conflicts with an existing association"):
        ec2.associate_route_table(RouteTableId=second, SubnetId=subnet)
    with refused("DependencyViolation"):
        ec2.delete_route_table(RouteTableId=first)
    new = ec2.replace_route_table_association(AssociationId=association, RouteTableId=second)
    assert new["NewAssociationId"] != association
    ec2.delete_route_table(RouteTableId=first)
    with refused("InvalidAssociationID.NotFound",
                 f"The association ID '{association}' does not exist"):
        ec2.disassociate_route_table(AssociationId=association)
    # A subnet takes its association along.
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_route_table(RouteTableId=second)


def test_another_main_table(ec2, papers, vpc):
    [old] = tables(ec2, ("vpc-id", vpc))
    new = custom(ec2, vpc)
    answer = ec2.replace_route_table_association(
        AssociationId=old["Associations"][0]["RouteTableAssociationId"], RouteTableId=new)
    [main] = tables(ec2, ("vpc-id", vpc), ("association.main", "true"))
    assert main["RouteTableId"] == new
    assert main["Associations"][0]["RouteTableAssociationId"] == answer["NewAssociationId"]
    with refused("DependencyViolation"):
        ec2.delete_route_table(RouteTableId=new)
    ec2.delete_route_table(RouteTableId=old["RouteTableId"])
    other = papers.vpc("10.1.0.0/16")
    [foreign] = tables(ec2, ("vpc-id", other))
    with refused("InvalidParameterValue", "…belong to different networks"):
        ec2.replace_route_table_association(AssociationId=answer["NewAssociationId"],
                                            RouteTableId=foreign["RouteTableId"])
    subnet = papers.subnet(vpc)
    with refused("InvalidParameterValue", f"route table {foreign['RouteTableId']} and subnet "
                 f"{subnet} belong to different networks"):
        ec2.associate_route_table(RouteTableId=foreign["RouteTableId"], SubnetId=subnet)
    with refused("MissingParameter", "…subnetId"):
        ec2.associate_route_table(RouteTableId=new)


def test_routes_to_interfaces(ec2, papers, vpc):
    subnet = papers.subnet(vpc)
    table = custom(ec2, vpc)
    eni = papers.interface(subnet)["NetworkInterfaceId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.1.7/24",
                     NetworkInterfaceId=eni)
    assert routes(ec2, table) == {"192.168.1.0/24": {
        "DestinationCidrBlock": "192.168.1.0/24", "NetworkInterfaceId": eni,
        "Origin": "CreateRoute", "State": "blackhole"}}, "it is attached to nothing"
    instance = papers.instance(subnet)
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="192.168.1.0/24",
                      InstanceId=instance.id)
    route = routes(ec2, table)["192.168.1.0/24"]
    assert route["NetworkInterfaceId"] == instance.eni and route["InstanceId"] == instance.id
    assert route["InstanceOwnerId"] == "123456789012" and route["State"] == "active"
    [found] = tables(ec2, ("route.instance-id", instance.id))
    assert found["RouteTableId"] == table
    ec2.stop_instances(InstanceIds=[instance.id])
    assert routes(ec2, table)["192.168.1.0/24"]["State"] == "blackhole"
    ec2.start_instances(InstanceIds=[instance.id])
    assert routes(ec2, table)["192.168.1.0/24"]["State"] == "active"
    ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance.id, DeviceIndex=1)
    with refused("InvalidInstanceID", "…multiple interfaces"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.2.0/24",
                         InstanceId=instance.id)
    ec2.terminate_instances(InstanceIds=[instance.id])
    route = routes(ec2, table)["192.168.1.0/24"]
    assert route["State"] == "blackhole" and route["NetworkInterfaceId"] == instance.eni
    assert "InstanceId" not in route
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="192.168.1.0/24")
    assert routes(ec2, table) == {}


def test_gateways_of_other_networks(ec2, vpc, default):
    table = custom(ec2, vpc)
    internet = default["Routes"][1]["GatewayId"]
    with refused("InvalidParameterValue", f"route table {table} and network gateway {internet} "
                 "belong to different networks"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=internet)
    own = custom(ec2, default["VpcId"])
    ec2.create_route(RouteTableId=own, DestinationCidrBlock="0.0.0.0/0", GatewayId=internet)
    ec2.create_route(RouteTableId=own, DestinationIpv6CidrBlock="::/0", GatewayId=internet)
    shown = routes(ec2, own)
    assert shown["::/0"] == {"DestinationIpv6CidrBlock": "::/0", "GatewayId": internet,
                             "Origin": "CreateRoute", "State": "active"}
    with refused("RouteAlreadyExists", "The route identified by ::/0 already exists."):
        ec2.create_route(RouteTableId=own, DestinationIpv6CidrBlock="::/0", GatewayId=internet)
    with refused("InvalidParameterValue", "Route target is not supported. This route only "
                 "supports interface and instance targets."):
        ec2.create_route(RouteTableId=own, DestinationCidrBlock="172.31.0.0/20",
                         GatewayId=internet)
    ec2.delete_route_table(RouteTableId=own)


def test_local_routes(ec2, papers, vpc):
    subnet = papers.subnet(vpc)
    eni = papers.interface(subnet)["NetworkInterfaceId"]
    table = custom(ec2, vpc)

    def create(destination):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=destination,
                         NetworkInterfaceId=eni)

    with refused("RouteAlreadyExists", "The route identified by 10.0.0.0/16 already exists."):
        create("10.0.0.0/16")
    with refused("InvalidParameterValue",
                 f"cannot remove local route 10.0.0.0/16 in route table {table}"):
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16")
    create("10.0.0.0/24")
    with refused("InvalidParameterValue", "…10.0.0.0/25"):
        create("10.0.0.0/25")
    create("10.0.0.0/8")
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16",
                      NetworkInterfaceId=eni)
    replaced = routes(ec2, table)["10.0.0.0/16"]
    assert replaced["NetworkInterfaceId"] == eni and replaced["Origin"] == "CreateRouteTable"
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16", LocalTarget=True)
    assert set(routes(ec2, table)) == {"10.0.0.0/24", "10.0.0.0/8"}
    with refused("InvalidParameterValue", "…local target"):
        ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/8", LocalTarget=True)


def test_wrong_routes(ec2, papers, vpc):
    subnet = papers.subnet(vpc)
    table = custom(ec2, vpc)
    eni = papers.interface(subnet)["NetworkInterfaceId"]
    far = papers.interface(papers.subnet(papers.vpc("10.1.0.0/16"), "10.1.0.0/24"))
    far = far["NetworkInterfaceId"]
    usual = {"RouteTableId": table, "DestinationCidrBlock": "192.168.0.0/24"}
    to_eni = {"NetworkInterfaceId": eni}
    one_of = "…exactly one of"
    for request, code, words in [
            (usual, "MissingParameter", one_of),
            (usual | to_eni | {"GatewayId": "igw-00000000000000001"},
             "InvalidParameterCombination", one_of),
            ({"RouteTableId": table} | to_eni, "MissingParameter", one_of),
            (usual | to_eni | {"DestinationIpv6CidrBlock": "::/0"},
             "InvalidParameterCombination", one_of),
            (usual | to_eni | {"DestinationCidrBlock": "10.0.0.0/33"},
             "InvalidParameterValue", "…10.0.0.0/33"),
            (usual | to_eni | {"DestinationCidrBlock": "169.254.169.0/24"},
             "InvalidParameterValue", "…169.254.169.0/24"),
            (usual | {"GatewayId": "igw-00000000000000001"}, "InvalidGatewayID.NotFound",
             "The gateway ID 'igw-00000000000000001' does not exist"),
            (usual | {"GatewayId": eni}, "InvalidGatewayID.NotFound",
             f"The gateway ID '{eni}' does not exist"),
            (usual | {"NatGatewayId": "nat-00000000000000001"}, "InvalidNatGatewayID.NotFound",
             "The natGateway ID 'nat-00000000000000001' does not exist"),
            (usual | {"EgressOnlyInternetGatewayId": "eigw-00000000000000001"},
             "InvalidGatewayID.NotFound", "The gateway ID 'eigw-00000000000000001' does not exist"),
            (usual | {"NetworkInterfaceId": "eni-00000000000000001"},
             "InvalidNetworkInterfaceID.NotFound", None),
            (usual | {"InstanceId": "i-00000000000000001"}, "InvalidInstanceID.NotFound", None),
            (usual | {"VpcPeeringConnectionId": "pcx-00000000000000001"},
             "InvalidVpcPeeringConnectionID.NotFound",
             "The vpcPeeringConnection ID 'pcx-00000000000000001' does not exist"),
            (usual | {"NetworkInterfaceId": far}, "InvalidParameterValue",
             f"route table {table} and interface {far} belong to different networks"),
            (usual | {"TransitGatewayId": "tgw-00000000000000001"}, "UnsupportedOperation",
             "…TransitGatewayId"),
            (usual | {"GatewayId": "vgw-00000000000000001"}, "UnsupportedOperation", None),
            (usual | to_eni | {"RouteTableId": UNKNOWN}, "InvalidRouteTableID.NotFound",
             f"The routeTable ID '{UNKNOWN}' does not exist"),
            (usual | to_eni | {"RouteTableId": "rtb-x"}, "InvalidRouteTableId.Malformed", None),
            (usual | to_eni | {"DryRun": True}, "DryRunOperation", None)]:
        with refused(code, words, 412 if code == "DryRunOperation" else 400):
            ec2.create_route(**request)
    assert routes(ec2, table) == {}
    # Larger than what is reserved is allowed.
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="169.254.0.0/16", **to_eni)
    with refused("InvalidParameterValue", "There is no route defined for '192.168.0.0/24' in the "
                 "route table. Use CreateRoute instead."):
        ec2.replace_route(**usual, **to_eni)
    with refused("InvalidRoute.NotFound", "no route with destination-cidr-block 192.168.0.0/24 "
                 f"in route table {table}"):
        ec2.delete_route(**usual)
    with refused("InvalidRoute.NotFound", "no route with destination-ipv6-cidr-block ::/0 "
                 f"in route table {table}"):
        ec2.delete_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0")


def test_filters_and_pages(ec2, papers, vpc, default):
    made = sorted(custom(ec2, vpc) for _ in range(6))
    eni = papers.interface(papers.subnet(vpc))["NetworkInterfaceId"]
    ec2.create_route(RouteTableId=made[1], DestinationCidrBlock="192.168.0.0/24",
                     NetworkInterfaceId=eni)
    ec2.create_route(RouteTableId=made[2], DestinationIpv6CidrBlock="2001:db8::/32",
                     NetworkInterfaceId=eni)

    def found(*filters):
        return [table["RouteTableId"] for table in tables(ec2, *filters)]

    for name, value, wanted in [
            ("route.destination-cidr-block", "192.168.0.0/24", made[1:2]),
            ("route.destination-ipv6-cidr-block", "2001:db8::/32", made[2:3]),
            ("route.state", "blackhole", made[1:3]), ("route.origin", "CreateRoute", made[1:3]),
            ("route.gateway-id", "local", made), ("route.instance-id", "*", []),
            ("route.nat-gateway-id", "*", []), ("association.main", "true", []),
            ("route.vpc-peering-connection-id", "*", []), ("association.gateway-id", "*", []),
            ("owner-id", "123456789012", made), ("vpc-id", vpc, made)]:
        assert found(("route-table-id", *made), (name, value)) == wanted, (name, value)
    internet = default["Routes"][1]["GatewayId"]
    assert found(("route.gateway-id", internet)) == [default["RouteTableId"]]
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        found(("colour", "red"))
    with refused("InvalidParameterValue", "…101"):
        ec2.describe_route_tables(MaxResults=101)
    pages = ec2.get_paginator("describe_route_tables").paginate(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}], PaginationConfig={"PageSize": 5})
    seen = [table["RouteTableId"] for page in pages for table in page["RouteTables"]]
    assert len(seen) == 7 and set(made) < set(seen) and seen == sorted(seen)


def test_quotas(start_daemon):
    lab = Lab(start_daemon("none", config="[quotas]\nroute_tables_per_vpc = 2\n"
                                          "routes_per_table = 1\n"))
    vpc, subnet = lab.network()
    eni = lab.interface(subnet)["NetworkInterfaceId"]
    table = custom(lab.ec2, vpc)
    with refused("RouteTableLimitExceeded"):
        custom(lab.ec2, vpc)
    for destination in ({"DestinationCidrBlock": "192.168.0.0/24"},
                        {"DestinationIpv6CidrBlock": "2001:db8::/32"}):
        lab.ec2.create_route(RouteTableId=table, NetworkInterfaceId=eni, **destination)
    # A local route's new target is no further route.
    lab.ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16",
                          NetworkInterfaceId=eni)
    for destination in ({"DestinationCidrBlock": "192.168.1.0/24"},
                        {"DestinationIpv6CidrBlock": "2001:db9::/32"}):
        with refused("RouteLimitExceeded", "The maximum number of routes has been reached."):
            lab.ec2.create_route(RouteTableId=table, NetworkInterfaceId=eni, **destination)
