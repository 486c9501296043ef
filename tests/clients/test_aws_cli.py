"""The aws CLI with nothing but what `enid env` prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture
def aws(daemon):
    def call(*words, check=True, service="ec2"):
        done = subprocess.run([sys.executable, str(AWS), service, *words, "--output", "json"],
                              capture_output=True, text=True, timeout=60,
                              env=daemon.aws_environment())
        if check:
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout) if done.stdout.strip() else None
        return done

    return call


def test_a_session_with_the_cli(aws):
    assert aws("get-caller-identity", service="sts")["Account"] == "123456789012"
    vpc = aws("create-vpc", "--cidr-block", "10.0.0.0/16", "--tag-specifications",
              "ResourceType=vpc,Tags=[{Key=Name,Value=cli}]")["Vpc"]["VpcId"]
    subnet = aws("create-subnet", "--vpc-id", vpc, "--cidr-block", "10.0.0.0/24")
    subnet = subnet["Subnet"]["SubnetId"]
    group = aws("create-security-group", "--group-name", "web", "--description", "web servers",
                "--vpc-id", vpc)["GroupId"]
    aws("authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp",
        "--port", "8000-8010", "--cidr", "10.0.0.0/8")
    [rule] = aws("describe-security-group-rules", "--filters", f"Name=group-id,Values={group}",
                 "--query", "SecurityGroupRules[?!IsEgress]")
    assert (rule["FromPort"], rule["ToPort"], rule["CidrIpv4"]) == (8000, 8010, "10.0.0.0/8")
    eni = aws("create-network-interface", "--subnet-id", subnet, "--groups", group,
              "--private-ip-address", "10.0.0.5")["NetworkInterface"]["NetworkInterfaceId"]
    instance = aws("run-instances", "--image-id", "ami-12345678", "--instance-type", "t3.micro",
                   "--subnet-id", subnet, "--security-group-ids", group)
    instance = instance["Instances"][0]["InstanceId"]
    aws("wait", "instance-running", "--instance-ids", instance)
    aws("attach-network-interface", "--network-interface-id", eni, "--instance-id", instance,
        "--device-index", "1")
    shown = aws("describe-instances", "--instance-ids", instance, "--query",
                "Reservations[].Instances[].NetworkInterfaces[].PrivateIpAddress")
    assert "10.0.0.5" in shown and len(shown) == 2
    aws("terminate-instances", "--instance-ids", instance)
    aws("wait", "instance-terminated", "--instance-ids", instance)
    aws("delete-network-interface", "--network-interface-id", eni)
    aws("delete-security-group", "--group-id", group)
    aws("delete-subnet", "--subnet-id", subnet)
    aws("delete-vpc", "--vpc-id", vpc)


def test_errors_as_the_cli_prints_them(aws):
    unknown = aws("describe-vpcs", "--vpc-ids", "vpc-00000000000000001", check=False)
    assert unknown.returncode != 0
    assert "(InvalidVpcID.NotFound) when calling the DescribeVpcs operation" in unknown.stderr
    dry = aws("create-vpc", "--cidr-block", "10.0.0.0/16", "--dry-run", check=False)
    assert "(DryRunOperation)" in dry.stderr
    refused = aws("create-transit-gateway", check=False)
    assert "(UnsupportedOperation)" in refused.stderr and "CreateTransitGateway" in refused.stderr
