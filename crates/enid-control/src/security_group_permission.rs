//! From the permissions that a client writes to the rules that a group holds.

use enid_model::id::{PrefixListId, SecurityGroupId, VpcId, VpcPeeringConnectionId};
use enid_model::prefix_list::PrefixList;
use enid_model::security_group::{Direction, Matcher, Peer, SecurityGroup, Service};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::security_group::{GroupSelector, is_plain, resolve};
use crate::security_group_reference::active_peering;
use crate::{Draft, Error};

/// A protocol with its ports and any number of peers: a rule for each peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpPermission {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, a number, or `-1` for all.
    pub ip_protocol: Option<String>,
    /// First port, or ICMP type.
    pub from_port: Option<i32>,
    /// Last port, or ICMP code.
    pub to_port: Option<i32>,
    /// IPv4 peers.
    pub ipv4_ranges: Vec<IpRange>,
    /// IPv6 peers.
    pub ipv6_ranges: Vec<IpRange>,
    /// Group peers.
    pub groups: Vec<GroupPair>,
    /// Prefix lists as peers.
    pub prefix_lists: Vec<PrefixListPeer>,
}

/// A block of addresses as a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpRange {
    /// The block, as the client writes it.
    pub cidr: String,
    /// The rule's description.
    pub description: Option<String>,
}

/// A group as a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupPair {
    /// The group's id or name.
    pub group: GroupSelector,
    /// The group's account; must be the caller's.
    pub account: Option<String>,
    /// The group's VPC: that of the rule's group, or one that a peering connection joins to it.
    pub vpc: Option<VpcId>,
    /// That connection.
    pub peering: Option<VpcPeeringConnectionId>,
    /// The rule's description.
    pub description: Option<String>,
}

/// A prefix list as a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixListPeer {
    /// The list.
    pub list: PrefixListId,
    /// The rule's description.
    pub description: Option<String>,
}

impl From<PrefixListId> for PrefixListPeer {
    fn from(list: PrefixListId) -> Self {
        Self {
            list,
            description: None,
        }
    }
}

impl From<SecurityGroupId> for GroupPair {
    fn from(id: SecurityGroupId) -> Self {
        Self {
            group: id.into(),
            ..Self::default()
        }
    }
}

/// The flat parameters that stand for one permission in ingress calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatPermission {
    /// As in [`IpPermission`].
    pub ip_protocol: Option<String>,
    /// As in [`IpPermission`].
    pub from_port: Option<i32>,
    /// As in [`IpPermission`].
    pub to_port: Option<i32>,
    /// An IPv4 peer.
    pub cidr: Option<String>,
    /// A group peer by name: all of TCP, UDP and ICMP from it.
    pub source_group_name: Option<String>,
    /// The account of that group.
    pub source_group_owner: Option<String>,
}

impl FlatPermission {
    /// The permissions that it stands for; none if no parameter is given.
    pub(crate) fn permissions(&self) -> Result<Vec<IpPermission>, Error> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        let service_given =
            self.ip_protocol.is_some() || self.from_port.is_some() || self.to_port.is_some();
        if let Some(name) = &self.source_group_name {
            if service_given || self.cidr.is_some() {
                return Err(Error::SourceGroupNotAlone);
            }
            let peer = GroupPair {
                group: GroupSelector {
                    id: None,
                    name: Some(name.clone()),
                },
                account: self.source_group_owner.clone(),
                ..GroupPair::default()
            };
            let all = [("tcp", 0, 65_535), ("udp", 0, 65_535), ("icmp", -1, -1)];
            let permission = |(protocol, from, to): (&str, i32, i32)| IpPermission {
                ip_protocol: Some(protocol.to_owned()),
                from_port: Some(from),
                to_port: Some(to),
                groups: vec![peer.clone()],
                ..IpPermission::default()
            };
            return Ok(all.into_iter().map(permission).collect());
        }
        let cidr = self.cidr.clone();
        let range = IpRange {
            cidr: cidr.ok_or(Error::MissingParameter { name: "cidrIp" })?,
            description: None,
        };
        Ok(vec![IpPermission {
            ip_protocol: self.ip_protocol.clone(),
            from_port: self.from_port,
            to_port: self.to_port,
            ipv4_ranges: vec![range],
            ..IpPermission::default()
        }])
    }
}

/// What a client's permission says about one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) matcher: Matcher,
    pub(crate) description: Option<String>,
}

/// Whether a group that is named as a peer must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peers {
    /// It must, also at the commit: a rule is going to refer to it.
    MustExist,
    /// It need not if it is named by id: the permission only selects rules that are there.
    Selected,
}

/// The rules that permissions speak of, one per peer, each once.
pub(crate) fn wanted(
    draft: &mut Draft<'_>,
    group: &SecurityGroup,
    direction: Direction,
    permissions: &[IpPermission],
    peers: Peers,
) -> Result<Vec<Wanted>, Error> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for permission in permissions {
        let service = service(permission)?;
        for (peer, description) in each_peer(draft, group, permission, peers)? {
            let matcher = Matcher {
                direction,
                service,
                peer,
            };
            if !seen.insert(matcher) {
                return Err(Error::RepeatedPermission);
            }
            let description = checked_description(description)?;
            wanted.push(Wanted {
                matcher,
                description,
            });
        }
    }
    Ok(wanted)
}

/// A rule's description; an empty one is none.
pub(crate) fn checked_description(description: Option<&str>) -> Result<Option<String>, Error> {
    let description = description.filter(|text| !text.is_empty());
    if description.is_some_and(|text| !is_plain(text)) {
        return Err(Error::RuleDescriptionInvalid);
    }
    Ok(description.map(str::to_owned))
}

fn each_peer<'a>(
    draft: &mut Draft<'_>,
    group: &SecurityGroup,
    permission: &'a IpPermission,
    peers: Peers,
) -> Result<Vec<(Peer, Option<&'a str>)>, Error> {
    let mut all = Vec::new();
    for range in &permission.ipv4_ranges {
        let block: Result<Ipv4Net, _> = range.cidr.parse();
        let block = block.map_err(|_malformed| malformed(&range.cidr))?;
        all.push((Peer::Ipv4(block.trunc()), range.description.as_deref()));
    }
    for range in &permission.ipv6_ranges {
        let block: Result<Ipv6Net, _> = range.cidr.parse();
        let block = block.map_err(|_malformed| malformed(&range.cidr))?;
        all.push((Peer::Ipv6(block.trunc()), range.description.as_deref()));
    }
    for pair in &permission.groups {
        let peer = group_peer(draft, group, pair, peers)?;
        all.push((Peer::Group(peer), pair.description.as_deref()));
    }
    for peer in &permission.prefix_lists {
        if peers == Peers::MustExist {
            draft.require::<PrefixList>(peer.list)?;
        }
        all.push((Peer::PrefixList(peer.list), peer.description.as_deref()));
    }
    if all.is_empty() {
        return Err(Error::MissingParameter {
            name: "cidrIp, cidrIpv6, prefixListId or groupId",
        });
    }
    Ok(all)
}

fn malformed(cidr: &str) -> Error {
    Error::CidrMalformed { cidr: cidr.into() }
}

fn group_peer(
    draft: &mut Draft<'_>,
    group: &SecurityGroup,
    pair: &GroupPair,
    peers: Peers,
) -> Result<SecurityGroupId, Error> {
    let selector = &pair.group;
    if let (Some(id), None, Peers::Selected) = (selector.id, &selector.name, peers) {
        return Ok(id);
    }
    let own_account = draft.caller.account.to_string();
    if pair
        .account
        .as_ref()
        .is_some_and(|named| *named != own_account)
    {
        // What another account has is as good as absent.
        let id = selector.id.map(|id| id.to_string());
        let id = id.or_else(|| selector.name.clone()).unwrap_or_default();
        return Err(Error::SecurityGroupNotFound { id: id.into() });
    }
    if *selector == GroupSelector::default() {
        return Err(Error::SourceGroupMissing);
    }
    let peer = resolve(draft, selector)?;
    if pair.vpc.is_some_and(|vpc| vpc != peer.vpc) {
        return Err(Error::DifferentNetworks);
    }
    let joined = if peer.vpc == group.vpc {
        pair.peering.is_none()
    } else {
        let region = std::sync::Arc::clone(&draft.region);
        let peering = active_peering(&region, group.vpc, peer.vpc);
        let peering = peering.filter(|known| pair.peering.is_none_or(|id| id == known.id));
        if let Some(peering) = peering {
            draft.depend(peering);
        }
        peering.is_some()
    };
    if joined {
        Ok(peer.id)
    } else {
        Err(Error::DifferentNetworks)
    }
}

/// The protocol and ports of a permission.
fn service(permission: &IpPermission) -> Result<Service, Error> {
    let protocol = permission.ip_protocol.as_deref();
    let protocol = protocol.ok_or(Error::MissingParameter { name: "ipProtocol" })?;
    let unknown = || Error::ProtocolUnknown {
        protocol: protocol.into(),
    };
    let number = match protocol.to_ascii_lowercase().as_str() {
        "-1" => return Ok(Service::All),
        "icmp" => ICMP,
        "icmpv6" => ICMPV6,
        "tcp" => TCP,
        "udp" => UDP,
        // A sign or a leading zero is no way to write a number here.
        other if other.starts_with(|c: char| c.is_ascii_digit()) => {
            other.parse().map_err(|_malformed| unknown())?
        }
        _ => return Err(unknown()),
    };
    let (from, to) = (permission.from_port, permission.to_port);
    match number {
        TCP => ports(from, to).map(|(from, to)| Service::Tcp { from, to }),
        UDP => ports(from, to).map(|(from, to)| Service::Udp { from, to }),
        ICMP => type_and_code(from, to).map(|(kind, code)| Service::Icmp { kind, code }),
        ICMPV6 => type_and_code(from, to).map(|(kind, code)| Service::Icmpv6 { kind, code }),
        other => Ok(Service::Protocol(other)),
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

fn ports(from: Option<i32>, to: Option<i32>) -> Result<(u16, u16), Error> {
    if from.is_none() && to.is_none() {
        return Err(Error::PortsMissing);
    }
    // AWS takes one missing end for -1, and says that this is no port.
    let port = |port: Option<i32>| {
        let port = port.unwrap_or(-1);
        u16::try_from(port).or(Err(Error::PortOutOfRange { port }))
    };
    let (from, to) = (port(from)?, port(to)?);
    if from > to {
        return Err(Error::PortRangeInvalid { from, to });
    }
    Ok((from, to))
}

/// An ICMP type and code; -1 and none stand for all.
fn type_and_code(kind: Option<i32>, code: Option<i32>) -> Result<(Option<u8>, Option<u8>), Error> {
    let octet = |value: Option<i32>, what| match value {
        None | Some(-1) => Ok(None),
        Some(value) => u8::try_from(value)
            .map(Some)
            .or(Err(Error::IcmpOutOfRange { what, value })),
    };
    let kind = octet(kind, "type")?;
    let code_read = octet(code, "code")?;
    if kind.is_none() && code_read.is_some() {
        return Err(Error::IcmpCodeWithoutType);
    }
    Ok((kind, code_read))
}

/// A rule as AWS's messages write it: `peer: 1.2.3.4/32, TCP, from port: 22, to port: 22, ALLOW`.
pub(crate) fn in_words(matcher: &Matcher) -> String {
    let all_or = |value: Option<u8>| value.map_or_else(|| "ALL".to_owned(), |v| v.to_string());
    let peer = match matcher.peer {
        Peer::Group(group) => group.to_string(),
        Peer::Ipv4(block) => block.to_string(),
        Peer::Ipv6(block) => block.to_string(),
        Peer::PrefixList(list) => list.to_string(),
    };
    let service = match matcher.service {
        Service::All => "ALL".to_owned(),
        Service::Icmp { kind, code } => {
            format!("ICMP, type: {}, code: {}", all_or(kind), all_or(code))
        }
        Service::Icmpv6 { kind, code } => {
            format!("ICMPV6, type: {}, code: {}", all_or(kind), all_or(code))
        }
        Service::Protocol(number) => format!("PROTOCOL: {number}"),
        Service::Tcp { from, to } => format!("TCP, from port: {from}, to port: {to}"),
        Service::Udp { from, to } => format!("UDP, from port: {from}, to port: {to}"),
    };
    format!("peer: {peer}, {service}, ALLOW")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(protocol: &str, from: Option<i32>, to: Option<i32>) -> IpPermission {
        IpPermission {
            ip_protocol: Some(protocol.to_owned()),
            from_port: from,
            to_port: to,
            ..IpPermission::default()
        }
    }

    #[test]
    fn protocols_and_ports_are_read_as_aws_reads_them() {
        let icmp = |kind, code| Service::Icmp { kind, code };
        for (protocol, from, to, read) in [
            ("tcp", Some(22), Some(22), Service::Tcp { from: 22, to: 22 }),
            (
                "TCP",
                Some(0),
                Some(65_535),
                Service::Tcp {
                    from: 0,
                    to: 65_535,
                },
            ),
            ("6", Some(80), Some(81), Service::Tcp { from: 80, to: 81 }),
            ("17", Some(53), Some(53), Service::Udp { from: 53, to: 53 }),
            ("-1", None, None, Service::All),
            ("-1", Some(22), Some(22), Service::All),
            ("icmp", Some(-1), Some(-1), icmp(None, None)),
            ("icmp", None, None, icmp(None, None)),
            ("icmp", Some(3), Some(-1), icmp(Some(3), None)),
            ("1", Some(3), Some(4), icmp(Some(3), Some(4))),
            (
                "58",
                Some(2),
                Some(0),
                Service::Icmpv6 {
                    kind: Some(2),
                    code: Some(0),
                },
            ),
            ("50", None, None, Service::Protocol(50)),
            ("0", Some(1), Some(2), Service::Protocol(0)),
        ] {
            assert_eq!(
                service(&permission(protocol, from, to)),
                Ok(read),
                "{protocol}"
            );
        }
    }

    #[test]
    fn other_protocols_and_ports_are_refused() {
        for (protocol, from, to, message) in [
            (
                "tpc",
                None,
                None,
                "Invalid value 'tpc' for IP protocol. Unknown protocol.",
            ),
            (
                "256",
                None,
                None,
                "Invalid value '256' for IP protocol. Unknown protocol.",
            ),
            (
                "+6",
                Some(1),
                Some(1),
                "Invalid value '+6' for IP protocol. Unknown protocol.",
            ),
            (
                "tcp",
                None,
                None,
                "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
            ),
            ("tcp", None, Some(22), "TCP/UDP port (-1) out of range"),
            (
                "udp",
                Some(0),
                Some(65_536),
                "TCP/UDP port (65536) out of range",
            ),
            (
                "tcp",
                Some(443),
                Some(80),
                "Invalid TCP/UDP port range (443:80)",
            ),
            ("icmp", Some(256), Some(-1), "ICMP type (256) out of range"),
            ("icmp", Some(3), Some(-2), "ICMP code (-2) out of range"),
            (
                "icmp",
                Some(-1),
                Some(4),
                "ICMP code must be -1 when the ICMP type is -1",
            ),
        ] {
            let read = service(&permission(protocol, from, to));
            assert_eq!(read.map_err(|e| e.to_string()), Err(message.to_owned()));
        }
    }

    #[test]
    fn flat_parameters_stand_for_permissions() {
        let count = |flat: &FlatPermission| flat.permissions().map(|all| all.len());
        let mut flat = FlatPermission::default();
        assert_eq!(count(&flat), Ok(0));
        flat.source_group_name = Some("web".to_owned());
        assert_eq!(count(&flat), Ok(3));
        flat.ip_protocol = Some("tcp".to_owned());
        assert_eq!(count(&flat), Err(Error::SourceGroupNotAlone));
        flat.source_group_name = None;
        assert_eq!(
            count(&flat),
            Err(Error::MissingParameter { name: "cidrIp" })
        );
        flat.cidr = Some("10.0.0.0/8".to_owned());
        assert_eq!(count(&flat), Ok(1));
    }

    #[test]
    fn rules_are_worded_as_aws_words_them() {
        let matcher = |service, peer| Matcher {
            direction: Direction::Ingress,
            service,
            peer,
        };
        let v4 = Peer::Ipv4(Ipv4Net::new_assert([1, 2, 3, 4].into(), 32));
        let tcp = matcher(Service::Tcp { from: 22, to: 23 }, v4);
        assert_eq!(
            in_words(&tcp),
            "peer: 1.2.3.4/32, TCP, from port: 22, to port: 23, ALLOW"
        );
        let all = matcher(Service::All, Peer::Group(SecurityGroupId(1)));
        assert_eq!(in_words(&all), "peer: sg-00000000000000001, ALL, ALLOW");
        let echo = Service::Icmp {
            kind: Some(8),
            code: None,
        };
        assert_eq!(
            in_words(&matcher(echo, v4)),
            "peer: 1.2.3.4/32, ICMP, type: 8, code: ALL, ALLOW"
        );
    }
}
