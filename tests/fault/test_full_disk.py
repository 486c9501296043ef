"""A full disk: the oldest telemetry goes first, the region's state never, and everybody can see it.

The daemon's data is on a small file system of its own, in a mount namespace that ends with the daemon.
"""

import json
import os
import subprocess
import time

import pytest
from botocore.exceptions import ClientError

from support.daemon import Daemon
from support.until import until

MIB = 1 << 20
DISK = 160 * MIB
# An eighth is left free for the region's state.
RESERVE = DISK // 8
HOUR_MS = 3_600_000

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")


class OnSmallDisk(Daemon):
    """A daemon whose data directory is a file system in memory that only it and its commands see."""

    fillers = 0

    def serve_command(self):
        return self.inside(*super().serve_command())

    def make_disk(self):
        """The namespace and its file system outlive the daemon, so that it can start again."""
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"mkdir -p {self.data} && mount -t tmpfs -o size={DISK} none {self.data}"
             " && echo ready && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        return self

    def inside(self, *words):
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", *words]

    def command(self, *words):
        return self.inside(*super().command(*words))

    def shell(self, words):
        done = subprocess.run(self.inside("sh", "-c", words), capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fill(self, left):
        """Something else takes the disk but for so much."""
        self.fillers += 1
        self.shell(f"n=$(( $(df --output=avail -B1 {self.data} | tail -1) - {left} ));"
                   f" [ $n -lt 4096 ] || fallocate -l $n {self.data}/filler-{self.fillers}")

    def give_back(self):
        self.shell(f"rm {self.data}/filler-*")

    def kept(self):
        return json.loads(self.get("/_enid/telemetry")[2])


@pytest.fixture
def daemon(tmp_path):
    daemon = OnSmallDisk(tmp_path, "none").make_disk()
    daemon.start()
    yield daemon
    daemon.kill()
    daemon.holder.stdin.close()
    daemon.holder.wait(10)


def put(logs, stream, at, mib):
    """Events of a time that do not get smaller when they are packed."""
    for _ in range(mib):
        events = [{"timestamp": at, "message": os.urandom(50_000).hex()} for _ in range(10)]
        logs.put_log_events(logGroupName="g", logStreamName=stream, logEvents=events)


def has(logs, stream):
    return bool(logs.get_log_events(logGroupName="g", logStreamName=stream, limit=1,
                                    startFromHead=True)["events"])


def test_the_oldest_telemetry_goes_first_and_the_regions_state_never(daemon):
    # Fails if telemetry takes the reserve, goes in another order, or nobody is told.
    ec2, logs = daemon.client(), daemon.client("logs")
    logs.create_log_group(logGroupName="g")
    now = int(time.time() * 1000)
    hours = ["three", "two", "one"]
    for back, stream in zip((3, 2, 1), hours, strict=True):
        logs.create_log_stream(logGroupName="g", logStreamName=stream)
        put(logs, stream, now - back * HOUR_MS, 24)
    assert all(has(logs, stream) for stream in hours)
    kept = daemon.kept()
    assert not kept["is_short_of_space"] and kept["evicted_rows"] == 0
    assert kept["reserve_bytes"] == RESERVE

    # Others take what is free: the oldest makes room, not more than is needed.
    daemon.fill(RESERVE - 16 * MIB)
    logs.create_log_stream(logGroupName="g", logStreamName="now")
    until(lambda: not has(logs, "three"), "the oldest is gone", within=30)
    assert has(logs, "one")
    put(logs, "now", now, 1)
    assert has(logs, "now")
    kept = daemon.kept()
    assert kept["evicted_rows"] > 0 and not kept["is_short_of_space"]
    assert "no space: removed the oldest telemetry" in daemon.text()

    # Others take all but a little: nothing that can go will do.
    def is_refused():
        daemon.fill(4 * MIB)
        try:
            put(logs, "now", now, 1)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ServiceUnavailableException"
            return True
        return False

    until(is_refused, "events are refused", within=60)
    until(lambda: daemon.kept()["is_short_of_space"], "it says so")
    assert not has(logs, "three") and not has(logs, "two")
    assert "the disk is full: no telemetry is stored" in daemon.text()
    doctor = json.loads(daemon.run("--json", "doctor", check=False).stdout)
    [finding] = [one for one in doctor["findings"]
                 if one["subject"] == "telemetry of the running daemon"]
    assert finding["state"] == "full" and "were refused" in finding["seen"]
    assert finding["remedy"]

    # The region's state goes on, over a crash as well.
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    daemon.kill()
    daemon.start()
    ec2, logs = daemon.client(), daemon.client("logs")
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["VpcId"] == vpc
    for number in range(20):
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24")
    assert is_refused()

    # With room again it goes on by itself.
    daemon.give_back()

    def is_stored():
        try:
            put(logs, "now", now, 1)
        except ClientError:
            return False
        return True

    until(is_stored, "events are stored", within=30)
    assert not daemon.kept()["is_short_of_space"]
    assert daemon.json("check")["consistent"]
