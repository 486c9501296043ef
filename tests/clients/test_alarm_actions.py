"""What alarms do: messages to topics, as a real endpoint receives them, and what becomes of instances."""

import json
import uuid

import pytest
from sns_message_validator import SNSMessageValidator

from support.endpoint import Endpoint
from support.errors import refused
from support.until import until

ACCOUNT = "123456789012"
REGION = "us-east-1"
KEYS = ["AlarmName", "AlarmDescription", "AWSAccountId", "AlarmConfigurationUpdatedTimestamp",
        "NewStateValue", "NewStateReason", "StateChangeTime", "Region", "AlarmArn", "OldStateValue",
        "OKActions", "AlarmActions", "InsufficientDataActions", "Trigger"]


@pytest.fixture
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


@pytest.fixture
def name(cloudwatch):
    name = f"a-{uuid.uuid4()}"
    yield name
    found = cloudwatch.describe_alarms(
        AlarmNamePrefix=name, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    for kind in ("CompositeAlarms", "MetricAlarms"):
        names = [alarm["AlarmName"] for alarm in found[kind]]
        if names:
            cloudwatch.delete_alarms(AlarmNames=names)


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def topic(daemon, endpoint):
    """A topic that the endpoint has subscribed to."""
    return subscribed(daemon, endpoint)


def subscribed(daemon, endpoint):
    sns = daemon.client("sns")
    topic = sns.create_topic(Name=f"t-{uuid.uuid4()}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url)
    question = endpoint.wait("SubscriptionConfirmation")[-1].json()
    sns.confirm_subscription(TopicArn=topic, Token=question["Token"])
    return topic


def make(cloudwatch, name, **more):
    alarm = {"AlarmName": name, "Namespace": "T/Action", "MetricName": name, "Statistic": "Sum",
             "Period": 60, "EvaluationPeriods": 1, "Threshold": 5.0,
             "ComparisonOperator": "GreaterThanThreshold", **more}
    cloudwatch.put_metric_alarm(**alarm)


def set_state(cloudwatch, name, state, reason="test"):
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason=reason)


def history(cloudwatch, name, kind="MetricAlarm"):
    """What it did, oldest first."""
    return cloudwatch.describe_alarm_history(
        AlarmName=name, AlarmTypes=[kind], HistoryItemType="Action",
        ScanBy="TimestampAscending")["AlarmHistoryItems"]


def messages(endpoint, count=1):
    found = endpoint.wait("Notification", count)
    assert len(found) == count
    return [one.json() for one in found]


def test_a_message_is_awss_signed_and_sent_once(daemon, cloudwatch, name, topic, endpoint):
    make(cloudwatch, name, AlarmActions=[topic], AlarmDescription="d", DatapointsToAlarm=1,
         Dimensions=[{"Name": "Host", "Value": "h"}])
    set_state(cloudwatch, name, "ALARM", "because")
    [envelope] = messages(endpoint)
    validator = SNSMessageValidator(cert_url_regex="^" + daemon.url)
    validator.validate_message(message=envelope)
    assert envelope["Subject"] == f'ALARM: "{name}" in US East (N. Virginia)'
    message = json.loads(envelope["Message"])
    assert list(message) == KEYS
    arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}"
    fixed = {"AlarmName": name, "AlarmDescription": "d", "AWSAccountId": ACCOUNT,
             "NewStateValue": "ALARM", "NewStateReason": "because",
             "Region": "US East (N. Virginia)", "AlarmArn": arn,
             "OldStateValue": "INSUFFICIENT_DATA", "OKActions": [], "AlarmActions": [topic],
             "InsufficientDataActions": []}
    assert {key: message[key] for key in fixed} == fixed
    assert message["Trigger"] == {
        "MetricName": name, "Namespace": "T/Action", "StatisticType": "Statistic",
        "Statistic": "SUM", "Unit": None, "Dimensions": [{"value": "h", "name": "Host"}],
        "Period": 60, "EvaluationPeriods": 1, "DatapointsToAlarm": 1,
        "ComparisonOperator": "GreaterThanThreshold", "Threshold": 5.0,
        "TreatMissingData": "missing", "EvaluateLowSampleCountPercentile": ""}
    # The same state again is no change, and its actions are not those of another state.
    set_state(cloudwatch, name, "ALARM", "again")
    set_state(cloudwatch, name, "OK")
    [done] = until(lambda: history(cloudwatch, name), "the history tells of it")
    assert done["HistorySummary"] == f"Successfully executed action {topic}"
    data = json.loads(done["HistoryData"])
    assert list(data) and data["actionState"] == "Succeeded" and data["error"] is None
    assert json.loads(json.loads(data["publishedMessage"])["default"]) == message
    messages(endpoint, 1)


def test_actions_that_are_disabled_or_lead_nowhere(daemon, cloudwatch, name, topic, endpoint):
    gone = daemon.client("sns").create_topic(Name=f"t-{uuid.uuid4()}")["TopicArn"]
    make(cloudwatch, name, OKActions=[gone], AlarmActions=[topic], ActionsEnabled=False)
    daemon.client("sns").delete_topic(TopicArn=gone)
    set_state(cloudwatch, name, "ALARM")
    set_state(cloudwatch, name, "INSUFFICIENT_DATA")
    cloudwatch.enable_alarm_actions(AlarmNames=[name])
    set_state(cloudwatch, name, "OK")
    [failed] = until(lambda: history(cloudwatch, name), "the failure is told")
    assert failed["HistorySummary"].startswith(f"Failed to execute action {gone}. Reason: ")
    assert json.loads(failed["HistoryData"])["actionState"] == "Failed"
    set_state(cloudwatch, name, "ALARM")
    [envelope] = messages(endpoint)
    assert json.loads(envelope["Message"])["OldStateValue"] == "OK"


def test_a_suppressor_keeps_a_composite_alarm_quiet(cloudwatch, name, topic, endpoint):
    child, off, parent = f"{name}-child", f"{name}-off", f"{name}-parent"
    make(cloudwatch, child)
    make(cloudwatch, off)
    rule = f'ALARM("{child}")'
    cloudwatch.put_composite_alarm(
        AlarmName=parent, AlarmRule=rule, AlarmActions=[topic], ActionsSuppressor=off,
        ActionsSuppressorWaitPeriod=1, ActionsSuppressorExtensionPeriod=1)

    def shown():
        answer = cloudwatch.describe_alarms(AlarmNames=[parent], AlarmTypes=["CompositeAlarm"])
        [alarm] = answer["CompositeAlarms"]
        return alarm

    assert (shown()["ActionsSuppressor"], shown()["ActionsSuppressorWaitPeriod"]) == (off, 1)
    set_state(cloudwatch, off, "ALARM")
    set_state(cloudwatch, child, "ALARM")
    assert shown()["ActionsSuppressedBy"] == "Alarm" and off in shown()["ActionsSuppressedReason"]
    assert history(cloudwatch, parent, "CompositeAlarm") == []
    set_state(cloudwatch, off, "OK")
    [envelope] = messages(endpoint)
    message = json.loads(envelope["Message"])
    assert (message["NewStateValue"], message["OldStateValue"]) == ("ALARM", "OK")
    assert message["AlarmRule"] == rule and "Trigger" not in message
    assert "ActionsSuppressedBy" not in shown()
    # Nobody suppresses it now, but somebody might, within a second.
    set_state(cloudwatch, child, "OK")
    cloudwatch.put_composite_alarm(AlarmName=parent, AlarmRule=rule, AlarmActions=[topic])
    assert "ActionsSuppressor" not in shown()
    set_state(cloudwatch, child, "ALARM")
    envelope = messages(endpoint, 2)[1]
    [triggering] = json.loads(envelope["Message"])["TriggeringChildren"]
    assert triggering["Arn"].endswith(f":alarm:{child}")
    assert triggering["State"]["Value"] == "ALARM"


def test_an_instance_is_stopped(daemon, cloudwatch, name):
    ec2 = daemon.client("ec2")
    [instance] = ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1)["Instances"]
    id = instance["InstanceId"]
    try:
        make(cloudwatch, name, AlarmActions=[f"arn:aws:automate:{REGION}:ec2:stop"],
             Dimensions=[{"Name": "InstanceId", "Value": id}])
        set_state(cloudwatch, name, "ALARM")

        def state():
            answer = ec2.describe_instances(InstanceIds=[id])
            return answer["Reservations"][0]["Instances"][0]["State"]["Name"]

        until(lambda: state() == "stopped", "the instance stops", within=30)
        [done] = until(lambda: history(cloudwatch, name), "the history tells of it")
        assert done["HistorySummary"] == f"Successfully executed action arn:aws:automate:{REGION}:ec2:stop"
    finally:
        ec2.terminate_instances(InstanceIds=[id])


def test_what_is_no_action_is_refused(cloudwatch, name):
    lambda_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
    for action, code, message in (
            (lambda_arn, "UnsupportedOperation", f"Enid does not implement the action {lambda_arn}."),
            ("x", "UnsupportedOperation", "Enid does not implement the action x."),
            (f"arn:aws:sns:eu-west-1:{ACCOUNT}:t", "ValidationError",
             "Invalid region eu-west-1 specified. Only us-east-1 is supported."),
            (f"arn:aws:automate:{REGION}:ec2:stop", "ValidationError",
             f"The action arn:aws:automate:{REGION}:ec2:stop needs an alarm on one metric that has "
             "the dimension InstanceId.")):
        with refused(code, message):
            make(cloudwatch, name, OKActions=[action])
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:t"
    with refused("ValidationError", "The collection AlarmActions must not have a size greater than 5."):
        make(cloudwatch, name, AlarmActions=[topic] * 6)
    make(cloudwatch, name)
    suppressor = {"AlarmName": f"{name}-p", "AlarmRule": f'ALARM("{name}")', "ActionsSuppressor": "none"}
    with refused("ValidationError"):
        cloudwatch.put_composite_alarm(**suppressor)
    with refused("ValidationError", "ActionsSuppressor none is not an existing alarm."):
        cloudwatch.put_composite_alarm(**suppressor, ActionsSuppressorWaitPeriod=1,
                                       ActionsSuppressorExtensionPeriod=1)


def test_a_crash_neither_loses_nor_repeats_an_action(start_daemon, endpoint):
    # Fails if what an alarm is to do is not kept with its state, or is done again by the next daemon.
    daemon = start_daemon("none")
    topic = subscribed(daemon, endpoint)
    cloudwatch = daemon.client("cloudwatch")
    names = [f"crash-{number}" for number in range(10)]
    for name in names:
        make(cloudwatch, name, AlarmActions=[topic])
    for name in names:
        set_state(cloudwatch, name, "ALARM")
    daemon.kill()
    daemon.start()
    cloudwatch = daemon.client("cloudwatch")
    until(lambda: all(history(cloudwatch, name) for name in names), "all is done", within=30)
    found = endpoint.wait("Notification", len(names))
    sent = {json.loads(one.json()["Message"])["AlarmName"]: one.json()["MessageId"] for one in found}
    assert sorted(sent) == sorted(names)
    # SNS delivers at least once: a message that comes twice is the same message.
    assert {one.json()["MessageId"] for one in found} == set(sent.values())
    assert all(len(history(cloudwatch, name)) == 1 for name in names)
