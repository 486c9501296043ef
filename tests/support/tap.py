"""A guest on a tap, as a virtual machine monitor would have one: whole frames behind a vnet header."""

import fcntl
import os
import select
import socket
import struct
import time

from support.until import until

IMAGE = "ami-0e51d5a4db0c00003"

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TAP, _NO_INFORMATION, _VNET_HEADER = 0x2, 0x1000, 0x4000
_HEADER = struct.Struct("<BBHHHH")
NEEDS_CHECKSUM = 1
GSO_NONE, GSO_TCP4 = 0, 1
_SYN, _ACK, _PUSH, _FIN = 2, 16, 8, 1


class Tap:
    """An open tap."""

    def __init__(self, interface):
        self.device = interface["device"]
        self.mac = bytes.fromhex(interface["mac"].replace(":", ""))
        self.ip = interface["addresses"][0].split("/")[0]
        self.gateway = interface["gateway"]
        self._fd = os.open("/dev/net/tun", os.O_RDWR)
        flags = _TAP | _NO_INFORMATION | _VNET_HEADER
        fcntl.ioctl(self._fd, _TUNSETIFF, struct.pack("16sH22x", self.device.encode(), flags))
        # The kernel switches a link's queue on some time after somebody has opened it.
        self.router = until(lambda: self.ask_arp(self.gateway, 0.1), "the router answers")

    def close(self):
        os.close(self._fd)

    def finish_nothing(self):
        """From now on what arrives has its checksum, and is no longer than a packet."""
        fcntl.ioctl(self._fd, _TUNSETOFFLOAD, 0)

    def send(self, frame, header=(0, GSO_NONE, 0, 0, 0, 0)):
        os.write(self._fd, _HEADER.pack(*header) + frame)

    def frames(self, timeout):
        """What arrives: headers and frames, until nothing has for so long."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._fd], [], [], left)[0]:
                return
            data = os.read(self._fd, 70000)
            yield _HEADER.unpack(data[:_HEADER.size]), data[_HEADER.size:]

    def ask_arp(self, target, timeout=0.5):
        request = (b"\xff" * 6 + self.mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
                   + self.mac + socket.inet_aton(self.ip) + bytes(6) + socket.inet_aton(target))
        self.send(request)
        for _, frame in self.frames(timeout):
            if frame[12:14] == b"\x08\x06" and frame[28:32] == socket.inet_aton(target):
                assert frame[:6] == self.mac
                return frame[22:28]
        return None

    def ask_dhcp(self, timeout=1.0):
        """The address that a DHCP server offers."""
        ident = os.urandom(4)
        message = (struct.pack("!BBBB", 1, 1, 6, 0) + ident + struct.pack("!HH", 0, 0x8000)
                   + bytes(16) + self.mac + bytes(202) + b"\x63\x82\x53\x63\x35\x01\x01\xff")
        udp = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
        frame = self.packet("255.255.255.255", socket.IPPROTO_UDP, udp, source="0.0.0.0")
        self.send(b"\xff" * 6 + frame[6:])
        for _, frame in self.frames(timeout):
            if frame[12:14] == b"\x08\x00" and frame[34:38] == struct.pack("!HH", 67, 68):
                answer = frame[42:]
                if answer[4:8] == ident:
                    return socket.inet_ntoa(answer[16:20])
        return None

    def packet(self, target, protocol, payload, source=None):
        """An IPv4 packet to the router, in a frame."""
        source, target = socket.inet_aton(source or self.ip), socket.inet_aton(target)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
        head = head[:10] + struct.pack("!H", checksum(head + source + target)) + source + target
        return self.router + self.mac + b"\x08\x00" + head + payload

    def ping(self, target, timeout=0.4, source=None):
        """`open` when the reply to an echo request is there."""
        ident = os.urandom(2)
        body = b"\x08\x00\x00\x00" + ident + b"\x00\x01" + b"e" * 40
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        self.send(self.packet(target, socket.IPPROTO_ICMP, body, source))
        for _, frame in self.frames(timeout):
            if (frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_ICMP
                    and frame[34] == 0 and frame[38:40] == ident):
                assert checksum(frame[34:]) == 0
                return "open"
        return "timeout"

    def datagram(self, target, port, text, partial=False, timeout=0.4):
        """Sends a datagram and returns the answer's text; with `partial`, without its checksum."""
        udp = struct.pack("!HHHH", 40000, port, 8 + len(text), 0)
        pseudo = (socket.inet_aton(self.ip) + socket.inet_aton(target)
                  + struct.pack("!BBH", 0, socket.IPPROTO_UDP, 8 + len(text)))
        if partial:
            # What is there is the sum of the pseudo header; whoever needs a checksum finishes it.
            udp = udp[:6] + struct.pack("!H", ~checksum(pseudo) & 0xFFFF)
            header = (NEEDS_CHECKSUM, GSO_NONE, 0, 0, 34, 6)
        else:
            udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp + text))
            header = (0, GSO_NONE, 0, 0, 0, 0)
        self.send(self.packet(target, socket.IPPROTO_UDP, udp + text), header)
        for _, frame in self.frames(timeout):
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP:
                return frame[42:]
        return "timeout"


class Connection:
    """A TCP connection of a tap's guest: segments as large as a header may say, no losses."""

    def __init__(self, tap, target, port, mss=1460, source_port=41000):
        self.tap, self.target, self.port, self.mss = tap, target, port, mss
        self.source_port = source_port
        self.sequence, self.acknowledged = 1000, 0
        # The header that each frame with data came with.
        self.headers = []

    def open(self, timeout=0.5):
        self._send(_SYN, options=struct.pack("!BBH", 2, 4, self.mss) + b"\x03\x03\x07\x01")
        for _, frame in self.tap.frames(timeout):
            segment = self._own(frame)
            if segment is None:
                continue
            flags = segment[13]
            if flags & (_SYN | _ACK) == _SYN | _ACK:
                self.acknowledged = struct.unpack("!L", segment[4:8])[0] + 1
                self.sequence += 1
                self._send(_ACK)
                return "open"
            return "refused"
        return "timeout"

    def exchange(self, data, timeout=3.0):
        """Sends bytes, in one large segment, and returns what comes back."""
        self._send(_ACK | _PUSH, data)
        self.sequence += len(data)
        received = b""
        for header, frame in self.tap.frames(timeout):
            segment = self._own(frame)
            if segment is None:
                continue
            payload = segment[(segment[12] >> 4) * 4:]
            sequence = struct.unpack("!L", segment[4:8])[0]
            if not payload or sequence != self.acknowledged & 0xFFFFFFFF:
                continue
            self.headers.append(header)
            if not header[0] & NEEDS_CHECKSUM:
                assert checksum(self._pseudo(segment, to_us=True) + segment) == 0
            received += payload
            self.acknowledged += len(payload)
            self._send(_ACK)
            if len(received) >= len(data):
                break
        return received

    def _own(self, frame):
        if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
            return None
        length = struct.unpack("!H", frame[16:18])[0]
        segment = frame[34:14 + length]
        ports = struct.unpack("!HH", segment[:4])
        return segment if ports == (self.port, self.source_port) else None

    def _pseudo(self, segment, to_us=False):
        ends = [socket.inet_aton(self.tap.ip), socket.inet_aton(self.target)]
        if to_us:
            ends.reverse()
        return b"".join(ends) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))

    def _send(self, flags, data=b"", options=b""):
        offset = (20 + len(options)) // 4
        head = struct.pack("!HHLLBBHHH", self.source_port, self.port, self.sequence,
                           self.acknowledged, offset << 4, flags, 65535, 0, 0) + options
        partial = ~checksum(self._pseudo(head + data)) & 0xFFFF
        segment = head[:16] + struct.pack("!H", partial) + head[18:] + data
        if len(data) > self.mss:
            header = (NEEDS_CHECKSUM, GSO_TCP4, 34 + len(head), self.mss, 34, 16)
        else:
            header = (NEEDS_CHECKSUM, GSO_NONE, 0, 0, 34, 16)
        self.tap.send(self.tap.packet(self.target, socket.IPPROTO_TCP, segment), header)


def checksum(data):
    """The internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
