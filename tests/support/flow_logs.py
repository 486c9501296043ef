"""Flow logs as they come to a bucket of a daemon."""

import gzip

BUCKET = "flow-logs"

# Records of a second, a file for each.
CONFIG = """[quotas]
vpcs = 1000
addresses = 1000
internet_gateways = 1000
nat_gateways_per_zone = 1000

[flow_logs]
window_s = 1
file_s = 1
"""

OWN = ("sg-rule-id", "nacl-entry", "route", "drop-reason", "rtt-us", "retransmits")
FIELDS = ("version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport",
          "protocol", "packets", "bytes", "start", "end", "action", "log-status", "vpc-id",
          "subnet-id", "instance-id", "tcp-flags", "type", "pkt-srcaddr", "pkt-dstaddr", "region",
          "az-id", "flow-direction", "traffic-path") + OWN
NUMBERS = ("srcport", "dstport", "protocol", "packets", "bytes", "start", "end", "tcp-flags",
           "rtt-us", "retransmits")


def format_of(*fields):
    return " ".join(f"${{{field}}}" for field in fields)


def create(ec2, *resources, kind="VPC", bucket=BUCKET, fields=FIELDS, **options):
    """A flow log to a bucket, by its id."""
    request = {"ResourceIds": list(resources), "ResourceType": kind, "TrafficType": "ALL",
               "LogDestinationType": "s3", "LogDestination": f"arn:aws:s3:::{bucket}"}
    if fields:
        request["LogFormat"] = format_of(*fields)
    answer = ec2.create_flow_logs(**request | options)
    assert answer["Unsuccessful"] == []
    [flow_log] = answer["FlowLogIds"]
    return flow_log


def files(daemon, bucket=BUCKET, end=".log.gz"):
    return sorted((daemon.data / "buckets" / bucket).rglob(f"[!.]*{end}"))


def records(daemon, bucket=BUCKET, status="OK"):
    """All records of a bucket with a status, as dictionaries; counts are numbers."""
    found = []
    for file in files(daemon, bucket):
        header, *lines = gzip.decompress(file.read_bytes()).decode().splitlines()
        for line in lines:
            record = dict(zip(header.split(" "), line.split(" "), strict=True))
            if record["log-status"] == status:
                found.append({name: int(value) if name in NUMBERS and value != "-" else value
                              for name, value in record.items()})
    return found


def total(records, field="packets", **wanted):
    """The sum of a field over records; names of fields with `_` for `-`."""
    wanted = {name.replace("_", "-"): value for name, value in wanted.items()}
    return sum(record[field] for record in records
               if all(record[name] == value for name, value in wanted.items()))
