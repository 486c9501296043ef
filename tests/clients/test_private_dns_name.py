"""Private names of instances, through boto3."""

import pytest

from support.errors import refused
from support.lab import IMAGE

DOMAIN = "ec2.internal"  # Of us-east-1, where these tests work.


def shown(ec2, instance):
    [reservation] = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return reservation["Instances"][0]


def by_address(described):
    return "ip-" + described["PrivateIpAddress"].replace(".", "-") + "." + DOMAIN


def options(kind, a, aaaa):
    return {"HostnameType": kind, "EnableResourceNameDnsARecord": a,
            "EnableResourceNameDnsAAAARecord": aaaa}


def test_a_subnet_decides(ec2, papers):
    _, subnet = papers.network()
    first = shown(ec2, papers.instance(subnet).id)
    assert first["PrivateDnsNameOptions"] == options("ip-name", False, False)
    assert first["PrivateDnsName"] == by_address(first)
    for attribute in [{"PrivateDnsHostnameTypeOnLaunch": "resource-name"},
                      {"EnableResourceNameDnsARecordOnLaunch": {"Value": True}},
                      {"EnableResourceNameDnsAAAARecordOnLaunch": {"Value": True}}]:
        ec2.modify_subnet_attribute(SubnetId=subnet, **attribute)
    with refused("InvalidParameterCombination"):
        ec2.modify_subnet_attribute(
            SubnetId=subnet, PrivateDnsHostnameTypeOnLaunch="ip-name",
            EnableResourceNameDnsARecordOnLaunch={"Value": False})
    [described] = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    assert described["PrivateDnsNameOptionsOnLaunch"] == options("resource-name", True, True)
    prefix = "private-dns-name-options-on-launch"
    for name, value, count in [
            ("hostname-type", "resource-name", 1), ("hostname-type", "ip-name", 0),
            ("enable-resource-name-dns-a-record", "true", 1),
            ("enable-resource-name-dns-aaaa-record", "false", 0)]:
        filters = [{"Name": f"{prefix}.{name}", "Values": [value]},
                   {"Name": "subnet-id", "Values": [subnet]}]
        assert len(ec2.describe_subnets(Filters=filters)["Subnets"]) == count, name
    second = shown(ec2, papers.instance(subnet).id)
    assert second["PrivateDnsNameOptions"] == options("resource-name", True, True)
    assert second["PrivateDnsName"] == f"{second['InstanceId']}.{DOMAIN}"
    # The addresses keep names of their own.
    [eni] = second["NetworkInterfaces"]
    assert eni["PrivateDnsName"] == by_address(second)
    # What the launch says goes before what the subnet says.
    third = papers.instance(subnet, PrivateDnsNameOptions={"HostnameType": "ip-name"})
    third = shown(ec2, third.id)
    assert third["PrivateDnsNameOptions"] == options("ip-name", True, True)
    assert third["PrivateDnsName"] == by_address(third)
    assert shown(ec2, first["InstanceId"])["PrivateDnsName"] == by_address(first)


def test_options_change(ec2, papers):
    _, subnet = papers.network()
    instance = papers.instance(subnet).id
    ec2.modify_private_dns_name_options(InstanceId=instance, EnableResourceNameDnsARecord=True)
    assert shown(ec2, instance)["PrivateDnsNameOptions"] == options("ip-name", True, False)
    with refused("IncorrectInstanceState"):
        ec2.modify_private_dns_name_options(InstanceId=instance,
                                            PrivateDnsHostnameType="resource-name")
    ec2.stop_instances(InstanceIds=[instance])
    answer = ec2.modify_private_dns_name_options(InstanceId=instance,
                                                 PrivateDnsHostnameType="resource-name")
    assert answer["Return"] is True
    described = shown(ec2, instance)
    assert described["PrivateDnsNameOptions"] == options("resource-name", True, False)
    name = f"{instance}.{DOMAIN}"
    assert described["PrivateDnsName"] == name
    for filters in [("private-dns-name", name),
                    ("private-dns-name-options.hostname-type", "resource-name"),
                    ("private-dns-name-options.enable-resource-name-dns-a-record", "true"),
                    ("private-dns-name-options.enable-resource-name-dns-aaaa-record", "false")]:
        filters = [dict(Name=filters[0], Values=[filters[1]]),
                   dict(Name="instance-id", Values=[instance])]
        assert ec2.describe_instances(Filters=filters)["Reservations"], filters
    filters = [{"Name": "private-dns-name", "Values": [by_address(described)]}]
    assert not ec2.describe_instances(Filters=filters)["Reservations"]
    unknown = "i-00000000000000001"
    with refused("InvalidInstanceID.NotFound", f"The instance ID '{unknown}' does not exist"):
        ec2.modify_private_dns_name_options(InstanceId=unknown,
                                            EnableResourceNameDnsARecord=True)


@pytest.mark.parametrize("word", ["IP-NAME", "name"])
def test_other_words_are_refused(ec2, papers, word):
    _, subnet = papers.network()
    with refused("InvalidParameterValue",
                 f"Value ({word}) for parameter privateDnsNameOptions.HostnameType is invalid."):
        ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, SubnetId=subnet,
                          PrivateDnsNameOptions={"HostnameType": word})


def test_a_terminated_instance_keeps_its_options(ec2, papers):
    _, subnet = papers.network()
    instance = papers.instance(subnet, InstanceType="t3.micro")
    ec2.modify_private_dns_name_options(InstanceId=instance.id, EnableResourceNameDnsARecord=True)
    ec2.terminate_instances(InstanceIds=[instance.id])
    with refused("IncorrectInstanceState"):
        ec2.modify_private_dns_name_options(InstanceId=instance.id,
                                            EnableResourceNameDnsARecord=False)
    answer = ec2.modify_instance_credit_specification(
        InstanceCreditSpecifications=[{"InstanceId": instance.id, "CpuCredits": "standard"}])
    assert not answer["SuccessfulInstanceCreditSpecifications"]
    assert len(answer["UnsuccessfulInstanceCreditSpecifications"]) == 1
