"""What an instance pretends to be.

        liar -----> server          victim: whose addresses the liar claims
"""

import socket

import pytest

from support.lab import ANYWHERE
from support.rules import everything

UDP = socket.IPPROTO_UDP


@pytest.fixture
def three(lab):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    liar, server, victim = lab.launch(subnet, group, count=3)
    server.agent.serve_udp(port=7, echo=False)
    return liar, server, victim


def send(liar, source, server, text):
    liar.agent.send_ip(source=source, destination=server.ip, protocol=UDP, payload=text, port=7,
                       source_port=4000)


def texts(server):
    return [message["text"] for message in server.agent.received(port=7)]


def finish(liar, server):
    """The same way carries an honest packet; what was sent before it would be there."""
    server.agent.serve_udp(port=8)
    assert liar.agent.datagram(address=server.ip, port=8).startswith("5 ")


def test_a_foreign_source_address_is_dropped(lab, three):
    # Fails if the spoof guard is skipped, for addresses of others and for those of nobody alike.
    liar, server, victim = three
    for source, text in ((victim.ip, "victim"), ("10.0.0.77", "nobody"), ("192.0.2.1", "outside")):
        send(liar, source, server, text)
    send(liar, liar.ip, server, "honest")
    finish(liar, server)
    assert texts(server) == ["honest"]


def test_an_address_that_the_guest_gave_itself_is_not_its_own(lab, three):
    # Fails if what the guest configures counts: only AssignPrivateIpAddresses makes it so.
    liar, server, _ = three
    liar.exec("ip", "address", "add", "10.0.0.88/24", "dev", "eth0")
    assert liar.agent.datagram(address=server.ip, port=7, text="self-made", source="10.0.0.88",
                               wait=False) == "sent"
    assert server.agent.ping(address="10.0.0.88") != "open"
    lab.ec2.assign_private_ip_addresses(NetworkInterfaceId=liar.eni,
                                        PrivateIpAddresses=["10.0.0.88"])
    liar.agent.datagram(address=server.ip, port=7, text="assigned", source="10.0.0.88", wait=False)
    finish(liar, server)
    assert texts(server) == ["assigned"]


def test_source_dest_check_off_lets_foreign_sources_pass(lab, three):
    # Fails if SourceDestCheck is only stored. Routers and firewalls live from it.
    liar, server, _ = three

    def check(value):
        lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=liar.eni,
                                                   SourceDestCheck={"Value": value})

    send(liar, "192.0.2.1", server, "checked")
    check(False)
    send(liar, "192.0.2.1", server, "unchecked")
    check(True)
    send(liar, "192.0.2.1", server, "checked again")
    finish(liar, server)
    assert texts(server) == ["unchecked"]


def test_a_foreign_source_mac_is_dropped(lab, three):
    # Fails if the frame's source is not compared with the interface's MAC.
    liar, server, _ = three

    def frame(source_mac, text):
        data = text.encode()
        udp = bytes([15, 160, 0, 7]) + (8 + len(data)).to_bytes(2, "big") + bytes(2) + data
        header = bytearray.fromhex("450000000000400040110000")
        header[2:4] = (20 + len(udp)).to_bytes(2, "big")
        header += socket.inet_aton(liar.ip) + socket.inet_aton(server.ip)
        total = sum(int.from_bytes(header[at:at + 2], "big") for at in range(0, 20, 2))
        total = (total & 0xFFFF) + (total >> 16)
        header[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
        ethernet = (server.agent.mac(device="eth0") + source_mac).replace(":", "") + "0800"
        liar.agent.send_frame(device="eth0", frame=ethernet + (bytes(header) + udp).hex())

    frame("02:00:00:00:00:99", "forged")
    frame(liar.agent.mac(device="eth0"), "true")
    finish(liar, server)
    assert texts(server) == ["true"]


def test_arp_is_answered_by_the_router_and_believes_nobody(lab, three):
    # Fails if ARP is flooded: the victim would see it, or the liar's claim would be learnt.
    liar, server, victim = three
    victim.agent.sniff(device="eth0")
    ask = liar.agent.ask_arp
    assert ask(device="eth0", target=server.ip, sender=liar.ip) == server.agent.mac(device="eth0")
    assert ask(device="eth0", target="10.0.0.1", sender=liar.ip) != "timeout"
    refused = [liar.agent.start("ask_arp", device="eth0", target=server.ip, sender=victim.ip),
               liar.agent.start("ask_arp", device="eth0", target=server.ip, sender=liar.ip,
                                sender_mac="02:00:00:00:00:99"),
               liar.agent.start("ask_arp", device="eth0", target="10.0.0.222", sender=liar.ip)]
    # Requests that differ in the target only share the answers' socket, so they are told apart.
    assert refused[2].result(5) == "timeout"
    assert [one.result(5) for one in refused[:2]] == ["timeout"] * 2
    assert victim.agent.sniffed(device="eth0") == []
