//! Requests of EC2 as clients send them, through the generated parsers.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use enid_api::error::ApiError;
use enid_api::generated::ec2::operations::Request;
use enid_api::wire::form::parse_form;
use proptest::prelude::*;

fn parse(action: &str, body: &str) -> Result<Request, ApiError> {
    Request::parse(action, parse_form(body.as_bytes())?.params())
}

#[test]
fn a_nested_request_is_read_whole() {
    let body = "SubnetId=subnet-1&SecurityGroupId.1=sg-1&SecurityGroupId.2=sg-2\
        &PrivateIpAddresses.1.PrivateIpAddress=10.0.0.1&PrivateIpAddresses.1.Primary=true\
        &TagSpecification.1.ResourceType=network-interface\
        &TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b+c&ClientToken=t";
    let Request::CreateNetworkInterface(request) = parse("CreateNetworkInterface", body).unwrap()
    else {
        panic!("another operation");
    };
    assert_eq!(request.subnet_id, "subnet-1");
    assert_eq!(request.groups, ["sg-1", "sg-2"]);
    assert_eq!(request.private_ip_addresses[0].primary, Some(true));
    let tags = &request.tag_specifications[0].tags;
    assert_eq!(tags[0].value.as_deref(), Some("b c"));
    assert_eq!(request.client_token.as_deref(), Some("t"));
    assert_eq!(request.description, None);
}

#[test]
fn names_on_the_wire_follow_the_model() {
    // The one structure with names of its own for requests.
    let body = "MinCount=1&MaxCount=1&NetworkInterface.1.DeviceIndex=0\
        &NetworkInterface.1.PrivateIpAddresses.1.PrivateIpAddress=10.0.0.9";
    let Request::RunInstances(request) = parse("RunInstances", body).unwrap() else {
        panic!("another operation");
    };
    let interface = &request.network_interfaces[0];
    assert_eq!(interface.device_index, Some(0));
    assert_eq!(interface.private_ip_addresses.len(), 1);
}

#[test]
fn refusals_are_those_of_aws_or_name_what_is_missing() {
    for (action, body, wanted) in [
        (
            "Nonsense",
            "",
            "InvalidAction: The action Nonsense is not valid for this web service.",
        ),
        (
            "CreateTransitGateway",
            "x",
            "UnsupportedOperation: Enid does not implement the operation CreateTransitGateway.",
        ),
        (
            "CreateSubnet",
            "CidrBlock=x",
            "MissingParameter: The request must contain the parameter vpcId",
        ),
        (
            "CreateSubnet",
            "VpcId=x&vpcid=y",
            "UnknownParameter: The parameter vpcid is not recognized",
        ),
        (
            "CreateSubnet",
            "VpcId=x&Ipv6NetmaskLength=64",
            "UnsupportedOperation: Enid does not implement the parameter Ipv6NetmaskLength of CreateSubnet.",
        ),
        (
            "DescribeVpcs",
            "MaxResults=many",
            "InvalidParameterValue: Value (many) for parameter maxResults is invalid. Expected an integer.",
        ),
        (
            "RunInstances",
            "MinCount=1&MaxCount=1&NetworkInterface.1.EnaQueueCount=2",
            "UnsupportedOperation: Enid does not implement the parameter NetworkInterface.1.EnaQueueCount of RunInstances.",
        ),
        (
            "ModifySubnetAttribute",
            "SubnetId=x&MapCustomerOwnedIpOnLaunch.Value=true",
            "UnsupportedOperation: Enid does not implement the value 'true' of the parameter MapCustomerOwnedIpOnLaunch.Value of ModifySubnetAttribute.",
        ),
        (
            "ModifySubnetAttribute",
            "SubnetId=x&MapCustomerOwnedIpOnLaunch.Value=maybe",
            "InvalidParameterValue: Value (maybe) for parameter mapCustomerOwnedIpOnLaunch.Value is invalid.",
        ),
    ] {
        assert_eq!(parse(action, body).unwrap_err().to_string(), wanted);
    }
    assert!(
        parse(
            "ModifySubnetAttribute",
            "SubnetId=x&MapPublicIpOnLaunch.Value=false"
        )
        .is_ok()
    );
}

const ACTIONS: &[&str] = &[
    "AuthorizeSecurityGroupIngress",
    "CreateTags",
    "DescribeVpcs",
    "RunInstances",
];
const NAMES: &str = "(Filter|Tag|IpPermissions|NetworkInterface|ResourceId|MinCount|Placement|x|)(\\.(1|2|0|Name|Key|Groups|Value|x|)){0,4}";

proptest! {
    #[test]
    fn no_form_panics(
        action in proptest::sample::select(ACTIONS),
        pairs in proptest::collection::vec((NAMES, "\\PC{0,6}"), 0..8),
    ) {
        let body: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let _ = parse(action, &body.join("&"));
    }
}
