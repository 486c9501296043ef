"""Signed requests as bytes: signed once, sent as often as the measurement needs, so that no client
library's own time is in the figures."""

import dataclasses
import socket
import time
import xml.etree.ElementTree as ElementTree
from urllib.parse import urlencode, urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from shell import Failed

VERSION = "2016-11-15"
REGION = "us-east-1"


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A server of the EC2 API and a key that it accepts."""

    url: str
    key: str
    secret: str

    @property
    def address(self):
        return urlsplit(self.url).netloc

    def client(self, service="ec2"):
        """The ordinary client, for setting things up."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=Config(retries={"max_attempts": 0}, read_timeout=120),
        )

    def request(self, action, **parameters):
        """A whole HTTP request for one action, signed now; good for 15 minutes."""
        body = urlencode({"Action": action, "Version": VERSION, **parameters}).encode()
        headers = {
            "Host": self.address,
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        }
        request = AWSRequest("POST", self.url + "/", headers=headers, data=body)
        SigV4Auth(Credentials(self.key, self.secret), "ec2", REGION).add_auth(request)
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        head = "\r\n".join(["POST / HTTP/1.1", *lines, f"Content-Length: {len(body)}"])
        return head.encode() + b"\r\n\r\n" + body


class Connection:
    """One kept connection."""

    def __init__(self, endpoint, timeout_s=60):
        host, port = endpoint.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def close(self):
        self.reader.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, request):
        """Sends and waits for the answer; returns its body and the seconds that it took."""
        start = time.perf_counter()
        self.socket.sendall(request)
        status, body = self.answer()
        took = time.perf_counter() - start
        if status != 200:
            raise Failed(f"status {status}: {message(body)}")
        return body, took

    def answer(self):
        line = self.reader.readline()
        if not line:
            raise ConnectionError("closed before an answer")
        length = None
        while (header := self.reader.readline().strip()):
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if length is None:
            raise Failed("an answer without Content-Length")
        return int(line.split()[1]), self.reader.read(length)


def message(body):
    """AWS's code and message in an error's body."""
    try:
        error = ElementTree.fromstring(body).find(".//Error")
        return f"{error.findtext('Code')}: {error.findtext('Message')}"
    except (ElementTree.ParseError, AttributeError):
        return repr(body[:200])


def first_answer(endpoint, request, limit_s=60):
    """Asks until there is an answer; a server that is starting refuses connections until then."""
    give_up = time.perf_counter() + limit_s
    while time.perf_counter() < give_up:
        try:
            with Connection(endpoint) as connection:
                connection.send(request)
                return
        except (ConnectionError, socket.timeout):
            time.sleep(0.001)
    raise Failed(f"{endpoint.url} does not answer within {limit_s} s")
