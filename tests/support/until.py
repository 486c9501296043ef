"""Waiting for conditions, never for time."""

import os
import time

_PAUSE_S = 0.005
# How much more patience tests need than on an ordinary host: emulated machines do.
SLOWNESS = float(os.environ.get("ENID_SLOWNESS") or 1)


def until(condition, what, within=5.0):
    """Asks until `condition()` is truthy and returns that answer.

    Only for what no API answer vouches for, such as a program's first line of output: a change
    that the API has answered is in force, and a test that waits for it would hide that it is not.
    """
    end = time.monotonic() + within * SLOWNESS
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(_PAUSE_S)
