"""A million flow records a minute: told, stored and delivered, with how much memory and of how many cores."""

import gzip
import re
import time
from pathlib import Path

import daemon
import flows
import probe
from shell import Failed

# Each flow of one datagram is a record at either end.
RECORDS_PER_FLOW = 2
RECORDS_PER_MINUTE = 1_100_000
WINDOW_S = 10
# A flow without an answer stays for so long at least, and a pair of instances gets two thirds of the table.
FLOWS_AT_ONCE = 1_000_000
DELIVERED_MAX_S = 120

CONFIGURATION = f"""{daemon.CONFIGURATION}
[datapath]
flow_entries = {FLOWS_AT_ONCE * flows.TABLE_PER_CONNECTION}

[flow_logs]
window_s = {WINDOW_S}
file_s = {WINDOW_S}
"""


def peak_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))


def delivered(enid, read):
    """How many records there are in files that were not read yet: with packets, and of packets left out."""
    told, skipped = 0, 0
    for file in (enid.data / "buckets").rglob("[!.]*.log.gz"):
        if file in read:
            continue
        read.add(file)
        for line in gzip.decompress(file.read_bytes()).splitlines()[1:]:
            told += line.endswith(b" OK")
            skipped += line.endswith(b" SKIPDATA")
    return told, skipped


def figures(enid, seconds):
    """Sends new flows at an even rate, and waits until all of them are in files."""
    region = daemon.Region(enid.endpoint)
    region.log_flows()
    link = region.link(region.groups(1))
    pid = enid.child.pid
    idle_kib = daemon.resident_kib(pid)
    per_second = RECORDS_PER_MINUTE // 60 // RECORDS_PER_FLOW
    began, cpu, sent = time.monotonic(), flows.cpu_seconds(pid), 0
    while time.monotonic() < began + seconds:
        command = probe.argv(
            link.client, probe.CLIENT_CORE, "udp-flows", to=link.server_address, count=per_second
        )
        sent += probe.run(command, 10)["sent"]
        # What took longer than a second is made up for by the next ones.
        time.sleep(max(0.0, began + sent / per_second - time.monotonic()))
    took = time.monotonic() - began
    read, told, skipped = set(), 0, 0
    give_up = time.monotonic() + DELIVERED_MAX_S
    # Ports may be taken again by chance, within a window.
    while told < RECORDS_PER_FLOW * sent * flows.KEPT:
        if time.monotonic() > give_up:
            raise Failed(f"{told} records were delivered of {sent} flows, {skipped} skipped")
        time.sleep(1)
        more, left_out = delivered(enid, read)
        told, skipped = told + more, skipped + left_out
    behind = time.monotonic() - began - took
    return {
        "per_minute": told / took * 60,
        "records": told,
        "skipped": skipped,
        "behind_s": behind,
        "cores": (flows.cpu_seconds(pid) - cpu) / (took + behind),
        "peak_mib": peak_kib(pid) / 1024,
        "idle_mib": idle_kib / 1024,
    }
