"""Calls of EC2 without an SDK, which would be most of the time spent where there are thousands."""

import http.client
import re
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

FORM = "application/x-www-form-urlencoded; charset=utf-8"


class Unknown(Exception):
    """The daemon died before it answered: the call may have been carried out."""


class Refused(Exception):
    """An answer that says no."""


class Wire:
    """Signed calls over one connection."""

    def __init__(self, daemon, region="us-east-1", keys=None):
        self.port = daemon.port
        exports = daemon.environment() | (keys or {})
        credentials = botocore.credentials.Credentials(exports["AWS_ACCESS_KEY_ID"],
                                                       exports["AWS_SECRET_ACCESS_KEY"])
        self.signer = botocore.auth.SigV4Auth(credentials, "ec2", region)
        self.connection = None

    def call(self, action, **parameters):
        """The text of the answer."""
        form = {"Action": action, "Version": "2016-11-15"}
        form |= {name.replace("_", "."): value for name, value in parameters.items()}
        body = urllib.parse.urlencode(form)
        request = botocore.awsrequest.AWSRequest(
            "POST", f"http://127.0.0.1:{self.port}/", data=body, headers={"Content-Type": FORM})
        self.signer.add_auth(request)
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self.connection.request("POST", "/", body, dict(request.headers))
            answer = self.connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.connection = None
            raise Unknown(action) from error
        if answer.status == 200:
            return text
        assert answer.status < 500, f"{action} {parameters}: {text}"
        raise Refused(re.search("<Code>(.*?)</Code>", text)[1])


def ids(text, prefix):
    """Ids of a kind in an answer, each once."""
    return list(dict.fromkeys(re.findall(rf"\b{prefix}-[0-9a-f]{{17}}\b", text)))
