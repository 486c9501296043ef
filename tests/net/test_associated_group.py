"""A group of another VPC filters the interfaces that carry it."""

from support.rules import tcp


def test_a_group_of_another_vpc_filters(lab):
    # Fails if a policy is compiled from the groups of the interface's own VPC alone.
    home, (away, subnet) = lab.vpc("10.1.0.0/16"), lab.network()
    shared = lab.group(home, "shared", [tcp("10.0.0.0/16", 22)])
    lab.ec2.associate_security_group_vpc(GroupId=shared, VpcId=away)
    server = lab.instance(subnet, shared)
    client = lab.instance(subnet, lab.group(away, "client"))
    for port in (22, 80):
        server.agent.serve_tcp(port=port)
    assert client.agent.connect(address=server.ip, port=22) == "open"
    assert client.agent.connect(address=server.ip, port=80) == "timeout"
    lab.authorize(shared, tcp("10.0.0.0/16", 80))
    assert client.agent.connect(address=server.ip, port=80) == "open"
    lab.ec2.terminate_instances(InstanceIds=[server.id])
    lab.ec2.disassociate_security_group_vpc(GroupId=shared, VpcId=away)
