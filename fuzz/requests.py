"""Writes requests of the corpora as botocore makes them, signed at a fixed time with a fixed key.

Run it by hand with the project's virtual environment:

    .venv/bin/python fuzz/requests.py
"""

import datetime
import pathlib
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
HOST = "127.0.0.1:4566"
REGION = "eu-west-1"
CORPUS = pathlib.Path(__file__).parent / "corpus"
CREDENTIALS = botocore.credentials.Credentials(
    "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

VPC = "vpc-00123456789abcdef"
SUBNET = "subnet-00123456789abcdef"
GROUP = "sg-00123456789abcdef"
RULE = "sgr-00123456789abcdef"
ENI = "eni-00123456789abcdef"
INSTANCE = "i-00123456789abcdef"
ATTACHMENT = "eni-attach-00123456789abcdef"
TAGS = [{"Key": "Name", "Value": "web & <db> é"}]


def tagged(kind):
    return [{"ResourceType": kind, "Tags": TAGS}]


def filtered(name, *values):
    return [{"Name": name, "Values": list(values)}]


PERMISSIONS = [
    {
        "IpProtocol": "tcp",
        "FromPort": 80,
        "ToPort": 443,
        "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "inside"}],
        "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
    },
    {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP, "UserId": "123456789012"}]},
]
DESCRIPTIONS = [{"SecurityGroupRuleId": RULE, "Description": "new"}]
ADDRESSES = ["10.0.0.9", "10.0.0.10"]
INTERFACES = [
    {
        "DeviceIndex": 0,
        "SubnetId": SUBNET,
        "Groups": [GROUP],
        "DeleteOnTermination": True,
        "PrivateIpAddresses": [
            {"PrivateIpAddress": "10.0.0.5", "Primary": True},
            {"PrivateIpAddress": "10.0.0.6", "Primary": False},
        ],
    },
    {"DeviceIndex": 1, "NetworkInterfaceId": ENI},
]

REQUESTS = [
    ("AssignPrivateIpAddresses", dict(
        NetworkInterfaceId=ENI, PrivateIpAddresses=ADDRESSES, AllowReassignment=True)),
    ("AttachNetworkInterface", dict(NetworkInterfaceId=ENI, InstanceId=INSTANCE, DeviceIndex=1)),
    ("AuthorizeSecurityGroupEgress", dict(GroupId=GROUP, IpPermissions=PERMISSIONS)),
    ("AuthorizeSecurityGroupIngress", dict(
        GroupId=GROUP, IpPermissions=PERMISSIONS,
        TagSpecifications=tagged("security-group-rule"))),
    ("CreateNetworkInterface", dict(
        SubnetId=SUBNET, Groups=[GROUP], Description="Zürich & 東京", ClientToken="token",
        PrivateIpAddresses=[{"PrivateIpAddress": "10.0.0.7", "Primary": True}],
        TagSpecifications=tagged("network-interface"))),
    ("CreateSecurityGroup", dict(
        GroupName="web", Description="web servers", VpcId=VPC,
        TagSpecifications=tagged("security-group"))),
    ("CreateSubnet", dict(
        VpcId=VPC, CidrBlock="10.0.0.0/24", AvailabilityZone="eu-west-1a",
        TagSpecifications=tagged("subnet"))),
    ("CreateTags", dict(Resources=[VPC, SUBNET], Tags=TAGS)),
    ("CreateVpc", dict(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc"))),
    ("DeleteNetworkInterface", dict(NetworkInterfaceId=ENI)),
    ("DeleteSecurityGroup", dict(GroupId=GROUP)),
    ("DeleteSubnet", dict(SubnetId=SUBNET)),
    ("DeleteTags", dict(Resources=[VPC], Tags=TAGS)),
    ("DeleteVpc", dict(VpcId=VPC)),
    ("DescribeAccountAttributes", dict(AttributeNames=["default-vpc"])),
    ("DescribeAvailabilityZones", dict(ZoneNames=["eu-west-1a"])),
    ("DescribeImages", dict(Filters=filtered("name", "enid-*"), Owners=["self"])),
    ("DescribeInstanceAttribute", dict(InstanceId=INSTANCE, Attribute="groupSet")),
    ("DescribeInstanceStatus", dict(InstanceIds=[INSTANCE], IncludeAllInstances=True)),
    ("DescribeInstanceTypes", dict(InstanceTypes=["t3.micro", "m5.large"])),
    ("DescribeInstances", dict(Filters=filtered("instance-state-name", "running", "p?nd*"))),
    ("DescribeNetworkInterfaceAttribute", dict(NetworkInterfaceId=ENI, Attribute="description")),
    ("DescribeNetworkInterfaces", dict(
        Filters=filtered("addresses.private-ip-address", "10.0.0.*"), MaxResults=5)),
    ("DescribeRegions", dict(RegionNames=["eu-west-1"], AllRegions=True)),
    ("DescribeSecurityGroupRules", dict(Filters=filtered("group-id", GROUP), MaxResults=1000)),
    ("DescribeSecurityGroups", dict(GroupIds=[GROUP])),
    ("DescribeSubnets", dict(Filters=filtered("tag:Name", "a\\*b", "*"))),
    ("DescribeTags", dict(Filters=filtered("resource-type", "vpc"), NextToken="RGVzY3JpYmU=")),
    ("DescribeVpcAttribute", dict(VpcId=VPC, Attribute="enableDnsSupport")),
    ("DescribeVpcs", dict(VpcIds=[VPC], Filters=filtered("is-default", "true"))),
    ("DetachNetworkInterface", dict(AttachmentId=ATTACHMENT, Force=True)),
    ("GetConsoleOutput", dict(InstanceId=INSTANCE, Latest=True)),
    ("ModifyInstanceAttribute", dict(InstanceId=INSTANCE, Groups=[GROUP])),
    ("ModifyNetworkInterfaceAttribute", dict(
        NetworkInterfaceId=ENI, SourceDestCheck={"Value": False})),
    ("ModifySecurityGroupRules", dict(GroupId=GROUP, SecurityGroupRules=[{
        "SecurityGroupRuleId": RULE,
        "SecurityGroupRule": {
            "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.0.0.0/8"}}])),
    ("ModifySubnetAttribute", dict(SubnetId=SUBNET, MapPublicIpOnLaunch={"Value": False})),
    ("ModifyVpcAttribute", dict(VpcId=VPC, EnableDnsHostnames={"Value": True})),
    ("RebootInstances", dict(InstanceIds=[INSTANCE])),
    ("ResetNetworkInterfaceAttribute", dict(
        NetworkInterfaceId=ENI, SourceDestCheck="true")),
    ("RevokeSecurityGroupEgress", dict(GroupId=GROUP, SecurityGroupRuleIds=[RULE])),
    ("RevokeSecurityGroupIngress", dict(GroupId=GROUP, IpPermissions=PERMISSIONS)),
    ("RunInstances", dict(
        ImageId="ami-00123456789abcdef", InstanceType="t3.micro", MinCount=1, MaxCount=2,
        NetworkInterfaces=INTERFACES, UserData="#!/bin/sh\necho hello\n", ClientToken="token",
        TagSpecifications=tagged("instance"))),
    ("StartInstances", dict(InstanceIds=[INSTANCE])),
    ("StopInstances", dict(InstanceIds=[INSTANCE], Force=True)),
    ("TerminateInstances", dict(InstanceIds=[INSTANCE])),
    ("UnassignPrivateIpAddresses", dict(NetworkInterfaceId=ENI, PrivateIpAddresses=ADDRESSES)),
    ("UpdateSecurityGroupRuleDescriptionsEgress", dict(
        GroupId=GROUP, SecurityGroupRuleDescriptions=DESCRIPTIONS)),
    ("UpdateSecurityGroupRuleDescriptionsIngress", dict(
        GroupId=GROUP, IpPermissions=PERMISSIONS[:1])),
    # Known to AWS and not to Enid: the operation, a parameter.
    ("CreateNatGateway", dict(SubnetId=SUBNET)),
    ("CreateVpc", dict(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)),
    ("DescribeVpcs", dict(DryRun=True)),
]
# Those that also stand in the front door's corpus, signed.
SIGNED = {
    "AuthorizeSecurityGroupIngress", "CreateTags", "CreateVpc", "DescribeInstanceTypes",
    "DescribeRegions", "DescribeSubnets", "DescribeVpcs", "RunInstances",
}


def made(service, operation, parameters):
    """An unsigned request as botocore writes it."""
    client = botocore.session.get_session().create_client(
        service, region_name=REGION, endpoint_url=f"http://{HOST}",
        aws_access_key_id="x", aws_secret_access_key="x",
    )
    caught = []

    def catch(request, **_):
        caught.append(request)
        return botocore.awsrequest.AWSResponse(request.url, 400, {}, Raw())

    client.meta.events.register("before-send.*", catch)
    method = {client.meta.method_to_api_mapping[name]: name
              for name in client.meta.method_to_api_mapping}[operation]
    try:
        getattr(client, method)(**parameters)
    except client.exceptions.ClientError:
        pass
    body = caught[0].body or b""
    return body if isinstance(body, bytes) else body.encode()


class Raw:
    """An answer that says nothing."""

    def stream(self, **_):
        yield b"<Response><Errors><Error><Code>x</Code><Message>x</Message></Error></Errors></Response>"


def travelling(request):
    """A request as the front door's target reads it."""
    parts = urllib.parse.urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{request.method} {target}", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in sorted(request.headers.items())
              if name.lower() != "host"]
    body = request.data or b""
    body = body if isinstance(body, bytes) else body.encode()
    return "\n".join(lines).encode() + b"\n\n" + body


def signed(service, body):
    request = botocore.awsrequest.AWSRequest(
        "POST", f"http://{HOST}/", data=body,
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    botocore.auth.SigV4Auth(CREDENTIALS, service, REGION).add_auth(request)
    return request


def presigned(service, body):
    request = botocore.awsrequest.AWSRequest("GET", f"http://{HOST}/?{body.decode()}")
    botocore.auth.SigV4QueryAuth(CREDENTIALS, service, REGION, expires=60).add_auth(request)
    return request


def write(target, name, data):
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)


def main():
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: (
        NOW.replace(tzinfo=None) if remove_tzinfo else NOW
    )
    seen = set()
    for operation, parameters in REQUESTS:
        body = made("ec2", operation, parameters)
        again = operation in seen
        seen.add(operation)
        name = f"{operation}-refused" if again else operation
        write("request", name, body)
        if operation in SIGNED and not again:
            request = signed("ec2", body)
            write("front", operation, travelling(request))
            write("authorization", operation, request.headers["Authorization"].encode())
        if operation in {"DescribeVpcs", "DescribeTags"} and not again:
            request = presigned("ec2", body)
            write("front", f"{operation}-presigned", travelling(request))
            query = urllib.parse.urlsplit(request.url).query
            write("authorization", f"{operation}-presigned", query.encode())
    body = made("sts", "GetCallerIdentity", {})
    write("request", "GetCallerIdentity", body)
    write("front", "GetCallerIdentity", travelling(signed("sts", body)))
    write("front", "GetCallerIdentity-presigned", travelling(presigned("sts", body)))
    write("front", "other-service", travelling(signed("s3", b"Action=ListBuckets")))


main()
