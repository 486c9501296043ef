//! Subnets.

use std::collections::BTreeMap;

use enid_model::id::{SubnetId, VpcId};
use enid_model::key::Kind;
use enid_model::region::Region;
use enid_model::state::RegionState;
use enid_model::subnet::{HostnameType, Subnet, SubnetAttributes};
use enid_model::vpc::Vpc;
use enid_store::Condition;
use ipnet::Ipv4Net;

use crate::region::{default_subnet_blocks, new_acl_association, new_default_subnet};
use crate::subnet_cidr_block::choose_ipv6_block;
use crate::vpc::{SIZES, block, default_vpc};
use crate::vpc_cidr_block::overlap;
use crate::{AddressingError, Caller, Control, Draft, Error, TagSpecification, tag};

/// What CreateSubnet takes.
#[derive(Debug, Clone)]
pub struct CreateSubnet {
    /// Its VPC.
    pub vpc: VpcId,
    /// Its block, as the client writes it.
    pub cidr_block: String,
    /// Its IPv6 block, likewise.
    pub ipv6_cidr_block: Option<String>,
    /// The name of its zone.
    pub availability_zone: Option<String>,
    /// The id of its zone.
    pub availability_zone_id: Option<String>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

impl CreateSubnet {
    /// A subnet in whichever zone Enid chooses.
    #[must_use]
    pub fn new(vpc: VpcId, cidr_block: &str) -> Self {
        Self {
            vpc,
            cidr_block: cidr_block.to_owned(),
            ipv6_cidr_block: None,
            availability_zone: None,
            availability_zone_id: None,
            tag_specifications: Vec::new(),
        }
    }
}

/// What ModifySubnetAttribute takes: exactly one change.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModifySubnetAttribute {
    /// Whether new interfaces get an IPv6 address.
    pub assign_ipv6_address_on_creation: Option<bool>,
    /// That the resolver makes up no IPv6 addresses: off everywhere, so only whether it is named
    /// matters.
    pub enable_dns64: Option<bool>,
    /// That nobody gets an address of a customer's pool: likewise.
    pub map_customer_owned_ip_on_launch: Option<bool>,
    /// Whether instances launched here get a public address.
    pub map_public_ip_on_launch: Option<bool>,
    /// What the host names of instances launched here are made from.
    pub hostname_type: Option<HostnameType>,
    /// Whether their resource names resolve to IPv4 addresses.
    pub resource_name_dns_a_record: Option<bool>,
    /// Whether their resource names resolve to IPv6 addresses.
    pub resource_name_dns_aaaa_record: Option<bool>,
}

/// How many more addresses interfaces in a subnet can have.
#[must_use]
pub fn available_addresses(region: &RegionState, subnet: &Subnet) -> u32 {
    let leased = region.leased_count(subnet.id);
    subnet.capacity().saturating_sub(leased)
}

impl Control {
    /// CreateSubnet.
    pub async fn create_subnet(
        &self,
        caller: &Caller,
        input: &CreateSubnet,
    ) -> Result<Subnet, Error> {
        let tags = tag::specified(&input.tag_specifications, "subnet")?;
        let cidr = block(&input.cidr_block)?;
        self.transact(caller, |draft| {
            let vpc = draft.require::<Vpc>(input.vpc)?;
            let is_in_vpc = vpc.ipv4_cidrs().any(|own| own.contains(&cidr));
            if !SIZES.contains(&cidr.prefix_len()) || !is_in_vpc {
                let cidr = (*input.cidr_block).into();
                return Err(AddressingError::SubnetRange { cidr }.into());
            }
            let (zone, zone_id) = zone(draft, input)?;
            check_neighbours(draft, vpc.id, cidr, &input.cidr_block)?;
            let ipv6_cidr = match &input.ipv6_cidr_block {
                Some(text) => Some(choose_ipv6_block(draft, &vpc, text)?),
                None => None,
            };
            let subnet = Subnet {
                id: draft.mint(),
                vpc: vpc.id,
                cidr,
                zone,
                zone_id,
                default_for_az: false,
                ipv6_cidr,
                route_table: None,
                network_acl: new_acl_association(draft, vpc.default_network_acl),
                attributes: SubnetAttributes::default(),
                tags: tags.clone(),
            };
            draft.create(subnet.clone());
            Ok(subnet)
        })
        .await
    }

    /// DeleteSubnet.
    pub async fn delete_subnet(&self, caller: &Caller, id: SubnetId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let subnet = draft.require::<Subnet>(id)?;
            if draft.region.leased_count(id) > 0 || draft.region.enis_of_subnet(id).next().is_some()
            {
                return Err(Error::SubnetInUse { id });
            }
            // Every interface holds a lease of its subnet.
            let leases = format!("{id}/").into();
            draft.demand(Condition::Empty(caller.scope(), Kind::AddressLease, leases));
            draft.demand_unnamed(Kind::SubnetCidrReservation, id);
            let region = std::sync::Arc::clone(&draft.region);
            let reservations = region.reservations_of_subnet(id);
            for reservation in reservations {
                if let Some(found) = region.subnet_cidr_reservations.get(&reservation) {
                    draft.delete(found);
                }
            }
            draft.delete(&subnet);
            Ok(())
        })
        .await
    }

    /// CreateDefaultSubnet: in the zone with this name.
    pub async fn create_default_subnet(
        &self,
        caller: &Caller,
        zone: &str,
    ) -> Result<Subnet, Error> {
        let mut zones = caller.region.zones();
        let found = zones.find(|(name, _)| name == zone);
        let zone = found.ok_or_else(|| Error::ZoneInvalid { zone: zone.into() })?;
        self.transact(caller, |draft| {
            let vpc = default_vpc(&draft.region).cloned();
            let vpc = vpc.ok_or(Error::DefaultVpcMissing)?;
            draft.depend(&vpc);
            let region = std::sync::Arc::clone(&draft.region);
            let subnets = region.subnets_of_vpc(vpc.id);
            let subnets: Vec<_> = subnets.filter_map(|id| region.subnets.get(&id)).collect();
            let mut others = subnets.iter().filter(|subnet| subnet.default_for_az);
            if let Some(known) = others.find(|subnet| subnet.zone == zone.0) {
                return Err(Error::DefaultSubnetExists {
                    id: known.id,
                    zone: zone.0.as_str().into(),
                });
            }
            let is_free =
                |cidr: &Ipv4Net| subnets.iter().all(|subnet| !overlap(subnet.cidr, *cidr));
            let cidr = default_subnet_blocks(vpc.cidr).find(is_free);
            let taken = || AddressingError::SubnetConflict {
                cidr: vpc.cidr.to_string().into(),
            };
            let cidr = cidr.ok_or_else(taken)?;
            check_neighbours(draft, vpc.id, cidr, "")?;
            Ok(new_default_subnet(draft, &vpc, cidr, zone.clone()))
        })
        .await
    }

    /// ModifySubnetAttribute.
    pub async fn modify_subnet_attribute(
        &self,
        caller: &Caller,
        id: SubnetId,
        input: ModifySubnetAttribute,
    ) -> Result<(), Error> {
        let named = [
            (
                "assignIpv6AddressOnCreation",
                input.assign_ipv6_address_on_creation.is_some(),
            ),
            ("enableDns64", input.enable_dns64.is_some()),
            (
                "mapCustomerOwnedIpOnLaunch",
                input.map_customer_owned_ip_on_launch.is_some(),
            ),
            (
                "mapPublicIpOnLaunch",
                input.map_public_ip_on_launch.is_some(),
            ),
            (
                "privateDnsHostnameTypeOnLaunch",
                input.hostname_type.is_some(),
            ),
            (
                "enableResourceNameDnsARecordOnLaunch",
                input.resource_name_dns_a_record.is_some(),
            ),
            (
                "enableResourceNameDnsAAAARecordOnLaunch",
                input.resource_name_dns_aaaa_record.is_some(),
            ),
        ];
        let named = named.into_iter().filter(|(_, is_named)| *is_named);
        let names: Vec<&str> = named.map(|(name, _)| name).collect();
        if names.is_empty() {
            return Err(Error::MissingParameter { name: "attribute" });
        }
        if names.len() > 1 {
            let names = names.join(", ").into();
            return Err(Error::SeveralAttributes { names });
        }
        let assign_ipv6 = input.assign_ipv6_address_on_creation;
        self.transact(caller, |draft| {
            let subnet = draft.require::<Subnet>(id)?;
            if assign_ipv6 == Some(true) && subnet.ipv6_cidr.is_none() {
                return Err(AddressingError::AssignIpv6WithoutBlock { id }.into());
            }
            draft.edit(&subnet, |subnet| {
                let attributes = &mut subnet.attributes;
                set(&mut attributes.assign_ipv6_address_on_creation, assign_ipv6);
                let map_public = input.map_public_ip_on_launch;
                set(&mut attributes.map_public_ip_on_launch, map_public);
                set(&mut attributes.hostname_type, input.hostname_type);
                let a_record = input.resource_name_dns_a_record;
                set(&mut attributes.resource_name_dns_a_record, a_record);
                let aaaa_record = input.resource_name_dns_aaaa_record;
                set(&mut attributes.resource_name_dns_aaaa_record, aaaa_record);
            });
            Ok(())
        })
        .await
    }
}

fn set<T>(attribute: &mut T, wanted: Option<T>) {
    if let Some(wanted) = wanted {
        *attribute = wanted;
    }
}

/// No other subnet of the VPC overlaps, and there is room for one more; also at the commit.
fn check_neighbours(
    draft: &mut Draft<'_>,
    vpc: VpcId,
    cidr: Ipv4Net,
    text: &str,
) -> Result<(), Error> {
    draft.demand_unnamed(Kind::Subnet, vpc);
    let mut count = 0;
    for neighbour in draft.region.subnets_of_vpc(vpc) {
        count += 1;
        let neighbour = draft.region.subnets.get(&neighbour);
        if neighbour.is_some_and(|subnet| overlap(subnet.cidr, cidr)) {
            return Err(AddressingError::SubnetConflict { cidr: text.into() }.into());
        }
    }
    if count >= draft.quotas.subnets_per_vpc {
        return Err(Error::SubnetLimitExceeded);
    }
    Ok(())
}

/// The zone that a request names, by name or id. If it names none, the first of those with the
/// fewest subnets of the VPC, so that subnets spread.
fn zone(draft: &Draft<'_>, input: &CreateSubnet) -> Result<(String, String), Error> {
    let region: &Region = draft.caller.region;
    let named = input.availability_zone.as_deref();
    let identified = input.availability_zone_id.as_deref();
    if named.is_some() && identified.is_some() {
        return Err(Error::ZoneTwice);
    }
    let unknown = |value: &str, name, zone: fn((String, String)) -> String| {
        let known: Vec<_> = region.zones().map(zone).collect();
        let known = known.join(", ");
        Error::InvalidValue {
            value: value.into(),
            name,
            why: format!(
                "Subnets can currently only be created in the following availability zones: {known}."
            )
            .into(),
        }
    };
    if let Some(named) = named {
        let mut zones = region.zones();
        return zones
            .find(|(name, _)| name == named)
            .ok_or_else(|| unknown(named, "availabilityZone", |(name, _)| name));
    }
    if let Some(identified) = identified {
        let mut zones = region.zones();
        return zones
            .find(|(_, id)| id == identified)
            .ok_or_else(|| unknown(identified, "availabilityZoneId", |(_, id)| id));
    }
    let mut used = BTreeMap::new();
    for subnet in draft.region.subnets_of_vpc(input.vpc) {
        if let Some(subnet) = draft.region.subnets.get(&subnet) {
            *used.entry(&*subnet.zone).or_insert(0_usize) += 1;
        }
    }
    let free = region
        .zones()
        .min_by_key(|(name, _)| used.get(&**name).copied().unwrap_or_default());
    // Unwrap: every region in the table has zones; a test of the model reads them all.
    Ok(free.expect("a region has a zone"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use enid_model::id::EniId;
    use enid_model::record::Record;
    use enid_model::subnet::AddressLease;

    use super::*;
    use crate::fixture::{caller, control};
    use crate::{CreateVpc, Quotas};

    async fn vpc(control: &Control, caller: &Caller) -> VpcId {
        let input = CreateVpc {
            cidr_block: "10.0.0.0/16".to_owned(),
            ..CreateVpc::default()
        };
        let vpc = control.create_vpc(caller, &input).await;
        vpc.expect("a VPC").id
    }

    #[tokio::test]
    async fn blocks_lie_in_the_vpc_and_apart() {
        let (control, caller) = (control(), caller());
        let home = vpc(&control, &caller).await;
        for (cidr, made) in [
            ("10.0.1.77/24", Ok("10.0.1.0/24")),
            ("10.0.2.0/28", Ok("10.0.2.0/28")),
            ("10.0.1.128/25", Err("InvalidSubnet.Conflict")),
            ("10.0.0.0/16", Err("InvalidSubnet.Conflict")),
            ("10.0.1.0/24", Err("InvalidSubnet.Conflict")),
            ("10.0.3.0/29", Err("InvalidSubnet.Range")),
            ("10.1.0.0/24", Err("InvalidSubnet.Range")),
            ("10.0.0.0/15", Err("InvalidSubnet.Range")),
            ("10.0.3.0", Err("InvalidParameterValue")),
            ("10.0.3.0/24", Ok("10.0.3.0/24")),
        ] {
            let input = CreateSubnet::new(home, cidr);
            let subnet = control.create_subnet(&caller, &input).await;
            let subnet = subnet.map(|subnet| subnet.cidr.to_string());
            assert_eq!(subnet.as_deref().map_err(Error::code), made, "{cidr}");
        }
        // The same block in another VPC meets nobody.
        let other = vpc(&control, &caller).await;
        let input = CreateSubnet::new(other, "10.0.1.0/24");
        assert!(control.create_subnet(&caller, &input).await.is_ok());
    }

    #[tokio::test]
    async fn zones_go_by_name_or_id_or_spread() {
        let (control, caller) = (control(), caller());
        let vpc = vpc(&control, &caller).await;
        let mut number = 0;
        let mut create = async |name: Option<&str>, id: Option<&str>| {
            number += 1;
            let mut input = CreateSubnet::new(vpc, &format!("10.0.{number}.0/24"));
            input.availability_zone = name.map(str::to_owned);
            input.availability_zone_id = id.map(str::to_owned);
            let subnet = control.create_subnet(&caller, &input).await;
            subnet.map(|subnet| (subnet.zone, subnet.zone_id))
        };
        let zone = |name: &str, id: &str| Ok((name.to_owned(), id.to_owned()));
        let (a, b) = (
            zone("eu-west-1a", "euw1-az1"),
            zone("eu-west-1b", "euw1-az2"),
        );
        assert_eq!(create(None, None).await, a);
        assert_eq!(create(None, Some("euw1-az2")).await, b);
        assert_eq!(create(None, None).await, zone("eu-west-1c", "euw1-az3"));
        assert_eq!(create(Some("eu-west-1b"), None).await, b);
        assert_eq!(create(None, None).await, a);
        let both = create(Some("eu-west-1a"), Some("euw1-az1")).await;
        assert_eq!(both, Err(Error::ZoneTwice));
        let unknown = create(Some("us-east-1a"), None).await;
        assert_eq!(
            unknown.map_err(|error| error.to_string()),
            Err(
                "Value (us-east-1a) for parameter availabilityZone is invalid. Subnets can \
                 currently only be created in the following availability zones: eu-west-1a, \
                 eu-west-1b, eu-west-1c."
                    .to_owned()
            )
        );
    }

    #[tokio::test]
    async fn an_address_in_use_keeps_its_subnet() {
        let (control, caller) = (control(), caller());
        let vpc = vpc(&control, &caller).await;
        let input = CreateSubnet::new(vpc, "10.0.1.0/28");
        let subnet = control.create_subnet(&caller, &input).await;
        let subnet = subnet.expect("a subnet");
        let lease = AddressLease { eni: EniId(1) };
        let address = Ipv4Addr::new(10, 0, 1, 4);
        control
            .transact(&caller, |draft| {
                draft.lease(&subnet, address, lease);
                Ok(())
            })
            .await
            .expect("leased");
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(available_addresses(&region, &subnet), 10);
        let deleted = control.delete_subnet(&caller, subnet.id).await;
        assert_eq!(deleted, Err(Error::SubnetInUse { id: subnet.id }));
        control
            .transact(&caller, |draft| {
                let name = enid_model::state::lease_name(subnet.id, address);
                let held = draft.region.leases.get(&(subnet.id, address));
                let read = held.map(|lease| lease.revision).expect("the lease");
                draft.release(Record::AddressLease(lease).kind(), name, read);
                Ok(())
            })
            .await
            .expect("released");
        assert_eq!(control.delete_subnet(&caller, subnet.id).await, Ok(()));
        let again = control.delete_subnet(&caller, subnet.id).await;
        assert_eq!(again.map_err(|e| e.code()), Err("InvalidSubnetID.NotFound"));
    }

    #[tokio::test]
    async fn a_vpc_has_a_quota_of_subnets() {
        let control = control().with_quotas(Quotas {
            subnets_per_vpc: 1,
            ..Quotas::default()
        });
        let caller = caller();
        let vpc = vpc(&control, &caller).await;
        let mut codes = Vec::new();
        for cidr in ["10.0.1.0/24", "10.0.2.0/24"] {
            let input = CreateSubnet::new(vpc, cidr);
            let made = control.create_subnet(&caller, &input).await;
            codes.push(made.err().map(|error| error.code()));
        }
        assert_eq!(codes, [None, Some("SubnetLimitExceeded")]);
    }

    #[tokio::test]
    async fn a_default_subnet_takes_the_place_of_one_that_is_gone() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let old = region.subnets.values().find(|s| s.zone == "eu-west-1b");
        let old = old.expect("a default subnet");
        let create = |zone| control.create_default_subnet(&caller, zone);
        let there = create("eu-west-1b").await;
        let exists = Error::DefaultSubnetExists {
            id: old.id,
            zone: "eu-west-1b".into(),
        };
        assert_eq!(there, Err(exists));
        let unknown = create("us-east-1a").await;
        assert!(matches!(unknown, Err(Error::ZoneInvalid { .. })));
        assert_eq!(control.delete_subnet(&caller, old.id).await, Ok(()));
        let new = create("eu-west-1b").await.expect("a default subnet");
        assert_eq!((new.cidr, &new.zone_id), (old.cidr, &old.zone_id));
        assert!(new.default_for_az);
    }

    #[tokio::test]
    async fn public_addresses_at_launch_can_be_switched() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let subnet = region.subnets.values().next().expect("a subnet");
        assert!(subnet.attributes.map_public_ip_on_launch, "a default one");
        let mut seen = Vec::new();
        for map_public_ip_on_launch in [Some(false), Some(true)] {
            let input = ModifySubnetAttribute {
                map_public_ip_on_launch,
                ..ModifySubnetAttribute::default()
            };
            let done = control.modify_subnet_attribute(&caller, subnet.id, input);
            assert_eq!(done.await, Ok(()));
            let region = control.read(&caller).await.expect("a region");
            let subnet = region.subnets.get(&subnet.id).expect("the subnet");
            seen.push(subnet.attributes.map_public_ip_on_launch);
        }
        assert_eq!(seen, [false, true]);
        let none = ModifySubnetAttribute::default();
        let done = control.modify_subnet_attribute(&caller, subnet.id, none);
        let nothing = Error::MissingParameter { name: "attribute" };
        assert_eq!(done.await, Err(nothing));
        // What can only be off may be switched off.
        let off = ModifySubnetAttribute {
            enable_dns64: Some(false),
            ..ModifySubnetAttribute::default()
        };
        let done = control.modify_subnet_attribute(&caller, subnet.id, off);
        assert_eq!(done.await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_rivals_for_a_block_one_wins() {
        let (control, caller) = (std::sync::Arc::new(control()), caller());
        let vpc = vpc(&control, &caller).await;
        let mut rivals = tokio::task::JoinSet::new();
        for number in 0..32_u8 {
            let (control, caller) = (std::sync::Arc::clone(&control), caller.clone());
            rivals.spawn(async move {
                // Every block overlaps every other one of its half of the VPC.
                let input = CreateSubnet::new(
                    vpc,
                    ["10.0.0.0/17", "10.0.128.0/17"][usize::from(number % 2)],
                );
                let made = control.create_subnet(&caller, &input).await;
                made.map(|subnet| subnet.id).map_err(|error| error.code())
            });
        }
        let made = rivals.join_all().await;
        let won = made.iter().filter(|made| made.is_ok()).count();
        assert_eq!(won, 2);
        let lost = made.iter().filter_map(|made| made.err());
        assert!(lost.eq(std::iter::repeat_n("InvalidSubnet.Conflict", 30)));
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(region.subnets_of_vpc(vpc).count(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_vpc_never_goes_from_under_a_subnet() {
        let (control, caller) = (std::sync::Arc::new(control()), caller());
        for _ in 0..20 {
            let vpc = vpc(&control, &caller).await;
            let delete = {
                let (control, caller) = (std::sync::Arc::clone(&control), caller.clone());
                tokio::task::spawn(async move { control.delete_vpc(&caller, vpc).await })
            };
            let input = CreateSubnet::new(vpc, "10.0.1.0/24");
            let made = control.create_subnet(&caller, &input).await;
            let deleted = delete.await.expect("no panic");
            match made {
                Ok(subnet) => {
                    assert_eq!(deleted, Err(Error::VpcInUse { id: vpc }));
                    assert_eq!(control.delete_subnet(&caller, subnet.id).await, Ok(()));
                    assert_eq!(control.delete_vpc(&caller, vpc).await, Ok(()));
                }
                Err(error) => {
                    assert_eq!((error.code(), deleted), ("InvalidVpcID.NotFound", Ok(())))
                }
            }
        }
    }
}
