"""A million tracked connections: what the sweep costs, and what one of them takes of memory."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import daemon
import probe
from shell import Failed

# The longest that a UDP flow without an answer may live: nothing expires while it is measured.
UDP_TIMEOUT_S = 60
# Each connection has two entries, and a pair of instances gets two thirds of the table at most.
TABLE_PER_CONNECTION = 4
SETTLE_S = 3
IDLE_S = 5
# What a record of a flow log tells of ends with a minute; then its windows are closed. So long before one
# the connections are made, and so long they are measured with flow logs.
WINDOW_S = 60
BEFORE_MINUTE_S = 25
LOGGED_S = 40
# Of the connections that were sent, so many are at least in the table when it is measured.
KEPT = 0.98


def configuration(connections):
    return f"{daemon.CONFIGURATION}\n[datapath]\nflow_entries = {connections * TABLE_PER_CONNECTION}\n"


def cpu_seconds(pid):
    """What a process has used up so far, all threads, in user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def flow_table(enid):
    """How many entries the flow table has, and how many it has room for."""
    command = [daemon.ENID, "counters", "--data", enid.data, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"enid counters: {done.stderr.strip()}")
    table = json.loads(done.stdout)["flow_table"]
    return table["entries"], table["entries_max"]


def map_bytes(pid, entries_max):
    """What the kernel says the flow table takes: the largest map with so much room."""
    found = []
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        words = dict(re.findall(r"^(\w+):\t(\d+)$", info.read_text(), re.MULTILINE))
        if int(words.get("max_entries", 0)) == entries_max:
            found.append(int(words["memlock"]))
    if not found:
        raise Failed(f"the daemon holds no map of {entries_max} entries")
    return max(found)


def sweep(enid, connections, seconds, is_logged=False):
    """The share of a core that the daemon takes while so many connections stand and nothing is sent."""
    region = daemon.Region(enid.endpoint)
    if is_logged:
        region.log_flows()
    link = region.link(region.groups(1))
    for interface in region.ec2.describe_network_interfaces()["NetworkInterfaces"]:
        region.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=interface["NetworkInterfaceId"],
            ConnectionTrackingSpecification={"UdpTimeout": UDP_TIMEOUT_S},
        )
    time.sleep(SETTLE_S)
    pid = enid.child.pid
    start, at = cpu_seconds(pid), time.monotonic()
    time.sleep(IDLE_S)
    idle = (cpu_seconds(pid) - start) / (time.monotonic() - at)

    if is_logged:
        time.sleep((-BEFORE_MINUTE_S - time.time()) % WINDOW_S)
    began = time.monotonic()
    command = probe.argv(
        link.client, probe.CLIENT_CORE, "udp-flows", to=link.server_address, count=connections
    )
    sent = probe.run(command, UDP_TIMEOUT_S / 2)
    time.sleep(SETTLE_S)
    start, at = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    busy = (cpu_seconds(pid) - start) / (time.monotonic() - at)
    # Read afterwards: reading them costs more than a sweep.
    entries, entries_max = flow_table(enid)
    if time.monotonic() - began > UDP_TIMEOUT_S:
        raise Failed("the first connections have expired before the measurement was over")
    if entries < KEPT * 2 * connections:
        raise Failed(f"{entries} entries for {connections} connections")
    return {
        "connections": entries // 2,
        "sweep_core": busy,
        "idle_core": idle,
        "send_s": sent["seconds"],
        "bytes_each": 2 * map_bytes(pid, entries_max) / entries_max,
    }
