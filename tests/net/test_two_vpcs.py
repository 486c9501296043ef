"""An instance with interfaces in two VPCs: in each it is what that VPC makes of it.

        VPC 1, 10.0.0.0/24: one ── eth0 both eth1 ── other :10.1.0.0/24, VPC 2
"""

import pytest

from support.lab import ANYWHERE
from support.rules import everything, tcp


@pytest.fixture
def place(lab):
    (first, near), (second, far) = lab.network(), lab.network("10.1.0.0/16")
    groups = [lab.group(vpc, "open", [everything(ANYWHERE)]) for vpc in (first, second)]
    one, both = lab.launch(near, groups[0], count=2)
    other = lab.instance(far, groups[1])
    eni = lab.interface(far, groups[1])
    lab.ec2.attach_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"],
                                     InstanceId=both.id, DeviceIndex=1)
    both.agent.serve_tcp(port=80)
    return (first, second), groups, one, both, other, eni


def test_each_interface_is_of_its_own_vpc(lab, place):
    (first, second), groups, one, both, other, eni = place
    assert one.agent.connect(address=both.ip, port=80) == "open"
    assert other.agent.connect(address=eni["PrivateIpAddress"], port=80) == "open"
    assert both.agent.ping(address=other.ip, source=eni["PrivateIpAddress"]) == "open"
    described = both.describe()
    assert described["VpcId"] == first
    assert {shown["VpcId"] for shown in described["NetworkInterfaces"]} == {first, second}
    # Rules of the second VPC's group are for its interface alone.
    lab.revoke(groups[1], everything(ANYWHERE))
    lab.authorize(groups[1], tcp(groups[1], 81))
    assert other.agent.connect(address=eni["PrivateIpAddress"], port=80) == "timeout"
    assert one.agent.connect(address=both.ip, port=80) == "open"
    both.agent.serve_tcp(port=81)
    # The other instance is a member of the group, by an interface of the same VPC.
    assert other.agent.connect(address=eni["PrivateIpAddress"], port=81) == "open"


def test_the_two_vpcs_stay_apart(lab, place):
    _, _, one, both, other, eni = place
    # Who has an interface in both is a way for nobody else, and its own addresses do not mix.
    assert one.agent.connect(address=eni["PrivateIpAddress"], port=80) == "timeout"
    assert other.agent.connect(address=both.ip, port=80) == "timeout"
    assert both.agent.ping(address=one.ip, source=eni["PrivateIpAddress"]) != "open"
    reasons = {flow["reason"] for flow in lab.daemon.json("flows")
               if flow["verdict"] == "drop" and flow["source_eni"] in (one.eni, other.eni)}
    assert reasons == {"no-route"}
    # Until it forwards, as a router with a foot in each: then its own routes and checks count.
    both.exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    one.exec("ip", "route", "add", "10.1.0.0/16", "via", both.ip)
    other.exec("ip", "route", "add", "10.0.0.0/16", "via", eni["PrivateIpAddress"])
    other.agent.serve_tcp(port=90)
    assert one.agent.connect(address=other.ip, port=90) == "timeout"
    for interface in (both.eni, eni["NetworkInterfaceId"]):
        lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface,
                                                   SourceDestCheck={"Value": False})
    assert one.agent.connect(address=other.ip, port=90) == "open"


def test_interfaces_of_two_vpcs_at_launch(lab):
    (first, near), (second, far) = lab.network(), lab.network("10.1.0.0/16")
    groups = [lab.group(vpc, "open", [everything(ANYWHERE)]) for vpc in (first, second)]
    [both] = lab.launch(None, NetworkInterfaces=[
        {"DeviceIndex": 0, "SubnetId": near, "Groups": [groups[0]]},
        {"DeviceIndex": 1, "SubnetId": far, "Groups": [groups[1]]}])
    other = lab.instance(far, groups[1])
    both.agent.serve_tcp(port=80)
    [own] = [shown for shown in both.describe()["NetworkInterfaces"] if shown["VpcId"] == second]
    assert both.describe()["VpcId"] == first
    assert other.agent.connect(address=own["PrivateIpAddress"], port=80) == "open"
