"""What ENI to ENI is compared with: a bare veth pair, and routed veth pairs with nftables rules.

    bare      client [c]======[s] server
    nftables  client [c]======[rc] router [rs]======[s] server     forward: established, rules, drop

Open vSwitch has a file of its own: `ovs.py`.
"""

import contextlib
import dataclasses
from collections.abc import Callable

from shell import quiet, sh, unique

MTU = 9001
# Of the VPC, and of every pair that it is compared with.
NETWORK = "10.77.0.0/16"


@dataclasses.dataclass
class Link:
    """Two ends that a probe can run at."""

    client: str
    # None: a server runs already.
    server: str | None
    server_address: str
    # What is done before each measurement.
    before: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule that matches no traffic of the bench: a source, and one TCP port."""

    source: str
    port: int


def fillers(count):
    """Rules with a source and a port of their own each: nothing to merge or to guess."""
    return [Rule(f"198.51.{i // 250}.{i % 250 + 1}/32", 20_000 + i) for i in range(count)]


def tune(namespace):
    """Equal at every end: ports enough for the connection rate, and their early reuse."""
    for setting in (
        "net.ipv4.ip_local_port_range=1024 65535",
        "net.ipv4.tcp_tw_reuse=1",
        "net.ipv4.tcp_max_tw_buckets=200000",
    ):
        name, value = setting.split("=")
        path = "/proc/sys/" + name.replace(".", "/")
        sh(f"ip netns exec {namespace} tee {path}", stdin=value)


@contextlib.contextmanager
def namespaces(*names):
    """Network namespaces that go away with everything in them."""
    made = [unique(name) for name in names]
    try:
        for name in made:
            sh(f"ip netns add {name}")
            sh(f"ip -n {name} link set lo up")
        yield made
    finally:
        for name in made:
            quiet(f"ip netns delete {name}")


def cable(one, one_device, other, other_device, mtu=MTU):
    sh(
        f"ip -n {one} link add {one_device} mtu {mtu} type veth"
        f" peer name {other_device} mtu {mtu} netns {other}"
    )
    sh(f"ip -n {one} link set {one_device} up")
    sh(f"ip -n {other} link set {other_device} up")


@contextlib.contextmanager
def bare(mtu=MTU, ipv6=False):
    """One veth pair between two namespaces."""
    name = f"bare{mtu}v{6 if ipv6 else 4}"
    near, far, length = ("fd77::1", "fd77::2", 64) if ipv6 else ("10.77.1.1", "10.77.1.2", 24)
    with namespaces(f"{name}-c", f"{name}-s") as (client, server):
        cable(client, "c", server, "s", mtu)
        # Without the wait until an IPv6 address counts as nobody else's.
        flags = "nodad" if ipv6 else ""
        sh(f"ip -n {client} address add {near}/{length} dev c {flags}")
        sh(f"ip -n {server} address add {far}/{length} dev s {flags}")
        tune(client)
        tune(server)
        yield Link(client, server, far)


@contextlib.contextmanager
def nftables(rules):
    """Two veth pairs and a router whose last of `rules` rules lets the bench pass."""
    with namespaces(f"nft{rules}-c", f"nft{rules}-r", f"nft{rules}-s") as (client, router, server):
        cable(client, "c", router, "rc")
        cable(server, "s", router, "rs")
        sh(f"ip -n {client} address add 10.77.1.1/24 dev c")
        sh(f"ip -n {router} address add 10.77.1.254/24 dev rc")
        sh(f"ip -n {router} address add 10.77.2.254/24 dev rs")
        sh(f"ip -n {server} address add 10.77.2.2/24 dev s")
        sh(f"ip -n {client} route add default via 10.77.1.254")
        sh(f"ip -n {server} route add default via 10.77.2.254")
        sh(f"ip netns exec {router} tee /proc/sys/net/ipv4/ip_forward", stdin="1")
        sh(f"ip netns exec {router} nft -f -", stdin=ruleset(rules))
        tune(client)
        tune(server)
        yield Link(client, server, "10.77.2.2")


def ruleset(rules):
    lines = [
        f"ip saddr {rule.source} tcp dport {rule.port} accept" for rule in fillers(rules - 1)
    ]
    lines.append(f"ip saddr {NETWORK} accept")
    return "\n".join(
        [
            "table ip bench {",
            "chain forward {",
            "type filter hook forward priority 0; policy drop;",
            "ct state established,related accept",
            *lines,
            "}",
            "}",
        ]
    )
