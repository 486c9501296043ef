"""Logs Insights queries through boto3."""

import json
import time
import uuid

import pytest

from support.errors import refused
from support.until import until


@pytest.fixture(scope="module")
def logs(daemon):
    return daemon.client("logs")


@pytest.fixture(scope="module")
def start():
    return time.time_ns() // 1_000_000 // 60_000 * 60_000 - 600_000


@pytest.fixture(scope="module")
def group(logs, start):
    """A group with ten minutes of events in two streams."""
    name = f"/query/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=name)
    for stream in ["a", "b"]:
        logs.create_log_stream(logGroupName=name, logStreamName=stream)
        logs.put_log_events(logGroupName=name, logStreamName=stream, logEvents=[
            {"timestamp": start + minute * 60_000, "message": json.dumps(
                {"ms": minute, "host": stream, "level": "ERROR" if minute % 5 == 0 else "INFO"})}
            for minute in range(10)])
    yield name
    logs.delete_log_group(logGroupName=name)


def ask(logs, group, start, query, **options):
    query_id = logs.start_query(**{
        "logGroupName": group, "startTime": start // 1000, "endTime": start // 1000 + 600,
        "queryString": query, **options})["queryId"]

    def answer():
        found = logs.get_query_results(queryId=query_id)
        return found if found["status"] not in ("Running", "Scheduled") else None

    return until(answer, "the query ends")


def rows(answer):
    assert answer["status"] == "Complete"
    return [[field["value"] for field in row if field["field"] != "@ptr"]
            for row in answer["results"]]


def test_events_are_shown_the_latest_first(logs, group, start):
    answer = ask(logs, group, start, "fields @timestamp, @message, @logStream | limit 3")
    assert [row[2] for row in rows(answer)].count("a") in (1, 2)
    first = {field["field"]: field["value"] for field in answer["results"][0]}
    assert sorted(first) == ["@logStream", "@message", "@ptr", "@timestamp"]
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime((start + 540_000) // 1000))
    assert first["@timestamp"] == at + ".000"
    assert answer["statistics"]["recordsScanned"] == 20
    assert answer["queryLanguage"] == "CWLI"


@pytest.mark.parametrize(("query", "expected"), [
    ("filter level = 'ERROR' | stats count(*) as n by host | sort host", [["a", "2"], ["b", "2"]]),
    ("stats avg(ms), pct(ms, 90), max(ms) - min(ms) as span", [["4.5", "8", "9"]]),
    ("filter @message like /\"ms\": [78]/ and host in ['a'] | sort ms | display ms, host",
     [["7", "a"], ["8", "a"]]),
    ("parse @message '\"host\": \"*\"' as name | stats count(*) by name | sort name desc",
     [["b", "10"], ["a", "10"]]),
    ("fields ms | dedup host | sort host | display host, ms", [["a", "9"], ["b", "9"]]),
    ("filter host = 'nobody'", []),
    # As the pages of the language write them, and a little odder.
    ("fields 10 % 3 as r, 2 ^ 3 as p | limit 1 | display r, p", [["1", "8"]]),
    ("# all of them\nstats count(*) as n # rows", [["20"]]),
    ("STATS COUNT(*) AS n BY host | SORT host DESC | LIMIT 1", [["b", "10"]]),
    ("stats max(ms) as m by host | stats sum(m) as s", [["18"]]),
    ("filter level not in ['INFO'] | stats count() as n", [["4"]]),
    ("filter @message =~ /(?i)error/ | stats count(*) as n", [["4"]]),
    ("filter not ispresent(nothing) and (ms >= 8) | sort ms desc, host asc | display ms, host",
     [["9", "a"], ["9", "b"], ["8", "a"], ["8", "b"]]),
    ("parse @message /\"host\": \"(?<who>[^\"]+)\"/ | stats count(*) as n by who | sort who | limit 1",
     [["a", "10"]]),
    ("stats count(nothing) as n, sum(nothing) as s", [["0"]]),
    ("filter ms > \"8\" | stats count(*) as n", [["2"]]),
    ("fields strlen(host) as l, concat(host, '-', ms) as c | filter c like 'a-7' | display l, c", [["1", "a-7"]]),
    ("stats count(*) as n by host, level | sort n desc, host | limit 1", [["a", "INFO", "8"]]),
    ("fields jsonParse(@message) as m | filter m.ms > 8 | stats count(*) as n by m.host | sort m.host",
     [["a", "1"], ["b", "1"]]),
    ("fields jsonParse('[1, {\"a b\": [2]}]') as l | limit 1 | fields l[1].`a b`[0] as v | display v", [["2"]]),
    ("fields jsonStringify(jsonParse('{ \"a\": [ 1 ] }')) as t | limit 1 | display t", [['{"a":[1]}']]),
    ("filter toMillis(@timestamp) / 1000 < now() and now() % 1 = 0 | stats count(*) as n", [["20"]]),
    ("fields `ms` as `odd name` | sort `odd name` desc | limit 1 | display `odd name`", [["9"]]),
])
def test_queries_are_answered(logs, group, start, query, expected):
    assert rows(ask(logs, group, start, query)) == expected


def test_events_are_counted_by_time(logs, group, start):
    answer = ask(logs, group, start, "stats count(*) by bin(1m) | sort bin(1m)")
    assert [row[1] for row in rows(answer)] == ["2"] * 10
    assert [field["field"] for field in answer["results"][0]] == ["bin(1m)", "count(*)"]


def test_times_groups_and_limits(logs, group, start):
    answer = ask(logs, group, start, "fields ms", startTime=start // 1000 + 60,
                 endTime=start // 1000 + 120)
    assert [row[0] for row in rows(answer)] == ["2", "2", "1", "1"]
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{group}"
    query_id = logs.start_query(logGroupIdentifiers=[arn], startTime=start // 1000,
                                endTime=start // 1000 + 600, queryString="fields ms",
                                limit=5)["queryId"]
    until(lambda: logs.get_query_results(queryId=query_id)["status"] == "Complete", "it ends")
    assert len(logs.get_query_results(queryId=query_id)["results"]) == 5
    listed = logs.describe_queries(logGroupName=group, status="Complete")["queries"]
    [own] = [it for it in listed if it["queryId"] == query_id]
    assert own["queryString"] == "fields ms" and own["logGroupName"] == group


def test_flow_logs_have_fields(logs, group, start):
    logs.create_log_stream(logGroupName=group, logStreamName="flow")
    logs.put_log_events(logGroupName=group, logStreamName="flow", logEvents=[
        {"timestamp": start, "message": "2 123456789012 eni-1 10.0.0.5 10.0.1.9 40000 22 6 3 180 "
                                        "1700000000 1700000060 REJECT OK"}])
    answer = ask(logs, group, start,
                 "filter action = 'REJECT' and isIpv4InSubnet(srcAddr, '10.0.0.0/16') "
                 "| stats sum(bytes) as bytes by dstPort")
    assert rows(answer) == [["22", "180"]]
    logs.delete_log_stream(logGroupName=group, logStreamName="flow")


def test_what_is_wrong_is_told(logs, group, start):
    def refusal(code, query, message=None, **options):
        with refused(code, message):
            ask(logs, group, start, query, **options)

    refusal("MalformedQueryException", "fields a b", "…unexpected b")
    refusal("MalformedQueryException", "fields a | pattern @message",
            "…Enid does not implement the command pattern")
    refusal("MalformedQueryException", "fields now(1)", "…now takes 0 arguments")
    refusal("ResourceNotFoundException", "fields a", logGroupName="nothing")
    refusal("InvalidParameterException", "fields a", startTime=start, endTime=start - 1)
    refusal("UnsupportedOperation", "SELECT 1", "…queryLanguage", queryLanguage="SQL")
    with refused("ResourceNotFoundException"):
        logs.get_query_results(queryId="nothing")


def test_a_query_that_has_ended_is_not_stopped(logs, group, start):
    query_id = logs.start_query(logGroupName=group, startTime=start // 1000,
                                endTime=start // 1000 + 1, queryString="fields ms")["queryId"]
    until(lambda: logs.get_query_results(queryId=query_id)["status"] == "Complete", "it ends")
    with refused("InvalidParameterException", f"Query with ID {query_id} is not running."):
        logs.stop_query(queryId=query_id)
