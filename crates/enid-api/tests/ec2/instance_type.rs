//! Instance types.

use crate::client::Client;

#[test]
fn a_type_is_shown_with_its_network_limits() {
    let client = Client::new();
    let shown = client.call(
        "DescribeInstanceTypes",
        &[("InstanceType.1", "c6in.32xlarge")],
    );
    for part in [
        "<instanceType>c6in.32xlarge</instanceType>",
        "<maximumNetworkInterfaces>16</maximumNetworkInterfaces>",
        "<maximumNetworkCards>2</maximumNetworkCards>",
        "<networkCardIndex>1</networkCardIndex>",
        "<ipv4AddressesPerInterface>50</ipv4AddressesPerInterface>",
        "<defaultVCpus>128</defaultVCpus>",
        "<sizeInMiB>262144</sizeInMiB>",
    ] {
        assert!(shown.holds(part), "{part}: {shown:?}");
    }
    assert_eq!(
        client.ask("DescribeInstanceTypes", &[("InstanceType.1", "t9.nano")]),
        Err(
            "InvalidInstanceType: The following supplied instance types do not exist: [t9.nano]"
                .to_owned()
        )
    );
}

#[test]
fn filters_and_pages_go_through_all_types() {
    let client = Client::new();
    let found = |filter| client.filtered("DescribeInstanceTypes", "instanceType", filter);
    assert_eq!(found(("instance-type", "t3.m*")), ["t3.medium", "t3.micro"]);
    assert!(
        found(("network-info.maximum-network-interfaces", "64"))
            .contains(&"p5.48xlarge".to_owned())
    );
    assert!(found(("vcpu-info.default-vcpus", "3")).is_empty());
    assert!(!found(("bare-metal", "true")).contains(&"t3.micro".to_owned()));
    let mut count = 0;
    let mut token = String::new();
    loop {
        let mut parameters = vec![("MaxResults", "100")];
        if !token.is_empty() {
            parameters.push(("NextToken", &token));
        }
        let page = client.call("DescribeInstanceTypes", &parameters);
        count += page.all("instanceType").len();
        match page.all("nextToken").first() {
            Some(next) => token = (*next).to_owned(),
            None => break,
        }
    }
    assert_eq!(count, 1391);
}
