"""VPC peering connections through boto3."""

import datetime

import pytest

from support.errors import refused
from support.lab import Lab

ACCOUNT = "123456789012"
UNKNOWN = "pcx-00000000000000001"


@pytest.fixture
def pair(papers):
    return papers.vpc("10.1.0.0/16"), papers.vpc("10.2.0.0/16")


def ask(ec2, requester, accepter, **options):
    answer = ec2.create_vpc_peering_connection(VpcId=requester, PeerVpcId=accepter, **options)
    return answer["VpcPeeringConnection"]


def shown(ec2, connection):
    answer = ec2.describe_vpc_peering_connections(VpcPeeringConnectionIds=[connection])
    return answer["VpcPeeringConnections"][0]


def main_table(ec2, vpc):
    answer = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    return answer["RouteTables"][0]["RouteTableId"]


def route_state(ec2, table, destination):
    answer = ec2.describe_route_tables(RouteTableIds=[table])
    [route] = [route for route in answer["RouteTables"][0]["Routes"]
               if route.get("DestinationCidrBlock") == destination]
    return route["State"]


def test_life_of_a_connection(ec2, pair):
    requester, accepter = pair
    asked = ask(ec2, requester, accepter, PeerOwnerId=ACCOUNT, PeerRegion="us-east-1",
                TagSpecifications=[{"ResourceType": "vpc-peering-connection",
                                    "Tags": [{"Key": "a", "Value": "1"}]}])
    connection = asked["VpcPeeringConnectionId"]
    assert asked["Status"] == {"Code": "pending-acceptance",
                               "Message": f"Pending Acceptance by {ACCOUNT}"}
    week = asked["ExpirationTime"] - datetime.datetime.now(datetime.timezone.utc)
    assert 6.9 < week / datetime.timedelta(days=1) < 7
    assert asked["RequesterVpcInfo"]["CidrBlock"] == "10.1.0.0/16"
    assert asked["RequesterVpcInfo"]["OwnerId"] == ACCOUNT
    assert asked["AccepterVpcInfo"]["VpcId"] == accepter
    assert asked["AccepterVpcInfo"]["Region"] == "us-east-1"
    assert "CidrBlock" not in asked["AccepterVpcInfo"], "only an active connection tells"
    assert asked["Tags"] == [{"Key": "a", "Value": "1"}]
    assert shown(ec2, connection) == asked
    assert ask(ec2, requester, accepter)["VpcPeeringConnectionId"] == connection

    with refused("OperationNotPermitted", f"Peering {connection} is not active. Peering options "
                 "can be added only to active peerings."):
        ec2.modify_vpc_peering_connection_options(
            VpcPeeringConnectionId=connection,
            RequesterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": False})
    table = main_table(ec2, requester)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.2.0.0/16",
                     VpcPeeringConnectionId=connection)
    assert route_state(ec2, table, "10.2.0.0/16") == "blackhole"
    accepted = ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=connection)
    accepted = accepted["VpcPeeringConnection"]
    assert accepted["Status"] == {"Code": "active", "Message": "Active"}
    assert accepted["AccepterVpcInfo"]["CidrBlockSet"] == [{"CidrBlock": "10.2.0.0/16"}]
    assert accepted["AccepterVpcInfo"]["PeeringOptions"] == {
        "AllowDnsResolutionFromRemoteVpc": False,
        "AllowEgressFromLocalClassicLinkToRemoteVpc": False,
        "AllowEgressFromLocalVpcToRemoteClassicLink": False}
    assert "ExpirationTime" not in accepted
    assert route_state(ec2, table, "10.2.0.0/16") == "active"
    ec2.get_waiter("vpc_peering_connection_exists").wait(VpcPeeringConnectionIds=[connection])
    options = ec2.modify_vpc_peering_connection_options(
        VpcPeeringConnectionId=connection,
        AccepterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": False})
    assert options["AccepterPeeringConnectionOptions"]["AllowDnsResolutionFromRemoteVpc"] is False
    assert "RequesterPeeringConnectionOptions" not in options
    options = ec2.modify_vpc_peering_connection_options(
        VpcPeeringConnectionId=connection,
        AccepterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": True})
    assert options["AccepterPeeringConnectionOptions"]["AllowDnsResolutionFromRemoteVpc"] is True
    described = shown(ec2, connection)
    for side, allows in [("AccepterVpcInfo", True), ("RequesterVpcInfo", False)]:
        peering = described[side]["PeeringOptions"]
        assert peering["AllowDnsResolutionFromRemoteVpc"] is allows
    reverse = ask(ec2, accepter, requester)["VpcPeeringConnectionId"]
    with refused("VpcPeeringConnectionAlreadyExists",
                 f"The vpc peering connection identified by {reverse} already exists."):
        ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=reverse)
    ec2.reject_vpc_peering_connection(VpcPeeringConnectionId=reverse)
    assert shown(ec2, reverse)["Status"]["Code"] == "rejected"
    with refused("InvalidStateTransition", f"Invalid state transition for {reverse}, attempted to "
                 "transition from rejected to deleting"):
        ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=reverse)

    assert ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=connection)["Return"]
    assert shown(ec2, connection)["Status"] == {"Code": "deleted",
                                                "Message": f"Deleted by {ACCOUNT}"}
    ec2.get_waiter("vpc_peering_connection_deleted").wait(VpcPeeringConnectionIds=[connection])
    assert route_state(ec2, table, "10.2.0.0/16") == "blackhole"
    with refused("InvalidParameterValue", f"…{connection}"):
        ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.2.0.0/16",
                          VpcPeeringConnectionId=connection)
    for operation, to in [(ec2.accept_vpc_peering_connection, "provisioning"),
                          (ec2.reject_vpc_peering_connection, "rejected"),
                          (ec2.delete_vpc_peering_connection, "deleting")]:
        with refused("InvalidStateTransition", f"…from deleted to {to}"):
            operation(VpcPeeringConnectionId=connection)
    assert ask(ec2, requester, accepter)["VpcPeeringConnectionId"] != connection


def test_overlapping_blocks_fail(ec2, papers):
    failed = ask(ec2, papers.vpc("10.1.0.0/16"), papers.vpc("10.1.128.0/17"))
    assert failed["Status"] == {"Code": "failed", "Message": "Failed due to incorrect VPC-ID, "
                                "Account ID, or overlapping CIDR range"}
    with refused("InvalidStateTransition", "…from failed to provisioning"):
        ec2.accept_vpc_peering_connection(
            VpcPeeringConnectionId=failed["VpcPeeringConnectionId"])


def test_peers_elsewhere_are_refused(ec2, pair):
    requester, accepter = pair
    with refused("UnsupportedOperation", "…PeerOwnerId"):
        ask(ec2, requester, accepter, PeerOwnerId="999999999999")
    with refused("UnsupportedOperation", "…PeerRegion"):
        ask(ec2, requester, accepter, PeerRegion="eu-west-1")
    with refused("MissingParameter", "…peerVpcId"):
        ec2.create_vpc_peering_connection(VpcId=requester)
    with refused("InvalidVpcID.NotFound"):
        ask(ec2, requester, "vpc-00000000000000001")
    with refused("InvalidParameterValue", f"The VPC '{requester}' cannot be peered with itself"):
        ask(ec2, requester, requester)
    with refused("DryRunOperation", status=412):
        ask(ec2, requester, accepter, DryRun=True)
    words = f"The vpcPeeringConnection ID '{UNKNOWN}' does not exist"
    for operation in (ec2.accept_vpc_peering_connection, ec2.reject_vpc_peering_connection,
                      ec2.delete_vpc_peering_connection):
        with refused("InvalidVpcPeeringConnectionID.NotFound", words):
            operation(VpcPeeringConnectionId=UNKNOWN)
    with refused("InvalidVpcPeeringConnectionID.NotFound", words):
        shown(ec2, UNKNOWN)
    with refused("InvalidVpcPeeringConnectionId.Malformed"):
        shown(ec2, "pcx-x")


def test_filters_and_pages(ec2, papers):
    hub = papers.vpc("10.0.0.0/16")
    spokes = [papers.vpc(f"10.{number}.0.0/16") for number in range(1, 7)]
    made = [ask(ec2, hub, spoke)["VpcPeeringConnectionId"] for spoke in spokes]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=made[0])
    ec2.create_tags(Resources=[made[1]], Tags=[{"Key": "name", "Value": "one"}])

    def found(name, value):
        answer = ec2.describe_vpc_peering_connections(Filters=[
            {"Name": "vpc-peering-connection-id", "Values": made},
            {"Name": name, "Values": [value]}])
        return {each["VpcPeeringConnectionId"] for each in answer["VpcPeeringConnections"]}

    for name, value, wanted in [
            ("accepter-vpc-info.vpc-id", spokes[2], made[2:3]),
            ("accepter-vpc-info.cidr-block", "10.3.0.0/16", made[2:3]),
            ("accepter-vpc-info.owner-id", ACCOUNT, made),
            ("requester-vpc-info.vpc-id", hub, made),
            ("requester-vpc-info.cidr-block", "10.0.0.0/16", made),
            ("requester-vpc-info.owner-id", "999999999999", []),
            ("status-code", "active", made[:1]), ("status-message", "Pending*", made[1:]),
            ("expiration-time", "*", made[1:]), ("tag:name", "one", made[1:2])]:
        assert found(name, value) == set(wanted), (name, value)
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        found("colour", "red")
    pages = ec2.get_paginator("describe_vpc_peering_connections").paginate(
        Filters=[{"Name": "requester-vpc-info.vpc-id", "Values": [hub]}],
        PaginationConfig={"PageSize": 5})
    seen = [[each["VpcPeeringConnectionId"] for each in page["VpcPeeringConnections"]]
            for page in pages]
    assert [len(page) for page in seen] == [5, 1] and sum(seen, []) == sorted(made)
    # A VPC that goes takes its connections along.
    ec2.delete_vpc(VpcId=hub)
    papers._vpcs.remove(hub)
    assert {shown(ec2, each)["Status"]["Code"] for each in made} == {"deleted"}


def test_quotas(start_daemon):
    lab = Lab(start_daemon("none", config="[quotas]\noutstanding_peerings = 1\n"
                                          "peerings_per_vpc = 1\n"))
    hub, one, two = (lab.vpc(f"10.{number}.0.0/16") for number in range(3))
    first = ask(lab.ec2, hub, one)["VpcPeeringConnectionId"]
    with refused("OutstandingVpcPeeringConnectionLimitExceeded"):
        ask(lab.ec2, hub, two)
    lab.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=first)
    second = ask(lab.ec2, hub, two)["VpcPeeringConnectionId"]
    with refused("VpcPeeringConnectionsPerVpcLimitExceeded", f"…{hub}"):
        lab.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=second)
