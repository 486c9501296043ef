"""Runs inside an instance and sends and receives packets there as it is told.

It reads one JSON request per line, `{"id", "do", ...}`, and answers `{"id", "result" | "error"}`.
Each request has a thread of its own, so several packets can be under way at once. The source is
given to a plain interpreter as text: nothing of the tests has to be visible inside the instance.
"""

import errno
import json
import os
import select
import socket
import struct
import sys
import threading
import time

_connections = {}
_received = {}
_sniffers = {}
_finished = set()
_answer_lock = threading.Lock()
_SIOCGIFHWADDR = 0x8927


def _family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _any(address):
    return "::" if ":" in address else "0.0.0.0"


def serve_tcp(port, address="0.0.0.0"):
    """Sends back what arrives, on every connection."""
    listener = socket.socket(_family(address))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)

    def echo(connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_quietly, args=(echo, connection), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_udp(port, address="0.0.0.0", echo=True):
    """Keeps what arrives and, unless told otherwise, answers with its length and its sender."""
    server = socket.socket(_family(address), socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    server.bind((address, port))
    messages = _received.setdefault(port, [])

    def loop():
        while True:
            data, sender = server.recvfrom(65536)
            text = data[:64].decode("latin-1")
            messages.append({"from": list(sender), "text": text, "length": len(data)})
            if echo:
                answer = f"{len(data)} {sender[0]}".encode()
                _quietly(server.sendto, answer, sender)

    threading.Thread(target=loop, daemon=True).start()


def received(port):
    """What the UDP server at the port has received."""
    return _received[port]


def connect(address, port, source=None, timeout=0.4, name=None, source_port=0):
    """Opens a connection and sees its bytes come back. With a name it stays open."""
    connection = socket.socket(_family(address))
    connection.settimeout(timeout)
    try:
        if source or source_port:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind((source or _any(address), source_port))
        connection.connect((address, port))
        result = _exchange(connection, timeout)
        if name is not None and result == "open":
            _connections[name] = connection
            return result
    except OSError as error:
        result = _outcome(error)
    connection.close()
    return result


def exchange(name, timeout=0.4, length=5):
    """Sends bytes on a connection that is open and waits until they come back."""
    return _exchange(_connections[name], timeout, length)


def close(name):
    _connections.pop(name).close()


def trickle(name, address, port, pause):
    """Exchanges one message after the other on a new connection until `finish`; returns how many came
    back."""
    connection = socket.create_connection((address, port), timeout=2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(10)
    _connections[name] = connection
    done = 0
    while name not in _finished:
        message = struct.pack("!Q", done)
        connection.sendall(message)
        if connection.recv(8, socket.MSG_WAITALL) != message:
            break
        done += 1
        _received[name] = done
        time.sleep(pause)
    return done


def finish(name):
    """Ends a `trickle` after the message that is under way."""
    _finished.add(name)


def progress(name):
    """How many messages of a `trickle` have come back so far."""
    return _received.get(name, 0)


def datagram(address, port, text="hello", length=None, source=None, timeout=0.4, name=None,
             wait=True, source_port=0):
    """Sends a datagram and waits for an answer. A name keeps the socket, and with it the flow."""
    client = _connections.get(name)
    if client is None:
        client = socket.socket(_family(address), socket.SOCK_DGRAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        try:
            client.bind((source or _any(address), source_port))
        except OSError as error:
            client.close()
            return _outcome(error)
        client.connect((address, port))
        if name is not None:
            _connections[name] = client
    client.settimeout(timeout)
    data = text.encode()
    if length is not None:
        data = data.ljust(length, b".")
    try:
        client.send(data)
        if not wait:
            return "sent"
        return client.recv(65536).decode("latin-1")
    except OSError as error:
        return _outcome(error)
    finally:
        if name is None:
            client.close()


def scatter(address, port, count, first):
    """Sends a datagram from each of so many ports, and waits for no answer."""
    for number in range(first, first + count):
        with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
            client.bind((_any(address), number))
            client.sendto(b"x", (address, port))


def too_long(address, port, length, timeout=1.0, source_port=0):
    """Sends a datagram that may not be cut; who says that it is too long, and what length passes."""
    is_v6 = ":" in address
    level, discover, errors = ((socket.IPPROTO_IPV6, 23, 25) if is_v6
                               else (socket.IPPROTO_IP, 10, 11))
    with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.setsockopt(level, discover, 3)  # IP_PMTUDISC_PROBE: whatever was learnt before.
        client.setsockopt(level, errors, 1)
        client.bind((_any(address), source_port))
        client.connect((address, port))
        client.send(bytes(length))
        poll = select.poll()
        poll.register(client, select.POLLERR)
        if not poll.poll(timeout * 1000):
            return "nobody"
        [(_, _, about)] = client.recvmsg(64, 512, socket.MSG_ERRQUEUE)[1]
        # struct sock_extended_err, then the address of who sent the message.
        mtu = struct.unpack("=IBBBBII", about[:16])[5]
        who = about[24:40] if is_v6 else about[20:24]
        return [mtu, socket.inet_ntop(_family(address), who)]


def offload(device, on):
    """Whether the device fills in checksums for the stack, and cuts what is longer than a packet."""
    import ctypes
    import fcntl

    value = struct.pack("=II", 0x17, int(on))  # ETHTOOL_STXCSUM
    memory = ctypes.create_string_buffer(value, 8)
    request = struct.pack("=16sQ16x", device.encode(), ctypes.addressof(memory))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket.fileno(), 0x8946, request)
def count_tcp(port, address="0.0.0.0"):
    """Counts the bytes of every connection, see `counted`."""
    listener = socket.create_server((address, port))
    total = _received.setdefault(port, {"bytes": 0, "packets": 0})

    def read(connection):
        with connection:
            while data := connection.recv(1 << 20):
                total["bytes"] += len(data)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_quietly, args=(read, connection), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def count_udp(port, address="0.0.0.0"):
    """Counts the datagrams, see `counted`."""
    server = socket.socket(_family(address), socket.SOCK_DGRAM)
    _quietly(server.setsockopt, socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    server.bind((address, port))
    total = _received.setdefault(port, {"bytes": 0, "packets": 0})

    def loop():
        while True:
            total["bytes"] += len(server.recv(65536))
            total["packets"] += 1

    threading.Thread(target=loop, daemon=True).start()


def counted(port):
    """What came to a counting port so far: bytes without headers, and datagrams."""
    return dict(_received[port])


def pour_tcp(address, port, seconds, connections=1):
    """Sends as fast as it goes on so many connections."""
    until = time.monotonic() + seconds
    data = bytes(1 << 18)

    def pour():
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.settimeout(1)
            while time.monotonic() < until:
                try:
                    connection.send(data)
                except TimeoutError:
                    pass

    threads = [threading.Thread(target=_quietly, args=(pour,)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def pour_udp(address, port, seconds, per_second, length, segments=1):
    """Sends datagrams of a length at a rate, so many in a frame. Returns how many it sent."""
    client = socket.socket(_family(address), socket.SOCK_DGRAM)
    client.connect((address, port))
    if segments > 1:
        client.setsockopt(socket.IPPROTO_UDP, 103, length)  # UDP_SEGMENT
    data = bytes(length * segments)
    begin, sent = time.monotonic(), 0
    while (now := time.monotonic() - begin) < seconds:
        if sent > per_second * now:
            time.sleep(0.001)
            continue
        try:
            client.send(data)
        except OSError:
            continue
        sent += segments
    return sent


def ping(address, timeout=0.4, length=8, source=None):
    """An ICMP echo request: `open` when the reply is there."""
    if ":" in address:
        return _ping6(address, timeout, length)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        if source:
            raw.bind((source, 0))
        ident = struct.unpack("!H", os.urandom(2))[0]
        raw.settimeout(timeout)
        end = time.monotonic() + timeout
        try:
            raw.sendto(_icmp_echo(ident, length), (address, 0))
            while True:
                raw.settimeout(max(0.001, end - time.monotonic()))
                packet, sender = raw.recvfrom(65536)
                icmp = packet[(packet[0] & 15) * 4:]
                if icmp[0] == 0 and struct.unpack("!H", icmp[4:6])[0] == ident:
                    return "open" if sender[0] == address else "wrong sender"
        except OSError as error:
            return _outcome(error)


def _ping6(address, timeout, length):
    # The kernel fills in the checksum of ICMPv6.
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        ident = os.urandom(2)
        end = time.monotonic() + timeout
        try:
            raw.sendto(b"\x80\x00\x00\x00" + ident + b"\x00\x01" + bytes(length), (address, 0))
            while True:
                raw.settimeout(max(0.001, end - time.monotonic()))
                packet, sender = raw.recvfrom(65536)
                if packet[0] == 129 and packet[4:6] == ident:
                    # An address on the link is told with or without the link.
                    same = sender[0].split("%")[0] == address.split("%")[0]
                    return "open" if same else "wrong sender"
        except OSError as error:
            return _outcome(error)


def ping_until(address, within=5.0):
    """Pings closely spaced until the first reply; returns the seconds that took."""
    start = time.monotonic()
    while time.monotonic() < start + within:
        if ping(address, timeout=0.02) == "open":
            return time.monotonic() - start
    return None


def send_ip(source, destination, protocol, payload, port=0, source_port=0):
    """Sends an IPv4 packet with any source address, past the kernel's own choice of one."""
    data = payload.encode("latin-1")
    if protocol == socket.IPPROTO_UDP:
        data = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 0, 0, 64, protocol, 0,
                         socket.inet_aton(source), socket.inet_aton(destination))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(header + data, (destination, 0))
    return "sent"


def send_frame(device, frame):
    """Sends a whole Ethernet frame, given in hexadecimal."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
        packet.bind((device, 0))
        packet.send(bytes.fromhex(frame))
    return "sent"


def flood(device, frame, count):
    """Sends a frame many times, as fast as it goes."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
        packet.bind((device, 0))
        for _ in range(count):
            packet.send(bytes.fromhex(frame))
    return "sent"


def ask_arp(device, target, sender=None, sender_mac=None, timeout=0.3):
    """Sends an ARP request and returns the MAC of the answer, or `timeout`."""
    mac = bytes.fromhex(_mac(device).replace(":", ""))
    claimed = bytes.fromhex(sender_mac.replace(":", "")) if sender_mac else mac
    request = (b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
               + claimed + socket.inet_aton(sender or "0.0.0.0") + bytes(6)
               + socket.inet_aton(target))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as packet:
        packet.bind((device, 0x0806))
        packet.send(request)
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            packet.settimeout(left)
            try:
                frame = packet.recv(2048)
            except OSError as error:
                return _outcome(error)
            if frame[20:22] == b"\x00\x02" and frame[28:32] == socket.inet_aton(target):
                return frame[22:28].hex(":")
    return "timeout"


def sniff(device):
    """Starts to keep every frame that arrives at a device."""
    packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    _quietly(packet.setsockopt, socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    packet.bind((device, 3))
    _sniffers[device] = packet


def sniffed(device, length=128):
    """The frames that arrived since, in hexadecimal; those that were sent are left out, and of long ones
    the rest."""
    packet = _sniffers[device]
    frames = []
    while select.select([packet], [], [], 0)[0]:
        frame, about = packet.recvfrom(65536)
        if about[2] != socket.PACKET_OUTGOING:
            frames.append(frame[:length].hex())
    return frames


def mac(device):
    return _mac(device)


def devices():
    return sorted(os.listdir("/sys/class/net"))


def _mac(device):
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("256s", device.encode())
        return fcntl.ioctl(any_socket.fileno(), _SIOCGIFHWADDR, request)[18:24].hex(":")


def _exchange(connection, timeout, length=5):
    message = os.urandom(length)
    connection.settimeout(timeout)
    try:
        connection.sendall(message)
        back = b""
        while len(back) < length:
            part = connection.recv(length - len(back))
            if not part:
                return "closed"
            back += part
    except OSError as error:
        return _outcome(error)
    return "open" if back == message else "garbled"


def _outcome(error):
    if isinstance(error, TimeoutError):
        return "timeout"
    return {
        errno.ECONNREFUSED: "refused",
        errno.ECONNRESET: "reset",
        errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "no network",
        errno.EAGAIN: "timeout",
        errno.EMSGSIZE: "too long",
        errno.EADDRINUSE: "port in use",
    }.get(error.errno, repr(error))


def _icmp_echo(ident, length):
    def packet(checksum):
        return struct.pack("!BBHHH", 8, 0, checksum, ident, 1) + b"e" * length

    data = packet(0)
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return packet(~total & 0xFFFF)


def _quietly(function, *arguments):
    try:
        function(*arguments)
    except OSError:
        pass


def _answer(request):
    number = request.pop("id")
    try:
        answer = {"id": number, "result": globals()[request.pop("do")](**request)}
    except Exception as error:  # Whatever it is, the test shall see it.
        answer = {"id": number, "error": repr(error)}
    with _answer_lock:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main():
    for line in sys.stdin:
        threading.Thread(target=_answer, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
