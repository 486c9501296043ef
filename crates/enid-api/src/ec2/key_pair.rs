//! Key pairs.

use std::collections::BTreeMap;

use enid_control::{
    CreateKeyPair, Error, ImportKeyPair, KeyPairSelector, key_pair_named as pair_named,
};
use enid_model::id::KeyPairId;
use enid_model::key_pair::{KeyPair, KeyType};
use enid_model::state::RegionState;

use super::filter::Filters;
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateKeyPairRequest, DeleteKeyPairRequest, DescribeKeyPairsRequest, ImportKeyPairRequest,
};
use crate::generated::ec2::response::{
    CreateKeyPairResponse, DeleteKeyPairResponse, DescribeKeyPairsResponse, ImportKeyPairResponse,
    KeyPairInfo,
};
use crate::wire::text::Text;

/// CreateKeyPair.
pub(super) async fn create_key_pair(
    ec2: &Ec2,
    context: &Context,
    request: CreateKeyPairRequest,
) -> Result<CreateKeyPairResponse, ApiError> {
    let input = CreateKeyPair {
        name: request.key_name,
        // The support table lets no other type pass.
        key_type: match request.key_type.as_deref() {
            Some(ED25519) => KeyType::Ed25519,
            _ => KeyType::Rsa,
        },
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let (pair, private) = ec2.control.create_key_pair(&caller, &input).await?;
    Ok(CreateKeyPairResponse {
        key_pair_id: Some(Text::display(pair.id)),
        tags: tag::answer(&pair.tags),
        key_name: Some((&pair.name).into()),
        key_fingerprint: Some((&pair.fingerprint).into()),
        key_material: Some(private.into()),
    })
}

/// ImportKeyPair.
pub(super) async fn import_key_pair(
    ec2: &Ec2,
    context: &Context,
    request: ImportKeyPairRequest,
) -> Result<ImportKeyPairResponse, ApiError> {
    let input = ImportKeyPair {
        name: request.key_name,
        material: request.public_key_material.0,
        tag_specifications: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let pair = ec2.control.import_key_pair(&caller, &input).await?;
    Ok(ImportKeyPairResponse {
        key_fingerprint: Some((&pair.fingerprint).into()),
        key_name: Some((&pair.name).into()),
        key_pair_id: Some(Text::display(pair.id)),
        tags: tag::answer(&pair.tags),
    })
}

/// DeleteKeyPair.
pub(super) async fn delete_key_pair(
    ec2: &Ec2,
    context: &Context,
    request: DeleteKeyPairRequest,
) -> Result<DeleteKeyPairResponse, ApiError> {
    let selector = match (request.key_name, request.key_pair_id) {
        (None, None) => return Err(ApiError::missing_parameter("KeyName")),
        (Some(_), Some(_)) => {
            let both = "The parameters keyName and keyPairId may not be used together";
            return Err(ApiError::invalid_combination(both));
        }
        (Some(name), None) => KeyPairSelector::Name(name),
        (None, Some(id)) => KeyPairSelector::Id(id::parse(&id)?),
    };
    let caller = context.caller();
    let deleted = ec2.control.delete_key_pair(&caller, &selector).await?;
    Ok(DeleteKeyPairResponse {
        r#return: Some(true),
        key_pair_id: deleted.map(Text::display),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Fingerprint,
    Id,
    Name,
}

/// DescribeKeyPairs.
pub(super) async fn describe_key_pairs(
    ec2: &Ec2,
    context: &Context,
    request: DescribeKeyPairsRequest,
) -> Result<DescribeKeyPairsResponse, ApiError> {
    let filters = Filters::compile(&request.filters, |name| match name {
        "fingerprint" => Some(Field::Fingerprint),
        "key-name" => Some(Field::Name),
        "key-pair-id" => Some(Field::Id),
        _ => None,
    })?;
    let region = ec2.control.read(&context.caller()).await?;
    let (names, ids) = (&request.key_names, &request.key_pair_ids);
    let pairs: Vec<&KeyPair> = if names.is_empty() && ids.is_empty() {
        region.key_pairs.values().map(|pair| &**pair).collect()
    } else {
        selected(&region, names, ids)?
    };
    let with_key = request.include_public_key == Some(true);
    let pairs = pairs.into_iter().filter(|pair| {
        filters.match_resource(&pair.tags, |field, test| match field {
            Field::Fingerprint => test.text(&pair.fingerprint),
            Field::Id => test.display(pair.id),
            Field::Name => test.text(&pair.name),
        })
    });
    Ok(DescribeKeyPairsResponse {
        key_pairs: pairs.map(|pair| answer(pair, with_key)).collect(),
    })
}

/// The pairs that a request names by name or id. All unknown names are told together.
fn selected<'a>(
    region: &'a RegionState,
    names: &[String],
    ids: &[String],
) -> Result<Vec<&'a KeyPair>, ApiError> {
    let mut pairs: BTreeMap<KeyPairId, &KeyPair> = BTreeMap::new();
    for (id, pair) in id::find(ids, &region.key_pairs)? {
        pairs.insert(id, pair);
    }
    let mut absent: Vec<&str> = Vec::new();
    for name in names {
        match pair_named(region, name) {
            Some(pair) => {
                pairs.insert(pair.id, pair);
            }
            None if absent.contains(&name.as_str()) => {}
            None => absent.push(name),
        }
    }
    if absent.is_empty() {
        return Ok(pairs.into_values().collect());
    }
    let name = absent.join(", ").into();
    let error = Error::KeyPairNotFound { name };
    if absent.len() < 2 {
        return Err(error.into());
    }
    let message = error.to_string();
    let message = message
        .replacen("key pair '", "key pairs '", 1)
        .replace("does not exist", "do not exist");
    Err(ApiError::new(error.code(), error.status(), message))
}

const ED25519: &str = "ed25519";

fn answer(pair: &KeyPair, with_key: bool) -> KeyPairInfo {
    let key_type = match pair.key_type {
        KeyType::Ed25519 => ED25519,
        KeyType::Rsa => "rsa",
    };
    KeyPairInfo {
        key_pair_id: Some(Text::display(pair.id)),
        key_type: Some(key_type.into()),
        tags: tag::answer(&pair.tags),
        public_key: with_key.then(|| (&pair.public_key).into()),
        create_time: Some(pair.create_time),
        key_name: Some((&pair.name).into()),
        key_fingerprint: Some((&pair.fingerprint).into()),
    }
}
