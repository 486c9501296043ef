"""CloudWatch alarms through boto3."""

import datetime

import pytest

from support.errors import refused
from support.until import until


@pytest.fixture
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


@pytest.fixture
def name(request, cloudwatch):
    name = request.node.name
    yield name
    found = [alarm["AlarmName"] for alarm in everything(cloudwatch, name)]
    if found:
        cloudwatch.delete_alarms(AlarmNames=found)


def everything(cloudwatch, prefix):
    answer = cloudwatch.describe_alarms(
        AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return answer["MetricAlarms"] + answer["CompositeAlarms"]


def make(cloudwatch, name, **more):
    alarm = {"AlarmName": name, "Namespace": "T/Alarm", "MetricName": name, "Statistic": "Sum", "Period": 60,
             "EvaluationPeriods": 1, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold", **more}
    cloudwatch.put_metric_alarm(**{key: value for key, value in alarm.items() if value is not None})


def test_an_alarm_is_reported_as_it_was_made(cloudwatch, name):
    make(cloudwatch, name, AlarmDescription="d", DatapointsToAlarm=1, TreatMissingData="ignore",
         Dimensions=[{"Name": "a", "Value": "b"}], Unit="Bytes", Tags=[{"Key": "k", "Value": "v"}])
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["AlarmArn"].endswith(f":123456789012:alarm:{name}")
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"
    assert alarm["StateReason"] == "Unchecked: Initial alarm creation"
    for key, value in (("Statistic", "Sum"), ("Period", 60), ("Threshold", 5.0), ("Unit", "Bytes"),
                       ("TreatMissingData", "ignore"), ("ActionsEnabled", True), ("AlarmActions", []),
                       ("Dimensions", [{"Name": "a", "Value": "b"}]), ("DatapointsToAlarm", 1)):
        assert alarm[key] == value
    tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    assert tags == [{"Key": "k", "Value": "v"}]
    cloudwatch.tag_resource(ResourceARN=alarm["AlarmArn"], Tags=[{"Key": "l", "Value": "w"}])
    cloudwatch.untag_resource(ResourceARN=alarm["AlarmArn"], TagKeys=["k"])
    tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    assert tags == [{"Key": "l", "Value": "w"}]
    found = cloudwatch.describe_alarms_for_metric(
        Namespace="T/Alarm", MetricName=name, Dimensions=[{"Name": "a", "Value": "b"}])["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in found] == [name]
    assert cloudwatch.describe_alarms_for_metric(Namespace="T/Alarm", MetricName=name)["MetricAlarms"] == []


def test_a_metric_sets_an_alarm_off(cloudwatch, name):
    make(cloudwatch, name, Period=10, TreatMissingData="notBreaching", Threshold=0.5)
    until(lambda: state(cloudwatch, name) == "OK", "the first look", 30)

    def breach():
        now = datetime.datetime.now(datetime.timezone.utc)
        cloudwatch.put_metric_data(Namespace="T/Alarm", MetricData=[
            {"MetricName": name, "Value": 1, "StorageResolution": 1, "Timestamp": now}])
        return state(cloudwatch, name) == "ALARM"

    until(breach, "the alarm goes off", 40)
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint [")
    items = cloudwatch.describe_alarm_history(AlarmName=name)["AlarmHistoryItems"]
    told = [item["HistorySummary"] for item in items]
    assert told[0] == "Alarm updated from OK to ALARM"
    assert told[-1] == f'Alarm "{name}" created'


def state(cloudwatch, name):
    [alarm] = everything(cloudwatch, name)
    return alarm["StateValue"]


def test_states_that_are_set_reach_composite_alarms(cloudwatch, name):
    child, parent = f"{name}-child", f"{name}-parent"
    make(cloudwatch, child)
    cloudwatch.put_composite_alarm(AlarmName=parent, AlarmRule=f'ALARM("{child}") AND NOT OK("{child}")')
    cloudwatch.set_alarm_state(AlarmName=child, StateValue="ALARM", StateReason="test")
    [shown] = cloudwatch.describe_alarms(AlarmNames=[parent], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert shown["StateValue"] == "ALARM" and f"{child} is ALARM" in shown["StateReason"]
    assert cloudwatch.describe_alarms(AlarmNames=[parent])["CompositeAlarms"] == []
    with refused("ValidationError"):
        cloudwatch.delete_alarms(AlarmNames=[child])
    with refused("ValidationError"):
        make(cloudwatch, parent)
    items = cloudwatch.describe_alarm_history(
        AlarmName=parent, AlarmTypes=["CompositeAlarm"], HistoryItemType="StateUpdate",
        ScanBy="TimestampAscending")["AlarmHistoryItems"]
    assert items[-1]["HistorySummary"] == "Alarm updated from OK to ALARM"
    cloudwatch.delete_alarms(AlarmNames=[child, parent])


def test_actions_are_switched(cloudwatch, name):
    make(cloudwatch, name)
    cloudwatch.disable_alarm_actions(AlarmNames=[name, "gone"])
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["ActionsEnabled"] is False
    cloudwatch.enable_alarm_actions(AlarmNames=[name])
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["ActionsEnabled"] is True


def test_alarms_come_in_pages(cloudwatch, name):
    for number in range(5):
        make(cloudwatch, f"{name}-{number}")
    pages = list(cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=name, PaginationConfig={"PageSize": 2}))
    assert [len(page["MetricAlarms"]) for page in pages] == [2, 2, 1]
    with refused("InvalidNextToken"):
        cloudwatch.describe_alarms(NextToken="x")


def test_metric_math_is_watched(cloudwatch, name):
    stat = {"Id": "m1", "ReturnData": False, "MetricStat": {
        "Metric": {"Namespace": "T/Alarm", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}
    math = {"Id": "e1", "Expression": "m1*2", "ReturnData": True}
    alone = {"Namespace": None, "MetricName": None, "Statistic": None, "Period": None}
    make(cloudwatch, name, Metrics=[stat, math], **alone)
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert [query["Id"] for query in alarm["Metrics"]] == ["m1", "e1"]
    assert alarm["Metrics"][0]["MetricStat"]["Metric"]["MetricName"] == "m"
    assert "MetricName" not in alarm
    with refused("ValidationError", "SEARCH is not supported in alarms."):
        search = {"Id": "e1", "Expression": "SEARCH('{T/Alarm} m', 'Sum', 60)"}
        make(cloudwatch, name, Metrics=[search], **alone)


def test_what_is_refused(cloudwatch, name):
    with refused("ResourceNotFound", status=404):
        cloudwatch.delete_alarms(AlarmNames=["none"])
    with refused("ResourceNotFound", status=404):
        cloudwatch.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="x")
    make(cloudwatch, name)
    with refused("InvalidFormat"):
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="x", StateReasonData="{")
    with refused("ValidationError"):
        make(cloudwatch, name, EvaluationPeriods=2000)
    with refused("MissingParameter", "The parameter Threshold is required."):
        make(cloudwatch, name, Threshold=None)
    with refused("ValidationError"):
        cloudwatch.put_composite_alarm(AlarmName=f"{name}-c", AlarmRule="ALARM(nobody)")


def test_alarms_survive_a_crash(start_daemon):
    daemon = start_daemon("none")
    make(daemon.client("cloudwatch"), "kept")
    daemon.kill()
    daemon.start()
    daemon.assert_consistent()
    cloudwatch = daemon.client("cloudwatch")
    assert [alarm["AlarmName"] for alarm in everything(cloudwatch, "kept")] == ["kept"]
