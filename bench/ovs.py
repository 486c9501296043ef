"""What ENI to ENI is compared with: Open vSwitch in user space, with the same rules.

    client [c]======[sc] ovs-vswitchd [ss]======[s] server     established, rules, drop (conntrack)

The programs are taken from Debian's packages, unpacked and never installed: nothing starts them but the
bench, in a namespace and a directory of its own.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from links import NETWORK, Link, cable, fillers, namespaces, tune
from shell import TOOLS, Failed, sh, unique

UNPACKED = TOOLS / "openvswitch"
STARTS_WITHIN_S = 10
MAC = {"c": "06:00:00:00:00:01", "s": "06:00:00:00:00:02"}


@contextlib.contextmanager
def switch(rules):
    """Two veth pairs and a switch between them whose last of `rules` rules lets the bench pass."""
    names = (f"ovs{rules}-c", f"ovs{rules}-o", f"ovs{rules}-s")
    with namespaces(*names) as (client, middle, server), programs(middle) as run:
        cable(client, "c", middle, "sc")
        cable(server, "s", middle, "ss")
        for end, device, address in ((client, "c", "10.77.1.1"), (server, "s", "10.77.1.2")):
            sh(f"ip -n {end} link set {device} address {MAC[device]}")
            sh(f"ip -n {end} address add {address}/24 dev {device}")
            # In user space Open vSwitch neither completes checksums nor cuts segments.
            sh(f"ip netns exec {end} ethtool -K {device} tx off tso off gso off")
            tune(end)
        run("ovs-vsctl", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        for port in ("sc", "ss"):
            run("ovs-vsctl", "add-port", "br0", port)
        run("ovs-ofctl", "del-flows", "br0")
        run("ovs-ofctl", "add-flows", "br0", "-", stdin=flows(rules))
        yield Link(client, server, "10.77.1.2")


def flows(rules):
    """The rules as a table of flows: what is established passes, a rule commits what is new."""
    deliver = [
        f"table=2,priority=1,dl_dst={MAC['c']},actions=output:sc",
        f"table=2,priority=1,dl_dst={MAC['s']},actions=output:ss",
        "table=2,priority=0,arp,actions=flood",
    ]
    pass_on = "actions=ct(commit),resubmit(,2)"
    allowed = [
        f"table=1,priority=10,ct_state=+trk+new,tcp,nw_src={rule.source},tp_dst={rule.port},{pass_on}"
        for rule in fillers(rules - 1)
    ]
    return "\n".join(
        [
            "table=0,priority=2,arp,actions=resubmit(,2)",
            "table=0,priority=1,ip,actions=ct(table=1)",
            "table=0,priority=0,actions=drop",
            "table=1,priority=20,ct_state=+trk+est,actions=resubmit(,2)",
            *allowed,
            f"table=1,priority=1,ct_state=+trk+new,ip,nw_src={NETWORK},{pass_on}",
            "table=1,priority=0,actions=drop",
            *deliver,
            "",
        ]
    )


@contextlib.contextmanager
def programs(namespace):
    """The database and the switch, running; gives a way to run the tools against them."""
    if not UNPACKED.is_dir():
        raise Failed(f"{UNPACKED} is missing: `cargo xtask setup --bench` unpacks it")
    directory = Path(tempfile.mkdtemp(prefix=unique("ovs-")))
    share = UNPACKED / "usr/share/openvswitch"
    places = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), directory)
    environment = {**os.environ, **places, "OVS_PKGDATADIR": share}
    socket = f"unix:{directory}/db.sock"

    def run(tool, *words, stdin=None):
        at = [f"--db={socket}", f"--timeout={STARTS_WITHIN_S}"] if tool == "ovs-vsctl" else []
        command = ["ip", "netns", "exec", namespace, UNPACKED / "usr/bin" / tool, *at, *words]
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Failed(f"{tool} {' '.join(words)}: {done.stderr.strip()}")

    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        run("ovsdb-tool", "create", f"{directory}/conf.db", f"{share}/vswitch.ovsschema")
        for program in (
            ["usr/sbin/ovsdb-server", f"{directory}/conf.db", f"--remote=p{socket}"],
            ["usr/lib/openvswitch-switch/ovs-vswitchd", socket],
        ):
            stack.enter_context(daemonized(namespace, program, environment, directory))
        yield run


@contextlib.contextmanager
def daemonized(namespace, program, environment, directory):
    """A program that says it is ready by going to the background; gone when the block ends."""
    name, *words = program
    pid_file = directory / f"{Path(name).name}.pid"
    command = ["ip", "netns", "exec", namespace, UNPACKED / name, *words]
    command += ["--detach", "--no-chdir", f"--pidfile={pid_file}", "--log-file", "-vconsole:off"]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=STARTS_WITHIN_S,
    )
    if done.returncode != 0:
        raise Failed(f"{name}: {done.stderr.strip()}")
    pid = int(pid_file.read_text())
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
