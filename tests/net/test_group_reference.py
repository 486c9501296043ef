"""Rules whose peer is a security group match by membership, whatever the address."""

from support.rules import everything, tcp


def test_membership_opens_and_its_loss_closes(lab):
    # Fails if members are expanded into addresses when the rule is made.
    vpc, subnet = lab.network()
    web = lab.group(vpc, "web")
    plain = lab.group(vpc, "plain")
    database = lab.group(vpc, "database", [tcp(web, 5432)])
    server = lab.instance(subnet, database)
    client = lab.instance(subnet, plain)
    server.agent.serve_tcp(port=5432)

    def groups(*ids):
        lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=client.eni, Groups=list(ids))

    assert client.agent.connect(address=server.ip, port=5432) == "timeout"
    groups(plain, web)
    assert client.agent.connect(address=server.ip, port=5432, name="old") == "open"
    groups(plain)
    assert client.agent.connect(address=server.ip, port=5432) == "timeout"
    # Tracked: the loss of membership is like a rule change.
    assert client.agent.exchange(name="old") == "open"


def test_egress_to_a_group(lab):
    # Fails if the egress gate looks at the sender's groups instead of the receiver's.
    vpc, subnet = lab.network()
    allowed = lab.group(vpc, "allowed")
    lab.authorize(allowed, everything("10.0.0.0/16"))
    other = lab.group(vpc, "other", [everything("10.0.0.0/16")])
    limited = lab.group(vpc, "limited", egress=[everything(allowed)])
    client = lab.instance(subnet, limited)
    good = lab.instance(subnet, allowed)
    bad = lab.instance(subnet, other)
    for server in (good, bad):
        server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=good.ip, port=80) == "open"
    assert client.agent.connect(address=bad.ip, port=80) == "timeout"


def test_secondary_addresses_of_members_match(lab):
    # Fails if only primary addresses carry membership.
    vpc, subnet = lab.network()
    web = lab.group(vpc, "web")
    server = lab.instance(subnet, lab.group(vpc, "server", [tcp(web, 80)]))
    client = lab.instance(subnet, web)
    outsider = lab.instance(subnet, lab.group(vpc, "outsider"))
    for instance, address in ((client, "10.0.0.201"), (outsider, "10.0.0.202")):
        lab.ec2.assign_private_ip_addresses(NetworkInterfaceId=instance.eni,
                                            PrivateIpAddresses=[address])
    server.agent.serve_tcp(port=80)
    assert client.agent.connect(address=server.ip, port=80, source="10.0.0.201") == "open"
    assert outsider.agent.connect(address=server.ip, port=80, source="10.0.0.202") == "timeout"


def test_new_instances_are_members_at_once(lab):
    # Fails if membership is only in force with the next change of a rule.
    vpc, subnet = lab.network()
    group = lab.default_group(vpc)
    first = lab.instance(subnet)
    first.agent.serve_tcp(port=80)
    for _ in range(3):
        newcomer = lab.instance(subnet, group)
        assert newcomer.agent.connect(address=first.ip, port=80) == "open"
    stranger = lab.instance(subnet, lab.group(vpc, "stranger"))
    assert stranger.agent.connect(address=first.ip, port=80) == "timeout"
