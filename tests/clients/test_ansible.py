"""Ansible's amazon.aws collection: a playbook runs, runs again without a change, and takes down."""

import re
import subprocess
import sys
from pathlib import Path

from support.daemon import REGION

PLAYBOOKS = Path(__file__).with_name("ansible")


def play(daemon, state, playbook="two_tier.yml"):
    """Runs the playbook and returns the numbers of its recap."""
    python = Path(sys.executable)
    words = [python, python.with_name("ansible-playbook"), PLAYBOOKS / playbook, "-e", f"state={state}",
             "-e", f"ansible_python_interpreter={python}"]
    environment = daemon.aws_environment() | {
        "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION, "ANSIBLE_HOME": str(daemon.data.parent),
        "ANSIBLE_LOCALHOST_WARNING": "False", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    recap = re.search(r"^localhost\s+:(.*)$", done.stdout, re.MULTILINE).group(1)
    numbers = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", recap)}
    return numbers, done.stdout


def test_a_two_tier_vpc_is_made_once_and_taken_down(wired):
    ec2 = wired.client()
    before = leftovers(ec2)
    made, log = play(wired, "present")
    assert made["failed"] == 0 and made["changed"] >= 15, log
    again, log = play(wired, "present")
    assert (again["failed"], again["changed"]) == (0, 0), log
    gone, log = play(wired, "absent")
    assert gone["failed"] == 0, log
    assert leftovers(ec2) == before


def test_the_other_modules(daemon):
    ec2 = daemon.client()
    before = leftovers(ec2)
    made, log = play(daemon, "present", "all_modules.yml")
    assert made["failed"] == 0 and made["changed"] >= 5, log
    again, log = play(daemon, "present", "all_modules.yml")
    assert (again["failed"], again["changed"]) == (0, 0), log
    gone, log = play(daemon, "absent", "all_modules.yml")
    assert gone["failed"] == 0, log
    assert leftovers(ec2) == before


def test_a_load_balancer(daemon):
    ec2, elbv2 = daemon.client(), daemon.client("elbv2")
    before = leftovers(ec2)
    made, log = play(daemon, "present", "load_balancer.yml")
    assert made["failed"] == 0 and made["changed"] >= 4, log
    again, log = play(daemon, "present", "load_balancer.yml")
    assert (again["failed"], again["changed"]) == (0, 0), log
    gone, log = play(daemon, "absent", "load_balancer.yml")
    assert gone["failed"] == 0, log
    assert leftovers(ec2) == before
    assert elbv2.describe_load_balancers()["LoadBalancers"] == []
    assert elbv2.describe_target_groups()["TargetGroups"] == []


def leftovers(ec2):
    """What the playbook makes, counted."""
    of = {"describe_vpcs": "Vpcs", "describe_subnets": "Subnets", "describe_addresses": "Addresses",
          "describe_route_tables": "RouteTables", "describe_network_acls": "NetworkAcls",
          "describe_security_groups": "SecurityGroups", "describe_key_pairs": "KeyPairs",
          "describe_internet_gateways": "InternetGateways",
          "describe_network_interfaces": "NetworkInterfaces",
          "describe_launch_templates": "LaunchTemplates", "describe_volumes": "Volumes"}
    return {name: len(getattr(ec2, name)()[key]) for name, key in of.items()}
