"""Flow logs: real packets in, and their records read from a bucket.

        subnet 10.0.0.0/24           subnet 10.0.1.0/24
        client                       server
"""

import pytest

from support import flow_logs
from support.flow_logs import records, total
from support.lab import ANYWHERE, Lab
from support.network import Network, allow, deny
from support.rules import everything, tcp, udp
from support.until import until

# A record comes when its window is over, the next sweep has seen all flows, and its file is written.
PATIENCE = 15


@pytest.fixture
def daemon(start_daemon):
    return start_daemon("ebpf", config=flow_logs.CONFIG)


@pytest.fixture
def lab(daemon):
    lab = Lab(daemon)
    yield lab
    lab.close()


@pytest.fixture
def network(lab):
    network = Network(lab)
    yield network
    network.close()


def of(all_records, eni, **wanted):
    wanted = {name.replace("_", "-"): value for name, value in wanted.items()} | {
        "interface-id": eni}
    return [record for record in all_records
            if all(record[name] == value for name, value in wanted.items())]


def wait(daemon, condition, what):
    """All records, when they fulfil a condition."""
    return until(lambda: (found := records(daemon)) and condition(found) and found, what,
                 within=PATIENCE)


def flags(found):
    result = 0
    for record in found:
        result |= record["tcp-flags"]
    return result


def test_five_connections_are_five_and_each_side_tells_its_own(daemon, lab):
    # Fails if connections are lost or put together, or the sides' flags are mixed up.
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "server")
    [rule] = lab.authorize(group, tcp("10.0.0.0/16", 80))
    client, server = lab.instance(near, lab.group(vpc, "client")), lab.instance(far, group)
    flow_logs.create(lab.ec2, vpc)
    server.agent.serve_tcp(port=80)
    for number in range(5):
        name = f"connection {number}"
        assert client.agent.connect(address=server.ip, port=80, name=name,
                                    source_port=50_000 + number) == "open"
        client.agent.start("close", name=name).result(5)
    expected = set(range(50_000, 50_005))

    def is_whole(found):
        asked = of(found, client.eni, flow_direction="egress", dstport=80)
        answered = of(found, server.eni, flow_direction="egress", srcport=80)
        return ({record["srcport"] for record in asked} == expected
                and {record["dstport"] for record in answered} == expected
                and flags(asked) == 3 and flags(answered) == 19)

    found = wait(daemon, is_whole, "five connections")
    assert {record["action"] for record in found} == {"ACCEPT"}
    for port in expected:
        sent = of(found, client.eni, flow_direction="egress", srcport=port)
        got = of(found, server.eni, flow_direction="ingress", srcport=port)
        # What one sends the other gets: a handshake and an end are four packets at least.
        assert total(sent) == total(got) >= 4 and total(sent, "bytes") == total(got, "bytes")
    [one, *_] = of(found, server.eni, flow_direction="ingress", srcport=50_000)
    assert (one["srcaddr"], one["dstaddr"], one["protocol"]) == (client.ip, server.ip, 6)
    assert (one["vpc-id"], one["subnet-id"], one["instance-id"]) == (vpc, far, server.id)
    assert (one["region"], one["az-id"], one["type"]) == ("us-east-1", "use1-az1", "IPv4")
    assert (one["sg-rule-id"], one["traffic-path"], one["version"]) == (rule, "-", "5")
    assert one["start"] <= one["end"]
    [one, *_] = of(found, client.eni, flow_direction="egress", srcport=50_000)
    assert (one["traffic-path"], one["route"]) == ("1", "local/16")


def test_a_rejected_syn_has_its_direction_and_flags(daemon, lab):
    # Fails if a refused packet is not told, or told at the wrong interface.
    vpc, subnet = lab.network()
    limited = lab.group(vpc, "limited", egress=[tcp(ANYWHERE, 1, 100)])
    client, server = lab.instance(subnet, limited), lab.instance(subnet, lab.group(vpc, "closed"))
    flow_logs.create(lab.ec2, vpc)
    assert client.agent.connect(address=server.ip, port=80, source_port=50_001) == "timeout"
    assert client.agent.connect(address=server.ip, port=200, source_port=50_002) == "timeout"

    def is_there(found):
        return (of(found, server.eni, action="REJECT", dstport=80)
                and of(found, client.eni, action="REJECT", dstport=200))

    found = wait(daemon, is_there, "two refused packets")
    [refused, *_] = of(found, server.eni, dstport=80)
    assert (refused["flow-direction"], refused["tcp-flags"]) == ("ingress", 2)
    assert (refused["drop-reason"], refused["sg-rule-id"]) == ("ingress-rule", "-")
    [left, *_] = of(found, client.eni, dstport=80)
    assert (left["action"], left["flow-direction"]) == ("ACCEPT", "egress")
    [kept, *_] = of(found, client.eni, dstport=200)
    assert (kept["flow-direction"], kept["tcp-flags"], kept["drop-reason"]) == (
        "egress", 2, "egress-rule")
    assert of(found, server.eni, dstport=200) == []


def test_an_answer_that_a_network_acl_refuses_is_an_accept_and_a_reject(daemon, lab, network):
    # The example of the VPC User Guide: ping, allowed in by the group, refused out by the ACL.
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    client, server = lab.instance(near, group), lab.instance(far, group)
    acl = network.acl(vpc)
    network.entry(acl, allow(100, block="10.0.0.0/16"))
    network.entry(acl, deny(70, out=True))
    network.use_acl(acl, far)
    flow_logs.create(lab.ec2, server.eni, kind="NetworkInterface")
    assert client.agent.ping(address=server.ip) == "timeout"
    found = wait(daemon, lambda found: len(of(found, server.eni, protocol=1)) >= 2, "both records")
    [asked] = of(found, server.eni, action="ACCEPT")
    assert (asked["flow-direction"], asked["srcaddr"], asked["dstaddr"]) == (
        "ingress", client.ip, server.ip)
    assert (asked["srcport"], asked["dstport"], asked["packets"]) == (0, 0, 1)
    assert asked["nacl-entry"] == "100"
    [answered] = of(found, server.eni, action="REJECT")
    assert (answered["flow-direction"], answered["nacl-entry"]) == ("egress", "70")
    assert (answered["drop-reason"], answered["bytes"]) == ("acl-egress", asked["bytes"])
    # Only the one interface is told of.
    assert {record["interface-id"] for record in found} == {server.eni}


def test_what_aws_does_not_log_is_not_logged(daemon, lab):
    vpc, subnet = lab.network()
    group = lab.group(vpc, "open", [everything(ANYWHERE)])
    client, other = lab.launch(subnet, group, count=2)
    flow_logs.create(lab.ec2, vpc)
    idle = until(lambda: of(records(daemon, status="NODATA"), other.eni), "no data",
                 within=PATIENCE)
    assert (idle[0]["srcaddr"], idle[0]["action"], idle[0]["packets"]) == ("-", "-", "-")
    assert idle[0]["start"] <= idle[0]["end"]
    client.exec("getent", "hosts", "ip-10-0-0-10.ec2.internal", check=False)
    client.agent.connect(address="169.254.169.254", port=80)
    client.agent.datagram(address="10.0.0.1", port=7, wait=False)
    other.agent.serve_udp(port=53)
    client.agent.datagram(address=other.ip, port=53, source_port=5353)
    found = wait(daemon, lambda found: of(found, client.eni, srcaddr=other.ip), "the answer")
    assert {record["srcaddr"] for record in found} == {client.ip, other.ip}
    assert {record["dstaddr"] for record in found} == {client.ip, other.ip}


def test_sums_are_those_of_the_interfaces_counters_over_a_crash(daemon, lab):
    # Fails if a packet is lost or told twice, whatever becomes of the daemon.
    vpc, subnet = lab.network()
    server_group = lab.group(vpc, "server", [tcp(ANYWHERE, 80), udp(ANYWHERE, 53)])
    client = lab.instance(subnet, lab.group(vpc, "client"))
    server = lab.instance(subnet, server_group)
    flow_logs.create(lab.ec2, vpc)
    server.agent.serve_tcp(port=80)
    server.agent.serve_udp(port=53)

    def traffic(first_port):
        for number in range(20):
            name = f"{first_port + number}"
            assert client.agent.connect(address=server.ip, port=80, name=name,
                                        source_port=first_port + number) == "open"
            client.agent.exchange(name=name)
            if number % 2:
                client.agent.start("close", name=name).result(5)
        for length in (10, 1000):
            client.agent.datagram(address=server.ip, port=53, length=length, name="udp")
        client.agent.datagram(address=server.ip, port=54, wait=False)

    traffic(50_000)
    wait(daemon, lambda found: total(found, interface_id=server.eni) > 0, "the first records")
    traffic(51_000)
    daemon.kill()
    traffic(52_000)
    daemon.start()
    traffic(53_000)

    ways = [("egress", "out"), ("ingress", "in")]
    sums = [(end.eni, direction, way, field) for end in (client, server)
            for direction, way in ways for field in ("packets", "bytes")]

    def counted():
        enis = {one["eni"]: one for one in daemon.json("counters")["interfaces"]}
        return {(eni, way, field): enis[eni][f"{field}_{way}"]
                for eni, _, way, field in sums} | {
            "refused": enis[server.eni]["drops"]["ingress-rule"]}

    def told():
        # Of what reached the other end: what was lost on its way says why.
        found = records(daemon)
        return {(eni, way, field): total(found, field, interface_id=eni, action="ACCEPT",
                                         flow_direction=direction, drop_reason="-")
                for eni, direction, way, field in sums} | {
            "refused": total(found, interface_id=server.eni, action="REJECT")}

    try:
        until(lambda: told() == counted(), "sums and counters agree", within=2 * PATIENCE)
    except AssertionError:
        assert told() == counted()
    # Each of the four rounds had one datagram refused.
    assert told()["refused"] == 4


def test_two_flow_logs_have_their_own_fields_and_traffic(daemon, lab):
    vpc, subnet = lab.network()
    client = lab.instance(subnet, lab.group(vpc, "client"))
    server = lab.instance(subnet, lab.group(vpc, "server", [udp(ANYWHERE, 53)]))
    flow_logs.create(lab.ec2, subnet, kind="Subnet", fields=None, bucket="accepted",
                     TrafficType="ACCEPT",
                     DestinationOptions={"FileFormat": "plain-text", "PerHourPartition": True,
                                         "HiveCompatiblePartitions": True})
    flow_logs.create(lab.ec2, subnet, kind="Subnet", bucket="refused", TrafficType="REJECT",
                     fields=("dstport", "action", "log-status"))
    flow_logs.create(lab.ec2, subnet, kind="Subnet", bucket="columns",
                     DestinationOptions={"FileFormat": "parquet"})
    server.agent.serve_udp(port=53)
    client.agent.datagram(address=server.ip, port=53, source_port=5353)
    client.agent.datagram(address=server.ip, port=54, wait=False)
    accepted = until(lambda: records(daemon, "accepted"), "accepted", within=PATIENCE)
    refused = until(lambda: records(daemon, "refused"), "refused", within=PATIENCE)
    assert list(accepted[0]) == list(flow_logs.FIELDS[:14])
    assert {record["action"] for record in accepted} == {"ACCEPT"}
    assert refused == [{"dstport": 54, "action": "REJECT", "log-status": "OK"}]
    [file, *_] = flow_logs.files(daemon, "accepted")
    assert "/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/" in str(file)
    [file, *_] = until(lambda: flow_logs.files(daemon, "columns", ".log.parquet"), "a file",
                       within=PATIENCE)
    assert file.read_bytes()[:4] == b"PAR1"


def test_records_come_to_a_log_group_with_a_stream_for_each_interface(daemon, lab):
    vpc, subnet = lab.network()
    client = lab.instance(subnet, lab.group(vpc, "client"))
    server = lab.instance(subnet, lab.group(vpc, "server", [udp(ANYWHERE, 53)]))
    answer = lab.ec2.create_flow_logs(
        ResourceIds=[vpc], ResourceType="VPC", TrafficType="ACCEPT", LogGroupName="flows",
        DeliverLogsPermissionArn="arn:aws:iam::123456789012:role/it")
    assert answer["Unsuccessful"] == []
    server.agent.serve_udp(port=53)
    client.agent.datagram(address=server.ip, port=53, source_port=5353)
    logs = daemon.client("logs")

    def told():
        groups = logs.describe_log_groups(logGroupNamePrefix="flows")["logGroups"]
        events = logs.filter_log_events(logGroupName="flows", filterPattern="ACCEPT")[
            "events"] if groups else []
        return events if len(events) >= 4 else None

    events = until(told, "both directions at both interfaces", within=PATIENCE)
    assert {event["logStreamName"] for event in events} == {
        f"{client.eni}-accept", f"{server.eni}-accept"}
    for event in events:
        words = event["message"].split(" ")
        assert len(words) == 14 and words[12:] == ["ACCEPT", "OK"]
        assert event["timestamp"] == int(words[10]) * 1000
    assert len({event["eventId"] for event in events}) == len(events) == 4


def sent_again(instance):
    """What an instance's own kernel says that it sent again."""
    text = instance.exec("grep", "^Tcp:", "/proc/net/snmp").stdout
    names, values = (line.split() for line in text.splitlines())
    return int(values[names.index("RetransSegs")])


def test_round_trips_and_what_was_sent_again_are_told(daemon, lab, network):
    # Fails if what the sender's kernel repeats is not counted, or what it sends once is.
    vpc, near = lab.network()
    far = lab.subnet(vpc, "10.0.1.0/24")
    group = lab.group(vpc, "server", [tcp(ANYWHERE, 80), udp(ANYWHERE, 53)])
    client, server = lab.instance(near, lab.group(vpc, "client")), lab.instance(far, group)
    acl = network.acl(vpc, allow(100), allow(100, out=True))
    network.use_acl(acl, far)
    flow_logs.create(lab.ec2, vpc)
    server.agent.serve_tcp(port=80)
    server.agent.serve_udp(port=53)
    client.agent.datagram(address=server.ip, port=53, source_port=5353)
    assert client.agent.connect(address=server.ip, port=80, name="both",
                                source_port=50_001) == "open"
    before = sent_again(client)
    assert client.agent.exchange(name="both", length=200_000) == "open"
    assert sent_again(client) == before
    # Acknowledgements and answers no longer come back: the client asks again and again.
    network.entry(acl, deny(70, out=True))
    assert client.agent.exchange(name="both", timeout=1.5) == "timeout"
    assert client.agent.connect(address=server.ip, port=80, source_port=50_002,
                                timeout=1.5) == "timeout"
    client.agent.start("close", name="both").result(5)
    repeated = sent_again(client) - before
    assert repeated >= 3

    def told(direction, end, **wanted):
        return of(records(daemon), end.eni, flow_direction=direction, protocol=6, **wanted)

    def sums():
        return [sum(record["retransmits"] for record in told(direction, end, srcaddr=client.ip))
                for direction, end in (("egress", client), ("ingress", server))]

    # The connection that is given up goes on for a while; count when the same was told twice.
    until(lambda: sums() == [sent_again(client) - before] * 2, "what was sent again is told",
          within=2 * PATIENCE)
    for port, is_timed in ((50_001, True), (50_002, False)):
        timed = {record["rtt-us"] for record in told("egress", client, srcport=port)}
        assert timed and all((rtt != "-") == is_timed for rtt in timed), (port, timed)
        assert not is_timed or all(0 < rtt < 1_000_000 for rtt in timed)
    # The server answered once, and refused answers are no record of a flow.
    assert {record["retransmits"] for record in told("egress", server, dstport=50_001,
                                                     action="ACCEPT")} == {0}
    for record in of(records(daemon), client.eni, protocol=17):
        assert (record["rtt-us"], record["retransmits"]) == ("-", "-")
    shown = [flow for flow in daemon.json("flows") if flow["verdict"] == "forward"
             and flow["source_eni"] == client.eni and flow["source_port"] == 50_001]
    assert shown[0]["rtt_us"] > 0 and shown[0]["retransmits"] > 0

    def counted_of_client():
        [one] = [one for one in daemon.json("counters")["interfaces"] if one["eni"] == client.eni]
        return one

    # It still goes on, and what it has sent is counted a sweep later.
    until(lambda: counted_of_client()["tcp_retransmits"] == sent_again(client) - before,
          "the counter agrees with the sender's kernel", within=PATIENCE)
    counted = counted_of_client()
    assert counted["tcp_handshakes"] == 1 and counted["tcp_handshake_us"] == shown[0]["rtt_us"]


def test_a_deleted_flow_log_tells_no_more(daemon, lab):
    vpc, subnet = lab.network()
    flow_log = flow_logs.create(lab.ec2, vpc)
    lab.instance(subnet)
    until(lambda: records(daemon, status="NODATA"), "records", within=PATIENCE)
    lab.ec2.delete_flow_logs(FlowLogIds=[flow_log])
    assert lab.ec2.describe_flow_logs()["FlowLogs"] == []
    # A delivery that was under way may still end.
    left = until(lambda: flow_logs.files(daemon), "files")
    other = flow_logs.create(lab.ec2, vpc, bucket="other")
    until(lambda: flow_logs.files(daemon, "other"), "files of the other", within=PATIENCE)
    assert len(flow_logs.files(daemon)) <= len(left) + 1
    assert other != flow_log
