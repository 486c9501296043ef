"""Guests of a virtual machine monitor: instances whose interfaces are taps.

    a program of the test ── tap ─[ Enid ]─ veth ── sandbox
"""

import json
import os
import socket
import struct
import subprocess
import sys

import pytest

from support.bpf import drops
from support.lab import ANYWHERE
from support.rules import everything, tcp, udp
from support.tap import GSO_NONE, IMAGE, NEEDS_CHECKSUM, Connection, Tap, checksum
from support.until import until


@pytest.fixture
def taps(lab):
    """Opens taps of instances, and closes them."""
    opened = []

    def open_tap(instance, index=0):
        interfaces = lab.daemon.json("tap", instance.id)["interfaces"]
        tap = Tap(interfaces[index])
        opened.append(tap)
        return tap

    yield open_tap
    for tap in opened:
        tap.close()


def pair(lab, *rules):
    """A guest that anybody may speak to, and a sandbox with these rules."""
    vpc, subnet = lab.network()
    guest = lab.instance(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]), ImageId=IMAGE)
    peer = lab.instance(subnet, lab.group(vpc, "peer", list(rules)))
    return guest, peer


def test_groups_hold_for_a_guest_on_a_tap(lab, taps):
    # Fails if a tap's packets pass without the pipeline, or are not delivered.
    guest, peer = pair(lab, tcp(ANYWHERE, 80), udp(ANYWHERE, 53))
    peer.agent.serve_tcp(port=80)
    peer.agent.serve_tcp(port=81)
    peer.agent.serve_udp(port=53)
    tap = taps(guest)
    assert tap.ip == guest.ip
    assert Connection(tap, peer.ip, 80).open() == "open"
    assert Connection(tap, peer.ip, 81, source_port=41001).open() == "timeout"
    assert tap.datagram(peer.ip, 53, b"hello") == f"5 {guest.ip}".encode()
    assert tap.ping(peer.ip) == "timeout"


def test_a_guest_on_a_tap_is_judged_by_its_own_groups(lab, taps):
    # Fails if what is delivered to a tap meets no ingress gate, or is not delivered.
    vpc, subnet = lab.network()
    narrow = lab.group(vpc, "narrow", [udp(ANYWHERE, 7)])
    guest = lab.instance(subnet, narrow, ImageId=IMAGE)
    peer = lab.instance(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]))
    tap = taps(guest)
    for port in (7, 8):
        peer.agent.datagram(address=guest.ip, port=port, text=f"to {port}", wait=False)
    texts = [frame[42:] for _, frame in tap.frames(0.5) if frame[12:14] == b"\x08\x00"]
    assert texts == [b"to 7"]
    # Outward, and back as an answer.
    assert tap.ping(peer.ip) == "open"


def test_two_guests_on_taps(lab, taps):
    # Fails if delivery from a tap to a tap is by the peer that it does not have.
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    first, second = (taps(lab.instance(subnet, group, ImageId=IMAGE)) for _ in range(2))
    frame = first.packet(second.ip, socket.IPPROTO_ICMP, b"\x08\x00\xf7\xff\x00\x00\x00\x00")
    first.send(frame)
    [arrived] = [frame for _, frame in second.frames(0.5) if frame[23] == socket.IPPROTO_ICMP]
    assert arrived[:6] == second.mac
    assert arrived[26:30] == socket.inet_aton(first.ip)


def test_checksums_and_segments_are_finished_by_whoever_needs_it(lab, taps):
    # Fails if an offloaded checksum or a large segment is cut, or finished wrongly, on the way.
    guest, peer = pair(lab, tcp(ANYWHERE, 80), udp(ANYWHERE, 53))
    peer.agent.serve_tcp(port=80)
    peer.agent.serve_udp(port=53)
    tap = taps(guest)
    assert tap.datagram(peer.ip, 53, b"partial", partial=True) == f"7 {guest.ip}".encode()
    connection = Connection(tap, peer.ip, 80)
    assert connection.open() == "open"
    data = os.urandom(40000)
    assert connection.exchange(data) == data
    # What comes back is not cut for a guest that can do that itself.
    assert any(gso == 1 for _, gso, *_ in connection.headers), connection.headers


def test_who_finishes_a_checksum_changes_nothing_that_was_judged(lab, taps):
    # Fails if the two bytes are written over a port or an address that the rules have let pass.
    vpc, subnet = lab.network()
    narrow = lab.group(vpc, "narrow", [udp(ANYWHERE, 7)])
    guest = lab.instance(subnet, narrow, ImageId=IMAGE)
    sender = lab.instance(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]), ImageId=IMAGE)
    target, tap = taps(guest), taps(sender)
    target.finish_nothing()
    before = drops(lab.daemon)["checksum-place"]

    def send(text, start, offset):
        pseudo = (socket.inet_aton(tap.ip) + socket.inet_aton(target.ip)
                  + struct.pack("!BBH", 0, socket.IPPROTO_UDP, 8 + len(text)))
        datagram = struct.pack("!HHHH", 40000, 7, 8 + len(text), ~checksum(pseudo) & 0xFFFF) + text
        frame = tap.packet(target.ip, socket.IPPROTO_UDP, datagram)
        tap.send(frame, (NEEDS_CHECKSUM, GSO_NONE, 0, 0, start, offset))

    # In a new flow and in one that is known: the ports, the length, half of its own place. The kernel itself
    # takes no place before the transport header.
    wrong = [(34, 2), (34, 0), (34, 3), (34, 4), (34, 5)]
    for start, offset in wrong:
        send(b"wrong place", start, offset)
    send(b"its own place", 34, 6)
    for start, offset in wrong:
        send(b"wrong place", start, offset)
    # As in a tunnel: the sum belongs to a packet inside.
    send(b"inside", 42, 2)
    arrived = [(header, frame) for header, frame in target.frames(0.5)
               if frame[12:14] == b"\x08\x00"]
    texts = [frame[42:] for _, frame in arrived]
    assert texts[0] == b"its own place"
    assert [text[:2] + text[4:] for text in texts[1:]] == [b"inde"]
    assert [header[0] for header, _ in arrived] == [0, 0]
    own = arrived[0][1]
    length = struct.pack("!BBH", 0, socket.IPPROTO_UDP, len(own) - 34)
    assert checksum(own[26:34] + length + own[34:]) == 0
    assert drops(lab.daemon)["checksum-place"] == before + 2 * len(wrong)


def test_a_guest_on_a_tap_gets_its_address_and_its_metadata(lab, taps):
    # Fails if what services answer is not delivered to a tap.
    guest, _ = pair(lab)
    tap = taps(guest)
    assert tap.ask_dhcp() == guest.ip
    connection = Connection(tap, "169.254.169.254", 80, source_port=41002)
    assert connection.open() == "open"
    wanted = b"PUT /latest/api/token HTTP/1.1\r\nHost: imds\r\n" \
             b"X-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
    assert connection.exchange(wanted).startswith(b"HTTP/1.1 200")


def test_a_guest_cannot_lie_about_who_it_is(lab, taps):
    # Fails if the spoof guard does not know a tap's owner.
    guest, peer = pair(lab, everything(ANYWHERE))
    tap = taps(guest)
    assert tap.ping(peer.ip) == "open"
    peer.agent.sniff(device="eth0")
    assert tap.ping(peer.ip, source="10.0.0.200") == "timeout"
    sent = socket.inet_aton("10.0.0.200").hex()
    assert not [frame for frame in peer.agent.sniffed(device="eth0") if frame[52:60] == sent]


def test_the_hosts_own_stack_reaches_no_tap(lab, taps):
    # Fails if the guard lets through what it should only let through from the pipeline.
    guest, peer = pair(lab, everything(ANYWHERE))
    tap = taps(guest)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as host:
        host.bind((tap.device, 0))
        host.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x454E4944)
        # The kernel says what became of it.
        with pytest.raises(OSError, match="No buffer space"):
            host.send(tap.mac + b"\x02" * 6 + b"\x08\x00" + b"forged" + bytes(60))
    assert tap.ping(peer.ip) == "open"
    peer.agent.datagram(address=guest.ip, port=9, text="last", wait=False)
    arrived = [frame for _, frame in tap.frames(0.5)]
    assert [frame for frame in arrived if b"last" in frame]
    assert not [frame for frame in arrived if b"forged" in frame]
    # The host has no address there, and asks for none.
    shown = subprocess.run(["ip", "-j", "addr", "show", "dev", tap.device], capture_output=True,
                           text=True, check=True)
    [link] = json.loads(shown.stdout)
    assert link["addr_info"] == []
    assert "NOARP" in link["flags"]


def test_only_its_owner_opens_a_tap(lab):
    # Fails if a tap is made without an owner: then anybody may open it.
    guest, _ = pair(lab)
    # Who may open the file that all taps are made from is the host's matter.
    opens = ("import fcntl, os, struct, sys; fd = os.open('/dev/net/tun', os.O_RDWR);"
             "os.setgroups([]); os.setgid(65534); os.setuid(int(sys.argv[2]));"
             "fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x5002))")

    def may_open(user):
        device = lab.daemon.json("tap", guest.id)["interfaces"][0]["device"]
        interpreter = os.path.realpath(sys.executable)
        done = subprocess.run([interpreter, "-I", "-S", "-c", opens, device, str(user)],
                              capture_output=True, text=True)
        assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr
        return done.returncode == 0

    assert not may_open(65534)
    told = lab.daemon.json("tap", guest.id, "--owner", "65534")
    assert told["owner"] == 65534
    assert may_open(65534)
    assert not may_open(65533)
    # It stays so over a stop and a start, which make another tap.
    lab.ec2.stop_instances(InstanceIds=[guest.id])
    lab.ec2.start_instances(InstanceIds=[guest.id])
    assert may_open(65534)
    assert not may_open(65533)


def test_a_tap_that_is_gone_is_given_to_nobody(lab):
    # Fails if opening it by its name makes another one, without programs, and says that all is well.
    guest, _ = pair(lab)
    device = lab.daemon.json("tap", guest.id)["interfaces"][0]["device"]
    subprocess.run(["ip", "link", "delete", device], check=True)
    refused = lab.daemon.run("tap", guest.id, "--owner", "65534", check=False)
    assert refused.returncode == 1 and "stop and start" in refused.stderr, refused
    assert device not in os.listdir("/sys/class/net")
    lab.ec2.stop_instances(InstanceIds=[guest.id])
    lab.ec2.start_instances(InstanceIds=[guest.id])
    assert lab.daemon.json("tap", guest.id, "--owner", "65534")["owner"] == 65534


def test_taps_come_and_go_with_the_instance(lab, taps):
    # Fails if a tap is left behind, or one is missing when the call is answered.
    guest, peer = pair(lab, everything(ANYWHERE))
    described = guest.describe()
    group = described["SecurityGroups"][0]["GroupId"]
    further = lab.interface(described["SubnetId"], group)
    lab.ec2.attach_network_interface(NetworkInterfaceId=further["NetworkInterfaceId"],
                                     InstanceId=guest.id, DeviceIndex=1)
    first, second = taps(guest), taps(guest, 1)
    assert second.ip == further["PrivateIpAddress"]
    assert first.ping(peer.ip) == second.ping(peer.ip) == "open"
    names = {first.device, second.device}
    assert names <= set(lab.daemon.devices())
    lab.ec2.stop_instances(InstanceIds=[guest.id])
    assert not names & set(lab.daemon.devices())
    refused = lab.daemon.run("tap", guest.id, check=False)
    assert refused.returncode == 1 and "is not running" in refused.stderr
    lab.ec2.start_instances(InstanceIds=[guest.id])
    assert names <= set(lab.daemon.devices())
    assert taps(guest).ping(peer.ip) == "open"
    with pytest.raises(lab.ec2.exceptions.ClientError, match="UnsupportedOperation"):
        lab.ec2.reboot_instances(InstanceIds=[guest.id])
    lab.ec2.terminate_instances(InstanceIds=[guest.id])
    assert not names & set(lab.daemon.devices())


def test_a_guest_on_a_tap_outlives_the_daemon(start_daemon):
    # Fails if a tap is made anew, or loses its programs, when the daemon is killed.
    from support.lab import Lab

    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    guest, peer = pair(lab, everything(ANYWHERE))
    tap = Tap(daemon.json("tap", guest.id)["interfaces"][0])
    assert tap.ping(peer.ip) == "open"
    daemon.kill()
    assert tap.ping(peer.ip) == "open"
    daemon.start()
    assert tap.ping(peer.ip) == "open"
    assert daemon.json("verify")["agree"]
    lab.revoke(peer.describe()["SecurityGroups"][0]["GroupId"], everything(ANYWHERE))
    assert tap.ping(peer.ip) == "timeout"
    tap.close()
    lab.close()
    until(lambda: not daemon.devices(), "no device is left")


def test_only_the_tap_image_has_taps(lab):
    # Fails if a sandbox's device is given away.
    vpc, subnet = lab.network()
    sandbox = lab.instance(subnet)
    refused = lab.daemon.run("tap", sandbox.id, check=False)
    assert refused.returncode == 1
    assert IMAGE in refused.stderr
    assert lab.daemon.run("tap", "i-1", check=False).returncode == 2
