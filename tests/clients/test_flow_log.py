"""Flow logs through boto3: what they say of themselves, and what is refused."""

import pytest

from support import flow_logs
from support.errors import refused

UNKNOWN = "fl-00000000000000001"
ROLE = "arn:aws:iam::123456789012:role/flow-logs"


@pytest.fixture
def vpc(papers):
    return papers.vpc()


def request(vpc, **options):
    return {"ResourceIds": [vpc], "ResourceType": "VPC", "TrafficType": "ALL",
            "LogDestinationType": "s3", "LogDestination": "arn:aws:s3:::a-bucket"} | options


@pytest.fixture
def clean(ec2):
    yield
    left = [one["FlowLogId"] for one in ec2.describe_flow_logs()["FlowLogs"]]
    if left:
        ec2.delete_flow_logs(FlowLogIds=left)


def test_life_of_a_flow_log(ec2, vpc, clean):
    answer = ec2.create_flow_logs(
        **request(vpc, ClientToken="once", MaxAggregationInterval=60,
                  LogDestination="arn:aws:s3:::a-bucket/a/folder/",
                  TagSpecifications=[{"ResourceType": "vpc-flow-log",
                                      "Tags": [{"Key": "a", "Value": "1"}]}]))
    assert answer["Unsuccessful"] == [] and answer["ClientToken"] == "once"
    [flow_log] = answer["FlowLogIds"]
    [described] = ec2.describe_flow_logs(FlowLogIds=[flow_log])["FlowLogs"]
    created = described.pop("CreationTime")
    assert created.year >= 2026
    assert described == {
        "FlowLogId": flow_log, "FlowLogStatus": "ACTIVE", "DeliverLogsStatus": "SUCCESS",
        "ResourceId": vpc, "TrafficType": "ALL", "LogDestinationType": "s3",
        "LogDestination": "arn:aws:s3:::a-bucket/a/folder/", "MaxAggregationInterval": 60,
        "LogFormat": flow_logs.format_of(*flow_logs.FIELDS[:14]),
        "DestinationOptions": {"FileFormat": "plain-text", "HiveCompatiblePartitions": False,
                               "PerHourPartition": False},
        "Tags": [{"Key": "a", "Value": "1"}],
    }
    again = ec2.create_flow_logs(
        **request(vpc, ClientToken="once", MaxAggregationInterval=60,
                  LogDestination="arn:aws:s3:::a-bucket/a/folder/",
                  TagSpecifications=[{"ResourceType": "vpc-flow-log",
                                      "Tags": [{"Key": "a", "Value": "1"}]}]))
    assert again["FlowLogIds"] == [flow_log]
    ec2.create_tags(Resources=[flow_log], Tags=[{"Key": "b", "Value": "2"}])
    for name, value in [("tag:b", "2"), ("tag-key", "a"), ("flow-log-id", flow_log),
                        ("resource-id", vpc), ("traffic-type", "ALL"),
                        ("log-destination-type", "s3"), ("deliver-log-status", "SUCCESS")]:
        found = ec2.describe_flow_logs(Filters=[{"Name": name, "Values": [value]}])["FlowLogs"]
        assert [one["FlowLogId"] for one in found] == [flow_log], name
        other = ec2.describe_flow_logs(Filters=[{"Name": name, "Values": ["x"]}])["FlowLogs"]
        assert other == [], name
    assert ec2.describe_flow_logs(
        Filters=[{"Name": "log-group-name", "Values": ["*"]}])["FlowLogs"] == []
    assert ec2.delete_flow_logs(FlowLogIds=[flow_log])["Unsuccessful"] == []
    assert ec2.describe_flow_logs()["FlowLogs"] == []


def test_one_call_makes_several_and_tells_each_failure(ec2, papers, vpc, clean):
    other = papers.vpc("10.1.0.0/16")
    unknown = "vpc-00000000000000001"
    answer = ec2.create_flow_logs(**request(vpc, ResourceIds=[vpc, unknown, other]))
    assert len(answer["FlowLogIds"]) == 2
    assert answer["Unsuccessful"] == [{
        "ResourceId": unknown,
        "Error": {"Code": "InvalidVpcID.NotFound",
                  "Message": f"The vpc ID '{unknown}' does not exist"}}]
    again = ec2.create_flow_logs(**request(vpc))
    assert again["FlowLogIds"] == []
    assert again["Unsuccessful"] == [{
        "ResourceId": vpc,
        "Error": {"Code": "FlowLogAlreadyExists",
                  "Message": "Error. There is an existing Flow Log with the same configuration "
                             "and log destination."}}]
    # Another destination or traffic is another flow log.
    for options in ({"TrafficType": "REJECT"}, {"LogDestination": "arn:aws:s3:::other"}):
        assert ec2.create_flow_logs(**request(vpc, **options))["Unsuccessful"] == []
    pages = list(ec2.get_paginator("describe_flow_logs").paginate(
        PaginationConfig={"PageSize": 1}))
    assert [len(page["FlowLogs"]) for page in pages] == [1] * 4


@pytest.mark.parametrize("kind, unknown, code", [
    ("NetworkInterface", "eni-00000000000000001", "InvalidNetworkInterfaceID.NotFound"),
    ("Subnet", "subnet-00000000000000001", "InvalidSubnetID.NotFound"),
])
def test_unknown_resources(ec2, kind, unknown, code):
    answer = ec2.create_flow_logs(**request(unknown, ResourceType=kind))
    [failure] = answer["Unsuccessful"]
    assert (failure["ResourceId"], failure["Error"]["Code"]) == (unknown, code)
    assert answer["FlowLogIds"] == []


def test_what_is_refused(ec2, vpc):
    invalid = "InvalidParameter"
    for message, options in [
        ("Invalid Flow Log Max Aggregation Interval", {"MaxAggregationInterval": 61}),
        ("DeliverLogsPermissionArn must be empty if LogDestinationType is s3.",
         {"DeliverLogsPermissionArn": ROLE}),
        ("LogDestination type must be cloud-watch-logs if LogGroupName is provided.",
         {"LogGroupName": "group"}),
        ("LogDestination: arn:aws:s3:::a-bucket/AWSLogs/ is invalid",
         {"LogDestination": "arn:aws:s3:::a-bucket/AWSLogs/"}),
        ("Unknown fields provided: ecs-task-id, resource-id",
         {"LogFormat": "${ecs-task-id} ${srcaddr} ${rtt-us} ${resource-id}"}),
        ("Invalid LogFormat: srcaddr", {"LogFormat": "srcaddr"}),
    ]:
        with refused(invalid, message):
            ec2.create_flow_logs(**request(vpc, **options))
    with refused(invalid, "LogDestination can't be empty if LogGroupName is not provided."):
        ec2.create_flow_logs(ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL",
                             LogDestinationType="s3")
    with refused("MissingParameter"):
        ec2.create_flow_logs(ResourceIds=[vpc], ResourceType="VPC", LogDestinationType="s3",
                             LogDestination="arn:aws:s3:::a-bucket")
    with refused("UnsupportedOperation"):
        ec2.create_flow_logs(**request(vpc, LogDestinationType="kinesis-data-firehose"))
    group = {"ResourceIds": [vpc], "ResourceType": "VPC", "TrafficType": "ALL"}
    for message, options in [
        ("DeliverLogsPermissionArn can't be empty if LogDestinationType is cloud-watch-logs.",
         {"LogGroupName": "group"}),
        ("LogDestination can't be empty if LogGroupName is not provided.",
         {"DeliverLogsPermissionArn": ROLE}),
        ("Please only provide LogGroupName or only provide LogDestination.",
         {"DeliverLogsPermissionArn": ROLE, "LogGroupName": "group",
          "LogDestination": "arn:aws:logs:us-east-1:123456789012:log-group:group"}),
    ]:
        with refused(invalid, message):
            ec2.create_flow_logs(**group | options)
    with refused("DryRunOperation", status=412):
        ec2.create_flow_logs(DryRun=True, **request(vpc))
    assert ec2.describe_flow_logs()["FlowLogs"] == []


def test_unknown_flow_logs(ec2):
    message = f"These flow log ids in the input list are not found: [TotalCount: 1] {UNKNOWN}"
    with refused("InvalidFlowLogId.NotFound", message):
        ec2.delete_flow_logs(FlowLogIds=[UNKNOWN])
    with refused("InvalidFlowLogId.NotFound", message):
        ec2.describe_flow_logs(FlowLogIds=[UNKNOWN])


def test_a_log_group(ec2, vpc, clean):
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:a/group"
    common = {"ResourceIds": [vpc], "ResourceType": "VPC", "DeliverLogsPermissionArn": ROLE}
    ec2.create_flow_logs(TrafficType="ALL", LogGroupName="a/group", **common)
    ec2.create_flow_logs(TrafficType="REJECT", LogDestination=arn, **common)
    described = ec2.describe_flow_logs(
        Filters=[{"Name": "log-group-name", "Values": ["a/group"]}])["FlowLogs"]
    by_traffic = {one["TrafficType"]: one for one in described}
    for one in by_traffic.values():
        assert (one["LogGroupName"], one["LogDestinationType"]) == ("a/group", "cloud-watch-logs")
        assert one["DeliverLogsPermissionArn"] == ROLE and "DestinationOptions" not in one
    assert "LogDestination" not in by_traffic["ALL"]
    assert by_traffic["REJECT"]["LogDestination"] == arn
