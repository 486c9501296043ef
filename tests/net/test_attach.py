"""Interfaces that come and go while an instance runs."""

from support.lab import ANYWHERE
from support.rules import everything, tcp
from support.until import until


def network(lab):
    vpc, subnet = lab.network()
    return vpc, subnet, lab.group(vpc, "open", [everything(ANYWHERE)])


def attach(lab, eni, instance, index=1, card=0):
    answer = lab.ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance.id,
                                              DeviceIndex=index, NetworkCardIndex=card)
    return answer["AttachmentId"]


def test_hot_attached_interface_works_at_once(lab):
    # Fails if attach is answered before the device is up with its addresses and routes.
    vpc, subnet, group = network(lab)
    second_subnet = lab.subnet(vpc, "10.0.1.0/24")
    server, client = lab.launch(subnet, group, count=2)
    server.agent.serve_tcp(port=80)
    eni = lab.interface(second_subnet, group)
    assert client.agent.connect(address=eni["PrivateIpAddress"], port=80) != "open"
    attach(lab, eni["NetworkInterfaceId"], server)
    assert client.agent.connect(address=eni["PrivateIpAddress"], port=80) == "open"
    assert server.agent.devices() == ["eth0", "eth1", "lo"]
    assert server.agent.mac(device="eth1") == eni["MacAddress"]
    # Answers of each address leave by its own interface: policy routing.
    assert client.agent.connect(address=server.ip, port=80) == "open"
    assert server.agent.ping(address=client.ip, source=eni["PrivateIpAddress"]) == "open"


def test_each_network_card_has_devices_of_its_own(lab):
    # Fails if devices of one index on two cards have one name, or one table.
    vpc, subnet, group = network(lab)
    [server] = lab.launch(subnet, group, InstanceType="c6in.32xlarge")
    [client] = lab.launch(subnet, group)
    places = {"eth1": (0, 1), "eth257": (1, 1), "eth99": (0, 99)}
    for number, (name, (card, index)) in enumerate(places.items(), start=1):
        own = lab.subnet(vpc, f"10.0.{number}.0/24")
        eni = lab.interface(own, group)
        attach(lab, eni["NetworkInterfaceId"], server, index, card)
        assert server.agent.mac(device=name) == eni["MacAddress"]
        address = eni["PrivateIpAddress"]
        assert client.agent.ping(address=address) == "open"
        assert server.agent.ping(address=client.ip, source=address) == "open"
    assert server.agent.devices() == sorted(["eth0", "lo", *places])
    server.forget_agent()
    lab.ec2.stop_instances(InstanceIds=[server.id])
    lab.ec2.start_instances(InstanceIds=[server.id])
    until(lambda: server.describe()["State"]["Name"] == "running", "it runs again")
    assert server.agent.devices() == sorted(["eth0", "lo", *places])


def test_each_interface_has_gates_of_its_own(lab):
    # Fails if policy belongs to the instance instead of the interface.
    vpc, subnet, group = network(lab)
    server, client = lab.launch(subnet, group, count=2)
    server.agent.serve_tcp(port=80)
    server.agent.serve_tcp(port=81)
    eni = lab.interface(subnet, lab.group(vpc, "narrow", [tcp(ANYWHERE, 81)]))
    attach(lab, eni["NetworkInterfaceId"], server)
    assert client.agent.connect(address=eni["PrivateIpAddress"], port=81) == "open"
    assert client.agent.connect(address=eni["PrivateIpAddress"], port=80) == "timeout"
    assert client.agent.connect(address=server.ip, port=80) == "open"


def test_detached_interface_is_gone_at_once(lab):
    # Fails if the address stays an endpoint after the detach.
    vpc, subnet, group = network(lab)
    server, client, heir = lab.launch(subnet, group, count=3)
    for instance in (server, heir):
        instance.agent.serve_tcp(port=80)
    eni = lab.interface(subnet, group)
    attachment = attach(lab, eni["NetworkInterfaceId"], server)
    address = eni["PrivateIpAddress"]
    assert client.agent.connect(address=address, port=80, name="old") == "open"
    lab.ec2.detach_network_interface(AttachmentId=attachment)
    assert server.agent.devices() == ["eth0", "lo"]
    assert client.agent.connect(address=address, port=80, timeout=0.2) != "open"
    # It moves on with its address and MAC.
    attach(lab, eni["NetworkInterfaceId"], heir, index=3)
    assert client.agent.connect(address=address, port=80) == "open"
    assert heir.agent.devices() == ["eth0", "eth3", "lo"]
    assert heir.agent.mac(device="eth3") == eni["MacAddress"]


def test_interfaces_given_at_launch(lab):
    # Fails if only the first interface of a launch gets a device.
    vpc, subnet, group = network(lab)
    other = lab.subnet(vpc, "10.0.1.0/24")
    existing = lab.interface(other, group)
    [server] = lab.launch(None, NetworkInterfaces=[
        {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group],
         "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.100", "Primary": True},
                                {"PrivateIpAddress": "10.0.0.101", "Primary": False}]},
        {"DeviceIndex": 1, "NetworkInterfaceId": existing["NetworkInterfaceId"]}])
    client = lab.instance(subnet, group)
    server.agent.serve_tcp(port=80)
    for address in ("10.0.0.100", "10.0.0.101", existing["PrivateIpAddress"]):
        assert client.agent.connect(address=address, port=80) == "open"
    assert client.agent.connect(address="10.0.0.102", port=80) != "open"
