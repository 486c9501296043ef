"""The CNI plugin, called as the specification says, on namespaces as a runtime makes them."""

import contextlib
import json

import pytest

from support.adopted import Namespace
from support.cni import Cni, CniError
from support.lab import ANYWHERE
from support.rules import everything, tcp


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


@pytest.fixture
def network(lab):
    """A network whose containers are reached at port 80 only, and a sandbox beside them."""
    vpc, subnet = lab.network()
    group = lab.group(vpc, "web", [tcp(ANYWHERE, 80)])
    peer = lab.instance(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]))
    cni = Cni(lab.daemon, subnet, [group])
    cni.peer = peer
    yield cni
    cni.call("GC", **{"cni.dev/valid-attachments": []})


@contextlib.contextmanager
def refused(code, words):
    with pytest.raises(CniError) as caught:
        yield
    assert caught.value.code == code, caught.value.answer
    assert words in str(caught.value)


def live(lab, container=None):
    """The plugin's instances that are not terminated."""
    filters = [{"Name": "tag-key", "Values": ["enid:cni-container"]},
               {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]}]
    if container:
        filters.append({"Name": "tag:enid:cni-container", "Values": [container]})
    pages = lab.ec2.describe_instances(Filters=filters)["Reservations"]
    return [instance for page in pages for instance in page["Instances"]]


def test_a_container_comes_and_goes(lab, network, namespaces):
    # Fails if a container is not judged by its group, or anything of it is left.
    namespace = namespaces()
    result = network.call("ADD", "c1", namespace.path)
    [instance] = live(lab, "c1")
    assert result["cniVersion"] == "1.1.0"
    host, own = result["interfaces"]
    assert own["name"] == "eth0" and own["sandbox"] == namespace.path
    assert own["mac"] == instance["NetworkInterfaces"][0]["MacAddress"]
    assert own["mtu"] == namespace.links()["eth0"]["mtu"] == 9001
    assert host["name"] in lab.daemon.devices()
    [ip] = result["ips"]
    assert ip == {"address": instance["PrivateIpAddress"] + "/24", "gateway": "10.0.0.1",
                  "interface": 1}
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]
    agent = namespace.agent()
    agent.serve_tcp(port=80)
    agent.serve_tcp(port=81)
    address = instance["PrivateIpAddress"]
    assert network.peer.agent.connect(address=address, port=80) == "open"
    assert network.peer.agent.connect(address=address, port=81) == "timeout"
    assert network.call("CHECK", "c1", namespace.path, prevResult=result) is None
    assert network.call("DEL", "c1", namespace.path) is None
    assert namespace.links() == {} and live(lab) == []
    assert host["name"] not in lab.daemon.devices()
    # As often as the runtime likes.
    assert network.call("DEL", "c1", namespace.path) is None
    assert network.call("DEL", "c1") is None
    with refused(3, "no instance that runs"):
        network.call("CHECK", "c1", namespace.path, prevResult=result)


def test_add_again_is_the_same_container(lab, network, namespaces):
    # Fails if a runtime that asks twice gets two instances, or a container that comes back none.
    namespace = namespaces()
    first = network.call("ADD", "c1", namespace.path)
    assert network.call("ADD", "c1", namespace.path) == first
    assert len(live(lab)) == 1
    other = namespaces()
    with refused(3, "is adopted already"):
        network.call("ADD", "c1", other.path)
    network.call("DEL", "c1", namespace.path)
    again = network.call("ADD", "c1", other.path)
    assert again["interfaces"][1]["sandbox"] == other.path
    # Another interface of the same container is another attachment.
    group = lab.group(network.peer.describe()["VpcId"], "second", [everything(ANYWHERE)])
    further = network.call("ADD", "c1", other.path, ifname="net1", securityGroups=[group])
    assert sorted(other.links()) == ["eth0", "net1"]
    assert len(live(lab)) == 2
    agent = other.agent()
    agent.serve_tcp(port=80)
    for result in (again, further):
        address = result["ips"][0]["address"].split("/")[0]
        assert network.peer.agent.connect(address=address, port=80) == "open"
    network.call("DEL", "c1", other.path, ifname="net1")
    assert sorted(other.links()) == ["eth0"] and other.rules() == []


def test_a_container_that_is_gone_is_deleted_all_the_same(lab, network, namespaces):
    # Fails if DEL needs a namespace, or a container's second life its first one's end.
    namespace, other = namespaces(), namespaces()
    network.call("ADD", "c1", namespace.path)
    network.call("ADD", "c2", other.path)
    namespace.delete()
    assert network.call("DEL", "c1", namespace.path) is None
    assert live(lab, "c1") == []
    assert len(live(lab, "c2")) == 1


def test_gc_leaves_what_the_runtime_knows(lab, network, namespaces):
    # Fails if GC ends a container that lives, or leaves one that nobody knows.
    known, lost = namespaces(), namespaces()
    network.call("ADD", "c1", known.path)
    network.call("ADD", "c2", lost.path)
    elsewhere = Cni(lab.daemon, network.config["subnet"], network.config["securityGroups"],
                    name="elsewhere")
    far = namespaces()
    elsewhere.call("ADD", "c3", far.path)
    valid = [{"containerID": "c1", "ifname": "eth0"}]
    assert network.call("GC", **{"cni.dev/valid-attachments": valid}) is None
    assert len(live(lab, "c1")) == 1 and len(live(lab, "c3")) == 1
    assert live(lab, "c2") == [] and lost.links() == {}
    elsewhere.call("DEL", "c3")


def test_a_runtime_asks_for_addresses(lab, network, namespaces):
    # Fails if a wanted address is another one, or a wanted MAC address is ignored.
    first, second = namespaces(), namespaces()
    wanted = network.call("ADD", "c1", first.path, runtimeConfig={"ips": ["10.0.0.70/24"]})
    assert [ip["address"] for ip in wanted["ips"]] == ["10.0.0.70/24"]
    older = network.call("ADD", "c2", second.path,
                         args="IgnoreUnknown=1;K8S_POD_NAME=pod;IP=10.0.0.71")
    assert [ip["address"] for ip in older["ips"]] == ["10.0.0.71/24"]
    third = namespaces()
    with refused(100, "10.0.0.70"):
        network.call("ADD", "c3", third.path, runtimeConfig={"ips": ["10.0.0.70"]})
    mac = {"mac": "02:00:00:00:00:07"}
    with refused(2, "mac=02:00:00:00:00:07"):
        network.call("ADD", "c3", third.path, runtimeConfig=mac)
    assert live(lab, "c3") == [] and third.links() == {}


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_results_are_in_the_version_of_the_runtime(network, namespaces, version):
    # Fails if a runtime cannot read what it is told.
    namespace = namespaces()
    result = network.call("ADD", "c1", namespace.path, cniVersion=version)
    assert result["cniVersion"] == version
    assert result["ips"][0].get("version") == ("4" if version == "0.4.0" else None)
    assert ("mtu" in result["interfaces"][1]) == (version == "1.1.0")
    told = network.call("VERSION", cniVersion=version)
    assert told["supportedVersions"] == ["0.4.0", "1.0.0", "1.1.0"]


def test_what_makes_no_sense_is_refused_by_number(lab, network, namespaces):
    # Fails if a runtime cannot tell what went wrong, or a failed ADD leaves an instance.
    namespace = namespaces()
    with refused(1, "0.3.1"):
        network.call("ADD", "c1", namespace.path, cniVersion="0.3.1")
    with refused(2, "bridge"):
        network.call("ADD", "c1", namespace.path, bridge="cni0")
    with refused(4, "CNI_NETNS"):
        network.call("ADD", "c1")
    with refused(4, "CNI_CONTAINERID"):
        network.call("DEL")
    with refused(7, "subnet"):
        network.call("ADD", "c1", namespace.path, subnet=None)
    with refused(7, "prevResult"):
        network.call("CHECK", "c1", namespace.path)
    with refused(7, "cni.dev/valid-attachments"):
        network.call("GC")
    with refused(100, "InvalidSubnetID.NotFound"):
        network.call("ADD", "c1", namespace.path, subnet="subnet-00000000000000001")
    with refused(3, "open network namespace"):
        network.call("ADD", "c1", "/run/netns/none-of-that-name")
    with refused(11, "/nonexistent"):
        network.call("ADD", "c1", namespace.path, data="/nonexistent",
                     endpoint=lab.daemon.url)
    assert live(lab) == []


def test_check_sees_what_was_changed(lab, network, namespaces):
    # Fails if CHECK only believes what is written down.
    namespace = namespaces()
    result = network.call("ADD", "c1", namespace.path)
    forged = json.loads(json.dumps(result))
    # One of the two is not the address that the interface was given.
    given = forged["ips"][0]["address"]
    other = next(one for one in ("10.0.0.98/24", "10.0.0.99/24") if one != given)
    forged["ips"][0]["address"] = other
    with refused(3, other):
        network.call("CHECK", "c1", namespace.path, prevResult=forged)
    namespace.run("ip", "addr", "flush", "dev", "eth0")
    with refused(3, "is not as it was put"):
        network.call("CHECK", "c1", namespace.path, prevResult=result)


def test_status_says_whether_containers_can_be_added(network):
    # Fails if a runtime sends containers to a plugin that cannot serve them.
    assert network.call("STATUS") is None
    with refused(50, "InvalidSubnetID.NotFound"):
        network.call("STATUS", subnet="subnet-00000000000000001")
    with refused(50, "agent.sock"):
        network.call("STATUS", data="/nonexistent")


def test_a_key_of_its_own_may_be_enough(lab, network, namespaces, tmp_path):
    # Fails if the plugin needs more than the four operations that it uses.
    policy = tmp_path / "policy.json"
    actions = ["ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeInstances",
               "ec2:TerminateInstances"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    key = tmp_path / "key.json"
    key.write_text(lab.daemon.run("--json", "key", "create", "--policy", str(policy)).stdout)
    namespace = namespaces()
    network.call("ADD", "c1", namespace.path, credentials=str(key))
    network.call("DEL", "c1", namespace.path, credentials=str(key))
    assert namespace.links() == {}
    with refused(50, "UnauthorizedOperation"):
        network.call("STATUS", credentials=str(key))
