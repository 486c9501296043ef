//! Images.

use crate::client::Client;

#[test]
fn each_driver_has_an_image_and_every_other_id_stands_for_the_sandbox() {
    let client = Client::new();
    let listed = client.call("DescribeImages", &[]);
    let all = ["enid-sandbox", "enid-netns", "enid-tap"];
    assert_eq!(listed.all("name"), all);
    assert!(
        listed.all("creationDate")[1..]
            .iter()
            .all(|date| *date < listed.all("creationDate")[0])
    );
    let found = |filter| client.filtered("DescribeImages", "name", filter);
    for filter in [
        ("name", "enid-*"),
        ("state", "available"),
        ("is-public", "true"),
    ] {
        assert_eq!(found(filter), all, "{filter:?}");
    }
    assert_eq!(found(("name", "enid-tap")), ["enid-tap"]);
    assert!(found(("name", "amzn2-*")).is_empty());
    let owned = |owner| client.call("DescribeImages", &[("Owner.1", owner)]);
    assert_eq!(owned("self").all("name").len(), 3);
    assert!(owned("099720109477").all("name").is_empty());
    let any = client.call("DescribeImages", &[("ImageId.1", "ami-12345678")]);
    assert_eq!(any.all("imageId"), ["ami-12345678"]);
    assert_eq!(any.all("name"), ["enid-sandbox"]);
    let malformed = client.refused("DescribeImages", &[("ImageId.1", "ami-1")]);
    assert_eq!(malformed, "InvalidAMIID.Malformed");
}
