//! The entries of network ACLs.

use enid_control::{AclEntryKey, WantedAclEntry, last_acl_entries};
use enid_model::network_acl::{AclAction, NetworkAcl, NetworkAclEntry};
use enid_model::security_group::{Direction, Service};
use enid_model::state::RegionState;

use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    self, CreateNetworkAclEntryRequest, DeleteNetworkAclEntryRequest, ReplaceNetworkAclEntryRequest,
};
use crate::generated::ec2::response::{
    self, CreateNetworkAclEntryResponse, DeleteNetworkAclEntryResponse, IcmpTypeCode, PortRange,
    ReplaceNetworkAclEntryResponse,
};
use crate::wire::text::Text;

/// CreateNetworkAclEntry.
pub(super) async fn create_network_acl_entry(
    ec2: &Ec2,
    context: &Context,
    request: CreateNetworkAclEntryRequest,
) -> Result<CreateNetworkAclEntryResponse, ApiError> {
    let acl = id::parse(&request.network_acl_id)?;
    let wanted = WantedAclEntry {
        key: key(request.egress, request.rule_number),
        action: action(&request.rule_action),
        protocol: request.protocol,
        cidr: request.cidr_block,
        ipv6_cidr: request.ipv6_cidr_block,
        ports: request.port_range.map(ports),
        icmp: request.icmp_type_code.map(icmp),
    };
    let caller = context.caller();
    ec2.control
        .create_network_acl_entry(&caller, acl, &wanted)
        .await?;
    Ok(CreateNetworkAclEntryResponse {})
}

/// ReplaceNetworkAclEntry.
pub(super) async fn replace_network_acl_entry(
    ec2: &Ec2,
    context: &Context,
    request: ReplaceNetworkAclEntryRequest,
) -> Result<ReplaceNetworkAclEntryResponse, ApiError> {
    let acl = id::parse(&request.network_acl_id)?;
    let wanted = WantedAclEntry {
        key: key(request.egress, request.rule_number),
        action: action(&request.rule_action),
        protocol: request.protocol,
        cidr: request.cidr_block,
        ipv6_cidr: request.ipv6_cidr_block,
        ports: request.port_range.map(ports),
        icmp: request.icmp_type_code.map(icmp),
    };
    let caller = context.caller();
    ec2.control
        .replace_network_acl_entry(&caller, acl, &wanted)
        .await?;
    Ok(ReplaceNetworkAclEntryResponse {})
}

/// DeleteNetworkAclEntry.
pub(super) async fn delete_network_acl_entry(
    ec2: &Ec2,
    context: &Context,
    request: DeleteNetworkAclEntryRequest,
) -> Result<DeleteNetworkAclEntryResponse, ApiError> {
    let acl = id::parse(&request.network_acl_id)?;
    let key = key(request.egress, request.rule_number);
    let caller = context.caller();
    ec2.control
        .delete_network_acl_entry(&caller, acl, key)
        .await?;
    Ok(DeleteNetworkAclEntryResponse {})
}

fn key(egress: bool, number: i32) -> AclEntryKey {
    let direction = match egress {
        true => Direction::Egress,
        false => Direction::Ingress,
    };
    AclEntryKey { direction, number }
}

fn ports(range: request::PortRange) -> (Option<i32>, Option<i32>) {
    (range.from, range.to)
}

fn icmp(icmp: request::IcmpTypeCode) -> (Option<i32>, Option<i32>) {
    (icmp.r#type, icmp.code)
}

/// The model of the API lists two actions, so no third one reaches this.
fn action(text: &str) -> AclAction {
    match text {
        "allow" => AclAction::Allow,
        _ => AclAction::Deny,
    }
}

/// The entries of an ACL as AWS shows them: with the ones that deny the rest.
pub(super) fn entries(region: &RegionState, acl: &NetworkAcl) -> Vec<response::NetworkAclEntry> {
    let mut shown = Vec::new();
    for direction in [Direction::Egress, Direction::Ingress] {
        shown.extend(acl.entries_of(direction).map(answer));
        let last = last_acl_entries(region, acl, direction);
        shown.extend(last.iter().map(answer));
    }
    shown
}

fn answer(entry: &NetworkAclEntry) -> response::NetworkAclEntry {
    let mut answer = response::NetworkAclEntry {
        egress: Some(entry.direction == Direction::Egress),
        rule_action: Some(match entry.action {
            AclAction::Allow => "allow".into(),
            AclAction::Deny => "deny".into(),
        }),
        rule_number: Some(entry.number.into()),
        ..response::NetworkAclEntry::default()
    };
    let cidr = Some(Text::display(entry.cidr));
    match entry.cidr.addr().is_ipv4() {
        true => answer.cidr_block = cidr,
        false => answer.ipv6_cidr_block = cidr,
    }
    let all_or = |value: Option<u8>| Some(value.map_or(-1, i32::from));
    let number = match entry.service {
        Service::All => -1,
        Service::Icmp { kind, code } | Service::Icmpv6 { kind, code } => {
            answer.icmp_type_code = Some(IcmpTypeCode {
                code: all_or(code),
                r#type: all_or(kind),
            });
            match entry.service {
                Service::Icmp { .. } => 1,
                _ => 58,
            }
        }
        Service::Protocol(number) => number.into(),
        Service::Tcp { from, to } | Service::Udp { from, to } => {
            answer.port_range = Some(PortRange {
                from: Some(from.into()),
                to: Some(to.into()),
            });
            match entry.service {
                Service::Tcp { .. } => 6,
                _ => 17,
            }
        }
    };
    answer.protocol = Some(Text::display(number));
    answer
}
