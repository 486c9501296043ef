"""Regions, zones, account attributes, instance types, images."""

from support.errors import refused


def test_regions(ec2):
    regions = {region["RegionName"]: region for region in ec2.describe_regions()["Regions"]}
    assert {"us-east-1", "eu-central-1"} <= set(regions)
    assert regions["us-east-1"]["Endpoint"] == "ec2.us-east-1.amazonaws.com"
    [one] = ec2.describe_regions(RegionNames=["eu-west-1"])["Regions"]
    assert one["RegionName"] == "eu-west-1"
    with refused("InvalidParameterValue", "…atlantis"):
        ec2.describe_regions(RegionNames=["atlantis"])


def test_zones(ec2):
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert {"us-east-1a", "us-east-1b"} <= {zone["ZoneName"] for zone in zones}
    assert all(zone["State"] == "available" and zone["ZoneId"].startswith("use1-az")
               for zone in zones)
    [one] = ec2.describe_availability_zones(ZoneNames=["us-east-1b"])["AvailabilityZones"]
    assert one["ZoneName"] == "us-east-1b"


def test_account_attributes(ec2):
    names = ["supported-platforms", "default-vpc"]
    shown = ec2.describe_account_attributes(AttributeNames=names)["AccountAttributes"]
    values = {one["AttributeName"]: one["AttributeValues"][0]["AttributeValue"] for one in shown}
    [default] = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    assert values == {"supported-platforms": "VPC", "default-vpc": default["VpcId"]}


def test_instance_types(ec2):
    shown = ec2.describe_instance_types(InstanceTypes=["m5.large", "t3.nano"])["InstanceTypes"]
    types = {one["InstanceType"]: one for one in shown}
    assert types["m5.large"]["NetworkInfo"]["MaximumNetworkInterfaces"] == 3
    assert types["m5.large"]["NetworkInfo"]["Ipv4AddressesPerInterface"] == 10
    assert types["m5.large"]["VCpuInfo"]["DefaultVCpus"] == 2
    assert types["t3.nano"]["NetworkInfo"]["NetworkPerformance"] == "Up to 5 Gigabit"
    pages = ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": ["m5.*"]}], PaginationConfig={"PageSize": 5})
    names = [one["InstanceType"] for page in pages for one in page["InstanceTypes"]]
    assert len(names) == len(set(names)) > 5 and all(name.startswith("m5.") for name in names)
    with refused("InvalidInstanceType", "…m9.enormous"):
        ec2.describe_instance_types(InstanceTypes=["m9.enormous"])


def test_images(ec2):
    [image] = ec2.describe_images(
        Filters=[{"Name": "name", "Values": ["enid-sandbox"]}])["Images"]
    assert image["State"] == "available" and image["ImageId"].startswith("ami-")
    assert ec2.describe_images(Filters=[{"Name": "name", "Values": ["other"]}])["Images"] == []
