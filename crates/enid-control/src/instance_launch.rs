//! Launching instances.
//!
//! All instances of a call, their new interfaces and addresses are one transaction. When a host
//! cannot run one of them, a second transaction undoes all of it: the call has done nothing.

use std::collections::{BTreeMap, BTreeSet};

use enid_model::Tags;
use enid_model::id::{EniId, InstanceId, ReservationId, SecurityGroupId, SubnetId, VpcId};
use enid_model::instance::{DesiredState, Instance, Recorded};
use enid_model::instance_metadata::MetadataOptions;
use enid_model::network_interface::{Attachment, NetworkInterface};
use enid_model::private_dns_name::PrivateDnsNameOptions;
use enid_model::state::{RegionState, Stored};
use enid_model::subnet::Subnet;

use crate::address_lease::Claims;
use crate::address_limit::Slots;
use crate::attachment::{Limits, PRIMARY, Place};
use crate::instance::{FIRST_BOOT, detach};
use crate::instance_metadata;
use crate::instance_specification::{Interface, RunInstances, check_user_data, interfaces};
use crate::key_pair::key_pair_named;
use crate::network_interface::{NewInterface, groups_or_default, remove};
use crate::network_interface_permission::lent;
use crate::subnet::available_addresses;
use crate::tag::specified_by_type;
use crate::volume::{self, Device, check_cpu_credits};
use crate::vpc::default_vpc;
use crate::{AddressingError, Caller, Control, Draft, Error, public_address};

/// What a launch made.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// The instances by launch index.
    pub instances: Vec<Instance>,
    /// The interfaces that were made for them.
    new_enis: Vec<EniId>,
}

impl Control {
    /// RunInstances. Answers when hosts run all of them.
    pub async fn run_instances(
        &self,
        caller: &Caller,
        input: RunInstances,
    ) -> Result<Reservation, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        self.check_image(&input.image)?;
        let request = Request::check(&input)?;
        let reservation = self
            .transact(caller, |draft| {
                let made = draft.made_before(OPERATION, token.as_deref(), &parameters)?;
                if let Some(made) = made {
                    return launched_before(draft, &made);
                }
                let reservation = request.launch(draft)?;
                let instances = reservation.instances.iter().map(|i| i.id.to_string());
                let enis = reservation.new_enis.iter().map(ToString::to_string);
                let made = instances.chain(enis).collect();
                draft.remember(OPERATION, token.as_deref(), &parameters, made);
                Ok(reservation)
            })
            .await?;
        // A repetition waits like the first call; what has moved on since is not waited for.
        for instance in &reservation.instances {
            if let Err(cause) = self.booted(caller, instance.id, FIRST_BOOT).await {
                self.undo_launch(caller, &reservation, token.as_deref())
                    .await?;
                return Err(Error::LaunchFailed { cause });
            }
        }
        Ok(reservation)
    }

    /// Removes what a launch made, and makes the interfaces that it was given available again.
    async fn undo_launch(
        &self,
        caller: &Caller,
        reservation: &Reservation,
        token: Option<&str>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let mut enis = BTreeMap::new();
            for instance in &reservation.instances {
                let attached = draft.region.enis_of_instance(instance.id);
                enis.extend(attached.map(|eni| (eni.id, eni.clone())));
                let found = draft.region.instances.get(&instance.id).cloned();
                if let Some(found) = found {
                    volume::unmake(draft, &found);
                    draft.delete(&found);
                }
            }
            let new = reservation.new_enis.iter();
            let new = new.filter_map(|id| draft.region.network_interfaces.get(id));
            enis.extend(new.map(|eni| (eni.id, eni.clone())));
            for eni in enis.values() {
                if reservation.new_enis.contains(&eni.id) {
                    remove(draft, eni);
                } else {
                    detach(draft, eni);
                }
            }
            draft.forget(OPERATION, token);
            Ok(())
        })
        .await
    }
}

/// A request whose parts go together, whatever the region holds.
struct Request<'a> {
    input: &'a RunInstances,
    limits: Limits<'a>,
    instance_type: &'a str,
    min: usize,
    max: usize,
    interfaces: Vec<Interface>,
    tags: BTreeMap<&'static str, Tags>,
    devices: Vec<Device>,
}

/// Where an interface of a launch comes from.
enum Source {
    Existing(Stored<NetworkInterface>),
    New {
        subnet: Stored<Subnet>,
        groups: Vec<SecurityGroupId>,
    },
}

/// What is recorded of a launch, with the public key of the pair that it names: the pair may go, the
/// instance keeps its key.
fn recorded(draft: &Draft<'_>, input: &RunInstances) -> Result<Recorded, Error> {
    let mut recorded = input.recorded.clone();
    if let Some(name) = &recorded.key_name {
        let pair = key_pair_named(&draft.region, name);
        let pair = pair.ok_or_else(|| Error::KeyPairNotFound {
            name: name.as_str().into(),
        })?;
        recorded.public_key = Some(pair.public_key.clone());
    }
    Ok(recorded)
}

impl Source {
    fn subnet(&self) -> SubnetId {
        match self {
            Self::Existing(eni) => eni.subnet,
            Self::New { subnet, .. } => subnet.id,
        }
    }
}

impl<'a> Request<'a> {
    fn check(input: &'a RunInstances) -> Result<Self, Error> {
        let count = |count: i32| match usize::try_from(count) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(Error::InstanceCountInvalid { count }),
        };
        let (min, max) = (count(input.min_count)?, count(input.max_count)?);
        if min > max {
            return Err(Error::InstanceCountsContradict);
        }
        if max > INSTANCES_MAX {
            return Err(Error::InstanceLimitExceeded { wanted: max });
        }
        check_user_data(input.user_data.as_deref())?;
        let instance_type = input.instance_type.as_deref().unwrap_or(DEFAULT_TYPE);
        let limits = Limits::of(instance_type)?;
        if let Some(credits) = &input.recorded.cpu_credits {
            check_cpu_credits(credits, instance_type)?;
        }
        let devices = volume::devices(&input.block_devices)?;
        let interfaces = interfaces(input)?;
        let places: Vec<Place> = interfaces.iter().map(|interface| interface.place).collect();
        let distinct: BTreeSet<&Place> = places.iter().collect();
        if distinct.len() != places.len() {
            return Err(Error::DeviceIndexTwice);
        }
        if !distinct.contains(&PRIMARY) {
            return Err(Error::NoPrimaryInterface);
        }
        limits.check_places(&places)?;
        for interface in &interfaces {
            let unique = interface.specification.eni.is_some()
                || interface.wish.names_an_address()
                || interface.ipv6.names_an_address();
            if unique && max > 1 {
                return Err(Error::UniqueInterfaceForSeveral);
            }
        }
        let types = ["instance", "network-interface", "volume"];
        let mut tags = specified_by_type(&input.tags, &types)?;
        if let Some((id, version)) = input.launch_template {
            let own = tags.entry("instance").or_default();
            own.insert("aws:ec2launchtemplate:id".to_owned(), id.to_string());
            own.insert(
                "aws:ec2launchtemplate:version".to_owned(),
                version.to_string(),
            );
        }
        Ok(Self {
            input,
            limits,
            instance_type,
            min,
            max,
            interfaces,
            tags,
            devices,
        })
    }

    fn launch(&self, draft: &mut Draft<'_>) -> Result<Reservation, Error> {
        let recorded = recorded(draft, self.input)?;
        let tags = self.tags.get("instance");
        let options = instance_metadata::at_launch(draft, self.input.metadata_options, tags)?;
        let sources = self.sources(draft)?;
        let count = self.count(draft, &sources)?;
        let primary = self.interfaces.iter().zip(&sources);
        let mut primary = primary.filter(|(interface, _)| interface.place == PRIMARY);
        let (_, source) = primary.next().ok_or(Error::NoPrimaryInterface)?;
        let subnet = draft.require::<Subnet>(source.subnet())?;
        let mut reservation = Reservation {
            id: draft.mint(),
            instances: Vec::with_capacity(count),
            new_enis: Vec::new(),
        };
        let mut claims = Claims::default();
        for launch_index in (0..).take(count) {
            let id = draft.mint();
            for (interface, source) in self.interfaces.iter().zip(&sources) {
                self.attach(draft, &mut claims, &mut reservation, id, interface, source)?;
            }
            let stored = (&recorded, options);
            let mut instance =
                self.instance(draft, id, &reservation, launch_index, &subnet, stored);
            let tags = self.tags.get("volume");
            instance.recorded.block_devices =
                volume::create(draft, id, &subnet.zone, &self.devices, tags);
            draft.create(instance.clone());
            reservation.instances.push(instance);
        }
        Ok(reservation)
    }

    fn instance(
        &self,
        draft: &Draft<'_>,
        id: InstanceId,
        reservation: &Reservation,
        launch_index: u32,
        subnet: &Subnet,
        (recorded, metadata_options): (&Recorded, MetadataOptions),
    ) -> Instance {
        let input = self.input;
        Instance {
            id,
            reservation: reservation.id,
            launch_index,
            image: input.image.clone(),
            instance_type: self.instance_type.to_owned(),
            vpc: subnet.vpc,
            subnet: subnet.id,
            zone: subnet.zone.clone(),
            desired: DesiredState::Running,
            boot: FIRST_BOOT,
            launch_time: draft.now,
            state_reason: None,
            transition_time: None,
            user_data: input.user_data.clone(),
            disable_api_termination: input.disable_api_termination,
            disable_api_stop: input.disable_api_stop,
            terminate_on_shutdown: input.terminate_on_shutdown,
            metadata_options,
            private_dns_name_options: input
                .private_dns_name_options
                .over(PrivateDnsNameOptions::from(&subnet.attributes)),
            client_token: input.client_token.clone(),
            recorded: recorded.clone(),
            tags: self.tags.get("instance").cloned().unwrap_or_default(),
        }
    }

    /// Finds the interfaces, subnets and groups; all in one zone. The VPCs may differ.
    fn sources(&self, draft: &mut Draft<'_>) -> Result<Vec<Source>, Error> {
        let mut sources = Vec::with_capacity(self.interfaces.len());
        let mut first_zone: Option<String> = None;
        for interface in &self.interfaces {
            let specification = &interface.specification;
            let source = match specification.eni {
                Some(id) => Source::Existing(self.existing(draft, id)?),
                None => self.new_source(draft, interface)?,
            };
            let subnet = draft.require::<Subnet>(source.subnet())?;
            let zone = first_zone.get_or_insert_with(|| subnet.zone.clone());
            if *zone != subnet.zone {
                return Err(Error::AttachmentAcrossZones);
            }
            sources.push(source);
        }
        if let (Some(wanted), Some(zone)) = (&self.input.zone, &first_zone)
            && wanted != zone
        {
            return Err(Error::ZoneOfSubnet {
                zone: wanted.as_str().into(),
                subnet_zone: zone.as_str().into(),
            });
        }
        let existing: Vec<EniId> = sources.iter().filter_map(existing_id).collect();
        let distinct: BTreeSet<EniId> = existing.iter().copied().collect();
        if distinct.len() != existing.len() {
            return Err(Error::InterfaceNamedTwice);
        }
        Ok(sources)
    }

    fn existing(
        &self,
        draft: &mut Draft<'_>,
        id: EniId,
    ) -> Result<Stored<NetworkInterface>, Error> {
        if lent(draft, id).is_some() {
            let what = "launches with an interface of another account: attach it to the instance";
            return Err(Error::Unsupported { what });
        }
        let eni = draft.require::<NetworkInterface>(id)?;
        if eni.is_in_use() {
            return Err(Error::InterfaceInUseAtLaunch { id });
        }
        let slots = Slots::held(&eni).check(Some(self.limits));
        slots.map_err(at_launch)?;
        Ok(eni)
    }

    fn new_source(&self, draft: &mut Draft<'_>, interface: &Interface) -> Result<Source, Error> {
        let specification = &interface.specification;
        let subnet = match specification.subnet {
            Some(id) => draft.require::<Subnet>(id)?,
            None => require_default_subnet(draft, self.input.zone.as_deref())?,
        };
        let slots = Slots::wanted(&interface.wish, &interface.ipv6, &subnet);
        slots.check(Some(self.limits)).map_err(at_launch)?;
        let mut named = specification.groups.clone();
        for name in &self.input.group_names {
            named.push(group_by_name(draft, subnet.vpc, name)?);
        }
        let groups = groups_or_default(draft, subnet.vpc, &named);
        let groups = groups.map_err(|error| {
            let groups = named.iter();
            let groups = groups.filter_map(|id| draft.region.security_groups.get(id));
            let foreign = groups.into_iter().find(|group| group.vpc != subnet.vpc);
            match (error, foreign) {
                (Error::DifferentNetworks, Some(group)) => Error::GroupOfOtherNetwork {
                    group: group.id,
                    subnet: subnet.id,
                },
                (error, _) => error,
            }
        })?;
        Ok(Source::New { subnet, groups })
    }

    /// How many instances there can be: as many as wanted, or as the subnets have addresses for.
    fn count(&self, draft: &Draft<'_>, sources: &[Source]) -> Result<usize, Error> {
        if self.min == self.max {
            return Ok(self.max);
        }
        let mut needed: BTreeMap<SubnetId, (&Subnet, usize)> = BTreeMap::new();
        for (interface, source) in self.interfaces.iter().zip(sources) {
            if let Source::New { subnet, .. } = source {
                let (_, sum) = needed.entry(subnet.id).or_insert((subnet, 0));
                *sum += interface.wish.size();
            }
        }
        let counts = needed.values().map(|(subnet, sum)| {
            let free = available_addresses(&draft.region, subnet);
            usize::try_from(free).unwrap_or(usize::MAX) / sum
        });
        let count = counts.min().unwrap_or(self.max).min(self.max);
        if count < self.min {
            return Err(Error::InsufficientFreeAddresses);
        }
        Ok(count)
    }

    fn attach(
        &self,
        draft: &mut Draft<'_>,
        claims: &mut Claims,
        reservation: &mut Reservation,
        instance: InstanceId,
        interface: &Interface,
        source: &Source,
    ) -> Result<(), Error> {
        let specification = &interface.specification;
        let is_new = matches!(source, Source::New { .. });
        let attachment = Attachment {
            id: draft.mint(),
            instance,
            instance_owner: None,
            device_index: interface.place.1,
            network_card_index: interface.place.0,
            attach_time: draft.now,
            delete_on_termination: specification.delete_on_termination.unwrap_or(is_new),
        };
        let starts_alone = self.interfaces.len() == 1;
        match source {
            Source::Existing(read) => {
                let mut eni = NetworkInterface::clone(read);
                eni.attachment = Some(attachment);
                let has_none = public_address::associations(&draft.region, eni.id).is_empty();
                if starts_alone && eni.associate_public_address && has_none {
                    public_address::give(draft, &mut eni)?;
                }
                draft.update(read, eni);
            }
            Source::New { subnet, groups } => {
                let tags = self.tags.get("network-interface");
                let new = NewInterface {
                    groups: groups.clone(),
                    description: specification.description.as_deref().unwrap_or_default(),
                    wish: &interface.wish,
                    ipv6: &interface.ipv6,
                    connection_tracking: specification.connection_tracking,
                    attachment: Some(attachment),
                    associate_public_address: specification.associate_public_address,
                    starts_alone,
                    tags: tags.cloned().unwrap_or_default(),
                };
                let eni = new.create(draft, claims, subnet).map_err(at_launch)?;
                reservation.new_enis.push(eni.id);
            }
        }
        Ok(())
    }
}

/// What an earlier call with the same client token launched.
fn launched_before(draft: &Draft<'_>, made: &[String]) -> Result<Reservation, Error> {
    let instances: Vec<Instance> = made
        .iter()
        .filter_map(|id| id.parse().ok())
        .filter_map(|id: InstanceId| draft.region.instances.get(&id))
        .map(|instance| Instance::clone(instance))
        .collect();
    let first = instances.first().map(|instance| instance.reservation);
    Ok(Reservation {
        id: first.ok_or(Error::IdempotentParameterMismatch)?,
        instances,
        new_enis: made.iter().filter_map(|id| id.parse().ok()).collect(),
    })
}

fn existing_id(source: &Source) -> Option<EniId> {
    match source {
        Source::Existing(eni) => Some(eni.id),
        Source::New { .. } => None,
    }
}

/// Where an instance goes if the request does not say: the default subnet of the zone, or of the
/// first zone that has one.
fn require_default_subnet(
    draft: &mut Draft<'_>,
    zone: Option<&str>,
) -> Result<Stored<Subnet>, Error> {
    if let Some(zone) = zone
        && !draft.caller.region.zones().any(|(name, _)| name == zone)
    {
        return Err(Error::ZoneInvalid { zone: zone.into() });
    }
    let vpc = default_vpc(&draft.region).ok_or(Error::NoDefaultVpc)?.id;
    let found = default_subnet(&draft.region, zone).ok_or_else(|| match zone {
        Some(zone) => Error::NoDefaultSubnetInZone { zone: zone.into() },
        None => Error::NoDefaultSubnet { vpc },
    });
    let found = found?.clone();
    draft.depend(&found);
    Ok(found)
}

/// The default subnet of a zone, or of the first zone that has one.
#[must_use]
pub fn default_subnet<'a>(
    region: &'a RegionState,
    zone: Option<&str>,
) -> Option<&'a Stored<Subnet>> {
    let vpc = default_vpc(region)?.id;
    let subnets = region.subnets_of_vpc(vpc);
    let subnets = subnets.filter_map(|id| region.subnets.get(&id));
    let subnets = subnets.filter(|subnet| subnet.default_for_az);
    subnets
        .filter(|subnet| zone.is_none_or(|zone| subnet.zone == zone))
        .min_by(|a, b| a.zone.cmp(&b.zone))
}

/// A group of the default VPC by its name.
fn group_by_name(draft: &Draft<'_>, vpc: VpcId, name: &str) -> Result<SecurityGroupId, Error> {
    let key = format!("{vpc}/{}", name.to_lowercase());
    let found = draft.region.group_names.get(key.as_str());
    found
        .map(|found| found.group)
        .ok_or_else(|| Error::GroupNameNotFound {
            name: name.into(),
            vpc,
        })
}

/// RunInstances words some errors in its own way.
fn at_launch(error: Error) -> Error {
    match error {
        Error::AddressInUse { address } => Error::AddressInUseAtLaunch { address },
        Error::AddressOutsideSubnet { address } => Error::AddressOutsideSubnetAtLaunch { address },
        Error::AddressingError(AddressingError::Ipv6AddressLimitExceeded) => {
            AddressingError::InterfaceIpv6LimitExceeded.into()
        }
        Error::PrivateAddressLimitExceeded => Error::InterfaceAddressLimitExceeded,
        other => other,
    }
}

const OPERATION: &str = "RunInstances";
const DEFAULT_TYPE: &str = "m1.small";
/// Instances of one launch.
const INSTANCES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enid_store::{Observation, Observed};

    use super::*;
    use crate::InterfaceSpecification;
    use crate::fixture::{
        caller, control, interface, new_eni, new_instance, place, with_interfaces,
    };
    use crate::tag::{Tag, TagSpecification};

    #[tokio::test]
    async fn without_a_subnet_instances_are_in_the_default_vpc() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let by_name = RunInstances {
            subnet: None,
            group_names: vec!["Default".to_owned()],
            max_count: 3,
            ..new_instance(&place)
        };
        let launched = control
            .run_instances(&caller, by_name.clone())
            .await
            .expect("a launch");
        let indexes: Vec<_> = launched.instances.iter().map(|i| i.launch_index).collect();
        assert_eq!(indexes, [0, 1, 2]);
        let region = control.read(&caller).await.expect("the region is alive");
        let default = default_vpc(&region).expect("a default VPC");
        for instance in &launched.instances {
            assert_eq!((instance.vpc, &*instance.zone), (default.id, "eu-west-1a"));
            let enis: Vec<_> = region.enis_of_instance(instance.id).collect();
            assert!(matches!(enis.as_slice(), [eni] if eni.groups == [default.default_group]));
        }
        let zoned = |zone: &str| RunInstances {
            zone: Some(zone.to_owned()),
            ..by_name.clone()
        };
        let launched = control.run_instances(&caller, zoned("eu-west-1c")).await;
        assert_eq!(launched.expect("a launch").instances[0].zone, "eu-west-1c");
        let refused = control.run_instances(&caller, zoned("us-east-1a")).await;
        let invalid = Error::ZoneInvalid {
            zone: "us-east-1a".into(),
        };
        assert_eq!(refused.err(), Some(invalid));
        let unknown = RunInstances {
            group_names: vec!["web".to_owned()],
            ..by_name.clone()
        };
        let refused = control.run_instances(&caller, unknown).await;
        let not_found = Error::GroupNameNotFound {
            name: "web".into(),
            vpc: default.id,
        };
        assert_eq!(refused.err(), Some(not_found));
        let with_subnet = RunInstances {
            subnet: Some(place.subnet),
            ..by_name
        };
        let refused = control.run_instances(&caller, with_subnet).await;
        assert_eq!(refused.err(), Some(Error::GroupNameWithSubnet));
    }

    #[tokio::test]
    async fn interfaces_are_new_or_exist() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let eni = control
            .create_network_interface(&caller, new_eni(&place))
            .await;
        let eni = eni.expect("an interface").id;
        let existing = InterfaceSpecification {
            eni: Some(eni),
            subnet: None,
            ..interface(1, place.subnet)
        };
        let for_good = InterfaceSpecification {
            delete_on_termination: Some(true),
            ..existing.clone()
        };
        let described = InterfaceSpecification {
            groups: vec![place.default_group],
            ..existing.clone()
        };
        for (wrong, error) in [
            (for_good, Error::ExistingInterfaceDeleted),
            (described, Error::ExistingInterfaceDescribed),
        ] {
            let input = with_interfaces(&place, &[interface(0, place.subnet), wrong]);
            let refused = control.run_instances(&caller, input).await;
            assert_eq!(refused.err(), Some(error));
        }
        let tag = Tag {
            key: "a".to_owned(),
            value: "b".to_owned(),
        };
        let input = RunInstances {
            tags: vec![TagSpecification {
                resource_type: Some("network-interface".to_owned()),
                tags: vec![tag],
            }],
            ..with_interfaces(&place, &[existing, interface(0, place.subnet)])
        };
        let launched = control
            .run_instances(&caller, input)
            .await
            .expect("a launch");
        let region = control.read(&caller).await.expect("the region is alive");
        let enis = region.enis_of_instance(launched.instances[0].id);
        let seen: Vec<_> = enis
            .map(|found| {
                let attachment = found.attachment.as_ref();
                let goes = attachment.is_some_and(|a| a.delete_on_termination);
                (found.id == eni, goes, found.tags.len())
            })
            .collect();
        assert_eq!(seen, [(false, true, 1), (true, false, 0)]);
    }

    #[tokio::test]
    async fn as_many_are_launched_as_there_are_addresses_for() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/28").await;
        let many = |min_count| RunInstances {
            min_count,
            max_count: 20,
            ..new_instance(&place)
        };
        let refused = control.run_instances(&caller, many(12)).await;
        assert_eq!(refused.err(), Some(Error::InsufficientFreeAddresses));
        let launched = control.run_instances(&caller, many(1)).await;
        assert_eq!(launched.expect("a launch").instances.len(), 11);
    }

    #[tokio::test]
    async fn a_client_token_launches_once() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let input = RunInstances {
            client_token: Some("once".to_owned()),
            ..new_instance(&place)
        };
        let first = control
            .run_instances(&caller, input.clone())
            .await
            .expect("a launch");
        let again = control
            .run_instances(&caller, input.clone())
            .await
            .expect("a repetition");
        assert_eq!((first.id, &first.instances), (again.id, &again.instances));
        let other = RunInstances {
            max_count: 2,
            ..input
        };
        let refused = control.run_instances(&caller, other).await;
        assert_eq!(refused.err(), Some(Error::IdempotentParameterMismatch));
    }

    #[tokio::test]
    async fn a_launch_that_a_host_cannot_run_is_undone() {
        let (control, caller) = (Arc::new(control()), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let eni = control
            .create_network_interface(&caller, new_eni(&place))
            .await;
        let eni = eni.expect("an interface").id;
        let existing = InterfaceSpecification {
            eni: Some(eni),
            subnet: None,
            ..interface(1, place.subnet)
        };
        let input = RunInstances {
            client_token: Some("once".to_owned()),
            ..with_interfaces(&place, &[interface(0, place.subnet), existing])
        };
        let host = control.store().hosts().join("one".into());
        host.acknowledge(enid_model::state::Revision(u64::MAX));
        let calling = tokio::spawn({
            let control = Arc::clone(&control);
            async move {
                control
                    .run_instances(&crate::fixture::caller(), input)
                    .await
            }
        });
        let id = launched(&control).await;
        let state = Observation::Failed("no overlay".into());
        host.observe(id, Observed { boot: 1, state });
        let refused = calling.await.expect("the call does not panic");
        let cause = "no overlay".into();
        assert_eq!(refused.err(), Some(Error::LaunchFailed { cause }));
        let region = control.read(&caller).await.expect("the region is alive");
        assert!(region.instances.is_empty() && region.tokens.is_empty());
        let left: Vec<_> = region.network_interfaces.values().collect();
        assert!(matches!(left.as_slice(), [kept] if kept.id == eni && kept.attachment.is_none()));
        assert_eq!(region.leases.len(), 1);
    }

    #[tokio::test]
    async fn it_is_undone_whoever_hears_of_the_failure_first() {
        let (control, caller) = (Arc::new(control()), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let input = new_instance(&place);
        let host = control.store().hosts().join("one".into());
        host.acknowledge(enid_model::state::Revision(u64::MAX));
        let calling = tokio::spawn({
            let control = Arc::clone(&control);
            async move {
                control
                    .run_instances(&crate::fixture::caller(), input)
                    .await
            }
        });
        let id = launched(&control).await;
        let told = control
            .instance_failed(&caller, id, FIRST_BOOT, "no overlay")
            .await;
        assert_eq!(told, Ok(()));
        let refused = calling.await.expect("the call does not panic");
        let cause = "no overlay".into();
        assert_eq!(refused.err(), Some(Error::LaunchFailed { cause }));
        let region = control.read(&caller).await.expect("the region is alive");
        assert!(region.instances.is_empty() && region.leases.is_empty());
    }

    /// Waits until a launch is committed.
    async fn launched(control: &Control) -> InstanceId {
        let scope = caller().scope();
        let first = |state: &enid_model::state::State| {
            let region = state.region(&scope)?;
            region.instances.keys().next().copied()
        };
        let mut changes = control.store().watch();
        let committed = changes.wait_for(|state| first(state).is_some()).await;
        let id = committed.ok().and_then(|state| first(&state));
        id.expect("a launch is committed")
    }
}
