"""The host itself is no way around the gates."""

import contextlib
import socket

from support.lab import ANYWHERE
from support.rules import everything


def test_the_hosts_stack_reaches_no_instance(lab):
    # Fails if the program on the host's way into a device is missing: anything that the host
    # sends there, by a route or a bridge, would reach the instance ungated.
    vpc, subnet = lab.network()
    server, client = lab.launch(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]), count=2)
    server.agent.sniff(device="eth0")
    device = f"eni{server.eni.removeprefix('eni-')[:12]}"
    assert device in lab.daemon.devices()
    mac = bytes.fromhex(server.agent.mac(device="eth0").replace(":", ""))
    payload = b"\x45\x00\x00\x14\x00\x00\x00\x00\x40\xfd\x00\x00\x0a\x00\x00\x0b\x0a\x00\x00\x0a"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
        packet.bind((device, 0))
        with contextlib.suppress(OSError):  # The kernel tells the sender of the drop.
            packet.send(mac + b"\x02\x00\x00\x00\x00\x01\x08\x00" + payload)
    assert client.agent.ping(address=server.ip) == "open"
    kinds = {frame[24:28] + frame[46:48] for frame in server.agent.sniffed(device="eth0")}
    assert "080001" in kinds and "0800fd" not in kinds
