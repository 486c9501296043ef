"""Live tails: events in a stream, read by boto3 and by the aws CLI."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.errors import refused
from support.until import until

AWS = str(Path(sys.executable).parent / "aws")


@pytest.fixture(scope="module")
def logs(daemon):
    # What AWS_DISABLE_HOST_PREFIX_INJECTION says to clients that are made without a configuration.
    return daemon.client("logs", inject_host_prefix=False)


@pytest.fixture
def group(logs, request):
    """A group with two streams: its name, and its ARN without an asterisk."""
    name = request.node.name
    logs.create_log_group(logGroupName=name)
    for stream in ("web-1", "db-1"):
        logs.create_log_stream(logGroupName=name, logStreamName=stream)
    [found] = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    yield name, found["logGroupArn"]
    logs.delete_log_group(logGroupName=name)


def put(logs, group, stream, *messages):
    now = int(time.time() * 1000)
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[
        {"timestamp": now, "message": message} for message in messages])


class Session:
    """A tail that is read by a thread of its own."""

    def __init__(self, logs, **request):
        self.stream = logs.start_live_tail(**request)["responseStream"]
        self.started = []
        self.updates = []
        self.is_closed = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        until(lambda: self.started, "the session starts")

    def _read(self):
        try:
            for event in self.stream:
                for kind, seen in (("sessionStart", self.started), ("sessionUpdate", self.updates)):
                    if kind in event:
                        seen.append(event[kind])
        except Exception:
            # A stream that is closed under its reader fails in many ways.
            if not self.is_closed:
                raise

    def events(self):
        return [event for update in list(self.updates) for event in update["sessionResults"]]

    def messages(self):
        return [event["message"] for event in self.events()]

    def close(self):
        self.is_closed = True
        self.stream.close()


@pytest.fixture
def tail(logs):
    sessions = []

    def start(**request):
        sessions.append(Session(logs, **request))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


def test_events_come_as_they_are_put(logs, group, tail):
    name, arn = group
    put(logs, name, "web-1", "before")
    session = tail(logGroupIdentifiers=[arn])
    [start] = session.started
    assert start["logGroupIdentifiers"] == [arn]
    assert start["requestId"] and start["sessionId"] != start["requestId"]
    put(logs, name, "web-1", "one", "two")
    put(logs, name, "db-1", "three")
    until(lambda: len(session.messages()) == 3, "three events", 10)
    assert sorted(session.messages()) == ["one", "three", "two"]
    for event in session.events():
        assert event["logGroupIdentifier"] == arn
        assert event["logStreamName"] in ("web-1", "db-1")
        assert abs(event["ingestionTime"] - event["timestamp"]) < 60_000
    assert all(update["sessionMetadata"] == {"sampled": False} for update in session.updates)
    # A second without events has an update as well.
    count = len(session.updates)
    until(lambda: len(session.updates) > count + 1, "updates go on", 10)


def test_filters_and_streams(logs, group, tail):
    name, arn = group
    filtered = tail(logGroupIdentifiers=[arn], logEventFilterPattern="ERROR -ignored")
    prefixed = tail(logGroupIdentifiers=[arn], logStreamNamePrefixes=["web"])
    named = tail(logGroupIdentifiers=[arn], logStreamNames=["db-1"])
    put(logs, name, "web-1", "ERROR one", "fine", "ERROR ignored")
    put(logs, name, "db-1", "ERROR two")
    until(lambda: len(filtered.messages()) == 2 and len(prefixed.messages()) == 3 and named.messages(),
          "each tail has its events", 10)
    assert sorted(filtered.messages()) == ["ERROR one", "ERROR two"]
    assert prefixed.messages() == ["ERROR one", "fine", "ERROR ignored"]
    assert named.messages() == ["ERROR two"]


def test_many_events_are_sampled(logs, group, tail):
    name, arn = group
    session = tail(logGroupIdentifiers=[arn])
    put(logs, name, "web-1", *(str(number) for number in range(5000)))
    until(session.messages, "some events", 10)
    [update] = [update for update in session.updates if update["sessionResults"]]
    assert update["sessionMetadata"]["sampled"] is True
    assert len(update["sessionResults"]) == 500


def test_the_aws_cli_reads_it(daemon, logs, group):
    name, arn = group
    environment = daemon.aws_environment()
    command = subprocess.Popen([AWS, "logs", "start-live-tail", "--log-group-identifiers", arn],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(iter(command.stdout.readline, "")), daemon=True)
        reader.start()

        def told():
            put(logs, name, "web-1", "hello")
            time.sleep(0.5)
            assert command.poll() is None, command.stderr.read()
            return "hello\n" in lines

        until(told, "the CLI prints the event", 60)
    finally:
        command.kill()
        command.wait()


def test_what_is_no_tail(logs, group):
    name, arn = group
    for request in ({"logGroupIdentifiers": [name]},
                    {"logGroupIdentifiers": [arn + ":*"]},
                    {"logGroupIdentifiers": [arn], "logEventFilterPattern": "{ $.x"},
                    {"logGroupIdentifiers": [arn], "logStreamNames": ["a"], "logStreamNamePrefixes": ["b"]},
                    {"logGroupIdentifiers": [arn, arn], "logStreamNames": ["a"]},
                    {"logGroupIdentifiers": [arn] * 11}):
        with refused("InvalidParameterException"):
            logs.start_live_tail(**request)
    with refused("ResourceNotFoundException"):
        logs.start_live_tail(logGroupIdentifiers=[arn + "-not"])


def test_sessions_are_counted(logs, group, tail):
    _, arn = group
    sessions = [tail(logGroupIdentifiers=[arn]) for _ in range(15)]
    with refused("LimitExceededException"):
        logs.start_live_tail(logGroupIdentifiers=[arn])
    sessions.pop().close()

    def again():
        try:
            return tail(logGroupIdentifiers=[arn])
        except logs.exceptions.LimitExceededException:
            return None

    until(again, "a session that is closed makes room", 10)
