//! Tags.

use crate::client::Client;

#[test]
fn tags_are_described_by_every_filter() {
    let client = Client::new();
    let vpc = client.call("DescribeVpcs", &[]).first("vpcId");
    let group = client.call("DescribeSecurityGroups", &[]).first("groupId");
    let tags = [
        ("ResourceId.1", vpc.as_str()),
        ("ResourceId.2", &group),
        ("Tag.1.Key", "a"),
        ("Tag.1.Value", "1"),
        ("Tag.2.Key", "b"),
    ];
    client.call("CreateTags", &tags);
    let found = |filter| client.filtered("DescribeTags", "key", filter).len();
    for (filter, count) in [
        (("key", "a"), 2),
        (("resource-id", vpc.as_str()), 2),
        (("resource-type", "security-group"), 2),
        (("value", "1"), 2),
        (("value", ""), 2),
        (("tag:a", "1"), 2),
        (("tag:a", "2"), 0),
        (("resource-type", "subnet"), 0),
        (("resource-id", "vpc-*"), 2),
    ] {
        assert_eq!(found(filter), count, "{filter:?}");
    }
    let delete = [
        ("ResourceId.1", vpc.as_str()),
        ("Tag.1.Key", "b"),
        ("Tag.1.Value", "x"),
    ];
    client.call("DeleteTags", &delete);
    assert_eq!(found(("resource-id", &vpc)), 2);
    client.call("DeleteTags", &[("ResourceId.1", &vpc)]);
    assert_eq!(found(("resource-id", &vpc)), 0);
    assert_eq!(found(("resource-id", &group)), 2);
}

#[test]
fn tags_are_paged_in_the_order_of_resources_and_keys() {
    let client = Client::new();
    let vpc = client.call("DescribeVpcs", &[]).first("vpcId");
    for number in 0..13 {
        let key = format!("key {number:02}");
        let tag = [("ResourceId.1", vpc.as_str()), ("Tag.1.Key", &key)];
        client.call("CreateTags", &tag);
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let mut parameters = vec![("MaxResults", "5")];
        if !token.is_empty() {
            parameters.push(("NextToken", &token));
        }
        let page = client.call("DescribeTags", &parameters);
        seen.extend(page.all("key").into_iter().map(str::to_owned));
        match page.all("nextToken").first() {
            Some(next) => token = (*next).to_owned(),
            None => break,
        }
    }
    let wanted: Vec<_> = (0..13).map(|number| format!("key {number:02}")).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn what_cannot_be_tagged_is_refused() {
    let client = Client::new();
    let vpc = client.call("DescribeVpcs", &[]).first("vpcId");
    let refused = |id: &str, key: &str| {
        let parameters = [
            ("ResourceId.1", id),
            ("Tag.1.Key", key),
            ("Tag.1.Value", ""),
        ];
        client.refused("CreateTags", &parameters)
    };
    assert_eq!(refused("planet-1", "a"), "InvalidID");
    assert_eq!(
        refused("vpc-00000000000000000", "a"),
        "InvalidVpcID.NotFound"
    );
    assert_eq!(refused(&vpc, "aws:a"), "InvalidParameterValue");
    let none = client.refused("CreateTags", &[("ResourceId.1", &vpc)]);
    assert_eq!(none, "MissingParameter");
}
