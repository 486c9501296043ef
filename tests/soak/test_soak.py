"""A day in the life: no packet passes that the rules of its moment forbid, no connection that they
allow is cut, nothing leaks; with changes all the time and `kill -9` in between.

    internet (this host) === internet gateway
                                   |
    10.0.0.0/24 and IPv6: most ends, the NAT gateway     10.0.1.0/24: the other side of a router
    10.0.7-9.0/24: the doors of ACL, peering and NAT     10.1.0.0/16: the peer

`make soak` runs it for half an hour with a kill each minute (`ENID_SOAK_MINUTES`), `make test` for
half a minute.
"""

import dataclasses
import json
import os
import random
import threading
import time

import pytest

from soak import doors, leaks, load
from soak.caller import Caller
from soak.judge import Judge
from support.lab import ANYWHERE, Lab
from support.network import Network
from support.outside import Internet
from support.rules import everything

pytestmark = pytest.mark.real_packets

MINUTES = float(os.environ.get("ENID_SOAK_MINUTES", "0.5"))
# At least one death, however short the soak.
KILL_EVERY_S = min(60.0, MINUTES * 60 / 2.5)
CHECK_EVERY_S = 5.0


@dataclasses.dataclass
class World:
    """What the doors share; none of them changes it."""

    vpc: str
    subnet: str
    other_subnet: str
    open_group: str
    sink: object = None
    peer: object = None
    peering: str = None
    nat: str = None
    outside_address: str = None
    outside_port: int = 5300
    prefix_list: str = None


def build(lab, network, internet):
    """The VPCs, their gateways, and the ends that are always open."""
    vpc, subnet = lab.network_of_both_families()
    world = World(vpc, subnet, lab.subnet(vpc, "10.0.1.0/24"),
                  lab.group(vpc, "open", [everything(ANYWHERE), everything("::/0")]))
    out = network.table(vpc, subnet)
    network.route(out, ANYWHERE, lab.internet(vpc))
    nat_address = lab.address()
    # An address that no instance here asks for.
    world.nat = network.nat_gateway(subnet, AllocationId=nat_address["AllocationId"],
                                    PrivateIpAddress="10.0.0.250")
    world.outside_address = internet.address(nat_address["PublicIp"])
    internet.agent.serve_udp(port=world.outside_port, address=world.outside_address)
    internet.agent.serve_tcp(port=world.outside_port, address=world.outside_address)

    peer_vpc, peer_subnet = lab.network("10.1.0.0/16")
    world.peering = network.peer(vpc, peer_vpc)
    back = network.table(peer_vpc, peer_subnet)
    network.route(back, "10.0.0.0/16", world.peering)
    open_there = lab.group(peer_vpc, "open", [everything(ANYWHERE)])
    world.peer = doors.server_of(lab, peer_subnet, open_there)
    world.peer.agent.serve_tcp(port=80)
    world.sink = doors.server_of(lab, subnet, world.open_group, Ipv6AddressCount=1)
    world.sink.agent.serve_tcp(port=80)
    world.sink.agent.serve_tcp(port=81, address="::")
    return world


def kept_connections(lab, network, internet, world):
    """One for each way that a connection can take."""
    near = lab.instance(world.subnet, world.open_group, Ipv6AddressCount=1)
    far = lab.instance(world.other_subnet, world.open_group)
    yield load.Kept("inside a subnet", near.agent, world.sink.ip, 80)
    yield load.Kept("by IPv6", near.agent, world.sink.ip6, 81)
    yield load.Kept("across subnets", far.agent, world.sink.ip, 80)

    hidden_subnet = lab.subnet(world.vpc, "10.0.5.0/24")
    table = network.table(world.vpc, hidden_subnet)
    network.route(table, ANYWHERE, world.nat)
    network.route(table, "10.1.0.0/16", world.peering)
    hidden = lab.instance(hidden_subnet, world.open_group)
    yield load.Kept("through the NAT gateway", hidden.agent, world.outside_address,
                    world.outside_port)
    yield load.Kept("to the peer", hidden.agent, world.peer.ip, 80)

    address = lab.address()
    lab.ec2.associate_address(AllocationId=address["AllocationId"],
                              NetworkInterfaceId=world.sink.eni)
    yield load.Kept("from outside", internet.agent, address["PublicIp"], 80)

    # A rule that is gone does not end what it let in: security groups are stateful.
    rule = everything(f"{far.ip}/32")
    group = lab.group(world.vpc, "revoked", [rule])
    server = lab.instance(world.subnet, group)
    server.agent.serve_tcp(port=80)
    kept = load.Kept("whose rule is revoked", far.agent, server.ip, 80)
    deadline = time.monotonic() + 5
    while not far.agent.progress(name="kept: whose rule is revoked"):
        assert time.monotonic() < deadline, "the connection does not open"
    lab.revoke(group, rule)
    yield kept


def reaper(daemon, call, judge, stop, chance):
    """Kills the daemon again and again, and starts it."""
    while not stop.wait(KILL_EVERY_S):
        with call.dying:
            daemon.kill()
            time.sleep(chance.uniform(0.1, 2.0))
            daemon.start()
        judge.count("deaths of the daemon")


def test_a_day_in_the_life(start_daemon):
    # Fails if anything passes while its door is closed, or breaks while it is open.
    daemon = start_daemon("ebpf")
    judge, stop = Judge(), threading.Event()
    call = Caller(daemon, judge)
    internet = Internet()
    lab = Lab(daemon, call.ec2)
    network = Network(lab)
    seed = int(os.environ.get("ENID_SOAK_SEED", "1"))
    try:
        world = build(lab, network, internet)
        kept = list(kept_connections(lab, network, internet, world))
        all_doors = doors.all_of(call, lab, network, internet, world)
        for door in all_doors:
            door.knock(judge)
        busy = lab.instance(world.other_subnet, world.open_group)
        busy.agent.connect(address=world.sink.ip, port=80)
        before = leaks.held(daemon)
        threads = load.in_threads(
            judge,
            *((door.live, judge, stop, seed + number) for number, door in enumerate(all_doors)),
            (load.come_and_go, judge, stop, busy.agent, world.sink.ip, 80, "connect and close"),
            (load.bulk, judge, stop, busy.agent, world.sink.ip, 80, "across subnets"),
            (load.passer_by, call, lab, judge, stop, world),
            (reaper, daemon, call, judge, stop, random.Random(seed)))
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            time.sleep(CHECK_EVERY_S)
            for connection in kept:
                connection.check(judge)
        stop.set()
        for thread in threads:
            thread.join(120)
            judge.expect(not thread.is_alive(), f"{thread.name} does not end")
        for door in all_doors:
            door.knock(judge)
        judge.expect(daemon.run("verify", check=False).returncode == 0, "verify disagrees")
        after = leaks.compare(judge, daemon, call.ec2, before)
        print(json.dumps({"seen": judge.seen, "before": before, "after": after,
                          "violations": judge.violations}, indent=2))
        assert judge.violations == []
        for what in ("deaths of the daemon", "changes", "new flows that had to be refused",
                     "new flows that had to pass", "instances that came and went"):
            assert judge.seen[what] > 0, what
    finally:
        stop.set()
        network.close()
        lab.close()
        if "world" in locals() and world.prefix_list:
            call.ec2.delete_managed_prefix_list(PrefixListId=world.prefix_list)
        internet.close()
