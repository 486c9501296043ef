"""`make bench`: the figures that the README quotes, beside what they are compared with.

Run as root, with `enid` and the probe built for release. Everything is made in network namespaces and
data directories of the bench's own, and removed at the end. A figure that misses its budget makes the
exit code 1.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import platform
import signal
import sys
from subprocess import SubprocessError

from botocore.exceptions import BotoCoreError, ClientError

import api
import balancer
import daemon
import flows
import links
import ovs
import probe
import promises
import records
import report
import resets
import scale
import traffic
from shell import Failed

PARTS = (
    "packets",
    "variants",
    "balancer",
    "launch",
    "enforced",
    "flows",
    "records",
    "survival",
    "api",
    "scale",
    "resets",
)


class Plan:
    """How long everything takes: about 25 minutes, or seven with --quick.

    Many short slices rather than few long ones: what a noisy machine does in between then falls on
    both sides of a ratio.
    """

    def __init__(self, quick):
        self.rounds = 6 if quick else 25
        self.variant_rounds = 4 if quick else 15
        self.balancer_rounds = 4 if quick else 20
        self.builds = 2 if quick else 5
        self.seconds = 0.35 if quick else 0.5
        self.api_seconds = 2 if quick else 5
        self.starts = 1 if quick else 3
        self.launches = 5 if quick else 20
        self.changes = 50 if quick else 250
        # Fifteen interfaces each; with the two ends 1,000 or so are attached.
        self.holders = 2 if quick else 67
        self.kills = 1 if quick else 3
        self.connections = 100_000 if quick else 1_000_000
        self.sweep_seconds = 5 if quick else 15
        self.record_seconds = 30 if quick else 120
        self.interfaces = 20_000 if quick else 100_000
        self.moto_seconds = 5 if quick else 30
        self.resets = 100 if quick else 500


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about seven minutes, coarser")
    parser.add_argument("--json", metavar="FILE", help="write every sample and figure there too")
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="measure this part only; may be repeated"
    )
    return parser.parse_args()


def say(line):
    print(line, file=sys.stderr, flush=True)


def packets(stack):
    """ENI to ENI with 1 and 1,000 rules, and what it is compared with."""
    enid = stack.enter_context(daemon.private())
    region = daemon.Region(enid.endpoint)
    ends = {"veth": stack.enter_context(links.bare())}
    for rules in (1, 1_000):
        ends[f"nft-{rules}"] = stack.enter_context(links.nftables(rules))
        ends[f"eni-{rules}"] = region.link(region.groups(rules))
    return ends


def variants(stack):
    """The same with IPv6, a smaller MTU, 60 rules, flow logs, and beside Open vSwitch in user space."""
    enid = stack.enter_context(daemon.private())
    region = daemon.Region(enid.endpoint)
    ends = {
        "veth": stack.enter_context(links.bare()),
        "veth-1500": stack.enter_context(links.bare(mtu=1500)),
        "veth-ipv6": stack.enter_context(links.bare(ipv6=True)),
        "nft-60": stack.enter_context(links.nftables(60)),
        "eni-1500": region.link(region.groups(1), mtu=1500),
        "eni-ipv6": region.link([region.group_for_ipv6()], ipv6=True),
    }
    # One and the same link, on which flow logs are switched on and off: no luck of a pair's own.
    logged = daemon.Region(enid.endpoint)
    link = logged.link(logged.groups(1))
    ends["eni-logged"] = dataclasses.replace(link, before=logged.log_flows)
    ends["eni-unlogged"] = dataclasses.replace(link, before=logged.log_no_flows)
    for rules in report.OVS_RULES:
        ends[f"eni-{rules}"] = region.link(region.groups(rules))
        ends[f"ovs-{rules}"] = stack.enter_context(ovs.switch(rules))
    return ends


def traffic_over(make, rounds, plan, **options):
    """Every link that `make` builds, with a server at its far end, measured in interleaved rounds.

    The links are built anew several times: one and the same pair of namespaces can be a fifth faster or
    slower than its twin for as long as it lives, by where its hash chains and memory happen to lie.
    """
    parts = []
    for part in range(plan.builds):
        with contextlib.ExitStack() as stack:
            ends = make(stack)
            for link in {link.server: link for link in ends.values() if link.server}.values():
                stack.enter_context(probe.server(link))
            its_rounds = len(range(part, rounds, plan.builds))
            parts.append(traffic.run(ends, its_rounds, plan.seconds, say=say, **options))
    return traffic.joined(parts)


def survival(plan, stack):
    enid = stack.enter_context(daemon.private())
    region = daemon.Region(enid.endpoint)
    link = region.link(region.groups(1))
    stack.enter_context(probe.server(link))
    return promises.survival(enid, link, plan.kills)


def measure(part, plan):
    """One part: its rows, and what they were made from."""
    with contextlib.ExitStack() as stack:
        if part == "packets":
            samples = traffic_over(packets, plan.rounds, plan)
            raw = {" ".join(key): values for key, values in samples.values.items()}
            return report.packets(samples), raw
        if part == "variants":
            samples = traffic_over(variants, plan.variant_rounds, plan)
            raw = {" ".join(key): values for key, values in samples.values.items()}
            return report.variants(samples), raw
        if part == "balancer":
            options = {"tests": balancer.TESTS, "measure": balancer.measure}
            samples = traffic_over(balancer.ends, plan.balancer_rounds, plan, **options)
            raw = {" ".join(key): values for key, values in samples.values.items()}
            return report.balancer(samples), raw
        if part == "survival":
            seen = survival(plan, stack)
            return report.survival(seen), seen
        if part == "launch":
            seen = promises.launch(stack.enter_context(daemon.private()), plan.launches)
            return report.launch(seen), seen
        if part == "enforced":
            enid = stack.enter_context(daemon.private())
            seen = promises.enforced(enid, plan.changes, plan.holders)
            return report.enforced(seen), seen
        if part == "flows":
            settings = flows.configuration(plan.connections)
            enid = stack.enter_context(daemon.private(configuration=settings))
            seen = flows.sweep(enid, plan.connections, plan.sweep_seconds)
            stack.close()
            enid = stack.enter_context(daemon.private(configuration=settings))
            seen["logged"] = flows.sweep(enid, plan.connections, flows.LOGGED_S, is_logged=True)
            return report.flows(seen), seen
        if part == "records":
            enid = stack.enter_context(daemon.private(configuration=records.CONFIGURATION))
            seen = records.figures(enid, plan.record_seconds)
            return report.records(seen), seen
        if part == "scale":
            enid = scale.enid_figures(plan.interfaces, plan.api_seconds / 5, plan.starts, say)
            moto = scale.moto_figures(plan.moto_seconds, say)
            return report.scale(enid, moto), {"enid": enid, "moto": moto}
        if part == "resets":
            enid = resets.enid_figures(plan.resets)
            moto = resets.moto_figures(plan.resets // 10)
            return report.resets(enid, moto), {"enid": enid, "moto": moto}
        enid = api.enid_figures(plan.starts + 2, plan.api_seconds)
        moto = api.moto_figures(plan.starts, plan.api_seconds)
        return report.api(enid, moto), {"enid": enid, "moto": moto}


def machine():
    return {
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("bench: needs root, for network namespaces and the datapath")
    for program in (daemon.ENID, probe.PROBE):
        if not program.exists():
            sys.exit(f"bench: {program} is missing: make bench builds it")
    # Everything measured, on either side, is first in line for its core, as on a machine with nothing
    # else to do: what this one does besides would otherwise be in every figure. Children inherit it.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    # A stopped run cleans up as a finished one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = Plan(options.quick)
    rows, raw, failed = [], {}, []
    for part in options.only or PARTS:
        say(f"{part} ...")
        try:
            its_rows, raw[part] = measure(part, plan)
            rows += its_rows
        except (Failed, OSError, SubprocessError, BotoCoreError, ClientError) as failure:
            # The other parts' figures are still worth having.
            failed.append(f"{part}: {failure}")
    about = machine()
    print(f"Linux {about['kernel']}, {about['cores']} cores, {about['date']}\n")
    print(report.table(rows))
    for line in failed:
        print(f"failed: {line}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            figures = [row.json() for row in rows]
            json.dump({"machine": about, "figures": figures, "raw": raw, "failed": failed}, file)
    return 1 if failed or not all(row.passes for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
