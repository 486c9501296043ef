"""Block devices of instances: recorded, and told as they were asked for."""

import pytest

from support.errors import refused
from support.lab import IMAGE

DISK = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Iops": 4000,
                                          "Throughput": 250, "DeleteOnTermination": False}}


def of_instance(ec2, instance):
    filters = [{"Name": "attachment.instance-id", "Values": [instance]}]
    pages = ec2.get_paginator("describe_volumes").paginate(Filters=filters)
    volumes = [volume for page in pages for volume in page["Volumes"]]
    return {volume["Attachments"][0]["Device"]: volume for volume in volumes}


def test_every_instance_has_a_root_volume(ec2, papers):
    instance = papers.instance(papers.network()[1])
    [mapping] = instance.describe()["BlockDeviceMappings"]
    assert mapping["DeviceName"] == instance.describe()["RootDeviceName"] == "/dev/xvda"
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[mapping["Ebs"]["VolumeId"]])
    [volume] = of_instance(ec2, instance.id).values()
    assert (volume["Size"], volume["VolumeType"], volume["Iops"]) == (8, "gp3", 3000)
    [image] = ec2.describe_images(ImageIds=[IMAGE])["Images"]
    assert image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == volume["Size"]
    ec2.stop_instances(InstanceIds=[instance.id])
    assert of_instance(ec2, instance.id)["/dev/xvda"]["State"] == "in-use"
    ec2.terminate_instances(InstanceIds=[instance.id])
    with refused("InvalidVolume.NotFound", f"The volume '{volume['VolumeId']}' does not exist."):
        ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])
    ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume["VolumeId"]])


def test_devices_are_told_as_they_were_asked_for(ec2, papers):
    root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "Encrypted": True}}
    tags = {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "disk"}]}
    instance = papers.instance(papers.network()[1], BlockDeviceMappings=[DISK, root],
                               TagSpecifications=[tags])
    volumes = of_instance(ec2, instance.id)
    assert {name: volume["Size"] for name, volume in volumes.items()} == {
        "/dev/xvda": 30, "/dev/sdf": 20}
    disk = volumes["/dev/sdf"]
    assert (disk["Iops"], disk["Throughput"], disk["Encrypted"]) == (4000, 250, False)
    assert volumes["/dev/xvda"]["Encrypted"] is True
    assert disk["Tags"] == tags["Tags"]
    ec2.create_tags(Resources=[disk["VolumeId"]], Tags=[{"Key": "more", "Value": "x"}])
    filters = [{"Name": "resource-type", "Values": ["volume"]}, {"Name": "key", "Values": ["more"]}]
    assert [tag["ResourceId"] for tag in ec2.describe_tags(Filters=filters)["Tags"]] == [
        disk["VolumeId"]]
    # Nobody has what stays behind, until it is deleted.
    with refused("VolumeInUse"):
        ec2.delete_volume(VolumeId=disk["VolumeId"])
    ec2.terminate_instances(InstanceIds=[instance.id])
    ec2.get_waiter("volume_available").wait(VolumeIds=[disk["VolumeId"]])
    ec2.delete_volume(VolumeId=disk["VolumeId"])
    with refused("InvalidVolume.NotFound"):
        ec2.delete_volume(VolumeId=disk["VolumeId"])


def test_whether_a_device_goes_is_changed(ec2, papers):
    instance = papers.instance(papers.network()[1], BlockDeviceMappings=[DISK])
    goes = {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}
    ec2.modify_instance_attribute(InstanceId=instance.id, BlockDeviceMappings=[goes])
    answer = ec2.describe_instance_attribute(
        InstanceId=instance.id, Attribute="blockDeviceMapping")["BlockDeviceMappings"]
    assert [one["Ebs"]["DeleteOnTermination"] for one in answer] == [True, True]
    with refused("InvalidInstanceAttributeValue", "No device is currently mapped at /dev/sdg"):
        ec2.modify_instance_attribute(
            InstanceId=instance.id, BlockDeviceMappings=[goes | {"DeviceName": "/dev/sdg"}])


@pytest.mark.parametrize("code, ebs", [
    ("InvalidBlockDeviceMapping", None),
    ("InvalidParameterCombination", {"VolumeSize": 10, "VolumeType": "gp2", "Iops": 100}),
    ("InvalidParameterCombination", {"VolumeSize": 10, "VolumeType": "gp2", "Throughput": 125}),
    ("InvalidParameterDependency", {"VolumeSize": 10, "KmsKeyId": "alias/mine"}),
    ("InvalidParameterValue", {"VolumeSize": 1, "VolumeType": "st1"}),
    ("InvalidParameterValue", {"VolumeSize": 10, "VolumeType": "gp9"}),
    ("MissingParameter", {"VolumeType": "gp3"}),
    ("MissingParameter", {"VolumeSize": 10, "VolumeType": "io2"}),
    ("UnsupportedOperation", {"SnapshotId": "snap-0123456789abcdef0"}),
])
def test_what_no_volume_can_be_is_refused(papers, code, ebs):
    devices = [{"DeviceName": "/dev/sdf", "Ebs": ebs}] if ebs else [DISK, DISK]
    with refused(code):
        papers.instance(papers.network()[1], BlockDeviceMappings=devices)


def test_a_template_has_devices_and_credits(ec2, papers):
    small = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}
    with refused("InvalidBlockDeviceMapping"):
        papers.instance(papers.network()[1], BlockDeviceMappings=[small])
    data = {"ImageId": IMAGE, "InstanceType": "t3.micro", "BlockDeviceMappings": [DISK],
            "CreditSpecification": {"CpuCredits": "standard"}}
    template = ec2.create_launch_template(
        LaunchTemplateName="with-disk", LaunchTemplateData=data)["LaunchTemplate"]
    identity = {"LaunchTemplateId": template["LaunchTemplateId"]}
    [version] = ec2.describe_launch_template_versions(
        **identity, Versions=["$Latest"])["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"] == data
    _, subnet = papers.network()
    launched = ec2.run_instances(
        LaunchTemplate=identity, SubnetId=subnet, MinCount=1, MaxCount=1)["Instances"][0]
    assert set(of_instance(ec2, launched["InstanceId"])) == {"/dev/xvda", "/dev/sdf"}
    credits = ec2.describe_instance_credit_specifications(InstanceIds=[launched["InstanceId"]])
    assert credits["InstanceCreditSpecifications"] == [
        {"InstanceId": launched["InstanceId"], "CpuCredits": "standard"}]
    ec2.terminate_instances(InstanceIds=[launched["InstanceId"]])
    ec2.delete_launch_template(**identity)


def test_credits_are_of_instances_that_can_burst(ec2, papers):
    _, subnet = papers.network()
    burst = papers.instance(subnet, InstanceType="t3.micro").id
    other = papers.instance(subnet, InstanceType="m5.large").id
    with refused("InvalidParameterCombination"):
        papers.instance(subnet, CreditSpecification={"CpuCredits": "standard"})
    with refused("InvalidInstanceID"):
        ec2.describe_instance_credit_specifications(InstanceIds=[other])
    changed = ec2.modify_instance_credit_specification(InstanceCreditSpecifications=[
        {"InstanceId": burst, "CpuCredits": "standard"},
        {"InstanceId": other, "CpuCredits": "standard"}], ClientToken="once")
    assert changed["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": burst}]
    [failed] = changed["UnsuccessfulInstanceCreditSpecifications"]
    assert failed["InstanceId"] == other
    [told] = ec2.describe_instance_credit_specifications(
        InstanceIds=[burst])["InstanceCreditSpecifications"]
    assert told["CpuCredits"] == "standard"
    with refused("IdempotentParameterMismatch"):
        ec2.modify_instance_credit_specification(ClientToken="once", InstanceCreditSpecifications=[
            {"InstanceId": burst, "CpuCredits": "unlimited"}])
    # Without ids, those that pay for bursts.
    pages = ec2.get_paginator("describe_instance_credit_specifications").paginate()
    assert burst not in [one["InstanceId"] for page in pages
                         for one in page["InstanceCreditSpecifications"]]


def test_instances_have_no_profiles(ec2):
    pages = ec2.get_paginator("describe_iam_instance_profile_associations").paginate(
        Filters=[{"Name": "instance-id", "Values": ["i-0123456789abcdef0"]}])
    assert [one for page in pages for one in page["IamInstanceProfileAssociations"]] == []
    with refused("NoSuchAssociation"):
        ec2.describe_iam_instance_profile_associations(AssociationIds=["iip-assoc-0123456789"])
