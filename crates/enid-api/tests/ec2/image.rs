//! Images.

use crate::client::Client;

#[test]
fn one_image_is_listed_and_every_id_stands_for_it() {
    let client = Client::new();
    let listed = client.call("DescribeImages", &[]);
    assert_eq!(listed.all("name"), ["enid-sandbox"]);
    let found = |filter| client.filtered("DescribeImages", "name", filter);
    for filter in [
        ("name", "enid-*"),
        ("state", "available"),
        ("is-public", "true"),
    ] {
        assert_eq!(found(filter), ["enid-sandbox"], "{filter:?}");
    }
    assert!(found(("name", "amzn2-*")).is_empty());
    let owned = |owner| client.call("DescribeImages", &[("Owner.1", owner)]);
    assert_eq!(owned("self").all("name").len(), 1);
    assert!(owned("099720109477").all("name").is_empty());
    let any = client.call("DescribeImages", &[("ImageId.1", "ami-12345678")]);
    assert_eq!(any.all("imageId"), ["ami-12345678"]);
    let malformed = client.refused("DescribeImages", &[("ImageId.1", "ami-1")]);
    assert_eq!(malformed, "InvalidAMIID.Malformed");
}
