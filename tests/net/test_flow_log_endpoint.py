"""Flow logs at an S3 endpoint that nobody here wrote, and their Parquet read by DuckDB.

        client ──▶ server                daemon ──▶ door ──▶ moto
"""

import gzip

import duckdb
import pytest

from support import flow_logs, s3
from support.errors import refused
from support.flow_logs import total
from support.lab import ANYWHERE, Lab
from support.rules import tcp, udp
from support.until import until

PATIENCE = 30


@pytest.fixture
def server(tmp_path):
    server = s3.Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def door(server):
    door = s3.Door(server.port)
    yield door
    if door._listener:
        door.shut()


@pytest.fixture
def daemon(start_daemon, server, door, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(server.secret + "\n")
    config = flow_logs.CONFIG + f"""
[[flow_logs.endpoints]]
url = "{door.url}"
buckets = ["far-*"]
access_key_id = "{server.key_id}"
secret_access_key_file = "{secret}"

[[flow_logs.endpoints]]
url = "{door.url}"
buckets = ["wrong"]
access_key_id = "{server.key_id}"
secret_access_key = "wrong"
"""
    return start_daemon("ebpf", config=config)


@pytest.fixture
def lab(daemon):
    lab = Lab(daemon)
    yield lab
    lab.close()


@pytest.fixture
def ends(lab):
    """A VPC, and in it a client and a server."""
    vpc, subnet = lab.network()
    group = lab.group(vpc, "server", [tcp(ANYWHERE, 80), udp(ANYWHERE, 53)])
    client = lab.instance(subnet, lab.group(vpc, "client"))
    end = lab.instance(subnet, group)
    end.agent.serve_tcp(port=80)
    end.agent.serve_udp(port=53)
    return vpc, client, end


def traffic(client, server, first_port):
    for number in range(5):
        name = f"{first_port + number}"
        assert client.agent.connect(address=server.ip, port=80, name=name,
                                    source_port=first_port + number) == "open"
        client.agent.exchange(name=name)
        client.agent.start("close", name=name).result(5)
    client.agent.datagram(address=server.ip, port=53, length=500, name=f"udp {first_port}")
    client.agent.datagram(address=server.ip, port=54, wait=False)


def records(server, bucket):
    """All records of the text files in a bucket that tell of packets."""
    found = []
    for key in server.keys(bucket):
        header, *lines = gzip.decompress(server.read(bucket, key)).decode().splitlines()
        for line in lines:
            record = dict(zip(header.split(" "), line.split(" "), strict=True))
            if record["log-status"] == "OK":
                found.append({name: int(value) if name in flow_logs.NUMBERS and value != "-"
                              else value for name, value in record.items()})
    return found


def counted(daemon, *ends):
    enis = {one["eni"]: one for one in daemon.json("counters")["interfaces"]}
    return {(end.eni, way): (enis[end.eni][f"packets_{way}"], enis[end.eni][f"bytes_{way}"])
            for end in ends for way in ("in", "out")}


def told(found, *ends):
    ways = [("ingress", "in"), ("egress", "out")]
    sums = {}
    for end in ends:
        for direction, way in ways:
            wanted = {"interface_id": end.eni, "action": "ACCEPT", "flow_direction": direction,
                      "drop_reason": "-"}
            sums[end.eni, way] = (total(found, **wanted), total(found, "bytes", **wanted))
    return sums


def delivery(ec2, flow_log):
    [described] = ec2.describe_flow_logs(FlowLogIds=[flow_log])["FlowLogs"]
    return described["DeliverLogsStatus"], described.get("DeliverLogsErrorMessage")


def test_nothing_is_lost_or_repeated_while_the_endpoint_is_down_and_the_daemon_dies(
        daemon, lab, ends, server, door):
    # Fails if a file is left out, or written under a second name, over either end.
    vpc, client, end = ends
    server.s3.create_bucket(Bucket="far-text")
    flow_log = flow_logs.create(
        lab.ec2, vpc, bucket="far-text/some/folder/",
        DestinationOptions={"FileFormat": "plain-text", "PerHourPartition": True,
                            "HiveCompatiblePartitions": True})
    near = flow_logs.create(lab.ec2, vpc, bucket="near")
    traffic(client, end, 50_000)
    until(lambda: records(server, "far-text"), "the first records", within=PATIENCE)
    [key, *_] = server.keys("far-text")
    assert key.startswith("some/folder/AWSLogs/aws-account-id=123456789012/"
                          "aws-service=vpcflowlogs/aws-region=us-east-1/year=20")
    assert "/hour=" in key and key.endswith(".log.gz") and f"_{flow_log}_" in key
    assert delivery(lab.ec2, flow_log) == ("SUCCESS", None)
    door.shut()
    traffic(client, end, 51_000)
    until(lambda: delivery(lab.ec2, flow_log) == ("FAILED", "Unknown error"), "the failure",
          within=PATIENCE)
    # What goes elsewhere does not wait.
    assert delivery(lab.ec2, near) == ("SUCCESS", None)
    failed = lab.ec2.describe_flow_logs(
        Filters=[{"Name": "deliver-log-status", "Values": ["FAILED"]}])["FlowLogs"]
    assert [one["FlowLogId"] for one in failed] == [flow_log]
    daemon.kill()
    traffic(client, end, 52_000)
    daemon.start()
    traffic(client, end, 53_000)
    door.open()

    def agree():
        return told(records(server, "far-text"), client, end) == counted(daemon, client, end)

    until(agree, "sums and counters agree", within=2 * PATIENCE)
    until(lambda: delivery(lab.ec2, flow_log) == ("SUCCESS", None), "the success",
          within=PATIENCE)
    until(lambda: told(flow_logs.records(daemon, "near"), client, end)
          == counted(daemon, client, end), "the directory has the same", within=PATIENCE)


def test_a_bucket_that_takes_nothing_is_refused_by_name(daemon, lab, ends, server, door):
    vpc, *_ = ends

    def create(bucket):
        return lab.ec2.create_flow_logs(
            ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL", LogDestinationType="s3",
            LogDestination=f"arn:aws:s3:::{bucket}")

    for bucket, code, message in [
        ("far-missing", "LogDestinationNotFound", "LogDestination: far-missing does not exist"),
        ("wrong", "LogDestinationPermissionIssue",
         "Access Denied for LogDestination: wrong. Please check LogDestination permission"),
    ]:
        answer = create(bucket)
        assert answer["FlowLogIds"] == []
        assert answer["Unsuccessful"] == [
            {"ResourceId": vpc, "Error": {"Code": code, "Message": message}}], bucket
    with refused("DryRunOperation", status=412):
        lab.ec2.create_flow_logs(
            DryRun=True, ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL",
            LogDestinationType="s3", LogDestination="arn:aws:s3:::far-missing")
    # A bucket that goes later is told by the flow log's status.
    server.s3.create_bucket(Bucket="far-brief")
    [flow_log] = create("far-brief")["FlowLogIds"]
    until(lambda: server.keys("far-brief"), "a file", within=PATIENCE)
    for key in server.keys("far-brief"):
        server.s3.delete_object(Bucket="far-brief", Key=key)
    server.s3.delete_bucket(Bucket="far-brief")
    until(lambda: delivery(lab.ec2, flow_log) == ("FAILED", "Access error"), "the failure",
          within=PATIENCE)
    # An endpoint that does not answer is not asked twice whether it will.
    door.shut()
    assert len(create("far-later")["FlowLogIds"]) == 1


TYPES = {"version": "INTEGER", "account_id": "VARCHAR", "interface_id": "VARCHAR",
         "srcaddr": "VARCHAR", "srcport": "INTEGER", "protocol": "INTEGER", "packets": "BIGINT",
         "bytes": "BIGINT", "start": "BIGINT", "end": "BIGINT", "action": "VARCHAR",
         "tcp_flags": "INTEGER", "flow_direction": "VARCHAR", "traffic_path": "INTEGER"}


def test_access_logs_of_a_load_balancer_go_to_an_endpoint(daemon, lab, ends, server):
    elb = daemon.client("elbv2")
    _, client, _ = ends
    made = elb.create_load_balancer(Name="web", Type="network", Scheme="internal",
                                    Subnets=[client.describe()["SubnetId"]])["LoadBalancers"][0]
    arn = made["LoadBalancerArn"]

    def enable(bucket):
        elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[
            {"Key": "access_logs.s3.enabled", "Value": "true"},
            {"Key": "access_logs.s3.bucket", "Value": bucket}])

    try:
        for bucket in ("wrong", "far-missing"):
            with refused("InvalidConfigurationRequest", f"Access Denied for bucket: {bucket}. "
                                                        "Please check S3bucket permission"):
                enable(bucket)
        server.s3.create_bucket(Bucket="far-access")
        enable("far-access")
        test = "AWSLogs/123456789012/ELBAccessLogTestFile"
        until(lambda: test in server.keys("far-access"), "the test file", 10)
        assert server.read("far-access", test).startswith(b"Enable AccessLog for ELB: web at ")
    finally:
        elb.delete_load_balancer(LoadBalancerArn=arn)


def test_duckdb_reads_what_was_delivered_with_types_and_sums(daemon, lab, ends):
    vpc, client, end = ends
    flow_logs.create(lab.ec2, vpc, bucket="columns",
                     DestinationOptions={"FileFormat": "parquet", "PerHourPartition": True,
                                         "HiveCompatiblePartitions": True})
    traffic(client, end, 50_000)
    database = duckdb.connect()
    # Files that are still being written begin with a dot, which globs leave out.
    files = f"read_parquet('{daemon.data}/buckets/columns/**/*.parquet', hive_partitioning=true)"

    def sums():
        rows = database.execute(
            f"SELECT interface_id, flow_direction, sum(packets)::BIGINT, sum(bytes)::BIGINT "
            f"FROM {files} WHERE action = 'ACCEPT' AND drop_reason = '-' GROUP BY ALL").fetchall()
        ways = {"ingress": "in", "egress": "out"}
        return {(eni, ways[way]): (packets, size) for eni, way, packets, size in rows}

    until(lambda: flow_logs.files(daemon, "columns", ".log.parquet"), "a file", within=PATIENCE)
    until(lambda: sums() == counted(daemon, client, end), "sums and counters agree",
          within=PATIENCE)
    described = database.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()
    types = {name: kind for name, kind, *_ in described}
    assert {name: types[name] for name in TYPES} == TYPES
    # The partitions' names are columns as well, as Athena has them.
    [[account, region]] = database.execute(
        f'SELECT DISTINCT "aws-account-id", "aws-region" FROM {files}').fetchall()
    assert (str(account), region) == ("123456789012", "us-east-1")
    [[refused_packets]] = database.execute(
        f"SELECT sum(packets)::BIGINT FROM {files} WHERE action = 'REJECT' AND dstport = 54"
    ).fetchall()
    assert refused_packets == 1
    [[nulls]] = database.execute(
        f"SELECT count(*) FROM {files} WHERE log_status = 'NODATA' AND packets IS NOT NULL"
    ).fetchall()
    assert nulls == 0
