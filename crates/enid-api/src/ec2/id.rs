//! The ids that clients write.

use std::collections::{BTreeMap, BTreeSet};

use enid_control::Error;
use enid_model::id::{Parsed, ResourceId};
use enid_model::state::{Map, Stored};

use crate::error::ApiError;

/// The id in a client's text. One that Enid never mints names nothing.
pub(super) fn parse<I: ResourceId>(text: &str) -> Result<I, ApiError> {
    match I::parse(text) {
        Ok(Parsed::Native(id)) => Ok(id),
        Ok(Parsed::Foreign) => Err(Error::not_found_text(I::PREFIX, text).into()),
        Err(_) => Err(malformed(I::PREFIX, text)),
    }
}

/// The same for a parameter that may be absent.
pub(super) fn parse_optional<I: ResourceId>(text: Option<&str>) -> Result<Option<I>, ApiError> {
    text.map(parse).transpose()
}

/// The same for a list.
pub(super) fn parse_all<I: ResourceId>(texts: &[String]) -> Result<Vec<I>, ApiError> {
    texts.iter().map(|text| parse(text)).collect()
}

/// The resources that a Describe operation names, by id. One that is not there is an error, which
/// names all of those.
pub(super) fn find<'a, I: ResourceId, T>(
    texts: &[String],
    map: &'a Map<I, Stored<T>>,
) -> Result<BTreeMap<I, &'a Stored<T>>, ApiError> {
    let mut found = BTreeMap::new();
    let mut absent: Vec<&str> = Vec::new();
    let mut told = BTreeSet::new();
    for text in texts {
        let id = match I::parse(text) {
            Ok(Parsed::Native(id)) => Some(id),
            Ok(Parsed::Foreign) => None,
            Err(_) => return Err(malformed(I::PREFIX, text)),
        };
        match id.and_then(|id| map.get(&id).map(|resource| (id, resource))) {
            Some((id, resource)) => {
                found.insert(id, resource);
            }
            None if told.insert(text.as_str()) => absent.push(text),
            None => {}
        }
    }
    if absent.is_empty() {
        return Ok(found);
    }
    Err(not_found(I::PREFIX, &absent))
}

/// AWS puts several unknown ids into one message.
pub(super) fn not_found(prefix: &str, absent: &[&str]) -> ApiError {
    let error = Error::not_found_text(prefix, &absent.join(", "));
    if absent.len() < 2 {
        return error.into();
    }
    let message = error
        .to_string()
        .replace(" ID '", " IDs '")
        .replace(" group '", " groups '")
        .replace("does not exist", "do not exist");
    ApiError::new(error.code(), error.status(), message)
}

fn malformed(prefix: &str, text: &str) -> ApiError {
    let code = match prefix {
        "eigw" => "InvalidEgressOnlyInternetGatewayId.Malformed",
        "eipalloc" => "InvalidAllocationID.Malformed",
        "eipassoc" => "InvalidAssociationID.Malformed",
        "eni" => "InvalidNetworkInterfaceId.Malformed",
        "eni-attach" => "InvalidNetworkInterfaceAttachmentId.Malformed",
        "eni-perm" => "InvalidNetworkInterfacePermissionID.Malformed",
        "fl" => "InvalidFlowLogId.Malformed",
        "i" => "InvalidInstanceID.Malformed",
        "igw" => "InvalidInternetGatewayId.Malformed",
        "nat" => "NatGatewayMalformed",
        "key" => "InvalidKeyPair.Malformed",
        "lt" => "InvalidLaunchTemplateId.Malformed",
        "pl" => "InvalidPrefixListId.Malformed",
        "acl" => "InvalidNetworkAclId.Malformed",
        "aclassoc" | "rtbassoc" => "InvalidAssociationID.Malformed",
        "dopt" => "InvalidDhcpOptionsId.Malformed",
        "pcx" => "InvalidVpcPeeringConnectionId.Malformed",
        "rtb" => "InvalidRouteTableId.Malformed",
        "sg" => "InvalidGroupId.Malformed",
        "sgr" => "InvalidSecurityGroupRuleId.Malformed",
        "scr" => "InvalidSubnetCidrReservationID.Malformed",
        "subnet" => "InvalidSubnetID.Malformed",
        "subnet-cidr-assoc" => "InvalidSubnetCidrBlockAssociationId.Malformed",
        "tmf" => "InvalidTrafficMirrorFilterId.Malformed",
        "tmfr" => "InvalidTrafficMirrorFilterRuleId.Malformed",
        "tms" => "InvalidTrafficMirrorSessionId.Malformed",
        "tmt" => "InvalidTrafficMirrorTargetId.Malformed",
        "vol" => "InvalidVolumeID.Malformed",
        "vpc" => "InvalidVpcID.Malformed",
        "vpc-cidr-assoc" => "InvalidVpcCidrBlockAssociationId.Malformed",
        _ => "InvalidID",
    };
    let short: String = text.chars().take(100).collect();
    let message = format!("Invalid id: \"{short}\" (expecting \"{prefix}-...\")");
    ApiError::new(code, 400, message)
}

#[cfg(test)]
mod tests {
    use enid_model::id::{SecurityGroupId, VpcId};
    use enid_model::vpc::Vpc;

    use super::*;

    #[test]
    fn malformed_and_unknown_ids_are_told_apart() {
        let said = |result: Result<VpcId, ApiError>| {
            result.map_err(|error| format!("{}: {}", error.code(), error.message()))
        };
        assert_eq!(said(parse("vpc-00000000000000007")), Ok(VpcId(7)));
        assert_eq!(
            said(parse("vpc-7")),
            Err("InvalidVpcID.Malformed: Invalid id: \"vpc-7\" (expecting \"vpc-...\")".to_owned())
        );
        assert_eq!(
            said(parse("vpc-12345678")),
            Err("InvalidVpcID.NotFound: The vpc ID 'vpc-12345678' does not exist".to_owned())
        );
    }

    #[test]
    fn several_unknown_ids_are_named_together() {
        let map: Map<VpcId, Stored<Vpc>> = Map::new();
        let texts = ["vpc-00000000000000001", "vpc-12345678", "vpc-12345678"];
        let texts = texts.map(str::to_owned);
        let error = find(&texts, &map).unwrap_err();
        assert_eq!(
            error.message(),
            "The vpc IDs 'vpc-00000000000000001, vpc-12345678' do not exist"
        );
        assert!(find(&[], &map).unwrap().is_empty());
        let error = not_found(SecurityGroupId::PREFIX, &["sg-1", "sg-2"]);
        assert_eq!(
            error.message(),
            "The security groups 'sg-1, sg-2' do not exist"
        );
    }
}
