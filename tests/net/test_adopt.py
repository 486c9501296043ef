"""Instances whose interfaces go into a namespace that somebody else made."""

import contextlib
import os

import pytest

from support.adopted import IMAGE, Namespace
from support.lab import ANYWHERE, Lab
from support.rules import everything, permission, tcp
from support.until import until


@pytest.fixture
def namespaces():
    """Makes namespaces, and deletes those that are left."""
    made = []

    def make():
        made.append(Namespace())
        return made[-1]

    yield make
    for namespace in made:
        namespace.delete()


def waiting(lab, *rules, **options):
    """An instance that waits for its namespace, and a sandbox beside it."""
    vpc, subnet = lab.network()
    group = lab.group(vpc, "guest", list(rules) or [everything(ANYWHERE)])
    guest = lab.instance(subnet, group, ImageId=IMAGE, **options)
    peer = lab.instance(subnet, lab.group(vpc, "peer", [everything(ANYWHERE)]))
    return guest, peer


def adopt(daemon, instance, namespace, *more):
    return daemon.json("adopt", instance.id, "--netns", namespace.path, *more)


def refused(daemon, *words):
    done = daemon.run(*words, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr


def state(lab, instance):
    described = lab.ec2.describe_instances(InstanceIds=[instance.id])
    return described["Reservations"][0]["Instances"][0]["State"]["Name"]


def test_an_adopted_namespace_is_an_instance(lab, namespaces):
    # Fails if the device comes without its policy, or without its address.
    guest, peer = waiting(lab, tcp(ANYWHERE, 80))
    namespace = namespaces()
    assert state(lab, guest) == "running"
    assert lab.daemon.json("verify")["agree"]
    told = adopt(lab.daemon, guest, namespace)
    [interface] = told["interfaces"]
    assert interface["name"] == "eth0" and interface["addresses"] == [f"{guest.ip}/24"]
    link = namespace.links()["eth0"]
    assert link["mtu"] == interface["mtu"] == 9001
    assert link["address"] == guest.interface()["MacAddress"] == interface["mac"]
    agent = namespace.agent()
    agent.serve_tcp(port=80)
    agent.serve_tcp(port=81)
    assert peer.agent.connect(address=guest.ip, port=80) == "open"
    assert peer.agent.connect(address=guest.ip, port=81) == "timeout"
    assert agent.ping(address=peer.ip) == "open"
    # A change of the rules holds for it as for any instance.
    group = guest.describe()["SecurityGroups"][0]["GroupId"]
    lab.authorize(group, tcp(ANYWHERE, 81))
    assert peer.agent.connect(address=guest.ip, port=81) == "open"
    assert lab.daemon.json("verify")["agree"]


def test_an_adopted_guest_asks_for_its_metadata(lab, namespaces):
    # Fails if link-local services are for sandboxes only.
    guest, _ = waiting(lab)
    namespace = namespaces()
    adopt(lab.daemon, guest, namespace)

    def curl(*words):
        url = f"http://169.254.169.254/latest/{words[-1]}"
        return namespace.run("curl", "-sS", "-m", "3", *words[:-1], url).stdout

    token = curl("-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", "api/token")
    of_token = ("-H", f"X-aws-ec2-metadata-token: {token}")
    assert curl(*of_token, "meta-data/instance-id") == guest.id
    assert curl(*of_token, "meta-data/local-ipv4") == guest.ip


def test_released_interfaces_leave_and_the_namespace_stays(lab, namespaces):
    # Fails if anything of Enid's is left in a namespace that is not its own.
    guest, peer = waiting(lab)
    namespace = namespaces()
    adopt(lab.daemon, guest, namespace, "--ifname", "uplink7")
    described = guest.describe()
    eni = lab.interface(described["SubnetId"], described["SecurityGroups"][0]["GroupId"],
                        SecondaryPrivateIpAddressCount=1)
    lab.ec2.attach_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"],
                                     InstanceId=guest.id, DeviceIndex=1)
    assert sorted(namespace.links()) == ["uplink7", "uplink8"]
    assert len(namespace.rules()) == 3
    agent = namespace.agent()
    agent.serve_tcp(port=80)
    assert peer.agent.connect(address=eni["PrivateIpAddress"], port=80) == "open"
    assert lab.daemon.json("release", guest.id)["released"]
    assert namespace.links() == {} and namespace.rules() == []
    assert not lab.daemon.json("release", guest.id)["released"]
    assert peer.agent.connect(address=guest.ip, port=80) != "open"
    # It waits for another one.
    other = namespaces()
    adopt(lab.daemon, guest, other)
    assert sorted(other.links()) == ["eth0", "eth1"]
    assert other.agent().ping(address=peer.ip) == "open"


def test_interfaces_and_addresses_change_while_it_is_adopted(lab, namespaces):
    # Fails if a change reaches the tables but not the namespace.
    guest, peer = waiting(lab)
    namespace = namespaces()
    adopt(lab.daemon, guest, namespace)
    agent = namespace.agent()
    lab.ec2.assign_private_ip_addresses(NetworkInterfaceId=guest.eni,
                                        PrivateIpAddresses=["10.0.0.77"])
    assert peer.agent.ping(address="10.0.0.77") == "open"
    assert agent.ping(address=peer.ip, source="10.0.0.77") == "open"
    lab.ec2.unassign_private_ip_addresses(NetworkInterfaceId=guest.eni,
                                          PrivateIpAddresses=["10.0.0.77"])
    addresses = [it["local"] for it in namespace.links()["eth0"]["addr_info"]]
    assert addresses == [guest.ip]
    described = guest.describe()
    eni = lab.interface(described["SubnetId"], described["SecurityGroups"][0]["GroupId"])
    attachment = lab.ec2.attach_network_interface(
        NetworkInterfaceId=eni["NetworkInterfaceId"], InstanceId=guest.id, DeviceIndex=1)
    assert peer.agent.ping(address=eni["PrivateIpAddress"]) == "open"
    lab.ec2.detach_network_interface(AttachmentId=attachment["AttachmentId"])
    assert list(namespace.links()) == ["eth0"]
    assert namespace.rules() == []


@pytest.mark.parametrize("end", ["stop", "terminate"])
def test_the_end_of_the_instance_is_no_end_of_the_namespace(lab, namespaces, end):
    # Fails if a foreign namespace is deleted, or a device stays in it.
    guest, _ = waiting(lab)
    namespace = namespaces()
    adopt(lab.daemon, guest, namespace)
    namespace.run("ip", "link", "add", "own0", "type", "veth", "peer", "name", "own1")
    if end == "stop":
        lab.ec2.stop_instances(InstanceIds=[guest.id])
    else:
        lab.ec2.terminate_instances(InstanceIds=[guest.id])
    assert sorted(namespace.links()) == ["own0", "own1"]
    words = refused(lab.daemon, "adopt", guest.id, "--netns", namespace.path)
    assert "is not running" in words or "there is no instance" in words
    if end == "stop":
        lab.ec2.start_instances(InstanceIds=[guest.id])
        assert "eth0" not in namespace.links()
        adopt(lab.daemon, guest, namespace)
        assert "eth0" in namespace.links()


def test_what_cannot_be_adopted_is_refused(lab, namespaces):
    # Fails if an instance is in two places, or the host's own links are touched.
    guest, peer = waiting(lab)
    first, second = namespaces(), namespaces()

    def adopting(instance, path, *more):
        return refused(lab.daemon, "adopt", instance.id, "--netns", path, *more)

    assert "is the host's own network namespace" in adopting(guest, f"/proc/{os.getpid()}/ns/net")
    assert "open network namespace" in adopting(guest, "/run/netns/none-of-that-name")
    assert "open network namespace" in adopting(guest, "/etc/passwd")
    assert "is no name of an interface" in adopting(guest, first.path, "--ifname", "a/b")
    assert IMAGE in adopting(peer, first.path)
    assert lab.daemon.run("adopt", "i-1", "--netns", first.path, check=False).returncode == 2
    # A name that is taken there.
    first.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "own1")
    assert "File exists" in adopting(guest, first.path)
    assert sorted(first.links()) == ["eth0", "own1"]
    told = adopt(lab.daemon, guest, first, "--ifname", "eth1")
    assert adopt(lab.daemon, guest, first, "--ifname", "eth1") == told
    assert "is adopted already" in adopting(guest, second.path)
    assert "is adopted already" in adopting(guest, first.path, "--ifname", "eth2")
    assert second.links() == {}
    # A name is one of `ip netns`.
    lab.daemon.run("release", guest.id)
    assert lab.daemon.json("adopt", guest.id, "--netns", second.name)["netns"] == second.path


def test_a_namespace_that_is_gone_ends_its_instance(lab, namespaces):
    # Fails if an instance goes on to run whose guest has ended.
    guest, peer = waiting(lab)
    namespace = namespaces()
    adopt(lab.daemon, guest, namespace)
    assert peer.agent.ping(address=guest.ip) == "open"
    namespace.delete()
    until(lambda: state(lab, guest) == "stopped", "the instance has stopped", within=20)
    reason = guest.describe()["StateReason"]
    assert reason["Code"] == "Client.InstanceInitiatedShutdown"
    assert not [name for name in lab.daemon.devices() if guest.eni[4:16] in name]
    assert lab.daemon.json("verify")["agree"]
    lab.ec2.start_instances(InstanceIds=[guest.id])
    other = namespaces()
    adopt(lab.daemon, guest, other)
    assert peer.agent.ping(address=guest.ip) == "open"


@contextlib.contextmanager
def own_lab(start_daemon):
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    yield daemon, lab
    lab.close()


def test_an_adopted_instance_outlives_the_daemon(start_daemon, namespaces):
    # Fails if an adoption is only remembered.
    with own_lab(start_daemon) as (daemon, lab):
        guest, peer = waiting(lab)
        lost, _ = waiting(lab)
        namespace, dying = namespaces(), namespaces()
        adopt(daemon, guest, namespace)
        adopt(daemon, lost, dying)
        agent = namespace.agent()
        assert agent.ping(address=peer.ip) == "open"
        before = namespace.links()["eth0"]["ifindex"]
        daemon.kill()
        assert agent.ping(address=peer.ip) == "open"
        dying.delete()
        daemon.start()
        # The very same device; and what is gone meanwhile is noticed.
        assert namespace.links()["eth0"]["ifindex"] == before
        assert agent.ping(address=peer.ip) == "open"
        until(lambda: state(lab, lost) == "stopped", "the other one has stopped", within=20)
        assert daemon.json("verify")["agree"]
        other = namespaces()
        assert "is adopted already" in refused(daemon, "adopt", guest.id, "--netns", other.path)
        assert daemon.json("release", guest.id)["released"]
        assert namespace.links() == {}


def test_down_leaves_nothing_in_an_adopted_namespace(start_daemon, namespaces):
    # Fails if rules of further interfaces are left where no device is any more.
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    guest, _ = waiting(lab)
    described = guest.describe()
    eni = lab.interface(described["SubnetId"], described["SecurityGroups"][0]["GroupId"])
    lab.ec2.attach_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"],
                                     InstanceId=guest.id, DeviceIndex=1)
    namespace = namespaces()
    adopt(daemon, guest, namespace)
    assert len(namespace.links()) == 2 and namespace.rules()
    daemon.down()
    assert namespace.links() == {} and namespace.rules() == []
    assert namespace.run("true").returncode == 0


def test_an_adopted_namespace_has_ipv6(lab, namespaces):
    # Fails if only what the host's defaults allow is set up, or IPv6 passes by the gates.
    vpc = lab.vpc()
    lab.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    [described] = lab.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    block = described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    subnet = lab.subnet(vpc)
    lab.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=block)
    web = lab.group(vpc, "web", [permission("tcp", "::/0", 80)])
    both = lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")])
    peer = lab.instance(subnet, both, Ipv6AddressCount=1)
    guest = lab.instance(subnet, web, ImageId=IMAGE, Ipv6AddressCount=1)
    address, of_peer = (it.interface()["Ipv6Addresses"][0]["Ipv6Address"] for it in (guest, peer))
    namespace = namespaces()
    # As container engines do.
    namespace.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    [interface] = adopt(lab.daemon, guest, namespace)["interfaces"]
    assert interface["addresses"] == [f"{guest.ip}/24", f"{address}/128"]
    assert interface["ipv6_gateway"] == "fe80:ec2::1"
    agent = namespace.agent()
    agent.serve_tcp(port=80, address="::")
    agent.serve_tcp(port=81, address="::")
    assert peer.agent.connect(address=address, port=80) == "open"
    assert peer.agent.connect(address=address, port=81) == "timeout"
    assert agent.ping(address=of_peer) == "open"
