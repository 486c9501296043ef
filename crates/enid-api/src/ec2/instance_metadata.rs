//! The metadata options of instances, and what new instances get of them.

use enid_control::{ModifyMetadataDefaults, WantedMetadata};
use enid_model::id::InstanceId;
use enid_model::instance_metadata::MetadataOptions;

use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    GetInstanceMetadataDefaultsRequest, InstanceMetadataOptionsRequest,
    ModifyInstanceMetadataDefaultsRequest, ModifyInstanceMetadataOptionsRequest,
};
use crate::generated::ec2::response::{
    GetInstanceMetadataDefaultsResponse, InstanceMetadataDefaultsResponse,
    InstanceMetadataOptionsResponse, ModifyInstanceMetadataDefaultsResponse,
    ModifyInstanceMetadataOptionsResponse,
};
use crate::wire::text::Text;

/// ModifyInstanceMetadataOptions.
pub(super) async fn modify_instance_metadata_options(
    ec2: &Ec2,
    context: &Context,
    request: ModifyInstanceMetadataOptionsRequest,
) -> Result<ModifyInstanceMetadataOptionsResponse, ApiError> {
    let id: InstanceId = id::parse(&request.instance_id)?;
    let wanted = wanted(InstanceMetadataOptionsRequest {
        http_tokens: request.http_tokens,
        http_put_response_hop_limit: request.http_put_response_hop_limit,
        http_endpoint: request.http_endpoint,
        http_protocol_ipv6: request.http_protocol_ipv6,
        instance_metadata_tags: request.instance_metadata_tags,
    })?;
    let caller = context.caller();
    let options = ec2
        .control
        .modify_instance_metadata_options(&caller, id, wanted)
        .await?;
    Ok(ModifyInstanceMetadataOptionsResponse {
        instance_id: Some(Text::display(id)),
        instance_metadata_options: Some(answer(options)),
    })
}

/// ModifyInstanceMetadataDefaults.
pub(super) async fn modify_instance_metadata_defaults(
    ec2: &Ec2,
    context: &Context,
    request: ModifyInstanceMetadataDefaultsRequest,
) -> Result<ModifyInstanceMetadataDefaultsResponse, ApiError> {
    let input = ModifyMetadataDefaults {
        tokens_required: preference(request.http_tokens, "HttpTokens", TOKENS)?,
        hop_limit: request.http_put_response_hop_limit,
        endpoint_enabled: preference(request.http_endpoint, "HttpEndpoint", SWITCH)?,
        tags_enabled: preference(
            request.instance_metadata_tags,
            "InstanceMetadataTags",
            SWITCH,
        )?,
        tokens_enforced: preference(request.http_tokens_enforced, "HttpTokensEnforced", SWITCH)?,
    };
    let caller = context.caller();
    ec2.control.modify_metadata_defaults(&caller, input).await?;
    Ok(ModifyInstanceMetadataDefaultsResponse {
        r#return: Some(true),
    })
}

/// GetInstanceMetadataDefaults. What the account has no preference for is left away.
pub(super) async fn get_instance_metadata_defaults(
    ec2: &Ec2,
    context: &Context,
    _request: GetInstanceMetadataDefaultsRequest,
) -> Result<GetInstanceMetadataDefaultsResponse, ApiError> {
    let defaults = ec2.control.metadata_defaults(&context.caller()).await?;
    let word = |value: Option<bool>, words| value.map(|value| Text::from(spelled(value, words)));
    Ok(GetInstanceMetadataDefaultsResponse {
        account_level: Some(InstanceMetadataDefaultsResponse {
            http_tokens: word(defaults.tokens_required, TOKENS),
            http_put_response_hop_limit: defaults.hop_limit.map(i32::from),
            http_endpoint: word(defaults.endpoint_enabled, SWITCH),
            instance_metadata_tags: word(defaults.tags_enabled, SWITCH),
            managed_by: Some("account".into()),
            http_tokens_enforced: word(defaults.tokens_enforced, SWITCH),
        }),
    })
}

/// The options that a request names.
pub(super) fn wanted(request: InstanceMetadataOptionsRequest) -> Result<WantedMetadata, ApiError> {
    let read = |value: Option<String>, name, words| {
        let value = value.filter(|value| !value.is_empty());
        value
            .map(|value| understood(&value, name, words))
            .transpose()
    };
    Ok(WantedMetadata {
        tokens_required: read(request.http_tokens, "HttpTokens", TOKENS)?,
        hop_limit: request.http_put_response_hop_limit,
        endpoint_enabled: read(request.http_endpoint, "HttpEndpoint", SWITCH)?,
        ipv6_enabled: read(request.http_protocol_ipv6, "HttpProtocolIpv6", SWITCH)?,
        tags_enabled: read(
            request.instance_metadata_tags,
            "InstanceMetadataTags",
            SWITCH,
        )?,
    })
}

/// An instance's options in answers. They are in force when the answer is given.
pub(super) fn answer(options: MetadataOptions) -> InstanceMetadataOptionsResponse {
    InstanceMetadataOptionsResponse {
        state: Some("applied".into()),
        http_tokens: Some(spelled(options.tokens_required, TOKENS).into()),
        http_put_response_hop_limit: Some(options.hop_limit.into()),
        http_endpoint: Some(spelled(options.endpoint_enabled, SWITCH).into()),
        http_protocol_ipv6: Some(spelled(options.ipv6_enabled, SWITCH).into()),
        instance_metadata_tags: Some(spelled(options.tags_enabled, SWITCH).into()),
    }
}

/// The word for off and the word for on.
pub(super) type Words = (&'static str, &'static str);
pub(super) const SWITCH: Words = ("disabled", "enabled");
pub(super) const TOKENS: Words = ("optional", "required");
const NO_PREFERENCE: &str = "no-preference";

/// An option as AWS writes it.
pub(super) fn spelled(value: bool, words: Words) -> &'static str {
    if value { words.1 } else { words.0 }
}

fn understood(value: &str, name: &'static str, words: Words) -> Result<bool, ApiError> {
    match value {
        off if off == words.0 => Ok(false),
        on if on == words.1 => Ok(true),
        // The support table lets no other word pass.
        other => Err(ApiError::invalid_parameter_value(other, name, "")),
    }
}

/// A default that a request sets, or takes away.
fn preference(
    value: Option<String>,
    name: &'static str,
    words: Words,
) -> Result<Option<Option<bool>>, ApiError> {
    match value.as_deref() {
        None | Some("") => Ok(None),
        Some(NO_PREFERENCE) => Ok(Some(None)),
        Some(value) => understood(value, name, words).map(|value| Some(Some(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_written_in_the_words_of_aws() {
        let request = InstanceMetadataOptionsRequest {
            http_tokens: Some("required".to_owned()),
            http_put_response_hop_limit: Some(2),
            http_endpoint: Some("enabled".to_owned()),
            ..InstanceMetadataOptionsRequest::default()
        };
        let found = wanted(request).expect("options");
        assert_eq!(found.tokens_required, Some(true));
        assert_eq!(
            (found.endpoint_enabled, found.tags_enabled),
            (Some(true), None)
        );
        let wrong = InstanceMetadataOptionsRequest {
            http_endpoint: Some("required".to_owned()),
            ..InstanceMetadataOptionsRequest::default()
        };
        assert!(wanted(wrong).is_err());
        let shown = answer(MetadataOptions::default());
        assert_eq!(shown.http_tokens, Some("optional".into()));
        assert_eq!(shown.http_protocol_ipv6, Some("disabled".into()));
        assert_eq!(
            preference(Some("no-preference".to_owned()), "HttpTokens", TOKENS).ok(),
            Some(Some(None))
        );
    }
}
