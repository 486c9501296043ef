"""Keys with policies: what a policy allows, how a refusal is worded, and what cannot be obeyed."""

import json
import subprocess

import pytest

from support.daemon import ENID
from support.errors import refused

ACCOUNT = "123456789012"


def statement(action, resource="*", effect="Allow", condition=None):
    made = {"Effect": effect, "Action": action, "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


def create_key(daemon, tmp_path, policy, *words):
    """A key with a policy: a dictionary as clients take it."""
    path = tmp_path / "policy.json"
    path.write_text(policy if isinstance(policy, str) else json.dumps(policy))
    key = daemon.json("key", "create", "--policy", str(path), *words)
    return {"AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}


@pytest.fixture
def holder(daemon, tmp_path):
    """Makes clients of a key whose policy has these statements: `holder(statement(…), …)`."""

    def make(*statements, service="ec2", region="us-east-1"):
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        keys = create_key(daemon, tmp_path, policy)
        client = daemon.client(service, region, keys=keys)
        client.arn = f"arn:aws:iam::{ACCOUNT}:user/{keys['AWS_ACCESS_KEY_ID']}"
        client.keys = keys
        return client

    return make


def denied(client, action, resource=None, explicit=False):
    """The whole of AWS's words."""
    on = f" on resource: {resource}" if resource else ""
    reason = (" with an explicit deny in an identity-based policy" if explicit
              else f" because no identity-based policy allows the {action} action")
    words = (f"You are not authorized to perform this operation. User: {client.arn} is not "
             f"authorized to perform: {action}{on}{reason}")
    return refused("UnauthorizedOperation", words, 403)


def arn(kind, name="*", region="us-east-1"):
    return f"arn:aws:ec2:{region}:{ACCOUNT}:{kind}/{name}"


def test_nothing_is_allowed_that_no_statement_allows(holder):
    client = holder(statement("ec2:DescribeVpcs"))
    client.describe_vpcs()
    with denied(client, "ec2:DescribeSubnets"):
        client.describe_subnets()
    with denied(client, "ec2:CreateVpc", arn("vpc")):
        client.create_vpc(CidrBlock="10.0.0.0/16")


def test_an_explicit_deny_wins(holder, ec2):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    client = holder(statement("*"), statement("ec2:Delete*", effect="Deny"))
    with denied(client, "ec2:DeleteVpc", arn("vpc", vpc), explicit=True):
        client.delete_vpc(VpcId=vpc)
    ec2.describe_vpcs(VpcIds=[vpc])
    ec2.delete_vpc(VpcId=vpc)


def test_each_resource_of_a_request_counts(holder, papers):
    vpc = papers.vpc()
    one, other = papers.subnet(vpc), papers.subnet(vpc, "10.0.1.0/24")
    client = holder(statement("ec2:CreateNetworkInterface",
                              [arn("network-interface"), arn("subnet", one)]))
    made = client.create_network_interface(SubnetId=one)["NetworkInterface"]
    with denied(client, "ec2:CreateNetworkInterface", arn("subnet", other)):
        client.create_network_interface(SubnetId=other)
    group = made["Groups"][0]["GroupId"]
    with denied(client, "ec2:CreateNetworkInterface", arn("security-group", group)):
        client.create_network_interface(SubnetId=one, Groups=[group])


def test_a_refusal_names_the_resource_that_aws_names(holder, papers):
    vpc, subnet = papers.network()
    client = holder(statement("ec2:Describe*"))
    with denied(client, "ec2:RunInstances", arn("instance")):
        client.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1,
                             SubnetId=subnet)
    with denied(client, "ec2:CreateSecurityGroup", arn("security-group")):
        client.create_security_group(GroupName="a", Description="b", VpcId=vpc)
    with denied(client, "ec2:CreateSubnet", arn("vpc", vpc)):
        client.create_subnet(VpcId=vpc, CidrBlock="10.0.9.0/24")


def test_dry_run_is_authorised_first(holder):
    client = holder(statement("ec2:CreateVpc"))
    with refused("DryRunOperation", status=412):
        client.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)
    with denied(client, "ec2:CreateSecurityGroup", arn("security-group")):
        client.create_security_group(GroupName="a", Description="b", DryRun=True)
    with denied(client, "ec2:DescribeVpcs"):
        client.describe_vpcs(DryRun=True)


def test_a_denied_request_learns_nothing(holder):
    client = holder(statement("ec2:DescribeVpcs"))
    with denied(client, "ec2:DeleteVpc", arn("vpc", "vpc-0123456789abcdef0")):
        client.delete_vpc(VpcId="vpc-0123456789abcdef0")


def test_tags_at_creation_need_their_own_permission(holder, ec2):
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "team", "Value": "red"}]}]
    client = holder(statement("ec2:CreateVpc"))
    with denied(client, "ec2:CreateTags", arn("vpc")):
        client.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)
    made = {"StringEquals": {"ec2:CreateAction": "CreateVpc"}}
    client = holder(statement("ec2:CreateVpc"),
                    statement("ec2:CreateTags", arn("*"), condition=made))
    vpc = client.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]
    with denied(client, "ec2:CreateTags", arn("vpc", vpc)):
        client.create_tags(Resources=[vpc], Tags=[{"Key": "a", "Value": "b"}])
    ec2.delete_vpc(VpcId=vpc)


def test_request_tags_can_be_demanded(holder, ec2):
    wanted = {"StringEquals": {"aws:RequestTag/team": "red"},
              "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    client = holder(statement(["ec2:CreateVpc", "ec2:CreateTags"], condition=wanted))

    def create(**tags):
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        return client.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[
            {"ResourceType": "vpc", "Tags": pairs}])["Vpc"]["VpcId"]

    ec2.delete_vpc(VpcId=create(team="red"))
    for tags in ({"team": "blue"}, {"team": "red", "other": "x"}):
        with denied(client, "ec2:CreateVpc", arn("vpc")):
            create(**tags)
    with denied(client, "ec2:CreateVpc", arn("vpc")):
        client.create_vpc(CidrBlock="10.0.0.0/16")


@pytest.mark.parametrize("key", ["aws:ResourceTag/team", "ec2:ResourceTag/team"])
def test_tags_of_the_resource_decide(holder, papers, ec2, key):
    red, blue = papers.vpc(), papers.vpc()
    for vpc, team in ((red, "red"), (blue, "blue")):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "team", "Value": team}])
    client = holder(statement("ec2:ModifyVpcAttribute", condition={"StringEquals": {key: "red"}}))
    client.modify_vpc_attribute(VpcId=red, EnableDnsHostnames={"Value": True})
    with denied(client, "ec2:ModifyVpcAttribute", arn("vpc", blue)):
        client.modify_vpc_attribute(VpcId=blue, EnableDnsHostnames={"Value": True})


def test_where_a_resource_is_decides(holder, papers):
    mine, theirs = papers.vpc(), papers.vpc()
    condition = {"ArnEquals": {"ec2:Vpc": arn("vpc", mine)}}
    client = holder(statement("ec2:CreateNetworkInterface", condition=condition))
    client.create_network_interface(SubnetId=papers.subnet(mine))
    with refused("UnauthorizedOperation", status=403):
        client.create_network_interface(SubnetId=papers.subnet(theirs))
    subnet, next_to_it = papers.subnet(mine, "10.0.1.0/24"), papers.subnet(mine, "10.0.2.0/24")
    condition = {"StringEquals": {"ec2:Subnet": arn("subnet", subnet)}}
    client = holder(statement("ec2:DeleteNetworkInterface", condition=condition))
    eni = papers.ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    other = papers.ec2.create_network_interface(SubnetId=next_to_it)["NetworkInterface"]
    client.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])
    with denied(client, "ec2:DeleteNetworkInterface",
                arn("network-interface", other["NetworkInterfaceId"])):
        client.delete_network_interface(NetworkInterfaceId=other["NetworkInterfaceId"])


def test_instance_types_and_zones(holder, papers):
    subnet = papers.subnet(papers.vpc())
    small = {"StringLikeIfExists": {"ec2:InstanceType": "t3.*"}}
    client = holder(statement("ec2:RunInstances", condition=small))
    launch = {"ImageId": "ami-0123456789abcdef0", "MinCount": 1, "MaxCount": 1,
              "SubnetId": subnet, "DryRun": True}
    with refused("DryRunOperation", status=412):
        client.run_instances(InstanceType="t3.micro", **launch)
    with denied(client, "ec2:RunInstances", arn("instance")):
        client.run_instances(InstanceType="m5.large", **launch)
    zone = {"StringEquals": {"ec2:AvailabilityZone": "us-east-1f"}}
    client = holder(statement("*"), statement("ec2:RunInstances", arn("subnet"), "Deny", zone))
    default = launch | {"InstanceType": "t3.micro"}
    del default["SubnetId"]
    with refused("DryRunOperation", status=412):
        client.run_instances(Placement={"AvailabilityZone": "us-east-1a"}, **default)
    with refused("UnauthorizedOperation", "…explicit deny", 403):
        client.run_instances(Placement={"AvailabilityZone": "us-east-1f"}, **default)


def test_launches_have_to_demand_tokens(holder, papers):
    subnet = papers.subnet(papers.vpc())
    open_to_all = {"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}}
    far = {"NumericGreaterThan": {"ec2:MetadataHttpPutResponseHopLimit": "2"}}
    client = holder(statement("*"),
                    statement("ec2:RunInstances", arn("instance"), "Deny", open_to_all),
                    statement("ec2:RunInstances", arn("instance"), "Deny", far))
    launch = {"ImageId": "ami-0123456789abcdef0", "MinCount": 1, "MaxCount": 1,
              "SubnetId": subnet, "DryRun": True}
    tokens = {"HttpTokens": "required"}
    with refused("DryRunOperation", status=412):
        client.run_instances(MetadataOptions=tokens | {"HttpPutResponseHopLimit": 2}, **launch)
    for options in [{"HttpTokens": "optional"}, {"HttpEndpoint": "enabled"},
                    tokens | {"HttpPutResponseHopLimit": 3}]:
        with refused("UnauthorizedOperation", "…explicit deny", 403):
            client.run_instances(MetadataOptions=options, **launch)
    with refused("UnauthorizedOperation", "…explicit deny", 403):
        client.run_instances(**launch)


@pytest.mark.parametrize("condition, passes", [
    ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
    ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, False),
    ({"StringEquals": {"ec2:Region": ["us-east-1", "x"]}}, True),
    ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
    ({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, False),
    ({"DateGreaterThan": {"aws:CurrentTime": "2024-01-01T00:00:00Z"}}, True),
    ({"DateLessThan": {"aws:CurrentTime": "2024-01-01T00:00:00Z"}}, False),
    ({"NumericGreaterThan": {"aws:EpochTime": "1700000000"}}, True),
    ({"Bool": {"aws:SecureTransport": "true"}}, False),
    ({"StringLike": {"aws:UserAgent": "*Boto3*"}}, True),
    ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, True),
    ({"StringEquals": {"aws:PrincipalAccount": "000000000000"}}, False),
    ({"Null": {"aws:MultiFactorAuthPresent": "true"}}, True),
])
def test_conditions_on_the_request(holder, condition, passes):
    client = holder(statement("ec2:DescribeVpcs", condition=condition))
    if passes:
        client.describe_vpcs()
    else:
        with denied(client, "ec2:DescribeVpcs"):
            client.describe_vpcs()


def test_arns_are_of_the_regions_partition(holder):
    for region, partition in (("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")):
        client = holder(statement("ec2:Describe*"), region=region)
        identity = client.keys["AWS_ACCESS_KEY_ID"]
        client.arn = f"arn:{partition}:iam::{ACCOUNT}:user/{identity}"
        with denied(client, "ec2:CreateVpc", f"arn:{partition}:ec2:{region}:{ACCOUNT}:vpc/*"):
            client.create_vpc(CidrBlock="10.0.0.0/16")


def test_everyone_may_know_who_they_are(holder):
    sts = holder(statement("*", effect="Deny"), service="sts")
    identity = sts.get_caller_identity()
    assert identity["Account"] == ACCOUNT
    assert identity["Arn"] == sts.arn
    assert identity["UserId"].startswith("AIDA")


def test_a_signature_comes_before_the_policy(daemon, holder):
    client = holder(statement("*"))
    with refused("AuthFailure", status=401):
        daemon.client(keys=client.keys | {"AWS_SECRET_ACCESS_KEY": "wrong"}).describe_vpcs()


@pytest.mark.parametrize("policy, words", [
    ("{", "not JSON"),
    ({"Version": "2012-10-17"}, '"Statement" is missing'),
    ({"Statement": statement("DescribeVpcs")}, '"DescribeVpcs"'),
    ({"Statement": statement("*") | {"Principal": "*"}}, 'unknown element "Principal"'),
    ({"Statement": statement("*", condition={"StringIs": {"aws:SourceIp": "x"}})},
     'unknown condition operator "StringIs"'),
    ({"Statement": statement("*", condition={"StringEquals": {"aws:SourceVpce": "x"}})},
     'unknown condition key "aws:SourceVpce"'),
    ('{"Statement": {"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}}',
     '"Effect" is there twice'),
])
def test_what_could_not_be_obeyed_is_refused_when_the_key_is_made(daemon, tmp_path, policy, words):
    path = tmp_path / "policy.json"
    path.write_text(policy if isinstance(policy, str) else json.dumps(policy))
    before = (daemon.data / "keys.json").read_text()
    done = daemon.run("key", "create", "--policy", str(path), check=False)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert (daemon.data / "keys.json").read_text() == before


def test_a_key_with_a_policy_is_never_handed_out(tmp_path):
    data = str(tmp_path / "data")
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"Statement": statement("*")}))
    create = [ENID, "--data", data, "key", "create", "--policy", str(path)]
    subprocess.run(create, check=True, capture_output=True)
    done = subprocess.run([ENID, "--data", data, "env"], capture_output=True, text=True)
    assert done.returncode == 1 and "no key" in done.stderr
