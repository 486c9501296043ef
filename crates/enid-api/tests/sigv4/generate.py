"""Writes the requests beside this file: botocore signs them at a fixed time with a fixed key.

Run it by hand with the project's virtual environment; the tests read what it wrote.
"""

import datetime
import pathlib
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
ENDPOINT = "http://127.0.0.1:4566"
HERE = pathlib.Path(__file__).parent


def client(service, region="eu-west-1", token=None):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=ENDPOINT,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        aws_session_token=token,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def write(name, method, target, headers, body):
    lines = [f"{method} {target}"]
    lines += [f"{key}: {value}" for key, value in sorted(headers.items())]
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n\n" + body, newline="\n")


def sent(name, service, operation, token=None, **params):
    made = client(service, token=token)

    def capture(request, **_):
        headers = {
            key: value.decode() if isinstance(value, bytes) else str(value)
            for key, value in request.headers.items()
        }
        body = request.body or ""
        body = body.decode() if isinstance(body, bytes) else body
        target = urllib.parse.urlsplit(request.url).path or "/"
        headers["Host"] = urllib.parse.urlsplit(ENDPOINT).netloc
        write(name, request.method, target, headers, body)
        return botocore.awsrequest.AWSResponse(request.url, 200, {}, Raw())

    made.meta.events.register("before-send.*", capture)
    getattr(made, operation)(**params)


class Raw:
    """An empty answer."""

    def stream(self, **_):
        yield b"<X><GetCallerIdentityResult/></X>"


def presigned(name, service, operation, **params):
    url = client(service).generate_presigned_url(
        operation, Params=params, ExpiresIn=60, HttpMethod="GET"
    )
    parts = urllib.parse.urlsplit(url)
    write(name, "GET", f"{parts.path or '/'}?{parts.query}", {"Host": parts.netloc}, "")


botocore.auth.get_current_datetime = lambda remove_tzinfo=True: (
    NOW.replace(tzinfo=None) if remove_tzinfo else NOW
)
sent("ec2-post", "ec2", "describe_regions", RegionNames=["eu-west-1"])
sent(
    "ec2-post-unicode",
    "ec2",
    "create_network_interface",
    SubnetId="subnet-0123456789abcdef0",
    Description="Zürich & 東京 ~*'()",
    ClientToken="token",
)
sent("ec2-post-token", "ec2", "describe_vpcs", token="session")
sent("sts-post", "sts", "get_caller_identity")
presigned(
    "ec2-presigned",
    "ec2",
    "describe_vpcs",
    Filters=[{"Name": "tag:a b", "Values": ["c/d+e"]}],
)
presigned("sts-presigned", "sts", "get_caller_identity")
