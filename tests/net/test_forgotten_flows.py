"""Flows do not outlive what they are of."""

import contextlib
import threading

import botocore.exceptions

from support.lab import IMAGE, Lab
from support.rules import icmp, tcp
from support.until import until


def pair(lab):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", [tcp("10.0.0.0/16", 80), icmp("10.0.0.0/16")])
    server, client = lab.launch(subnet, group, count=2)
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80, name="kept") == "open"
    return server, client



def flows_of(daemon, instance):
    return [flow for flow in daemon.json("flows") if flow["verdict"] == "forward"
            and instance.eni in (flow["source_eni"], flow["destination_eni"])]


def test_flows_of_an_instance_that_is_gone(lab):
    # Fails if only timeouts remove flows: those of a connection that nobody closed are five days.
    server, client = pair(lab)
    other, _ = pair(lab)
    assert flows_of(lab.daemon, server) and flows_of(lab.daemon, client)
    server.forget_agent()
    lab.ec2.terminate_instances(InstanceIds=[server.id])
    # A sweep reads a part of the table; those of both ends go, and those of others stay.
    until(lambda: not flows_of(lab.daemon, server) + flows_of(lab.daemon, client),
          "its flows are gone", within=60)
    assert flows_of(lab.daemon, other)


def test_a_reset_forgets_flows_and_counters(start_daemon):
    # Fails if what a reset leaves in the kernel's tables is the next test's.
    daemon = start_daemon("ebpf", ephemeral=True)
    server, client = pair(Lab(daemon))
    assert client.agent.connect(address=server.ip, port=81, timeout=0.1) == "timeout"
    assert daemon.json("flows") != []
    for instance in (server, client):
        instance.forget_agent()
    assert daemon.get("/_enid/reset", "POST")[0] == 200
    assert daemon.json("flows") == []


def test_a_reset_waits_for_nothing_that_came_after(start_daemon):
    # Fails if a reset is answered only when other clients have stopped launching.
    daemon = start_daemon("ebpf", ephemeral=True)
    lab, other = Lab(daemon), Lab(daemon)
    launched, is_over = [], threading.Event()

    def launch():
        while not is_over.is_set():
            # A reset takes what the next call would need.
            with contextlib.suppress(botocore.exceptions.ClientError):
                _, subnet = other.network()
                made = other.ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1,
                                               SubnetId=subnet)
                launched.append(made["Instances"][0]["InstanceId"])

    thread = threading.Thread(target=launch)
    thread.start()
    try:
        for _ in range(3):
            before = len(launched)
            until(lambda known=before: len(launched) > known, "another instance", within=20)
            assert daemon.get("/_enid/reset", "POST")[0] == 200
            shown = lab.ec2.describe_instances()["Reservations"]
            assert launched[before] not in {made["InstanceId"] for reservation in shown
                                            for made in reservation["Instances"]}
    finally:
        is_over.set()
        thread.join()
    assert daemon.get("/_enid/reset", "POST")[0] == 200
    assert daemon.devices() == []
