//! The private names of instances.

use enid_control::WantedPrivateDnsName;
use enid_model::private_dns_name::PrivateDnsNameOptions;
use enid_model::subnet::HostnameType;

use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    ModifyPrivateDnsNameOptionsRequest, PrivateDnsNameOptionsRequest,
};
use crate::generated::ec2::response::{
    ModifyPrivateDnsNameOptionsResponse, PrivateDnsNameOptionsResponse,
};

/// ModifyPrivateDnsNameOptions.
pub(super) async fn modify_private_dns_name_options(
    ec2: &Ec2,
    context: &Context,
    request: ModifyPrivateDnsNameOptionsRequest,
) -> Result<ModifyPrivateDnsNameOptionsResponse, ApiError> {
    let id = id::parse(&request.instance_id)?;
    let kind = request.private_dns_hostname_type;
    let wanted = WantedPrivateDnsName {
        hostname_type: hostname_type(kind.as_deref(), "PrivateDnsHostnameType")?,
        a_record: request.enable_resource_name_dns_a_record,
        aaaa_record: request.enable_resource_name_dns_aaaa_record,
    };
    let caller = context.caller();
    ec2.control
        .modify_private_dns_name_options(&caller, id, wanted)
        .await?;
    Ok(ModifyPrivateDnsNameOptionsResponse {
        r#return: Some(true),
    })
}

/// The options that a launch names.
pub(super) fn wanted(
    request: PrivateDnsNameOptionsRequest,
) -> Result<WantedPrivateDnsName, ApiError> {
    let name = "PrivateDnsNameOptions.HostnameType";
    Ok(WantedPrivateDnsName {
        hostname_type: hostname_type(request.hostname_type.as_deref(), name)?,
        a_record: request.enable_resource_name_dns_a_record,
        aaaa_record: request.enable_resource_name_dns_aaaa_record,
    })
}

/// What a host name shall be made from.
pub(super) fn hostname_type(
    word: Option<&str>,
    name: &str,
) -> Result<Option<HostnameType>, ApiError> {
    let Some(word) = word.filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    match HostnameType::named(word) {
        Some(kind) => Ok(Some(kind)),
        None => {
            let hint = "Valid values are ip-name and resource-name.";
            Err(ApiError::invalid_parameter_value(word, name, hint))
        }
    }
}

/// An instance's options in answers.
pub(super) fn answer(options: PrivateDnsNameOptions) -> PrivateDnsNameOptionsResponse {
    PrivateDnsNameOptionsResponse {
        hostname_type: Some(options.hostname_type.word().into()),
        enable_resource_name_dns_a_record: Some(options.resource_name_a_record),
        enable_resource_name_dns_aaaa_record: Some(options.resource_name_aaaa_record),
    }
}
