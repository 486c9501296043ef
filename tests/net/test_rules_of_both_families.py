"""As many rules as AWS allows of IPv4, and as many of IPv6, on one interface."""

import ipaddress

import pytest

from support.daemon import DEFAULT_CONFIG
from support.lab import ANYWHERE, Lab
from support.rules import everything, permission

pytestmark = pytest.mark.real_packets

GROUPS, RULES = 5, 200
# Of every group the first rule, the last and one between.
PORTS = [1000 * group + number for group in range(1, GROUPS + 1) for number in (0, 97, RULES - 1)]


def test_neither_family_takes_room_from_the_other(start_daemon):
    quotas = f"rules_per_group = {RULES}\ngroups_per_interface = {GROUPS}\n"
    lab = Lab(start_daemon("ebpf", config=DEFAULT_CONFIG + quotas))
    vpc, subnet = lab.network()
    answer = lab.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    block = answer["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"]
    first = next(ipaddress.ip_network(block).subnets(new_prefix=64))
    lab.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=str(first))
    everyone = lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")])
    client = lab.instance(subnet, everyone, Ipv6AddressCount=1)
    client6 = client.interface()["Ipv6Addresses"][0]["Ipv6Address"]
    groups = []
    for number in range(1, GROUPS + 1):
        ports = range(1000 * number, 1000 * number + RULES)
        groups.append(lab.group(vpc, f"many-{number}"))
        for peer in (f"{client.ip}/32", f"{client6}/128"):
            lab.authorize(groups[-1], *(permission("udp", peer, port) for port in ports))
    server = lab.instance(subnet, *groups, Ipv6AddressCount=1)
    server6 = server.interface()["Ipv6Addresses"][0]["Ipv6Address"]
    for port in [*PORTS, 999, 1000 + RULES]:
        server.agent.serve_udp(port=port, address="::")
    for port in PORTS:
        assert client.agent.datagram(address=server6, port=port) == f"5 {client6}", port
        assert client.agent.datagram(address=server.ip, port=port) != "timeout", port
    for port in (999, 1000 + RULES):
        for address in (server.ip, server6):
            assert client.agent.datagram(address=address, port=port) == "timeout"
    # One rule less is one port less, in its family only.
    lab.revoke(groups[0], permission("udp", f"{client6}/128", PORTS[1]))
    assert client.agent.datagram(address=server6, port=PORTS[1], name="new") == "timeout"
    lab.close()
