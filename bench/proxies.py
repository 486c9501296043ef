"""What a load balancer is compared with: HAProxy and nginx, which pass on each connection as two.

    client [c]======[bc] proxy [b0]======[s] target 0
                               [b1]======[s] target 1

The programs are taken from Debian's packages, unpacked and never installed, as Open vSwitch is. Both are set
as their makers advise for speed: a worker or thread for each core with listening sockets of its own; HAProxy
splices in the kernel through large pipes, nginx copies through large buffers.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from links import Link, cable, namespaces, tune
from shell import TOOLS, Failed, sh, unique

STARTS_WITHIN_S = 10
ADDRESS = "10.77.1.254"


def target_address(index):
    return f"10.77.{index + 2}.2"


def haproxy(ports, count, directory):
    """Its configuration, and the command that runs it."""
    lines = [
        "global",
        "  maxconn 4000",
        "  tune.pipesize 1048576",
        "defaults",
        "  mode tcp",
        "  option splice-auto",
        "  timeout connect 5s",
        "  timeout client 1m",
        "  timeout server 1m",
    ]
    for port in ports:
        lines += [f"listen port-{port}", f"  bind {ADDRESS}:{port} shards by-thread"]
        lines += ["  balance roundrobin"]
        lines += [
            f"  server target-{index} {target_address(index)}:{port}" for index in range(count)
        ]
    file = written(directory, "haproxy.cfg", lines)
    return [TOOLS / "haproxy/usr/sbin/haproxy", "-db", "-f", file]


def nginx(ports, count, directory):
    """Its configuration, and the command that runs it."""
    unpacked = TOOLS / "nginx/usr"
    lines = [
        f"load_module {unpacked}/lib/nginx/modules/ngx_stream_module.so;",
        "daemon off;",
        "user root;",
        "worker_processes auto;",
        f"pid {directory}/nginx.pid;",
        "events { worker_connections 10000; }",
        "stream {",
        "proxy_buffer_size 64k;",
    ]
    for port in ports:
        servers = [f"server {target_address(index)}:{port};" for index in range(count)]
        lines += [f"upstream port-{port} {{", *servers, "}"]
        lines += [f"server {{ listen {ADDRESS}:{port} reuseport; proxy_pass port-{port}; }}"]
    file = written(directory, "nginx.conf", [*lines, "}"])
    return [unpacked / "sbin/nginx", "-p", directory, "-e", "stderr", "-c", file]


def written(directory, name, lines):
    file = directory / name
    file.write_text("\n".join([*lines, ""]))
    return file


@contextlib.contextmanager
def proxied(program, ports, count, serve):
    """A client, a proxy and targets, where `serve` gives the context of a server at a link's far end."""
    name = program.__name__
    ends = [f"{name}-t{index}" for index in range(count)]
    with contextlib.ExitStack() as stack:
        client, middle, *targets = stack.enter_context(
            namespaces(f"{name}-c", f"{name}-b", *ends)
        )
        cable(client, "c", middle, "bc")
        sh(f"ip -n {client} address add 10.77.1.1/24 dev c")
        sh(f"ip -n {middle} address add {ADDRESS}/24 dev bc")
        for index, target in enumerate(targets):
            cable(target, "s", middle, f"b{index}")
            address = target_address(index)
            sh(f"ip -n {target} address add {address}/24 dev s")
            sh(f"ip -n {middle} address add 10.77.{index + 2}.254/24 dev b{index}")
            tune(target)
            stack.enter_context(serve(Link(middle, target, address)))
        tune(client)
        tune(middle)
        directory = Path(tempfile.mkdtemp(prefix=unique(f"{name}-")))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.enter_context(running(middle, program(ports, count, directory), ports, directory))
        yield Link(client, None, ADDRESS)


@contextlib.contextmanager
def running(namespace, command, ports, directory):
    """A program and its workers that listen at their ports; gone when the block ends."""
    program = command[0]
    if not program.exists():
        raise Failed(f"{program} is missing: `cargo xtask setup --bench` unpacks it")
    log = directory / "log"
    with log.open("w") as file:
        child = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command],
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + STARTS_WITHIN_S
        while not listens(namespace, ports):
            if child.poll() is not None or time.monotonic() > give_up:
                raise Failed(f"{program} does not listen: {log.read_text().strip()}")
            time.sleep(0.01)
        yield
    finally:
        # Workers as well: they outlive the one that started them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def listens(namespace, ports):
    found = sh(f"ip netns exec {namespace} ss --no-header --listening --tcp --numeric")
    return all(f"{ADDRESS}:{port} " in found for port in ports)
