//! The permissions of security groups: as clients write them, and as answers show them.

use std::collections::BTreeMap;

use enid_control::{FlatPermission, GroupPair, GroupSelector, PrefixListPeer, foreign_peer};
use enid_model::id::SecurityGroupId;
use enid_model::security_group::{Matcher, Peer, Service};

use enid_model::state::RegionState;

use super::id;
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request;
use crate::generated::ec2::response::{
    IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair,
};
use crate::wire::text::Text;

/// A group by its id or name, as a client writes it.
pub(super) fn selector(id: Option<&str>, name: Option<String>) -> Result<GroupSelector, ApiError> {
    Ok(GroupSelector {
        id: id::parse_optional(id)?,
        name,
    })
}

/// The permissions of a request.
pub(super) fn listed(
    permissions: Vec<request::IpPermission>,
) -> Result<Vec<enid_control::IpPermission>, ApiError> {
    let mut listed = Vec::with_capacity(permissions.len());
    for permission in permissions {
        let groups = permission.user_id_group_pairs.into_iter();
        let ipv4 = permission.ip_ranges.into_iter();
        let ipv6 = permission.ipv6_ranges.into_iter();
        let lists = permission.prefix_list_ids.into_iter();
        listed.push(enid_control::IpPermission {
            ip_protocol: permission.ip_protocol,
            from_port: permission.from_port,
            to_port: permission.to_port,
            ipv4_ranges: ipv4
                .map(|range| self::range(range.cidr_ip, range.description))
                .collect(),
            ipv6_ranges: ipv6
                .map(|range| self::range(range.cidr_ipv6, range.description))
                .collect(),
            groups: groups.map(pair).collect::<Result<_, _>>()?,
            prefix_lists: lists.map(prefix_list).collect::<Result<_, _>>()?,
        });
    }
    Ok(listed)
}

fn range(cidr: Option<String>, description: Option<String>) -> enid_control::IpRange {
    // A range without a block is as malformed as one with an empty one.
    let cidr = cidr.unwrap_or_default();
    enid_control::IpRange { cidr, description }
}

fn pair(pair: request::UserIdGroupPair) -> Result<GroupPair, ApiError> {
    // A description tells the status, and clients send descriptions back to revoke what they say.
    // It selects nothing: the group and the connection do.
    if let Some(status) = pair.peering_status.as_deref()
        && ![ACTIVE, DELETED].contains(&status)
    {
        let hint = "Expecting active or deleted.";
        return Err(ApiError::invalid_parameter_value(
            status,
            "PeeringStatus",
            hint,
        ));
    }
    Ok(GroupPair {
        group: selector(pair.group_id.as_deref(), pair.group_name)?,
        account: pair.user_id,
        vpc: id::parse_optional(pair.vpc_id.as_deref())?,
        peering: id::parse_optional(pair.vpc_peering_connection_id.as_deref())?,
        description: pair.description,
    })
}

fn prefix_list(peer: request::PrefixListId) -> Result<PrefixListPeer, ApiError> {
    let list = peer.prefix_list_id;
    let list = list.ok_or_else(|| ApiError::missing_parameter("PrefixListId"))?;
    Ok(PrefixListPeer {
        list: id::parse(&list)?,
        description: peer.description,
    })
}

/// The flat parameters of ingress calls.
pub(super) fn flat(
    ip_protocol: Option<String>,
    ports: (Option<i32>, Option<i32>),
    cidr: Option<String>,
    source_group: (Option<String>, Option<String>),
) -> FlatPermission {
    FlatPermission {
        ip_protocol,
        from_port: ports.0,
        to_port: ports.1,
        cidr,
        source_group_name: source_group.0,
        source_group_owner: source_group.1,
    }
}

/// A protocol and ports as AWS writes them. Without ports of its own, `ports` is none.
pub(super) struct InWords {
    pub(super) protocol: Text,
    pub(super) ports: Option<(i32, i32)>,
}

/// How AWS writes a protocol and ports.
pub(super) fn in_words(service: Service) -> InWords {
    let all_or = |value: Option<u8>| value.map_or(-1, i32::from);
    let (protocol, ports) = match service {
        Service::All => ("-1".into(), None),
        Service::Icmp { kind, code } => ("icmp".into(), Some((all_or(kind), all_or(code)))),
        Service::Icmpv6 { kind, code } => ("icmpv6".into(), Some((all_or(kind), all_or(code)))),
        Service::Protocol(number) => (Text::display(number), None),
        Service::Tcp { from, to } => ("tcp".into(), Some((from.into(), to.into()))),
        Service::Udp { from, to } => ("udp".into(), Some((from.into(), to.into()))),
    };
    InWords { protocol, ports }
}

/// What a rule says of a group as its peer.
pub(super) struct PeerInWords {
    pub(super) user_id: Text,
    pub(super) group_id: Text,
    /// These three only of a group of another VPC, or of one that is gone.
    pub(super) vpc_id: Option<Text>,
    pub(super) vpc_peering_connection_id: Option<Text>,
    pub(super) peering_status: Option<Text>,
}

/// How AWS writes a group that a rule of a group names.
pub(super) fn peer_in_words(
    context: &Context,
    region: &RegionState,
    group: SecurityGroupId,
    peer: SecurityGroupId,
) -> PeerInWords {
    let group = region.security_groups.get(&group);
    let foreign = group.and_then(|group| foreign_peer(region, group, peer));
    PeerInWords {
        user_id: Text::display(context.account),
        group_id: Text::display(peer),
        vpc_id: foreign.and_then(|peer| peer.vpc).map(Text::display),
        vpc_peering_connection_id: foreign.and_then(|peer| peer.peering).map(Text::display),
        peering_status: foreign.map(|peer| if peer.is_active { ACTIVE } else { DELETED }.into()),
    }
}

const ACTIVE: &str = "active";
const DELETED: &str = "deleted";

impl From<PeerInWords> for UserIdGroupPair {
    fn from(peer: PeerInWords) -> Self {
        Self {
            user_id: Some(peer.user_id),
            group_id: Some(peer.group_id),
            vpc_id: peer.vpc_id,
            vpc_peering_connection_id: peer.vpc_peering_connection_id,
            peering_status: peer.peering_status,
            ..Self::default()
        }
    }
}

/// Rules of a group in the form of DescribeSecurityGroups: those of one protocol and ports together.
pub(super) fn grouped<'a>(
    context: &Context,
    region: &RegionState,
    own: SecurityGroupId,
    rules: impl Iterator<Item = (&'a Matcher, Option<&'a str>)>,
) -> Vec<IpPermission> {
    let mut grouped: BTreeMap<Service, IpPermission> = BTreeMap::new();
    for (matcher, description) in rules {
        let permission = grouped.entry(matcher.service).or_insert_with(|| {
            let InWords { protocol, ports } = in_words(matcher.service);
            IpPermission {
                ip_protocol: Some(protocol),
                from_port: ports.map(|(from, _)| from),
                to_port: ports.map(|(_, to)| to),
                ..IpPermission::default()
            }
        });
        let description = description.map(Text::from);
        match matcher.peer {
            Peer::Group(group) => permission.user_id_group_pairs.push(UserIdGroupPair {
                description,
                ..peer_in_words(context, region, own, group).into()
            }),
            Peer::Ipv4(block) => permission.ip_ranges.push(IpRange {
                description,
                cidr_ip: Some(Text::display(block)),
            }),
            Peer::Ipv6(block) => permission.ipv6_ranges.push(Ipv6Range {
                description,
                cidr_ipv6: Some(Text::display(block)),
            }),
            Peer::PrefixList(list) => permission.prefix_list_ids.push(PrefixListId {
                description,
                prefix_list_id: Some(Text::display(list)),
            }),
        }
    }
    grouped.into_values().collect()
}
