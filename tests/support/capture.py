"""`enid capture` under way, and the files that it writes, read by dpkt."""

import io
import subprocess

import dpkt
from dpkt import pcapng

from support.until import until


class Capture:
    """A capture of an interface that writes a file until it is stopped."""

    def __init__(self, daemon, eni, path, *options):
        self.path = path
        command = daemon.command("capture", eni, "--write", str(path), *options)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until(lambda: self.process.poll() is not None or path.exists() and path.stat().st_size,
              "the capture begins")

    def stop(self):
        """Ends it as Ctrl-C does; what it said last."""
        self.process.terminate()
        return self.wait()

    def wait(self):
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said

    def packets(self):
        return read(self.path.read_bytes())[1]

    def seen(self, count):
        """So many packets, once they are written."""
        return until(lambda: len(found := self.packets()) >= count and found, f"{count} packets")


class Packet:
    def __init__(self, block):
        self.bytes, self.length = block.pkt_data, block.pkt_len
        self.time_ns = block.ts_high << 32 | block.ts_low
        options = {option.code: option for option in block.opts}
        self.comment = options[pcapng.PCAPNG_OPT_COMMENT].text
        # epb_flags: 1 is inbound, 2 outbound.
        flags = int.from_bytes(options[2].data, "little")
        self.direction = {1: "ingress", 2: "egress"}[flags & 3]
        # epb_verdict, of the traffic control: TC_ACT_SHOT or TC_ACT_REDIRECT.
        kind, verdict = options[7].data[0], int.from_bytes(options[7].data[1:9], "little")
        assert kind == 1
        self.verdict = {2: "drop", 7: "forward"}[verdict]
        assert self.comment.startswith(self.verdict)
        self.ip = dpkt.ethernet.Ethernet(self.bytes).data

    def __repr__(self):
        return f"{self.direction} {self.comment}"


def read(data):
    """The interface's block, the packets, and the statistics (none if the file ends early)."""
    blocks = list(_blocks(data))
    assert isinstance(blocks[0], pcapng.SectionHeaderBlockLE)
    interface = blocks[1]
    assert isinstance(interface, pcapng.InterfaceDescriptionBlockLE) and interface.linktype == 1
    packets = [Packet(block) for block in blocks if isinstance(block, pcapng.EnhancedPacketBlockLE)]
    statistics = [block for block in blocks if isinstance(block, bytes)]
    return interface, packets, statistics[0] if statistics else None


def counts(statistics):
    """Received and dropped, of an interface statistics block."""
    found, at = {}, 20
    while (code := int.from_bytes(statistics[at:at + 2], "little")) != 0:
        length = int.from_bytes(statistics[at + 2:at + 4], "little")
        found[code] = int.from_bytes(statistics[at + 4:at + 4 + length], "little")
        at += 4 + (length + 3) // 4 * 4
    return found[4], found[5]


def _blocks(data):
    stream = io.BytesIO(data)
    while head := stream.read(8):
        kind, length = (int.from_bytes(head[at:at + 4], "little") for at in (0, 4))
        rest = stream.read(length - 8)
        if len(rest) < length - 8:
            # The file is being written.
            return
        assert int.from_bytes(rest[-4:], "little") == length and length % 4 == 0
        block = head + rest
        known = {pcapng.PCAPNG_BT_SHB: pcapng.SectionHeaderBlockLE,
                 pcapng.PCAPNG_BT_IDB: pcapng.InterfaceDescriptionBlockLE,
                 pcapng.PCAPNG_BT_EPB: pcapng.EnhancedPacketBlockLE}
        yield known[kind](block) if kind in known else block


def by_dpkt_alone(path):
    """Times and bytes as dpkt's own reader has them."""
    with open(path, "rb") as file:
        return list(pcapng.Reader(file))
