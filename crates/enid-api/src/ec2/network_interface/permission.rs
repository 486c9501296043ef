//! Permissions of other accounts to use an interface: there are none, because nothing would come of
//! them. An interface is attached to instances of its own account only.

use crate::context::Context;
use crate::ec2::filter::Filters;
use crate::ec2::page::Page;
use crate::ec2::{Ec2, id};
use crate::error::ApiError;
use crate::generated::ec2::request::DescribeNetworkInterfacePermissionsRequest;
use crate::generated::ec2::response::DescribeNetworkInterfacePermissionsResponse;

/// What AWS filters permissions by; there is nothing to compare.
fn field(name: &str) -> Option<()> {
    match name {
        "network-interface-permission.aws-account-id"
        | "network-interface-permission.aws-service"
        | "network-interface-permission.network-interface-id"
        | "network-interface-permission.network-interface-permission-id"
        | "network-interface-permission.permission" => Some(()),
        _ => None,
    }
}

/// DescribeNetworkInterfacePermissions.
pub(in crate::ec2) async fn describe_network_interface_permissions(
    ec2: &Ec2,
    context: &Context,
    request: DescribeNetworkInterfacePermissionsRequest,
) -> Result<DescribeNetworkInterfacePermissionsResponse, ApiError> {
    let ids = request.network_interface_permission_ids;
    Page::read(
        "DescribeNetworkInterfacePermissions",
        5..=255,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("networkInterfacePermissionIds"),
    )?;
    Filters::compile(&request.filters, field)?;
    // Nothing is read, but what holds for every call holds for this one.
    ec2.control.read(&context.caller()).await?;
    if ids.is_empty() {
        return Ok(DescribeNetworkInterfacePermissionsResponse {
            network_interface_permissions: Vec::new(),
            next_token: None,
        });
    }
    let absent: Vec<&str> = ids.iter().map(String::as_str).collect();
    Err(id::not_found("eni-perm", &absent))
}
