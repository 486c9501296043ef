"""`enid verify` finds what somebody else changed in the kernel, and a restart repairs it."""

import os
import signal
import subprocess

import pytest

from support.lab import ANYWHERE, Lab
from support.rules import everything
from support.until import until

pytestmark = pytest.mark.real_packets


@pytest.fixture
def bench(start_daemon):
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    server, client = lab.launch(subnet, group, count=2)
    assert client.agent.ping(address=server.ip) == "open"
    return daemon, lab, server, client


def device_of(daemon, instance):
    return f"eni{instance.eni.removeprefix('eni-')[:12]}"


def differs(daemon):
    """What verify says when store and kernel disagree."""
    done = daemon.run("--json", "verify", check=False)
    assert done.returncode == 1, done.stdout
    assert '"agree":false' in done.stdout.replace(" ", "")
    words = daemon.run("verify", check=False)
    assert words.returncode == 1
    return words.stdout


def test_agreement_is_told(bench):
    daemon, _, _, _ = bench
    assert daemon.json("verify") | {"entries": 0} == {
        "agree": True, "differences": [], "devices": 2, "entries": 0}
    assert daemon.run("verify").returncode == 0


@pytest.mark.parametrize("deed", ["deleted", "down"])
def test_a_device_that_somebody_took_away(bench, deed):
    # Fails if verify looks at tables only, or a restart adopts without looking.
    daemon, _, server, client = bench
    device = device_of(daemon, server)
    assert device in daemon.devices()
    change = {"deleted": ["delete", device], "down": ["set", device, "down"]}[deed]
    subprocess.run(["ip", "link", *change], check=True)
    assert client.agent.ping(address=server.ip, timeout=0.2) != "open"
    assert server.eni in differs(daemon)
    daemon.stop()
    daemon.start()
    assert daemon.json("verify")["agree"]
    assert client.agent.ping(address=server.ip) == "open"


def test_a_program_that_somebody_detached(bench):
    # Fails if what ties the programs to devices is not part of the comparison.
    daemon, _, server, client = bench
    device = device_of(daemon, server)
    pins = [path for pin in daemon.pins() for path in _files(pin) if device in path
            or server.eni.removeprefix("eni-") in path]
    for pin in pins:
        subprocess.run(["rm", pin], check=True)
    if not pins:
        # No link but filters, on a kernel without tcx.
        subprocess.run(["tc", "qdisc", "delete", "dev", device, "clsact"], check=True)
    differs(daemon)
    # Closed, not open: without its program an instance reaches nobody.
    assert server.agent.ping(address=client.ip, timeout=0.2) != "open"
    daemon.kill()
    daemon.start()
    assert daemon.json("verify")["agree"]
    assert server.agent.ping(address=client.ip) == "open"


def test_a_sandbox_that_died_unseen(bench):
    # Fails if an instance whose process ended while the daemon was down is only said to run, or is
    # started again as if its host had been.
    daemon, lab, server, client = bench
    daemon.kill()
    [line] = [line for line in daemon.processes() if server.id in line and "exec" not in line]
    os.kill(int(line.split(":")[0]), signal.SIGKILL)
    server.forget_agent()
    assert server.exec("true", check=False).returncode != 0
    daemon.start()
    assert until(lambda: server.describe()["State"]["Name"] == "stopped", "its end is seen")
    assert server.describe()["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert daemon.json("verify")["agree"]
    lab.ec2.start_instances(InstanceIds=[server.id])
    assert client.agent.ping_until(address=server.ip) is not None
    assert server.exec("true").returncode == 0
    assert daemon.json("verify")["agree"]


def _files(directory):
    return [os.path.join(where, name) for where, _, names in os.walk(directory) for name in names]
