"""`enid down` removes every trace of its own daemon and nothing else; `serve` builds it again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.lab import ANYWHERE, Lab
from support.rules import everything
from support.until import until

pytestmark = pytest.mark.real_packets


@pytest.fixture
def foreign():
    """Things that look like Enid's and are not."""
    device, peer, namespace = "enifoo", "enifoo-peer", f"i-0000000000000f{os.getpid() % 999:03}"
    subprocess.run(["ip", "link", "add", device, "type", "veth", "peer", "name", peer], check=True)
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    yield device, namespace
    subprocess.run(["ip", "link", "delete", device], check=False)
    subprocess.run(["ip", "netns", "delete", namespace], check=False)


def test_down_removes_its_own_only(start_daemon, foreign):
    # Fails if clean-up goes by names instead of marks.
    device, namespace = foreign
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    server, client = lab.launch(subnet, group, count=2)
    assert client.agent.ping(address=server.ip) == "open"
    server.exec("sh", "-c", "echo kept > /root/kept")
    for instance in lab.instances:
        instance.forget_agent()
    assert len(daemon.devices()) == 2 and daemon.pins() and daemon.processes()
    assert os.path.exists(f"/run/netns/{server.id}")

    daemon.down()  # Asserts that nothing is left.
    assert os.path.exists(f"/sys/class/net/{device}")
    assert os.path.exists(f"/run/netns/{namespace}")
    assert daemon.run("down").returncode == 0, "once more is no failure"

    # Stored is stored: the same region comes back.
    daemon.start()
    for instance in (server, client):
        until(lambda: instance.describe()["State"]["Name"] == "running", "it runs again")
    assert client.agent.ping_until(address=server.ip) is not None
    assert server.exec("cat", "/root/kept").stdout == "kept\n"
    assert daemon.json("verify")["agree"]


def test_down_after_a_crash(start_daemon):
    # Fails if down needs the daemon's help.
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    lab.instance(lab.network()[1])
    daemon.kill()
    assert daemon.devices()
    daemon.down()


@pytest.mark.parametrize("is_ephemeral", [False, True])
def test_down_when_the_data_directory_is_gone(start_daemon, is_ephemeral):
    # Fails if what is in the kernel is looked for only where there is a data directory still.
    daemon = start_daemon("ebpf", ephemeral=is_ephemeral)
    lab = Lab(daemon)
    lab.instance(lab.network()[1])
    daemon.kill()
    assert daemon.devices() and daemon.gateway() and daemon.pins()
    # Its instances' root file systems are mounted below it, and go with their processes.
    for mount in reversed(daemon.mounts()):
        subprocess.run(["umount", "--lazy", mount], check=True)
    shutil.rmtree(daemon.data)
    daemon.down()


def test_down_that_is_interrupted_and_several_at_once(start_daemon):
    # Fails if who asks for the daemon is taken for it, or if one that ends meanwhile is missed.
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    lab.instance(lab.network()[1])
    interrupted = subprocess.Popen(daemon.command("down"))
    # By now it has asked the daemon to end, or is about to: either way the rest is left to others.
    until(lambda: "enid" in Path(f"/proc/{interrupted.pid}/cmdline").read_text(), "it runs")
    interrupted.kill()
    interrupted.wait()
    rivals = [subprocess.Popen(daemon.command("down"), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True) for _ in range(8)]
    said = [rival.communicate()[0] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0] * len(rivals), said
    assert daemon.process.wait(20) == 0
    daemon.down()
