//! Ids of resources and accounts: every kind's reader on the same text.

use std::fmt::Debug;
use std::str::FromStr;

use enid_model::id::{
    AttachmentId, DhcpOptionsId, EniId, InstanceId, NetworkAclId, Parsed, ReservationId,
    ResourceId, RouteTableId, SecurityGroupId, SecurityGroupRuleId, SubnetId, VpcCidrAssociationId,
    VpcId,
};
use enid_model::key::AccountId;

/// A text is an id of one kind at most, and an id is written as it was read.
pub fn id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let kinds = [
        reads::<AttachmentId>(text),
        reads::<DhcpOptionsId>(text),
        reads::<EniId>(text),
        reads::<InstanceId>(text),
        reads::<NetworkAclId>(text),
        reads::<ReservationId>(text),
        reads::<RouteTableId>(text),
        reads::<SecurityGroupId>(text),
        reads::<SecurityGroupRuleId>(text),
        reads::<SubnetId>(text),
        reads::<VpcCidrAssociationId>(text),
        reads::<VpcId>(text),
    ];
    assert!(kinds.iter().filter(|read| **read).count() <= 1, "{text}");
    if let Ok(account) = text.parse::<AccountId>() {
        assert_eq!(account.to_string(), text);
    }
}

fn reads<I: ResourceId + FromStr<Err: Debug>>(text: &str) -> bool {
    match I::parse(text) {
        Ok(Parsed::Native(id)) => {
            assert_eq!(id.to_string(), text);
            assert_eq!(I::from_bits(id.bits()), id);
            assert_eq!(text.parse::<I>().ok(), Some(id));
            true
        }
        Ok(Parsed::Foreign) => {
            let digits = text
                .strip_prefix(I::PREFIX)
                .and_then(|rest| rest.strip_prefix('-'));
            let digits = digits.expect("an id has its prefix");
            assert!(
                digits
                    .chars()
                    .all(|digit| "0123456789abcdef".contains(digit))
            );
            assert!(digits.len() == 8 || digits.len() == 17 && !digits.starts_with('0'));
            assert!(text.parse::<I>().is_err(), "{text}");
            true
        }
        Err(_) => {
            assert!(text.parse::<I>().is_err(), "{text}");
            false
        }
    }
}
