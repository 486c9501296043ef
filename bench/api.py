"""The API beside moto server: requests per second, time to the first answer, memory."""

import contextlib
import statistics
import subprocess
import tempfile
import time

import aws
import daemon
import probe
from shell import ROOT, Failed, process, sh

VENV = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "bench/requirements.txt"
# Alone, and enough at once to keep a server busy.
CONNECTIONS = (1, 16)
MANY = 1_000
# Between the first answer and a look at the memory.
SETTLE_S = 1


def install_moto():
    """moto lives apart from the tests' packages: it pins its own. Quick when it is there."""
    mark = VENV / "installed"
    wanted = REQUIREMENTS.read_text()
    if mark.exists() and mark.read_text() == wanted:
        return
    sh(f"python3 -m venv --clear {VENV}")
    pip = f"{VENV}/bin/pip --quiet --disable-pip-version-check"
    sh(f"{pip} install --requirement {REQUIREMENTS}")
    mark.write_text(wanted)


@contextlib.contextmanager
def moto():
    """A fresh moto server; yields its endpoint, its pid and the seconds to its first answer."""
    port = daemon.free_port()
    endpoint = aws.Endpoint(f"http://127.0.0.1:{port}", "AKIAIOSFODNN7EXAMPLE", "bench")
    request = endpoint.request("DescribeRegions")
    command = [VENV / "bin/moto_server", "--host", "127.0.0.1", "--port", str(port)]
    start = time.perf_counter()
    with process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        aws.first_answer(endpoint, request)
        yield endpoint, child.pid, time.perf_counter() - start


def interfaces(endpoint, subnet, count):
    """Creates so many interfaces."""
    request = endpoint.request("CreateNetworkInterface", SubnetId=subnet)
    for _ in range(count):
        # A connection each: not every server keeps them.
        with aws.Connection(endpoint) as connection:
            connection.send(request)


def describes(endpoint, seconds, at_once=CONNECTIONS):
    """DescribeNetworkInterfaces: the figures of each number of connections."""
    seen = {}
    with tempfile.NamedTemporaryFile() as file:
        file.write(endpoint.request("DescribeNetworkInterfaces"))
        file.flush()
        for connections in at_once:
            seen[connections] = probe.replay(endpoint.address, file.name, seconds, connections)
            if refused := seen[connections]["refused"]:
                raise Failed(f"{endpoint.url} refused {refused} requests")
    return seen


def moto_figures(starts, seconds):
    """All of moto's figures."""
    install_moto()
    times, idle = [], []
    for _ in range(starts):
        with moto() as (_, pid, took):
            time.sleep(SETTLE_S)
            times.append(took)
            idle.append(daemon.resident_kib(pid))
    with moto() as (endpoint, pid, _):
        subnet = daemon.Region(endpoint).subnet
        interfaces(endpoint, subnet, 1)
        few = describes(endpoint, seconds)
        interfaces(endpoint, subnet, MANY - 1)
        # An answer takes most of a second, and more of them at once only more: one connection.
        many = describes(endpoint, 2 * seconds, (1,))
        used = daemon.resident_kib(pid)
    return figures(times, idle, used, few, many)


def enid_figures(starts, seconds):
    """The same of Enid, with its datapath loaded."""
    times, idle = [], []
    with daemon.private() as enid:
        request = enid.endpoint.request("DescribeRegions")
        for _ in range(starts):
            enid.kill()
            start = time.perf_counter()
            enid.start()
            aws.first_answer(enid.endpoint, request)
            times.append(time.perf_counter() - start)
            time.sleep(SETTLE_S)
            idle.append(daemon.resident_kib(enid.child.pid))
        subnet = daemon.Region(enid.endpoint).subnet
        interfaces(enid.endpoint, subnet, 1)
        few = describes(enid.endpoint, seconds)
        interfaces(enid.endpoint, subnet, MANY - 1)
        many = describes(enid.endpoint, seconds)
        used = daemon.resident_kib(enid.child.pid)
    return figures(times, idle, used, few, many)


def figures(times, idle, used, few, many):
    return {
        "start_s": statistics.median(times),
        "idle_mib": statistics.median(idle) / 1024,
        "used_mib": used / 1024,
        "describes": {1: best(few), MANY: best(many)},
        "detail": {"few": few, "many": many, "starts_s": times},
    }


def best(by_connections):
    return max(one["per_second"] for one in by_connections.values())
