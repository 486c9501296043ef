"""Log groups through boto3: names, retention, protection, tags, lists."""

import uuid

import pytest

from support.errors import refused

NO_GROUP = "The specified log group does not exist."


@pytest.fixture(scope="module")
def logs(daemon):
    return daemon.client("logs")


@pytest.fixture
def group(logs):
    name = f"/test/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=name)
    yield name
    logs.put_log_group_deletion_protection(logGroupIdentifier=name,
                                           deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName=name)


def arn(name):
    return f"arn:aws:logs:us-east-1:123456789012:log-group:{name}"


def described(logs, name):
    [found] = [it for it in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
               if it["logGroupName"] == name]
    return found


def test_a_group_is_described_as_aws_does(logs, group):
    found = described(logs, group)
    assert found.pop("creationTime") > 1_700_000_000_000
    assert found == {"logGroupName": group, "metricFilterCount": 0, "storedBytes": 0,
                     "arn": arn(group) + ":*", "logGroupArn": arn(group),
                     "logGroupClass": "STANDARD", "deletionProtectionEnabled": False}


def test_a_name_is_one_groups(logs, group):
    with refused("ResourceAlreadyExistsException", "The specified log group already exists"):
        logs.create_log_group(logGroupName=group)
    with refused("ResourceNotFoundException", NO_GROUP):
        logs.delete_log_group(logGroupName=group + "-other")


@pytest.mark.parametrize("name", ["a b", "a:b", "a*", "aws/x", "AWS/x"])
def test_other_names_are_refused(logs, name):
    with refused("InvalidParameterException"):
        logs.create_log_group(logGroupName=name)


def test_retention_is_one_of_the_listed_days(logs, group):
    logs.put_retention_policy(logGroupName=group, retentionInDays=14)
    assert described(logs, group)["retentionInDays"] == 14
    with refused("InvalidParameterException", "…Value '15' at 'retentionInDays'"):
        logs.put_retention_policy(logGroupName=group, retentionInDays=15)
    logs.delete_retention_policy(logGroupName=group)
    assert "retentionInDays" not in described(logs, group)
    with refused("ResourceNotFoundException", NO_GROUP):
        logs.put_retention_policy(logGroupName="nothing", retentionInDays=1)


def test_a_protected_group_stays(logs, group):
    logs.put_log_group_deletion_protection(logGroupIdentifier=arn(group),
                                           deletionProtectionEnabled=True)
    assert described(logs, group)["deletionProtectionEnabled"]
    with refused("ValidationException"):
        logs.delete_log_group(logGroupName=group)
    assert described(logs, group)


def test_tags_by_arn_and_by_name(logs, group):
    logs.tag_resource(resourceArn=arn(group), tags={"a": "1", "b": "2"})
    logs.tag_log_group(logGroupName=group, tags={"c": "3"})
    logs.untag_resource(resourceArn=arn(group), tagKeys=["a"])
    assert logs.list_tags_for_resource(resourceArn=arn(group))["tags"] == {"b": "2", "c": "3"}
    logs.untag_log_group(logGroupName=group, tags=["b"])
    assert logs.list_tags_log_group(logGroupName=group)["tags"] == {"c": "3"}
    with refused("ResourceNotFoundException", NO_GROUP):
        logs.list_tags_for_resource(resourceArn=arn("nothing"))
    with refused("InvalidParameterException"):
        logs.tag_resource(resourceArn=arn(group), tags={"aws:x": "1"})
    with refused("TooManyTagsException"):
        logs.tag_resource(resourceArn=arn(group), tags={str(key): "" for key in range(50)})


def test_a_group_is_made_with_tags(logs):
    logs.create_log_group(logGroupName="tagged", tags={"Name": "x"})
    assert logs.list_tags_log_group(logGroupName="tagged")["tags"] == {"Name": "x"}
    logs.delete_log_group(logGroupName="tagged")


def test_groups_are_listed_in_pages_by_name(logs):
    names = [f"/page/{number:02}" for number in range(7)]
    for name in reversed(names):
        logs.create_log_group(logGroupName=name)
    pages = logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix="/page/", PaginationConfig={"PageSize": 3})
    sizes, seen = [], []
    for page in pages:
        sizes.append(len(page["logGroups"]))
        seen += [it["logGroupName"] for it in page["logGroups"]]
    assert (sizes, seen) == ([3, 3, 1], names)
    [found] = logs.describe_log_groups(logGroupNamePattern="age/03")["logGroups"]
    assert sorted(found) == ["arn", "creationTime", "logGroupName"]
    found = logs.describe_log_groups(logGroupIdentifiers=[names[5], arn(names[1])])["logGroups"]
    assert [it["logGroupName"] for it in found] == [names[1], names[5]]
    found = logs.list_log_groups(logGroupNamePattern="^/page/00|page/06")["logGroups"]
    assert [it["logGroupName"] for it in found] == [names[0], names[6]]
    for name in names:
        logs.delete_log_group(logGroupName=name)


def test_lists_have_bounds(logs):
    with refused("InvalidParameterException", "…less than or equal to 50"):
        logs.describe_log_groups(limit=51)
    with refused("InvalidParameterException", "The specified nextToken is invalid."):
        logs.describe_log_groups(nextToken="?")
    with refused("InvalidParameterException", "…mutually exclusive"):
        logs.describe_log_groups(logGroupNamePrefix="a", logGroupNamePattern="b")


def test_what_enid_has_not_is_refused_by_name(logs):
    with refused("UnsupportedOperation", "…kmsKeyId"):
        logs.create_log_group(logGroupName="g", kmsKeyId="k")
    with refused("UnsupportedOperation", "…logGroupClass"):
        logs.create_log_group(logGroupName="g", logGroupClass="DELIVERY")
    with refused("UnsupportedOperation", "…CreateExportTask"):
        logs.create_export_task(logGroupName="g", to=1, destination="b", **{"from": 0})


def test_regions_and_groups_are_apart(daemon, logs, group):
    elsewhere = daemon.client("logs", region="eu-west-1")
    assert elsewhere.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []
