"""Dashboards of CloudWatch through boto3."""

import json

import pytest

from support.errors import refused

NAME = "of-test_dashboard"


@pytest.fixture(scope="module")
def cloudwatch(daemon):
    return daemon.client("cloudwatch")


@pytest.fixture(autouse=True)
def clean(cloudwatch):
    yield
    entries = cloudwatch.list_dashboards(DashboardNamePrefix=NAME)["DashboardEntries"]
    if entries:
        cloudwatch.delete_dashboards(DashboardNames=[one["DashboardName"] for one in entries])


def body(*widgets, **more):
    return json.dumps({"widgets": list(widgets), **more})


def text(words):
    return {"type": "text", "x": 0, "y": 0, "width": 3, "height": 3,
            "properties": {"markdown": words}}


def names(cloudwatch, prefix=NAME):
    pages = cloudwatch.get_paginator("list_dashboards").paginate(DashboardNamePrefix=prefix)
    return [one["DashboardName"] for page in pages for one in page["DashboardEntries"]]


def test_a_dashboard_is_put_found_replaced_and_deleted(cloudwatch):
    first, second = body(text("one")), body(text("two"), start="-PT6H")
    assert cloudwatch.put_dashboard(DashboardName=NAME,
                                    DashboardBody=first)["DashboardValidationMessages"] == []
    cloudwatch.put_dashboard(DashboardName=NAME + "-2", DashboardBody=first)
    [entry, other] = cloudwatch.list_dashboards(DashboardNamePrefix=NAME)["DashboardEntries"]
    arn = f"arn:aws:cloudwatch::123456789012:dashboard/{NAME}"
    assert (entry["DashboardName"], entry["DashboardArn"], entry["Size"]) == (NAME, arn, len(first))
    assert other["DashboardName"] == NAME + "-2"
    cloudwatch.put_dashboard(DashboardName=NAME, DashboardBody=second)
    found = cloudwatch.get_dashboard(DashboardName=NAME)
    assert (found["DashboardBody"], found["DashboardArn"]) == (second, arn)
    [again] = cloudwatch.list_dashboards(DashboardNamePrefix=NAME + "-2")["DashboardEntries"]
    assert again["LastModified"] == other["LastModified"]
    # What is there goes, also if something else is not.
    with refused("ResourceNotFound", "Dashboard none does not exist", 404):
        cloudwatch.delete_dashboards(DashboardNames=[NAME, "none"])
    assert names(cloudwatch) == [NAME + "-2"]
    with refused("ResourceNotFound", f"Dashboard {NAME} does not exist", 404):
        cloudwatch.get_dashboard(DashboardName=NAME)


def test_all_regions_have_the_same_dashboards(daemon, cloudwatch):
    there = daemon.client("cloudwatch", region="eu-central-1")
    there.put_dashboard(DashboardName=NAME, DashboardBody=body())
    assert names(cloudwatch) == names(there) == [NAME]
    assert there.get_dashboard(DashboardName=NAME)["DashboardArn"].split(":")[3] == ""


def test_what_is_no_dashboard_is_refused_with_its_places(cloudwatch):
    wrong = body({"type": "text", "width": 25, "properties": {}})
    places = [{"dataPath": "/widgets/0/width", "message": "Should be <= 24"},
              {"dataPath": "/widgets/0/properties",
               "message": "Should have required property 'markdown'"}]
    told = json.dumps(places, separators=(",", ":"))
    with refused("InvalidParameterInput",
                 f"The dashboard body is invalid, there are 2 validation errors: {told}"):
        cloudwatch.put_dashboard(DashboardName=NAME, DashboardBody=wrong)
    for wrong in ("no JSON", "[]", "{}"):
        with refused("InvalidParameterInput", "…The dashboard body is invalid"):
            cloudwatch.put_dashboard(DashboardName=NAME, DashboardBody=wrong)
    with refused("InvalidParameterInput", "…can only contain alphanumerics, dash"):
        cloudwatch.put_dashboard(DashboardName="a b", DashboardBody=body())
    with refused("InvalidNextToken", "The next token specified is invalid."):
        cloudwatch.list_dashboards(NextToken="x")
    with refused("InvalidParameterValue", "…must not have a size greater than 100"):
        cloudwatch.delete_dashboards(DashboardNames=["x"] * 101)
    assert names(cloudwatch) == []


def test_what_nobody_reads_is_kept_and_told(cloudwatch):
    odd = body({**text("one"), "z": 1})
    [message] = cloudwatch.put_dashboard(
        DashboardName=NAME, DashboardBody=odd)["DashboardValidationMessages"]
    assert message == {"DataPath": "/widgets/0/z",
                       "Message": "Should NOT have additional properties"}
    assert cloudwatch.get_dashboard(DashboardName=NAME)["DashboardBody"] == odd
