"""`enid explain` says what packets do, and names the rule that decides."""

import random

import pytest

from support.lab import ANYWHERE
from support.rules import everything, icmp, tcp, udp

TCP, UDP = "tcp", "udp"


def explain(lab, source, target, protocol, port=None):
    words = ["explain", "--from", source, "--to", target, "--protocol", protocol]
    return lab.daemon.json(*words, *([] if port is None else ["--port", str(port)]))


def rules(explanation):
    """The deciding rules of both gates; None where the gate refuses."""
    gates = {hop["stage"]: hop["rule"] for hop in explanation["hops"]}
    return gates.get("egress-gate"), gates.get("ingress-gate")


def test_both_gates_are_told_with_their_rules(lab):
    # Fails if explain stops at the first refusal, or names another rule than the one that is there.
    vpc, subnet = lab.network()
    sender = lab.group(vpc, "sender", egress=[])
    receiver = lab.group(vpc, "receiver")
    [out_80] = lab.authorize_egress(sender, tcp(ANYWHERE, 80))
    [in_80] = lab.authorize(receiver, tcp("10.0.0.0/16", 80))
    [in_81] = lab.authorize(receiver, tcp("10.0.0.0/16", 81))
    a, b = lab.instance(subnet, sender), lab.instance(subnet, receiver)

    passes = explain(lab, a.id, b.id, TCP, 80)
    assert (passes["verdict"], passes["reason"]) == ("forward", None)
    assert rules(passes) == (out_80, in_80)
    refused = explain(lab, a.id, b.id, TCP, 81)
    assert (refused["verdict"], refused["reason"]) == ("drop", "egress-rule")
    assert rules(refused) == (None, in_81)
    # Interfaces and addresses name the same ends.
    assert explain(lab, a.eni, b.ip, TCP, 80)["verdict"] == "forward"
    assert explain(lab, a.id, "10.0.0.99", TCP, 80)["reason"] == "no-endpoint"
    shown = lab.daemon.run("explain", "--from", a.id, "--to", b.id, "--port", "80").stdout
    assert out_80 in shown and in_80 in shown and "forward" in shown


@pytest.mark.parametrize("seed", range(2))
def test_explain_agrees_with_packets(lab, seed):
    # Fails if explain and the kernel judge by different tables or different code.
    chance = random.Random(seed)
    vpc = lab.vpc()
    subnets = [lab.subnet(vpc, f"10.0.{number}.0/24") for number in range(2)]
    groups = [lab.group(vpc, f"g{number}", egress=[]) for number in range(4)]
    ports = [80, 443, 8080]
    peers = [ANYWHERE, "10.0.0.0/24", "10.0.1.0/24", *groups]

    def random_permission():
        peer = chance.choice(peers)
        kind = chance.choice(["tcp", "tcp", "tcp", "udp", "icmp", "all"])
        if kind == "all":
            return everything(chance.choice(groups))
        if kind == "icmp":
            return icmp(peer)
        first, last = sorted(chance.choices(ports, k=2))
        return {"tcp": tcp, "udp": udp}[kind](peer, first, last)

    for group in groups:
        for call in (lab.authorize, lab.authorize_egress):
            unique = {str(one): one for one in (random_permission() for _ in range(4))}
            call(group, *unique.values())
    instances = [lab.instance(chance.choice(subnets), *chance.sample(groups, chance.choice([1, 2])))
                 for _ in range(4)]
    for instance in instances:
        for port in ports:
            instance.agent.serve_tcp(port=port)
        instance.agent.serve_udp(port=80)

    probes = []
    for source in instances:
        for target in instances:
            if source is target:
                continue
            questions = [(TCP, port, "connect", {"port": port}) for port in ports]
            questions += [(UDP, 80, "datagram", {"port": 80}), ("icmp", None, "ping", {})]
            for protocol, port, do, more in questions:
                future = source.agent.start(do, address=target.ip, timeout=0.5, **more)
                probes.append((source, target, protocol, port, future))
    disagreements = []
    outcomes = set()
    for source, target, protocol, port, future in probes:
        passed = future.result(10) not in ("timeout", "refused")
        told = explain(lab, source.id, target.id, protocol, port)
        outcomes.add(told["verdict"])
        if passed != (told["verdict"] == "forward"):
            disagreements.append((source.ip, target.ip, protocol, port, future.result(), told))
    assert disagreements == []
    assert outcomes == {"forward", "drop"}, "the seed makes both happen"


def test_questions_that_have_no_answer(lab):
    vpc, subnet = lab.network()
    instance = lab.instance(subnet)
    other = lab.instance(lab.network()[1])
    ask = ["explain", "--from", instance.id, "--port", "80", "--to"]
    unknown = lab.daemon.run(*ask, "i-00000000000000001", check=False)
    assert unknown.returncode == 1 and "i-00000000000000001 does not exist" in unknown.stderr
    apart = lab.daemon.run(*ask, other.id, check=False)
    assert apart.returncode == 1 and "different VPCs" in apart.stderr
    assert lab.daemon.run(*ask, "nonsense", check=False).returncode == 2
    assert lab.daemon.run(*ask, instance.id, "--protocol", "tpc", check=False).returncode == 2


def test_what_stands_between_subnets_is_told(lab):
    # Fails if a network ACL or a route decides and explain does not say so, or says it of another one.
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    a, b = lab.instance(near), lab.instance(far)
    group = lab.group(vpc, "open", ingress=[everything(ANYWHERE)])
    for instance in (a, b):
        lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=instance.eni, Groups=[group])

    def hop(explanation, stage):
        [found] = [hop for hop in explanation["hops"] if hop["stage"] == stage]
        return found

    passes = explain(lab, a.id, b.id, UDP, 53)
    assert passes["verdict"] == "forward"
    assert (hop(passes, "route")["rule"], hop(passes, "route")["target"]) == ("10.0.0.0/16", "local")
    assert hop(passes, "route")["resource"].startswith("rtb-")
    by_subnet = [{"Name": "association.subnet-id", "Values": [far]}]
    [default] = lab.ec2.describe_network_acls(Filters=by_subnet)["NetworkAcls"]
    lab.ec2.create_network_acl_entry(
        NetworkAclId=default["NetworkAclId"], RuleNumber=50, Protocol="17", RuleAction="deny",
        Egress=False, CidrBlock="10.0.0.0/24", PortRange={"From": 53, "To": 53})
    refused = explain(lab, a.id, b.id, UDP, 53)
    assert (refused["verdict"], refused["reason"]) == ("drop", "acl-ingress")
    decided = hop(refused, "acl-ingress")
    assert (decided["rule"], decided["resource"]) == ("50", default["NetworkAclId"])
    assert explain(lab, a.id, b.id, UDP, 54)["verdict"] == "forward"
    # Inside a subnet neither is asked.
    neighbour = lab.instance(far)
    stages = [hop["stage"] for hop in explain(lab, neighbour.id, b.id, UDP, 53)["hops"]]
    assert "acl-ingress" not in stages and "acl-egress" not in stages

    # Without an internet gateway there is no way out.
    assert explain(lab, a.id, "203.0.113.9", TCP, 443)["reason"] == "no-route"
