"""Expecting AWS's errors."""

import contextlib

import botocore.exceptions
import pytest


@contextlib.contextmanager
def refused(code, message=None, status=400):
    """The call inside fails with this code, words (whole, or a part after `…`) and status."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        yield
    error = caught.value.response
    seen = error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]
    assert seen == (code, status), error["Error"]["Message"]
    assert error["ResponseMetadata"]["RequestId"]
    if message and message.startswith("…"):
        assert message[1:] in error["Error"]["Message"]
    elif message:
        assert error["Error"]["Message"] == message
