"""What is normal for a metric: detectors, bands and alarms on them, through boto3."""

import datetime
import math

import pytest

from support.errors import refused
from support.until import until

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


@pytest.fixture
def name(request, cloudwatch):
    name = request.node.name
    yield name
    found = cloudwatch.describe_alarms(AlarmNamePrefix=name)["MetricAlarms"]
    if found:
        cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in found])
    for kind in ("SINGLE_METRIC", "METRIC_MATH"):
        for detector in detectors(cloudwatch, AnomalyDetectorTypes=[kind]):
            [key] = [key for key in ("SingleMetricAnomalyDetector", "MetricMathAnomalyDetector")
                     if key in detector]
            cloudwatch.delete_anomaly_detector(**{key: detector[key]})


def detectors(cloudwatch, **more):
    return cloudwatch.describe_anomaly_detectors(**more)["AnomalyDetectors"]


def this_hour():
    return datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0)


def swing(time):
    """A metric that goes up and down once a day."""
    return 100 + 50 * math.sin(time.timestamp() / 86400 * 2 * math.pi)


def put_past(cloudwatch, namespace, metric, value, hours=13 * 24):
    """A value each ten minutes up to the last whole hour."""
    data = []
    for number in range(hours * 6):
        time = this_hour() - datetime.timedelta(minutes=10 * (number + 1))
        data.append({"MetricName": metric, "Timestamp": time, "Value": value(time)})
    for start in range(0, len(data), 1000):
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=data[start:start + 1000])


def stat(namespace, metric, period=600):
    return {"Metric": {"Namespace": namespace, "MetricName": metric}, "Period": period, "Stat": "Average"}


def test_a_daily_swing_is_inside_its_band_and_a_spike_is_not(cloudwatch, name):
    namespace = "T/Anomaly"
    put_past(cloudwatch, namespace, name, swing)
    spike = this_hour() - 30 * HOUR
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[
        {"MetricName": name, "Timestamp": spike, "Value": 10_000}])
    answer = cloudwatch.get_metric_data(
        StartTime=this_hour() - 48 * HOUR, EndTime=this_hour(), ScanBy="TimestampAscending",
        MetricDataQueries=[
            {"Id": "m1", "MetricStat": {**stat(namespace, name), "Stat": "Maximum"}},
            {"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(m1, 4)"},
            {"Id": "high", "Expression": "FIRST(b)"},
            {"Id": "low", "Expression": "LAST(b)"}])["MetricDataResults"]
    series = {}
    for result in answer:
        series.setdefault(result["Id"], []).append(dict(zip(result["Timestamps"], result["Values"])))
    [values] = series["m1"]
    upper, lower = series["b"]
    assert series["high"] == [upper] and series["low"] == [lower]
    assert len(values) == 48 * 6 and set(values) == set(upper) == set(lower)
    outside = {time for time in values if not lower[time] <= values[time] <= upper[time]}
    assert outside == {spike}
    # What is normal at one hour is not at another.
    widths = [upper[time] - lower[time] for time in upper]
    assert max(widths) < 40 and max(upper.values()) - min(upper.values()) > 80


def test_detectors_are_described_as_they_were_made(cloudwatch, name):
    single = {"Namespace": "T/Anomaly", "MetricName": name, "Stat": "p99",
              "Dimensions": [{"Name": "a", "Value": "b"}]}
    configuration = {"ExcludedTimeRanges": [{"StartTime": this_hour() - HOUR, "EndTime": this_hour()}],
                     "MetricTimezone": "Europe/Berlin"}
    cloudwatch.put_anomaly_detector(SingleMetricAnomalyDetector=single, Configuration=configuration,
                                    MetricCharacteristics={"PeriodicSpikes": True})
    [found] = detectors(cloudwatch, MetricName=name)
    assert found["SingleMetricAnomalyDetector"] == single
    assert found["Configuration"] == configuration
    assert found["MetricCharacteristics"] == {"PeriodicSpikes": True}
    assert found["StateValue"] == "PENDING_TRAINING"
    # As of old: the same metric, so the same detector.
    cloudwatch.put_anomaly_detector(**single)
    [found] = detectors(cloudwatch, Namespace="T/Anomaly", Dimensions=[{"Name": "a", "Value": "b"}])
    assert found["Configuration"]["ExcludedTimeRanges"] == []
    math_queries = [
        {"Id": "m1", "MetricStat": stat("T/Anomaly", name), "ReturnData": False},
        {"Id": "e1", "Expression": "m1 * 8", "ReturnData": True}]
    of_math = {"MetricMathAnomalyDetector": {"MetricDataQueries": math_queries}}
    cloudwatch.put_anomaly_detector(**of_math)
    assert [found["MetricName"] for found in detectors(cloudwatch)] == [name]
    [found] = detectors(cloudwatch, AnomalyDetectorTypes=["METRIC_MATH"])
    assert [query["Id"] for query in found["MetricMathAnomalyDetector"]["MetricDataQueries"]] == ["m1", "e1"]
    both = cloudwatch.get_paginator("describe_anomaly_detectors").paginate(
        AnomalyDetectorTypes=["SINGLE_METRIC", "METRIC_MATH"], PaginationConfig={"PageSize": 1})
    assert [len(page["AnomalyDetectors"]) for page in both] == [1, 1]
    cloudwatch.delete_anomaly_detector(**of_math)
    cloudwatch.delete_anomaly_detector(SingleMetricAnomalyDetector=single)
    with refused("ResourceNotFoundException", status=404):
        cloudwatch.delete_anomaly_detector(SingleMetricAnomalyDetector=single)


def test_a_trained_detector_says_so(cloudwatch, name):
    put_past(cloudwatch, "T/Anomaly", name, swing, hours=12)
    cloudwatch.put_anomaly_detector(Namespace="T/Anomaly", MetricName=name, Stat="Average")

    def state():
        [found] = detectors(cloudwatch, MetricName=name)
        return found["StateValue"]

    assert state() == "TRAINED_INSUFFICIENT_DATA"


def test_what_is_no_detector(cloudwatch, name):
    single = {"Namespace": "T/Anomaly", "MetricName": name, "Stat": "Average"}
    for code, more in (
            ("MissingParameter", {}),
            ("MissingParameter", {"MetricName": name, "Stat": "Average"}),
            ("InvalidParameterValue", {**single, "Stat": "p101"}),
            ("InvalidParameterCombination", {**single, "SingleMetricAnomalyDetector": single}),
            ("InvalidParameterValue", {**single, "Configuration": {"MetricTimezone": "Europe/Atlantis"}}),
            ("InvalidParameterValue", {**single, "Configuration": {"ExcludedTimeRanges": [
                {"StartTime": this_hour(), "EndTime": this_hour()}]}}),
            ("ValidationError", {"MetricMathAnomalyDetector": {"MetricDataQueries": [
                {"Id": "e1", "Expression": "m1 * 8"}]}})):
        with refused(code):
            cloudwatch.put_anomaly_detector(**more)


def put_alarm(cloudwatch, name, period, **more):
    cloudwatch.put_metric_alarm(**{
        "AlarmName": name, "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanUpperThreshold",
        "ThresholdMetricId": "ad1", "TreatMissingData": "ignore", "Metrics": [
            {"Id": "m1", "MetricStat": stat("T/Anomaly", name, period), "ReturnData": True},
            {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1, 3)", "Label": "normal"}], **more})


def test_an_alarm_goes_off_above_its_band(cloudwatch, name):
    now = datetime.datetime.now(datetime.timezone.utc)
    past = [{"MetricName": name, "Timestamp": now - datetime.timedelta(seconds=10 * ago), "Value": 100 + ago % 3,
             "StorageResolution": 1} for ago in range(1, 300)]
    cloudwatch.put_metric_data(Namespace="T/Anomaly", MetricData=past)
    put_alarm(cloudwatch, name, 10)
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["ThresholdMetricId"] == "ad1" and "Threshold" not in alarm
    assert alarm["ComparisonOperator"] == "GreaterThanUpperThreshold"
    # The detector is there without anybody having made it.
    [found] = detectors(cloudwatch, MetricName=name)
    assert found["SingleMetricAnomalyDetector"]["Stat"] == "Average"

    def state(value):
        time = datetime.datetime.now(datetime.timezone.utc)
        cloudwatch.put_metric_data(Namespace="T/Anomaly", MetricData=[
            {"MetricName": name, "Timestamp": time, "Value": value, "StorageResolution": 1}])
        [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return alarm["StateValue"]

    until(lambda: state(101) == "OK", "a normal value is no alarm", 40)
    until(lambda: state(1000) == "ALARM", "a spike is one", 60)
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert "greater than the upper thresholds [" in alarm["StateReason"]


def test_alarms_on_bands_that_aws_refuses(cloudwatch, name):
    for more in ({"ThresholdMetricId": "m1"}, {"Threshold": 1.0},
                 {"ComparisonOperator": "GreaterThanThreshold"}):
        with refused("ValidationError"):
            put_alarm(cloudwatch, name, 60, **more)
    with refused("ValidationError", "ComparisonOperators for ranges require ThresholdMetricId to be set"):
        cloudwatch.put_metric_alarm(
            AlarmName=name, EvaluationPeriods=1, Threshold=1.0, Namespace="N", MetricName="m", Period=60,
            Statistic="Sum", ComparisonOperator="LessThanLowerOrGreaterThanUpperThreshold")
