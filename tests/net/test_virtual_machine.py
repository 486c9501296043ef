"""A virtual machine on a tap: it boots, asks who it is, and is judged by its groups.

    QEMU: Debian's kernel ── virtio-net ── tap ─[ Enid ]─ veth ── sandbox
"""

import os
import subprocess
from contextlib import contextmanager

import pytest

from support import machine
from support.lab import ANYWHERE
from support.rules import everything, icmp, tcp
from support.tap import IMAGE
from support.virtual_machine import VirtualMachine

BULK_BYTES = 16 << 20
MTU = 9001
TOKEN = "/latest/api/token"
# Bits of virtio-net: checksums and TCP segmentation, left to the device and to the driver.
OFFLOADS = (0, 1, 7, 11)

RECEIVE = """
import hashlib, socket
server = socket.create_server(("", 5001))
connection, _ = server.accept()
digest = hashlib.sha256()
while data := connection.recv(1 << 20):
    digest.update(data)
print(digest.hexdigest())
"""
SEND = """
import hashlib, os, socket, sys
data = os.urandom(int(sys.argv[1]))
server = socket.create_server(("", 5002))
connection, _ = server.accept()
connection.sendall(data)
print(hashlib.sha256(data).hexdigest())
"""


@pytest.fixture
def boot(lab):
    """Boots guests on the taps of instances."""
    if missing := machine.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    booted = []

    def boot_on(instance):
        booted.append(VirtualMachine(lab.daemon.json("tap", instance.id)["interfaces"][0]))
        return booted[-1]

    yield boot_on
    for guest in booted:
        guest.close()


@pytest.fixture
def key(lab):
    name = "guest"
    lab.ec2.create_key_pair(KeyName=name, KeyType="ed25519")
    yield name
    lab.ec2.delete_key_pair(KeyName=name)


@contextmanager
def python(instance, source, *words):
    """A program in a sandbox, and in the end what it printed."""
    command = ["exec", instance.id, "--", "/usr/bin/python3", "-c", source, *map(str, words)]
    process = subprocess.Popen(instance.lab.daemon.command(*command), stdout=subprocess.PIPE,
                               text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def counts(guest):
    """Packets and bytes that the guest has sent."""
    shown = guest.run("cd /sys/class/net/eth0/statistics; cat tx_packets tx_bytes")[1]
    return [int(word) for word in shown.split()]


def test_a_virtual_machine(lab, boot, key):
    # Fails if a guest that knows nothing cannot find out who it is, if its packets pass its groups, or if
    # what its kernel leaves to the device (checksums, segmentation) is lost on the way.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "guest", [tcp(ANYWHERE, 22), icmp(ANYWHERE)])
    instance = lab.instance(subnet, group, ImageId=IMAGE, KeyName=key)
    peer = lab.instance(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]))
    guest = boot(instance)

    # Who it is.
    assert peer.agent.ping(address=instance.ip) != "open"
    assert guest.ask_dhcp()[0]
    assert f"inet {instance.ip}/24" in guest.run("ip address show dev eth0")[1]
    assert f"mtu {MTU}" in guest.run("ip link show dev eth0")[1]
    assert "default via 10.0.0.1" in guest.run("ip route")[1]
    assert guest.run("cat /etc/resolv.conf")[1].splitlines()[-1] == "nameserver 10.0.0.2"
    token = guest.get(TOKEN, "X-aws-ec2-metadata-token-ttl-seconds: 60", method="PUT").strip()
    mine = f"X-aws-ec2-metadata-token: {token}"
    assert guest.get("/latest/meta-data/instance-id", mine).strip() == instance.id
    shown = guest.get("/latest/meta-data/public-keys/0/openssh-key", mine)
    assert shown.startswith("ssh-ed25519 ") and shown.split()[-1] == key

    # Its groups: one port and pings, and nothing else.
    for port in (22, 23):
        guest.run(f"nc -ll -p {port} -e cat >/dev/null 2>&1 &")
        guest.run(f"until cat /proc/net/tcp* | grep -q ':{port:04X} .* 0A '; do :; done")
    assert peer.agent.ping(address=instance.ip, timeout=5) == "open"
    assert peer.agent.connect(address=instance.ip, port=22, timeout=5) == "open"
    assert peer.agent.connect(address=instance.ip, port=23) == "timeout"
    lab.revoke(group, tcp(ANYWHERE, 22))
    lab.authorize(group, tcp(ANYWHERE, 23))
    assert peer.agent.connect(address=instance.ip, port=22) == "timeout"
    assert peer.agent.connect(address=instance.ip, port=23, timeout=5) == "open"

    # What it leaves to the device arrives whole, in both directions.
    features = guest.run("cat /sys/class/net/eth0/device/features")[1].strip()
    assert [features[bit] for bit in OFFLOADS] == ["1"] * len(OFFLOADS)
    guest.run(f"head -c {BULK_BYTES} /dev/urandom >/tmp/bulk")
    before = counts(guest)
    with python(peer, RECEIVE) as receiver:
        guest.run(f"until nc {peer.ip} 5001 -e dd if=/tmp/bulk bs=256k 2>/dev/null; do :; done")
        received = receiver.communicate(timeout=30)[0].strip()
    assert received == guest.run("sha256sum </tmp/bulk")[1].split()[0]
    # Segments are cut behind the device: what the guest counted is larger than its MTU.
    count, size = (after - first for after, first in zip(counts(guest), before))
    assert size > BULK_BYTES and size / count > MTU, (count, size)
    with python(peer, SEND, BULK_BYTES) as sender:
        guest.run(f"until nc {peer.ip} 5002 >/tmp/bulk 2>/dev/null; do :; done")
        sent = sender.communicate(timeout=30)[0].strip()
    assert sent == guest.run("sha256sum </tmp/bulk")[1].split()[0]
    assert lab.daemon.json("verify")["agree"]
