"""Health checks of every protocol, asked of real servers in an instance, which are wrong in many ways.

        the node 10.0.0.x -> one instance, a server at each port
"""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.balancer import QUICK, Balancers
from support.lab import ANYWHERE
from support.rules import everything
from support.until import until

# Ports of the servers, by what they do.
FINE, MISSING, SILENT, SLOW, DRIPPING, BROKEN, SECURE, CLOSED = range(8001, 8009)

# A server at each port: what it says, how it says it, and whether it speaks TLS. What it was asked it writes
# to a file.
SERVERS = """
import json, socket, ssl, sys, threading, time

chain, asked = sys.argv[1:3]
OK = b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"


def read(connection):
    question = b""
    while not question.endswith(b"\\r\\n\\r\\n"):
        part = connection.recv(4096)
        if not part:
            break
        question += part
    return question.decode()


def drip(connection):
    for byte in OK:
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


ways = {
    %(FINE)d: lambda it: it.sendall(OK),
    %(MISSING)d: lambda it: it.sendall(b"HTTP/1.1 404 Not Found\\r\\n\\r\\n"),
    %(SILENT)d: lambda it: time.sleep(30),
    %(SLOW)d: lambda it: (time.sleep(1), it.sendall(OK)),
    %(DRIPPING)d: drip,
    %(BROKEN)d: lambda it: it.sendall(b"SSH-2.0-OpenSSH_9.2\\r\\n"),
    %(SECURE)d: lambda it: it.sendall(OK),
}


def serve(port, answer):
    listener = socket.create_server(("0.0.0.0", port))
    context = None
    if port == %(SECURE)d:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)

    def one(connection):
        try:
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            question = read(connection)
            with open(asked, "a") as file:
                file.write(json.dumps([port, question]) + "\\n")
            answer(connection)
            connection.close()
        except OSError:
            pass

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=[connection], daemon=True).start()


for port, answer in ways.items():
    threading.Thread(target=serve, args=[port, answer]).start()
"""


def certificate():
    """A certificate that nobody has signed but itself, for another name, and that is over; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody-else")])
    then = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(7).not_valid_before(then)
            .not_valid_after(then + datetime.timedelta(days=1)).sign(key, hashes.SHA256()))
    pem = serialization.Encoding.PEM
    own = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (own + made.public_bytes(pem)).decode()


@pytest.fixture
def place(lab):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    target = lab.instance(subnet, group)
    chain = certificate()
    script = SERVERS % globals()
    target.exec("sh", "-c", 'cat > /tmp/chain', input=chain)
    target.exec("sh", "-c", 'cat > /tmp/servers.py', input=script)
    target.exec("sh", "-c", f"{os.path.realpath(sys.executable)} -I -S /tmp/servers.py /tmp/chain "
                            "/tmp/asked > /tmp/said 2>&1 &")
    balancers = Balancers(lab)
    yield lab, vpc, subnet, target, balancers
    balancers.close()


def check(protocol, port, **more):
    return QUICK | {"HealthCheckProtocol": protocol, "HealthCheckPort": str(port)} | more


def test_checks_ask_and_judge_what_servers_answer(place):
    lab, vpc, subnet, target, balancers = place
    arn, nodes = balancers.make("checks", subnet)
    [node] = nodes.values()
    fine, none = ("healthy", None, None), "Health checks failed"
    mismatch = "Target.ResponseCodeMismatch"
    wanted = {
        "fine": (check("HTTP", FINE, HealthCheckPath="/up?a=b"), fine),
        "missing": (check("HTTP", MISSING), (
            "unhealthy", mismatch, "Health checks failed with these codes: [404]")),
        "expected": (check("HTTP", MISSING, Matcher={"HttpCode": "200,404"}), fine),
        "picky": (check("HTTP", FINE, Matcher={"HttpCode": "201-299"}), (
            "unhealthy", mismatch, "Health checks failed with these codes: [200]")),
        "silent": (check("HTTP", SILENT), ("unhealthy", "Target.Timeout", "Request timed out")),
        "slow": (check("HTTP", SLOW), fine),
        "dripping": (check("HTTP", DRIPPING), fine),
        "broken": (check("HTTP", BROKEN), ("unhealthy", "Target.FailedHealthChecks", none)),
        "closed": (check("HTTP", CLOSED), ("unhealthy", "Target.FailedHealthChecks", none)),
        "secure": (check("HTTPS", SECURE), fine),
        "not-secure": (check("HTTPS", CLOSED), ("unhealthy", "Target.FailedHealthChecks", none)),
        "no-handshake": (check("HTTPS", SILENT), (
            "unhealthy", "Target.Timeout", "Request timed out")),
        "of-tcp": (check("TCP", SILENT), fine),
        "refused": (check("TCP", CLOSED), ("unhealthy", "Target.FailedHealthChecks", none)),
    }
    groups = {}
    for port, (name, (settings, _)) in enumerate(wanted.items(), 9000):
        # Nobody is at the port that flows go to: checks go where they are sent.
        group = groups[name] = balancers.group(name, vpc, 7777, check=settings)
        balancers.register(group, target.id)
        balancers.listen(arn, group, port)

    def told():
        states = {}
        for name, group in groups.items():
            [one] = balancers.elb.describe_target_health(
                TargetGroupArn=group)["TargetHealthDescriptions"]
            health = one["TargetHealth"]
            assert one["HealthCheckPort"] == wanted[name][0]["HealthCheckPort"]
            states[name] = (health["State"], health.get("Reason"), health.get("Description"))
        return states

    expected = {name: state for name, (_, state) in wanted.items()}
    try:
        until(lambda: told() == expected, "every target is what its server says", within=30)
    except AssertionError:
        assert told() == expected
        raise
    asked = [json.loads(line) for line in target.exec("cat", "/tmp/asked").stdout.splitlines()]
    own = node["PrivateIpAddress"]
    questions = {question for port, question in asked if port == FINE and "/up" in question}
    [question] = questions
    assert question.startswith(f"GET /up?a=b HTTP/1.1\r\nHost: {own}:9000\r\n")
    assert "User-Agent: ELB-HealthChecker/2.0\r\n" in question
    # The waiters of the clients come back by what was seen.
    balancers.elb.get_waiter("target_in_service").wait(
        TargetGroupArn=groups["fine"], WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    subprocess.run([sys.executable, Path(sys.executable).with_name("aws"), "elbv2", "wait",
                    "target-in-service", "--target-group-arn", groups["fine"]],
                   check=True, timeout=60, env=lab.daemon.aws_environment())
    # Node, groups and targets of this name, and what they are.
    shown = lab.daemon.json("explain", "--from", target.id, "--to", own, "--port", "9001")
    [hop] = [hop for hop in shown["hops"] if hop["stage"] == "load-balancer"]
    assert hop["resource"].startswith("net/checks/")
    assert "target group missing has 0 of 1 targets healthy" in hop["detail"]
    assert "all get flows because too few are healthy" in hop["detail"]


def test_what_was_seen_outlives_the_daemon_and_a_registration_does_not(place):
    lab, vpc, subnet, target, balancers = place
    arn, _ = balancers.make("again", subnet)
    group = balancers.group("again", vpc, FINE, check=check("HTTP", FINE))
    balancers.register(group, target.id)
    balancers.listen(arn, group, 80)
    health = lambda: balancers.health(group)[target.id]
    until(lambda: health() == "healthy", "it is healthy")
    lab.daemon.kill()
    lab.daemon.start()
    assert health() == "healthy"
    # Registered again it is new: what was seen before does not count.
    lab.ec2.revoke_security_group_ingress(
        GroupId=target.describe()["SecurityGroups"][0]["GroupId"],
        IpPermissions=[everything(ANYWHERE)])
    until(lambda: health() == "unhealthy", "nobody gets through to it", within=30)
    balancers.set(group, deregistration_delay__timeout_seconds=0)
    balancers.deregister(group, target.id)
    assert balancers.health(group) == {}
    balancers.register(group, target.id)
    assert health() == "initial"
    # Nor what was seen before it stopped.
    lab.authorize(target.describe()["SecurityGroups"][0]["GroupId"], everything(ANYWHERE))
    until(lambda: health() == "healthy", "it is healthy again", within=20)
    lab.ec2.stop_instances(InstanceIds=[target.id])
    assert health() == "unused"
    lab.ec2.start_instances(InstanceIds=[target.id])
    assert health() != "healthy"
    # Its servers went with it.
    until(lambda: health() == "unhealthy", "its servers are gone", within=30)
