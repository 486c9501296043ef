"""DHCP option sets through boto3."""

import pytest

from support.errors import refused

UNKNOWN = "dopt-00000000000000001"


def configuration(**options):
    return [{"Key": key.replace("_", "-"), "Values": values} for key, values in options.items()]


def create(ec2, **options):
    answer = ec2.create_dhcp_options(DhcpConfigurations=configuration(**options))
    return answer["DhcpOptions"]["DhcpOptionsId"]


def options_of(ec2, vpc):
    return ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["DhcpOptionsId"]


def shown(options):
    return {option["Key"]: [value["Value"] for value in option["Values"]]
            for option in options["DhcpConfigurations"]}


def test_default_set(ec2, papers):
    vpc = papers.vpc()
    [options] = ec2.describe_dhcp_options(
        DhcpOptionsIds=[options_of(ec2, vpc)])["DhcpOptions"]
    assert options["OwnerId"] == "123456789012"
    assert shown(options) == {"domain-name": ["ec2.internal"],
                              "domain-name-servers": ["AmazonProvidedDNS"]}
    with refused("DependencyViolation", f"The dhcpOptions '{options['DhcpOptionsId']}' has "
                 "dependencies and cannot be deleted."):
        ec2.delete_dhcp_options(DhcpOptionsId=options["DhcpOptionsId"])


def test_life_of_a_set(ec2, papers):
    made = ec2.create_dhcp_options(
        DhcpConfigurations=configuration(domain_name=["corp.example"],
                                         domain_name_servers=["10.0.0.5", "10.0.0.6"]),
        TagSpecifications=[{"ResourceType": "dhcp-options",
                            "Tags": [{"Key": "a", "Value": "1"}]}])["DhcpOptions"]
    options = made["DhcpOptionsId"]
    assert shown(made) == {"domain-name": ["corp.example"],
                           "domain-name-servers": ["10.0.0.5", "10.0.0.6"]}
    assert made["Tags"] == [{"Key": "a", "Value": "1"}]
    assert ec2.describe_dhcp_options(DhcpOptionsIds=[options])["DhcpOptions"] == [made]
    vpc = papers.vpc()
    ec2.associate_dhcp_options(DhcpOptionsId=options, VpcId=vpc)
    assert options_of(ec2, vpc) == options
    found = ec2.describe_vpcs(Filters=[{"Name": "dhcp-options-id", "Values": [options]}])
    assert [each["VpcId"] for each in found["Vpcs"]] == [vpc]
    with refused("DependencyViolation"):
        ec2.delete_dhcp_options(DhcpOptionsId=options)
    ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
    assert options_of(ec2, vpc) == "default"
    ec2.delete_dhcp_options(DhcpOptionsId=options)
    words = f"The dhcpOption ID '{options}' does not exist"
    with refused("InvalidDhcpOptionID.NotFound", words):
        ec2.describe_dhcp_options(DhcpOptionsIds=[options])
    with refused("InvalidDhcpOptionID.NotFound", words):
        ec2.associate_dhcp_options(DhcpOptionsId=options, VpcId=vpc)
    with refused("InvalidDhcpOptionID.NotFound", words):
        ec2.delete_dhcp_options(DhcpOptionsId=options)


@pytest.mark.parametrize(("options", "code", "words"), [
    ({"ntp_servers": ["pool.ntp.org"]}, "InvalidParameterValue", "…not an IP address"),
    ({"ntp_servers": [f"10.0.0.{number}" for number in range(5)]},
     "InvalidParameterValue", "…At most four"),
    ({"netbios_name_servers": ["fd00::1"]}, "InvalidParameterValue", "…not an IPv4 address"),
    ({"netbios_node_type": ["3"]}, "InvalidParameterValue", "…1, 2, 4 and 8"),
    ({"ipv6_address_preferred_lease_time": ["139"]}, "InvalidParameterValue", "…from 140"),
    ({"colour": ["red"]}, "InvalidParameterValue", "…colour"),
    ({"domain_name": ["a", "b"]}, "InvalidParameterValue", "…a, b"),
    ({"domain_name": ["a\nnameserver 1.1.1.1"]}, "InvalidParameterValue", "…domain-name"),
    ({"domain_name_servers": ["10.0.0.256"]}, "InvalidParameterValue", "…10.0.0.256"),
    ({"domain_name_servers": [f"10.0.0.{number}" for number in range(5)]},
     "InvalidParameterValue", "…One to four"),
])
def test_wrong_options(ec2, options, code, words):
    before = len(ec2.describe_dhcp_options()["DhcpOptions"])
    with refused(code, words):
        create(ec2, **options)
    assert len(ec2.describe_dhcp_options()["DhcpOptions"]) == before


def test_every_option_is_shown_as_it_was_set(ec2):
    options = {"domain-name": ["corp.example"], "domain-name-servers": ["AmazonProvidedDNS"],
               "ipv6-address-preferred-lease-time": ["3600"],
               "netbios-name-servers": ["10.0.0.7", "10.0.0.6"], "netbios-node-type": ["2"],
               "ntp-servers": ["169.254.169.123", "fd00:ec2::123"]}
    made = create(ec2, **options)
    [described] = ec2.describe_dhcp_options(DhcpOptionsIds=[made])["DhcpOptions"]
    assert shown(described) == options
    found = ec2.describe_dhcp_options(Filters=[{"Name": "key", "Values": ["ntp-servers"]}])
    assert made in {each["DhcpOptionsId"] for each in found["DhcpOptions"]}


def test_unknown_ids(ec2, papers):
    vpc = papers.vpc()
    with refused("InvalidDhcpOptionID.NotFound", f"The dhcpOption ID '{UNKNOWN}' does not exist"):
        ec2.associate_dhcp_options(DhcpOptionsId=UNKNOWN, VpcId=vpc)
    with refused("InvalidDhcpOptionsId.Malformed"):
        ec2.associate_dhcp_options(DhcpOptionsId="dopt-x", VpcId=vpc)
    with refused("InvalidVpcID.NotFound"):
        ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId="vpc-00000000000000001")
    with refused("DryRunOperation", status=412):
        ec2.create_dhcp_options(DhcpConfigurations=configuration(domain_name=["a"]), DryRun=True)


def test_filters_and_pages(ec2):
    made = sorted(create(ec2, domain_name=[f"zone{number}.example"]) for number in range(6))
    servers = create(ec2, domain_name_servers=["192.0.2.53"])
    ec2.create_tags(Resources=[servers], Tags=[{"Key": "kind", "Value": "servers"}])

    def found(*filters):
        answer = ec2.describe_dhcp_options(Filters=[
            {"Name": "dhcp-options-id", "Values": [*made, servers]},
            *({"Name": name, "Values": [value]} for name, value in filters)])
        return {each["DhcpOptionsId"] for each in answer["DhcpOptions"]}

    assert found(("key", "domain-name")) == set(made)
    assert found(("key", "domain-name-servers")) == {servers}
    assert found(("value", "192.0.2.53")) == {servers} == found(("tag:kind", "servers"))
    assert len(found(("value", "zone3.example"))) == 1
    assert found(("owner-id", "999999999999")) == set()
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        found(("colour", "red"))
    pages = ec2.get_paginator("describe_dhcp_options").paginate(
        Filters=[{"Name": "dhcp-options-id", "Values": made}], PaginationConfig={"PageSize": 5})
    seen = [[each["DhcpOptionsId"] for each in page["DhcpOptions"]] for page in pages]
    assert [len(page) for page in seen] == [5, 1] and sum(seen, []) == made
