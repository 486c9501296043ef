//! What a launch asks for, checked as far as that needs no region.

use std::net::Ipv4Addr;

use enid_model::id::{EniId, LaunchTemplateId, SecurityGroupId, SubnetId};
use enid_model::instance::Recorded;
use enid_model::network_interface::ConnectionTracking;
use ipnet::Ipv4Net;

use crate::Error;
use crate::address_lease::{ListedAddress, WantedAddresses, Wish};
use crate::attachment::{PRIMARY, Place, place};
use crate::instance_metadata::WantedMetadata;
use crate::ipv6_lease::{Ipv6Wish, WantedIpv6Addresses};
use crate::network_interface_attribute::check_connection_tracking;
use crate::private_dns_name::WantedPrivateDnsName;
use crate::tag::TagSpecification;
use crate::volume::WantedDevice;

/// The input of RunInstances.
#[derive(Debug, Clone, Default)]
pub struct RunInstances {
    /// The image; any well-formed id.
    pub image: String,
    /// The instance type; AWS's default is `m1.small`.
    pub instance_type: Option<String>,
    /// How many there must be at least.
    pub min_count: i32,
    /// How many there may be.
    pub max_count: i32,
    /// In which zone.
    pub zone: Option<String>,
    /// In which subnet; else a default subnet. Excludes `interfaces`, as the next three do.
    pub subnet: Option<SubnetId>,
    /// Security groups by id.
    pub groups: Vec<SecurityGroupId>,
    /// Security groups of the default VPC by name.
    pub group_names: Vec<String>,
    /// The primary private address.
    pub private_address: Option<Ipv4Addr>,
    /// The IPv6 addresses of the primary interface; excludes `interfaces` as well.
    pub ipv6: WantedIpv6Addresses,
    /// The interfaces one by one.
    pub interfaces: Vec<InterfaceSpecification>,
    /// What runs at the first boot, decoded.
    pub user_data: Option<Vec<u8>>,
    /// Whether TerminateInstances shall refuse them.
    pub disable_api_termination: bool,
    /// Whether StopInstances shall refuse them.
    pub disable_api_stop: bool,
    /// Whether a halt from inside terminates them.
    pub terminate_on_shutdown: bool,
    /// How they may read their metadata.
    pub metadata_options: WantedMetadata,
    /// Their private names; what is not named is their subnet's.
    pub private_dns_name_options: WantedPrivateDnsName,
    /// The block devices, the root device only if it shall be another than the image's.
    pub block_devices: Vec<WantedDevice>,
    /// What lies outside networking.
    pub recorded: Recorded,
    /// The launch template, and the number of its version, that some of this comes from.
    pub launch_template: Option<(LaunchTemplateId, u64)>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Tags of the instances and of the interfaces that are made for them.
    pub tags: Vec<TagSpecification>,
}

/// One interface of a launch: a new one, or one that exists.
#[derive(Debug, Clone, Default)]
pub struct InterfaceSpecification {
    /// An interface that exists; excludes what describes a new one.
    pub eni: Option<EniId>,
    /// Its place on the card.
    pub device_index: Option<i32>,
    /// Its network card.
    pub network_card_index: Option<i32>,
    /// The subnet; else a default subnet.
    pub subnet: Option<SubnetId>,
    /// Its description.
    pub description: Option<String>,
    /// Its security groups; none means the VPC's default group.
    pub groups: Vec<SecurityGroupId>,
    /// Its primary private address.
    pub private_address: Option<Ipv4Addr>,
    /// Its addresses as a list.
    pub private_addresses: Vec<ListedAddress>,
    /// How many secondary addresses to choose.
    pub secondary_count: Option<u32>,
    /// Its prefixes.
    pub prefixes: Vec<Ipv4Net>,
    /// How many prefixes to choose.
    pub prefix_count: Option<u32>,
    /// Its IPv6 addresses.
    pub ipv6: WantedIpv6Addresses,
    /// Idle timeouts of its own.
    pub connection_tracking: ConnectionTracking,
    /// Whether it gets a public address; else as its subnet has it. Only for a single new one.
    pub associate_public_address: Option<bool>,
    /// Whether it goes with the instance; a new one does unless this says otherwise.
    pub delete_on_termination: Option<bool>,
}

/// A specification that has been looked at.
pub(crate) struct Interface {
    pub(crate) specification: InterfaceSpecification,
    pub(crate) place: Place,
    pub(crate) wish: Wish,
    pub(crate) ipv6: Ipv6Wish,
}

/// The interfaces that a request describes: one by one, or the primary one by parameters of the
/// instance. Not both.
pub(crate) fn interfaces(input: &RunInstances) -> Result<Vec<Interface>, Error> {
    let with_interfaces = |what: &'static str| Err(Error::InstanceLevelNetwork { what });
    if input.interfaces.is_empty() {
        if !input.group_names.is_empty() && input.subnet.is_some() {
            return Err(Error::GroupNameWithSubnet);
        }
        let specification = InterfaceSpecification {
            subnet: input.subnet,
            groups: input.groups.clone(),
            private_address: input.private_address,
            ipv6: input.ipv6.clone(),
            ..InterfaceSpecification::default()
        };
        return Ok(vec![Interface::at(PRIMARY, specification)?]);
    }
    if input.subnet.is_some() {
        return with_interfaces("subnet ID");
    }
    if !input.groups.is_empty() || !input.group_names.is_empty() {
        return with_interfaces("security groups");
    }
    if input.private_address.is_some() {
        return with_interfaces("private IP address");
    }
    // AWS names no interface, so a primary address is asked of the primary one.
    let WantedIpv6Addresses { primary, .. } = input.ipv6;
    if input.ipv6
        != (WantedIpv6Addresses {
            primary,
            ..WantedIpv6Addresses::default()
        })
    {
        return with_interfaces("IPv6 address");
    }
    check_public_address(&input.interfaces)?;
    let one = |specification: &InterfaceSpecification| {
        let index = specification.device_index;
        let index = index.ok_or(Error::DeviceIndexMissing)?;
        let card = specification.network_card_index.unwrap_or(0);
        let place = place(card, index)?;
        let mut specification = specification.clone();
        specification.ipv6.primary |= primary && place == PRIMARY;
        Interface::at(place, specification)
    };
    input.interfaces.iter().map(one).collect()
}

/// AWS gives a public address of its own only to a new interface that is the only one.
fn check_public_address(interfaces: &[InterfaceSpecification]) -> Result<(), Error> {
    let wants =
        |interface: &InterfaceSpecification| interface.associate_public_address == Some(true);
    if interfaces.len() > 1 && interfaces.iter().any(wants) {
        return Err(Error::AssociatePublicSeveral);
    }
    // An interface that exists keeps what it was made or modified with.
    let says = |interface: &InterfaceSpecification| {
        interface.eni.is_some() && interface.associate_public_address.is_some()
    };
    if interfaces.iter().any(says) {
        return Err(Error::AssociatePublicElsewhere);
    }
    Ok(())
}

impl Interface {
    fn at(place: Place, specification: InterfaceSpecification) -> Result<Self, Error> {
        let wanted = WantedAddresses {
            primary: specification.private_address,
            listed: specification.private_addresses.clone(),
            secondary_count: specification.secondary_count,
            prefixes: specification.prefixes.clone(),
            prefix_count: specification.prefix_count,
        };
        let describes_new = specification.subnet.is_some()
            || specification.description.is_some()
            || !specification.groups.is_empty()
            || wanted != WantedAddresses::default()
            || specification.ipv6 != WantedIpv6Addresses::default()
            || specification.connection_tracking != ConnectionTracking::default();
        if specification.eni.is_some() {
            if describes_new {
                return Err(Error::ExistingInterfaceDescribed);
            }
            if specification.delete_on_termination == Some(true) {
                return Err(Error::ExistingInterfaceDeleted);
            }
        }
        let wish = with_lone_primary(wanted).resolve()?;
        let ipv6 = specification.ipv6.resolve()?;
        check_connection_tracking(specification.connection_tracking)?;
        Ok(Self {
            specification,
            place,
            wish,
            ipv6,
        })
    }
}

/// A list of nothing but the primary address leaves the number of secondary ones open: at a launch,
/// unlike CreateNetworkInterface, AWS takes both, and its command line relies on that.
fn with_lone_primary(wanted: WantedAddresses) -> WantedAddresses {
    match (wanted.primary, wanted.listed.as_slice()) {
        (None, [only]) if only.primary => WantedAddresses {
            primary: Some(only.address),
            listed: Vec::new(),
            ..wanted
        },
        _ => wanted,
    }
}

/// User data are limited before they are encoded.
pub(crate) fn check_user_data(user_data: Option<&[u8]>) -> Result<(), Error> {
    match user_data {
        Some(data) if data.len() > USER_DATA_BYTES_MAX => Err(Error::UserDataTooLong),
        _ => Ok(()),
    }
}

const USER_DATA_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, interface, new_instance, place, with_interfaces};

    #[tokio::test]
    async fn what_cannot_be_launched_is_refused_and_leaves_nothing() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let base = || new_instance(&place);
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        let at = |last| RunInstances {
            private_address: Some(address(last)),
            ..base()
        };
        let taken = control.run_instances(&caller, at(9)).await;
        let taken = taken.expect("the address is free").instances[0].id;
        let busy = {
            let region = control.read(&caller).await.expect("the region is alive");
            let mut enis = region.enis_of_instance(taken);
            enis.next().expect("a primary interface").id
        };
        let one = |edit: fn(&mut InterfaceSpecification)| {
            let mut specification = interface(0, place.subnet);
            edit(&mut specification);
            with_interfaces(&place, &[specification])
        };
        let type_limit = Error::AttachmentLimitExceeded {
            count: 3,
            instance_type: "t3.micro".into(),
        };
        let foreign = RunInstances {
            groups: vec![place.foreign_group],
            ..base()
        };
        let existing = InterfaceSpecification {
            eni: Some(busy),
            subnet: None,
            ..interface(0, place.subnet)
        };
        let three = [0, 1, 2].map(|index| interface(index, place.subnet));
        for (input, error) in [
            (
                RunInstances {
                    image: "ami-1".to_owned(),
                    ..base()
                },
                Error::ImageMalformed {
                    image: "ami-1".into(),
                },
            ),
            (
                RunInstances {
                    instance_type: Some("t9.micro".to_owned()),
                    ..base()
                },
                Error::InstanceTypeUnknown {
                    name: "t9.micro".into(),
                },
            ),
            (
                RunInstances {
                    min_count: 0,
                    ..base()
                },
                Error::InstanceCountInvalid { count: 0 },
            ),
            (
                RunInstances {
                    min_count: 2,
                    ..base()
                },
                Error::InstanceCountsContradict,
            ),
            (
                RunInstances {
                    max_count: 1001,
                    ..base()
                },
                Error::InstanceLimitExceeded { wanted: 1001 },
            ),
            (
                RunInstances {
                    user_data: Some(vec![0; 16 * 1024 + 1]),
                    ..base()
                },
                Error::UserDataTooLong,
            ),
            (
                at(9),
                Error::AddressInUseAtLaunch {
                    address: address(9),
                },
            ),
            (at(1), Error::AddressReserved),
            (
                RunInstances {
                    max_count: 2,
                    ..at(8)
                },
                Error::UniqueInterfaceForSeveral,
            ),
            (
                foreign,
                Error::GroupOfOtherNetwork {
                    group: place.foreign_group,
                    subnet: place.subnet,
                },
            ),
            (
                RunInstances {
                    interfaces: vec![interface(0, place.subnet)],
                    ..base()
                },
                Error::InstanceLevelNetwork { what: "subnet ID" },
            ),
            (one(|s| s.device_index = None), Error::DeviceIndexMissing),
            (one(|s| s.device_index = Some(1)), Error::NoPrimaryInterface),
            (
                one(|s| s.secondary_count = Some(2)),
                Error::InterfaceAddressLimitExceeded,
            ),
            (
                with_interfaces(
                    &place,
                    &[interface(0, place.subnet), interface(0, place.subnet)],
                ),
                Error::DeviceIndexTwice,
            ),
            (with_interfaces(&place, &three), type_limit),
            (
                with_interfaces(
                    &place,
                    &[interface(0, place.subnet), interface(1, place.far_subnet)],
                ),
                Error::AttachmentAcrossZones,
            ),
            (
                with_interfaces(&place, &[existing]),
                Error::InterfaceInUseAtLaunch { id: busy },
            ),
        ] {
            let refused = control.run_instances(&caller, input).await;
            assert_eq!(refused.err(), Some(error));
        }
        let region = control.read(&caller).await.expect("the region is alive");
        assert_eq!(
            (region.instances.len(), region.network_interfaces.len()),
            (1, 1)
        );
    }

    #[test]
    fn a_lone_primary_address_goes_with_a_count() {
        let listed = |last, primary| ListedAddress {
            address: Ipv4Addr::new(10, 0, 0, last),
            primary,
        };
        let counts = |listed: &[ListedAddress]| {
            let wanted = WantedAddresses {
                listed: listed.to_vec(),
                secondary_count: Some(2),
                ..WantedAddresses::default()
            };
            let wish = with_lone_primary(wanted).resolve();
            wish.map(|wish| wish.slots())
        };
        assert_eq!(counts(&[listed(5, true)]), Ok(3));
        let refused = Err(Error::AddressListAndCount);
        assert_eq!(counts(&[listed(5, false)]), refused);
        assert_eq!(counts(&[listed(5, true), listed(6, false)]), refused);
    }
}
