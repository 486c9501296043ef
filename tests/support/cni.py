"""The CNI plugin, called as a runtime calls it."""

import json
import os
import subprocess
from pathlib import Path

from support.daemon import ENID

PLUGIN = str(Path(ENID).with_name("enid-cni"))


class CniError(Exception):
    """What the plugin answered instead of a result."""

    def __init__(self, answer):
        super().__init__(answer["msg"])
        self.code = answer["code"]
        self.answer = answer


class Cni:
    """One network of a daemon."""

    def __init__(self, daemon, subnet, groups=(), version="1.1.0", name="net", **more):
        self.daemon = daemon
        self.config = {"cniVersion": version, "name": name, "type": "enid-cni",
                       "data": str(daemon.data), "subnet": subnet,
                       "securityGroups": list(groups)} | more

    def call(self, command, container=None, netns=None, ifname="eth0", args=None, **more):
        """Calls the plugin; returns its answer, or None where it has none to give."""
        variables = {"CNI_COMMAND": command, "CNI_PATH": os.path.dirname(PLUGIN)}
        if container is not None:
            variables |= {"CNI_CONTAINERID": container, "CNI_IFNAME": ifname}
        if netns is not None:
            variables["CNI_NETNS"] = netns
        if args is not None:
            variables["CNI_ARGS"] = args
        config = {key: value for key, value in (self.config | more).items() if value is not None}
        done = subprocess.run([PLUGIN], input=json.dumps(config), env=variables,
                              capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        answer = json.loads(done.stdout) if done.stdout else None
        if done.returncode != 0:
            raise CniError(answer)
        return answer
