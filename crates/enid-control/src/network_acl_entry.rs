//! The entries of network ACLs: as clients write them, and the operations that change them.

use enid_model::id::NetworkAclId;
use enid_model::network_acl::{AclAction, NetworkAcl, NetworkAclEntry};
use enid_model::security_group::{Direction, Service};
use enid_model::state::RegionState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::vpc::{block, ipv6_block};
use crate::{Caller, Control, Error, RoutingError};

/// Which entry of an ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclEntryKey {
    /// Seen from the subnet.
    pub direction: Direction,
    /// Its number, 1 to 32766.
    pub number: i32,
}

/// An entry as a client writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedAclEntry {
    /// Where it stands.
    pub key: AclEntryKey,
    /// What it does with what it matches.
    pub action: AclAction,
    /// `-1`, `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    pub protocol: String,
    /// An IPv4 block.
    pub cidr: Option<String>,
    /// Or an IPv6 block.
    pub ipv6_cidr: Option<String>,
    /// The first and the last port, for TCP and UDP.
    pub ports: Option<(Option<i32>, Option<i32>)>,
    /// The type and the code, for ICMP; -1 is all.
    pub icmp: Option<(Option<i32>, Option<i32>)>,
}

impl Control {
    /// CreateNetworkAclEntry.
    pub async fn create_network_acl_entry(
        &self,
        caller: &Caller,
        acl: NetworkAclId,
        wanted: &WantedAclEntry,
    ) -> Result<(), Error> {
        let entry = entry(wanted)?;
        self.transact(caller, |draft| {
            let acl = draft.require::<NetworkAcl>(acl)?;
            let Err(place) = find(&acl, entry.direction, entry.number) else {
                let number = entry.number;
                return Err(RoutingError::NetworkAclEntryExists { number }.into());
            };
            let mut new = NetworkAcl::clone(&acl);
            new.entries.insert(place, entry);
            check_quota(&new, &entry, draft.quotas.entries_per_network_acl)?;
            draft.update(&acl, new);
            Ok(())
        })
        .await
    }

    /// ReplaceNetworkAclEntry.
    pub async fn replace_network_acl_entry(
        &self,
        caller: &Caller,
        acl: NetworkAclId,
        wanted: &WantedAclEntry,
    ) -> Result<(), Error> {
        let entry = entry(wanted)?;
        self.transact(caller, |draft| {
            let acl = draft.require::<NetworkAcl>(acl)?;
            let place = existing(&acl, entry.direction, entry.number)?;
            let mut new = NetworkAcl::clone(&acl);
            if let Some(old) = new.entries.get_mut(place) {
                *old = entry;
            }
            // An entry can change its family, and the families are counted apart.
            check_quota(&new, &entry, draft.quotas.entries_per_network_acl)?;
            if new != **acl.record() {
                draft.update(&acl, new);
            }
            Ok(())
        })
        .await
    }

    /// DeleteNetworkAclEntry.
    pub async fn delete_network_acl_entry(
        &self,
        caller: &Caller,
        acl: NetworkAclId,
        key: AclEntryKey,
    ) -> Result<(), Error> {
        let number = number(key.number)?;
        self.transact(caller, |draft| {
            let acl = draft.require::<NetworkAcl>(acl)?;
            let place = existing(&acl, key.direction, number)?;
            draft.edit(&acl, |acl| {
                acl.entries.remove(place);
            });
            Ok(())
        })
        .await
    }
}

/// The entries that deny what no other entry of a direction matches, as AWS shows them. Nobody can
/// change them.
#[must_use]
pub fn last_acl_entries(
    region: &RegionState,
    acl: &NetworkAcl,
    direction: Direction,
) -> Vec<NetworkAclEntry> {
    let vpc = region.vpcs.get(&acl.vpc);
    let has_ipv6 = vpc.is_some_and(|vpc| !vpc.ipv6_cidrs.is_empty());
    let ipv4 = Some((NUMBER_MAX + 1, IpNet::V4(Ipv4Net::default())));
    let ipv6 = has_ipv6.then(|| (NUMBER_MAX + 2, IpNet::V6(Ipv6Net::default())));
    let last = ipv4.into_iter().chain(ipv6);
    let entries = last.map(|(number, cidr)| NetworkAclEntry {
        direction,
        number,
        action: AclAction::Deny,
        service: Service::All,
        cidr,
    });
    entries.collect()
}

/// The place of an entry, or where it would stand.
fn find(acl: &NetworkAcl, direction: Direction, number: u16) -> Result<usize, usize> {
    acl.entries
        .binary_search_by_key(&(direction, number), |entry| {
            (entry.direction, entry.number)
        })
}

fn existing(acl: &NetworkAcl, direction: Direction, number: u16) -> Result<usize, Error> {
    find(acl, direction, number)
        .map_err(|_place| RoutingError::NetworkAclEntryNotFound { number }.into())
}

/// Whether there are not too many entries like this one, which is among them.
fn check_quota(acl: &NetworkAcl, entry: &NetworkAclEntry, quota: usize) -> Result<(), Error> {
    let is_v4 = |cidr: &IpNet| matches!(cidr, IpNet::V4(_));
    let alike = acl
        .entries_of(entry.direction)
        .filter(|other| is_v4(&other.cidr) == is_v4(&entry.cidr));
    if alike.count() > quota {
        return Err(RoutingError::NetworkAclEntryLimitExceeded.into());
    }
    Ok(())
}

fn entry(wanted: &WantedAclEntry) -> Result<NetworkAclEntry, Error> {
    let cidr = match (&wanted.cidr, &wanted.ipv6_cidr) {
        (Some(cidr), None) => IpNet::V4(block(cidr)?),
        (None, Some(cidr)) => IpNet::V6(ipv6_block(cidr)?),
        (Some(_), Some(_)) => {
            return Err(RoutingError::BlocksOfBothFamilies {
                names: "cidrBlock and ipv6CidrBlock",
            }
            .into());
        }
        (None, None) => {
            return Err(Error::MissingParameter {
                name: "cidrBlock or ipv6CidrBlock",
            });
        }
    };
    Ok(NetworkAclEntry {
        direction: wanted.key.direction,
        number: number(wanted.key.number)?,
        action: wanted.action,
        service: service(wanted, &cidr)?,
        cidr,
    })
}

fn number(number: i32) -> Result<u16, Error> {
    let read = u16::try_from(number).ok();
    let read = read.filter(|read| (1..=NUMBER_MAX).contains(read));
    read.ok_or_else(|| RoutingError::RuleNumberInvalid { number }.into())
}

/// The numbers above are those of the entries that deny the rest.
const NUMBER_MAX: u16 = 32_766;

/// The protocol and ports. What a protocol has no use for is left aside, as in AWS.
fn service(wanted: &WantedAclEntry, cidr: &IpNet) -> Result<Service, Error> {
    let protocol = wanted.protocol.as_str();
    let unknown = || Error::ProtocolUnknown {
        protocol: protocol.into(),
    };
    let number = match protocol.to_ascii_lowercase().as_str() {
        "-1" => return Ok(Service::All),
        "icmp" => ICMP,
        "icmpv6" => ICMPV6,
        "tcp" => TCP,
        "udp" => UDP,
        // A sign is no way to write a number here.
        other if other.starts_with(|c: char| c.is_ascii_digit()) => {
            other.parse().map_err(|_malformed| unknown())?
        }
        _ => return Err(unknown()),
    };
    match number {
        TCP => ports(wanted).map(|(from, to)| Service::Tcp { from, to }),
        UDP => ports(wanted).map(|(from, to)| Service::Udp { from, to }),
        ICMP => icmp(wanted).map(|(kind, code)| Service::Icmp { kind, code }),
        // "If you specify protocol 58 with an IPv4 CIDR block, traffic for all ICMP types and codes
        // is allowed" (CreateNetworkAclEntry).
        ICMPV6 if matches!(cidr, IpNet::V4(_)) => Ok(Service::Icmpv6 {
            kind: None,
            code: None,
        }),
        ICMPV6 => icmp(wanted).map(|(kind, code)| Service::Icmpv6 { kind, code }),
        other => Ok(Service::Protocol(other)),
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

fn ports(wanted: &WantedAclEntry) -> Result<(u16, u16), Error> {
    let port = |port: Option<i32>, name| {
        let port = port.ok_or(Error::MissingParameter { name })?;
        u16::try_from(port).map_err(|_large| RoutingError::PortOutOfRange { port }.into())
    };
    let (from, to) = wanted
        .ports
        .ok_or(Error::MissingParameter { name: "portRange" })?;
    let from: Result<_, Error> = port(from, "portRange.from");
    let to: Result<_, Error> = port(to, "portRange.to");
    let (from, to) = (from?, to?);
    if from > to {
        return Err(Error::PortRangeInvalid { from, to });
    }
    Ok((from, to))
}

fn icmp(wanted: &WantedAclEntry) -> Result<(Option<u8>, Option<u8>), Error> {
    let octet = |value: Option<i32>, name, what| {
        let value = value.ok_or(Error::MissingParameter { name })?;
        match value {
            -1 => Ok(None),
            value => u8::try_from(value)
                .map(Some)
                .map_err(|_large| RoutingError::IcmpOutOfRange { what, value }.into()),
        }
    };
    let (kind, code) = wanted.icmp.ok_or(Error::MissingParameter {
        name: "icmpTypeCode",
    })?;
    let kind: Result<_, Error> = octet(kind, "icmpTypeCode.type", "type");
    let code: Result<_, Error> = octet(code, "icmpTypeCode.code", "code");
    match (kind?, code?) {
        (None, Some(_)) => Err(RoutingError::IcmpCodeWithoutType.into()),
        read => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(protocol: &str) -> WantedAclEntry {
        WantedAclEntry {
            key: AclEntryKey {
                direction: Direction::Ingress,
                number: 1,
            },
            action: AclAction::Deny,
            protocol: protocol.to_owned(),
            cidr: Some("10.1.2.3/8".to_owned()),
            ipv6_cidr: None,
            ports: Some((Some(22), Some(23))),
            icmp: Some((Some(3), Some(-1))),
        }
    }

    #[test]
    fn protocols_are_read_and_the_rest_is_left_aside() {
        let all_icmpv6 = Service::Icmpv6 {
            kind: None,
            code: None,
        };
        let unreachable = Service::Icmp {
            kind: Some(3),
            code: None,
        };
        for (protocol, read) in [
            ("-1", Service::All),
            ("6", Service::Tcp { from: 22, to: 23 }),
            ("UDP", Service::Udp { from: 22, to: 23 }),
            ("1", unreachable),
            ("58", all_icmpv6),
            ("50", Service::Protocol(50)),
        ] {
            let entry = entry(&wanted(protocol));
            assert_eq!(entry.map(|entry| entry.service), Ok(read), "{protocol}");
        }
        let ipv6 = WantedAclEntry {
            cidr: None,
            ipv6_cidr: Some("2001:db8::1/64".to_owned()),
            ..wanted("icmpv6")
        };
        let entry = entry(&ipv6).expect("an entry");
        assert_eq!(entry.cidr.to_string(), "2001:db8::/64");
        let code = None;
        let kind = Some(3);
        assert_eq!(entry.service, Service::Icmpv6 { kind, code });
    }

    #[test]
    fn what_is_no_entry_is_told() {
        let said = |wanted: &WantedAclEntry| entry(wanted).map_err(|error| error.to_string());
        let mut no_ports = wanted("tcp");
        no_ports.ports = None;
        let missing = "The request must contain the parameter portRange";
        assert_eq!(said(&no_ports), Err(missing.to_owned()));
        let mut odd = wanted("icmp");
        odd.icmp = Some((Some(-1), Some(4)));
        let code = "ICMP code must be -1 when the ICMP type is -1";
        assert_eq!(said(&odd), Err(code.to_owned()));
        for number in [i32::MIN, -1, 0, 32_767, 65_537] {
            let mut far = wanted("-1");
            far.key.number = number;
            assert_eq!(
                entry(&far),
                Err(RoutingError::RuleNumberInvalid { number }.into())
            );
        }
        for protocol in ["+6", "256", "", "-2", "all"] {
            let code = entry(&wanted(protocol)).map_err(|error| error.code());
            assert_eq!(code, Err("InvalidParameterValue"), "{protocol}");
        }
    }

    #[test]
    fn entries_stand_by_direction_and_number() {
        let mut acl = NetworkAcl {
            id: NetworkAclId(1),
            vpc: enid_model::id::VpcId(1),
            is_default: false,
            entries: Vec::new(),
            tags: enid_model::Tags::new(),
        };
        for (direction, number) in [
            (Direction::Ingress, 5),
            (Direction::Egress, 9),
            (Direction::Ingress, 1),
        ] {
            let place = find(&acl, direction, number);
            let wanted = entry(&wanted("-1")).expect("an entry");
            let new = NetworkAclEntry {
                direction,
                number,
                ..wanted
            };
            acl.entries.insert(place.expect_err("its place"), new);
        }
        let numbers: Vec<_> = acl.entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [9, 1, 5]);
        assert_eq!(find(&acl, Direction::Ingress, 5), Ok(2));
        let one = acl.entries.first().copied().expect("an entry");
        assert_eq!(check_quota(&acl, &one, 1), Ok(()));
        let two = acl.entries.last().copied().expect("an entry");
        let full = check_quota(&acl, &two, 1);
        assert_eq!(full, Err(RoutingError::NetworkAclEntryLimitExceeded.into()));
    }
}
