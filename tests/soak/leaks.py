"""What the host and the daemon hold: it may not grow from one hour to the next."""

import os
from pathlib import Path

from support.until import until

# Of one daemon to the next on the same region, or of the same one later.
DESCRIPTORS_MAX_MORE = 40
RESIDENT_MAX_TIMES = 1.5
# Terminated instances are described for an hour, as AWS does: 4.4 KiB each, by 4,000 of them without a datapath,
# the daemon started anew.
TERMINATED_KIB = 5


def held(daemon):
    pid = daemon.process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    [resident] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "resident_kib": int(resident),
        "devices": len(daemon.devices()),
        "pins": len(daemon.pins()),
        "processes": len(daemon.processes()),
    }


def attached(ec2):
    """How many interfaces of running instances there are, the number of devices that there should be."""
    filters = [{"Name": "attachment.status", "Values": ["attached"]},
               {"Name": "interface-type", "Values": ["interface"]}]
    pages = ec2.get_paginator("describe_network_interfaces").paginate(Filters=filters)
    return sum(len(page["NetworkInterfaces"]) for page in pages)


def terminated(ec2):
    """How many terminated instances are still described."""
    filters = [{"Name": "instance-state-name", "Values": ["terminated"]}]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    return sum(len(one["Instances"]) for page in pages for one in page["Reservations"])


def compare(judge, daemon, ec2, before):
    """Nothing has piled up since `before`; flows of those who are gone leave as well."""
    expected = attached(ec2)
    until(lambda: len(daemon.devices()) == expected, f"{expected} devices", within=10)
    now = held(daemon)
    for what in ("pins", "devices", "processes"):
        judge.expect(now[what] <= before[what], f"{what}: {before[what]} at first, {now[what]} now")
    judge.expect(now["descriptors"] <= before["descriptors"] + DESCRIPTORS_MAX_MORE,
                 f"descriptors: {before['descriptors']} at first, {now['descriptors']} now")
    now["terminated"] = terminated(ec2)
    kept = now["terminated"] * TERMINATED_KIB
    judge.expect(now["resident_kib"] <= before["resident_kib"] * RESIDENT_MAX_TIMES + 8192 + kept,
                 f"memory: {before['resident_kib']} KiB at first, {now['resident_kib']} now")
    return now
