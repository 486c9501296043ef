"""The instance metadata service, asked from inside: what it tells, whom, and on what terms.

        a (eth0, eth1), b: 10.0.0.0/24 -----> 169.254.169.254, [fd00:ec2::254]
"""

import base64
import json

import pytest

from support.until import until

SERVICE = "169.254.169.254"
SERVICE_V6 = "[fd00:ec2::254]"
LATEST = "/latest/meta-data/"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


class Imds:
    """An instance's view of the service."""

    def __init__(self, instance, host=SERVICE):
        self.instance, self.host = instance, host

    def ask(self, path, *options):
        """Status and body of an answer; status 0 is no answer."""
        done = self.instance.exec("curl", "-sS", "-m", "3", "-o", "-", "-w", "\n%{http_code}",
                                  *options, f"http://{self.host}{path}", check=False)
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def get(self, path, *options):
        status, body = self.ask(path, *options)
        assert status == 200, (path, status, body)
        return body

    def put(self, *options, path="/latest/api/token", ttl=60):
        return self.ask(path, "-X", "PUT", "-H", f"{TTL}: {ttl}", *options)

    def token(self):
        status, token = self.put()
        assert status == 200, token
        return token

    def get_with(self, token, path):
        return self.ask(path, "-H", f"X-aws-ec2-metadata-token: {token}")


def crawl(imds, path=LATEST):
    """Everything below a path, as tools for images read it: a name with a slash leads further."""
    found = {}
    for name in imds.get(path).split("\n"):
        if path.endswith("public-keys/"):
            number, _, key = name.partition("=")
            assert key
            name = f"{number}/"
        if name.endswith("/"):
            found |= crawl(imds, path + name)
        else:
            found[(path + name).removeprefix(LATEST)] = imds.get(path + name)
    return found


def test_the_whole_tree_is_what_the_api_describes(lab):
    key = lab.ec2.create_key_pair(KeyName="crawled", KeyType="ed25519")
    try:
        vpc, subnet = lab.network()
        lab.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
        lab.internet(vpc)
        instance = lab.instance(subnet, KeyName="crawled", UserData="#!/bin/true\n")
        address = lab.address()
        lab.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance.id)
        second = lab.interface(subnet, SecondaryPrivateIpAddressCount=1)["NetworkInterfaceId"]
        lab.ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=instance.id,
                                         DeviceIndex=1)
        imds = Imds(instance)
        told = crawl(imds)
        shown = instance.describe()
        expected = {
            "ami-id": shown["ImageId"],
            "ami-launch-index": "0",
            "hostname": shown["PrivateDnsName"],
            "instance-id": instance.id,
            "instance-type": shown["InstanceType"],
            "local-hostname": shown["PrivateDnsName"],
            "local-ipv4": shown["PrivateIpAddress"],
            "placement/availability-zone": shown["Placement"]["AvailabilityZone"],
            "placement/availability-zone-id": shown["Placement"]["AvailabilityZoneId"],
            "placement/region": "us-east-1",
            "public-hostname": shown["PublicDnsName"],
            "public-ipv4": address["PublicIp"],
            "services/domain": "amazonaws.com",
            "services/partition": "aws",
        }
        assert {name: told.get(name) for name in expected} == expected
        described = lab.ec2.describe_key_pairs(KeyPairIds=[key["KeyPairId"]],
                                               IncludePublicKey=True)["KeyPairs"][0]
        assert told["public-keys/0/openssh-key"] == described["PublicKey"].strip()
        [block] = [one["CidrBlock"] for one in
                   lab.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]]
        assert len(shown["NetworkInterfaces"]) == 2
        for eni in shown["NetworkInterfaces"]:
            at = f"network/interfaces/macs/{eni['MacAddress']}/"
            of_eni = {name.removeprefix(at): value for name, value in told.items()
                      if name.startswith(at)}
            groups = eni["Groups"]
            addresses = [one["PrivateIpAddress"] for one in eni["PrivateIpAddresses"]]
            expected = {
                "device-number": str(eni["Attachment"]["DeviceIndex"]),
                "interface-id": eni["NetworkInterfaceId"],
                "local-hostname": eni["PrivateDnsName"],
                "local-ipv4s": "\n".join(addresses),
                "mac": eni["MacAddress"],
                "network-card": "0",
                "owner-id": eni["OwnerId"],
                "security-groups": "\n".join(group["GroupName"] for group in groups),
                "security-group-ids": "\n".join(group["GroupId"] for group in groups),
                "subnet-id": subnet,
                "subnet-ipv4-cidr-block": block,
                "vpc-id": vpc,
                "vpc-ipv4-cidr-block": "10.0.0.0/16",
                "vpc-ipv4-cidr-blocks": "10.0.0.0/16",
            }
            if "Association" in eni:
                public = eni["Association"]["PublicIp"]
                expected |= {
                    "public-hostname": eni["Association"]["PublicDnsName"],
                    "public-ipv4s": public,
                    f"ipv4-associations/{public}": eni["PrivateIpAddress"],
                }
            assert of_eni == expected
        # An address that is given back is told no more, in the moment of the answer.
        [association] = lab.ec2.describe_addresses(
            AllocationIds=[address["AllocationId"]])["Addresses"]
        lab.ec2.disassociate_address(AssociationId=association["AssociationId"])
        assert imds.ask(LATEST + "public-ipv4")[0] == 404

        document = json.loads(imds.get("/latest/dynamic/instance-identity/document"))
        assert document["instanceId"] == instance.id
        assert document["privateIp"] == instance.ip
        assert document["accountId"] == shown["NetworkInterfaces"][0]["OwnerId"]
        assert imds.get("/latest/user-data") == "#!/bin/true\n"
        assert imds.get("/").endswith("\nlatest")
        assert imds.ask("/latest/meta-data/no-such-thing")[0] == 404
    finally:
        lab.ec2.delete_key_pair(KeyName="crawled")


def test_sessions(lab):
    _, subnet = lab.network()
    one, other = map(Imds, lab.launch(subnet, count=2))
    name = LATEST + "instance-id"
    assert one.get(name) == one.instance.id
    token = one.token()
    assert one.get_with(token, name) == (200, one.instance.id)
    # A token is worth nothing elsewhere, and a made-up one nowhere.
    assert other.get_with(token, name)[0] == 401
    assert one.get_with("x" + token[1:], name)[0] == 401
    lab.ec2.modify_instance_metadata_options(InstanceId=one.instance.id, HttpTokens="required")
    assert one.ask(name)[0] == 401
    assert one.get_with(token, name)[0] == 200
    assert other.get(name) == other.instance.id
    assert one.put("-H", "X-Forwarded-For: 10.0.0.9")[0] == 403
    assert one.put(path="/2009-04-04/api/token")[0] == 403
    for ttl in [0, 21601]:
        assert one.put(ttl=ttl)[0] == 400
    assert one.ask("/latest/api/token", "-X", "PUT")[0] == 400
    assert one.ask("/latest/api/token")[0] == 405
    short = one.put(ttl=1)[1]
    until(lambda: one.get_with(short, name)[0] == 401, "a token of one second ends")
    lab.ec2.modify_instance_metadata_options(InstanceId=one.instance.id, HttpEndpoint="disabled")
    assert one.get_with(token, name)[0] == 403
    assert one.put()[0] == 403


def test_sessions_outlive_the_daemon(start_daemon):
    from support.lab import Lab

    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    try:
        _, subnet = lab.network()
        imds = Imds(lab.instance(subnet, MetadataOptions={"HttpTokens": "required"}))
        token = imds.token()
        daemon.kill()
        daemon.start()
        assert imds.get_with(token, LATEST + "instance-id") == (200, imds.instance.id)
        key = daemon.data / "imds-key"
        assert key.stat().st_mode & 0o777 == 0o600
    finally:
        lab.close()


@pytest.mark.parametrize("limit", [1, 3])
def test_the_answer_with_a_token_goes_so_many_hops(lab, limit):
    _, subnet = lab.network()
    instance = lab.instance(subnet, MetadataOptions={"HttpPutResponseHopLimit": limit})
    imds = Imds(instance)

    def hops_of_answers():
        """The TTL of each packet with data that has come from the service since it was asked."""
        seen = set()
        for frame in map(bytes.fromhex, instance.agent.sniffed(device="eth0")):
            if frame[12:14] != b"\x08\x00" or frame[26:30] != bytes([169, 254, 169, 254]):
                continue
            head = 14 + 20 + (frame[46] >> 4) * 4
            if frame[head:head + 4] == b"HTTP":
                seen.add(frame[22])
        return seen

    instance.agent.sniff(device="eth0")
    imds.token()
    assert hops_of_answers() == {limit}
    imds.get(LATEST)
    assert hops_of_answers() == {64}
    other = 4 - limit
    lab.ec2.modify_instance_metadata_options(InstanceId=instance.id,
                                             HttpPutResponseHopLimit=other)
    imds.token()
    assert hops_of_answers() == {other}


def test_tags(lab):
    _, subnet = lab.network()
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web one"}]}]
    instance = lab.instance(subnet, TagSpecifications=tags)
    imds = Imds(instance)
    assert imds.ask(LATEST + "tags/instance/Name")[0] == 404
    lab.ec2.modify_instance_metadata_options(InstanceId=instance.id,
                                             InstanceMetadataTags="enabled")
    assert imds.get(LATEST + "tags/instance/Name") == "web one"
    lab.ec2.create_tags(Resources=[instance.id], Tags=[{"Key": "a:b", "Value": "2"}])
    assert imds.get(LATEST + "tags/instance/") == "Name\na:b"
    lab.ec2.delete_tags(Resources=[instance.id], Tags=[{"Key": "a:b"}])
    assert imds.get(LATEST + "tags/instance") == "Name"


def test_over_ipv6(lab):
    vpc = lab.ec2.create_vpc(CidrBlock="10.7.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    lab._vpcs.append(vpc["VpcId"])
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    subnet = lab.ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.7.0.0/24",
                                   Ipv6CidrBlock=block)["Subnet"]["SubnetId"]
    place = {"DeviceIndex": 0, "SubnetId": subnet, "Ipv6AddressCount": 1}
    instance = lab.instance(None, NetworkInterfaces=[place])
    imds = Imds(instance, SERVICE_V6)
    assert imds.ask(LATEST)[0] == 0, "it is off unless it is wanted"
    lab.ec2.modify_instance_metadata_options(InstanceId=instance.id, HttpProtocolIpv6="enabled")
    assert imds.get(LATEST + "instance-id") == instance.id
    [address] = instance.describe()["NetworkInterfaces"][0]["Ipv6Addresses"]
    assert imds.get(LATEST + "ipv6") == address["Ipv6Address"]
    mac = imds.get(LATEST + "mac")
    at = f"{LATEST}network/interfaces/macs/{mac}/"
    assert imds.get(at + "ipv6s") == address["Ipv6Address"]
    assert imds.get(at + "subnet-ipv6-cidr-blocks") == block


def test_user_data_are_bytes(lab):
    _, subnet = lab.network()
    data = bytes(range(256))
    encoded = base64.b64encode(data).decode()
    # boto3 encodes what it is given; these bytes are no text.
    imds = Imds(lab.instance(subnet, UserData=data))
    done = imds.instance.exec("sh", "-c", f"curl -s http://{SERVICE}/latest/user-data | base64 -w0")
    assert done.stdout.strip() == encoded
    plain = Imds(lab.instance(subnet))
    assert plain.ask("/latest/user-data")[0] == 404
