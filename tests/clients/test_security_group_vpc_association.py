"""Security groups that other VPCs' interfaces carry, and rules that reach into other VPCs."""

from support.errors import refused


def associations(ec2, group):
    answer = ec2.describe_security_group_vpc_associations(
        Filters=[{"Name": "group-id", "Values": [group]}])
    return answer["SecurityGroupVpcAssociations"]


def for_vpc(ec2, vpc, **options):
    answer = ec2.get_security_groups_for_vpc(VpcId=vpc, **options)
    return {group["GroupId"]: group for group in answer["SecurityGroupForVpcs"]}


def test_life_of_an_association(ec2, papers):
    home, (away, subnet) = papers.vpc("10.1.0.0/16"), papers.network()
    group = papers.group(home, "shared")
    with refused("InvalidGroup.NotFound"):
        papers.interface(subnet, group)
    assert ec2.associate_security_group_vpc(GroupId=group, VpcId=away)["State"] == "associated"
    assert associations(ec2, group) == [{
        "GroupId": group, "VpcId": away, "VpcOwnerId": "123456789012", "State": "associated",
        "GroupOwnerId": "123456789012"}]
    [own] = [one for one in for_vpc(ec2, away) if one != group]
    assert for_vpc(ec2, away)[group]["PrimaryVpcId"] == home
    by_primary = [{"Name": "primary-vpc-id", "Values": [away]}]
    assert list(for_vpc(ec2, away, Filters=by_primary)) == [own]

    eni = papers.interface(subnet, group)
    assert [one["GroupId"] for one in eni["Groups"]] == [group]
    with refused("DependencyViolation"):
        ec2.disassociate_security_group_vpc(GroupId=group, VpcId=away)
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])
    gone = ec2.disassociate_security_group_vpc(GroupId=group, VpcId=away)
    assert gone["State"] == "disassociated" and associations(ec2, group) == []
    with refused("InvalidAssociationID.NotFound"):
        ec2.disassociate_security_group_vpc(GroupId=group, VpcId=away)


def test_what_is_not_associated(ec2, papers):
    home, away = papers.vpc("10.1.0.0/16"), papers.vpc()
    group = papers.group(home, "shared")
    with refused("InvalidParameterValue", f"…'{home}' already"):
        ec2.associate_security_group_vpc(GroupId=group, VpcId=home)
    with refused("InvalidParameterValue", "…cannot be associated with another VPC."):
        ec2.associate_security_group_vpc(GroupId=papers.default_group(home), VpcId=away)
    [default] = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    with refused("InvalidParameterValue", "…default VPC"):
        ec2.associate_security_group_vpc(GroupId=group, VpcId=default["VpcId"])
    with refused("InvalidVpcID.NotFound"):
        ec2.associate_security_group_vpc(GroupId=group, VpcId="vpc-00000000000000001")
    with refused("InvalidGroup.NotFound"):
        ec2.associate_security_group_vpc(GroupId="sg-00000000000000001", VpcId=away)


def test_no_rule_reaches_into_a_vpc_without_peering(ec2, papers):
    one, other = papers.vpc("10.1.0.0/16"), papers.vpc()
    group, peer = papers.group(one, "here"), papers.group(other, "there")
    pair = {"GroupId": peer, "VpcId": other}
    with refused("InvalidGroup.NotFound",
                 "You have specified two resources that belong to different networks."):
        papers.authorize(group, {"IpProtocol": "-1", "UserIdGroupPairs": [pair]})
    assert ec2.describe_security_group_references(
        GroupId=[peer])["SecurityGroupReferenceSet"] == []
    assert ec2.describe_stale_security_groups(VpcId=one)["StaleSecurityGroupSet"] == []
    with refused("InvalidGroup.NotFound"):
        ec2.describe_security_group_references(GroupId=["sg-00000000000000001"])
    with refused("InvalidVpcID.NotFound"):
        ec2.describe_stale_security_groups(VpcId="vpc-00000000000000001")


def test_rules_across_a_peering_connection(ec2, papers):
    one, other = papers.vpc("10.1.0.0/16"), papers.vpc()
    group, peer = papers.group(one, "here"), papers.group(other, "there")
    peering = ec2.create_vpc_peering_connection(VpcId=one, PeerVpcId=other)
    peering = peering["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
                  "UserIdGroupPairs": [{"GroupId": peer}]}
    with refused("InvalidGroup.NotFound"):
        papers.authorize(group, permission)
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    papers.authorize(group, permission)

    def pair():
        [shown] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        return shown["IpPermissions"][0]["UserIdGroupPairs"][0]

    assert pair() == {"UserId": "123456789012", "GroupId": peer, "VpcId": other,
                      "VpcPeeringConnectionId": peering, "PeeringStatus": "active"}
    assert ec2.describe_security_group_references(
        GroupId=[peer])["SecurityGroupReferenceSet"] == [
        {"GroupId": peer, "ReferencingVpcId": one, "VpcPeeringConnectionId": peering}]
    assert ec2.describe_stale_security_groups(VpcId=one)["StaleSecurityGroupSet"] == []

    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)
    assert pair()["PeeringStatus"] == "deleted"
    [stale] = ec2.describe_stale_security_groups(VpcId=one)["StaleSecurityGroupSet"]
    assert stale["GroupId"] == group and stale["StaleIpPermissions"][0]["FromPort"] == 22
    # What describes a rule also revokes it, stale or not.
    [shown] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    papers.revoke(group, *shown["IpPermissions"])
    assert ec2.describe_stale_security_groups(VpcId=one)["StaleSecurityGroupSet"] == []
