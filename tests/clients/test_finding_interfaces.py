"""Filters and pages of network interfaces and tags: what the region finds through its indexes is what
a client finds that goes through everything itself."""

import fnmatch
import random

import pytest

SEED = 20_261_123
ROUNDS = 120
INTERFACES = 24


@pytest.fixture
def crowd(papers):
    """Interfaces that differ in whatever can be filtered by."""
    draw = random.Random(SEED)
    places = []
    for block in ("10.1.0.0/16", "10.2.0.0/16"):
        vpc = papers.vpc(block)
        for third in (0, 1):
            subnet = papers.subnet(vpc, f"{block.split('0.0/')[0]}{third}.0/24")
            places.append((subnet, [papers.group(vpc, f"web-{third}"), papers.group(vpc, f"db-{third}")]))
    # First, as their addresses are named and those of the others are not.
    for subnet, groups in places[:2]:
        papers.instance(subnet, groups[0])
    for number in range(INTERFACES):
        subnet, groups = draw.choice(places)
        tags = {"Name": f"eni-{number % 5}", "Team": draw.choice(["red", "blue"])}
        if number % 3 == 0:
            tags["eni-1"] = "Name"
        made = papers.interface(
            subnet, *draw.sample(groups, draw.choice([1, 2])),
            Description=draw.choice(["", "one", "two"]),
            TagSpecifications=[{
                "ResourceType": "network-interface",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}])
        if number % 4 == 0:
            papers.ec2.modify_network_interface_attribute(
                NetworkInterfaceId=made["NetworkInterfaceId"], SourceDestCheck={"Value": False})
    return papers.ec2.describe_network_interfaces()["NetworkInterfaces"]


def truth(value):
    return "true" if value else "false"


# What an interface has under a filter's name.
VALUES = {
    "attachment.attachment-id": lambda one: [one["Attachment"]["AttachmentId"]],
    "attachment.device-index": lambda one: [str(one["Attachment"]["DeviceIndex"])],
    "attachment.instance-id": lambda one: [one["Attachment"]["InstanceId"]],
    "attachment.status": lambda one: [one["Attachment"]["Status"]],
    "availability-zone": lambda one: [one["AvailabilityZone"]],
    "availability-zone-id": lambda one: [one["AvailabilityZoneId"]],
    "description": lambda one: [one["Description"]],
    "group-id": lambda one: [group["GroupId"] for group in one["Groups"]],
    "group-name": lambda one: [group["GroupName"] for group in one["Groups"]],
    "interface-type": lambda one: [one["InterfaceType"]],
    "mac-address": lambda one: [one["MacAddress"]],
    "network-interface-id": lambda one: [one["NetworkInterfaceId"]],
    "owner-id": lambda one: [one["OwnerId"]],
    "private-dns-name": lambda one: [one["PrivateDnsName"]],
    "private-ip-address": lambda one: [one["PrivateIpAddress"]],
    "requester-managed": lambda one: [truth(one["RequesterManaged"])],
    "source-dest-check": lambda one: [truth(one["SourceDestCheck"])],
    "status": lambda one: [one["Status"]],
    "subnet-id": lambda one: [one["SubnetId"]],
    "tag-key": lambda one: [tag["Key"] for tag in one["TagSet"]],
    "tag-value": lambda one: [tag["Value"] for tag in one["TagSet"]],
    "tag:Name": lambda one: [tag["Value"] for tag in one["TagSet"] if tag["Key"] == "Name"],
    "tag:Team": lambda one: [tag["Value"] for tag in one["TagSet"] if tag["Key"] == "Team"],
    "tag:eni-1": lambda one: [tag["Value"] for tag in one["TagSet"] if tag["Key"] == "eni-1"],
    "vpc-id": lambda one: [one["VpcId"]],
}


def values(one, name):
    try:
        return VALUES[name](one)
    except KeyError:
        return []


def passes(one, filters):
    return all(
        any(fnmatch.fnmatchcase(value, pattern) for value in values(one, each["Name"])
            for pattern in each["Values"])
        for each in filters)


def drawn(draw, crowd):
    """One to three filters; most values are some interface's, some are patterns, some nobody's."""
    filters = []
    for name in draw.sample(sorted(VALUES), draw.choice([1, 1, 2, 3])):
        known = sorted({value for one in crowd for value in values(one, name)} | {"nobody"})
        wanted = draw.sample(known, min(len(known), draw.choice([1, 1, 2])))
        if draw.random() < 0.2:
            wanted[0] = wanted[0][:-1] + "?"
        filters.append({"Name": name, "Values": wanted})
    return filters


def ids(interfaces):
    return [one["NetworkInterfaceId"] for one in interfaces]


def test_filters_find_what_a_plain_reading_finds(papers, crowd):
    draw = random.Random(SEED + 1)
    pages = papers.ec2.get_paginator("describe_network_interfaces")
    found = 0
    for _ in range(ROUNDS):
        filters = drawn(draw, crowd)
        wanted = ids(one for one in crowd if passes(one, filters))
        at_once = papers.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        assert ids(at_once) == wanted, filters
        paged = pages.paginate(Filters=filters, PaginationConfig={"PageSize": 5})
        assert ids(one for page in paged for one in page["NetworkInterfaces"]) == wanted, filters
        found += bool(wanted)
    assert ROUNDS / 3 < found < ROUNDS, "drawn so that some find something and some nothing"


def test_a_page_starts_behind_one_that_is_gone(papers, crowd):
    vpc = crowd[0]["VpcId"]
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    free = [one for one in crowd if one["VpcId"] == vpc and "Attachment" not in one]
    first = papers.ec2.describe_network_interfaces(Filters=filters, MaxResults=5)
    last = first["NetworkInterfaces"][-1]
    if "Attachment" not in last:
        papers.ec2.delete_network_interface(NetworkInterfaceId=last["NetworkInterfaceId"])
    seen = ids(first["NetworkInterfaces"])
    while "NextToken" in first:
        first = papers.ec2.describe_network_interfaces(
            Filters=filters, MaxResults=5, NextToken=first["NextToken"])
        seen += ids(first["NetworkInterfaces"])
    assert seen == sorted(seen) and set(ids(free)) <= set(seen)


def tag_values(tag, name):
    return {"key": [tag["Key"]], "value": [tag["Value"]], "resource-id": [tag["ResourceId"]],
            "resource-type": [tag["ResourceType"]]}[name]


def test_tags_are_found_and_paged(papers, crowd):
    subnet = crowd[0]["SubnetId"]
    papers.ec2.create_tags(Resources=[subnet], Tags=[{"Key": "Team", "Value": "red"}])
    everything = papers.ec2.describe_tags()["Tags"]
    assert len(everything) == 1 + sum(len(one["TagSet"]) for one in crowd)
    draw = random.Random(SEED + 2)
    pages = papers.ec2.get_paginator("describe_tags")

    def place(tag):
        return tag["ResourceId"], tag["Key"]

    for _ in range(ROUNDS // 4):
        filters = []
        for name in draw.sample(["key", "resource-id", "resource-type", "value"], draw.choice([0, 1, 2])):
            known = sorted({value for tag in everything for value in tag_values(tag, name)})
            filters.append({"Name": name, "Values": draw.sample(known, min(2, len(known)))})
        wanted = [tag for tag in everything
                  if all(set(tag_values(tag, each["Name"])) & set(each["Values"]) for each in filters)]
        paged = pages.paginate(Filters=filters, PaginationConfig={"PageSize": 5})
        found = [tag for page in paged for tag in page["Tags"]]
        assert sorted(found, key=place) == sorted(wanted, key=place), filters


# Filters of instances that are answered through their interfaces, and what an interface has there.
OF_INSTANCES = {
    "instance-id": "attachment.instance-id",
    "network-interface.attachment.device-index": "attachment.device-index",
    "network-interface.mac-address": "mac-address",
    "network-interface.network-interface-id": "network-interface-id",
    "network-interface.subnet-id": "subnet-id",
    "private-ip-address": "private-ip-address",
    "subnet-id": "subnet-id",
    "vpc-id": "vpc-id",
}


@pytest.mark.parametrize("name", OF_INSTANCES)
def test_instances_are_found_through_their_interfaces(papers, crowd, name):
    attached = [one for one in crowd if "Attachment" in one]
    for value in {value for one in crowd for value in values(one, OF_INSTANCES[name])} | {"nobody"}:
        wanted = {one["Attachment"]["InstanceId"] for one in attached
                  if value in values(one, OF_INSTANCES[name])}
        pages = papers.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": name, "Values": [value]}], PaginationConfig={"PageSize": 5})
        found = [instance["InstanceId"] for page in pages
                 for reservation in page["Reservations"] for instance in reservation["Instances"]]
        assert found == sorted(wanted), value
