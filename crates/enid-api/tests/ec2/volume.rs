//! Volumes, of which there are none.

use crate::client::Client;

#[test]
fn there_are_no_volumes_and_no_id_names_one() {
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
