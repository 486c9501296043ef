"""Runs the probe at the ends of a link, each end on a core of its own, alike for every link."""

import contextlib
import json
import subprocess

from shell import ROOT, Failed, process

PROBE = ROOT / "target/release/enid-bench-probe"
CLIENT_CORE = 0
SERVER_CORE = 1
# For requests: a server on the client's core would wait for it.
ALL_CORES = f"{CLIENT_CORE},{SERVER_CORE}"
# What a probe may take beyond the time that it was told to measure.
GRACE_S = 30


def argv(namespace, core, mode, **arguments):
    words = ["ip", "netns", "exec", namespace] if namespace else []
    words += ["taskset", "--cpu-list", str(core), str(PROBE), mode]
    for name, value in arguments.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    return words


@contextlib.contextmanager
def server(link):
    """The far end of all traffic, for as long as the block lasts."""
    command = argv(link.server, SERVER_CORE, "server", bind=link.server_address)
    with process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        if child.stdout.readline().strip() != "ready":
            raise Failed(f"the probe's server did not start: {child.stderr.read().strip()}")
        yield


def measure(link, mode, seconds, **arguments):
    """One run of a traffic mode from the client's end."""
    command = argv(
        link.client, CLIENT_CORE, mode, to=link.server_address, seconds=seconds, **arguments
    )
    return run(command, seconds)


def replay(endpoint, request, seconds, connections, once=False):
    """The HTTP requests of a file in turn over kept connections, until the time is over; each only
    once if so wanted."""
    command = argv(
        None,
        ALL_CORES,
        "http-replay",
        to=endpoint,
        seconds=seconds,
        connections=connections,
        request=request,
        once=str(once).lower(),
    )
    return run(command, seconds)


def run(command, seconds):
    # Large answers of a slow server: one may start just before the end.
    limit = seconds + 3 * GRACE_S
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(command)}: not done after {limit} s") from late
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Gate:
    """Asks at a chosen moment whether new flows pass."""

    def __init__(self, child):
        self.child = child

    def passed(self, flows, wait_ms):
        """How many of so many new flows are answered within the time."""
        self.child.stdin.write(f"{flows} {wait_ms}\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise Failed(f"the gate's probe ended: {self.child.stderr.read().strip()}")
        return int(line)


@contextlib.contextmanager
def gate(link):
    """A probe that stands ready: the question must not wait for a process to start."""
    command = argv(link.client, CLIENT_CORE, "gate", to=link.server_address)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with process(command, text=True, **pipes) as child:
        yield Gate(child)
