"""Figures against their budget, as a table and as JSON."""

import dataclasses
import math


@dataclasses.dataclass
class Row:
    """One figure beside what it is held against; the budget, if there is one, is a bound on `judged`."""

    what: str
    measured: str
    against: str
    judged: float
    bound: float | None
    at_least: bool
    unit: str = "x"

    @property
    def passes(self):
        if self.bound is None:
            return True
        return self.judged >= self.bound if self.at_least else self.judged <= self.bound

    def cells(self):
        sign = "≥" if self.at_least else "≤"
        judgement = ["-", ""]
        if self.bound is not None:
            budget = f"{sign} {self.shown(self.bound)}{self.unit}"
            judgement = [budget, "pass" if self.passes else "MISS"]
        return [
            self.what,
            self.measured,
            self.against,
            f"{self.shown(self.judged)}{self.unit}",
            *judgement,
        ]

    def shown(self, value):
        """A ratio near one needs the third digit to be told from its bound."""
        return f"{value:.3f}" if self.unit == "x" and value < 10 else number(value)

    def json(self):
        return {**dataclasses.asdict(self), "passes": self.passes}


HEAD = ["figure", "Enid", "against", "result", "budget", ""]


def number(value):
    """Three digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def table(rows):
    """Markdown, aligned: reads in a terminal and in the README."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    lines.insert(1, ["-" * max(width, 3) for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


# Per test and figure: its name, its unit and divisor, the bound against the bare pair and against
# nftables, and whether more is better. None: no bound.
PACKETS = [
    ("throughput", "bytes_per_second", "TCP throughput", "Gbit/s", 1.25e8, 0.97, None, True),
    ("latency", "p50_us", "round trip p50", "µs", 1, 1.10, None, False),
    ("latency", "p99_us", "round trip p99", "µs", 1, 1.25, None, False),
    ("connections", "per_second", "connect-request-close", "/s", 1, 0.85, 1.3, True),
    ("packets", "arrived_per_second", "64-byte UDP packets", "/s", 1, 0.85, 1.8, True),
]
# With 1,000 rules against one, and with flow logs against none, where more is better; the inverse where
# less is.
ALL_BUT_AS_GOOD = 0.98


def packets(samples):
    """Rows of ENI to ENI; the links are named veth, nft-N and eni-N, N being the rules."""
    rows = []
    for test, figure, name, unit, divisor, bare, filtered, more in PACKETS:

        def shown(link):
            return f"{number(samples.median(test, figure, link) / divisor)} {unit}"

        def row(what, link, base, bound):
            ratio = samples.ratio(test, figure, link, base)
            return Row(what, shown(link), f"{base} {shown(base)}", ratio, bound, more)

        for rules in (1, 1_000):
            label = f"{name}, {rule_count(rules)}"
            rows.append(row(label, f"eni-{rules}", "veth", bare))
            if filtered:
                rows.append(row(label, f"eni-{rules}", f"nft-{rules}", filtered))
        bound = ALL_BUT_AS_GOOD if more else 1 / ALL_BUT_AS_GOOD
        rows.append(row(f"{name}, 1,000 rules to 1", "eni-1000", "eni-1", bound))
    return rows


# How many rules stand beside Open vSwitch.
OVS_RULES = (1, 60, 1_000)


def variants(samples):
    """Rows of the other families, sizes and neighbours: (name, link, base, which of the bounds)."""
    pairs = [
        ("IPv6", "eni-ipv6", "veth-ipv6", "bare"),
        ("MTU 1500", "eni-1500", "veth-1500", "bare"),
        ("flow logs on", "eni-logged", "eni-unlogged", "alike"),
        ("60 rules", "eni-60", "veth", "bare"),
        ("60 rules", "eni-60", "nft-60", "filtered"),
        *((rule_count(rules), f"eni-{rules}", f"ovs-{rules}", "ovs") for rules in OVS_RULES),
    ]
    rows = []
    for test, figure, name, unit, divisor, bare, filtered, more in PACKETS:
        as_good = ALL_BUT_AS_GOOD if more else 1 / ALL_BUT_AS_GOOD
        # The design gives Open vSwitch no number: to be no worse is the least.
        bounds = {"bare": bare, "filtered": filtered, "ovs": 1.0, "alike": as_good}
        for variant, link, base, which in pairs:
            if bounds[which] is None:
                continue
            one, other = (
                f"{number(samples.median(test, figure, end) / divisor)} {unit}"
                for end in (link, base)
            )
            ratio = samples.ratio(test, figure, link, base)
            label = f"{name}, {variant}"
            rows.append(Row(label, one, f"{base} {other}", ratio, bounds[which], more))
    return rows


PROXIES = ("haproxy", "nginx")
# As fast, and in as small a part of a core's time.
TIMES_A_PROXY = 3
# Per test: its name, unit and divisor, the figure's name, and the bounds of the rate without a balancer, of
# the rate beside a proxy, and of what a busy core gives beside a proxy. None: no bound.
BALANCED = [
    ("throughput", "TCP throughput", "Gbit/s", 1.25e8, "bytes_per", 0.95, None, TIMES_A_PROXY),
    ("connections", "connect-request-close", "/s", 1, "per", 0.80, TIMES_A_PROXY, None),
]
# Per test: the figure, and of what the time is told, in which unit.
ADDED = [
    ("throughput", "bytes_per_core", "a gigabyte", "ms", 1e12),
    ("connections", "per_core", "a connection", "µs", 1e6),
]


def balancer(samples):
    """Rows of a load balancer: through its node beside without it, and beside proxies.

    What a busy core gives is of all that the machine does meanwhile, both ends included; the bare pair that
    stands with it does nothing else. What balancing adds is each balancer's own time alone.
    """
    rows = []
    for test, name, unit, divisor, figure, direct, rate, core in BALANCED:

        def shown(per, link):
            return f"{number(samples.median(test, f'{figure}_{per}', link) / divisor)} {unit}"

        def row(what, base, per, bound):
            beside = f"{base} {shown(per, base)}"
            if base != "direct":
                beside += f", veth {shown(per, 'veth')}"
            ratio = samples.ratio(test, f"{figure}_{per}", "through", base)
            return Row(f"{name}, {what}", shown(per, "through"), beside, ratio, bound, True)

        rows.append(row("balanced", "direct", "second", direct))
        for proxy in PROXIES:
            rows.append(row("balanced", proxy, "second", rate))
            rows.append(row("balanced, of a busy core", proxy, "core", core))
    for test, figure, what, unit, times in ADDED:
        own = times * samples.added(test, figure, "through", "direct")
        for proxy in PROXIES:
            other = times * samples.added(test, figure, proxy, "veth")
            label = f"time of a core that balancing adds to {what}"
            beside = f"{proxy} {number(other)} {unit}"
            # A proxy that seems to add nothing has not been measured.
            part = own / other if other > 0 else math.inf
            bound = 1 / TIMES_A_PROXY
            rows.append(Row(label, f"{number(own)} {unit}", beside, part, bound, False))
    return rows


def rule_count(rules):
    return f"{rules:,} rule{'s' if rules > 1 else ''}"


def api(enid, moto):
    """Rows of the API beside moto server."""
    rows = []
    for count, bound in ((1, 60), (1_000, 500)):
        own, other = enid["describes"][count], moto["describes"][count]
        rows.append(
            Row(
                f"DescribeNetworkInterfaces, {count:,} ENI{'s' if count > 1 else ''}",
                f"{number(own)} /s",
                f"moto {number(other)} /s",
                own / other,
                bound,
                True,
            )
        )
    rows.append(
        Row(
            "start to first answer",
            f"{number(enid['start_s'] * 1e3)} ms",
            f"moto {number(moto['start_s'] * 1e3)} ms",
            moto["start_s"] / enid["start_s"],
            10,
            True,
        )
    )
    rows.append(
        Row(
            "resident memory, idle",
            f"{number(enid['idle_mib'])} MiB",
            f"moto {number(moto['idle_mib'])} MiB",
            enid["idle_mib"],
            40,
            False,
            " MiB",
        )
    )
    return rows


def scale(enid, moto):
    """Rows of a large region. moto's figures are those of a smaller one, told with them."""
    count = f"{enid['interfaces']:,}"
    smaller = f"{moto['interfaces']:,}"

    def ms(seen, what):
        return seen["asked"][what]["p50_us"] / 1e3

    def row(name, what, bound):
        took = ms(enid, what)
        beside = f"moto {number(ms(moto, what))} ms at {smaller}" if what in moto["asked"] else "-"
        return Row(name, f"{number(took)} ms", beside, took, bound, False, " ms")

    filters = [what for what in enid["asked"] if what not in ("by id", "a page")]
    slowest = max(filters, key=lambda what: ms(enid, what))
    common = [what for what in filters if what in moto["asked"]]
    beside_moto = max(common, key=lambda what: ms(enid, what))
    rows = [
        row(f"DescribeNetworkInterfaces by id, {count} ENIs", "by id", 2),
        row(f"{slowest}, the slowest of {len(filters)} filters", slowest, 5),
        row("a page of 1,000", "a page", 20),
    ]
    if slowest != beside_moto:
        rows.insert(2, row(f"{beside_moto}, the slowest that moto has", beside_moto, 5))
    rate, other = enid["last"]["per_second"], moto["last"]["per_second"]
    rows.append(
        Row(
            f"CreateNetworkInterface, 16 clients, at {count}",
            f"{number(rate)} /s",
            f"moto {number(other)} /s to {smaller}",
            rate,
            1_000,
            True,
            " /s",
        )
    )
    start = enid["start_s"]
    rows.append(
        Row(f"start with {count} ENIs", f"{number(start)} s", "-", start, 3, False, " s")
    )
    rows.append(
        Row(
            "memory of an ENI",
            f"{number(enid['bytes_each'])} bytes",
            f"moto {number(moto['bytes_each'])} bytes",
            enid["bytes_each"],
            8_192,
            False,
            " bytes",
        )
    )
    return rows


def resets(enid, moto):
    """Rows of small tests with a reset between them."""
    return [
        Row(
            "reset, ephemeral without a datapath",
            f"{number(enid['reset_p50_ms'])} ms",
            f"moto {number(moto['reset_p50_ms'])} ms",
            enid["reset_p50_ms"],
            2,
            False,
            " ms",
        ),
        Row(
            "tests of five calls and a reset",
            f"{number(enid['tests_per_second'])} /s",
            f"moto {number(moto['tests_per_second'])} /s",
            enid["tests_per_second"],
            50,
            True,
            " /s",
        ),
    ]


def launch(seen):
    return [
        Row(
            "launch to first ping reply",
            f"{number(seen['reachable_p50_ms'])} ms",
            f"answered {number(seen['answered_p50_ms'])} ms",
            seen["reachable_p50_ms"],
            150,
            False,
            " ms",
        )
    ]


def enforced(seen):
    where = f"{seen['interfaces']:,} ENIs, {seen['attached']} attached"
    return [
        Row(
            "rule change answered, p99",
            f"p50 {number(seen['p50_ms'])} ms",
            where,
            seen["p99_ms"],
            10,
            False,
            " ms",
        ),
        Row(
            "memory of an attached ENI, a fifteenth of its sandbox included",
            f"{number(seen['kib_each'])} KiB",
            where,
            seen["kib_each"],
            None,
            False,
            " KiB",
        ),
        Row(
            "flows that disobey an answer",
            str(seen["disobeyed"]),
            f"{seen['flows']:,} flows",
            seen["disobeyed"],
            0,
            False,
            "",
        ),
    ]


def flows(seen):
    connections = f"{seen['connections']:,} connections"
    return [
        Row(
            f"sweep of {connections}, share of one core",
            f"{number(seen['sweep_core'] * 100)} %",
            f"none: {number(seen['idle_core'] * 100)} %",
            seen["sweep_core"] * 100,
            5,
            False,
            " %",
        ),
        Row(
            "the same with flow logs, a minute in which all are told",
            f"{number(seen['logged']['sweep_core'] * 100)} %",
            f"none: {number(seen['logged']['idle_core'] * 100)} %",
            seen["logged"]["sweep_core"] * 100,
            None,
            False,
            " %",
        ),
        Row(
            "kernel memory of a connection",
            f"{number(seen['bytes_each'])} bytes",
            connections,
            seen["bytes_each"],
            None,
            False,
            " bytes",
        ),
    ]


def records(seen):
    where = f"{number(seen['records'])} records, the last after {number(seen['behind_s'])} s"
    return [
        Row(
            "flow records a minute, stored and delivered",
            f"{number(seen['cores'] * 100)} % of a core",
            where,
            seen["per_minute"],
            1_000_000,
            True,
            " /min",
        ),
        Row(
            "resident memory meanwhile, at most",
            f"idle {number(seen['idle_mib'])} MiB",
            where,
            seen["peak_mib"],
            1_024,
            False,
            " MiB",
        ),
        Row(
            "records that say SKIPDATA",
            str(seen["skipped"]),
            where,
            seen["skipped"],
            0,
            False,
            "",
        ),
    ]


def survival(seen):
    return [
        Row(
            "connections cut by kill -9",
            str(seen["broken"]),
            f"{seen['connections']} connections, longest gap {number(seen['longest_ms'])} ms",
            seen["broken"],
            0,
            False,
            "",
        )
    ]
