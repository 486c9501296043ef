"""What Enid promises about time: an instance is reachable when launched, an answered change is
enforced, and connections outlive the daemon."""

import json
import statistics
import subprocess
import time

import api
import aws
import daemon
import links
import probe
from shell import Failed, process

# New flows per question whether the gate is open.
FLOWS = 4
# A flow that must pass ends the wait; one that is late is not one that was refused. One that must not
# pass is judged within its send, and the answer to it within the far end's.
PASS_WAIT_MS = 1_000
REFUSE_WAIT_MS = 20
GATE_PORT = 7005
PING_WAIT_S = 5
HELD_CONNECTIONS = 16
# The daemon dies this long after the connections have opened, and is back this much later.
KILL_AFTER_S = 0.5
DOWN_S = 1


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def launch(enid, times):
    """Seconds from RunInstances to the first reply to a ping from a neighbour."""
    region = daemon.Region(enid.endpoint)
    open_to_all = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": links.NETWORK}]}
    group = region.group("launch", [open_to_all])
    [(neighbour, _)] = region.launch([group])
    answered, reachable = [], []
    for _ in range(times):
        start = time.perf_counter()
        [(_, address)] = region.launch([group])
        answered.append(time.perf_counter() - start)
        ping(neighbour, address)
        reachable.append(time.perf_counter() - start)
    return {
        "answered_p50_ms": statistics.median(answered) * 1e3,
        "reachable_p50_ms": statistics.median(reachable) * 1e3,
        "reachable_max_ms": max(reachable) * 1e3,
    }


def ping(namespace, address):
    """Until the first reply."""
    command = ["ip", "netns", "exec", namespace]
    command += ["ping", "-c", "1", "-i", "0.01", "-w", str(PING_WAIT_S), "-q", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{address} does not answer a ping: {done.stdout.strip()}")


def enforced(enid, rounds, holders):
    """Opens and closes a gate again and again; no new flow may pass or fail against the answer.

    The region has 1,000 interfaces, all in the group that changes. Those of `holders` instances and
    of the two ends are attached, so their kernel tables follow each change.
    """
    region = daemon.Region(enid.endpoint)
    group = region.group("gate")
    link = region.link([group])
    attached = 2
    before, others = daemon.available_kib(), attached
    for instance, _ in region.launch([group], count=holders) if holders else []:
        attached += 1
        for index in range(1, daemon.INTERFACES_PER_INSTANCE):
            region.ec2.attach_network_interface(
                InstanceId=instance,
                NetworkInterfaceId=region.interface([group]),
                DeviceIndex=index,
            )
            attached += 1
    used = before - daemon.available_kib()
    create = enid.endpoint.request(
        "CreateNetworkInterface", SubnetId=region.subnet, **{"SecurityGroupId.1": group}
    )
    rule = {
        "GroupId": group,
        "IpPermissions.1.IpProtocol": "udp",
        "IpPermissions.1.FromPort": GATE_PORT,
        "IpPermissions.1.ToPort": GATE_PORT,
        "IpPermissions.1.IpRanges.1.CidrIp": links.NETWORK,
    }
    authorize = enid.endpoint.request("AuthorizeSecurityGroupIngress", **rule)
    revoke = enid.endpoint.request("RevokeSecurityGroupIngress", **rule)
    took, refused, passed = [], 0, 0
    with (
        aws.Connection(enid.endpoint) as connection,
        probe.server(link),
        probe.gate(link) as gate,
    ):
        for _ in range(api.MANY - attached):
            connection.send(create)
        if gate.passed(FLOWS, REFUSE_WAIT_MS):
            raise Failed("the gate is open before the first rule")
        for _ in range(rounds):
            took.append(connection.send(authorize)[1])
            refused += FLOWS - gate.passed(FLOWS, PASS_WAIT_MS)
            took.append(connection.send(revoke)[1])
            passed += gate.passed(FLOWS, REFUSE_WAIT_MS)
    return {
        "p50_ms": statistics.median(took) * 1e3,
        "p99_ms": quantile(took, 0.99) * 1e3,
        "calls": len(took),
        "flows": 2 * rounds * FLOWS,
        "refused_though_allowed": refused,
        "passed_though_revoked": passed,
        "disobeyed": refused + passed,
        "interfaces": api.MANY,
        "attached": attached,
        "kib_each": used / max(attached - others, 1),
    }


def survival(enid, link, times):
    """Connections that break while the daemon is killed and started again."""
    seconds = KILL_AFTER_S + DOWN_S + 2
    broken, longest, trips = 0, 0, 0
    for _ in range(times):
        command = probe.argv(
            link.client,
            probe.CLIENT_CORE,
            "hold",
            to=link.server_address,
            seconds=seconds,
            connections=HELD_CONNECTIONS,
        )
        with process(command, stdout=subprocess.PIPE, text=True) as child:
            if child.stdout.readline().strip() != "open":
                raise Failed("the connections to be held did not open")
            time.sleep(KILL_AFTER_S)
            enid.kill()
            time.sleep(DOWN_S)
            enid.start()
            enid.wait_for_health()
            seen = json.loads(child.stdout.readline())
        broken += seen["broken"]
        trips += seen["round_trips"]
        longest = max(longest, seen["longest_ms"])
    return {
        "connections": HELD_CONNECTIONS * times,
        "broken": broken,
        "round_trips": trips,
        "longest_ms": longest,
    }
