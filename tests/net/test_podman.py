"""Containers of a real engine, with networks of the CNI plugin.

    container ── web ─┐
                      ├─[ Enid ]── sandbox
    container ── any ─┘
"""

import pytest

from support.daemon import namespaces
from support.lab import ANYWHERE
from support.podman import Podman
from support.rules import everything, tcp
from support.until import until


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture
def podman(engine, lab):
    # Containers go before the daemon and its VPCs do.
    yield engine
    engine.close_containers()


@pytest.fixture
def networks(lab, podman):
    """Two networks in one subnet: `web` lets port 80 in, `any` everything."""
    vpc, subnet = lab.network()
    podman.network("web", lab.daemon, subnet, lab.group(vpc, "web", [tcp(ANYWHERE, 80)]))
    podman.network("any", lab.daemon, subnet, lab.group(vpc, "any", [everything(ANYWHERE)]))
    return vpc, subnet


def serve(podman, name, *ports):
    for port in ports:
        podman.run("exec", "-d", name, "httpd", "-f", "-p", str(port), "-h", "/www")
        until(lambda: fetch(podman, name, "127.0.0.1", port), "the server answers")


def fetch(podman, name, address, port):
    # A static program cannot look up names, and this one's wget tries to.
    request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} {port}"
    done = podman.exec(name, "sh", "-c", request, check=False)
    return done.stdout.splitlines()[-1] if done.stdout else None


def containers(lab):
    """The instances of containers that are not terminated."""
    filters = [{"Name": "tag-key", "Values": ["enid:cni-container"]},
               {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]}]
    pages = lab.ec2.describe_instances(Filters=filters)["Reservations"]
    return [instance for page in pages for instance in page["Instances"]]


def test_containers_obey_security_groups(lab, podman, networks):
    # Fails if a container's packets pass by the engine's own ways, or a rule reaches it late.
    vpc, subnet = networks
    sandbox = lab.instance(subnet, lab.group(vpc, "sandbox", [everything(ANYWHERE)]))
    web, client = podman.start("web", "web"), podman.start("client", "any")
    serve(podman, "web", 80, 81)
    assert fetch(podman, "client", web, 80) == "hello"
    assert fetch(podman, "client", web, 81) is None
    assert podman.exec("client", "ping", "-c1", "-W1", web, check=False).returncode != 0
    assert podman.exec("web", "ping", "-c1", "-W1", client).returncode == 0
    assert sandbox.agent.connect(address=web, port=81) == "timeout"
    # What the API answers is in force for a container as for any instance.
    described = containers(lab)
    assert {instance["PrivateIpAddress"] for instance in described} == {web, client}
    [group] = [instance["SecurityGroups"][0]["GroupId"] for instance in described
               if instance["PrivateIpAddress"] == web]
    lab.authorize(group, tcp(ANYWHERE, 81))
    assert fetch(podman, "client", web, 81) == "hello"
    assert lab.daemon.json("verify")["agree"]


def test_a_container_leaves_nothing(lab, podman, networks):
    # Fails if an instance, a device or a namespace outlives its container.
    before, devices = namespaces(), set(lab.daemon.devices())
    address = podman.start("web", "web", "--ip", "10.0.0.77")
    assert address == "10.0.0.77"
    assert len(containers(lab)) == 1
    assert len(set(lab.daemon.devices()) - devices) == 1
    podman.run("rm", "--force", "--time", "0", "web")
    assert containers(lab) == []
    assert set(lab.daemon.devices()) == devices
    until(lambda: namespaces() == before, "the engine has removed its namespace")


def test_a_container_comes_back(lab, podman, networks):
    # Fails if a container that was stopped is not an instance again.
    first = podman.start("web", "web")
    podman.run("stop", "--time", "0", "web")
    assert containers(lab) == []
    podman.run("start", "web")
    second = podman.address("web")
    client = podman.start("client", "any")
    serve(podman, "web", 80, 81)
    assert [it["PrivateIpAddress"] for it in containers(lab) if it["PrivateIpAddress"] != client] \
        == [second]
    assert fetch(podman, "client", second, 80) == "hello"
    assert fetch(podman, "client", second, 81) is None
    assert first == second or fetch(podman, "client", first, 80) is None


def test_what_the_plugin_refuses_the_engine_says(lab, podman, networks):
    # Fails if a wish is ignored: a container without what it asked for.
    done = podman.run("run", "--rm", "--network", "web", "--ip", "10.9.9.9", "localhost/busybox:test",
                      "sleep", "1", check=False)
    assert done.returncode != 0
    assert "10.9.9.9" in done.stderr
    assert containers(lab) == []
