"""What an instance can still do while it is being stopped or rebooted."""

import contextlib
import socket
import threading

from support.lab import ANYWHERE
from support.rules import everything
from support.until import until

# A process that does not end when it is told to keeps its instance ending for some seconds. It runs
# as a service would: out of reach of the command that started it.
STUBBORN = """
import os, signal, socket, sys, time
if os.fork():
    sys.exit()
os.setsid()
words = [b"at work"]
signal.signal(signal.SIGTERM, lambda *_: words.append(b"told to end"))
for stream in 0, 1, 2:
    os.dup2(os.open("/dev/null", os.O_RDWR), stream)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
open("/root/ready", "w").close()
while True:
    for address in sys.argv[2:]:
        try:
            sender.sendto(words[-1], (address, int(sys.argv[1])))
        except OSError:
            pass
    time.sleep(0.005)
"""


def be_stubborn(instance, port, *addresses):
    instance.exec("python3", "-c", STUBBORN, str(port), *addresses)
    until(lambda: instance.exec("test", "-e", "/root/ready", check=False).returncode == 0,
          "it has begun")


def open_network(lab):
    vpc, subnet = lab.network()
    return subnet, lab.group(vpc, "open", [everything(ANYWHERE)])


def host_address():
    """An address of the host's own; where it would send from, nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def test_an_instance_that_will_not_stop_never_reaches_the_host(lab):
    # Fails if a device that is still switched on loses its programs: its packets would be the
    # host's own, and go wherever the host sends them.
    subnet, group = open_network(lab)
    server, peer = lab.launch(subnet, group, count=2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("0.0.0.0", 0))
        listener.setblocking(False)
        port = listener.getsockname()[1]
        peer.agent.serve_udp(port=port, echo=False)
        be_stubborn(server, port, host_address(), peer.ip)
        until(lambda: peer.agent.received(port=port), "its packets go to its peers")
        lab.ec2.stop_instances(InstanceIds=[server.id])
        # Not to its peers either, from the answer on, though its processes may still run.
        heard = len(peer.agent.received(port=port))
        lab.ec2.get_waiter("instance_stopped").wait(InstanceIds=[server.id])
        assert len(peer.agent.received(port=port)) == heard
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"the host heard {listener.recv(100)}")


def test_an_interface_that_moves_during_a_reboot(lab):
    # Fails if the device stays with the instance that is busy, or the other one gets none.
    subnet, group = open_network(lab)
    one, other, client = lab.launch(subnet, group, count=3)
    eni = lab.interface(subnet, group)
    name, address = eni["NetworkInterfaceId"], eni["PrivateIpAddress"]
    attached = lab.ec2.attach_network_interface(NetworkInterfaceId=name, InstanceId=one.id,
                                                DeviceIndex=1)
    assert client.agent.ping(address=address) == "open"
    client.agent.serve_udp(port=9, echo=False)
    be_stubborn(one, 9, client.ip)
    # The call is answered when the instance runs again.
    rebooting = threading.Thread(target=lambda: lab.ec2.reboot_instances(InstanceIds=[one.id]))
    rebooting.start()
    until(lambda: client.agent.received(port=9)[-1]["text"] == "told to end", "the reboot begins")
    lab.ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
    lab.ec2.attach_network_interface(NetworkInterfaceId=name, InstanceId=other.id, DeviceIndex=1)
    assert rebooting.is_alive(), "the interface moved while the instance was busy"
    rebooting.join(30)
    assert other.agent.devices() == ["eth0", "eth1", "lo"]
    assert other.agent.mac(device="eth1") == eni["MacAddress"]
    assert client.agent.ping_until(address=address) is not None
    until(lambda: one.exec("true", check=False).returncode == 0, "it runs again")
    assert one.agent.devices() == ["eth0", "lo"]
    assert lab.daemon.json("verify")["agree"]
