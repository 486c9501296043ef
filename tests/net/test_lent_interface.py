"""An interface that one account lends to an instance of another: packets pass by its owner's rules.

      account 1, VPC 1, 10.0.0.0/24: one ── eth0                account 2, VPC 2, 10.1.0.0/24:
                                            eth1 (lent) ── both ── eth0 ── other
"""

import json

import pytest

from support.lab import ANYWHERE, Lab
from support.network import allow
from support.rules import everything, tcp
from support.until import until

BORROWER = "000000000088"


@pytest.fixture
def theirs(wired):
    """A laboratory of the account that borrows."""
    key = wired.json("key", "create", "--account", BORROWER)
    lab = Lab(wired, wired.client(keys={"AWS_ACCESS_KEY_ID": key["access_key_id"],
                                        "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}))
    yield lab
    lab.close()


@pytest.fixture
def place(lab, theirs):
    vpc, near = lab.network()
    own, far = theirs.network("10.1.0.0/16")
    group = lab.group(vpc, "web", [tcp(ANYWHERE, 80)])
    one = lab.instance(near, lab.group(vpc, "open", [everything(ANYWHERE)]))
    both, other = theirs.launch(far, theirs.group(own, "open", [everything(ANYWHERE)]), count=2)
    eni = lab.interface(near, group)
    permission = lab.ec2.create_network_interface_permission(
        NetworkInterfaceId=eni["NetworkInterfaceId"], AwsAccountId=BORROWER,
        Permission="INSTANCE-ATTACH")["InterfacePermission"]["NetworkInterfacePermissionId"]
    attachment = theirs.ec2.attach_network_interface(
        NetworkInterfaceId=eni["NetworkInterfaceId"], InstanceId=both.id,
        DeviceIndex=1)["AttachmentId"]
    for port in (80, 81):
        both.agent.serve_tcp(port=port)
    return group, one, both, other, eni, permission, attachment


def test_packets_pass_by_the_owners_groups(lab, place):
    group, one, both, other, eni, _, _ = place
    lent = eni["PrivateIpAddress"]
    assert one.agent.connect(address=lent, port=80) == "open"
    assert one.agent.connect(address=lent, port=81) == "timeout"
    assert both.agent.ping(address=one.ip, source=lent) == "open"
    # The instance's own interface goes on as before, and nobody gets from one VPC into the other.
    assert other.agent.connect(address=both.ip, port=81) == "open"
    assert other.agent.connect(address=lent, port=80) == "timeout"
    assert one.agent.connect(address=both.ip, port=80) == "timeout"
    # What the owner changes holds at once.
    lab.revoke(group, tcp(ANYWHERE, 80))
    lab.authorize(group, tcp(ANYWHERE, 81))
    assert one.agent.connect(address=lent, port=80) == "timeout"
    assert one.agent.connect(address=lent, port=81) == "open"


def test_packets_pass_by_the_owners_subnet(lab, network, place):
    _, one, both, _, eni, _, _ = place
    vpc, lent = eni["VpcId"], eni["PrivateIpAddress"]
    two = lab.instance(lab.subnet(vpc, "10.0.1.0/24"),
                       lab.group(vpc, "all", [everything(ANYWHERE)]))
    assert two.agent.connect(address=lent, port=80) == "open"
    # The ACL of the interface's subnet stands between the subnets, and not within one.
    network.use_acl(network.acl(vpc, allow(100, out=True)), eni["SubnetId"])
    assert two.agent.connect(address=lent, port=80) == "timeout"
    assert one.agent.connect(address=lent, port=80) == "open"


def test_the_owners_routes_lead_to_it(lab, network, place):
    _, one, both, _, eni, _, _ = place
    network.route(network.table(eni["VpcId"], eni["SubnetId"]), "192.168.7.0/24",
                  eni["NetworkInterfaceId"])
    both.exec("ip", "address", "add", "192.168.7.1/32", "dev", "lo")
    both.exec("ip", "route", "add", one.ip, "dev", "eth1")
    assert one.agent.connect(address="192.168.7.1", port=80) == "timeout"
    # The check is the interface's, and the owner's to switch off.
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=eni["NetworkInterfaceId"],
                                               SourceDestCheck={"Value": False})
    assert one.agent.connect(address="192.168.7.1", port=80) == "open"
    assert one.agent.connect(address="192.168.7.1", port=81) == "timeout"


def test_taking_it_back(lab, theirs, place):
    _, one, both, other, eni, permission, attachment = place
    lent = eni["PrivateIpAddress"]
    # The permission goes by force, the packets go on; then the owner takes it off the instance.
    lab.ec2.delete_network_interface_permission(NetworkInterfacePermissionId=permission,
                                                Force=True)
    assert one.agent.connect(address=lent, port=80) == "open"
    theirs.ec2.stop_instances(InstanceIds=[both.id])
    both.forget_agent()
    assert one.agent.connect(address=lent, port=80) == "timeout"
    theirs.ec2.start_instances(InstanceIds=[both.id])
    both.agent.serve_tcp(port=80)
    assert one.agent.connect(address=lent, port=80) == "open"
    lab.ec2.detach_network_interface(AttachmentId=attachment)
    assert one.agent.connect(address=lent, port=80) == "timeout"
    assert other.agent.connect(address=both.ip, port=80) == "open"
    # On an instance of its owner's own it is an interface like any other.
    lab.ec2.attach_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"],
                                     InstanceId=one.id, DeviceIndex=1)
    assert "eth1" in one.exec("ip", "-br", "link").stdout


def test_the_metadata_are_those_of_the_instance(place):
    _, _, both, _, eni, _, _ = place
    script = ("import urllib.request as u;"
              "r = u.Request('http://169.254.169.254/latest/api/token', method='PUT',"
              " headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'});"
              "t = u.urlopen(r).read().decode();"
              "g = lambda p: u.urlopen(u.Request('http://169.254.169.254/latest/meta-data/' + p,"
              " headers={'X-aws-ec2-metadata-token': t})).read().decode();"
              "m = 'network/interfaces/macs/' + '{mac}';"
              "import json; print(json.dumps([g('instance-id'), g('mac'), g(m + '/owner-id'),"
              " g(m + '/device-number'), g(m + '/vpc-id'), g(m + '/local-ipv4s'),"
              " g(m + '/security-groups')]))").replace("{mac}", eni["MacAddress"])
    told = json.loads(both.exec("python3", "-c", script).stdout)
    primary = both.interface()["MacAddress"]
    assert told == [both.id, primary, "123456789012", "1", eni["VpcId"],
                    eni["PrivateIpAddress"], "web"]


def test_it_is_there_after_a_crash(lab, place):
    _, one, _, _, eni, _, _ = place
    lent = eni["PrivateIpAddress"]
    lab.daemon.kill()
    assert one.agent.connect(address=lent, port=80) == "open"
    assert one.agent.connect(address=lent, port=81) == "timeout"
    lab.daemon.start()
    until(lambda: lab.daemon.run("verify", check=False).returncode == 0,
          "kernel and store agree", within=20)
    assert one.agent.connect(address=lent, port=80) == "open"
    assert one.agent.connect(address=lent, port=81) == "timeout"
