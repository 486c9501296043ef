"""`kill -9` of the daemon: nothing that was answered is lost, and no connection is cut."""

import random
import threading

import botocore.exceptions
import pytest

from support.lab import ANYWHERE, Lab
from support.rules import tcp
from support.until import until

pytestmark = pytest.mark.real_packets


def agrees(daemon):
    return daemon.run("verify", check=False).returncode == 0


def is_running(ec2, instance):
    shown = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return shown["State"]["Name"] == "running"


def test_connections_go_on(start_daemon):
    # Fails if links or maps are not pinned, or a restart empties the tables before it fills them.
    daemon = start_daemon("ebpf")
    lab = Lab(daemon)
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", [tcp("10.0.0.0/16", 80)])
    server = lab.instance(subnet, group)
    client = lab.instance(subnet, lab.group(vpc, "client"))
    server.agent.serve_tcp(port=80)
    trickle = client.agent.start("trickle", name="flow", address=server.ip, port=80, pause=0.001)
    assert client.agent.connect(address=server.ip, port=80, name="idle") == "open"

    def goes_on():
        before = client.agent.progress(name="flow")
        until(lambda: client.agent.progress(name="flow") > before + 20, "messages come back")

    goes_on()
    for _ in range(3):
        daemon.kill()
        goes_on()
        # Nothing is opened or closed by the daemon's absence.
        assert client.agent.connect(address=server.ip, port=80) == "open"
        assert client.agent.connect(address=server.ip, port=81, timeout=0.1) == "timeout"
        assert server.exec("true").returncode == 0
        assert daemon.run("--json", "flows").stdout.startswith("[")
        daemon.start()
        goes_on()
        assert agrees(daemon)
    # What the old daemon made, the new one can change.
    lab.revoke(group, tcp("10.0.0.0/16", 80))
    assert client.agent.connect(address=server.ip, port=80, timeout=0.2) == "timeout"
    assert client.agent.exchange(name="idle") == "open"
    goes_on()
    client.agent.finish(name="flow")
    assert trickle.result(15) == client.agent.progress(name="flow")
    lab.close()


@pytest.mark.parametrize("seed", range(2))
def test_what_was_answered_is_there(start_daemon, seed):
    # Fails if an answer is sent before it is on disk, or before the kernel obeys it.
    daemon = start_daemon("ebpf")
    chance = random.Random(seed)
    ec2 = daemon.client()
    lab = Lab(daemon, ec2)
    vpc, subnet = lab.network()
    client = lab.instance(subnet, lab.group(vpc, "client"))
    group = lab.group(vpc, "server")
    server = lab.instance(subnet, group)
    answered = {"group": set(), "eni": set(), "rule": set()}
    for round_number in range(4):
        stop = threading.Event()

        def work(number):
            try:
                while not stop.is_set():
                    name = f"{round_number}-{number}-{chance.random()}"
                    answered["group"].add(lab.group(vpc, name))
                    answered["eni"].add(lab.interface(subnet)["NetworkInterfaceId"])
                    if len(answered["rule"]) < 50:
                        rule = tcp(ANYWHERE, chance.randrange(1, 65536))
                        answered["rule"] |= set(lab.authorize(group, rule))
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                # The daemon is gone, or two threads drew the same port.
                return

        workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for worker in workers:
            worker.start()
        enough = len(answered["group"]) + chance.randrange(5, 30)
        until(lambda: len(answered["group"]) >= enough, "calls are answered", within=20)
        daemon.kill()
        stop.set()
        for worker in workers:
            worker.join(10)
        daemon.start()
        assert agrees(daemon)
        groups = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
        assert answered["group"] <= {one["GroupId"] for one in groups["SecurityGroups"]}
        interfaces = ec2.describe_network_interfaces()["NetworkInterfaces"]
        assert answered["eni"] <= {one["NetworkInterfaceId"] for one in interfaces}
        rules = ec2.describe_security_group_rules(
            Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
        ports = {one["SecurityGroupRuleId"]: one["FromPort"]
                 for one in rules if not one["IsEgress"]}
        assert answered["rule"] <= set(ports)
        # The kernel holds the same rules: refused at once by the host means let through.
        port = chance.choice(sorted(ports.values()))
        assert client.agent.connect(address=server.ip, port=port) == "refused"
        closed = next(port for port in range(1, 65536) if port not in ports.values())
        assert client.agent.connect(address=server.ip, port=closed, timeout=0.2) == "timeout"
    lab.close()


def test_kill_while_instances_are_launched(start_daemon):
    # Fails if half an instance is left behind: no record without a sandbox, nor the reverse.
    daemon = start_daemon("ebpf")
    ec2 = daemon.client()
    lab = Lab(daemon, ec2)
    vpc, subnet = lab.network()
    for pause in (0.01, 0.04):
        running = threading.Event()

        def launch():
            running.set()
            try:
                lab.launch_together(subnet, 3)
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                pass

        worker = threading.Thread(target=launch)
        worker.start()
        running.wait(5)
        # Not a wait for anything: it only spreads the moments of death.
        threading.Event().wait(pause)
        daemon.kill()
        worker.join(10)
        daemon.start()
        # What was to run and does not is started now, as after a restart of the host.
        until(lambda: agrees(daemon), "store and kernel agree")
        shown = [instance for page in ec2.describe_instances()["Reservations"]
                 for instance in page["Instances"] if instance["State"]["Name"] != "terminated"]
        for instance in shown:
            until(lambda: is_running(ec2, instance["InstanceId"]), "it runs")
            assert daemon.run("exec", instance["InstanceId"], "--", "true").returncode == 0
        if shown:
            ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in shown])
        assert daemon.devices() == []
    lab.instances.clear()
    lab.close()
