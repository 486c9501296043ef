//! What the resolver knows: the zones that AWS's resolver serves within a VPC.
//!
//! | zone | what it holds |
//! |---|---|
//! | the region's private domain | `ip-10-0-0-5`, for each address of the VPC and of those peered with it; `i-…`, as the instance's options say; `instance-data` |
//! | the public domain | `ec2-198-18-0-5`: the private address within the VPC, and where a peering connection says so; else the public one |
//! | `elb` and the region's public suffix | load balancers' names ([`balancer`]) |
//! | reverse zones | of the VPC's and its peers' addresses, and of public ones |
//! | other private ranges (RFC 6303) | nothing; no query for them leaves the host |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

use enid_model::address::PublicAddressHolder;
use enid_model::id::{EniId, InstanceId, VpcId};
use enid_model::instance::{DesiredState, Instance};
use enid_model::key::Scope;
use enid_model::network_interface::NetworkInterface;
use enid_model::private_dns_name::address_in_label;
use enid_model::region::Region;
use enid_model::state::RegionState;
use enid_model::subnet::HostnameType;
use enid_model::vpc::Vpc;
use enid_model::vpc_peering_connection::{PeeringStatus, VpcPeeringConnection};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{Name, RData, RecordType};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::asker::Asker;
use super::balancer;

/// What there is to a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is not in a zone that is served here.
    Elsewhere,
    /// There is no such name in the zone.
    NoName(String),
    /// The name is there, without a record of the type.
    NoRecord(String),
    /// The record.
    Record(RData),
    /// Several records, in the order in which they are told.
    Records(Vec<RData>),
}

/// A name in lower case, label by label.
pub(super) struct Labels(Vec<String>);

impl Labels {
    pub(super) fn of(name: &Name) -> Self {
        let labels = name.iter();
        let labels = labels.map(|label| String::from_utf8_lossy(label).to_ascii_lowercase());
        Self(labels.collect())
    }

    /// All labels.
    pub(super) fn all(&self) -> &[String] {
        &self.0
    }

    /// The labels before a domain's, if the name is in it.
    pub(super) fn below(&self, domain: &str) -> Option<&[String]> {
        let mut own = self.0.as_slice();
        for wanted in domain.rsplit('.') {
            let (label, rest) = own.split_last()?;
            if label != wanted {
                return None;
            }
            own = rest;
        }
        Some(own)
    }
}

/// Finds what there is to a name. `draw` is another number with every query.
pub(super) fn find(asker: &Asker<'_>, labels: &Labels, kind: RecordType, draw: u16) -> Found {
    if let Some(reversed) = labels.below("in-addr.arpa") {
        return reverse_v4(asker, reversed, kind);
    }
    if let Some(reversed) = labels.below("ip6.arpa") {
        return reverse_v6(asker, reversed, kind);
    }
    match labels.0.last().map(String::as_str) {
        Some("internal") => private(asker, labels, kind),
        _ => {
            balancer::find(asker, labels, kind, draw).unwrap_or_else(|| public(asker, labels, kind))
        }
    }
}

/// The record that says how long there is nothing at a name of a zone.
pub(super) fn soa(zone: &str) -> SOA {
    let name = |text: String| Name::from_ascii(text).unwrap_or_default();
    let responsible = name("hostmaster.amazon.com.".to_owned());
    SOA::new(
        name(format!("ns0.{zone}")),
        responsible,
        1,
        3600,
        3600,
        3600,
        60,
    )
}

fn zone(domain: &str) -> String {
    format!("{domain}.")
}

/// A zone's own record of a type: it has none but its SOA.
fn apex(zone: String, kind: RecordType) -> Found {
    match kind {
        RecordType::SOA => Found::Record(RData::SOA(soa(&zone))),
        _ => Found::NoRecord(zone),
    }
}

fn private(asker: &Asker<'_>, labels: &Labels, kind: RecordType) -> Found {
    let own = asker.region.private_domain();
    let Some(below) = labels.below(&own) else {
        // The private domains of other regions are AWS's as well, and there is nothing in them that
        // this VPC could reach.
        let mut others = Region::all().iter().map(Region::private_domain);
        let other = others.find(|domain| labels.below(domain).is_some());
        return other.map_or(Found::Elsewhere, |domain| Found::NoName(zone(&domain)));
    };
    let zone = zone(&own);
    let label = match below {
        [] => return apex(zone, kind),
        [label] => label,
        _ => return Found::NoName(zone),
    };
    if label == "instance-data" {
        return a_record(zone, kind, METADATA);
    }
    if let Some(address) = address_in_label(label) {
        return match place_of(asker, IpAddr::V4(address)) {
            Some(_) => a_record(zone, kind, address),
            None => Found::NoName(zone),
        };
    }
    let Some((instance, eni)) = near_instance(asker, label) else {
        return Found::NoName(zone);
    };
    let options = instance.private_dns_name_options;
    match kind {
        RecordType::A if options.resource_name_a_record => {
            a_record(zone, kind, eni.primary_address())
        }
        RecordType::AAAA if options.resource_name_aaaa_record => match eni.ipv6_addresses.first() {
            Some(address) => Found::Record(RData::AAAA(AAAA(*address))),
            None => Found::NoRecord(zone),
        },
        _ => Found::NoRecord(zone),
    }
}

fn a_record(zone: String, kind: RecordType, address: Ipv4Addr) -> Found {
    match kind {
        RecordType::A => Found::Record(RData::A(A(address))),
        _ => Found::NoRecord(zone),
    }
}

/// An instance of the VPC or of one that is peered with it, by its id, with its primary interface.
fn near_instance<'a>(
    asker: &Asker<'a>,
    label: &str,
) -> Option<(&'a Instance, &'a NetworkInterface)> {
    let id: InstanceId = label.parse().ok()?;
    let instance = asker.resources.instances.get(&id)?;
    let eni = asker.resources.primary_eni(id)?;
    let is_alive = instance.desired != DesiredState::Terminated;
    let is_near = near(asker).any(|vpc| vpc.id == eni.vpc);
    (is_alive && is_near).then_some((instance, eni))
}

/// The asker's VPC, and those that are peered with it.
fn near<'a>(asker: &Asker<'a>) -> impl Iterator<Item = &'a Vpc> {
    let (resources, own) = (asker.resources, asker.vpc);
    let peers = peerings(asker).filter_map(move |connection| {
        let sides = [&connection.requester, &connection.accepter];
        let mut others = sides.into_iter().filter(|side| side.vpc != own.id);
        Some(&**resources.vpcs.get(&others.next()?.vpc)?)
    });
    std::iter::once(own).chain(peers)
}

fn peerings<'a>(asker: &Asker<'a>) -> impl Iterator<Item = &'a VpcPeeringConnection> {
    let resources = asker.resources;
    let connections = resources.peerings_of_vpc(asker.vpc.id);
    let connections = connections.filter_map(move |id| resources.vpc_peering_connections.get(&id));
    let connections = connections.map(|connection| &**connection);
    connections.filter(|connection| connection.status == PeeringStatus::Active)
}

/// The near VPC that an address belongs to.
fn place_of<'a>(asker: &Asker<'a>, address: IpAddr) -> Option<&'a Vpc> {
    near(asker).find(|vpc| vpc.cidrs().any(|cidr| cidr.contains(&address)))
}

fn public(asker: &Asker<'_>, labels: &Labels, kind: RecordType) -> Found {
    let Some((region, address)) = Region::of_public_name(&labels.0.join(".")) else {
        return Found::Elsewhere;
    };
    // An address that nobody here holds may be another's, and its name with it.
    let Some(holder) = Holder::of(asker, address).filter(|holder| holder.region == region) else {
        return Found::Elsewhere;
    };
    let zone = zone(&region.public_domain());
    match holder.at {
        Some((resources, eni, private)) => {
            if resources.public_name_at(region, eni, address).is_none() {
                return Found::NoName(zone);
            }
            let inside = holder.scope == *asker.scope && resolves_inside(asker, eni.vpc);
            a_record(zone, kind, if inside { private } else { address })
        }
        None => Found::NoName(zone),
    }
}

/// Whether public names of a VPC resolve to private addresses for the asker.
fn resolves_inside(asker: &Asker<'_>, vpc: VpcId) -> bool {
    let allows = |connection: &VpcPeeringConnection| {
        let sides = [&connection.requester, &connection.accepter];
        let mut sides = sides.into_iter();
        sides.any(|side| side.vpc == vpc && side.allow_dns_resolution)
    };
    vpc == asker.vpc.id || peerings(asker).any(allows)
}

/// Who has a public address.
struct Holder<'a> {
    scope: Scope,
    region: &'static Region,
    /// The name that an Elastic IP's owner has it point to.
    ptr_record: Option<&'a str>,
    /// The interface, and the private address of it that the public one stands for.
    at: Option<(&'a RegionState, &'a NetworkInterface, Ipv4Addr)>,
}

impl<'a> Holder<'a> {
    fn of(asker: &Asker<'a>, address: Ipv4Addr) -> Option<Self> {
        let everywhere = asker.state.region(&Scope::everywhere())?;
        let claim = everywhere.public_addresses.get(&IpAddr::V4(address))?;
        let scope = claim.scope();
        let region = Region::named(scope.region.as_str())?;
        let resources: &RegionState = asker.state.region(&scope)?;
        let interface = |id: &EniId| resources.network_interfaces.get(id).map(|eni| &**eni);
        let (at, ptr_record) = match &claim.holder {
            PublicAddressHolder::ElasticIp(id) => {
                let elastic_ip = resources.elastic_ips.get(id)?;
                let association = elastic_ip.association.as_ref();
                let at = association.and_then(|association| {
                    let eni = interface(&association.eni)?;
                    Some((resources, eni, association.private_ip))
                });
                (at, elastic_ip.ptr_record.as_deref())
            }
            PublicAddressHolder::NetworkInterface(id) => {
                let eni = interface(id);
                let at = eni.map(|eni| (resources, eni, eni.primary_address()));
                (at, None)
            }
            PublicAddressHolder::Vpc(_) => return None,
        };
        Some(Self {
            scope,
            region,
            ptr_record,
            at,
        })
    }
}

fn reverse_v4(asker: &Asker<'_>, reversed: &[String], kind: RecordType) -> Found {
    let octets = reversed.iter().rev().map_while(|label| octet(label));
    let octets: Vec<u8> = octets.collect();
    let is_whole = octets.len() == reversed.len();
    if let Ok(address) = <[u8; 4]>::try_from(octets.as_slice())
        && is_whole
    {
        return reverse_of(asker, address.into(), kind);
    }
    let (zone, depth) = match *octets {
        [a @ 10, ..] => (reverse_zone(a, 0), 1),
        [a, b, ..] if is_local(Ipv4Addr::new(a, b, 0, 0)) => (reverse_zone(a, b), 2),
        _ => return Found::Elsewhere,
    };
    match octets.len() {
        _ if !is_whole => Found::NoName(zone),
        whole if whole == depth => apex(zone, kind),
        _ => Found::NoRecord(zone),
    }
}

/// What an address points back to.
fn reverse_of(asker: &Asker<'_>, address: Ipv4Addr, kind: RecordType) -> Found {
    let [a, b, ..] = address.octets();
    let served = reverse_zone(a, b);
    if place_of(asker, IpAddr::V4(address)).is_some() {
        // AWS's rules for reverse lookups are there only with names.
        if !asker.vpc.enable_dns_hostnames {
            return Found::NoName(served);
        }
        let eni = eni_at(asker, IpAddr::V4(address));
        return ptr_record(served, kind, &name_of(asker, eni, address));
    }
    if let Some(holder) = Holder::of(asker, address) {
        let named = holder
            .at
            .and_then(|(resources, eni, _)| resources.public_name_at(holder.region, eni, address));
        return match holder.ptr_record.map(str::to_owned).or(named) {
            Some(name) => ptr_record(served, kind, &name),
            None => Found::NoName(served),
        };
    }
    if is_local(address) {
        Found::NoName(served)
    } else {
        Found::Elsewhere
    }
}

/// The private name that an address points back to: its instance's, if that goes by its id and the
/// name leads here again; else the address's own.
fn name_of(asker: &Asker<'_>, eni: Option<&NetworkInterface>, address: Ipv4Addr) -> String {
    let by_resource = eni.filter(|eni| eni.primary_address() == address);
    let instance = by_resource.and_then(|eni| {
        let instance = asker.resources.instance_of(eni)?;
        let primary = asker.resources.primary_eni(instance.id)?;
        (primary.id == eni.id).then_some(instance)
    });
    let instance = instance.filter(|instance| {
        let options = instance.private_dns_name_options;
        options.hostname_type == HostnameType::ResourceName && options.resource_name_a_record
    });
    match instance {
        Some(instance) => asker.region.resource_name(instance.id),
        None => asker.region.private_name(address),
    }
}

fn eni_at<'a>(asker: &Asker<'a>, address: IpAddr) -> Option<&'a NetworkInterface> {
    let vpc = place_of(asker, address)?;
    Some(&**asker.resources.eni_at(vpc.id, address)?)
}

fn ptr_record(zone: String, kind: RecordType, name: &str) -> Found {
    let target = Name::from_ascii(format!("{}.", name.trim_end_matches('.')));
    match (kind, target) {
        (RecordType::PTR, Ok(target)) => Found::Record(RData::PTR(PTR(target))),
        _ => Found::NoRecord(zone),
    }
}

fn octet(label: &str) -> Option<u8> {
    // No leading zeros: each address has one name.
    let value: u8 = label.parse().ok()?;
    (value.to_string() == label).then_some(value)
}

/// The zone that an address lies in, by its first octets.
fn reverse_zone(a: u8, b: u8) -> String {
    match a {
        10 => "10.in-addr.arpa.".to_owned(),
        _ => format!("{b}.{a}.in-addr.arpa."),
    }
}

/// Ranges that mean nothing beyond this VPC (RFC 6303).
fn is_local(address: Ipv4Addr) -> bool {
    let shared = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
    address.is_private() || address.is_link_local() || shared.contains(&address)
}

fn reverse_v6(asker: &Asker<'_>, reversed: &[String], kind: RecordType) -> Found {
    let nibbles: Option<String> = reversed
        .iter()
        .rev()
        .map(|label| char::from_str(label).ok().filter(char::is_ascii_hexdigit))
        .collect();
    let bits = nibbles
        .filter(|nibbles| nibbles.len() == 32)
        .and_then(|nibbles| u128::from_str_radix(&nibbles, 16).ok());
    let Some(bits) = bits else {
        return Found::Elsewhere;
    };
    let address = Ipv6Addr::from(bits);
    let blocks = near(asker)
        .flat_map(Vpc::cidrs)
        .filter_map(|cidr| match cidr {
            IpNet::V6(block) => Some(block),
            IpNet::V4(_) => None,
        });
    let Some(block) = blocks.into_iter().find(|block| block.contains(&address)) else {
        let unique_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);
        if unique_local.contains(&address) {
            return Found::NoName("d.f.ip6.arpa.".to_owned());
        }
        return Found::Elsewhere;
    };
    let served = reverse_zone_v6(block);
    let eni = eni_at(asker, IpAddr::V6(address));
    // Only a name that leads here again.
    let leads_here = eni.filter(|eni| eni.ipv6_addresses.first() == Some(&address));
    let instance = leads_here.and_then(|eni| {
        let instance = asker.resources.instance_of(eni)?;
        let primary = asker.resources.primary_eni(instance.id)?;
        (primary.id == eni.id).then_some(instance)
    });
    let named = instance.filter(|instance| {
        let options = instance.private_dns_name_options;
        options.resource_name_aaaa_record && asker.vpc.enable_dns_hostnames
    });
    match named {
        Some(instance) => ptr_record(served, kind, &asker.region.resource_name(instance.id)),
        None => Found::NoName(served),
    }
}

/// The zone of a block: as many nibbles as its prefix has whole ones.
fn reverse_zone_v6(block: Ipv6Net) -> String {
    let digits = format!("{:032x}", u128::from(block.network()));
    let whole = usize::from(block.prefix_len() / 4);
    let labels = digits.chars().take(whole).collect::<Vec<_>>();
    let labels = labels.iter().rev().map(|digit| format!("{digit}."));
    format!("{}ip6.arpa.", labels.collect::<String>())
}

/// What `instance-data` leads to.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
