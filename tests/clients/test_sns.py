"""SNS through boto3: topics, subscriptions, and messages that real endpoints receive."""

import base64
import json
import urllib.request
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from sns_message_validator import SNSMessageValidator

from support.endpoint import Endpoint
from support.errors import refused
from support.until import until

ACCOUNT = "123456789012"
AT_ONCE = {"healthyRetryPolicy": {"minDelayTarget": 1, "maxDelayTarget": 1, "numRetries": 3,
                                  "numNoDelayRetries": 3}}


@pytest.fixture(scope="module")
def sns(daemon):
    return daemon.client("sns")


@pytest.fixture
def topic(sns):
    arn = sns.create_topic(Name=f"t-{uuid.uuid4()}")["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def subscribe(sns, topic, endpoint, **attributes):
    """A subscription that its endpoint has confirmed by the link it was sent."""
    asked = len(endpoint.of_kind("SubscriptionConfirmation"))
    arn = sns.subscribe(TopicArn=topic, Protocol=endpoint.url.split(":")[0], Endpoint=endpoint.url,
                        Attributes=attributes, ReturnSubscriptionArn=True)["SubscriptionArn"]
    question = endpoint.wait("SubscriptionConfirmation", asked + 1)[-1].json()
    visit(question["SubscribeURL"])
    return arn


def visit(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


# Topics


def test_a_topic_is_described_as_aws_does(sns):
    name = f"t-{uuid.uuid4()}"
    arn = sns.create_topic(Name=name, Attributes={"DisplayName": "Alarms"},
                           Tags=[{"Key": "team", "Value": "net"}])["TopicArn"]
    assert arn == f"arn:aws:sns:us-east-1:{ACCOUNT}:{name}"
    found = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    policy = json.loads(found.pop("Policy"))
    assert policy["Statement"][0]["Resource"] == arn
    effective = json.loads(found.pop("EffectiveDeliveryPolicy"))
    assert effective["http"]["defaultHealthyRetryPolicy"]["numRetries"] == 3
    assert found == {"DisplayName": "Alarms", "Owner": ACCOUNT, "TopicArn": arn,
                     "SubscriptionsConfirmed": "0", "SubscriptionsPending": "0",
                     "SubscriptionsDeleted": "0"}
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "net"}]
    assert arn in [it["TopicArn"] for page in sns.get_paginator("list_topics").paginate()
                   for it in page["Topics"]]
    sns.delete_topic(TopicArn=arn)
    sns.delete_topic(TopicArn=arn)
    with refused("NotFound", "Topic does not exist", 404):
        sns.get_topic_attributes(TopicArn=arn)


def test_a_topic_is_made_once(sns, topic):
    name = topic.rsplit(":", 1)[1]
    assert sns.create_topic(Name=name)["TopicArn"] == topic
    with refused("InvalidParameter", "Invalid parameter: Attributes Reason: Topic already exists "
                 "with different attributes"):
        sns.create_topic(Name=name, Attributes={"DisplayName": "other"})
    with refused("InvalidParameter", "Invalid parameter: Tags Reason: Topic already exists with "
                 "different tags"):
        sns.create_topic(Name=name, Tags=[{"Key": "a", "Value": "b"}])


def test_what_aws_refuses_of_topics(sns, topic):
    for name in ["", "a b", "a.fifo", "x" * 257]:
        with refused("InvalidParameter", "Invalid parameter: Topic Name"):
            sns.create_topic(Name=name)
    with refused("InvalidParameter", "Invalid parameter: TopicArn Reason: An ARN must have at "
                 "least 6 elements, not 1"):
        sns.get_topic_attributes(TopicArn="topic")
    with refused("InvalidParameter", "Invalid parameter: TopicArn"):
        sns.get_topic_attributes(TopicArn=topic.replace("us-east-1", "eu-west-1"))
    with refused("AuthorizationError", status=403):
        sns.get_topic_attributes(TopicArn=topic.replace(ACCOUNT, "000000000001"))
    with refused("InvalidParameter", "Invalid parameter: AttributeName"):
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Colour", AttributeValue="red")


def test_what_enid_lacks_is_refused_by_name(sns, topic, endpoint):
    with refused("UnsupportedOperation", "Enid does not implement the value 'FifoTopic' of the "
                 "parameter Attributes of CreateTopic."):
        sns.create_topic(Name="a", Attributes={"FifoTopic": "true"})
    with refused("UnsupportedOperation", "Enid does not implement the value 'Policy' of the "
                 "parameter AttributeName of SetTopicAttributes."):
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue="{}")
    with refused("UnsupportedOperation", "Enid does not implement the value 'sqs' of the "
                 "parameter Protocol of Subscribe."):
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:1:q")
    with refused("UnsupportedOperation", "Enid does not implement the value 'RedrivePolicy' of "
                 "the parameter Attributes of Subscribe."):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url,
                      Attributes={"RedrivePolicy": "{}"})
    with refused("UnsupportedOperation", "Enid does not implement the parameter PhoneNumber of "
                 "Publish."):
        sns.publish(PhoneNumber="+123", Message="m")


def test_attributes_are_set(sns, topic):
    policy = {"http": {"defaultHealthyRetryPolicy": {"minDelayTarget": 5, "maxDelayTarget": 6,
                                                     "numRetries": 1},
                       "disableSubscriptionOverrides": False}}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DeliveryPolicy",
                             AttributeValue=json.dumps(policy))
    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
    found = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert json.loads(found["DeliveryPolicy"]) == policy
    effective = json.loads(found["EffectiveDeliveryPolicy"])["http"]
    assert effective["defaultHealthyRetryPolicy"] == {
        "minDelayTarget": 5, "maxDelayTarget": 6, "numRetries": 1, "numMaxDelayRetries": 0,
        "numNoDelayRetries": 0, "numMinDelayRetries": 0, "backoffFunction": "linear"}
    assert found["SignatureVersion"] == "2"
    with refused("InvalidParameter"):
        sns.set_topic_attributes(TopicArn=topic, AttributeName="DeliveryPolicy",
                                 AttributeValue='{"http": {"colour": 1}}')


def test_tags(sns, topic):
    sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "a", "Value": "2"}])
    sns.untag_resource(ResourceArn=topic, TagKeys=["b", "c"])
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "a", "Value": "2"}]
    with refused("InvalidParameter", "Invalid parameter: Duplicated keys are not allowed."):
        sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "a", "Value": "1"}] * 2)
    with refused("ResourceNotFound", "Resource does not exist", 404):
        sns.list_tags_for_resource(ResourceArn=topic + "x")


# Subscriptions


def test_an_endpoint_confirms_and_gets_messages(sns, topic, endpoint):
    told = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url)
    assert told["SubscriptionArn"] == "pending confirmation"
    [listed] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert listed["SubscriptionArn"] == "PendingConfirmation"
    [question] = endpoint.wait("SubscriptionConfirmation")
    assert question.headers["user-agent"] == "Amazon Simple Notification Service Agent"
    assert question.headers["content-type"] == "text/plain; charset=UTF-8"
    assert "x-amz-sns-subscription-arn" not in question.headers
    asked = question.json()
    assert asked["Message"] == (
        f"You have chosen to subscribe to the topic {topic}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message.")
    # Nobody is notified who did not want it.
    sns.publish(TopicArn=topic, Message="too early")
    assert "ConfirmSubscriptionResult" in visit(asked["SubscribeURL"])
    arn = sns.confirm_subscription(TopicArn=topic, Token=asked["Token"])["SubscriptionArn"]
    [listed] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert listed == {"SubscriptionArn": arn, "Owner": ACCOUNT, "Protocol": "http",
                      "Endpoint": endpoint.url, "TopicArn": topic}

    id = sns.publish(TopicArn=topic, Message="it \"burns\"", Subject="ALARM", MessageAttributes={
        "count": {"DataType": "Number", "StringValue": "3"}})["MessageId"]
    [got] = endpoint.wait("Notification")
    assert got.path == "/hook"
    assert got.headers["x-amz-sns-message-id"] == id
    assert got.headers["x-amz-sns-topic-arn"] == topic
    assert got.headers["x-amz-sns-subscription-arn"] == arn
    message = got.json()
    assert list(message) == ["Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp",
                             "SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL",
                             "MessageAttributes"]
    assert (message["Message"], message["Subject"]) == ("it \"burns\"", "ALARM")
    assert message["MessageAttributes"] == {"count": {"Type": "Number", "Value": "3"}}


def test_signatures_are_verified_by_others(sns, topic, endpoint, daemon):
    subscribe(sns, topic, endpoint)
    sns.publish(TopicArn=topic, Message="one\nline", Subject="with a subject")
    sns.publish(TopicArn=topic, Message="two")
    validator = SNSMessageValidator(cert_url_regex="^" + daemon.url)
    messages = endpoint.wait("Notification", 2) + endpoint.of_kind("SubscriptionConfirmation")
    for message in messages:
        validator.validate_message(message.json())
    forged = messages[0].json() | {"Message": "another"}
    with pytest.raises(Exception, match="Invalid signature"):
        validator.validate_message(forged)

    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
    sns.publish(TopicArn=topic, Message="three")
    message = endpoint.wait("Notification", 3)[-1].json()
    assert message["SignatureVersion"] == "2"
    certificate = x509.load_pem_x509_certificate(visit(message["SigningCertURL"]).encode())
    text = validator._get_plaintext_to_sign(message).encode()
    signature = base64.b64decode(message["Signature"])
    certificate.public_key().verify(signature, text, PKCS1v15(), SHA256())


def test_raw_delivery_is_the_message_alone(sns, topic, endpoint):
    policy = {"requestPolicy": {"headerContentType": "application/json"}}
    arn = subscribe(sns, topic, endpoint, RawMessageDelivery="true",
                    DeliveryPolicy=json.dumps(policy))
    sns.publish(TopicArn=topic, Message='{"a": 1}')
    [got] = endpoint.wait("Notification")
    assert got.body == '{"a": 1}'
    assert got.headers["x-amz-sns-rawdelivery"] == "true"
    assert got.headers["content-type"] == "application/json"
    found = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert found["RawMessageDelivery"] == "true"
    effective = json.loads(found["EffectiveDeliveryPolicy"])
    assert effective["requestPolicy"] == {"headerContentType": "application/json"}


def test_a_failure_is_tried_again(sns, topic, endpoint):
    subscribe(sns, topic, endpoint, DeliveryPolicy=json.dumps(AT_ONCE))
    endpoint.statuses = [500, 429]
    sns.publish(TopicArn=topic, Message="again")
    tries = endpoint.wait("Notification", 3)
    assert len({it.headers["x-amz-sns-message-id"] for it in tries}) == 1
    # What the endpoint refuses is not tried again.
    endpoint.statuses = [404]
    sns.publish(TopicArn=topic, Message="refused")
    sns.publish(TopicArn=topic, Message="last")
    bodies = [it.json()["Message"] for it in endpoint.wait("Notification", 5)]
    assert sorted(bodies) == ["again", "again", "again", "last", "refused"]


def test_a_filter_policy_leaves_messages_out(sns, topic, endpoint):
    arn = subscribe(sns, topic, endpoint, FilterPolicy='{"kind": ["alarm", {"prefix": "test"}]}')
    kind = lambda value: {"kind": {"DataType": "String", "StringValue": value}}
    sns.publish(TopicArn=topic, Message="none")
    sns.publish(TopicArn=topic, Message="other", MessageAttributes=kind("news"))
    sns.publish(TopicArn=topic, Message="alarm", MessageAttributes=kind("alarm"))
    sns.publish(TopicArn=topic, Message="prefix", MessageAttributes=kind("tests"))
    got = {it.json()["Message"] for it in endpoint.wait("Notification", 2)}
    assert got == {"alarm", "prefix"}
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicyScope",
                                    AttributeValue="MessageBody")
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy",
                                    AttributeValue='{"a": {"b": [{"numeric": [">", 1]}]}}')
    sns.publish(TopicArn=topic, Message='{"a": {"b": 1}}')
    sns.publish(TopicArn=topic, Message='{"a": {"b": 2}}')
    assert endpoint.wait("Notification", 3)[-1].json()["Message"] == '{"a": {"b": 2}}'
    assert len(endpoint.of_kind("Notification")) == 3


def test_who_unsubscribed_gets_nothing(sns, topic, endpoint):
    arn = subscribe(sns, topic, endpoint)
    other = Endpoint()
    try:
        subscribe(sns, topic, other)
        sns.unsubscribe(SubscriptionArn=arn)
        sns.unsubscribe(SubscriptionArn=arn)
        sns.publish(TopicArn=topic, Message="for one")
        other.wait("Notification")
        assert endpoint.of_kind("Notification") == []
        with refused("NotFound", "Subscription does not exist", 404):
            sns.get_subscription_attributes(SubscriptionArn=arn)
    finally:
        other.close()


def test_an_endpoint_leaves_by_its_link_and_comes_back(sns, topic, endpoint):
    arn = subscribe(sns, topic, endpoint)
    sns.publish(TopicArn=topic, Message="before")
    [got] = endpoint.wait("Notification")
    assert "UnsubscribeResponse" in visit(got.json()["UnsubscribeURL"])
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    [farewell] = endpoint.wait("UnsubscribeConfirmation")
    assert farewell.headers["x-amz-sns-subscription-arn"] == arn
    SNSMessageValidator(cert_url_regex="").validate_message(farewell.json())
    visit(farewell.json()["SubscribeURL"])
    sns.publish(TopicArn=topic, Message="after")
    assert endpoint.wait("Notification", 2)[-1].json()["Message"] == "after"


def test_links_need_what_they_show(daemon, topic):
    for query, wanted in [
        (f"Action=ConfirmSubscription&TopicArn={topic}&Token=abc123", "Invalid parameter: Token"),
        ("Action=ConfirmSubscription&TopicArn=not-an-arn&Token=abc123", "Invalid parameter: Topic"),
        (f"Action=Unsubscribe&SubscriptionArn={topic}", "Invalid parameter: SubscriptionArn"),
    ]:
        status, _, body = daemon.get("/?" + query)
        assert status == 400 and wanted in body, body
    # Everything else needs a signature.
    status, _, body = daemon.get(f"/?Action=Publish&TopicArn={topic}&Message=a&Version=2010-03-31")
    assert status == 403 and "MissingAuthenticationToken" in body


def test_what_aws_refuses_of_subscriptions(sns, topic, endpoint):
    with refused("InvalidParameter", "Invalid parameter: Amazon SNS does not support this "
                 "protocol string: pigeon"):
        sns.subscribe(TopicArn=topic, Protocol="pigeon", Endpoint="a")
    with refused("InvalidParameter", "Invalid parameter: Endpoint must match the specified "
                 "protocol"):
        sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=endpoint.url)
    with refused("InvalidParameter", "Invalid parameter: Attributes Reason: RawMessageDelivery: "
                 "Invalid value [maybe]. Must be true or false."):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url,
                      Attributes={"RawMessageDelivery": "maybe"})
    with refused("InvalidParameter", "Invalid parameter: Attributes Reason: FilterPolicy: \"k\" "
                 "must be an object or an array"):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url,
                      Attributes={"FilterPolicy": '{"k": "v"}'})
    with refused("InvalidParameter", "Invalid parameter: SubscriptionArn Reason: An ARN must have "
                 "at least 6 elements, not 1"):
        sns.unsubscribe(SubscriptionArn="x")
    with refused("InvalidParameter", "Invalid parameter: SubscriptionId"):
        sns.unsubscribe(SubscriptionArn=topic)
    with refused("InvalidParameter", "Invalid token"):
        sns.confirm_subscription(TopicArn=topic, Token="no token")


def test_the_daemon_reaches_loopback_only(sns, topic, daemon):
    for url, why in [
        ("http://169.254.169.254/latest/", "169.254.169.254 is in none of the blocks"),
        ("http://10.0.0.1/", "10.0.0.1 is in none of the blocks"),
        (daemon.url + "/_enid/reset", "is the daemon itself"),
        ("http://127.0.0.1:22/", "port 22 of this machine is not for HTTP"),
        ("http://user:word@127.0.0.1:8080/", "credentials"),
    ]:
        with refused("InvalidParameter", "…" + why):
            sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=url)


# Messages


def test_a_message_differs_by_protocol(sns, topic, endpoint):
    subscribe(sns, topic, endpoint)
    sns.publish(TopicArn=topic, MessageStructure="json",
                Message=json.dumps({"default": "for all", "http": "for http"}))
    [got] = endpoint.wait("Notification")
    assert got.json()["Message"] == "for http"


def test_a_batch(sns, topic, endpoint):
    subscribe(sns, topic, endpoint, RawMessageDelivery="true")
    entries = [{"Id": str(number), "Message": f"m{number}"} for number in range(10)]
    answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [it["Id"] for it in answer["Successful"]] == [it["Id"] for it in entries]
    assert answer["Failed"] == []
    got = {it.body for it in endpoint.wait("Notification", 10)}
    assert got == {it["Message"] for it in entries}
    for wrong, code in [
        (entries + [{"Id": "11", "Message": "m"}], "TooManyEntriesInBatchRequest"),
        (entries[:1] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "Message": "m"}], "InvalidBatchEntryId"),
        ([{"Id": str(n), "Message": "x" * 200_000} for n in range(2)], "BatchRequestTooLong"),
    ]:
        with refused(code):
            sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=wrong)


def test_what_aws_refuses_of_messages(sns, topic):
    with refused("InvalidParameter", "Invalid parameter: Empty message"):
        sns.publish(TopicArn=topic, Message="")
    with refused("InvalidParameter", "Invalid parameter: Message too long"):
        sns.publish(TopicArn=topic, Message="x" * (256 * 1024 + 1))
    for subject in ["", "a\nb", "x" * 101]:
        with refused("InvalidParameter", "Invalid parameter: Subject"):
            sns.publish(TopicArn=topic, Message="m", Subject=subject)
    with refused("InvalidParameter", "Invalid parameter: Message Structure - No default entry in "
                 "JSON message body"):
        sns.publish(TopicArn=topic, Message="{}", MessageStructure="json")
    with refused("ParameterValueInvalid", "The message attribute 'a' with type 'Binary' must use "
                 "field 'Binary'."):
        sns.publish(TopicArn=topic, Message="m", MessageAttributes={
            "a": {"DataType": "Binary", "StringValue": "x"}})
    with refused("NotFound", "Topic does not exist", 404):
        sns.publish(TopicArn=topic + "x", Message="m")


def test_a_published_message_survives_a_crash(start_daemon):
    """kill -9 after the answer, while the endpoint is away; it gets the message when both are back."""
    daemon = start_daemon("none")
    sns = daemon.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    endpoint = Endpoint()
    policy = {"healthyRetryPolicy": {"minDelayTarget": 1, "maxDelayTarget": 1, "numRetries": 100}}
    subscribe(sns, topic, endpoint, DeliveryPolicy=json.dumps(policy))
    certificate = endpoint.of_kind("SubscriptionConfirmation")[0].json()["SigningCertURL"]
    endpoint.close()
    ids = [sns.publish(TopicArn=topic, Message=f"m{number}")["MessageId"] for number in range(20)]
    daemon.kill()
    daemon.start()
    back = Endpoint(port=endpoint.port)
    try:
        received = lambda: {it.headers["x-amz-sns-message-id"]
                            for it in back.of_kind("Notification")}
        until(lambda: received() >= set(ids), "every message is delivered", within=20)
        assert received() == set(ids)
        # The key is the installation's, not the process's.
        assert back.of_kind("Notification")[0].json()["SigningCertURL"] == certificate
    finally:
        back.close()
