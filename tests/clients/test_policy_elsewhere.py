"""What the policy of a key lets its holder do with log groups and topics."""

import contextlib
import json

import botocore.exceptions
import pytest

ACCOUNT = "123456789012"
GROUP = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}"


@pytest.fixture
def holder(daemon, tmp_path):
    """A client of a key whose policy has these statements: `holder(service, statement, …)`."""

    def make(service, *statements):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
        key = daemon.json("key", "create", "--policy", str(path))
        client = daemon.client(service, keys={
            "AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]})
        client.user = f"arn:aws:iam::{ACCOUNT}:user/{key['access_key_id']}"
        return client

    return make


def allow(action, resource="*", condition=None):
    made = {"Effect": "Allow", "Action": action, "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


@contextlib.contextmanager
def denied(client, action, code="AccessDeniedException", explicit=False):
    """The code of the service, and words that name who may not do what."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        yield
    error, status = caught.value.response["Error"], caught.value.response["ResponseMetadata"]
    assert error["Code"] == code, error
    assert status["HTTPStatusCode"] == (403 if code == "AuthorizationError" else 400)
    assert f"User: {client.user} is not authorized to perform: {action}" in error["Message"]
    assert ("explicit deny" in error["Message"]) == explicit


@pytest.fixture
def group(daemon):
    logs = daemon.client("logs")
    logs.create_log_group(logGroupName="team/a")
    logs.create_log_stream(logGroupName="team/a", logStreamName="s")
    yield "team/a"
    with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
        logs.delete_log_group(logGroupName="team/a")


EVENTS = {"logEvents": [{"timestamp": 0, "message": "it"}]}


def test_a_writer_of_one_stream_writes_there_and_reads_nothing(holder, group):
    writer = holder("logs", allow("logs:PutLogEvents", f"{GROUP}:{group}:log-stream:s"))
    writer.put_log_events(logGroupName=group, logStreamName="s", **EVENTS)
    with denied(writer, "logs:PutLogEvents"):
        writer.put_log_events(logGroupName=group, logStreamName="other", **EVENTS)
    with denied(writer, "logs:PutLogEvents"):
        writer.put_log_events(logGroupName="team/b", logStreamName="s", **EVENTS)
    with denied(writer, "logs:GetLogEvents"):
        writer.get_log_events(logGroupName=group, logStreamName="s")


def test_a_reader_of_a_teams_groups_changes_nothing(holder, group):
    reader = holder("logs", allow(["logs:FilterLogEvents", "logs:DescribeLogStreams"],
                                  f"{GROUP}:team/*"))
    reader.filter_log_events(logGroupName=group)
    assert reader.describe_log_streams(logGroupName=group)["logStreams"]
    with denied(reader, "logs:FilterLogEvents"):
        reader.filter_log_events(logGroupName="other")
    with denied(reader, "logs:DeleteLogGroup"):
        reader.delete_log_group(logGroupName=group)
    with denied(reader, "logs:DescribeLogGroups"):
        reader.describe_log_groups()


def test_an_explicit_deny_wins_over_all_of_logs(holder, group):
    client = holder("logs", allow("logs:*"),
                    {"Effect": "Deny", "Action": "logs:DeleteLogGroup",
                     "Resource": f"{GROUP}:team/*"})
    client.create_log_group(logGroupName="mine")
    client.delete_log_group(logGroupName="mine")
    with denied(client, "logs:DeleteLogGroup", explicit=True):
        client.delete_log_group(logGroupName=group)


def test_rights_of_one_service_are_none_of_another(holder, group):
    client = holder("logs", allow(["ec2:*", "sns:*", "cloudwatch:*"]))
    with denied(client, "logs:DescribeLogGroups"):
        client.describe_log_groups()
    client = holder("sns", allow("logs:*"))
    with denied(client, "sns:ListTopics", "AuthorizationError"):
        client.list_topics()


@pytest.fixture
def topic(daemon):
    sns = daemon.client("sns")
    arn = sns.create_topic(Name="a")["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


def test_a_publisher_to_one_topic_publishes_there_only(daemon, holder, topic):
    publisher = holder("sns", allow("sns:Publish", f"{TOPIC}:a"))
    assert publisher.publish(TopicArn=topic, Message="m")["MessageId"]
    # There is no action of its own for a batch.
    batch = [{"Id": "1", "Message": "m"}]
    assert publisher.publish_batch(TopicArn=topic, PublishBatchRequestEntries=batch)["Successful"]
    with denied(publisher, "sns:Publish", "AuthorizationError"):
        publisher.publish_batch(TopicArn=f"{TOPIC}:b", PublishBatchRequestEntries=batch)
    with denied(publisher, "sns:Publish", "AuthorizationError"):
        publisher.publish(TopicArn=f"{TOPIC}:b", Message="m")
    with denied(publisher, "sns:Subscribe", "AuthorizationError"):
        publisher.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:8099/")
    with denied(publisher, "sns:DeleteTopic", "AuthorizationError"):
        publisher.delete_topic(TopicArn=topic)


def test_who_may_subscribe_what_is_a_condition(holder, topic):
    only = {"StringEquals": {"sns:Protocol": "http"},
            "StringLike": {"sns:Endpoint": "http://127.0.0.1:*/hooks/*"}}
    client = holder("sns", allow("sns:Subscribe", topic, only))
    client.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:8099/hooks/a")
    for protocol, endpoint in [("http", "http://127.0.0.1:8099/other"),
                               ("https", "https://127.0.0.1:8099/hooks/a")]:
        with denied(client, "sns:Subscribe", "AuthorizationError"):
            client.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
