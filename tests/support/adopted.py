"""Network namespaces that tests make, for instances to be adopted with."""

import itertools
import json
import os
import subprocess

from support.guest import Agent
from support.until import until

IMAGE = "ami-0e51d5a4db0c00002"

_numbers = itertools.count()


class Namespace:
    """A namespace with a name, as somebody else than Enid makes one."""

    def __init__(self):
        self.name = f"adopt-{os.getpid()}-{next(_numbers)}"
        self._agents = []
        self._ip("netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self):
        return f"/run/netns/{self.name}"

    def agent(self):
        """A program in it that sends and receives packets."""
        agent = Agent(["ip", "netns", "exec", self.name])
        self._agents.append(agent)
        return agent

    def run(self, *words, **options):
        options = {"capture_output": True, "text": True, "check": True} | options
        return subprocess.run(["ip", "netns", "exec", self.name, *words], **options)

    def links(self):
        """Its links by name, without the loopback."""
        listed = json.loads(self.run("ip", "-j", "addr").stdout)
        return {link["ifname"]: link for link in listed if link["ifname"] != "lo"}

    def rules(self):
        """The rules that are not the kernel's own."""
        lines = self.run("ip", "rule").stdout.splitlines()
        return [line for line in lines if line.split(":")[0] not in ("0", "32766", "32767")]

    def forget_agents(self):
        for agent in self._agents:
            agent.close()
        self._agents.clear()

    def delete(self):
        """Ends it, if it has not ended yet. The kernel takes its links down in its own time."""
        self.forget_agents()
        if os.path.exists(self.path):
            self._ip("netns", "delete", self.name)
            until(lambda: not os.path.exists(self.path), "the namespace has no name")

    def _ip(self, *words):
        subprocess.run(["ip", *words], check=True, capture_output=True)
