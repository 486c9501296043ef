//! Permissions of other accounts to attach an interface to their instances.

use enid_model::id::NetworkInterfacePermissionId;
use enid_model::key::{AccountId, MalformedAccount};
use enid_model::network_interface_permission::NetworkInterfacePermission;

use crate::context::Context;
use crate::ec2::filter::{Filters, Test};
use crate::ec2::network_interface::describe::lower_bound;
use crate::ec2::page::Page;
use crate::ec2::{Ec2, id};
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateNetworkInterfacePermissionRequest, DeleteNetworkInterfacePermissionRequest,
    DescribeNetworkInterfacePermissionsRequest,
};
use crate::generated::ec2::response::{
    self, CreateNetworkInterfacePermissionResponse, DeleteNetworkInterfacePermissionResponse,
    DescribeNetworkInterfacePermissionsResponse, NetworkInterfacePermissionState,
};
use crate::wire::text::Text;

/// CreateNetworkInterfacePermission.
pub(in crate::ec2) async fn create_network_interface_permission(
    ec2: &Ec2,
    context: &Context,
    request: CreateNetworkInterfacePermissionRequest,
) -> Result<CreateNetworkInterfacePermissionResponse, ApiError> {
    let eni = id::parse(&request.network_interface_id)?;
    let account = request.aws_account_id;
    let account = account.ok_or_else(|| ApiError::missing_parameter("AwsAccountId"))?;
    let account: AccountId = account.parse().map_err(|MalformedAccount| {
        let why = "An account is named by its twelve digits.";
        ApiError::invalid_parameter_value(&account, "AwsAccountId", why)
    })?;
    let caller = context.caller();
    let made = ec2
        .control
        .create_network_interface_permission(&caller, eni, account)
        .await?;
    Ok(CreateNetworkInterfacePermissionResponse {
        interface_permission: Some(answer(&made)),
    })
}

/// DeleteNetworkInterfacePermission.
pub(in crate::ec2) async fn delete_network_interface_permission(
    ec2: &Ec2,
    context: &Context,
    request: DeleteNetworkInterfacePermissionRequest,
) -> Result<DeleteNetworkInterfacePermissionResponse, ApiError> {
    let id = id::parse(&request.network_interface_permission_id)?;
    let caller = context.caller();
    ec2.control
        .delete_network_interface_permission(&caller, id, request.force.unwrap_or(false))
        .await?;
    Ok(DeleteNetworkInterfacePermissionResponse {
        r#return: Some(true),
    })
}

/// What AWS filters permissions by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Account,
    Eni,
    Id,
    Permission,
    /// No permission is a service's.
    Service,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix("network-interface-permission.")?;
        Some(match name {
            "aws-account-id" => Self::Account,
            "aws-service" => Self::Service,
            "network-interface-id" => Self::Eni,
            "network-interface-permission-id" => Self::Id,
            "permission" => Self::Permission,
            _ => return None,
        })
    }

    fn test(self, permission: &NetworkInterfacePermission, test: &mut Test<'_>) {
        match self {
            Self::Account => test.display(permission.account),
            Self::Eni => test.display(permission.eni),
            Self::Id => test.display(permission.id),
            Self::Permission => test.text(INSTANCE_ATTACH),
            Self::Service => {}
        }
    }
}

/// DescribeNetworkInterfacePermissions: those of one's own interfaces.
pub(in crate::ec2) async fn describe_network_interface_permissions(
    ec2: &Ec2,
    context: &Context,
    request: DescribeNetworkInterfacePermissionsRequest,
) -> Result<DescribeNetworkInterfacePermissionsResponse, ApiError> {
    let filters = Filters::compile(&request.filters, Field::named)?;
    let ids = &request.network_interface_permission_ids;
    let page = Page::read(
        "DescribeNetworkInterfacePermissions",
        5..=255,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("networkInterfacePermissionIds"),
    )?;
    let region = ec2.control.read(&context.caller()).await?;
    let all = &region.network_interface_permissions;
    let candidates: Box<dyn Iterator<Item = _>> = if ids.is_empty() {
        let after: Option<NetworkInterfacePermissionId> = page.after()?;
        let behind = (lower_bound(after), std::ops::Bound::Unbounded);
        Box::new(all.range(behind).map(|(_, found)| found))
    } else {
        Box::new(id::find(ids, all)?.into_values())
    };
    let none = enid_model::Tags::new();
    let matching = candidates.filter(|permission| {
        filters.match_resource(&none, |field, test| field.test(permission, test))
    });
    let (permissions, next_token) = page.take(matching, |permission| permission.id.to_string());
    let permissions = permissions.into_iter().map(|permission| answer(permission));
    Ok(DescribeNetworkInterfacePermissionsResponse {
        network_interface_permissions: permissions.collect(),
        next_token,
    })
}

fn answer(permission: &NetworkInterfacePermission) -> response::NetworkInterfacePermission {
    response::NetworkInterfacePermission {
        network_interface_permission_id: Some(Text::display(permission.id)),
        network_interface_id: Some(Text::display(permission.eni)),
        aws_account_id: Some(Text::display(permission.account)),
        permission: Some(INSTANCE_ATTACH.into()),
        permission_state: Some(NetworkInterfacePermissionState {
            state: Some("granted".into()),
        }),
    }
}

/// The only permission that there is here.
const INSTANCE_ATTACH: &str = "INSTANCE-ATTACH";
