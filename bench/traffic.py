"""Packets: ENI to ENI beside a bare veth pair and routed veth with nftables.

Rounds are interleaved: in each, every link runs the same test one after the other, in an order of the
round's own. A ratio is taken within a round, where both sides saw the same machine, and
the median over the rounds is reported.
"""

import dataclasses
import random
import statistics

import probe

# Per test: the probe's mode and which of its figures count, each with whether more is better.
TESTS = {
    "throughput": ("tcp-stream", {"bytes_per_second": True}),
    "latency": ("tcp-rr", {"p50_us": False, "p99_us": False}),
    "connections": ("tcp-crr", {"per_second": True}),
    "packets": ("udp-pps", {"arrived_per_second": True}),
}
PAYLOAD = 64


@dataclasses.dataclass
class Samples:
    """One list per test, figure and link; position = round."""

    values: dict

    def of(self, test, figure, link):
        return self.values[test, figure, link]

    def median(self, test, figure, link):
        return statistics.median(self.of(test, figure, link))

    def ratio(self, test, figure, link, base):
        pairs = zip(self.of(test, figure, link), self.of(test, figure, base), strict=True)
        return statistics.median(one / other for one, other in pairs)

    def added(self, test, figure, link, base):
        """What one of `figure` takes more over `link` than over `base`."""
        pairs = zip(self.of(test, figure, link), self.of(test, figure, base), strict=True)
        return statistics.median(1 / one - 1 / other for one, other in pairs)


def run(links, rounds, seconds, tests=TESTS, measure=probe.measure, say=lambda line: None):
    """Measures every link of {name: Link} `rounds` times; a server must be running at each."""
    values = {}
    names = list(links)
    for turn in range(rounds):
        # Shuffled, so that no link always follows the same one; the same in every run.
        order = random.Random(turn)
        for test in tests:
            order.shuffle(names)
            mode, figures = tests[test]
            extra = {"payload": PAYLOAD} if mode == "udp-pps" else {}
            for name in names:
                links[name].before()
                seen = measure(links[name], mode, seconds, **extra)
                for figure in figures:
                    values.setdefault((test, figure, name), []).append(seen[figure])
        say(f"round {turn + 1} of {rounds}")
    return Samples(values)


def joined(parts):
    """The rounds of several runs over links of the same names, as of one."""
    values = {}
    for part in parts:
        for key, samples in part.values.items():
            values.setdefault(key, []).extend(samples)
    return Samples(values)
