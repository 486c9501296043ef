"""The outside of the VPCs, as this host's own stack plays it."""

import json
import subprocess

from support.guest import Agent


class Internet:
    """Somebody on the internet: an agent in the host's own namespace."""

    def __init__(self):
        self._agent = None

    @property
    def agent(self):
        if self._agent is None:
            self._agent = Agent(["env"])
        return self._agent

    def address(self, public):
        """The address that the host has in the pool that a public address is from."""
        return self._route(public)["prefsrc"]

    def forwards(self, public):
        """The counters of packets that the host's kernel has forwarded for an address, if any."""
        device = self._route(public)["dev"]
        answer = subprocess.run(
            ["ip", "-j", "route", "get", "203.0.113.77", "from", public, "iif", device],
            capture_output=True, text=True)
        return json.loads(answer.stdout) if answer.returncode == 0 and answer.stdout else []

    def close(self):
        if self._agent is not None:
            self._agent.close()

    def _route(self, address):
        answer = subprocess.run(["ip", "-j", "route", "get", address],
                                capture_output=True, text=True, check=True)
        return json.loads(answer.stdout)[0]
