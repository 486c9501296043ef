//! Volumes: those of instances.

use crate::client::Client;

#[test]
fn without_instances_there_are_none_and_no_id_names_one() {
    let client = Client::new();
    assert!(
        client
            .call("DescribeVolumes", &[])
            .all("volumeId")
            .is_empty()
    );
    let filtered = |filter| client.filtered("DescribeVolumes", "volumeId", filter);
    assert!(filtered(("attachment.instance-id", "i-*")).is_empty());
    assert!(filtered(("tag:Name", "a")).is_empty());
    for (name, value, code) in [
        (
            "VolumeId.1",
            "vol-0123456789abcdef0",
            "InvalidVolume.NotFound",
        ),
        ("VolumeId.1", "vol-1", "InvalidVolumeID.Malformed"),
        ("MaxResults", "1", "InvalidParameterValue"),
        ("NextToken", "nothing", "InvalidNextToken"),
    ] {
        let refused = client.refused("DescribeVolumes", &[(name, value)]);
        assert_eq!(refused, code, "{name}={value}");
    }
    let bogus = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    let refused = client.refused("DescribeVolumes", &bogus);
    assert_eq!(refused, "InvalidParameterValue");
}

#[test]
fn an_instance_is_told_with_its_volumes() {
    let client = Client::new();
    let launch = [
        ("ImageId", "ami-12345678"),
        ("InstanceType", "t3.micro"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"),
        ("TagSpecification.1.ResourceType", "volume"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "disk"),
    ];
    let instance = client.call("RunInstances", &launch).first("instanceId");
    let shown = client.call("DescribeInstances", &[]);
    assert_eq!(shown.all("deviceName"), ["/dev/xvda", "/dev/sdf"]);
    let volumes = client.call("DescribeVolumes", &[]);
    let mut sizes = volumes.all("size");
    sizes.sort_unstable();
    assert_eq!(sizes, ["20", "8"]);
    let filtered = |filter| {
        client
            .filtered("DescribeVolumes", "volumeType", filter)
            .len()
    };
    for (name, value, found) in [
        ("attachment.device", "/dev/sdf", 1),
        ("attachment.delete-on-termination", "true", 1),
        ("attachment.instance-id", &*instance, 2),
        ("attachment.instance-id", "i-00000000000000000", 0),
        ("attachment.status", "attached", 2),
        ("availability-zone", "eu-west-1a", 2),
        ("availability-zone-id", "euw1-az9", 0),
        ("encrypted", "true", 0),
        ("multi-attach-enabled", "false", 2),
        ("size", "20", 1),
        ("snapshot-id", "snap-*", 0),
        ("status", "in-use", 2),
        ("tag:Name", "disk", 2),
        ("volume-type", "gp3", 2),
    ] {
        assert_eq!(filtered((name, value)), found, "{name}={value}");
    }
    let by_device = |value| {
        let filter = ("block-device-mapping.device-name", value);
        client
            .filtered("DescribeInstances", "imageId", filter)
            .len()
    };
    assert_eq!((by_device("/dev/sdf"), by_device("/dev/sdg")), (1, 0));
    let keep = |value| {
        let name = "BlockDeviceMapping.1.DeviceName";
        let goes = "BlockDeviceMapping.1.Ebs.DeleteOnTermination";
        let modify = [("InstanceId", &*instance), (name, value), (goes, "true")];
        client.ask("ModifyInstanceAttribute", &modify)
    };
    assert!(keep("/dev/sdf").is_ok());
    assert_eq!(
        keep("/dev/sdg").err().as_deref(),
        Some("InvalidInstanceAttributeValue: No device is currently mapped at /dev/sdg")
    );
    client.call("TerminateInstances", &[("InstanceId.1", &*instance)]);
    let left = client.call("DescribeVolumes", &[]);
    assert!(left.all("volumeId").is_empty());
    let shown = client.call("DescribeInstances", &[]);
    assert!(shown.holds("<blockDeviceMapping/>"));
}
