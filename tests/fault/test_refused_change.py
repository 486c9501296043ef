"""The kernel refuses a change: nobody is told that it is in force, and nothing opens by it."""

import botocore.exceptions
import pytest

from support.bpf import freeze
from support.lab import Lab
from support.rules import everything, icmp
from support.until import until

pytestmark = pytest.mark.real_packets


@pytest.fixture
def bench(start_daemon):
    daemon = start_daemon("ebpf")
    # A change that is not in force is answered after ten seconds.
    lab = Lab(daemon, daemon.client(read_timeout=30))
    vpc, subnet = lab.network()
    peers = lab.group(vpc, "peers")
    group = lab.group(vpc, "server", [icmp("10.0.0.0/16")])
    client = lab.instance(subnet, peers)
    server = lab.instance(subnet, group)
    assert client.agent.ping(address=server.ip) == "open"
    return daemon, lab, (peers, group), server, client


def not_in_force(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    assert refused.value.response["Error"]["Code"] == "InternalError"


def test_a_revoke_that_the_kernel_refuses(bench):
    # Fails if a failed change is taken for made, or made up for by a later one's acknowledgement.
    daemon, lab, (_, group), server, client = bench
    freeze(daemon, "policies")
    not_in_force(lab.ec2.revoke_security_group_ingress, GroupId=group,
                 IpPermissions=[icmp("10.0.0.0/16")])
    assert client.agent.ping(address=server.ip) == "open"
    # Whatever comes after it is not in force either: acknowledgements are in order.
    not_in_force(lab.ec2.create_tags, Resources=[group], Tags=[{"Key": "a", "Value": "b"}])
    assert "policies" in daemon.run("verify", check=False).stdout


def test_rules_that_do_not_fit(bench):
    # Fails if one group's rules that find no room keep other changes from coming into force, or
    # if they open anything.
    daemon, lab, (peers, group), server, client = bench
    freeze(daemon, "gate_groups")
    not_in_force(lab.ec2.authorize_security_group_ingress, GroupId=group,
                 IpPermissions=[everything(peers)])
    # Closed, not half open.
    assert client.agent.ping(address=server.ip, timeout=0.2) != "open"
    assert f"{server.eni} is closed" in daemon.run("verify", check=False).stdout

    # All the rest goes on: other rules, interfaces that go, instances that end.
    def tag():
        try:
            lab.ec2.create_tags(Resources=[group], Tags=[{"Key": "a", "Value": "b"}])
        except botocore.exceptions.ClientError:
            return False
        return True

    until(tag, "changes are acknowledged again", within=40)
    third = lab.instance(server.describe()["SubnetId"], peers)
    lab.authorize(peers, icmp("10.0.0.0/24"))
    assert third.agent.ping(address=client.ip) == "open"
    lab.revoke(peers, icmp("10.0.0.0/24"))
    assert client.agent.ping(address=third.ip, timeout=0.2) != "open"
    third.forget_agent()
    lab.ec2.terminate_instances(InstanceIds=[third.id])
    # Without the rules that do not fit the group is open again.
    lab.revoke(group, everything(peers))
    assert client.agent.ping(address=server.ip) == "open"
    assert daemon.json("verify")["agree"]
