"""Metadata options of instances and the account's defaults for them, through boto3."""

import pytest

from support.errors import refused
from support.lab import IMAGE

UNKNOWN = "i-00000000000000001"
OWN = {"State": "applied", "HttpTokens": "optional", "HttpPutResponseHopLimit": 1,
       "HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled",
       "InstanceMetadataTags": "disabled"}


def shown(ec2, instance):
    [reservation] = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return reservation["Instances"][0]["MetadataOptions"]


def found(ec2, instance, name, value):
    """Whether a filter finds the instance."""
    filters = [{"Name": name, "Values": [value]}, {"Name": "instance-id", "Values": [instance]}]
    return bool(ec2.describe_instances(Filters=filters)["Reservations"])


@pytest.fixture
def defaults(ec2):
    """Sets the account's defaults; they are without preference after the test."""
    yield lambda **options: ec2.modify_instance_metadata_defaults(**options)
    ec2.modify_instance_metadata_defaults(
        HttpTokens="no-preference", HttpPutResponseHopLimit=-1, HttpEndpoint="no-preference",
        InstanceMetadataTags="no-preference", HttpTokensEnforced="no-preference")


def test_options_at_launch(ec2, papers):
    _, subnet = papers.network()
    plain = papers.instance(subnet)
    assert shown(ec2, plain.id) == OWN
    strict = papers.instance(subnet, MetadataOptions={
        "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpProtocolIpv6": "enabled",
        "InstanceMetadataTags": "enabled"})
    assert shown(ec2, strict.id) == OWN | {
        "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpProtocolIpv6": "enabled",
        "InstanceMetadataTags": "enabled"}
    off = papers.instance(subnet, MetadataOptions={"HttpEndpoint": "disabled"})
    assert shown(ec2, off.id) == OWN | {"HttpEndpoint": "disabled"}
    for name, value, other in [
            ("http-tokens", "required", "optional"),
            ("http-put-response-hop-limit", "2", "1"),
            ("http-endpoint", "enabled", "disabled"),
            ("http-protocol-ipv6", "enabled", "disabled"),
            ("instance-metadata-tags", "enabled", "disabled")]:
        assert found(ec2, strict.id, f"metadata-options.{name}", value)
        assert not found(ec2, strict.id, f"metadata-options.{name}", other)


@pytest.mark.parametrize("limit", [0, 65])
def test_hop_limits_are_1_to_64(ec2, papers, limit):
    _, subnet = papers.network()
    message = (f"Value ({limit}) for parameter HttpPutResponseHopLimit is invalid. Specify a "
               "number between 1 and 64.")
    with refused("InvalidParameterValue", message):
        ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, SubnetId=subnet,
                          MetadataOptions={"HttpPutResponseHopLimit": limit})
    instance = papers.instance(subnet)
    with refused("InvalidParameterValue", message):
        ec2.modify_instance_metadata_options(InstanceId=instance.id,
                                             HttpPutResponseHopLimit=limit)


def test_options_change(ec2, papers):
    _, subnet = papers.network()
    instance = papers.instance(subnet)
    with refused("DryRunOperation", status=412):
        ec2.modify_instance_metadata_options(InstanceId=instance.id, HttpTokens="required",
                                             DryRun=True)
    assert shown(ec2, instance.id) == OWN
    answer = ec2.modify_instance_metadata_options(
        InstanceId=instance.id, HttpTokens="required", HttpPutResponseHopLimit=64)
    changed = OWN | {"HttpTokens": "required", "HttpPutResponseHopLimit": 64}
    assert answer["InstanceId"] == instance.id
    assert answer["InstanceMetadataOptions"] == changed
    assert shown(ec2, instance.id) == changed
    # One option is changed, the others stay.
    ec2.modify_instance_metadata_options(InstanceId=instance.id, HttpEndpoint="disabled")
    assert shown(ec2, instance.id) == changed | {"HttpEndpoint": "disabled"}
    with refused("InvalidParameterCombination",
                 "The parameters HttpTokens cannot be specified when HttpEndpoint is disabled"):
        ec2.modify_instance_metadata_options(InstanceId=instance.id, HttpEndpoint="disabled",
                                             HttpTokens="optional")
    with refused("InvalidInstanceID.NotFound", f"The instance ID '{UNKNOWN}' does not exist"):
        ec2.modify_instance_metadata_options(InstanceId=UNKNOWN, HttpTokens="required")
    ec2.terminate_instances(InstanceIds=[instance.id])
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_metadata_options(InstanceId=instance.id, HttpTokens="required")


def test_tags_that_can_be_told(ec2, papers):
    _, subnet = papers.network()
    pattern = ("is not a valid tag key. Tag keys must match pattern "
               "([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not be a reserved name "
               "('.', '..', '_index')")
    with refused("InvalidParameterValue", f"'a/b' {pattern}"):
        ec2.run_instances(
            ImageId=IMAGE, MinCount=1, MaxCount=1, SubnetId=subnet,
            MetadataOptions={"InstanceMetadataTags": "enabled"},
            TagSpecifications=[{"ResourceType": "instance",
                                "Tags": [{"Key": "a/b", "Value": "1"}]}])
    instance = papers.instance(subnet)
    ec2.create_tags(Resources=[instance.id], Tags=[{"Key": "a b", "Value": "1"}])
    with refused("InvalidParameterValue", f"'a b' {pattern}"):
        ec2.modify_instance_metadata_options(InstanceId=instance.id,
                                             InstanceMetadataTags="enabled")
    ec2.delete_tags(Resources=[instance.id], Tags=[{"Key": "a b"}])
    ec2.modify_instance_metadata_options(InstanceId=instance.id, InstanceMetadataTags="enabled")
    with refused("InvalidParameterValue", f"'_index' {pattern}"):
        ec2.create_tags(Resources=[instance.id], Tags=[{"Key": "_index", "Value": "1"}])
    ec2.create_tags(Resources=[instance.id], Tags=[{"Key": "a:b", "Value": "1"}])


def test_defaults_of_the_account(ec2, papers, defaults):
    _, subnet = papers.network()
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {"ManagedBy": "account"}
    answer = defaults(HttpTokens="required", HttpPutResponseHopLimit=2,
                      InstanceMetadataTags="enabled", HttpTokensEnforced="enabled")
    assert answer["Return"] is True
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {
        "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled",
        "HttpTokensEnforced": "enabled", "ManagedBy": "account"}
    changed = OWN | {"HttpTokens": "required", "HttpPutResponseHopLimit": 2,
                     "InstanceMetadataTags": "enabled"}
    first = papers.instance(subnet)
    assert shown(ec2, first.id) == changed
    # Nor is it opened in two steps: off with optional sessions, then on.
    silent = papers.instance(subnet, MetadataOptions={"HttpEndpoint": "disabled"})
    defaults(HttpTokens="optional", HttpTokensEnforced="enabled")
    quiet = papers.instance(subnet, MetadataOptions={"HttpEndpoint": "disabled"})
    with refused("UnsupportedOperation", "…httpTokensEnforced is enabled for this account"):
        ec2.modify_instance_metadata_options(InstanceId=quiet.id, HttpEndpoint="enabled")
    defaults(HttpTokens="required")
    ec2.modify_instance_metadata_options(InstanceId=silent.id, HttpEndpoint="enabled")
    with refused("UnsupportedOperation", "…httpTokensEnforced is enabled for this account"):
        ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, SubnetId=subnet,
                          MetadataOptions={"HttpTokens": "optional"})
    with refused("UnsupportedOperation", "…httpTokensEnforced is enabled for this account"):
        ec2.modify_instance_metadata_options(InstanceId=first.id, HttpTokens="optional")
    with refused("InvalidParameterValue"):
        defaults(HttpPutResponseHopLimit=65)
    defaults(HttpTokens="no-preference", HttpPutResponseHopLimit=-1,
             InstanceMetadataTags="no-preference", HttpTokensEnforced="disabled")
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {
        "HttpTokensEnforced": "disabled", "ManagedBy": "account"}
    # What an instance has, it keeps.
    assert shown(ec2, papers.instance(subnet).id) == OWN
    assert shown(ec2, first.id) == changed


def test_options_in_a_launch_template(ec2, papers):
    _, subnet = papers.network()
    options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 3}
    names = {"HostnameType": "resource-name", "EnableResourceNameDnsARecord": True}
    template = ec2.create_launch_template(
        LaunchTemplateName="imds", LaunchTemplateData={
            "ImageId": IMAGE, "MetadataOptions": options, "PrivateDnsNameOptions": names},
    )["LaunchTemplate"]["LaunchTemplateId"]
    try:
        [version] = ec2.describe_launch_template_versions(
            LaunchTemplateId=template)["LaunchTemplateVersions"]
        assert version["LaunchTemplateData"]["MetadataOptions"] == options
        assert version["LaunchTemplateData"]["PrivateDnsNameOptions"] == names
        instance = papers.instance(subnet, LaunchTemplate={"LaunchTemplateId": template})
        assert shown(ec2, instance.id) == OWN | options
        other = papers.instance(subnet, LaunchTemplate={"LaunchTemplateId": template},
                                MetadataOptions={"HttpTokens": "optional"})
        # What the launch does not say is as the template has it.
        assert shown(ec2, other.id) == OWN | {"HttpPutResponseHopLimit": 3}
    finally:
        ec2.delete_launch_template(LaunchTemplateId=template)
