//! Reservations in a subnet's blocks: automatic assignment leaves them alone, except that automatic
//! prefixes come from those that are kept for prefixes.

use enid_model::id::{SubnetCidrReservationId, SubnetId};
use enid_model::key::Kind;
use enid_model::state::RegionState;
use enid_model::subnet::{ReservationKind, Subnet, SubnetCidrReservation};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::tag::{TagSpecification, specified};
use crate::{AddressingError, Caller, Control, Error};

/// The input of CreateSubnetCidrReservation.
#[derive(Debug, Clone)]
pub struct CreateSubnetCidrReservation {
    /// The subnet.
    pub subnet: SubnetId,
    /// The block, as the client writes it.
    pub cidr: String,
    /// What it is kept for.
    pub kind: ReservationKind,
    /// Free text.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

impl Control {
    /// CreateSubnetCidrReservation. What interfaces hold of the block already, they keep.
    pub async fn create_subnet_cidr_reservation(
        &self,
        caller: &Caller,
        input: &CreateSubnetCidrReservation,
    ) -> Result<SubnetCidrReservation, Error> {
        let tags = specified(&input.tags, "subnet-cidr-reservation")?;
        let Ok(cidr) = input.cidr.parse::<IpNet>() else {
            return Err(Error::InvalidValue {
                value: input.cidr.as_str().into(),
                name: "cidr",
                why: "This is not a valid CIDR block.".into(),
            });
        };
        let cidr = cidr.trunc();
        self.transact(caller, |draft| {
            let subnet = draft.require::<Subnet>(input.subnet)?;
            if !holds(&subnet, cidr) {
                return Err(AddressingError::ReservationOutsideSubnet { cidr }.into());
            }
            draft.demand_unnamed(Kind::SubnetCidrReservation, subnet.id);
            let overlaps = |other: IpNet| other.contains(&cidr) || cidr.contains(&other);
            if reserved(&draft.region, subnet.id).any(|(other, _)| overlaps(other)) {
                return Err(AddressingError::ReservationConflict { cidr }.into());
            }
            let reservation = SubnetCidrReservation {
                id: draft.mint(),
                subnet: subnet.id,
                cidr,
                kind: input.kind,
                description: input.description.clone(),
                tags: tags.clone(),
            };
            draft.create(reservation.clone());
            Ok(reservation)
        })
        .await
    }

    /// DeleteSubnetCidrReservation. Returns what there was.
    pub async fn delete_subnet_cidr_reservation(
        &self,
        caller: &Caller,
        id: SubnetCidrReservationId,
    ) -> Result<SubnetCidrReservation, Error> {
        self.transact(caller, |draft| {
            let reservation = draft.require::<SubnetCidrReservation>(id)?;
            draft.delete(&reservation);
            Ok(SubnetCidrReservation::clone(&reservation))
        })
        .await
    }
}

/// Whether one of a subnet's blocks holds this one.
fn holds(subnet: &Subnet, cidr: IpNet) -> bool {
    match cidr {
        IpNet::V4(cidr) => subnet.cidr.contains(&cidr),
        IpNet::V6(cidr) => subnet.ipv6_cidr.is_some_and(|own| own.cidr.contains(&cidr)),
    }
}

/// The reserved IPv4 blocks of a subnet, and what they are kept for.
pub(crate) fn reserved_ipv4(
    region: &RegionState,
    subnet: SubnetId,
) -> Vec<(Ipv4Net, ReservationKind)> {
    let blocks = reserved(region, subnet).filter_map(|(cidr, kind)| match cidr {
        IpNet::V4(cidr) => Some((cidr, kind)),
        IpNet::V6(_) => None,
    });
    blocks.collect()
}

/// The reserved IPv6 blocks, likewise.
pub(crate) fn reserved_ipv6(
    region: &RegionState,
    subnet: SubnetId,
) -> Vec<(Ipv6Net, ReservationKind)> {
    let blocks = reserved(region, subnet).filter_map(|(cidr, kind)| match cidr {
        IpNet::V4(_) => None,
        IpNet::V6(cidr) => Some((cidr, kind)),
    });
    blocks.collect()
}

fn reserved(
    region: &RegionState,
    subnet: SubnetId,
) -> impl Iterator<Item = (IpNet, ReservationKind)> {
    region
        .reservations_of_subnet(subnet)
        .filter_map(|id| region.subnet_cidr_reservations.get(&id))
        .map(|reservation| (reservation.cidr, reservation.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, place};
    use crate::tag::Tag;

    #[tokio::test]
    async fn reservations_lie_in_the_subnet_and_apart() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let reserve = async |cidr: &str| {
            let input = CreateSubnetCidrReservation {
                subnet: place.subnet,
                cidr: cidr.to_owned(),
                kind: ReservationKind::Explicit,
                description: None,
                tags: Vec::new(),
            };
            let made = control
                .create_subnet_cidr_reservation(&caller, &input)
                .await;
            made.map_err(|error| error.to_string())
        };
        let first = reserve("10.0.0.33/27").await.expect("a reservation");
        assert_eq!(first.cidr.to_string(), "10.0.0.32/27");
        for (cidr, words) in [
            (
                "10.0.0.32/28",
                "The CIDR '10.0.0.32/28' overlaps with an existing subnet CIDR reservation",
            ),
            (
                "10.0.1.0/28",
                "The CIDR '10.0.1.0/28' is not within the CIDR range of the subnet",
            ),
            (
                "2001:db8::/80",
                "The CIDR '2001:db8::/80' is not within the CIDR range of the subnet",
            ),
            (
                "x",
                "Value (x) for parameter cidr is invalid. This is not a valid CIDR block.",
            ),
        ] {
            assert_eq!(reserve(cidr).await.err().as_deref(), Some(words));
        }
        assert!(reserve("10.0.0.64/28").await.is_ok());
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(reserved_ipv4(&region, place.subnet).len(), 2);
        assert!(reserved_ipv6(&region, place.subnet).is_empty());

        let gone = control
            .delete_subnet_cidr_reservation(&caller, first.id)
            .await;
        assert_eq!(gone, Ok(first.clone()));
        let again = control
            .delete_subnet_cidr_reservation(&caller, first.id)
            .await;
        assert_eq!(again, Err(Error::not_found(first.id)));
        // The rest goes with its subnet.
        assert_eq!(control.delete_subnet(&caller, place.subnet).await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        assert!(region.subnet_cidr_reservations.is_empty());
    }

    #[tokio::test]
    async fn a_reservation_has_tags() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let tags = |resource_type: &str| CreateSubnetCidrReservation {
            subnet: place.subnet,
            cidr: "10.0.0.32/28".to_owned(),
            kind: ReservationKind::Prefix,
            description: Some("for prefixes".to_owned()),
            tags: vec![TagSpecification {
                resource_type: Some(resource_type.to_owned()),
                tags: vec![Tag {
                    key: "a".to_owned(),
                    value: "b".to_owned(),
                }],
            }],
        };
        let wrong = tags("subnet");
        let wrong = control
            .create_subnet_cidr_reservation(&caller, &wrong)
            .await;
        assert!(matches!(wrong, Err(Error::TagSpecificationType { .. })));
        let right = tags("subnet-cidr-reservation");
        let made = control
            .create_subnet_cidr_reservation(&caller, &right)
            .await;
        let id = made.expect("a reservation").id;
        let resource = crate::Taggable::parse(&id.to_string()).expect("a kind with tags");
        let retagged = control.delete_tags(&caller, &[resource], &[]).await;
        assert_eq!(retagged, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        let found = region.subnet_cidr_reservations.get(&id);
        assert!(found.is_some_and(|found| found.tags.is_empty()));
    }
}
