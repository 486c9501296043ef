"""What a VPC does not carry: multicast, broadcast, IPv6 that nobody has, other EtherTypes."""

import pytest

from support.lab import ANYWHERE
from support.rules import everything

IPV6 = ("86dd" "60000000" "0000" "3b40"
        "fd000000000000000000000000000001" "fd000000000000000000000000000002")
FRAMES = {
    "broadcast": ("ffffffffffff", "0800" "450000140000400040fd0000" "0a000005" "ffffffff"),
    "multicast": ("01005e000001", "0800" "450000140000400040fd0000" "0a000005" "e0000001"),
    "IPv6": (None, IPV6),
    "LLDP": (None, "88cc" + "00" * 46),
    "cut short": (None, "0800" "4500"),
}


@pytest.mark.parametrize("what", FRAMES)
def test_not_carried(lab, what):
    # Fails if anything that is not known to be allowed goes on: the datapath fails closed.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")])
    sender, receiver = lab.launch(subnet, group, count=2)
    receiver.agent.sniff(device="eth0")
    target, rest = FRAMES[what]
    target = target or receiver.agent.mac(device="eth0").replace(":", "")
    source = sender.agent.mac(device="eth0").replace(":", "")
    sender.agent.send_frame(device="eth0", frame=target + source + rest)
    # The same way carries a packet that may pass; what was sent before it would be there.
    assert sender.agent.ping(address=receiver.ip) == "open"
    # EtherType and protocol; ARP answers are the receiver's own business.
    kinds = [frame[24:28] + frame[46:48] for frame in receiver.agent.sniffed(device="eth0")]
    assert {kind for kind in kinds if not kind.startswith("0806")} == {"080001"}
