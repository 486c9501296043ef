"""Calls of the API across deaths of the daemon."""

import threading

import botocore.exceptions

from support.until import until

# A call that the daemon's death has cut off may be in force or not: it is asked again, and these say
# that it was.
_ALREADY = {
    "InvalidPermission.Duplicate",
    "InvalidPermission.NotFound",
    "NetworkAclEntryAlreadyExists",
    "InvalidNetworkAclEntry.NotFound",
    "RouteAlreadyExists",
    "InvalidRoute.NotFound",
    "InvalidAssociationID.NotFound",
    "PrefixListVersionMismatch",
}
_CUT_OFF = (
    botocore.exceptions.ConnectionClosedError,
    botocore.exceptions.ConnectTimeoutError,
    botocore.exceptions.EndpointConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ReadTimeoutError,
)
_BACK_WITHIN_S = 60


class Caller:
    """A client that asks again until it has an answer."""

    def __init__(self, daemon, judge):
        self._daemon = daemon
        self._judge = judge
        self.ec2 = daemon.client()
        # Held by whoever kills the daemon, so that nobody mistakes the dead one for the next.
        self.dying = threading.Lock()

    def __call__(self, operation, **parameters):
        """The answer of a boto3 method; None if it says that an earlier try was in force already."""
        is_first = True
        while True:
            try:
                answer = getattr(self.ec2, operation)(**parameters)
                self._judge.count("API calls answered")
                return answer
            except _CUT_OFF:
                self._judge.count("API calls cut off")
                is_first = False
                with self.dying:
                    pass
                until(self._daemon.is_healthy, "the daemon is back", within=_BACK_WITHIN_S)
            except botocore.exceptions.ClientError as error:
                if not is_first and error.response["Error"]["Code"] in _ALREADY:
                    return None
                raise
