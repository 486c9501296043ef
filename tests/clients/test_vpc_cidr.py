"""Address blocks of VPCs and subnets, IPv4 and IPv6, through boto3."""

import ipaddress

from support.errors import refused

PRIMARY = "…It is the primary IPv4 CIDR block of the VPC"
POOL = "ipv6pool-ec2-00000000000000001"


def blocks(ec2, vpc):
    [shown] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    return shown["CidrBlockAssociationSet"], shown["Ipv6CidrBlockAssociationSet"]


def test_a_secondary_block(ec2, papers):
    vpc = papers.vpc("10.20.0.0/16")
    answer = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.21.3.0/16")
    made = answer["CidrBlockAssociation"]
    assert answer["VpcId"] == vpc and "Ipv6CidrBlockAssociation" not in answer
    assert made["CidrBlock"] == "10.21.0.0/16", "host bits are cleared"
    assert made["CidrBlockState"] == {"State": "associating"}
    [first, second], ipv6 = blocks(ec2, vpc)
    assert (first["CidrBlock"], second["CidrBlock"]) == ("10.20.0.0/16", "10.21.0.0/16")
    assert second["CidrBlockState"] == {"State": "associated"} and ipv6 == []
    subnet = papers.subnet(vpc, "10.21.5.0/24")
    assert papers.interface(subnet)["PrivateIpAddress"].startswith("10.21.5.")

    association = made["AssociationId"]
    for filters in ({"cidr-block-association.association-id": association},
                    {"cidr-block-association.cidr-block": "10.21.0.0/16", "vpc-id": vpc}):
        found = ec2.describe_vpcs(Filters=[{"Name": name, "Values": [value]}
                                           for name, value in filters.items()])["Vpcs"]
        assert [one["VpcId"] for one in found] == [vpc]
    by_primary = [{"Name": "cidr", "Values": ["10.21.0.0/16"]}]
    assert ec2.describe_vpcs(Filters=by_primary)["Vpcs"] == []

    with refused("InvalidCidrBlock.InUse", f"…{association}"):
        ec2.disassociate_vpc_cidr_block(AssociationId=association)
    with refused("OperationNotPermitted", PRIMARY):
        ec2.disassociate_vpc_cidr_block(AssociationId=first["AssociationId"])
    [interface] = ec2.describe_network_interfaces(
        Filters=[{"Name": "subnet-id", "Values": [subnet]}])["NetworkInterfaces"]
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    ec2.delete_subnet(SubnetId=subnet)
    gone = ec2.disassociate_vpc_cidr_block(AssociationId=association)
    assert gone["CidrBlockAssociation"]["CidrBlockState"] == {"State": "disassociating"}
    assert len(blocks(ec2, vpc)[0]) == 1
    with refused("InvalidVpcCidrBlockAssociationID.NotFound",
                 f"The vpc CIDR block association ID '{association}' does not exist"):
        ec2.disassociate_vpc_cidr_block(AssociationId=association)


def test_wrong_blocks(ec2, papers):
    vpc = papers.vpc("10.20.0.0/16")
    restricted = "…is restricted. Use a CIDR from the same private address range"
    for cidr, code, words in [
            ("192.168.0.0/16", "InvalidVpc.Range", restricted),
            ("172.20.0.0/16", "InvalidVpc.Range", restricted),
            ("198.19.0.0/16", "InvalidVpc.Range", restricted),
            ("10.20.128.0/17", "InvalidVpc.Range", "…conflicts with 10.20.0.0/16 of the VPC"),
            ("10.21.0.0/15", "InvalidVpc.Range", "The CIDR '10.21.0.0/15' is invalid."),
            ("nonsense", "InvalidParameterValue", "…nonsense")]:
        with refused(code, words):
            ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=cidr)
    for number in range(21, 25):
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=f"10.{number}.0.0/16")
    with refused("CidrLimitExceeded",
                 f"This network '{vpc}' has met its maximum number of allowed CIDRs: 5"):
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.25.0.0/16")
    with refused("InvalidVpcID.NotFound"):
        ec2.associate_vpc_cidr_block(VpcId="vpc-00000000000000001", CidrBlock="10.0.0.0/16")
    with refused("InvalidParameterCombination"):
        ec2.associate_vpc_cidr_block(VpcId=vpc)
    with refused("InvalidParameterCombination"):
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.26.0.0/16",
                                     AmazonProvidedIpv6CidrBlock=True)
    with refused("UnsupportedOperation", "…Ipv4IpamPoolId"):
        ec2.associate_vpc_cidr_block(VpcId=vpc, Ipv4IpamPoolId="ipam-pool-0")


def test_an_ipv6_block_from_the_start(ec2, papers):
    vpc = ec2.create_vpc(CidrBlock="10.30.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    papers._vpcs.append(vpc["VpcId"])
    [block] = vpc["Ipv6CidrBlockAssociationSet"]
    network = ipaddress.ip_network(block["Ipv6CidrBlock"])
    assert network.prefixlen == 56 and network.subnet_of(ipaddress.ip_network("2001:db8::/32"))
    assert block["Ipv6Pool"] == "Amazon" and block["NetworkBorderGroup"] == "us-east-1"
    assert block["Ipv6CidrBlockState"]["State"] == "associated"
    for name, value in [("association-id", block["AssociationId"]),
                        ("ipv6-cidr-block", str(network))]:
        found = ec2.describe_vpcs(Filters=[
            {"Name": f"ipv6-cidr-block-association.{name}", "Values": [value]}])["Vpcs"]
        assert [one["VpcId"] for one in found] == [vpc["VpcId"]]
    [default] = ec2.describe_security_groups(Filters=[
        {"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["SecurityGroups"]
    assert default["IpPermissionsEgress"][0]["Ipv6Ranges"] == [{"CidrIpv6": "::/0"}]
    group = papers.group(vpc["VpcId"], "web")
    [rule] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0][
        "IpPermissionsEgress"]
    assert rule["Ipv6Ranges"] == [{"CidrIpv6": "::/0"}]


def test_an_ipv6_block_later(ec2, papers):
    vpc = papers.vpc("10.31.0.0/16")
    answer = ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True,
                                          Ipv6CidrBlockNetworkBorderGroup="us-east-1")
    made = answer["Ipv6CidrBlockAssociation"]
    assert made["Ipv6CidrBlockState"] == {"State": "associating"}
    _, [shown] = blocks(ec2, vpc)
    assert shown["Ipv6CidrBlock"] == made["Ipv6CidrBlock"]
    with refused("InvalidParameterValue", "…eu-west-1"):
        ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True,
                                     Ipv6CidrBlockNetworkBorderGroup="eu-west-1")
    with refused("InvalidParameterCombination", "…amazonProvidedIpv6CidrBlock"):
        ec2.create_vpc(CidrBlock="10.32.0.0/16", Ipv6CidrBlockNetworkBorderGroup="us-east-1")
    gone = ec2.disassociate_vpc_cidr_block(AssociationId=made["AssociationId"])
    assert gone["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"] == made["Ipv6CidrBlock"]
    assert blocks(ec2, vpc)[1] == []


def test_an_ipv6_block_by_name(ec2, papers):
    [pool] = ec2.describe_ipv6_pools()["Ipv6Pools"]
    assert pool["PoolId"] == POOL
    assert pool["PoolCidrBlocks"] == [{"Cidr": "2001:db8::/32"}]
    with refused("InvalidPoolID.NotFound"):
        ec2.describe_ipv6_pools(PoolIds=["ipv6pool-ec2-00000000000000002"])
    one, other = papers.vpc("10.32.0.0/16"), papers.vpc("10.33.0.0/16")
    wanted = "2001:db8:ab:cd00::/56"
    answer = ec2.associate_vpc_cidr_block(VpcId=one, Ipv6CidrBlock=wanted, Ipv6Pool=POOL)
    made = answer["Ipv6CidrBlockAssociation"]
    assert (made["Ipv6CidrBlock"], made["Ipv6Pool"]) == (wanted, POOL)
    with refused("InvalidCidrBlock.InUse", f"The IPv6 CIDR '{wanted}' is already in use."):
        ec2.associate_vpc_cidr_block(VpcId=other, Ipv6CidrBlock=wanted, Ipv6Pool=POOL)
    with refused("InvalidVpc.Range", "The IPv6 CIDR '2001:db9::/56' is invalid."):
        ec2.associate_vpc_cidr_block(VpcId=other, Ipv6CidrBlock="2001:db9::/56", Ipv6Pool=POOL)
    with refused("MissingParameter"):
        ec2.associate_vpc_cidr_block(VpcId=other, Ipv6CidrBlock=wanted)
    # It is free again when its VPC is gone.
    papers._vpcs.remove(one)
    ec2.delete_vpc(VpcId=one)
    ec2.associate_vpc_cidr_block(VpcId=other, Ipv6CidrBlock=wanted, Ipv6Pool=POOL)


def test_blocks_of_subnets(ec2, papers):
    vpc = ec2.create_vpc(CidrBlock="10.34.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    papers._vpcs.append(vpc["VpcId"])
    network = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    first, second, *_ = map(str, network.subnets(new_prefix=64))
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.34.1.0/24",
                               Ipv6CidrBlock=first)["Subnet"]
    [block] = subnet["Ipv6CidrBlockAssociationSet"]
    assert block["Ipv6CidrBlock"] == first
    assert block["Ipv6CidrBlockState"]["State"] == "associated"
    for name, value in [("association-id", block["AssociationId"]), ("ipv6-cidr-block", first)]:
        found = ec2.describe_subnets(Filters=[
            {"Name": f"ipv6-cidr-block-association.{name}", "Values": [value]}])["Subnets"]
        assert [one["SubnetId"] for one in found] == [subnet["SubnetId"]]
    with refused("InvalidSubnet.Conflict",
                 f"The IPv6 CIDR '{first}' conflicts with another subnet"):
        ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.34.2.0/24", Ipv6CidrBlock=first)
    wide = f"{network.network_address}/60"
    with refused("InvalidSubnet.Range", f"The IPv6 CIDR '{wide}' is invalid."):
        ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.34.2.0/24", Ipv6CidrBlock=wide)
    with refused("UnsupportedOperation", "…Ipv6Native"):
        ec2.create_subnet(VpcId=vpc["VpcId"], Ipv6CidrBlock=second, Ipv6Native=True)

    plain = papers.subnet(vpc["VpcId"], "10.34.3.0/24")
    answer = ec2.associate_subnet_cidr_block(SubnetId=plain, Ipv6CidrBlock=second)
    association = answer["Ipv6CidrBlockAssociation"]["AssociationId"]
    assert answer["SubnetId"] == plain and association.startswith("subnet-cidr-assoc-")
    with refused("CidrLimitExceeded"):
        ec2.associate_subnet_cidr_block(SubnetId=plain, Ipv6CidrBlock=second)
    with refused("InvalidCidrBlock.InUse"):
        ec2.disassociate_vpc_cidr_block(
            AssociationId=vpc["Ipv6CidrBlockAssociationSet"][0]["AssociationId"])
    gone = ec2.disassociate_subnet_cidr_block(AssociationId=association)
    assert gone["Ipv6CidrBlockAssociation"]["Ipv6CidrBlockState"]["State"] == "disassociating"
    with refused("InvalidSubnetCidrBlockAssociationID.NotFound",
                 f"The subnet CIDR block association ID '{association}' does not exist"):
        ec2.disassociate_subnet_cidr_block(AssociationId=association)


def test_the_default_vpc_again(start_daemon):
    ec2 = start_daemon("none").client()
    [default] = ec2.describe_vpcs()["Vpcs"]
    with refused("DefaultVpcAlreadyExists",
                 "A Default VPC already exists for this account in this region."):
        ec2.create_default_vpc()
    [subnet, *_] = ec2.describe_subnets(Filters=[
        {"Name": "availability-zone", "Values": ["us-east-1b"]}])["Subnets"]
    with refused("DefaultSubnetAlreadyExistsInAvailabilityZone",
                 f"'{subnet['SubnetId']}' is already the default subnet in us-east-1b."):
        ec2.create_default_subnet(AvailabilityZone="us-east-1b")
    with refused("InvalidParameterValue", "…us-east-1z"):
        ec2.create_default_subnet(AvailabilityZone="us-east-1z")
    ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    new = ec2.create_default_subnet(AvailabilityZone="us-east-1b")["Subnet"]
    assert new["CidrBlock"] == subnet["CidrBlock"] and new["DefaultForAz"]
    assert new["VpcId"] == default["VpcId"]
