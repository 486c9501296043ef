"""CloudWatch metrics: boto3 (JSON), and the same in the query protocol and in CBOR."""

import datetime
import gzip
import json
import urllib.error
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.exceptions import ClientError

from support.daemon import REGION
from support.errors import refused

TARGET = "GraniteServiceVersion20100801"


@pytest.fixture
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


@pytest.fixture
def namespace(request):
    return f"T/{request.node.name}".replace("[", "-").replace("]", "")


def minute(ago=0):
    now = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
    return now - datetime.timedelta(minutes=ago)


def put(cloudwatch, namespace, ago, value, **more):
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[
        {"MetricName": "m", "Timestamp": minute(ago), "Value": value, **more}])


def sent(daemon, body, headers, path="/"):
    """A request that is signed by hand: status, headers and body of the answer."""
    environment = daemon.environment()
    url = environment["AWS_ENDPOINT_URL"] + path
    request = botocore.awsrequest.AWSRequest("POST", url, headers=headers, data=body)
    credentials = botocore.credentials.Credentials(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    botocore.auth.SigV4Auth(credentials, "monitoring", REGION).add_auth(request)
    made = urllib.request.Request(url, data=body, headers=dict(request.headers.items()), method="POST")
    try:
        with urllib.request.urlopen(made) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_what_is_put_is_read(cloudwatch, namespace):
    host = [{"Name": "Host", "Value": "a"}]
    for ago, value in ((3, 1.0), (2, 2.0), (2, 4.0)):
        put(cloudwatch, namespace, ago, value, Dimensions=host, Unit="Bytes")
    [listed] = cloudwatch.list_metrics(Namespace=namespace)["Metrics"]
    assert listed == {"Namespace": namespace, "MetricName": "m", "Dimensions": host}
    answer = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName="m", Dimensions=host, StartTime=minute(10), EndTime=minute(),
        Period=60, Statistics=["Sum", "SampleCount", "Maximum"], ExtendedStatistics=["p50", "tm50"])
    assert answer["Label"] == "m"
    points = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
    assert [point["Sum"] for point in points] == [1.0, 6.0]
    assert points[1]["SampleCount"] == 2.0 and points[1]["Maximum"] == 4.0
    assert points[1]["ExtendedStatistics"] == {"p50": 2.0, "tm50": 2.0}
    assert points[1]["Timestamp"] == minute(2) and points[1]["Unit"] == "Bytes"
    # Another metric: without the dimension.
    other = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName="m", StartTime=minute(10), EndTime=minute(),
        Period=60, Statistics=["Sum"])
    assert other["Datapoints"] == []


def test_values_counts_and_sets(cloudwatch, namespace):
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[
        {"MetricName": "v", "Timestamp": minute(2), "Values": [1, 2, 3], "Counts": [1, 2, 1]},
        {"MetricName": "s", "Timestamp": minute(2),
         "StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}}])

    def read(name, **what):
        [point] = cloudwatch.get_metric_statistics(
            Namespace=namespace, MetricName=name, StartTime=minute(5), EndTime=minute(), Period=300,
            **what)["Datapoints"]
        return point

    assert read("v", Statistics=["Average", "SampleCount"])["Average"] == 2.0
    assert read("v", ExtendedStatistics=["p75"])["ExtendedStatistics"] == {"p75": 2.0}
    assert read("s", Statistics=["Average"])["Average"] == 2.5
    assert "ExtendedStatistics" not in read("s", ExtendedStatistics=["p75"])


def test_metric_math(cloudwatch, namespace):
    for ago, value in ((3, 1.0), (2, 2.0)):
        put(cloudwatch, namespace, ago, value)

    def ask(*queries, **more):
        return cloudwatch.get_metric_data(
            StartTime=minute(4), EndTime=minute(), MetricDataQueries=list(queries), **more)

    stat = {"Id": "m1", "MetricStat": {
        "Metric": {"Namespace": namespace, "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}
    doubled = {"Id": "e1", "Expression": "m1*2", "Label": "twice"}
    first, second = ask(stat, doubled)["MetricDataResults"]
    assert first["Values"] == [2.0, 1.0] and first["Label"] == "m", "the newest first"
    assert second["Values"] == [4.0, 2.0] and second["Label"] == "twice"
    assert first["StatusCode"] == "Complete" and first["Timestamps"][0] == minute(2)
    filled = {"Id": "e1", "Expression": "FILL(m1, 0)"}
    [answer] = ask({**stat, "ReturnData": False}, filled, ScanBy="TimestampAscending")["MetricDataResults"]
    assert answer["Values"] == [0.0, 1.0, 2.0, 0.0]
    search = {"Id": "s", "Expression": f"SEARCH('{{{namespace}}} m', 'Sum', 60)"}
    [found] = ask(search)["MetricDataResults"]
    assert found["Values"] == [2.0, 1.0]
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        StartTime=minute(4), EndTime=minute(), MetricDataQueries=[stat, doubled], MaxDatapoints=1)
    values = [value for page in pages for of in page["MetricDataResults"] for value in of["Values"]]
    assert values == [2.0, 1.0, 4.0, 2.0]


@pytest.mark.parametrize(("data", "code", "message"), [
    ({}, "MissingParameter", "The parameter MetricData.member.1.Value is required."),
    ({"Value": 1, "Values": [1]}, "InvalidParameterCombination",
     "The parameters MetricData.member.1.Value and MetricData.member.1.Values are mutually exclusive"
     " and you have specified both."),
    ({"Values": [1], "Counts": [1, 2]}, "InvalidParameterValue",
     "The parameters MetricData.member.1.Values and MetricData.member.1.Counts must be of the same size."),
    ({"Value": 1, "StorageResolution": 7}, "InvalidParameterValue",
     "The value 7 for parameter MetricData.member.1.StorageResolution is invalid."),
    ({"Value": 1, "Unit": "Furlongs"}, "InvalidParameterValue",
     "The value Furlongs for parameter MetricData.member.1.Unit is invalid."),
    ({"Value": 1, "Timestamp": 1000}, "InvalidParameterValue",
     "The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks."),
])
def test_data_that_is_refused(cloudwatch, namespace, data, code, message):
    with refused(code, message):
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=[{"MetricName": "m", **data}])
    assert cloudwatch.list_metrics(Namespace=namespace)["Metrics"] == []


def test_questions_that_are_refused(cloudwatch, namespace):
    with refused("InvalidParameterValue", "The value AWS/EC2 for parameter Namespace is invalid."):
        put(cloudwatch, "AWS/EC2", 0, 1)
    ask = {"Namespace": namespace, "MetricName": "m", "Period": 60, "Statistics": ["Sum"]}
    with refused("InvalidParameterCombination"):
        cloudwatch.get_metric_statistics(StartTime=minute(3000), EndTime=minute(), **ask)
    with refused("InvalidParameterCombination"):
        cloudwatch.get_metric_statistics(StartTime=minute(), EndTime=minute(5), **ask)
    with refused("InvalidParameterValue", "The value 61 for parameter Period is invalid."):
        cloudwatch.get_metric_statistics(StartTime=minute(5), EndTime=minute(), **{**ask, "Period": 61})
    with refused("InvalidNextToken"):
        cloudwatch.list_metrics(NextToken="nonsense")
    with refused("UnsupportedOperation",
                 "Enid does not implement the parameter IncludeLinkedAccounts of ListMetrics."):
        cloudwatch.list_metrics(IncludeLinkedAccounts=True)

    def math(expression):
        cloudwatch.get_metric_data(StartTime=minute(5), EndTime=minute(), MetricDataQueries=[
            {"Id": "e", "Expression": expression}])

    with refused("ValidationError", "Error in expression 'e': unexpected end."):
        math("1+")
    with refused("ValidationError", "Error in expression 'e': the id 'm1' is not found."):
        math("m1")
    with refused("UnsupportedOperation"):
        math("SERVICE_QUOTA(m1)")


def test_the_query_protocol(daemon, cloudwatch, namespace):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    stamp = minute(1).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = (f"Action=PutMetricData&Version=2010-08-01&Namespace={namespace}"
            f"&MetricData.member.1.MetricName=q&MetricData.member.1.Value=1.5&MetricData.member.1.Timestamp={stamp}"
            "&MetricData.member.1.Dimensions.member.1.Name=a&MetricData.member.1.Dimensions.member.1.Value=b")
    status, headers, answer = sent(daemon, body.encode(), form)
    assert status == 200 and headers["Content-Type"] == "text/xml"
    assert b"<PutMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><ResponseMetadata>" in answer
    body = f"Action=ListMetrics&Version=2010-08-01&Namespace={namespace}&Dimensions="
    status, _, answer = sent(daemon, body.encode(), form)
    assert (b"<ListMetricsResult><Metrics><member>" in answer
            and b"<Dimensions><member><Name>a</Name><Value>b</Value></member></Dimensions>" in answer)
    body = f"Action=PutMetricData&Version=2010-08-01&Namespace={namespace}&MetricData.member.1.MetricName=q"
    status, _, answer = sent(daemon, body.encode(), form)
    assert status == 400
    assert b"<Type>Sender</Type><Code>MissingParameter</Code>" in answer
    [listed] = cloudwatch.list_metrics(Namespace=namespace)["Metrics"]
    assert listed["MetricName"] == "q"


def test_cbor(daemon, cloudwatch, namespace):
    put(cloudwatch, namespace, 1, 1)
    headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor",
               "x-amzn-query-mode": "true"}
    path = f"/service/{TARGET}/operation/"
    name = namespace.encode()
    body = b"\xbf\x69Namespace" + b"\x78" + bytes([len(name)]) + name + b"\xff"
    status, answered, answer = sent(daemon, body, headers, path + "ListMetrics")
    assert status == 200 and answered["smithy-protocol"] == "rpc-v2-cbor"
    assert answered["Content-Type"] == "application/cbor"
    assert b"\x67Metrics\x9f\xbf\x69Namespace" in answer and b"\x6aMetricName\x61m" in answer
    status, answered, answer = sent(daemon, b"\xa0", headers, path + "PutMetricData")
    assert status == 400 and answered["x-amzn-query-error"] == "MissingParameter;Sender"
    assert b"MissingRequiredParameterException" in answer
    status, answered, answer = sent(daemon, b"\xa1", headers, path + "ListMetrics")
    assert status == 400 and b"SerializationException" in answer
    status, answered, answer = sent(daemon, b"\xa0", headers, path + "Nonsense")
    assert status == 400 and b"UnknownOperationException" in answer


def test_json_by_hand_and_packed(daemon, cloudwatch, namespace):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{TARGET}.PutMetricData"}
    data = {"Namespace": namespace, "MetricData": [{"MetricName": "z", "Value": 1}]}
    packed = gzip.compress(json.dumps(data).encode())
    status, answered, answer = sent(daemon, packed, {**headers, "Content-Encoding": "gzip"})
    assert status == 200 and answer == b"{}"
    assert answered["Content-Type"] == "application/x-amz-json-1.0"
    status, answered, answer = sent(daemon, b"{}", headers)
    assert status == 400 and json.loads(answer)["__type"] == "MissingRequiredParameterException"
    assert "x-amzn-query-error" not in answered
    # Long bodies are packed by boto3 itself.
    many = [{"MetricName": f"m{number}", "Value": number} for number in range(1000)]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=many)
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace)
    assert len([metric for page in pages for metric in page["Metrics"]]) == 1001


def test_metrics_survive_a_crash(start_daemon, namespace):
    daemon = start_daemon("none")
    put(daemon.client("cloudwatch"), namespace, 1, 7)
    daemon.kill()
    daemon.start()
    [point] = daemon.client("cloudwatch").get_metric_statistics(
        Namespace=namespace, MetricName="m", StartTime=minute(5), EndTime=minute(), Period=60,
        Statistics=["Sum"])["Datapoints"]
    assert point["Sum"] == 7.0


def test_a_policy_names_the_namespace(daemon, namespace, tmp_path):
    policy = json.dumps({"Statement": {
        "Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": namespace}}}})
    path = tmp_path / "policy.json"
    path.write_text(policy)
    made = daemon.json("key", "create", "--policy", str(path))
    keys = {"AWS_ACCESS_KEY_ID": made["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": made["secret_access_key"]}
    cloudwatch = daemon.client("cloudwatch", keys=keys)
    put(cloudwatch, namespace, 0, 1)
    with pytest.raises(ClientError) as denied:
        put(cloudwatch, "Other", 0, 1)
    assert denied.value.response["Error"]["Code"] == "AccessDeniedException"
    with pytest.raises(ClientError, match="cloudwatch:ListMetrics"):
        cloudwatch.list_metrics()
