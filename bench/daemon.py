"""A private Enid with its own data directory and port, and what the bench needs in it."""

import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import aws
import links
from shell import ROOT, Failed, quiet, sh, unique

ENID = Path(os.environ.get("ENID_BIN", ROOT / "target/release/enid"))
IMAGE = "ami-0123456789abcdef0"
# Fifteen interfaces, the most there is.
INSTANCE_TYPE = "m5.24xlarge"
INTERFACES_PER_INSTANCE = 15
RULES_PER_GROUP = 200
GROUPS_PER_INTERFACE = 5
ANSWER_MAX_S = 30

CONFIGURATION = f"""
[quotas]
rules_per_group = {RULES_PER_GROUP}
groups_per_interface = {GROUPS_PER_INTERFACE}
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def resident_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))


def available_kib():
    """What the whole host has left: the daemon's memory, the kernel's and the sandboxes' alike."""
    return int(re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text()).group(1))


class Daemon:
    """`enid serve` on a data directory; can be killed and started again."""

    def __init__(self, directory, configuration=CONFIGURATION, flags=("--datapath", "ebpf")):
        self.data = Path(directory) / "data"
        self.config = Path(directory) / "enid.toml"
        self.config.write_text(configuration)
        self.flags = flags
        self.log = Path(directory) / "enid.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.child = None
        self.endpoint = None

    def start(self):
        """Starts the daemon; the first time, its key exists only once it has answered."""
        listen = self.url.removeprefix("http://")
        command = [ENID, "serve", "--listen", listen, "--data", self.data]
        command += [*self.flags, "--config", self.config]
        with self.log.open("a") as log:
            self.child = subprocess.Popen(command, stdout=log, stderr=log)
        if self.endpoint is None:
            self.wait_for_health()
            self.endpoint = aws.Endpoint(self.url, *self.key())

    def wait_for_health(self):
        request = b"GET /_enid/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        give_up = time.monotonic() + ANSWER_MAX_S
        while time.monotonic() < give_up:
            if self.child.poll() is not None:
                raise Failed(f"enid serve ended: {self.log.read_text().strip()}")
            with contextlib.suppress(ConnectionError):
                with aws.Connection(aws.Endpoint(self.url, "", "")) as connection:
                    connection.send(request)
                    return
            time.sleep(0.005)
        raise Failed(f"enid serve does not answer: {self.log.read_text().strip()}")

    def key(self):
        command = [ENID, "env", "--data", self.data]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = dict(re.findall(r"export (\w+)=[\"']?([^\s\"']+)", text))
        return found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]

    def kill(self):
        """As `kill -9` does."""
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def down(self):
        """Removes what the daemon made on this host."""
        self.kill()
        quiet(f"{ENID} down --data {self.data}")


@contextlib.contextmanager
def private(**options):
    """A running daemon of which nothing is left when the block ends; options as for `Daemon`."""
    directory = tempfile.mkdtemp(prefix=unique("enid-"))
    daemon = Daemon(directory, **options)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.down()
        shutil.rmtree(directory, ignore_errors=True)


class Region:
    """A VPC with one large subnet, made through the API as anybody would."""

    def __init__(self, endpoint):
        self.ec2 = endpoint.client()
        made = self.ec2.create_vpc(CidrBlock=links.NETWORK, AmazonProvidedIpv6CidrBlock=True)
        self.vpc = made["Vpc"]["VpcId"]
        [block] = self.ec2.describe_vpcs(VpcIds=[self.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"]
        self.ipv6_block = block["Ipv6CidrBlock"]
        made = self.ec2.create_subnet(
            VpcId=self.vpc,
            CidrBlock="10.77.0.0/18",
            Ipv6CidrBlock=self.ipv6_block.replace("/56", "/64"),
        )
        self.subnet = made["Subnet"]["SubnetId"]

    def group(self, name, permissions=()):
        made = self.ec2.create_security_group(
            GroupName=name, Description="for the bench", VpcId=self.vpc
        )
        if permissions:
            self.ec2.authorize_security_group_ingress(
                GroupId=made["GroupId"], IpPermissions=list(permissions)
            )
        return made["GroupId"]

    @functools.cache
    def groups(self, rules):
        """Groups with `rules` ingress rules together; the last one lets the bench pass."""
        permissions = [permission(rule) for rule in links.fillers(rules - 1)]
        permissions.append({"IpProtocol": "-1", "IpRanges": [{"CidrIp": links.NETWORK}]})
        parts = range(0, rules, RULES_PER_GROUP)
        return [
            self.group(f"rules-{rules}-{start}", permissions[start : start + RULES_PER_GROUP])
            for start in parts
        ]

    def group_for_ipv6(self):
        """A group whose one rule lets the VPC's IPv6 block pass."""
        rule = {"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": self.ipv6_block}]}
        return self.group("ipv6", [rule])

    def launch(self, groups, count=1, ipv6=False):
        """Instances, each with its first interface's address."""
        family = {"Ipv6AddressCount": 1} if ipv6 else {}
        made = self.ec2.run_instances(
            ImageId=IMAGE,
            InstanceType=INSTANCE_TYPE,
            MinCount=count,
            MaxCount=count,
            SubnetId=self.subnet,
            SecurityGroupIds=groups,
            **family,
        )
        return [
            (one["InstanceId"], one["Ipv6Address"] if ipv6 else one["PrivateIpAddress"])
            for one in made["Instances"]
        ]

    def link(self, groups, mtu=links.MTU, ipv6=False):
        """Two instances with the same groups. The instance's id is its namespace's name."""
        (client, _), (server, address) = self.launch(groups, count=2, ipv6=ipv6)
        for instance in (client, server):
            sh(f"ip -n {instance} link set eth0 mtu {mtu}")
            links.tune(instance)
        return links.Link(client, server, address)

    def log_no_flows(self):
        """No flow logs any more."""
        there = self.ec2.describe_flow_logs()["FlowLogs"]
        own = [one["FlowLogId"] for one in there if one["ResourceId"] == self.vpc]
        if own:
            self.ec2.delete_flow_logs(FlowLogIds=own)

    def log_flows(self):
        """Flow logs of everything in the VPC, in a minute's windows."""
        self.log_no_flows()
        made = self.ec2.create_flow_logs(
            ResourceIds=[self.vpc],
            ResourceType="VPC",
            TrafficType="ALL",
            LogDestinationType="s3",
            LogDestination="arn:aws:s3:::bench",
            MaxAggregationInterval=60,
        )
        if made["Unsuccessful"]:
            raise Failed(f"flow logs: {made['Unsuccessful']}")

    def interface(self, groups):
        made = self.ec2.create_network_interface(SubnetId=self.subnet, Groups=groups)
        return made["NetworkInterface"]["NetworkInterfaceId"]


def permission(rule):
    return {
        "IpProtocol": "tcp",
        "FromPort": rule.port,
        "ToPort": rule.port,
        "IpRanges": [{"CidrIp": rule.source}],
    }
