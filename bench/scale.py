"""A region of a hundred thousand interfaces: creating them, asking for them, starting with them."""

import random
import statistics
import tempfile
import time

import api
import aws
import daemon
import probe
from shell import Failed

CLIENTS = 16
# Two VPCs, as a VPC's first block has 65,536 addresses at most, in four subnets each; and a small
# one, for the filters by VPC and subnet: what they leave is all of one answer.
LARGE = ("10.78", "10.79")
SMALL = "10.80"
INTERFACES_IN_SMALL = 100
INSTANCES = 10
# A group and a value of the tag `Team` have about so many interfaces.
SHARED_BY = 100
# How many different interfaces the calls by id and by filter ask for in turn.
ASKED = 100
PAGE = 1_000
# The rate is taken over the last part as well, when the region is as large as it gets.
LAST = 10
CREATE_MAX_S = 900
# About what moto creates.
MOTO_PER_SECOND = 200
# moto knows these filters.
MOTO_IS_ASKED = ("by id", "by group-id", "by private-ip-address", "by subnet-id", "by tag:Name")

CONFIGURATION = """
[quotas]
network_interfaces = 1000000
security_groups = 10000
"""


def replay(endpoint, requests, seconds, connections=1, once=False):
    """What the probe sees of these requests; a refusal is a failure."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(requests))
        file.flush()
        seen = probe.replay(endpoint.address, file.name, seconds, connections, once)
    if seen["refused"]:
        raise Failed(f"{endpoint.url} refused {seen['refused']} of {seen['answers']} requests")
    return seen


def create(endpoint, requests, seconds=CREATE_MAX_S):
    """Sends each request once, by sixteen clients."""
    seen = replay(endpoint, requests, seconds, CLIENTS, once=True)
    if seconds == CREATE_MAX_S and seen["answers"] < len(requests):
        raise Failed(f"{endpoint.url}: {seen['answers']} of {len(requests)} creates in time")
    return seen


class Region:
    """Where the interfaces are made, and the requests that make them: each with a token, tags and a
    description of its own, as real clients send them."""

    def __init__(self, endpoint, count):
        self.endpoint = endpoint
        self.ec2 = endpoint.client()
        self.places = []
        for number, block in enumerate(LARGE):
            vpc = self.vpc(block)
            subnets = [self.subnet(vpc, f"{block}.{n}.0/18") for n in (0, 64, 128, 192)]
            groups = self.groups(vpc, max(1, count // SHARED_BY // len(LARGE)), number)
            self.places += [(subnet, groups) for subnet in subnets]
        self.small_vpc = self.vpc(SMALL)
        self.small_subnet = self.subnet(self.small_vpc, f"{SMALL}.0.0/20")

    def vpc(self, block):
        return self.ec2.create_vpc(CidrBlock=f"{block}.0.0/16")["Vpc"]["VpcId"]

    def subnet(self, vpc, block):
        return self.ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]

    def groups(self, vpc, count, number):
        sign = self.endpoint.request
        common = {"VpcId": vpc, "GroupDescription": "for the bench"}
        requests = [
            sign("CreateSecurityGroup", GroupName=f"g{number}-{n}", **common) for n in range(count)
        ]
        create(self.endpoint, requests)
        pages = self.ec2.get_paginator("describe_security_groups").paginate(
            Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["g*"]}],
            PaginationConfig={"PageSize": PAGE},
        )
        return [group["GroupId"] for page in pages for group in page["SecurityGroups"]]

    def request(self, number):
        subnet, groups = self.places[number % len(self.places)]
        group = groups[number // len(self.places) % len(groups)]
        return self.make(number, subnet, **{"SecurityGroupId.1": group})

    def make(self, number, subnet, **more):
        return self.endpoint.request(
            "CreateNetworkInterface",
            SubnetId=subnet,
            ClientToken=f"token-{number}",
            Description=f"interface {number} of the bench",
            **{
                "TagSpecification.1.ResourceType": "network-interface",
                "TagSpecification.1.Tag.1.Key": "Name",
                "TagSpecification.1.Tag.1.Value": f"eni-{number}",
                "TagSpecification.1.Tag.2.Key": "Team",
                "TagSpecification.1.Tag.2.Value": f"team-{number // SHARED_BY}",
            },
            **more,
        )

    def fill(self, count, say):
        """Creates so many; the rate over all, and over the last part."""
        last = count // LAST
        signed = [self.request(number) for number in range(count)]
        say(f"  {count:,} requests signed")
        first, end = create(self.endpoint, signed[:-last]), create(self.endpoint, signed[-last:])
        say(f"  created, {end['per_second']:,.0f} a second at the end")
        return first, end

    def fill_small(self, count):
        numbers = range(count, count + INTERFACES_IN_SMALL)
        create(self.endpoint, [self.make(n, self.small_subnet) for n in numbers])

    def launch(self):
        self.ec2.run_instances(
            ImageId=daemon.IMAGE,
            InstanceType=daemon.INSTANCE_TYPE,
            MinCount=INSTANCES,
            MaxCount=INSTANCES,
            SubnetId=self.small_subnet,
        )


def describe(endpoint, **parameters):
    return endpoint.request("DescribeNetworkInterfaces", **parameters)


def filtered(endpoint, name, values):
    """A request for each value."""
    return [
        describe(endpoint, **{"Filter.1.Name": name, "Filter.1.Value.1": value}) for value in values
    ]


def walk(ec2):
    """All interfaces, and the token of each page after the first."""
    pages = ec2.get_paginator("describe_network_interfaces").paginate(
        PaginationConfig={"PageSize": PAGE}
    )
    interfaces, tokens = [], []
    for page in pages:
        interfaces += page["NetworkInterfaces"]
        tokens += [page["NextToken"]] if "NextToken" in page else []
    return interfaces, tokens


def questions(region, interfaces):
    """The requests of each kind of question, by its name."""
    sample = random.Random(1).sample(interfaces, min(ASKED, len(interfaces)))
    attached = [one["Attachment"] for one in interfaces if "Attachment" in one]
    tags = [{tag["Key"]: tag["Value"] for tag in one["TagSet"]} for one in sample]
    tags = [one for one in tags if one]
    group_of = [one["Groups"][0]["GroupId"] for one in sample if one["VpcId"] != region.small_vpc]
    values = {
        "network-interface-id": [one["NetworkInterfaceId"] for one in sample],
        "mac-address": [one["MacAddress"] for one in sample],
        "private-ip-address": [one["PrivateIpAddress"] for one in sample],
        "private-dns-name": [one["PrivateDnsName"] for one in sample if "PrivateDnsName" in one],
        "group-id": group_of,
        "subnet-id": [region.small_subnet],
        "vpc-id": [region.small_vpc],
        "tag:Name": [one["Name"] for one in tags],
        "tag:Team": [one["Team"] for one in tags],
        "attachment.attachment-id": [one["AttachmentId"] for one in attached],
        "attachment.instance-id": [one["InstanceId"] for one in attached],
        "status": ["in-use"],
        "description": [one["Description"] for one in sample],
    }
    endpoint = region.endpoint
    asked = {
        f"by {name}": filtered(endpoint, name, wanted)
        for name, wanted in values.items()
        if wanted
    }
    ids = [one["NetworkInterfaceId"] for one in sample]
    asked["by id"] = [describe(endpoint, **{"NetworkInterfaceId.1": one}) for one in ids]
    return asked


def paged(endpoint, tokens, **more):
    first = [describe(endpoint, MaxResults=PAGE, **more)]
    return first + [describe(endpoint, MaxResults=PAGE, NextToken=t, **more) for t in tokens]


def enid_figures(count, seconds, starts, say):
    """All figures of a durable Enid, without a datapath."""
    flags = ("--datapath", "none")
    with daemon.private(configuration=CONFIGURATION, flags=flags) as enid:
        empty_kib = daemon.resident_kib(enid.child.pid)
        region = Region(enid.endpoint, count)
        first, last = region.fill(count, say)
        region.fill_small(count)
        region.launch()
        used_kib = daemon.resident_kib(enid.child.pid)
        interfaces, tokens = walk(region.ec2)
        asked = questions(region, interfaces)
        asked["a page"] = paged(enid.endpoint, tokens)
        seen = {}
        for what, requests in asked.items():
            seen[what] = replay(enid.endpoint, requests, seconds)
            say(f"  {what}: {seen[what]['p50_us'] / 1e3:.2f} ms")
        request = asked["by id"][0]
        times, started_kib = [], []
        for _ in range(starts):
            enid.kill()
            start = time.perf_counter()
            enid.start()
            aws.first_answer(enid.endpoint, request)
            times.append(time.perf_counter() - start)
            time.sleep(api.SETTLE_S)
            started_kib.append(daemon.resident_kib(enid.child.pid))
        disk = sum(file.stat().st_size for file in enid.data.rglob("*") if file.is_file())
    return {
        "interfaces": len(interfaces),
        "first": first,
        "last": last,
        "asked": seen,
        "start_s": statistics.median(times),
        "starts_s": times,
        "bytes_each": (used_kib - empty_kib) * 1024 / count,
        "started_bytes_each": (statistics.median(started_kib) - empty_kib) * 1024 / count,
        "disk_bytes_each": disk / count,
    }


def moto_figures(seconds, say):
    """moto with as many interfaces as it makes in a given time."""
    api.install_moto()
    with api.moto() as (endpoint, pid, _):
        empty_kib = daemon.resident_kib(pid)
        # So many groups that each has about as many interfaces as those of a large region.
        region = Region(endpoint, int(seconds * MOTO_PER_SECOND))
        signed = [region.request(number) for number in range(int(seconds * 1_000))]
        made = create(endpoint, signed, seconds)
        region.fill_small(len(signed))
        interfaces = region.ec2.describe_network_interfaces()["NetworkInterfaces"]
        say(f"  moto made {len(interfaces):,}")
        used_kib = daemon.resident_kib(pid)
        asked = questions(region, interfaces)
        seen = {what: replay(endpoint, asked[what], seconds / 10) for what in MOTO_IS_ASKED}
        seen["a page"] = replay(endpoint, paged(endpoint, []), seconds / 10)
    return {
        "interfaces": len(interfaces),
        "last": made,
        "asked": seen,
        "bytes_each": (used_kib - empty_kib) * 1024 / len(interfaces),
    }
