"""Secondary addresses: assigned, unassigned, and moved from one interface to another."""

import pytest

from support.lab import ANYWHERE
from support.rules import everything

ADDRESS = "10.0.0.200"


@pytest.fixture
def trio(lab):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    return lab.launch(subnet, group, count=3)


def assign(lab, instance, **options):
    lab.ec2.assign_private_ip_addresses(NetworkInterfaceId=instance.eni,
                                        PrivateIpAddresses=[ADDRESS], **options)


def test_assigned_address_works_until_it_is_unassigned(lab, trio):
    # Fails if addresses are only stored, or stay in the maps after they were taken away.
    server, client, early = trio
    server.agent.serve_tcp(port=80)
    assert early.agent.connect(address=ADDRESS, port=80, timeout=0.2) != "open"
    assign(lab, server)
    assert client.agent.connect(address=ADDRESS, port=80) == "open"
    assert server.agent.ping(address=client.ip, source=ADDRESS) == "open"
    lab.ec2.unassign_private_ip_addresses(NetworkInterfaceId=server.eni,
                                          PrivateIpAddresses=[ADDRESS])
    assert client.agent.connect(address=ADDRESS, port=80, timeout=0.2) != "open"
    assert client.agent.connect(address=server.ip, port=80) == "open"


def test_reassigned_address_takes_its_traffic_along(lab, trio):
    # Fails if the old owner keeps receiving, or neighbours keep sending there.
    first, client, second = trio
    assign(lab, first)
    first.agent.serve_udp(port=7, address=ADDRESS)
    assert client.agent.datagram(address=ADDRESS, port=7, text="one") == f"3 {client.ip}"
    assign(lab, second, AllowReassignment=True)
    second.agent.serve_udp(port=7, address=ADDRESS)
    assert client.agent.datagram(address=ADDRESS, port=7, text="two") == f"3 {client.ip}"
    assert [message["text"] for message in first.agent.received(port=7)] == ["one"]
    assert [message["text"] for message in second.agent.received(port=7)] == ["two"]


def test_an_address_that_may_not_move_stays(lab, trio):
    # Fails if a refused call moves the traffic nevertheless.
    first, client, second = trio
    assign(lab, first)
    first.agent.serve_udp(port=7, address=ADDRESS)
    with pytest.raises(lab.ec2.exceptions.ClientError) as refused:
        assign(lab, second)
    assert refused.value.response["Error"]["Message"] == (
        f"[{ADDRESS}] assigned, but move is not allowed.")
    assert client.agent.datagram(address=ADDRESS, port=7) == f"5 {client.ip}"
