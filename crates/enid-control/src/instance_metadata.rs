//! The metadata options of instances, and what new instances get of them.

use enid_model::Tags;
use enid_model::id::InstanceId;
use enid_model::instance_metadata::{MetadataDefaults, MetadataOptions, is_tellable_tag_key};
use enid_model::record::Record;

use crate::error::MetadataError;
use crate::instance::require_changeable;
use crate::{Caller, Control, Draft, Error};

/// The metadata options that a client names; the others stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WantedMetadata {
    /// Whether requests need a session token.
    pub tokens_required: Option<bool>,
    /// The hop limit, as the client writes it.
    pub hop_limit: Option<i32>,
    /// Whether the service answers.
    pub endpoint_enabled: Option<bool>,
    /// Whether it answers at its IPv6 address.
    pub ipv6_enabled: Option<bool>,
    /// Whether it tells tags.
    pub tags_enabled: Option<bool>,
}

/// What ModifyInstanceMetadataDefaults takes: each of them stays as it is, loses its preference
/// (`Some(None)`), or gets one.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModifyMetadataDefaults {
    /// Whether requests need a session token.
    pub tokens_required: Option<Option<bool>>,
    /// The hop limit, as the client writes it; -1 is no preference.
    pub hop_limit: Option<i32>,
    /// Whether the service answers.
    pub endpoint_enabled: Option<Option<bool>>,
    /// Whether it tells tags.
    pub tags_enabled: Option<Option<bool>>,
    /// Whether a launch that makes tokens optional is refused.
    pub tokens_enforced: Option<Option<bool>>,
}

impl WantedMetadata {
    /// Options with what is named here in place of what they were.
    fn over(self, options: MetadataOptions) -> Result<MetadataOptions, Error> {
        self.check_alone()?;
        Ok(MetadataOptions {
            tokens_required: self.tokens_required.unwrap_or(options.tokens_required),
            hop_limit: match self.hop_limit {
                Some(limit) => hop_limit(limit)?,
                None => options.hop_limit,
            },
            endpoint_enabled: self.endpoint_enabled.unwrap_or(options.endpoint_enabled),
            ipv6_enabled: self.ipv6_enabled.unwrap_or(options.ipv6_enabled),
            tags_enabled: self.tags_enabled.unwrap_or(options.tags_enabled),
        })
    }

    /// AWS takes no other option together with the one that switches the service off.
    fn check_alone(self) -> Result<(), Error> {
        if self.endpoint_enabled != Some(false) {
            return Ok(());
        }
        let named = [
            ("HttpTokens", self.tokens_required.is_some()),
            ("HttpPutResponseHopLimit", self.hop_limit.is_some()),
            ("HttpProtocolIpv6", self.ipv6_enabled.is_some()),
            ("InstanceMetadataTags", self.tags_enabled.is_some()),
        ];
        let named = named.into_iter().filter(|(_, is_named)| *is_named);
        let names: Vec<&str> = named.map(|(name, _)| name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names = names.join(", ").into();
        Err(MetadataError::EndpointDisabled { names }.into())
    }
}

fn hop_limit(limit: i32) -> Result<u8, Error> {
    let valid = u8::try_from(limit).ok();
    let valid = valid.filter(|limit| (1..=64).contains(limit));
    valid.ok_or_else(|| MetadataError::HopLimitInvalid { limit }.into())
}

/// The options that an instance is launched with: what the launch names, else the account's
/// defaults, else AWS's.
pub(crate) fn at_launch(
    draft: &Draft<'_>,
    wanted: WantedMetadata,
    tags: Option<&Tags>,
) -> Result<MetadataOptions, Error> {
    let record = draft.region.region.as_ref();
    let defaults = record.map_or_else(MetadataDefaults::default, |record| record.metadata_defaults);
    let own = MetadataOptions::default();
    let options = wanted.over(MetadataOptions {
        tokens_required: defaults.tokens_required.unwrap_or(own.tokens_required),
        hop_limit: defaults.hop_limit.unwrap_or(own.hop_limit),
        endpoint_enabled: defaults.endpoint_enabled.unwrap_or(own.endpoint_enabled),
        ipv6_enabled: own.ipv6_enabled,
        tags_enabled: defaults.tags_enabled.unwrap_or(own.tags_enabled),
    })?;
    check_enforced(defaults, options)?;
    if let Some(tags) = tags {
        check_tags(options, tags)?;
    }
    Ok(options)
}

fn check_enforced(defaults: MetadataDefaults, options: MetadataOptions) -> Result<(), Error> {
    let is_open = options.endpoint_enabled && !options.tokens_required;
    if defaults.tokens_enforced == Some(true) && is_open {
        return Err(MetadataError::TokensEnforced.into());
    }
    Ok(())
}

/// The tags of an instance can be told, if they shall be.
pub(crate) fn check_tags(options: MetadataOptions, tags: &Tags) -> Result<(), Error> {
    if !options.tags_enabled {
        return Ok(());
    }
    let wrong = tags.keys().filter(|key| !is_tellable_tag_key(key));
    let wrong: Vec<String> = wrong.map(|key| format!("'{key}'")).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let keys = wrong.join(", ").into();
    Err(MetadataError::TagKeyInvalid { keys }.into())
}

impl Control {
    /// ModifyInstanceMetadataOptions. Answers the options as they are now.
    pub async fn modify_instance_metadata_options(
        &self,
        caller: &Caller,
        id: InstanceId,
        wanted: WantedMetadata,
    ) -> Result<MetadataOptions, Error> {
        self.transact(caller, |draft| {
            let instance = require_changeable(draft, id)?;
            let options = wanted.over(instance.metadata_options)?;
            check_tags(options, &instance.tags)?;
            let record = draft.region.region.clone();
            // What was launched before the setting stays as it is, until it is opened.
            if let Some(record) = record
                && (wanted.tokens_required == Some(false) || wanted.endpoint_enabled == Some(true))
            {
                check_enforced(record.metadata_defaults, options)?;
            }
            draft.edit(&instance, |instance| instance.metadata_options = options);
            Ok(options)
        })
        .await
    }

    /// ModifyInstanceMetadataDefaults.
    pub async fn modify_metadata_defaults(
        &self,
        caller: &Caller,
        input: ModifyMetadataDefaults,
    ) -> Result<(), Error> {
        let wanted_limit = match input.hop_limit {
            None => None,
            Some(NO_PREFERENCE) => Some(None),
            Some(limit) => Some(Some(hop_limit(limit)?)),
        };
        self.transact(caller, |draft| {
            // Absent only if a reset came between waking the region and here.
            let record = draft.region.region.clone().ok_or(Error::TooManyRivals)?;
            let old = record.metadata_defaults;
            let defaults = MetadataDefaults {
                tokens_required: input.tokens_required.unwrap_or(old.tokens_required),
                hop_limit: wanted_limit.unwrap_or(old.hop_limit),
                endpoint_enabled: input.endpoint_enabled.unwrap_or(old.endpoint_enabled),
                tags_enabled: input.tags_enabled.unwrap_or(old.tags_enabled),
                tokens_enforced: input.tokens_enforced.unwrap_or(old.tokens_enforced),
            };
            let mut new = enid_model::region::RegionRecord::clone(&record);
            new.metadata_defaults = defaults;
            draft.replace("", record.revision, Record::Region(new));
            Ok(())
        })
        .await
    }

    /// GetInstanceMetadataDefaults.
    pub async fn metadata_defaults(&self, caller: &Caller) -> Result<MetadataDefaults, Error> {
        let region = self.read(caller).await?;
        let record = region.region.as_ref();
        Ok(record.map_or_else(MetadataDefaults::default, |record| record.metadata_defaults))
    }
}

/// How a client says that there is no hop limit of the account's own.
const NO_PREFERENCE: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, new_instance, place};
    use crate::{RunInstances, Tag, TagSpecification, Taggable};

    fn tagged(key: &str) -> Vec<TagSpecification> {
        let (key, value) = (key.to_owned(), String::new());
        vec![TagSpecification {
            resource_type: Some("instance".to_owned()),
            tags: vec![Tag { key, value }],
        }]
    }

    #[tokio::test]
    async fn a_launch_gets_what_it_names_else_the_defaults() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launch = async |metadata_options, tags| {
            let input = RunInstances {
                metadata_options,
                tags,
                ..new_instance(&place)
            };
            let launched = control.run_instances(&caller, input).await?;
            Ok::<_, Error>(launched.instances[0].metadata_options)
        };
        let nothing = WantedMetadata::default();
        let own = MetadataOptions::default();
        assert_eq!(launch(nothing, Vec::new()).await, Ok(own));
        let tokens = WantedMetadata {
            tokens_required: Some(true),
            hop_limit: Some(2),
            ..nothing
        };
        let named = MetadataOptions {
            tokens_required: true,
            hop_limit: 2,
            ..own
        };
        assert_eq!(launch(tokens, Vec::new()).await, Ok(named));
        let input = ModifyMetadataDefaults {
            tokens_required: Some(Some(true)),
            hop_limit: Some(2),
            tokens_enforced: Some(Some(true)),
            ..ModifyMetadataDefaults::default()
        };
        let modified = control.modify_metadata_defaults(&caller, input).await;
        assert_eq!(modified, Ok(()));
        assert_eq!(launch(nothing, Vec::new()).await, Ok(named));
        let optional = WantedMetadata {
            tokens_required: Some(false),
            ..nothing
        };
        let refused = launch(optional, Vec::new()).await;
        assert_eq!(refused, Err(MetadataError::TokensEnforced.into()));
        let input = ModifyMetadataDefaults {
            tokens_enforced: Some(None),
            hop_limit: Some(-1),
            ..ModifyMetadataDefaults::default()
        };
        let modified = control.modify_metadata_defaults(&caller, input).await;
        assert_eq!(modified, Ok(()));
        assert_eq!(launch(optional, Vec::new()).await, Ok(own));
        let with_tags = WantedMetadata {
            tags_enabled: Some(true),
            ..nothing
        };
        let refused = launch(with_tags, tagged("a/b")).await;
        let keys = "'a/b'".into();
        assert_eq!(refused, Err(MetadataError::TagKeyInvalid { keys }.into()));
        assert!(launch(nothing, tagged("a/b")).await.is_ok());
    }

    #[tokio::test]
    async fn options_change_and_keep_their_rules() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let id = launched.expect("a launch").instances[0].id;
        let modify = |wanted| control.modify_instance_metadata_options(&caller, id, wanted);
        let nothing = WantedMetadata::default();
        for limit in [0, 65, -1, 257] {
            let refused = modify(WantedMetadata {
                hop_limit: Some(limit),
                ..nothing
            })
            .await;
            assert_eq!(
                refused,
                Err(MetadataError::HopLimitInvalid { limit }.into())
            );
        }
        let off = WantedMetadata {
            endpoint_enabled: Some(false),
            ..nothing
        };
        let both = WantedMetadata {
            tokens_required: Some(true),
            hop_limit: Some(3),
            ..off
        };
        let names = "HttpTokens, HttpPutResponseHopLimit".into();
        let refused = modify(both).await;
        assert_eq!(
            refused,
            Err(MetadataError::EndpointDisabled { names }.into())
        );
        let options = modify(off).await.expect("switched off");
        assert!(!options.endpoint_enabled && options.hop_limit == 1);
        let limited = WantedMetadata {
            hop_limit: Some(64),
            tags_enabled: Some(true),
            ..nothing
        };
        let options = modify(limited).await.expect("modified");
        assert!(!options.endpoint_enabled && options.hop_limit == 64);
        // From now on its tags have to be such that can be told.
        let tag = |key: &str| {
            let (key, value) = (key.to_owned(), String::new());
            [Tag { key, value }]
        };
        let resource = [Taggable::Instance(id)];
        let refused = control.create_tags(&caller, &resource, &tag("a b")).await;
        let keys = "'a b'".into();
        assert_eq!(refused, Err(MetadataError::TagKeyInvalid { keys }.into()));
        let made = control.create_tags(&caller, &resource, &tag("a:b")).await;
        assert_eq!(made, Ok(()));
        let ended = control.terminate_instances(&caller, &[id]).await;
        assert!(ended.is_ok());
        assert_eq!(modify(off).await, Err(Error::InstanceNotRunning { id }));
    }
}
