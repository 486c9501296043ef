"""Link-local services: what each instance asks of its VPC.

        instance, rules that let nothing pass -----> 169.254.169.254, .253, .123, 10.0.0.2
                                                     fd00:ec2::254, ::253, ::123

Here is the way to the services and back; what they say is in the tests of metadata and names.
"""

import textwrap

import pytest

from support.lab import ANYWHERE
from support.network import deny
from support.rules import everything
from support.until import until

METADATA = "169.254.169.254"
METADATA_V6 = "fd00:ec2::254"
RESOLVER = "169.254.169.253"
TIME = "169.254.169.123"


@pytest.fixture
def ends(lab):
    return lab.network_of_both_families()


@pytest.fixture
def vpc(ends):
    return ends[0]


@pytest.fixture
def subnet(ends):
    """A subnet with both families."""
    return ends[1]


@pytest.fixture
def closed(lab, vpc, subnet):
    """An instance that no security group lets out or in."""
    return lab.instance(subnet, lab.group(vpc, "closed", egress=[]), Ipv6AddressCount=1)


def python(instance, program, *arguments):
    """What a program prints that runs in the instance."""
    words = ("python3", "-c", textwrap.dedent(program), *map(str, arguments))
    return instance.exec(*words).stdout.strip()


GET = """
    import sys, urllib.error, urllib.request
    host, path = sys.argv[1:]
    host = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{host}{path}", timeout=1) as answer:
            print(answer.read().decode())
    except (OSError, ConnectionError) as error:
        print("no answer", type(error).__name__)
"""

ASK_TIME = """
    import socket, struct, sys, time
    server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET,
                           socket.SOCK_DGRAM)
    server.settimeout(1)
    server.sendto(b"\\x23" + bytes(47), (sys.argv[1], 123))
    answer = server.recv(512)
    print(abs(struct.unpack("!I", answer[40:44])[0] - 2208988800 - time.time()) < 2, answer[0])
"""

ASK_NAME = """
    import socket, struct, sys
    server, name, how = sys.argv[1:]
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack("!6H", 0x1234, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack("!2H", 1, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    if how == "tcp":
        stream = socket.socket(family)
        stream.settimeout(1)
        stream.connect((server, 53))
        stream.sendall(struct.pack("!H", len(query)) + query)
        answer = stream.recv(4096)[2:]
    else:
        datagram = socket.socket(family, socket.SOCK_DGRAM)
        datagram.settimeout(1)
        datagram.sendto(query, (server, 53))
        answer = datagram.recv(4096)
    code, count = answer[3] & 15, struct.unpack("!H", answer[6:8])[0]
    print(code, socket.inet_ntoa(answer[-4:]) if count else "nothing")
"""


def metadata(instance, path="/latest/meta-data/instance-id", host=METADATA):
    return python(instance, GET, host, path)


def name_of(instance):
    return f"ip-{instance.ip.replace('.', '-')}.ec2.internal"


def assert_served(instance):
    """Every service answers, by both families."""
    assert metadata(instance) == instance.id
    for server in (TIME, "fd00:ec2::123"):
        assert python(instance, ASK_TIME, server) == "True 36"
    for server in (RESOLVER, "10.0.0.2", "fd00:ec2::253"):
        for how in ("udp", "tcp"):
            assert python(instance, ASK_NAME, server, name_of(instance), how) == f"0 {instance.ip}"


def test_services_answer_whatever_the_rules_say(lab, network, vpc, subnet, closed):
    # Fails if a gate or a network ACL is asked about services, on the way there or back.
    network.use_acl(network.acl(vpc, deny(100), deny(100, out=True)), subnet)
    assert_served(closed)
    lab.ec2.modify_instance_metadata_options(InstanceId=closed.id, HttpProtocolIpv6="enabled")
    assert metadata(closed, host=METADATA_V6) == closed.id
    told = lab.daemon.json("explain", "--from", closed.id, "--to", METADATA, "--port", "80")
    assert (told["verdict"], told["hops"][-1]["stage"]) == ("forward", "link-local-service")
    assert closed.agent.connect(address="10.0.0.1", port=53) == "timeout", "the rules hold elsewhere"
    lab.daemon.run("verify")


def test_nothing_else_is_there(lab, vpc, subnet):
    # Fails if the services' namespace is reached by more than its services.
    open_group = lab.group(vpc, "open", [everything(ANYWHERE)], egress=[everything(ANYWHERE)])
    instance = lab.instance(subnet, open_group)
    for address, port in ((METADATA, 443), (METADATA, 22), (RESOLVER, 80), (TIME, 80),
                          ("169.254.169.1", 80), ("10.0.0.2", 80)):
        assert instance.agent.connect(address=address, port=port) == "timeout", (address, port)
    assert instance.agent.ping(address=METADATA) != "open"


def test_who_asks_is_who_it_says(lab, vpc, subnet):
    # Fails if the spoof guard is not asked: the answer would tell of another instance.
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    liar, victim = lab.launch(subnet, group, count=2)
    for instance in (liar, victim):
        assert metadata(instance) == instance.id
    liar.exec("ip", "address", "add", f"{victim.ip}/32", "dev", "lo")
    assert python(liar, """
        import socket
        liar = socket.socket()
        liar.bind((%r, 0))
        liar.settimeout(1)
        try:
            liar.connect(("169.254.169.254", 80))
            print("connected")
        except TimeoutError:
            print("timeout")
    """ % victim.ip) == "timeout"
    assert metadata(victim) == victim.id


def test_more_than_1024_questions_a_second_are_dropped_and_counted(lab, vpc, subnet):
    # Fails if the allowance is not there, or is one of each service.
    instance = lab.instance(subnet, lab.group(vpc, "open", [everything(ANYWHERE)]))
    other = lab.instance(subnet, lab.group(vpc, "open too", [everything(ANYWHERE)]))
    spent = float(python(instance, """
        import socket, time
        asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asker.connect(("169.254.169.123", 123))
        began = time.monotonic()
        for number in range(3000):
            asker.send(b"\\x23" + bytes(47))
        print(time.monotonic() - began)
    """))
    dropped = sum(flow["packets"] for flow in lab.daemon.json("flows")
                  if flow.get("reason") == "link-local-allowance"
                  and flow["source_eni"] == instance.eni)
    # The clock of the programs ticks every few milliseconds: a handful of packets more or less.
    assert 1024 <= 3000 - dropped <= 1024 * (1 + spent) + 16, (dropped, spent)
    assert metadata(other) == other.id, "each interface has its own"
    until(lambda: metadata(instance) == instance.id, "a second later it is heard again")


def test_vpcs_with_the_same_addresses_do_not_meet(lab):
    # Fails if the answer is found by the address alone.
    twins = []
    for _ in range(2):
        _, subnet = lab.network()
        twins.append(lab.instance(subnet, PrivateIpAddress="10.0.0.77"))
    assert twins[0].ip == twins[1].ip
    for _ in range(2):
        assert [metadata(twin) for twin in twins] == [twin.id for twin in twins]


def test_services_come_back_with_the_daemon(lab, vpc, subnet):
    # Fails if anything of the services needs the daemon's end to be orderly.
    instance = lab.instance(subnet, lab.group(vpc, "closed", egress=[]), Ipv6AddressCount=1)
    assert_served(instance)
    lab.daemon.kill()
    instance.forget_agent()
    assert metadata(instance).startswith("no answer")
    lab.daemon.start()
    until(lambda: metadata(instance) == instance.id, "metadata answer again")
    assert_served(instance)
    lab.daemon.run("verify")


def test_services_go_with_the_last_interface(lab):
    vpc, subnet = lab.network()
    instance = lab.instance(subnet)
    assert metadata(instance) == instance.id
    assert len(lab.daemon.services()) == 1
    lab.ec2.stop_instances(InstanceIds=[instance.id])
    until(lambda: lab.daemon.services() == [], "the link is gone")
    lab.ec2.start_instances(InstanceIds=[instance.id])
    instance.forget_agent()
    assert metadata(instance) == instance.id
    lab.daemon.run("verify")
