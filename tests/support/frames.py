"""Frames, byte by byte: for what no kernel would send by itself. All are returned in hexadecimal."""

import ipaddress
import struct

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMP, TCP, UDP, GRE, FRAGMENT, ICMP6 = 1, 6, 17, 47, 44, 58
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def ethernet(to, source, kind, payload):
    return (_mac(to) + _mac(source) + struct.pack("!H", kind) + payload).hex()


def packet(source, target, protocol, payload, *, fragment=0, length=None, version=None):
    """An IP packet of the addresses' family. `fragment` is the word of IPv4 with offset and flags; of
    IPv6 it makes a fragment header with it."""
    if ":" in source:
        if fragment:
            head = struct.pack("!BBHI", protocol, 0, fragment, 7)
            payload, protocol = head + payload, FRAGMENT
        length = len(payload) if length is None else length
        first = struct.pack("!IHBB", (version or 6) << 28, length, protocol, 255)
        return first + _address(source) + _address(target) + payload
    length = 20 + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH", (version or 4) << 4 | 5, 0, length, 7, fragment, 64, protocol, 0)
    head += _address(source) + _address(target)
    return head[:10] + _sum(head) + head[12:] + payload


def udp(source, target, *, port=9, source_port=4000, data=b"hello"):
    """UDP over IP, with its checksum."""
    body = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    check = _sum(_pseudo(source, target, UDP, body) + body)
    return packet(source, target, UDP, body[:6] + check + body[8:])


def icmp6(source, target, kind, body):
    """An ICMPv6 message whose head ends with four bytes of `body`."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    check = _sum(_pseudo(source, target, ICMP6, message) + message)
    return packet(source, target, ICMP6, message[:2] + check + message[4:])


def solicitation(source, wanted, mac=None):
    """A neighbour solicitation to the wanted address's group."""
    group = ipaddress.ip_address(b"\xff\x02" + bytes(9) + b"\x01\xff" + _address(wanted)[13:])
    option = b"\x01\x01" + _mac(mac) if mac else b""
    return icmp6(source, str(group), 135, bytes(4) + _address(wanted) + option)


def arp(mac, sender, wanted, operation=1):
    return (struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + _mac(mac) + _address(sender)
            + bytes(6) + _address(wanted))


def _mac(text):
    return bytes.fromhex(text.replace(":", ""))


def _address(text):
    return ipaddress.ip_address(text).packed


def _pseudo(source, target, protocol, body):
    return _address(source) + _address(target) + struct.pack("!II", len(body), protocol)


def _sum(data):
    """The internet checksum."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
