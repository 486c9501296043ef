"""CloudWatch Logs by clients that nobody here wrote: watchtower writes, awslogs and the aws CLI read."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import watchtower

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def logs(daemon):
    return daemon.client("logs")


@pytest.fixture
def written(logs):
    """A group that watchtower makes and logs to."""
    handler = watchtower.CloudWatchLogHandler(
        log_group_name="watched", log_stream_name="{logger_name}", boto3_client=logs,
        log_group_retention_days=7, send_interval=1)
    logger = logging.Logger("app")
    logger.addHandler(handler)
    logger.info("started")
    logger.error("it %s", "failed")
    logger.warning({"level": "warn", "ms": 12})
    handler.flush()
    handler.close()
    yield "watched"
    logs.delete_log_group(logGroupName="watched")


def run(daemon, *command):
    done = subprocess.run(command, env=daemon.aws_environment(), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_watchtower_writes(logs, written):
    events = logs.filter_log_events(logGroupName=written)["events"]
    assert [event["message"] for event in events] == [
        "started", "it failed", '{"level": "warn", "ms": 12}']
    [group] = logs.describe_log_groups(logGroupNamePrefix=written)["logGroups"]
    assert group["retentionInDays"] == 7


def test_awslogs_reads(daemon, written):
    awslogs = str(BIN / "awslogs")
    assert run(daemon, awslogs, "groups").split() == [written]
    assert run(daemon, awslogs, "streams", written).split() == ["app"]
    lines = run(daemon, awslogs, "get", written, "ALL", "--no-group", "--no-stream",
                "--no-color").splitlines()
    assert lines == ["started", "it failed", '{"level": "warn", "ms": 12}']
    [line] = run(daemon, awslogs, "get", written, "ALL", "--filter-pattern", "{ $.ms > 10 }",
                 "--no-color").splitlines()
    assert line.split(maxsplit=2) == ["watched", "app", '{"level": "warn", "ms": 12}']


def test_the_aws_cli_follows(daemon, written):
    aws = str(BIN / "aws")
    found = json.loads(run(daemon, aws, "logs", "filter-log-events", "--log-group-name", written,
                           "--filter-pattern", "failed", "--output", "json"))
    assert [event["message"] for event in found["events"]] == ["it failed"]
    run(daemon, aws, "logs", "put-metric-filter", "--log-group-name", written, "--filter-name",
        "f", "--filter-pattern", "failed", "--metric-transformations",
        "metricName=M,metricNamespace=N,metricValue=1,defaultValue=0")
    found = json.loads(run(daemon, aws, "logs", "describe-metric-filters", "--output", "json"))
    assert [it["filterName"] for it in found["metricFilters"]] == ["f"]
