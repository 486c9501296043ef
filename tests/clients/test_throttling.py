"""Throttling: off by default; enabled, requests are refused as EC2 refuses them, and clients cope."""

import pytest

from support.daemon import DEFAULT_CONFIG
from support.errors import refused

THROTTLED = "[throttling]\nenabled = true\n" + DEFAULT_CONFIG
SLOW = THROTTLED + "[throttling.operations.DescribeVpcs]\nburst = 3\nrefill = 2.0\n"
# Two tokens for one minute: what was taken does not come back while a test runs.
EMPTY = THROTTLED + "[throttling.operations.DescribeVpcs]\nburst = 2\nrefill = 0.01\n"

WORDS = "Request limit exceeded."


def test_off_by_default(daemon):
    client = daemon.client()
    for _ in range(150):
        client.describe_availability_zones()


def test_a_burst_then_a_refusal(start_daemon):
    client = start_daemon("none", config=THROTTLED, ephemeral=True).client()
    for _ in range(5):
        with refused("DryRunOperation", status=412):
            client.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1,
                                 DryRun=True)
    with refused("RequestLimitExceeded", WORDS, 503):
        client.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1, DryRun=True)
    client.describe_vpcs()


def test_each_account_and_region_has_its_own(start_daemon):
    daemon = start_daemon("none", config=EMPTY, ephemeral=True)
    client = daemon.client()
    for _ in range(2):
        client.describe_vpcs()
    with refused("RequestLimitExceeded", WORDS, 503):
        client.describe_vpcs()
    daemon.client(region="eu-west-1").describe_vpcs()
    key = daemon.json("key", "create", "--account", "000000000042")
    keys = {"AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}
    daemon.client(keys=keys).describe_vpcs()
    second = daemon.json("key", "create")
    keys = {"AWS_ACCESS_KEY_ID": second["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": second["secret_access_key"]}
    with refused("RequestLimitExceeded", WORDS, 503):
        daemon.client(keys=keys).describe_vpcs()


@pytest.mark.parametrize("mode", ["standard", "adaptive", "legacy"])
def test_boto3_tries_again_and_gets_its_answer(start_daemon, mode):
    daemon = start_daemon("none", config=SLOW, ephemeral=True)
    client = daemon.client(retries={"total_max_attempts": 10, "mode": mode})
    answers = [client.describe_vpcs() for _ in range(6)]
    assert all(answer["Vpcs"] for answer in answers)
    retried = sum(answer["ResponseMetadata"]["RetryAttempts"] for answer in answers)
    assert retried > 0


@pytest.mark.parametrize("wrong", [
    "[throttling]\nenabled = true\nspeed = 1\n",
    "[throttling.operations.DescribePlanets]\nburst = 1\nrefill = 1.0\n",
    "[throttling.operations.DescribeVpcs]\nburst = 0\nrefill = 1.0\n",
])
def test_a_wrong_configuration_is_refused(start_daemon, wrong):
    daemon = start_daemon("none", start=False, config=wrong)
    with pytest.raises(AssertionError, match="the daemon ended with 1"):
        daemon.start()
