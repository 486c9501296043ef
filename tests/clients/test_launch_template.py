"""Launch templates through boto3, and launches that use them."""

import base64
from ipaddress import ip_network

import pytest

from support.errors import refused
from support.lab import IMAGE

UNKNOWN = "lt-00000000000000001"


@pytest.fixture
def template(ec2):
    """Makes templates that are gone after the test."""
    names = []

    def make(data, name="web", **options):
        names.append(name)
        answer = ec2.create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData=data, **options)
        return answer["LaunchTemplate"]["LaunchTemplateId"]

    yield make
    for shown in ec2.describe_launch_templates()["LaunchTemplates"]:
        ec2.delete_launch_template(LaunchTemplateId=shown["LaunchTemplateId"])


def versions(ec2, one, **options):
    answer = ec2.describe_launch_template_versions(LaunchTemplateId=one, **options)
    return answer["LaunchTemplateVersions"]


def test_life_of_a_template(ec2, template):
    data = {"ImageId": IMAGE, "InstanceType": "t3.micro", "EbsOptimized": True,
            "SecurityGroupIds": ["sg-1"], "Monitoring": {"Enabled": True},
            "UserData": base64.b64encode(b"#!/bin/sh").decode(),
            "TagSpecifications": [{"ResourceType": "instance",
                                   "Tags": [{"Key": "a", "Value": "b"}]}],
            "Placement": {"AvailabilityZone": "us-east-1a", "Tenancy": "default"}}
    one = template(data, VersionDescription="first", TagSpecifications=[
        {"ResourceType": "launch-template", "Tags": [{"Key": "Name", "Value": "hq"}]}])
    [shown] = ec2.describe_launch_templates(LaunchTemplateNames=["web"])["LaunchTemplates"]
    assert shown["LaunchTemplateId"] == one and shown["DefaultVersionNumber"] == 1
    assert shown["LatestVersionNumber"] == 1
    assert shown["Tags"] == [{"Key": "Name", "Value": "hq"}]
    assert shown["CreatedBy"] == "arn:aws:iam::123456789012:root"
    [first] = versions(ec2, one)
    assert first["LaunchTemplateData"] == data and first["VersionDescription"] == "first"
    assert first["DefaultVersion"] is True and first["VersionNumber"] == 1

    interfaces = [{"DeviceIndex": 0, "AssociatePublicIpAddress": False, "Groups": ["sg-2"],
                   "PrivateIpAddresses": [{"Primary": True, "PrivateIpAddress": "10.0.0.9"}]},
                  {"DeviceIndex": 1, "SubnetId": "subnet-1", "DeleteOnTermination": True}]
    second = ec2.create_launch_template_version(
        LaunchTemplateName="web", SourceVersion="$Latest",
        LaunchTemplateData={"InstanceType": "m5.large", "NetworkInterfaces": interfaces})
    second = second["LaunchTemplateVersion"]
    assert second["VersionNumber"] == 2 and second["DefaultVersion"] is False
    assert second["LaunchTemplateData"] == data | {
        "InstanceType": "m5.large", "NetworkInterfaces": interfaces}
    assert [v["VersionNumber"] for v in versions(ec2, one)] == [2, 1]
    assert [v["VersionNumber"] for v in versions(ec2, one, Versions=["$Default"])] == [1]
    assert [v["VersionNumber"] for v in versions(ec2, one, MinVersion="2")] == [2]
    by_type = [{"Name": "instance-type", "Values": ["m5.*"]}]
    assert [v["VersionNumber"] for v in versions(ec2, one, Filters=by_type)] == [2]
    latest = ec2.describe_launch_template_versions(Versions=["$Latest"])
    assert [v["VersionNumber"] for v in latest["LaunchTemplateVersions"]] == [2]

    changed = ec2.modify_launch_template(LaunchTemplateId=one, DefaultVersion="2")
    assert changed["LaunchTemplate"]["DefaultVersionNumber"] == 2
    deleted = ec2.delete_launch_template_versions(LaunchTemplateId=one, Versions=["1", "2", "7"])
    [gone] = deleted["SuccessfullyDeletedLaunchTemplateVersions"]
    assert gone["VersionNumber"] == 1
    kept = deleted["UnsuccessfullyDeletedLaunchTemplateVersions"]
    assert [(k["VersionNumber"], k["ResponseError"]["Code"]) for k in kept] == [
        (2, "unexpectedError"), (7, "launchTemplateVersionDoesNotExist")]
    assert ec2.delete_launch_template(LaunchTemplateName="web")["LaunchTemplate"][
        "LaunchTemplateId"] == one
    with refused("InvalidLaunchTemplateId.NotFound",
                 f"The specified launch template, with template ID {one}, does not exist."):
        versions(ec2, one)


def test_pages(ec2, template):
    ids = sorted(template({"ImageId": IMAGE}, name=f"page-{n}") for n in range(5))
    pages = ec2.get_paginator("describe_launch_templates").paginate(
        PaginationConfig={"PageSize": 2})
    assert [t["LaunchTemplateId"] for page in pages for t in page["LaunchTemplates"]] == ids
    for _ in range(4):
        ec2.create_launch_template_version(
            LaunchTemplateId=ids[0], LaunchTemplateData={"ImageId": IMAGE})
    pages = ec2.get_paginator("describe_launch_template_versions").paginate(
        LaunchTemplateId=ids[0], PaginationConfig={"PageSize": 2})
    seen = [v["VersionNumber"] for page in pages for v in page["LaunchTemplateVersions"]]
    assert seen == [5, 4, 3, 2, 1]


def test_refusals(ec2, template):
    one = template({"ImageId": IMAGE})
    with refused("InvalidLaunchTemplateName.AlreadyExistsException",
                 "Launch template name already in use."):
        template({"ImageId": IMAGE})
    with refused("InvalidLaunchTemplateName.MalformedException"):
        template({"ImageId": IMAGE}, name="not a name")
    with refused("InvalidLaunchTemplateName.NotFoundException", "…template name nobody,"):
        ec2.describe_launch_templates(LaunchTemplateNames=["nobody"])
    with refused("InvalidLaunchTemplateId.NotFound"):
        ec2.describe_launch_templates(LaunchTemplateIds=[UNKNOWN])
    with refused("InvalidLaunchTemplateId.Malformed"):
        ec2.describe_launch_templates(LaunchTemplateIds=["lt-x"])
    with refused("InvalidLaunchTemplateId.VersionNotFound",
                 "Could not find the specified version 7 for the launch template"
                 f" with ID {one}."):
        ec2.modify_launch_template(LaunchTemplateId=one, DefaultVersion="7")
    with refused("InvalidParameterValue", "…either '$Default', '$Latest', or a numeric version"):
        versions(ec2, one, Versions=["newest"])
    with refused("MissingParameter"):
        ec2.describe_launch_template_versions(Versions=["1"])
    with refused("InvalidParameterCombination"):
        ec2.delete_launch_template(LaunchTemplateId=one, LaunchTemplateName="web")
    # What RunInstances refuses, a template refuses by the same name.
    with refused("UnsupportedOperation", "…LaunchTemplateData.IamInstanceProfile"):
        template({"IamInstanceProfile": {"Name": "admin"}}, name="profile")
    with refused("UnsupportedOperation", "…LaunchTemplateData.Placement.Tenancy"):
        template({"Placement": {"Tenancy": "dedicated"}}, name="tenancy")
    with refused("UnsupportedOperation", "…ResolveAlias"):
        versions(ec2, one, ResolveAlias=True)


def test_a_token_makes_one_template(ec2, template):
    first = template({"ImageId": IMAGE}, ClientToken="once")
    assert template({"ImageId": IMAGE}, ClientToken="once") == first
    with refused("IdempotentParameterMismatch"):
        template({"ImageId": IMAGE}, name="other", ClientToken="once")


def test_launches_from_a_template(ec2, papers, template):
    vpc, subnet = papers.network()
    group, other = papers.group(vpc, "one"), papers.group(vpc, "two")
    one = template({
        "ImageId": IMAGE, "InstanceType": "t3.micro", "SecurityGroupIds": [group],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]})
    ec2.create_launch_template_version(
        LaunchTemplateId=one, SourceVersion="1", LaunchTemplateData={"InstanceType": "m5.xlarge"})

    def launch(specification, **options):
        answer = ec2.run_instances(LaunchTemplate=specification, SubnetId=subnet,
                                   MinCount=1, MaxCount=1, **options)
        id_ = answer["Instances"][0]["InstanceId"]
        shown = ec2.describe_instances(InstanceIds=[id_])["Reservations"][0]["Instances"][0]
        ec2.terminate_instances(InstanceIds=[id_])
        return shown

    shown = launch({"LaunchTemplateName": "web"})
    assert shown["InstanceType"] == "t3.micro" and shown["ImageId"] == IMAGE
    assert [g["GroupId"] for g in shown["SecurityGroups"]] == [group]
    assert {tag["Key"]: tag["Value"] for tag in shown["Tags"]} == {
        "a": "b", "aws:ec2launchtemplate:id": one, "aws:ec2launchtemplate:version": "1"}
    latest = {"LaunchTemplateId": one, "Version": "$Latest"}
    assert launch(latest)["InstanceType"] == "m5.xlarge"
    # What the request says wins.
    shown = launch(latest, InstanceType="t3.nano", SecurityGroupIds=[other])
    assert shown["InstanceType"] == "t3.nano"
    assert [g["GroupId"] for g in shown["SecurityGroups"]] == [other]
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        launch({"LaunchTemplateId": one, "Version": "9"})
    with refused("InvalidLaunchTemplateName.NotFoundException"):
        launch({"LaunchTemplateName": "nobody"})
    with refused("MissingParameter", "The request must contain the parameter imageId"):
        template({"InstanceType": "t3.nano"}, name="no-image")
        launch({"LaunchTemplateName": "no-image"})


def test_interfaces_have_what_a_launch_gives_them(ec2, papers, template):
    vpc, subnet = papers.network()
    amazon = ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    block = amazon["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"].replace("/56", "/64")
    ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=block)
    named = str(ip_network(block)[0x30])
    interfaces = [
        {"DeviceIndex": 0, "SubnetId": subnet, "Ipv6Addresses": [{"Ipv6Address": named}],
         "PrimaryIpv6": True, "Ipv4PrefixCount": 1,
         "ConnectionTrackingSpecification": {"UdpTimeout": 45}},
        {"DeviceIndex": 1, "SubnetId": subnet, "Ipv6PrefixCount": 1}]
    data = {"ImageId": IMAGE, "InstanceType": "m5.large", "NetworkInterfaces": interfaces}
    one = template(data)
    [shown] = versions(ec2, one)
    assert shown["LaunchTemplateData"] == data
    instance = papers.instance(None, LaunchTemplate={"LaunchTemplateId": one})
    first, second = instance.describe()["NetworkInterfaces"]
    assert first["Ipv6Addresses"] == [{"Ipv6Address": named, "IsPrimaryIpv6": True}]
    assert len(first["Ipv4Prefixes"]) == 1
    assert first["ConnectionTrackingConfiguration"] == {"UdpTimeout": 45}
    assert len(second["Ipv6Prefixes"]) == 1 and second["Ipv6Addresses"] == []

    prefixes = {"DeviceIndex": 0, "Ipv4Prefixes": [{"Ipv4Prefix": "10.0.0.16/28"}],
                "Ipv6Prefixes": [{"Ipv6Prefix": "2001:db8::/80"}], "Ipv6AddressCount": 2}
    kept = template({"NetworkInterfaces": [prefixes]}, name="prefixes")
    assert versions(ec2, kept)[0]["LaunchTemplateData"]["NetworkInterfaces"] == [prefixes]
    # Which ways exclude each other says the launch.
    with refused("InvalidParameterValue", "…You can and can only specify one of ipv6-addresses"):
        ec2.run_instances(LaunchTemplate={"LaunchTemplateId": kept}, ImageId=IMAGE,
                          MinCount=1, MaxCount=1)
    with refused("UnsupportedOperation", "…EnaSrdSpecification"):
        template({"NetworkInterfaces": [
            {"DeviceIndex": 0, "EnaSrdSpecification": {"EnaSrdEnabled": True}}]}, name="srd")


def test_tags_of_the_template_stay(ec2, papers, template):
    _, subnet = papers.network()
    one = template({"ImageId": IMAGE, "InstanceType": "t3.micro"})
    instance = papers.instance(subnet, LaunchTemplate={"LaunchTemplateId": one})
    ec2.create_tags(Resources=[instance.id], Tags=[{"Key": "own", "Value": "1"}])
    ec2.delete_tags(Resources=[instance.id])
    assert {tag["Key"] for tag in instance.describe()["Tags"]} == {
        "aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"}
    ec2.delete_tags(Resources=[one])


def test_options_of_template_and_request_complete_each_other(ec2, papers, template):
    # Fails if a request that names one option loses the others of its template.
    _, subnet = papers.network()
    template({"ImageId": IMAGE, "InstanceType": "t3.micro",
              "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 5},
              "PrivateDnsNameOptions": {"HostnameType": "resource-name",
                                        "EnableResourceNameDnsARecord": True}})
    [made] = papers.launch_together(
        subnet, 1, LaunchTemplate={"LaunchTemplateName": "web"},
        MetadataOptions={"HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"},
        PrivateDnsNameOptions={"EnableResourceNameDnsARecord": False})
    described = made.describe()
    options = described["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 2)
    assert options["InstanceMetadataTags"] == "enabled"
    names = described["PrivateDnsNameOptions"]
    assert names["HostnameType"] == "resource-name"
    assert names["EnableResourceNameDnsARecord"] is False
