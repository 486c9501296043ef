"""Interfaces and addresses that move while packets flow, and instances that will not end."""

import socket

import pytest

from support.lab import ANYWHERE
from support.rules import everything, udp
from support.until import until

STUBBORN = """
import signal, socket
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("ready", flush=True)
while True:
    try:
        sender.sendto(b"from a stopping instance", ("{address}", {port}))
    except OSError:
        pass
"""


@pytest.fixture
def crew(lab):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    return vpc, subnet, group, lab.launch(subnet, group, count=3)


def test_a_stopping_instance_does_not_reach_the_host(lab, crew):
    # Fails if the programs leave a device that is still switched on: its packets are then the
    # host's, which is their router by its MAC.
    _, _, _, (talker, server, _) = crew
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.bind(("0.0.0.0", 0))
        host.setblocking(False)
        address, port = host_address(), host.getsockname()[1]
        server.agent.serve_udp(port=port, echo=False)
        for target in (server.ip, address):
            script = STUBBORN.format(address=target, port=port)
            talker.exec("sh", "-c", 'python3 -c "$0" > /tmp/said 2>&1 &', script)
        until(lambda: server.agent.received(port=port), "packets may leave")
        lab.ec2.stop_instances(InstanceIds=[talker.id])
        until(lambda: talker.describe()["State"]["Name"] == "stopped", "it stopped", within=10)
        with pytest.raises(BlockingIOError):
            host.recv(100)


def test_an_interface_that_moves_while_its_instance_is_busy(lab, crew):
    # Fails if the device stays in the first instance's namespace: it would speak for the other.
    _, subnet, group, (first, second, client) = crew
    eni = lab.interface(subnet, group)
    attach = {"NetworkInterfaceId": eni["NetworkInterfaceId"], "DeviceIndex": 1}
    attachment = lab.ec2.attach_network_interface(InstanceId=first.id, **attach)["AttachmentId"]
    first.exec("sh", "-c", "(trap '' TERM; sleep 100) > /dev/null 2>&1 &")
    lab.ec2.reboot_instances(InstanceIds=[first.id])
    lab.ec2.detach_network_interface(AttachmentId=attachment)
    lab.ec2.attach_network_interface(InstanceId=second.id, **attach)
    second.agent.serve_tcp(port=80)
    assert second.agent.devices() == ["eth0", "eth1", "lo"]
    assert client.agent.connect(address=eni["PrivateIpAddress"], port=80) == "open"
    until(lambda: client.agent.ping(address=first.ip) == "open", "the first runs again", within=15)
    assert first.exec("ls", "/sys/class/net").stdout.split() == ["eth0", "lo"]
    until(lambda: lab.daemon.json("verify")["agree"], "nothing is left to do")


def test_a_moved_address_takes_no_tracking_along(lab):
    # Fails if the flow stays tracked at its new interface because it was at the old one.
    vpc, subnet = lab.network()
    tracking = lab.group(vpc, "tracking", [udp("10.0.0.0/24", 7)])
    untracked = lab.group(vpc, "untracked", [udp(ANYWHERE, 7)])
    client = lab.instance(subnet, lab.group(vpc, "client"))
    first, second = lab.instance(subnet, tracking), lab.instance(subnet, untracked)
    address = "10.0.0.200"

    def move_to(server):
        lab.ec2.assign_private_ip_addresses(NetworkInterfaceId=server.eni, AllowReassignment=True,
                                            PrivateIpAddresses=[address])
        server.agent.serve_udp(port=7, address=address)

    def ask():
        return client.agent.datagram(address=address, port=7, name="flow", source_port=4000)

    move_to(first)
    assert ask() == f"5 {client.ip}"
    move_to(second)
    assert ask() == f"5 {client.ip}"
    lab.revoke(untracked, udp(ANYWHERE, 7))
    assert ask() == "timeout"


def test_flows_end_with_their_instances(lab, crew):
    # Fails if entries of interfaces that are gone stay until their idle time: five days for TCP.
    _, _, _, (server, client, other) = crew
    server.agent.serve_tcp(port=80)
    for one in (client, other):
        assert one.agent.connect(address=server.ip, port=80, name="open") == "open"
    client.forget_agent()
    lab.ec2.terminate_instances(InstanceIds=[client.id])

    def sources():
        return {flow["source_eni"] for flow in lab.daemon.json("flows")
                if flow["verdict"] == "forward"}

    until(lambda: client.eni not in sources(), "its flows are swept", within=5)
    assert other.eni in sources()


def host_address():
    """An address of this host that no instance shares."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("192.0.2.1", 9))  # Sends nothing: it only asks the routes.
            return any_socket.getsockname()[0]
        except OSError:
            return "127.0.0.1"
