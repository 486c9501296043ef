//! The interfaces that a request's filters can leave, without going through all of them.
//!
//! What is found here still has to pass every filter: an index may know less than a filter asks.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Bound;

use enid_model::id::{
    AllocationId, AssociationId, AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId,
};
use enid_model::network_interface::{Mac, NetworkInterface};
use enid_model::state::{RegionState, Stored, Term};
use enid_model::subnet::Subnet;

use super::association::AssociationField;
use super::describe::Field;
use super::service;
use crate::ec2::candidates::{Intersection, Source, Union};
use crate::ec2::filter::{Filters, Sought};

/// The values of `status` and of `source-dest-check` that few interfaces have.
const IN_USE: &str = "in-use";
const FALSE: &str = "false";

/// Subnets or groups whose members are joined; of more than these, all interfaces are gone through.
const JOINED_MAX: usize = 200;

/// The interfaces behind an id that filters can leave, by id.
pub(in crate::ec2) fn candidates<'a>(
    region: &'a RegionState,
    filters: &'a Filters<Field>,
    after: Option<EniId>,
) -> Box<dyn Iterator<Item = &'a Stored<NetworkInterface>> + 'a> {
    let unions: Vec<_> = filters
        .sought()
        .filter_map(|sought| union(region, sought))
        .collect();
    if unions.is_empty() {
        let behind = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        return Box::new(region.network_interfaces.range(behind).map(|(_, eni)| eni));
    }
    let ids = Intersection::new(unions, after);
    Box::new(ids.filter_map(|id| region.network_interfaces.get(&id)))
}

/// What one filter leaves, if an index knows.
pub(in crate::ec2) fn union<'a>(
    region: &'a RegionState,
    sought: Sought<'a, Field>,
) -> Option<Union<'a, EniId>> {
    let (field, values) = match sought {
        Sought::Field(field, values) => (field, values),
        Sought::Tag(key, Some(values)) => {
            return Some(terms(region, values, move |value| Term::Tag(key, value)));
        }
        Sought::Tag(key, None) => return Some(vec![with_term(region, Term::TagKey(key))]),
        Sought::TagKey(values) => return Some(terms(region, values?, Term::TagKey)),
        Sought::TagValue(values) => return Some(terms(region, values?, Term::TagValue)),
    };
    match field {
        // Only what is attached has any of these.
        Field::AttachTime
        | Field::AttachmentOwner
        | Field::AttachmentStatus
        | Field::DeleteOnTermination
        | Field::DeviceIndex
        | Field::NetworkCardIndex => return Some(vec![with_term(region, Term::Attached)]),
        _ => {}
    }
    let values = values?;
    Some(match field {
        Field::Association(AssociationField::AllocationId) => {
            let elastic_ips = parsed::<AllocationId>(values);
            let elastic_ips = elastic_ips.filter_map(|id| region.elastic_ips.get(&id));
            list(elastic_ips.filter_map(|found| Some(found.association?.eni)))
        }
        Field::Association(AssociationField::AssociationId) => {
            let ids: Vec<AssociationId> = parsed(values).collect();
            let associations = region.elastic_ips.values().filter_map(|e| e.association);
            list(associations.filter(|a| ids.contains(&a.id)).map(|a| a.eni))
        }
        Field::AttachmentId => {
            let ids = parsed::<AttachmentId>(values);
            let ids = ids.filter_map(|id| region.eni_of_attachment(id).map(|eni| eni.id));
            list(ids.chain(values.iter().filter_map(|text| service::eni_of(text))))
        }
        Field::AttachmentInstance => {
            let ids = parsed::<InstanceId>(values);
            list(ids.flat_map(|id| region.enis_of_instance(id).map(|eni| eni.id)))
        }
        // The empty description is too common for the index to know it.
        Field::Description if values.iter().all(|value| !value.is_empty()) => {
            terms(region, values, Term::Description)
        }
        Field::GroupId => joined(parsed(values).collect(), |id| of_group(region, id))?,
        Field::GroupName => {
            let groups = region.security_groups.values();
            let groups = groups.filter(|group| values.binary_search(&group.name).is_ok());
            joined(groups.map(|group| group.id).collect(), |id| {
                of_group(region, id)
            })?
        }
        Field::Id => list(parsed::<EniId>(values)),
        Field::Lacking => Vec::new(),
        Field::Mac => {
            let macs = parsed::<Mac>(values);
            macs.map(|mac| with_term(region, Term::Mac(mac))).collect()
        }
        Field::PrivateAddress => list(holders(region, parsed(values))),
        Field::PrivateDnsName => {
            let names = values.iter();
            list(holders(
                region,
                names.filter_map(|name| address_of_name(name)),
            ))
        }
        Field::RequesterId => terms(region, values, Term::Requester),
        Field::SourceDestCheck if all_are(values, FALSE) => vec![with_term(region, Term::Router)],
        Field::Status if all_are(values, IN_USE) => vec![with_term(region, Term::Attached)],
        Field::Subnet => joined(parsed(values).collect(), |id| of_subnet(region, id))?,
        Field::Vpc => joined(parsed(values).collect(), |id: VpcId| {
            Source::index(move |first| region.enis_of_vpc_from(id, first))
        })?,
        Field::Zone => in_subnets(region, |subnet| values.binary_search(&subnet.zone).is_ok())?,
        Field::ZoneId => in_subnets(region, |subnet| {
            values.binary_search(&subnet.zone_id).is_ok()
        })?,
        _ => return None,
    })
}

fn all_are(values: &[String], wanted: &str) -> bool {
    values.iter().all(|value| value == wanted)
}

/// What is no value of the kind is no interface's.
fn parsed<'a, T: std::str::FromStr>(values: &'a [String]) -> impl Iterator<Item = T> + 'a {
    values.iter().filter_map(|value| value.parse().ok())
}

fn list<'a>(ids: impl Iterator<Item = EniId>) -> Union<'a, EniId> {
    vec![Source::list(ids)]
}

fn with_term<'a>(region: &'a RegionState, term: Term<'a>) -> Source<'a, EniId> {
    Source::index(move |first| region.enis_with_term_from(term, first))
}

fn terms<'a>(
    region: &'a RegionState,
    values: &'a [String],
    term: impl Fn(&'a str) -> Term<'a>,
) -> Union<'a, EniId> {
    let values = values.iter();
    values.map(|value| with_term(region, term(value))).collect()
}

fn joined<'a, I: Ord>(
    owners: BTreeSet<I>,
    source: impl Fn(I) -> Source<'a, EniId>,
) -> Option<Union<'a, EniId>> {
    (owners.len() <= JOINED_MAX).then(|| owners.into_iter().map(source).collect())
}

fn of_group(region: &RegionState, id: SecurityGroupId) -> Source<'_, EniId> {
    Source::index(move |first| region.enis_of_group_from(id, first))
}

fn of_subnet(region: &RegionState, id: SubnetId) -> Source<'_, EniId> {
    Source::index(move |first| region.enis_of_subnet_from(id, first))
}

fn in_subnets<'a>(
    region: &'a RegionState,
    is_wanted: impl Fn(&Subnet) -> bool,
) -> Option<Union<'a, EniId>> {
    let subnets = region.subnets.values().filter(|subnet| is_wanted(subnet));
    joined(subnets.map(|subnet| subnet.id).collect(), |id| {
        of_subnet(region, id)
    })
}

/// The interfaces that hold any of these addresses, in whichever subnets.
fn holders(
    region: &RegionState,
    addresses: impl Iterator<Item = Ipv4Addr>,
) -> impl Iterator<Item = EniId> {
    addresses.flat_map(move |address| {
        let subnets = region.subnets.values();
        let subnets = subnets.filter(move |subnet| subnet.cidr.contains(&address));
        let leases = subnets.filter_map(move |subnet| region.leases.get(&(subnet.id, address)));
        leases.map(|lease| lease.eni)
    })
}

/// The address that a private DNS name stands for, whatever the domain.
fn address_of_name(name: &str) -> Option<Ipv4Addr> {
    let (host, _) = name.split_once('.')?;
    let mut octets = host
        .strip_prefix("ip-")?
        .split('-')
        .map(|octet| octet.parse().ok());
    let mut next = || octets.next().flatten();
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    octets.next().is_none().then_some(address)
}
