"""What every request meets before its operation: signatures, forms, and refusals by name."""

import datetime
import http.client
import xml.etree.ElementTree

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest

from support.errors import refused

FORM = "application/x-www-form-urlencoded; charset=utf-8"


def send(daemon, body, service="ec2", region="us-east-1", when=None, tamper=None, method="POST"):
    """A signed request with any body, as no SDK would send it: status, headers, text."""
    exports = daemon.environment()
    credentials = botocore.credentials.Credentials(exports["AWS_ACCESS_KEY_ID"],
                                                   exports["AWS_SECRET_ACCESS_KEY"])
    request = botocore.awsrequest.AWSRequest(method, daemon.url + "/", data=body,
                                             headers={"Content-Type": FORM})
    signer = botocore.auth.SigV4Auth(credentials, service, region)
    if when is None:
        signer.add_auth(request)
    else:
        request.context["timestamp"] = when.strftime("%Y%m%dT%H%M%SZ")
        real = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda *_, **__: when
        try:
            signer.add_auth(request)
        finally:
            botocore.auth.get_current_datetime = real
    headers = dict(request.headers)
    if tamper:
        body = tamper(headers, body)
    return daemon.get("/", method, body.encode() if body else None, headers)


def error_of(text):
    """Code and words of an EC2 error."""
    tree = xml.etree.ElementTree.fromstring(text)
    assert tree.tag == "Response" and tree.findtext("RequestID")
    return tree.findtext("Errors/Error/Code"), tree.findtext("Errors/Error/Message")


def test_good_request_has_the_right_form(daemon):
    status, headers, text = send(daemon, "Action=DescribeVpcs&Version=2016-11-15")
    assert status == 200
    assert headers["Content-Type"] == "text/xml;charset=UTF-8"
    assert headers["x-enid-datapath"] == "none", "a daemon that enforces nothing says so"
    tree = xml.etree.ElementTree.fromstring(text)
    space = "{http://ec2.amazonaws.com/doc/2016-11-15/}"
    assert tree.tag == space + "DescribeVpcsResponse"
    assert tree[0].tag == space + "requestId"
    assert tree[0].text == headers["x-amzn-RequestId"]
    assert tree.find(space + "vpcSet") is not None


def test_get_carries_the_same(daemon):
    import urllib.parse

    credentials = botocore.credentials.Credentials(
        daemon.environment()["AWS_ACCESS_KEY_ID"], daemon.environment()["AWS_SECRET_ACCESS_KEY"])
    query = urllib.parse.urlencode({"Action": "DescribeVpcs", "Version": "2016-11-15"})
    request = botocore.awsrequest.AWSRequest("GET", f"{daemon.url}/?{query}")
    botocore.auth.SigV4QueryAuth(credentials, "ec2", "us-east-1", expires=60).add_auth(request)
    path = request.prepare().url.removeprefix(daemon.url)
    assert daemon.get(path)[0] == 200
    status, _, text = daemon.get(path.replace("DescribeVpcs", "DescribeSubnets"))
    assert (status, error_of(text)[0]) == (401, "AuthFailure")


def test_caller_identity(daemon):
    identity = daemon.client("sts").get_caller_identity()
    assert identity["Account"] == "123456789012"
    assert identity["Arn"] == "arn:aws:iam::123456789012:root"


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_key_and_wrong_secret(daemon, wrong):
    keys = {wrong: "AKIAWRONGWRONGWRONGW"}
    words = "AWS was not able to validate the provided access credentials"
    with refused("AuthFailure", words, 401):
        daemon.client(keys=keys).describe_vpcs()
    code = {"AWS_ACCESS_KEY_ID": "InvalidClientTokenId",
            "AWS_SECRET_ACCESS_KEY": "SignatureDoesNotMatch"}[wrong]
    with refused(code, status=403):
        daemon.client("sts", keys=keys).get_caller_identity()


def test_session_token_that_was_never_given(daemon):
    client = daemon.client()
    client._request_signer._credentials = botocore.credentials.Credentials(
        daemon.environment()["AWS_ACCESS_KEY_ID"],
        daemon.environment()["AWS_SECRET_ACCESS_KEY"], "token")
    with refused("AuthFailure", status=401):
        client.describe_vpcs()


def test_changed_after_signing(daemon):
    def other_body(_headers, body):
        return body.replace("DescribeVpcs", "DescribeTags")

    status, _, text = send(daemon, "Action=DescribeVpcs&Version=2016-11-15", tamper=other_body)
    assert (status, error_of(text)[0]) == (401, "AuthFailure")


@pytest.mark.parametrize("minutes", [-20, 20])
def test_stamp_out_of_time(daemon, minutes):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    body = "Action=DescribeVpcs&Version=2016-11-15"
    status, _, text = send(daemon, body, when=now + datetime.timedelta(minutes=minutes))
    assert (status, error_of(text)[0]) == (400, "RequestExpired")
    assert send(daemon, body, when=now + datetime.timedelta(minutes=minutes / 10))[0] == 200


def test_no_signature(daemon):
    status, _, text = daemon.get("/", "POST", b"Action=DescribeVpcs&Version=2016-11-15",
                                 {"Content-Type": FORM})
    assert status in (401, 403)
    assert error_of(text)[0] in ("MissingAuthenticationToken", "AuthFailure")
    status, _, text = daemon.get("/", "POST", b"Action=DescribeVpcs&Version=2016-11-15",
                                 {"Content-Type": FORM, "Authorization": "AWS4-HMAC-SHA256 x"})
    assert (status, error_of(text)[0]) == (400, "IncompleteSignature")


@pytest.mark.parametrize(("body", "code", "words"), [
    ("Action=Nonsense&Version=2016-11-15", "InvalidAction",
     "The action Nonsense is not valid for this web service."),
    ("Action=CreateTransitGateway&Version=2016-11-15", "UnsupportedOperation",
     "CreateTransitGateway"),
    ("Action=DescribeVpcs&Version=2016-11-15&Colour=red", "UnknownParameter",
     "The parameter Colour is not recognized"),
    ("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0/16&Ipv6IpamPoolId=p", "UnsupportedOperation",
     "Ipv6IpamPoolId"),
    ("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0/16&InstanceTenancy=dedicated",
     "UnsupportedOperation", "InstanceTenancy"),
    ("Action=DeleteVpc&Version=2016-11-15", "MissingParameter",
     "The request must contain the parameter vpcId"),
    ("Action=DescribeVpcs&Version=2016-11-15&MaxResults=many", "InvalidParameterValue", "many"),
    ("Action=DescribeVpcs&Version=2016-11-15&DryRun=perhaps", "InvalidParameterValue", "perhaps"),
    ("Action=DescribeVpcs&Version=2016-11-15&Filter.x.Name=a", "UnknownParameter", "Filter.x"),
    ("Version=2016-11-15", "MissingAction", ""),
    ("Action=DescribeVpcs&Version=1999-01-01", "NoSuchVersion", "1999-01-01"),
    ("Action=DescribeVpcs&Version=2016-11-15&VpcId.1=%ff%fe", "MalformedQueryString",
     ""),
    ("%%%&=&&==&Action", "MissingAction", ""),
])
def test_refused_by_name(daemon, body, code, words):
    # Fails if anything is accepted that nothing will act upon: promise 1.
    status, _, text = send(daemon, body)
    seen, message = error_of(text)
    assert status == 400
    assert words in message, message
    if code in ("MissingAction", "NoSuchVersion"):
        # AWS does not document what EC2 itself says here; any client error in the right form.
        return
    assert seen == code, message


def test_too_large_a_body(daemon):
    status, _, text = send(daemon, "Action=DescribeVpcs&Version=2016-11-15&Pad=" + "x" * (2 << 20))
    assert status in (400, 413), text
    assert send(daemon, "Action=DescribeVpcs&Version=2016-11-15")[0] == 200


@pytest.mark.parametrize("raw", [
    b"nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
])
def test_malformed_http(daemon, raw):
    # Fails if bytes from outside end the daemon or go unanswered.
    import socket

    with socket.create_connection(("127.0.0.1", daemon.port), timeout=5) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert not answer or b"HTTP/1.1 4" in answer[:20]
    assert daemon.is_healthy()


def test_health(daemon):
    status, headers, _ = daemon.get("/_enid/health")
    assert status == 200 and headers["x-enid-datapath"] == "none"
    assert daemon.get("/_enid/nothing")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=5)
    for _ in range(3):  # One connection for many requests.
        connection.request("GET", "/_enid/health")
        assert connection.getresponse().read() is not None


def test_regions_are_apart_and_alike(daemon):
    # Fails if the credential's region is ignored: a region comes to life at its first use.
    frankfurt, sydney = (daemon.client(region=name) for name in ("eu-central-1", "ap-southeast-2"))
    vpc = frankfurt.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    with refused("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist"):
        sydney.describe_vpcs(VpcIds=[vpc])
    for client, name in ((frankfurt, "eu-central-1"), (sydney, "ap-southeast-2")):
        [default] = client.describe_vpcs(
            Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        assert default["CidrBlock"] == "172.31.0.0/16"
        zones = client.describe_availability_zones()["AvailabilityZones"]
        assert zones and all(zone["RegionName"] == name for zone in zones)
        subnets = client.describe_subnets(
            Filters=[{"Name": "vpc-id", "Values": [default["VpcId"]]}])["Subnets"]
        assert {subnet["AvailabilityZone"] for subnet in subnets} == {
            zone["ZoneName"] for zone in zones}
    with pytest.raises(botocore.exceptions.ClientError):
        daemon.client(region="atlantis").describe_vpcs()
    frankfurt.delete_vpc(VpcId=vpc)
