"""Daemons that put the programs on devices in different ways, one after the other."""

import json
import subprocess

import pytest

from support.lab import ANYWHERE, Lab
from support.rules import tcp
from support.until import until

pytestmark = pytest.mark.real_packets


def filters(device):
    """The names of the filters on both hooks of a device."""
    names = set()
    for hook in ("ingress", "egress"):
        shown = subprocess.run(["tc", "-j", "filter", "show", "dev", device, hook],
                               check=True, capture_output=True, text=True).stdout
        options = [entry.get("options", {}) for entry in json.loads(shown or "[]")]
        names |= {name for option in options if (name := option.get("bpf_name"))}
    return names


def test_from_links_to_filters_and_back(start_daemon, monkeypatch):
    # Fails if one kind is removed before the other is there, or is left when the other is: an established
    # connection is cut, a device is without a program for a moment, or packets meet two of them.
    if "tcx links" not in subprocess.run(start_daemon("none", start=False).command("doctor"),
                                         capture_output=True, text=True).stdout:
        pytest.skip("the kernel has no tcx links")
    monkeypatch.setenv("ENID_ATTACH", "tcx")
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    vpc, subnet = lab.network()
    server, client = lab.launch(subnet, lab.group(vpc, "server", [tcp(ANYWHERE, 80)]), count=2)
    device = f"eni{server.eni.removeprefix('eni-')[:12]}"
    server.agent.serve_tcp(port=80)
    trickle = client.agent.start("trickle", name="flow", address=server.ip, port=80, pause=0.001)

    def goes_on():
        before = client.agent.progress(name="flow")
        until(lambda: client.agent.progress(name="flow") > before + 20, "messages come back")

    goes_on()
    assert filters(device) == set()
    for kind in ("tc", "tc", "tcx"):
        daemon.kill()
        goes_on()
        monkeypatch.setenv("ENID_ATTACH", kind)
        daemon.start()
        goes_on()
        assert client.agent.connect(address=server.ip, port=80) == "open"
        assert client.agent.connect(address=server.ip, port=81, timeout=0.2) == "timeout"
        assert daemon.json("verify")["agree"]
        names = {f"enid:{daemon.mark()}:{server.eni}-{end}" for end in ("egress", "guard")}
        assert filters(device) == (names if kind == "tc" else set())
    goes_on()
    client.agent.finish(name="flow")
    assert trickle.result(15) == client.agent.progress(name="flow")
    lab.close()


def test_a_filter_that_somebody_removed(start_daemon, monkeypatch):
    # Fails if filters are not part of the comparison, or a restart takes them for given.
    monkeypatch.setenv("ENID_ATTACH", "tc")
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    vpc, subnet = lab.network()
    server, client = lab.launch(subnet, lab.group(vpc, "server", [tcp(ANYWHERE, 80)]), count=2)
    device = f"eni{server.eni.removeprefix('eni-')[:12]}"
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80) == "open"
    assert daemon.json("verify")["agree"]
    subprocess.run(["tc", "qdisc", "delete", "dev", device, "clsact"], check=True)
    differs = daemon.run("--json", "verify", check=False)
    assert differs.returncode == 1 and server.eni in differs.stdout
    # Closed, not open: what comes from the instance is nobody's.
    assert server.agent.ping(address=client.ip, timeout=0.2) != "open"
    daemon.kill()
    daemon.start()
    assert daemon.json("verify")["agree"]
    assert client.agent.connect(address=server.ip, port=80) == "open"
    lab.close()
