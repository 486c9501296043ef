//! Network interfaces: creating and deleting them.

use std::collections::BTreeSet;

use enid_model::Tags;
use enid_model::id::{EniId, SecurityGroupId, SubnetId, VpcId};
use enid_model::network_interface::{
    Attachment, ConnectionTracking, InterfaceType, Mac, NetworkInterface,
};
use enid_model::security_group::SecurityGroup;
use enid_model::state::Stored;
use enid_model::subnet::Subnet;

use crate::address_lease::{Claims, WantedAddresses, Wish, addresses_of, give_back};
use crate::address_limit::Slots;
use crate::ipv6_lease::{Ipv6Wish, WantedIpv6Addresses, give_back_ipv6};
use crate::network_interface_attribute::check_connection_tracking;
use crate::network_interface_permission::end_permissions;
use crate::tag::{TagSpecification, specified};
use crate::traffic_mirror_session::end_sessions;
use crate::{AddressingError, Caller, Control, Draft, Error, public_address};

/// The input of CreateNetworkInterface.
#[derive(Debug, Clone)]
pub struct CreateNetworkInterface {
    /// The subnet.
    pub subnet: SubnetId,
    /// Free text.
    pub description: String,
    /// The security groups; none means the VPC's default group.
    pub groups: Vec<SecurityGroupId>,
    /// The private addresses.
    pub addresses: WantedAddresses,
    /// The IPv6 addresses.
    pub ipv6: WantedIpv6Addresses,
    /// Idle timeouts of its own.
    pub connection_tracking: ConnectionTracking,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

impl Control {
    /// CreateNetworkInterface.
    pub async fn create_network_interface(
        &self,
        caller: &Caller,
        input: CreateNetworkInterface,
    ) -> Result<NetworkInterface, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let tags = specified(&input.tags, "network-interface")?;
        let (wish, ipv6) = (input.addresses.resolve()?, input.ipv6.resolve()?);
        check_connection_tracking(input.connection_tracking)?;
        self.transact(caller, |draft| {
            let made = draft.made_before(OPERATION, token.as_deref(), &parameters)?;
            if let Some(id) = made.and_then(|made| made.first()?.parse().ok()) {
                let known = draft.require::<NetworkInterface>(id)?;
                return Ok(NetworkInterface::clone(&known));
            }
            let subnet = draft.require::<Subnet>(input.subnet)?;
            Slots::wanted(&wish, &ipv6, &subnet).check(None)?;
            let new = NewInterface {
                groups: groups_or_default(draft, subnet.vpc, &input.groups)?,
                description: &input.description,
                wish: &wish,
                ipv6: &ipv6,
                connection_tracking: input.connection_tracking,
                attachment: None,
                associate_public_address: None,
                starts_alone: false,
                tags: tags.clone(),
            };
            let eni = new.create(draft, &mut Claims::default(), &subnet)?;
            let made = vec![eni.id.to_string()];
            draft.remember(OPERATION, token.as_deref(), &parameters, made);
            Ok(eni)
        })
        .await
    }

    /// DeleteNetworkInterface.
    pub async fn delete_network_interface(&self, caller: &Caller, id: EniId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let eni = require_own(draft, id)?;
            if eni.attachment.is_some() {
                return Err(Error::InterfaceInUse { id });
            }
            remove(draft, &eni);
            Ok(())
        })
        .await
    }
}

/// A network interface that is about to be.
pub(crate) struct NewInterface<'a> {
    /// Checked by [`groups_or_default`].
    pub(crate) groups: Vec<SecurityGroupId>,
    pub(crate) description: &'a str,
    pub(crate) wish: &'a Wish,
    pub(crate) ipv6: &'a Ipv6Wish,
    /// Checked by [`check_connection_tracking`].
    pub(crate) connection_tracking: ConnectionTracking,
    pub(crate) attachment: Option<Attachment>,
    /// Whether it wants a public address; else as its subnet has it.
    pub(crate) associate_public_address: Option<bool>,
    /// Whether it is the only interface of an instance that starts now.
    pub(crate) starts_alone: bool,
    pub(crate) tags: Tags,
}

impl NewInterface<'_> {
    /// Creates it in a subnet that the draft depends on.
    pub(crate) fn create(
        self,
        draft: &mut Draft<'_>,
        claims: &mut Claims,
        subnet: &Subnet,
    ) -> Result<NetworkInterface, Error> {
        // Limit: calls at the very same time can pass the quota by their number. Counting in the
        // transaction would make every create wait for every other one.
        if draft.region.network_interfaces.len() >= draft.quotas.network_interfaces {
            return Err(Error::InterfaceLimitExceeded);
        }
        let id = draft.mint();
        let (addresses, ipv4_prefixes) = claims.fulfil(draft, subnet, self.wish, id)?;
        let ipv6 = claims.fulfil_ipv6(draft, subnet, self.ipv6, id)?;
        if self.ipv6.primary && ipv6.addresses.is_empty() {
            return Err(AddressingError::PrimaryIpv6WithoutAddress.into());
        }
        let of_subnet = subnet.attributes.map_public_ip_on_launch;
        let mut eni = NetworkInterface {
            id,
            subnet: subnet.id,
            vpc: subnet.vpc,
            mac: new_mac(draft),
            description: self.description.to_owned(),
            groups: self.groups,
            addresses,
            ipv4_prefixes,
            ipv6_addresses: ipv6.addresses,
            ipv6_prefixes: ipv6.prefixes,
            primary_ipv6: self.ipv6.primary,
            public_address: None,
            associate_public_address: self.associate_public_address.unwrap_or(of_subnet),
            connection_tracking: self.connection_tracking,
            source_dest_check: true,
            interface_type: InterfaceType::Interface,
            requester_id: None,
            attachment: self.attachment,
            tags: self.tags,
        };
        if self.starts_alone && eni.associate_public_address {
            public_address::give(draft, &mut eni)?;
        }
        draft.create(eni.clone());
        Ok(eni)
    }
}

/// The interface with an id, which must be one that its account made: what a service of the region
/// made is that service's to change.
pub(crate) fn require_own(
    draft: &mut Draft<'_>,
    id: EniId,
) -> Result<Stored<NetworkInterface>, Error> {
    let eni = draft.require::<NetworkInterface>(id)?;
    if eni.requester_id.is_some() {
        return Err(Error::ManagedByService);
    }
    Ok(eni)
}

/// Deletes an interface, gives its addresses back, and ends the sessions that mirror it and the
/// permissions to attach it. Its Elastic IPs stay allocated.
pub(crate) fn remove(draft: &mut Draft<'_>, eni: &Stored<NetworkInterface>) {
    public_address::withdraw(draft, &mut NetworkInterface::clone(eni));
    public_address::end_associations(draft, eni.id, |_| true);
    let prefixes = eni.ipv4_prefixes.iter();
    let delegated = prefixes.flat_map(|prefix| addresses_of(*prefix));
    for address in eni.addresses.iter().copied().chain(delegated) {
        give_back(draft, eni.subnet, address);
    }
    give_back_ipv6(draft, eni);
    end_sessions(draft, eni.id);
    end_permissions(draft, eni);
    draft.delete(eni);
}

/// The groups that an interface shall have, each once: those named, or the VPC's default group.
pub(crate) fn groups_or_default(
    draft: &mut Draft<'_>,
    vpc: VpcId,
    named: &[SecurityGroupId],
) -> Result<Vec<SecurityGroupId>, Error> {
    if named.is_empty() {
        // The default group goes only with its VPC, and that not before its subnets.
        let found = draft.region.vpcs.get(&vpc);
        let found = found.ok_or_else(|| Error::not_found(vpc))?;
        return Ok(vec![found.default_group]);
    }
    checked_groups(draft, vpc, named)
}

/// Groups of this VPC or associated with it, each once, not more than the quota.
pub(crate) fn checked_groups(
    draft: &mut Draft<'_>,
    vpc: VpcId,
    named: &[SecurityGroupId],
) -> Result<Vec<SecurityGroupId>, Error> {
    let mut seen = BTreeSet::new();
    let mut groups = named.to_vec();
    groups.retain(|group| seen.insert(*group));
    for id in &groups {
        let group = draft.require::<SecurityGroup>(*id)?;
        if group.vpc != vpc && !group.associated_vpcs.contains(&vpc) {
            return Err(Error::DifferentNetworks);
        }
    }
    if groups.len() > draft.quotas.groups_per_interface {
        return Err(Error::GroupsPerInterfaceLimitExceeded);
    }
    Ok(groups)
}

/// A locally administered unicast address with one of the first octets that AWS's have. The other
/// 40 bits and two of the first are random: of a hundred regions with 100,000 interfaces each, one
/// would see two equal ones. In one VPC, only one of these two would be answered by DHCP.
pub(crate) fn new_mac(draft: &mut Draft<'_>) -> Mac {
    let [first, a, b, c, d, e, ..] = draft.random().to_le_bytes();
    Mac([(first & 0b1100) | 0b0010, a, b, c, d, e])
}

const OPERATION: &str = "CreateNetworkInterface";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::address_lease::ListedAddress;
    use crate::fixture::{Place, caller, control, new_eni, place};
    use crate::tag::Tag;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn with_primary(place: &Place, primary: Ipv4Addr) -> CreateNetworkInterface {
        let mut input = new_eni(place);
        input.addresses.primary = Some(primary);
        input
    }

    #[tokio::test]
    async fn a_new_interface_has_a_free_address_and_the_default_group() {
        let control = control();
        let place = place(&control, "10.0.0.0/28").await;
        let mut seen = BTreeSet::new();
        // All eleven usable addresses, each once, then none.
        for _ in 0..11 {
            let eni = control
                .create_network_interface(&caller(), new_eni(&place))
                .await;
            let eni = eni.expect("an address is free");
            assert_eq!(eni.groups, [place.default_group]);
            assert!(eni.source_dest_check && eni.attachment.is_none());
            assert_eq!(eni.mac.0[0] & 0b11, 0b10, "local, unicast");
            assert!(seen.insert(eni.primary_address()));
        }
        assert_eq!(seen, (4..15).map(address).collect());
        let none_left = control
            .create_network_interface(&caller(), new_eni(&place))
            .await;
        assert_eq!(none_left, Err(Error::InsufficientFreeAddresses));
    }

    #[tokio::test]
    async fn named_addresses_are_those_of_the_subnet_that_are_free() {
        let control = control();
        let place = place(&control, "10.0.0.0/28").await;
        let caller = caller();
        let create =
            |last| control.create_network_interface(&caller, with_primary(&place, address(last)));
        assert_eq!(
            create(5).await.map(|eni| eni.addresses),
            Ok(vec![address(5)])
        );
        for (last, error) in [
            (
                5,
                Error::AddressInUse {
                    address: address(5),
                },
            ),
            (1, Error::AddressReserved),
            (15, Error::AddressReserved),
            (
                16,
                Error::AddressOutsideSubnet {
                    address: address(16),
                },
            ),
        ] {
            assert_eq!(create(last).await, Err(error));
        }
        let mut input = new_eni(&place);
        input.addresses.listed = [(6, false), (7, true)]
            .map(|(last, primary)| ListedAddress {
                address: address(last),
                primary,
            })
            .to_vec();
        let eni = control.create_network_interface(&caller, input).await;
        assert_eq!(
            eni.map(|eni| eni.addresses),
            Ok(vec![address(7), address(6)])
        );
        let mut input = new_eni(&place);
        input.addresses.secondary_count = Some(2);
        let eni = control.create_network_interface(&caller, input).await;
        assert_eq!(eni.map(|eni| eni.addresses.len()), Ok(3));
    }

    #[tokio::test]
    async fn a_failed_create_claims_nothing() {
        let control = control();
        let place = place(&control, "10.0.0.0/28").await;
        let mut input = with_primary(&place, address(5));
        input.addresses.secondary_count = Some(11);
        let refused = control.create_network_interface(&caller(), input).await;
        assert_eq!(refused, Err(Error::InsufficientFreeAddresses));
        let mut input = with_primary(&place, address(5));
        input.groups = vec![place.foreign_group];
        let refused = control.create_network_interface(&caller(), input).await;
        assert_eq!(refused, Err(Error::DifferentNetworks));
        let region = control.read(&caller()).await.expect("the region is alive");
        assert_eq!(
            (region.leases.len(), region.network_interfaces.len()),
            (0, 0)
        );
    }

    #[tokio::test]
    async fn groups_are_named_once_and_limited() {
        let control = control();
        let place = place(&control, "10.0.0.0/28").await;
        let mut input = new_eni(&place);
        input.groups = vec![place.groups[1], place.groups[0], place.groups[1]];
        let eni = control.create_network_interface(&caller(), input).await;
        assert_eq!(
            eni.map(|eni| eni.groups),
            Ok(vec![place.groups[1], place.groups[0]])
        );
        let mut input = new_eni(&place);
        input.groups.clone_from(&place.groups);
        let refused = control.create_network_interface(&caller(), input).await;
        assert_eq!(refused, Err(Error::GroupsPerInterfaceLimitExceeded));
        let mut input = new_eni(&place);
        input.groups = vec![SecurityGroupId(7)];
        let refused = control.create_network_interface(&caller(), input).await;
        assert_eq!(refused, Err(Error::not_found(SecurityGroupId(7))));
        let mut input = new_eni(&place);
        input.subnet = SubnetId(7);
        let refused = control.create_network_interface(&caller(), input).await;
        assert_eq!(refused, Err(Error::not_found(SubnetId(7))));
    }

    #[tokio::test]
    async fn a_client_token_makes_one_interface() {
        let control = control();
        let place = place(&control, "10.0.0.0/28").await;
        let mut input = new_eni(&place);
        input.client_token = Some("once".to_owned());
        let first = control
            .create_network_interface(&caller(), input.clone())
            .await;
        let again = control
            .create_network_interface(&caller(), input.clone())
            .await;
        assert!(first.is_ok());
        assert_eq!(first, again);
        input.description = "another".to_owned();
        let other = control.create_network_interface(&caller(), input).await;
        assert_eq!(other, Err(Error::IdempotentParameterMismatch));
    }

    #[tokio::test]
    async fn tags_are_for_interfaces_and_dry_runs_change_nothing() {
        let control = control();
        let place = place(&control, "10.0.0.0/28").await;
        let tagged = |resource_type: &str| {
            let mut input = new_eni(&place);
            let tag = Tag {
                key: "a".to_owned(),
                value: "b".to_owned(),
            };
            input.tags = vec![TagSpecification {
                resource_type: Some(resource_type.to_owned()),
                tags: vec![tag],
            }];
            input
        };
        let dry = Caller {
            dry_run: true,
            ..caller()
        };
        let answer = control
            .create_network_interface(&dry, tagged("network-interface"))
            .await;
        assert_eq!(answer, Err(Error::DryRun));
        let region = control.read(&caller()).await.expect("the region is alive");
        assert!(region.network_interfaces.is_empty());
        let eni = control
            .create_network_interface(&caller(), tagged("network-interface"))
            .await;
        assert_eq!(eni.map(|eni| eni.tags.len()), Ok(1));
        let wrong = control
            .create_network_interface(&caller(), tagged("subnet"))
            .await;
        assert!(matches!(wrong, Err(Error::TagSpecificationType { .. })));
    }

    #[tokio::test]
    async fn a_deleted_interface_gives_its_addresses_back() {
        let control = control();
        let place = place(&control, "10.0.0.0/28").await;
        let caller = caller();
        let create = || control.create_network_interface(&caller, with_primary(&place, address(5)));
        let eni = create().await.expect("the address is free");
        assert!(create().await.is_err());
        assert_eq!(
            control.delete_network_interface(&caller, eni.id).await,
            Ok(())
        );
        assert!(create().await.is_ok());
        let gone = control.delete_network_interface(&caller, eni.id).await;
        assert_eq!(gone, Err(Error::not_found(eni.id)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_two_interfaces_made_at_once_share_an_address() {
        let control = std::sync::Arc::new(control());
        let place = place(&control, "10.0.0.0/28").await;
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let (control, input) = (std::sync::Arc::clone(&control), new_eni(&place));
                tokio::spawn(
                    async move { control.create_network_interface(&caller(), input).await },
                )
            })
            .collect();
        let mut addresses = BTreeSet::new();
        let mut refused = 0;
        for call in calls {
            match call.await.expect("no call panics") {
                Ok(eni) => assert!(addresses.insert(eni.primary_address())),
                Err(error) => {
                    assert_eq!(error, Error::InsufficientFreeAddresses);
                    refused += 1;
                }
            }
        }
        assert_eq!((addresses.len(), refused), (11, 5));
    }
}
