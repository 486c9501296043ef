"""Notifications over HTTPS and by mail: the ways that need a configuration."""

import datetime
import email
import email.policy
import ipaddress
import json
import re
import threading
import urllib.request

import pytest
from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.daemon import free_port
from support.endpoint import Endpoint
from support.errors import refused
from support.until import until


class Mailbox:
    """An SMTP server on loopback, and what it was handed. It answers the first mails with `replies`."""

    def __init__(self):
        self.mails = []
        self.replies = []
        self._lock = threading.Lock()
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self._controller.start()
        self.address = f"127.0.0.1:{self._controller.port}"

    async def handle_RCPT(self, server, session, envelope, address, options):
        with self._lock:
            if self.replies:
                return self.replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with self._lock:
            self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail))
        return "250 OK"

    def wait(self, count, within=10):
        until(lambda: len(self.mails) >= count, f"{count} mails", within=within)
        return self.mails

    def close(self):
        self._controller.stop()


@pytest.fixture
def mailbox():
    mailbox = Mailbox()
    yield mailbox
    mailbox.close()


def visit(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def link(text, action):
    [found] = re.findall(rf"http://\S+Action={action}\S+", text)
    return found


def test_mail_is_handed_to_the_relay(start_daemon, mailbox):
    config = f'[notify]\nsmtp = "{mailbox.address}"\nfrom = "enid@example.com"\n'
    sns = start_daemon("none", config=config, ephemeral=True).client("sns")
    topic = sns.create_topic(Name="t", Attributes={"DisplayName": "Über & Co"})["TopicArn"]
    told = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.org")
    assert told["SubscriptionArn"] == "pending confirmation"
    [(sender, to, question)] = mailbox.wait(1)
    assert (sender, to) == ("enid@example.com", ["a@example.org"])
    assert question["Subject"] == "AWS Notification - Subscription Confirmation"
    assert question["From"].addresses[0].display_name == "Über & Co"
    visit(link(question.get_content(), "ConfirmSubscription"))

    sns.publish(TopicArn=topic, Subject="ALARM: \"x\"", Message="it burns\n.\nstill: äöü")
    _, _, mail = mailbox.wait(2)[-1]
    assert mail["Subject"] == "ALARM: \"x\""
    assert mail.get_content().replace("\r\n", "\n").startswith("it burns\n.\nstill: äöü\n\n--\n")
    assert mail["Message-ID"] and mail["Date"].datetime.tzinfo
    visit(link(mail.get_content(), "Unsubscribe"))
    _, _, farewell = mailbox.wait(3)[-1]
    assert farewell["Subject"] == "AWS Notification - Unsubscribe Confirmation"
    sns.publish(TopicArn=topic, Message="to nobody")

    sns.subscribe(TopicArn=topic, Protocol="email-json", Endpoint="b@example.org")
    _, _, question = mailbox.wait(4)[-1]
    visit(json.loads(question.get_content())["SubscribeURL"])
    sns.publish(TopicArn=topic, Message="as JSON")
    _, to, mail = mailbox.wait(5)[-1]
    assert to == ["b@example.org"] and json.loads(mail.get_content())["Message"] == "as JSON"
    assert len(mailbox.mails) == 5


def test_a_busy_relay_is_asked_again_and_a_refusal_is_not(start_daemon, mailbox):
    mailbox.replies = ["451 later", "550 nobody here"]
    sns = start_daemon("none", config=f'[notify]\nsmtp = "{mailbox.address}"\n',
                       ephemeral=True).client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    # The first is answered 451 and tried again after ten seconds, as AWS does; the second is refused.
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.org")
    until(lambda: len(mailbox.replies) == 1, "the relay was asked")
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="b@example.org")
    [(_, to, _)] = mailbox.wait(1, within=20)
    assert to == ["a@example.org"]


def test_without_a_relay_there_is_no_mail(start_daemon):
    sns = start_daemon("none", ephemeral=True).client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    with refused("InvalidParameter", "…email needs a relay for mail"):
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.org")


def self_signed(directory):
    """A certificate for 127.0.0.1 with its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(addresses, critical=False).sign(key, hashes.SHA256()))
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM,
                                           serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return files


def test_https_endpoints_are_trusted_or_not_reached(start_daemon, tmp_path):
    files = self_signed(tmp_path)
    endpoint = Endpoint(certificate=files)
    try:
        config = f'[notify]\ncertificates = "{files[0]}"\n'
        sns = start_daemon("none", config=config, ephemeral=True).client("sns")
        topic = sns.create_topic(Name="t")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=endpoint.url)
        [question] = endpoint.wait("SubscriptionConfirmation")
        visit(question.json()["SubscribeURL"])
        sns.publish(TopicArn=topic, Message="over TLS")
        assert endpoint.wait("Notification")[0].json()["Message"] == "over TLS"

        stranger = start_daemon("none", ephemeral=True)
        sns = stranger.client("sns")
        topic = sns.create_topic(Name="t")["TopicArn"]
        policy = {"http": {"defaultHealthyRetryPolicy": {"numRetries": 0}}}
        sns.set_topic_attributes(TopicArn=topic, AttributeName="DeliveryPolicy",
                                 AttributeValue=json.dumps(policy))
        sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=endpoint.url)
        until(lambda: "no TLS with the endpoint" in stranger.text(), "the delivery was given up")
        assert len(endpoint.of_kind("SubscriptionConfirmation")) == 1
    finally:
        endpoint.close()


def test_only_what_is_allowed_is_reached(start_daemon):
    sns = start_daemon("none", config='[notify]\nallow = ["10.0.0.0/8"]\n',
                       ephemeral=True).client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    with refused("InvalidParameter", "…127.0.0.1 is in none of the blocks"):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:8080/")
    told = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://10.255.255.1:8080/")
    assert told["SubscriptionArn"] == "pending confirmation"


def test_policies_of_keys(start_daemon, tmp_path):
    """A key that may publish to one topic, and nothing else."""
    daemon = start_daemon("none", ephemeral=True)
    topic = daemon.client("sns").create_topic(Name="t")["TopicArn"]
    statement = {"Effect": "Allow", "Action": "sns:Publish", "Resource": topic}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    made = daemon.json("key", "create", "--policy", str(policy))
    keys = {"AWS_ACCESS_KEY_ID": made["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": made["secret_access_key"]}
    sns = daemon.client("sns", keys=keys)
    assert sns.publish(TopicArn=topic, Message="m")["MessageId"]
    for call in [lambda: sns.create_topic(Name="u"), lambda: sns.list_topics(),
                 lambda: sns.publish(TopicArn=topic + "x", Message="m"),
                 lambda: sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://a/")]:
        with refused("AuthorizationError", status=403):
            call()
