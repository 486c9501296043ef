"""Log streams and events through boto3: limits, order, pages, what is found."""

import time
import uuid

import pytest

from support.errors import refused

NO_GROUP = "The specified log group does not exist."
NO_STREAM = "The specified log stream does not exist."
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.fixture(scope="module")
def logs(daemon):
    return daemon.client("logs")


@pytest.fixture
def group(logs):
    name = f"/events/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    yield name
    logs.delete_log_group(logGroupName=name)


def now():
    return time.time_ns() // 1_000_000


def put(logs, group, *events, stream="s"):
    events = [{"timestamp": at, "message": message} for at, message in events]
    return logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def messages(answer):
    return [event["message"] for event in answer["events"]]


def test_events_are_read_as_they_were_put(logs, group):
    start = now()
    answer = put(logs, group, (start - 5, "one"), (start, "two é"), (start, "three\n"))
    assert answer["nextSequenceToken"] and "rejectedLogEventsInfo" not in answer
    events = logs.get_log_events(logGroupName=group, logStreamName="s")["events"]
    assert [(event["timestamp"], event["message"]) for event in events] == [
        (start - 5, "one"), (start, "two é"), (start, "three\n")]
    assert all(start <= event["ingestionTime"] <= now() for event in events)
    found = logs.filter_log_events(logGroupName=group)
    assert messages(found) == ["one", "two é", "three\n"] and found["searchedLogStreams"] == []
    ids = [event["eventId"] for event in found["events"]]
    assert ids == sorted(set(ids)) and all(len(it) == 56 for it in ids)


def test_streams_are_described(logs, group):
    at = now()
    put(logs, group, (at - HOUR, "first"), (at, "last"))
    [stream] = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert stream["firstEventTimestamp"] == at - HOUR and stream["lastEventTimestamp"] == at
    assert stream["lastIngestionTime"] >= at and stream["storedBytes"] == 0
    assert stream["arn"].endswith(f":log-group:{group}:log-stream:s")
    [described] = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert described["storedBytes"] == len("firstlast") + 2 * 26
    put(logs, group, (at, "more"))
    [described] = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert described["storedBytes"] == len("firstlastmore") + 3 * 26


def test_streams_are_listed_by_name_or_last_event(logs, group):
    at = now()
    for number, name in enumerate(["c", "a", "b"]):
        logs.create_log_stream(logGroupName=group, logStreamName=name)
        put(logs, group, (at + number, "x"), stream=name)

    def names(**options):
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, PaginationConfig={"PageSize": 2}, **options)
        return [it["logStreamName"] for page in pages for it in page["logStreams"]]

    assert names() == ["a", "b", "c", "s"]
    assert names(descending=True) == ["s", "c", "b", "a"]
    assert names(orderBy="LastEventTime", descending=True) == ["b", "a", "c", "s"]
    assert names(logStreamNamePrefix="b") == ["b"]
    with refused("InvalidParameterException",
                 "Cannot order by LastEventTime with a logStreamNamePrefix."):
        names(orderBy="LastEventTime", logStreamNamePrefix="b")


def test_streams_are_made_and_deleted(logs, group):
    with refused("ResourceAlreadyExistsException", "The specified log stream already exists"):
        logs.create_log_stream(logGroupName=group, logStreamName="s")
    with refused("ResourceNotFoundException", NO_GROUP):
        logs.create_log_stream(logGroupName="nothing", logStreamName="s")
    with refused("InvalidParameterException"):
        logs.create_log_stream(logGroupName=group, logStreamName="a:b")
    put(logs, group, (now(), "gone"))
    logs.delete_log_stream(logGroupName=group, logStreamName="s")
    with refused("ResourceNotFoundException", NO_STREAM):
        logs.get_log_events(logGroupName=group, logStreamName="s")
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    assert messages(logs.get_log_events(logGroupName=group, logStreamName="s")) == []


def test_a_group_that_is_made_again_is_empty(logs, group):
    put(logs, group, (now(), "before"))
    logs.delete_log_group(logGroupName=group)
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    assert messages(logs.filter_log_events(logGroupName=group)) == []


def test_batches_have_limits(logs, group):
    at = now()
    with refused("ResourceNotFoundException", NO_GROUP):
        put(logs, "nothing", (at, "x"))
    with refused("ResourceNotFoundException", NO_STREAM):
        put(logs, group, (at, "x"), stream="nothing")
    with refused("InvalidParameterException", "Log events in a single PutLogEvents request must "
                 "be in chronological order."):
        put(logs, group, (at, "x"), (at - 1, "y"))
    with refused("InvalidParameterException", "The batch of log events in a single PutLogEvents "
                 "request cannot span more than 24 hours."):
        put(logs, group, (at - DAY - 1, "x"), (at, "y"))
    with refused("InvalidParameterException", "…Upload too large: "):
        put(logs, group, (at, "x" * 600_000), (at, "y" * 600_000))
    with refused("InvalidParameterException", "…Log event too large: 1048577 bytes"):
        put(logs, group, (at, "x" * (1_048_577 - 26)))
    with refused("InvalidParameterException", "…less than or equal to 10000"):
        put(logs, group, *[(at, "x")] * 10_001)
    assert messages(logs.filter_log_events(logGroupName=group)) == []
    put(logs, group, (at, "x" * (1_048_576 - 26)))
    put(logs, group, *[(at, "x")] * 10_000)


def test_events_out_of_range_are_told(logs, group):
    at = now()
    answer = put(logs, group, (at - 15 * DAY, "old"), (at - MINUTE, "kept"), (at, "kept too"),
                 (at + 3 * HOUR, "new"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1,
                                               "tooNewLogEventStartIndex": 3}
    assert messages(logs.filter_log_events(logGroupName=group)) == ["kept", "kept too"]
    logs.put_retention_policy(logGroupName=group, retentionInDays=1)
    answer = put(logs, group, (at - 2 * DAY, "expired"), (at, "kept"))
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}


def test_retention_hides_at_once_what_is_older(logs, group):
    at = now()
    put(logs, group, (at - 4 * DAY, "old"))
    put(logs, group, (at, "new"))
    logs.put_retention_policy(logGroupName=group, retentionInDays=3)
    assert messages(logs.filter_log_events(logGroupName=group)) == ["new"]
    logs.delete_retention_policy(logGroupName=group)


def test_a_stream_is_paged_both_ways(logs, group):
    at = now()
    put(logs, group, *[(at + number, str(number)) for number in range(5)])

    def read(**options):
        return logs.get_log_events(logGroupName=group, logStreamName="s", limit=2, **options)

    # Without a direction, the last ones.
    assert messages(read()) == ["3", "4"]
    first = read(startFromHead=True)
    assert messages(first) == ["0", "1"]
    second = read(startFromHead=True, nextToken=first["nextForwardToken"])
    assert messages(second) == ["2", "3"]
    back = read(nextToken=second["nextBackwardToken"])
    assert messages(back) == ["0", "1"]
    third = read(startFromHead=True, nextToken=second["nextForwardToken"])
    assert messages(third) == ["4"]
    end = read(startFromHead=True, nextToken=third["nextForwardToken"])
    assert messages(end) == [] and end["nextForwardToken"] == third["nextForwardToken"]
    # What comes later is found with the same token.
    put(logs, group, (at + 9, "later"))
    assert messages(read(startFromHead=True, nextToken=end["nextForwardToken"])) == ["later"]
    with refused("InvalidParameterException", "The specified nextToken is invalid."):
        read(nextToken="f/1/s")


def test_times_bound_what_is_read(logs, group):
    at = now()
    put(logs, group, *[(at + number, str(number)) for number in range(4)])
    # The end is not read from a stream, but found in a group.
    read = logs.get_log_events(logGroupName=group, logStreamName="s", startTime=at + 1,
                               endTime=at + 2)
    assert messages(read) == ["1"]
    found = logs.filter_log_events(logGroupName=group, startTime=at + 1, endTime=at + 2)
    assert messages(found) == ["1", "2"]


def test_streams_are_interleaved_in_pages(logs, group):
    at = now()
    for name in ["a", "b"]:
        logs.create_log_stream(logGroupName=group, logStreamName=name)
    put(logs, group, *[(at + number, f"a{number}") for number in (0, 2, 4)], stream="a")
    put(logs, group, *[(at + number, f"b{number}") for number in (1, 3, 4)], stream="b")
    pages = list(logs.get_paginator("filter_log_events").paginate(
        logGroupIdentifier=f"arn:aws:logs:us-east-1:123456789012:log-group:{group}",
        PaginationConfig={"PageSize": 2}))
    found = [event for page in pages for event in page["events"]]
    assert [it["message"] for it in found] == ["a0", "b1", "a2", "b3", "a4", "b4"]
    assert [it["logStreamName"] for it in found] == ["a", "b", "a", "b", "a", "b"]
    assert all(len(page["events"]) <= 2 for page in pages)
    found = logs.filter_log_events(logGroupName=group, logStreamNames=["b"])
    assert messages(found) == ["b1", "b3", "b4"]
    found = logs.filter_log_events(logGroupName=group, logStreamNamePrefix="a")
    assert messages(found) == ["a0", "a2", "a4"]
    with refused("ResourceNotFoundException", NO_STREAM):
        logs.filter_log_events(logGroupName=group, logStreamNames=["a", "nothing"])
    with refused("InvalidParameterException"):
        logs.filter_log_events(logGroupName=group, logStreamNames=["a"], logStreamNamePrefix="a")


def test_a_page_holds_a_megabyte(logs, group):
    at = now()
    for number in range(3):
        put(logs, group, (at + number, str(number) * 700_000))
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=group))
    assert [len(page["events"]) for page in pages[:3]] == [1, 1, 1]
    read = logs.get_log_events(logGroupName=group, logStreamName="s")
    assert [message[0] for message in messages(read)] == ["2"]


@pytest.mark.parametrize(("pattern", "expected"), [
    ("", [0, 1, 2, 3]), ("ERROR", [0, 1]), ("?WARN ?slow", [2, 1]), ("ERROR -slow", [0]),
    ('"ERROR x"', [0]), ("%ER{2}OR.s%", [1]), ('{ $.level = "INFO" && $.ms > 10 }', [3]),
    ("[level=W*, ...]", [2]),
])
def test_patterns_choose_events(logs, group, pattern, expected):
    at = now()
    all_messages = ["ERROR x", "ERROR slow", "WARN y z", '{"level": "INFO", "ms": 11}']
    put(logs, group, *[(at + number, text) for number, text in enumerate(all_messages)])
    found = logs.filter_log_events(logGroupName=group, filterPattern=pattern)
    assert messages(found) == [all_messages[number] for number in sorted(expected)]


def test_other_patterns_are_refused(logs, group):
    for pattern, message in [("a:b", "Invalid character(s) in term ':'"),
                             ('"a', "Invalid filter pattern"),
                             ("{ $.a ~ 1 }", "Invalid character(s) in term '~'")]:
        with refused("InvalidParameterException", message):
            logs.filter_log_events(logGroupName=group, filterPattern=pattern)


def test_events_survive_a_kill(start_daemon):
    daemon = start_daemon("none")
    logs = daemon.client("logs")
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    at = now()
    for number in range(20):
        put(logs, "g", (at + number, str(number)))
    before = logs.describe_log_streams(logGroupName="g")["logStreams"]
    daemon.kill()
    daemon.start()
    logs = daemon.client("logs")
    found = messages(logs.filter_log_events(logGroupName="g"))
    assert found == [str(number) for number in range(20)]
    assert logs.describe_log_streams(logGroupName="g")["logStreams"] == before
    put(logs, "g", (at + 20, "20"))
    assert messages(logs.get_log_events(logGroupName="g", logStreamName="s"))[-1] == "20"


def test_a_reset_forgets_events(start_daemon):
    daemon = start_daemon("none", ephemeral=True)
    logs = daemon.client("logs")
    for _ in range(2):
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        assert messages(logs.filter_log_events(logGroupName="g")) == []
        put(logs, "g", (now(), "x"))
        assert daemon.get("/_enid/reset", method="POST")[0] == 200
        assert logs.describe_log_groups()["logGroups"] == []
