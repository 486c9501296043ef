"""Metric filters and subscription filters through boto3."""

import base64
import gzip
import http.server
import json
import threading
import time
import uuid

import pytest

from support.errors import refused
from support.until import until


@pytest.fixture(scope="module")
def logs(daemon):
    return daemon.client("logs")


@pytest.fixture
def group(logs):
    name = f"/filter/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    yield name
    logs.delete_log_group(logGroupName=name)


def transformation(**more):
    return {"metricName": "M", "metricNamespace": "App", "metricValue": "1", **more}


def test_a_metric_filter_is_described_as_it_was_put(logs, group):
    of = transformation(defaultValue=0.0, unit="Count")
    logs.put_metric_filter(logGroupName=group, filterName="f", filterPattern="ERROR",
                           metricTransformations=[of])
    [found] = logs.describe_metric_filters(logGroupName=group)["metricFilters"]
    assert found.pop("creationTime") > 0
    assert found == {"filterName": "f", "filterPattern": "ERROR", "metricTransformations": [of],
                     "logGroupName": group}
    [described] = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert described["metricFilterCount"] == 1
    of = transformation(metricValue="$.ms", dimensions={"Host": "$.host"})
    logs.put_metric_filter(logGroupName=group, filterName="f", filterPattern="{ $.ms = * }",
                           metricTransformations=[of])
    [found] = logs.describe_metric_filters(logGroupName=group)["metricFilters"]
    assert found["metricTransformations"] == [of]
    logs.delete_metric_filter(logGroupName=group, filterName="f")
    assert logs.describe_metric_filters(logGroupName=group)["metricFilters"] == []
    with refused("ResourceNotFoundException", "The specified metric filter does not exist."):
        logs.delete_metric_filter(logGroupName=group, filterName="f")


def test_metric_filters_are_found_by_prefix_and_metric(logs, group):
    for name, metric in [("a1", "A"), ("a2", "B"), ("b1", "B")]:
        logs.put_metric_filter(logGroupName=group, filterName=name, filterPattern="x",
                               metricTransformations=[transformation(metricName=metric,
                                                                     metricNamespace=group)])

    def names(**options):
        pages = logs.get_paginator("describe_metric_filters").paginate(
            PaginationConfig={"PageSize": 1}, **options)
        return [it["filterName"] for page in pages for it in page["metricFilters"]]

    assert names(logGroupName=group) == ["a1", "a2", "b1"]
    assert names(logGroupName=group, filterNamePrefix="a") == ["a1", "a2"]
    assert names(metricName="B", metricNamespace=group) == ["a2", "b1"]
    with refused("InvalidParameterException"):
        names(metricName="B")


@pytest.mark.parametrize(("pattern", "more", "message"), [
    ("a:b", {}, "Invalid character(s) in term ':'"),
    ("a", {"metricValue": "$.x"}, "…'$.x'"),
    ("a", {"dimensions": {"D": "$.d"}},
     "The specified filter pattern does not support dimensions"),
    ("{ $.d = * }", {"dimensions": {"D": "$.d"}, "defaultValue": 0.0}, "…default value"),
    ("a", {"metricNamespace": "a:b"}, "…metricNamespace"),
])
def test_other_metric_filters_are_refused(logs, group, pattern, more, message):
    with refused("InvalidParameterException", message):
        logs.put_metric_filter(logGroupName=group, filterName="f", filterPattern=pattern,
                               metricTransformations=[transformation(**more)])


def test_a_group_has_a_hundred_metric_filters(logs, group):
    def put(number):
        logs.put_metric_filter(logGroupName=group, filterName=f"f{number}", filterPattern="x",
                               metricTransformations=[transformation()])

    for number in range(100):
        put(number)
    with refused("LimitExceededException", "Resource limit exceeded."):
        put(100)


def test_a_pattern_is_tried(logs):
    line = ('127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" '
            "404 1534")
    answer = logs.test_metric_filter(
        filterPattern="[ip, ..., request=*.gif*, status=4*, bytes]",
        logEventMessages=["nothing", line])
    [match] = answer["matches"]
    assert match["eventNumber"] == 2 and match["eventMessage"] == line
    assert match["extractedValues"] == {
        "$ip": "127.0.0.1", "$2": "-", "$3": "frank", "$4": "10/Oct/2000:13:25:15 -0700",
        "$request": "GET /apache_pb.gif HTTP/1.0", "$status": "404", "$bytes": "1534"}
    answer = logs.test_metric_filter(filterPattern="{ $.a.b > 1 }",
                                     logEventMessages=['{"a": {"b": 2}}', '{"a": {"b": 1}}'])
    [match] = answer["matches"]
    assert match["extractedValues"] == {"$.a.b": "2"}
    with refused("InvalidParameterException", "Invalid character(s) in term '['"):
        logs.test_metric_filter(filterPattern="a[", logEventMessages=["x"])


class Sink:
    """Takes what subscriptions send."""

    def __init__(self):
        sink = self
        self.status = 200
        self.messages = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                data = json.loads(body)["awslogs"]["data"]
                if sink.status == 200:
                    sink.messages.append(json.loads(gzip.decompress(base64.b64decode(data))))
                self.send_response(sink.status)
                self.end_headers()

            def log_message(self, *_arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def data(self):
        return [it for it in self.messages if it["messageType"] == "DATA_MESSAGE"]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.close()


def subscribe(logs, group, url, name="f", pattern="ERROR"):
    logs.put_subscription_filter(logGroupName=group, filterName=name, filterPattern=pattern,
                                 destinationArn=url)


def test_matching_events_are_sent(logs, group, sink):
    subscribe(logs, group, sink.url)
    [control] = sink.messages
    assert control["messageType"] == "CONTROL_MESSAGE"
    [found] = logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"]
    assert found.pop("creationTime") > 0
    assert found == {"filterName": "f", "logGroupName": group, "filterPattern": "ERROR",
                     "destinationArn": sink.url, "distribution": "ByLogStream"}
    at = time.time_ns() // 1_000_000
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[
        {"timestamp": at, "message": "fine"}, {"timestamp": at + 1, "message": "ERROR x"}])
    until(sink.data, "the event arrives")
    [message] = sink.data()
    [event] = message.pop("logEvents")
    assert message == {"messageType": "DATA_MESSAGE", "owner": "123456789012",
                       "logGroup": group, "logStream": "s", "subscriptionFilters": ["f"]}
    [kept] = logs.filter_log_events(logGroupName=group, filterPattern="ERROR")["events"]
    assert event == {"id": kept["eventId"], "timestamp": at + 1, "message": "ERROR x"}


def test_what_is_not_taken_is_sent_again(logs, group, sink):
    subscribe(logs, group, sink.url)
    sink.status = 503
    at = time.time_ns() // 1_000_000
    for number in range(3):
        logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[
            {"timestamp": at + number, "message": f"ERROR {number}"}])
    sink.status = 200
    until(lambda: len(sink.data()) == 3, "the events arrive")
    texts = [event["message"] for message in sink.data() for event in message["logEvents"]]
    assert texts == ["ERROR 0", "ERROR 1", "ERROR 2"]


def test_other_destinations_are_refused(logs, group, sink):
    with refused("UnsupportedOperation", "…the service 'lambda'"):
        subscribe(logs, group, "arn:aws:lambda:us-east-1:123456789012:function:f")
    with refused("InvalidParameterException", "…is not an http:// URL"):
        subscribe(logs, group, "ftp://x")
    sink.status = 500
    with refused("InvalidParameterException", "Could not deliver test message to specified "
                 "destination. Check if the destination is valid."):
        subscribe(logs, group, sink.url)
    with refused("ResourceNotFoundException"):
        subscribe(logs, "nothing", sink.url)
    assert logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"] == []


def test_a_group_has_two_subscriptions(logs, group, sink):
    for name in ["a", "b", "b"]:
        subscribe(logs, group, sink.url, name)
    with refused("LimitExceededException", "Resource limit exceeded."):
        subscribe(logs, group, sink.url, "c")
    logs.delete_subscription_filter(logGroupName=group, filterName="a")
    with refused("ResourceNotFoundException",
                 "The specified subscription filter does not exist."):
        logs.delete_subscription_filter(logGroupName=group, filterName="a")


def test_matching_events_are_counted_at_once(daemon, logs, group):
    cloudwatch = daemon.client("cloudwatch")
    logs.put_metric_filter(logGroupName=group, filterName="f", filterPattern="{ $.ms = * }",
                           metricTransformations=[transformation(
                               metricNamespace=group.strip("/"), metricValue="$.ms",
                               unit="Milliseconds", dimensions={"Host": "$.host"})])
    at = time.time_ns() // 1_000_000 // 60_000 * 60_000
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[
        {"timestamp": at, "message": json.dumps({"ms": ms, "host": host})}
        for ms, host in [(1, "a"), (3, "a"), (9, "b")]] + [{"timestamp": at, "message": "none"}])
    metric = {"Namespace": group.strip("/"), "MetricName": "M",
              "Dimensions": [{"Name": "Host", "Value": "a"}]}
    [point] = cloudwatch.get_metric_statistics(
        StartTime=at / 1000, EndTime=at / 1000 + 60, Period=60,
        Statistics=["SampleCount", "Sum", "Maximum"], **metric)["Datapoints"]
    assert (point["SampleCount"], point["Sum"], point["Maximum"], point["Unit"]) == (
        2, 4, 3, "Milliseconds")
    hosts = [metric["Dimensions"][0]["Value"] for metric in
             cloudwatch.list_metrics(Namespace=group.strip("/"))["Metrics"]]
    assert sorted(hosts) == ["a", "b"]
