"""A data directory that an earlier version has written is taken over whole.

`0.1.tar.xz` was written by the version of commit ce5f621 (see `write.py`): one record of every kind
that it knew, and what it said about them.
"""

import json
import subprocess
from pathlib import Path

import pytest
from support.daemon import Daemon

from upgrade import write

HERE = Path(__file__).resolve().parent
VERSIONS = ["0.1"]


@pytest.fixture(params=VERSIONS)
def upgraded(request, start_daemon):
    """This version on the other's data."""
    daemon = start_daemon("none", start=False)
    subprocess.run(["tar", "--extract", "--xz", "--no-same-owner", "--file",
                    HERE / f"{request.param}.tar.xz", "--directory", daemon.data.parent], check=True)
    return daemon


def same(before, after, path=""):
    """Everything that was told is told again; what is new may stand beside it."""
    if isinstance(before, dict):
        for name, value in before.items():
            if (path, name) not in GROWN:
                same(value, after[name], f"{path}.{name}")
    elif isinstance(before, list):
        assert len(before) == len(after), path
        for one, other in zip(before, after):
            same(one, other, path)
    else:
        assert before == after, path


# What this version has more of, and a test of its own below.
GROWN = {(".describe_instances.Instances", "BlockDeviceMappings")}


def test_the_store_of_an_earlier_version_is_consistent(upgraded):
    assert upgraded.json("check")["consistent"]


def test_everything_is_as_it_was(upgraded):
    before = json.loads((upgraded.data / "seen.json").read_text())
    upgraded.start()
    ec2 = upgraded.client()
    same(before, write.seen(ec2))
    assert upgraded.json("check")["consistent"]
    # A second start finds nothing to add.
    revision = upgraded.json("check")["revision"]
    upgraded.stop()
    upgraded.start()
    same(before, write.seen(upgraded.client()))
    assert upgraded.json("check")["revision"] == revision


def test_a_region_gets_what_it_lacked(upgraded):
    upgraded.start()
    ec2 = upgraded.client()
    reservations = ec2.describe_instances()["Reservations"]
    instances = [one for reservation in reservations for one in reservation["Instances"]]
    assert sorted(one["State"]["Name"] for one in instances) == ["running", "stopped"]
    volumes = {one["VolumeId"]: one for one in ec2.describe_volumes()["Volumes"]}
    for instance in instances:
        [mapping] = instance["BlockDeviceMappings"]
        volume = volumes.pop(mapping["Ebs"]["VolumeId"])
        assert volume["Attachments"][0]["InstanceId"] == instance["InstanceId"]
    assert volumes == {}


def test_what_was_there_can_be_used_and_removed(upgraded):
    upgraded.start()
    ec2 = upgraded.client()
    before = json.loads((upgraded.data / "seen.json").read_text())
    instances = [one["InstanceId"] for reservation in before["describe_instances"]
                 for one in reservation["Instances"]]
    stopped = [one["InstanceId"] for reservation in before["describe_instances"]
               for one in reservation["Instances"] if one["State"]["Name"] == "stopped"]
    ec2.start_instances(InstanceIds=stopped)
    ec2.get_waiter("instance_running").wait(InstanceIds=instances)
    launched = ec2.run_instances(
        LaunchTemplate={"LaunchTemplateName": "web"}, MinCount=1, MaxCount=1,
        SubnetId=before["describe_nat_gateways"][0]["SubnetId"])["Instances"][0]
    assert launched["InstanceType"] == "m5.large"
    instances.append(launched["InstanceId"])
    ec2.terminate_instances(InstanceIds=instances)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=instances)
    assert upgraded.json("check")["consistent"]


def test_a_fixture_is_written_as_the_first_was(tmp_path):
    """What writes fixtures still works: the next version needs one too."""
    daemon = Daemon(tmp_path, "none").start()
    try:
        ec2 = daemon.client()
        write.populate(ec2)
        assert all(write.seen(ec2).values())
    finally:
        daemon.down()
