"""Traffic mirroring: what a test makes of it, and what its target gets."""

import ipaddress
import struct

VXLAN = 4789


class Mirror:
    """Makes sessions, and deletes them at the end."""

    def __init__(self, lab):
        self.ec2 = lab.ec2
        self._made = []

    def target(self, instance):
        answer = self.ec2.create_traffic_mirror_target(NetworkInterfaceId=instance.eni)
        target = answer["TrafficMirrorTarget"]["TrafficMirrorTargetId"]
        self._made.append((self.ec2.delete_traffic_mirror_target, {"TrafficMirrorTargetId": target}))
        return target

    def filter(self, *rules, dns=False):
        """A filter with these rules, numbered in their order."""
        answer = self.ec2.create_traffic_mirror_filter()
        made = answer["TrafficMirrorFilter"]["TrafficMirrorFilterId"]
        self._made.append((self.ec2.delete_traffic_mirror_filter, {"TrafficMirrorFilterId": made}))
        if dns:
            self.ec2.modify_traffic_mirror_filter_network_services(
                TrafficMirrorFilterId=made, AddNetworkServices=["amazon-dns"])
        for number, one in enumerate(rules, start=1):
            self.ec2.create_traffic_mirror_filter_rule(
                TrafficMirrorFilterId=made, RuleNumber=number, **one)
        return made

    def session(self, source, target, filter, number=1, vni=7, **options):
        answer = self.ec2.create_traffic_mirror_session(
            NetworkInterfaceId=source.eni, TrafficMirrorTargetId=target,
            TrafficMirrorFilterId=filter, SessionNumber=number, VirtualNetworkId=vni, **options)
        session = answer["TrafficMirrorSession"]["TrafficMirrorSessionId"]
        self._made.append((self.ec2.delete_traffic_mirror_session,
                           {"TrafficMirrorSessionId": session}))
        return session

    def end(self, session):
        self.ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=session)
        self._made.remove((self.ec2.delete_traffic_mirror_session,
                           {"TrafficMirrorSessionId": session}))

    def close(self):
        for delete, what in reversed(self._made):
            delete(**what)


def rule(out=True, action="accept", source="0.0.0.0/0", destination="0.0.0.0/0", protocol=None,
         source_ports=None, ports=None):
    """A rule of a filter, without its number."""
    made = {"TrafficDirection": "egress" if out else "ingress", "RuleAction": action,
            "SourceCidrBlock": source, "DestinationCidrBlock": destination}
    if protocol is not None:
        made["Protocol"] = protocol
    if source_ports:
        made["SourcePortRange"] = dict(zip(("FromPort", "ToPort"), source_ports))
    if ports:
        made["DestinationPortRange"] = dict(zip(("FromPort", "ToPort"), ports))
    return made


def both(**options):
    """Rules of both directions that are otherwise the same."""
    return rule(True, **options), rule(False, **options)


class Copy:
    """A VXLAN packet that a target got, taken apart; every header of it is checked."""

    def __init__(self, frame):
        frame = bytes.fromhex(frame) if isinstance(frame, str) else frame
        packet = frame[14:]
        assert packet[0] == 0x45 and packet[9] == 17 and _folded(packet[:20]) == 0xFFFF
        total, = struct.unpack("!H", packet[2:4])
        assert total == len(packet)
        self.source, self.target = (str(ipaddress.ip_address(packet[at:at + 4])) for at in (12, 16))
        self.source_port, self.port, length, checksum = struct.unpack("!HHHH", packet[20:28])
        assert (self.port, length, checksum) == (VXLAN, total - 20, 0)
        flags, vni = struct.unpack("!II", packet[28:36])
        assert flags == 0x08000000 and vni & 0xFF == 0
        self.length, self.vni, self.frame = total, vni >> 8, packet[36:]
        self.inner = Inner(self.frame) if len(self.frame) >= 42 else None


class Inner:
    """The packet inside."""

    def __init__(self, frame):
        kind, packet = frame[12:14], frame[14:]
        if kind == b"\x08\x00":
            self.protocol, head = packet[9], (packet[0] & 15) * 4
            self.source, self.destination = (str(ipaddress.ip_address(packet[at:at + 4]))
                                             for at in (12, 16))
            total, = struct.unpack("!H", packet[2:4])
            assert _folded(packet[:head]) == 0xFFFF
            # More fragments, or an offset: the checksum is of all of them.
            is_cut = struct.unpack("!H", packet[6:8])[0] & 0x3FFF != 0
            pseudo = packet[12:20]
        else:
            self.protocol, head = packet[6], 40
            self.source, self.destination = (str(ipaddress.ip_address(packet[at:at + 16]))
                                             for at in (8, 24))
            total, is_cut = 40 + struct.unpack("!H", packet[4:6])[0], False
            pseudo = packet[8:40]
        self.body, self.is_whole = packet[head:total], total <= len(packet)
        self.source_port, self.port = struct.unpack("!HH", self.body[:4])
        if self.is_whole and not is_cut:
            pseudo = pseudo + struct.pack("!II", len(self.body), self.protocol)
            data = self.body if self.protocol == 1 else pseudo + self.body
            # A receiver that verifies finds it right.
            assert _folded(data) == 0xFFFF, (self.protocol, frame.hex())

    def __repr__(self):
        return f"{self.protocol} {self.source} > {self.destination}"


def copies(instance, device="eth0"):
    """The copies that an instance got since it began to sniff."""
    frames = instance.agent.sniffed(device=device, length=65536)
    return [Copy(frame) for frame in frames if is_copy(bytes.fromhex(frame))]


def is_copy(frame):
    return frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == b"\x12\xb5"


def _folded(data):
    """The sum that is all ones where a checksum is right."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
